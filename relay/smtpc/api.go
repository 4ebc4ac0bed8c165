package smtpc

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"time"

	"restante/relay/reply"
)

// Resolver finds addresses; *net.Resolver and *dns.Resolver do.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// Dialer opens connections. The zero value of a field means its default.
type Dialer struct {
	Hostname       string        // for EHLO
	Resolver       Resolver      // default: net.DefaultResolver
	ConnectTimeout time.Duration // for one address; default 10 s
	BannerTimeout  time.Duration // from the start of Dial until the banner, all addresses together; default 10 s
	CommandTimeout time.Duration // for the reply to a command, and for a block of the message to go out; default 60 s
	DataTimeout    time.Duration // for the reply to the end of the message; default 5 min
	Log            *slog.Logger
	NetDial        func(ctx context.Context, network, address string) (net.Conn, error) // default: net.Dialer
}

// Conn is a conversation. Its methods aren't for concurrent use, except Close.
type Conn struct{}

func (d *Dialer) Dial(ctx context.Context, t Target) (*Conn, error)   { panic("unfinished") }
func (c *Conn) Offers() Offers                                        { panic("unfinished") }
func (c *Conn) Remote() string                                        { panic("unfinished") }
func (c *Conn) TLSState() (tls.ConnectionState, bool)                 { panic("unfinished") }
func (c *Conn) Alive() bool                                           { panic("unfinished") }
func (c *Conn) Mail(ctx context.Context, m Mail) (reply.Reply, error) { panic("unfinished") }
func (c *Conn) Rcpt(ctx context.Context, r Rcpt) (reply.Reply, error) { panic("unfinished") }
func (c *Conn) Data(ctx context.Context, r io.Reader, size int64) (reply.Reply, error) {
	panic("unfinished")
}
func (c *Conn) Reset(ctx context.Context) error               { panic("unfinished") }
func (c *Conn) Noop(ctx context.Context) error                { panic("unfinished") }
func (c *Conn) XClient(ctx context.Context, o *Origin) error  { panic("unfinished") }
func (c *Conn) XForward(ctx context.Context, o *Origin) error { panic("unfinished") }
func (c *Conn) Quit()                                         { panic("unfinished") }
func (c *Conn) Close()                                        { panic("unfinished") }
func (c *Conn) Run(ctx context.Context, next func() *Transaction, before func(*Transaction) error, done func(*Transaction, *Result) error) error {
	panic("unfinished")
}

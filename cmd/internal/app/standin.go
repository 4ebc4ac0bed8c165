package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/sink"
	"restante/spool"
)

// shownMost is how many messages the list of the stand-in primary shows.
const shownMost = 50

// standIn is the primary of `serve --dev`, or the rest of the world: it takes everything into a Maildir and can be stopped and started.
type standIn struct {
	server *sink.Server
	dir    string

	mu    sync.Mutex
	count int
	mails []admin.DevMail
}

// startPrimary starts the stand-ins and puts their addresses into the configuration.
func (a *App) startPrimary(context.Context) error {
	c := a.cfg.Load()
	if !c.Dev {
		return nil
	}
	p, err := a.standIn("primary", c.DevListen)
	if err != nil {
		return err
	}
	outside, err := a.standIn("outside", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a.primary, a.outside = p, outside
	a.addrs.Primary = p.server.Addr()
	return a.setStandIns(c)
}

// standIn starts one that keeps what it takes in <data_dir>/<name>-maildir.
func (a *App) standIn(name, addr string) (*standIn, error) {
	p := &standIn{dir: filepath.Join(a.cfg.Load().DataDir, name+"-maildir")}
	for _, d := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(p.dir, d), 0o750); err != nil {
			return nil, must("stand-in "+name, err)
		}
	}
	if err := p.load(); err != nil {
		return nil, must("stand-in "+name, err)
	}
	p.server = sink.New(sink.Options{Addr: addr, Hostname: name + "." + config.DevDomain, Deliver: p.deliver, Log: a.log})
	if err := p.server.Start(); err != nil {
		return nil, admin.Errorf(admin.KindFailed, "stop what listens there, or name another address with --dev-primary-listen", "can't start the stand-in %s: %w", name, err)
	}
	a.life.add("stand-in "+name, func(context.Context) error { p.server.Stop(); return nil })
	return p, nil
}

// setStandIns lets every domain of a dev configuration have the stand-in as its primary, and all other mail go to the
// one that stands for the rest of the world. That is no primary, so that people can write to it in an outage.
func (a *App) setStandIns(c *config.Config) error {
	host, port, err := net.SplitHostPort(a.outside.server.Addr())
	if err == nil {
		c.Smarthost.Host = host
		c.Smarthost.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		return must("stand-in outside", err)
	}
	return setPrimary(c, a.addrs.Primary)
}

// setPrimary lets every domain of a dev configuration have the stand-in as its primary.
func setPrimary(c *config.Config, addr string) error {
	parsed, err := config.ParsePrimary(addr)
	if err != nil {
		return must("stand-in primary", err)
	}
	for i := range c.Domains {
		c.Domains[i].Primary, c.Domains[i].Primaries = []string{addr}, []config.Primary{parsed}
	}
	return nil
}

// load counts what an earlier run has left in the Maildir.
func (p *standIn) load() error {
	files, err := os.ReadDir(filepath.Join(p.dir, "new"))
	if err != nil {
		return err
	}
	p.count = len(files)
	for _, f := range files[max(0, len(files)-shownMost):] {
		text, err := os.ReadFile(filepath.Join(p.dir, "new", f.Name()))
		if err != nil {
			return err
		}
		info, err := f.Info()
		if err != nil {
			return err
		}
		p.mails = append(p.mails, devMail(f.Name(), info.ModTime(), text))
	}
	return nil
}

// deliver writes one message into the Maildir; the sink answers 250 when it returns nil.
func (p *standIn) deliver(e *sink.Envelope, message []byte) error {
	name := fmt.Sprintf("%d.%s.restante", time.Now().UnixMicro(), spool.NewID())
	tmp := filepath.Join(p.dir, "tmp", name)
	text := append(fmt.Appendf(nil, "Return-Path: <%s>\r\n", e.From), message...)
	if err := os.WriteFile(tmp, text, 0o640); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(p.dir, "new", name)); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.mails = append(p.mails, devMail(name, time.Now(), text))
	if n := len(p.mails); n > shownMost {
		p.mails = slices.Clone(p.mails[n-shownMost:])
	}
	return nil
}

func devMail(name string, at time.Time, text []byte) admin.DevMail {
	h, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(text))).ReadMIMEHeader() // junk: what could be read
	subject := h.Get("Subject")
	if s, err := new(mime.WordDecoder).DecodeHeader(subject); err == nil {
		subject = s
	}
	return admin.DevMail{File: name, Time: at, Subject: spool.Printable(subject), From: spool.Printable(h.Get("Return-Path")), Size: int64(len(text))}
}

// do stops or starts it, and says how it is.
func (p *standIn) do(what string) (*admin.DevPrimary, error) {
	switch what {
	case "stop":
		p.server.Stop()
	case "start":
		if !p.server.Running() {
			if err := p.server.Start(); err != nil {
				return nil, admin.Errorf(admin.KindFailed, "see what took its port: ss -ltnp", "can't start the stand-in primary: %w", err)
			}
		}
	case "list":
	default:
		return nil, admin.Errorf(admin.KindUsage, "write stop, start or list", "can't %q a primary", what)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &admin.DevPrimary{Address: p.server.Addr(), Running: p.server.Running(), Maildir: p.dir, Count: p.count, Messages: slices.Clone(p.mails)}, nil
}

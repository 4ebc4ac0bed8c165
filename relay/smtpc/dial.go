package smtpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"restante/dns"
	"restante/relay/reply"
)

// Defaults of Dialer.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultBannerTimeout  = 10 * time.Second
	DefaultCommandTimeout = time.Minute
	DefaultDataTimeout    = 5 * time.Minute
)

// Resolver finds addresses; *net.Resolver and *dns.Resolver do.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// Authority knows what DNS says of a server's certificate; *dns.Resolver does.
type Authority interface {
	DANE(ctx context.Context, s dns.Server) (dns.DANE, error)
}

// Dialer opens connections. The zero value of a field means its default. RFC 5321 4.5.3.2 allows 5 minutes
// for the banner and most commands and 10 for the end of data; a sender waits behind pass-through and has such
// limits itself, therefore ours are shorter.
type Dialer struct {
	Hostname       string        // for EHLO
	Self           string        // a word that only our own banner has: a server that says it is ourselves (ErrSelf); "": not known
	Resolver       Resolver      // default: net.DefaultResolver
	DANE           Authority     // nil: there is none to ask, and TLSDANE reaches nobody
	ConnectTimeout time.Duration // for one address; default 10 s
	BannerTimeout  time.Duration // from the start of Dial until the banner, all addresses together; default 10 s
	CommandTimeout time.Duration // for the reply to a command, and for a block of the message to go out; default 60 s
	DataTimeout    time.Duration // for the reply to the end of the message; default 5 min
	Log            *slog.Logger
	NetDial        func(ctx context.Context, network, address string) (net.Conn, error) // default: net.Dialer

	mu    sync.Mutex
	plain map[string]tlsFailure // targets by label for which opportunistic TLS is left alone for a while
}

// tlsFailure is a handshake that failed.
type tlsFailure struct {
	until time.Time
	why   error
}

// plainFor is how long opportunistic TLS isn't tried again after a failed handshake. Without such a memory
// each message would cost two connections, and a handshake that hangs would use up a caller's time every time.
const plainFor = 10 * time.Minute

// Dial connects, reads the banner, says EHLO (HELO where that isn't known) and starts TLS as the policy says. The
// addresses of the host are tried in order until one gives a positive banner. In opportunistic mode, unless the server has TLSA records, a failed
// handshake is followed by a new connection without TLS, and for ten minutes TLS isn't tried again; Offers().TLSFailed says why.
//
// The error is an *Error, except for a target or policy that makes no sense.
func (d *Dialer) Dial(ctx context.Context, t Target) (*Conn, error) {
	if err := t.TLS.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", t.label(), err)
	}
	if t.Implicit && t.TLS.Mode != TLSRequired {
		return nil, fmt.Errorf("%s: TLS from the first octet is for TLS mode %s", t.label(), TLSRequired)
	}
	deadline := d.deadline()
	addrs, err := d.resolve(ctx, t, deadline)
	if err != nil {
		return nil, err
	}
	if t.TLS.records, err = d.records(ctx, t, deadline); err != nil {
		return nil, err
	}
	switch {
	case t.TLS.Mode == TLSNone:
		return d.dial(ctx, t, addrs, deadline, false)
	case t.TLS.must():
		return d.dial(ctx, t, addrs, deadline, true)
	}
	why := d.leftPlain(t.label())
	if why == nil {
		c, err := d.dial(ctx, t, addrs, deadline, true)
		var failed *Error
		if err == nil || !errors.As(err, &failed) || failed.Stage != StageTLS || errors.Is(ctx.Err(), context.Canceled) {
			return c, err
		}
		why = failed.Err
		d.leavePlain(t.label(), why)
		if ctx.Err() != nil {
			return nil, err
		}
		d.log().Info("the primary's TLS handshake failed, going on in plain", "host", failed.Host, "error", why, "for", plainFor)
	}
	c, err := d.dial(ctx, t, addrs, d.deadline(), false)
	if err == nil && c.offers.StartTLS {
		c.offers.TLSFailed = why.Error()
	}
	return c, err
}

// leftPlain says why TLS isn't to be tried with a target now, or nil.
func (d *Dialer) leftPlain(label string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.plain[label]
	if ok && time.Now().After(f.until) {
		delete(d.plain, label)
		return nil
	}
	return f.why
}

func (d *Dialer) leavePlain(label string, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.plain == nil {
		d.plain = map[string]tlsFailure{}
	}
	d.plain[label] = tlsFailure{time.Now().Add(plainFor), why}
}

func (d *Dialer) log() *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log
}

func (t Target) host() string { return strings.TrimSuffix(strings.TrimPrefix(t.Host, "["), "]") }

func (t Target) label() string {
	return cmp.Or(t.Name, net.JoinHostPort(t.host(), strconv.Itoa(cmp.Or(t.Port, 25))))
}

func (d *Dialer) deadline() time.Time {
	return time.Now().Add(cmp.Or(d.BannerTimeout, DefaultBannerTimeout))
}

func (d *Dialer) dial(ctx context.Context, t Target, addrs []string, deadline time.Time, useTLS bool) (*Conn, error) {
	var errs []error
	for i, a := range addrs {
		// Each address gets its share of what is left, so that a silent first one doesn't hide a good second.
		now := time.Now()
		if now.After(deadline) || ctx.Err() != nil {
			break
		}
		share := now.Add(deadline.Sub(now) / time.Duration(len(addrs)-i))
		c, err := d.connect(ctx, t, a, share)
		if err == nil {
			return c.start(ctx, useTLS)
		}
		errs = append(errs, err)
	}
	switch len(errs) {
	case 0:
		return nil, &Error{Stage: StageConnect, Host: t.label(), Err: because(ctx, ErrTimeout)}
	case 1:
		return nil, errs[0]
	}
	// The first address is the preferred one: what it said counts, the others' words are added.
	first := *errs[0].(*Error)
	if first.Reply.IsZero() {
		first.Err = errors.Join(append([]error{first.Err}, errs[1:]...)...)
	}
	return nil, &first
}

func (d *Dialer) resolve(ctx context.Context, t Target, deadline time.Time) ([]string, error) {
	host := t.host()
	if net.ParseIP(host) != nil || strings.Contains(host, "%") {
		return []string{host}, nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var r Resolver = net.DefaultResolver
	if d.Resolver != nil {
		r = d.Resolver
	}
	addrs, err := r.LookupHost(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	if err != nil {
		return nil, &Error{Stage: StageResolve, Host: t.label(), Err: err}
	}
	return addrs, nil
}

// connect reaches one address and reads its banner.
func (d *Dialer) connect(ctx context.Context, t Target, addr string, deadline time.Time) (*Conn, error) {
	address := net.JoinHostPort(addr, strconv.Itoa(cmp.Or(t.Port, 25)))
	name := address
	if t.host() != addr {
		name = fmt.Sprintf("%s [%s]:%d", t.host(), addr, cmp.Or(t.Port, 25))
	}
	dialCtx, cancel := context.WithDeadline(ctx, earlier(deadline, time.Now().Add(cmp.Or(d.ConnectTimeout, DefaultConnectTimeout))))
	defer cancel()
	dial := d.NetDial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(dialCtx, "tcp", address)
	if err != nil {
		if ctx.Err() == nil && (dialCtx.Err() != nil || isTimeout(err)) {
			err = ErrTimeout
		}
		return nil, &Error{Stage: StageConnect, Host: name, Err: because(ctx, err)}
	}
	c := newConn(d, t, nc, name)
	stop := c.watch(ctx)
	defer stop()
	if t.Implicit {
		if err := c.handshake(ctx); err != nil {
			return nil, err
		}
	}
	banner, err := c.read(StageBanner, time.Until(deadline))
	if err != nil {
		return nil, err
	}
	c.offers.Banner = banner.Text
	if d.Self != "" && slices.Contains(strings.Fields(banner.Text), d.Self) {
		return nil, c.fail(StageBanner, reply.Reply{}, ErrSelf)
	}
	if banner.Code != 220 {
		return nil, c.refuse(StageBanner, banner)
	}
	return c, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// because returns the context's cause if it has ended, else err.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// start does EHLO, STARTTLS, EHLO, AUTH. It closes the connection when it fails.
func (c *Conn) start(ctx context.Context, useTLS bool) (*Conn, error) {
	stop := c.watch(ctx)
	defer stop()
	if err := c.hello(StageEhlo); err != nil {
		return nil, err
	}
	required := c.target.TLS.must()
	if c.target.Implicit {
		return c.loggedIn()
	}
	if !useTLS || !c.offers.StartTLS {
		if required {
			return nil, c.fail(StageStartTLS, reply.Reply{}, errors.New("TLS is required and the server doesn't offer STARTTLS"))
		}
		return c.loggedIn()
	}
	r, err := c.command(StageStartTLS, "STARTTLS")
	if err != nil {
		return nil, err
	}
	if r.Code != 220 {
		if required || !(r.Transient() || r.Permanent()) {
			return nil, c.refuse(StageStartTLS, r)
		}
		c.offers.TLSFailed = r.String() // refused in order: nothing has changed (RFC 3207 4)
		return c.loggedIn()
	}
	if err := c.handshake(ctx); err != nil {
		return nil, err
	}
	if err := c.hello(StageEhlo); err != nil { // RFC 3207 4.2: what was offered in plain doesn't count any more
		return nil, err
	}
	c.offers.StartTLS = true
	return c.loggedIn()
}

func (c *Conn) loggedIn() (*Conn, error) {
	if err := c.login(); err != nil {
		return nil, err
	}
	return c, nil
}

// hello says EHLO, or HELO where that isn't known, and takes down what is offered.
func (c *Conn) hello(stage Stage) error {
	name := cmp.Or(c.d.Hostname, "localhost")
	r, err := c.command(stage, "EHLO "+name)
	if err != nil {
		return err
	}
	esmtp := r.Code == 250
	if r.Permanent() { // RFC 5321 3.2: 500, 502 and their like mean that it isn't known
		if r, err = c.command(stage, "HELO "+name); err != nil {
			return err
		}
	}
	if r.Code != 250 {
		return c.refuse(stage, r)
	}
	c.announced(r, esmtp)
	return nil
}

// announced takes down what a reply to EHLO or HELO offers.
func (c *Conn) announced(r reply.Reply, esmtp bool) {
	before := c.offers
	c.offers = Offers{ESMTP: esmtp}
	if esmtp {
		c.offers = parseOffers(r.Text)
	}
	c.offers.Banner, c.offers.TLS, c.offers.Verified, c.offers.Misled = before.Banner, before.TLS, before.Verified, before.Misled
	c.offers.RequireTLS = c.offers.RequireTLS && before.TLS != "" // RFC 8689 3: in plain it says nothing
}

// parseOffers reads the lines of a reply to EHLO.
func parseOffers(text string) Offers {
	o := Offers{ESMTP: true}
	lines := strings.Split(text, "\n")
	for _, l := range lines[1:] {
		f := strings.Fields(l)
		if len(f) == 0 {
			continue
		}
		switch strings.ToUpper(f[0]) {
		case "SIZE":
			o.SizeOffered = true
			if len(f) > 1 {
				if n, err := strconv.ParseInt(f[1], 10, 64); err == nil && n > 0 {
					o.Size = n
				}
			}
		case "8BITMIME":
			o.EightBitMIME = true
		case "SMTPUTF8":
			o.SMTPUTF8 = true
		case "DSN":
			o.DSN = true
		case "PIPELINING":
			o.Pipelining = true
		case "CHUNKING":
			o.Chunking = true
		case "STARTTLS":
			o.StartTLS = true
		case "REQUIRETLS":
			o.RequireTLS = true
		case "AUTH":
			o.Auth = upper(f[1:])
		case "ENHANCEDSTATUSCODES":
			o.EnhancedStatusCodes = true
		case "XCLIENT":
			o.XClient = upper(f[1:])
		case "XFORWARD":
			o.XForward = upper(f[1:])
		}
	}
	return o
}

func upper(f []string) []string {
	for i := range f {
		f[i] = strings.ToUpper(f[i])
	}
	return f
}

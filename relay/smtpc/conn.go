package smtpc

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"restante/relay/reply"
)

const (
	lastWordsTimeout = time.Second // for a reply that may explain why writing failed; if there is one it has arrived
	quitTimeout      = 2 * time.Second
)

// Conn is a conversation. Its methods aren't for concurrent use, except Close. Once one has returned an error
// the connection is closed, and every later call returns that error again.
type Conn struct {
	d      *Dialer
	target Target
	name   string // "host [address]:port"
	nc     net.Conn
	r      *bufio.Reader
	out    []byte // commands and octets not yet sent
	in     []byte // for reading messages, made when first needed
	offers Offers

	ctx    context.Context // of the call under way
	broken *Error
	werr   error // writing failed; what the server had said before that can still be read
	open   bool  // the server may be inside a transaction: RSET before the next MAIL
	utf8   bool  // MAIL was sent with SMTPUTF8

	spoken    bool // XCLIENT was said
	withdrawn bool // and isn't offered any more
}

func newConn(d *Dialer, t Target, nc net.Conn, name string) *Conn {
	c := &Conn{d: d, target: t, name: name, ctx: context.Background()}
	c.setIO(nc)
	return c
}

func (c *Conn) setIO(nc net.Conn) {
	c.nc = nc
	c.r = bufio.NewReaderSize(nc, maxReplyLine)
}

// Offers returns what the server announced.
func (c *Conn) Offers() Offers { return c.offers }

// Remote names host, address and port: "mail.example.com [192.0.2.1]:25".
func (c *Conn) Remote() string { return c.name }

// Close closes the connection at once. Safe from any goroutine.
func (c *Conn) Close() {
	rawOf(c.nc).Close() // nothing is left to be done about an error
}

// Quit says QUIT, waits a moment for the answer, and closes.
func (c *Conn) Quit() {
	defer c.Close()
	if c.broken != nil || c.werr != nil {
		return
	}
	c.ctx = context.Background()
	c.out = append(c.out[:0], "QUIT\r\n"...)
	if c.nc.SetWriteDeadline(time.Now().Add(quitTimeout)) == nil {
		if _, err := c.nc.Write(c.out); err == nil {
			c.read(StageQuit, quitTimeout) // whatever it says, this is the end
		}
	}
	c.fail(StageQuit, reply.Reply{}, net.ErrClosed)
}

// Alive reports that the connection is open and the server has said nothing unasked. It sends nothing and doesn't wait, so a
// host that has vanished still looks alive.
func (c *Conn) Alive() bool { return c.broken == nil && c.werr == nil && c.quiet() }

// quiet reports that nothing has come in, not even an end.
func (c *Conn) quiet() bool {
	if c.r.Buffered() > 0 || !quiet(rawOf(c.nc)) {
		return false
	}
	if _, ok := c.nc.(*tls.Conn); !ok {
		return true
	}
	// TLS may hold records that it read together with earlier ones. A read whose time is over returns those and doesn't wait.
	if c.nc.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	_, err := c.r.Peek(1)
	return isTimeout(err)
}

// hush ends the conversation if something has come in that nobody waits for. Else it would be taken for the reply to
// what is sent next, in the worst case to the end of a message.
func (c *Conn) hush(stage Stage) error {
	switch {
	case c.broken != nil:
		return c.broken
	case c.ctx.Err() != nil:
		return c.fail(stage, reply.Reply{}, context.Cause(c.ctx))
	case c.werr != nil || !c.quiet():
		return c.unasked(stage)
	}
	return nil
}

// watch closes the connection when ctx ends, until the function returned is called.
func (c *Conn) watch(ctx context.Context) func() bool {
	c.ctx = ctx
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	raw := rawOf(c.nc)
	return context.AfterFunc(ctx, func() { raw.Close() })
}

// fail closes the connection for good. A zero reply and a nil error don't go together.
func (c *Conn) fail(stage Stage, r reply.Reply, err error) error {
	if c.broken == nil {
		c.broken = &Error{Stage: stage, Host: c.name, Reply: r, Err: err}
		c.Close()
	}
	return c.broken
}

// ready says whether a new command may be sent.
func (c *Conn) ready(stage Stage) error {
	switch {
	case c.broken != nil:
		return c.broken
	case c.ctx.Err() != nil:
		return c.fail(stage, reply.Reply{}, context.Cause(c.ctx))
	case c.r.Buffered() > 0:
		return c.unasked(stage)
	}
	return nil
}

// unasked ends the conversation over what came without being asked for: commonly a 421 that says why, or the end.
func (c *Conn) unasked(stage Stage) error {
	r, err := c.read(stage, lastWordsTimeout)
	if err != nil {
		return err
	}
	return c.fail(stage, reply.Reply{}, fmt.Errorf("%w: %v", ErrUnasked, r))
}

// flush sends what is queued. An error is kept for read, which may find a reply that explains it.
func (c *Conn) flush() error {
	if c.werr != nil {
		return c.werr
	}
	var err error
	for b := c.out; len(b) > 0 && err == nil; { // a time limit for each piece, so that a slow line isn't taken for a dead one
		piece := b[:min(len(b), flushAbove)]
		b = b[len(piece):]
		if err = c.nc.SetWriteDeadline(time.Now().Add(cmp.Or(c.d.CommandTimeout, DefaultCommandTimeout))); err == nil {
			_, err = c.nc.Write(piece)
		}
	}
	if cap(c.out) > 2*chunkSize {
		c.out = nil
	}
	c.out = c.out[:0]
	if isTimeout(err) {
		err = ErrTimeout
	}
	c.werr = err
	return err
}

// read reads one reply. 421 comes back together with an error: the server closes after it (RFC 5321 3.8).
func (c *Conn) read(stage Stage, limit time.Duration) (reply.Reply, error) {
	if c.broken != nil {
		return reply.Reply{}, c.broken
	}
	if c.werr != nil {
		limit = min(limit, lastWordsTimeout)
	}
	err := c.nc.SetReadDeadline(time.Now().Add(limit))
	var r reply.Reply
	if err == nil {
		r, err = readReply(c.r)
	}
	switch {
	case err == nil && r.Code == 421:
		return r, c.fail(stage, r, nil)
	case err == nil:
		return r, nil
	case c.ctx.Err() != nil:
		err = context.Cause(c.ctx)
	case c.werr != nil && errors.Is(c.werr, ErrTimeout):
		err = fmt.Errorf("sending: %w", c.werr)
	case c.werr != nil && !errors.Is(err, ErrProtocol):
		err = fmt.Errorf("%w while sending: %w", ErrClosed, c.werr)
	case !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrClosed):
		err = fmt.Errorf("%w: %w", ErrClosed, err) // a reset, say
	}
	return reply.Reply{}, c.fail(stage, reply.Reply{}, err)
}

func (c *Conn) commandTimeout() time.Duration {
	return cmp.Or(c.d.CommandTimeout, DefaultCommandTimeout)
}

// answer reads the reply to a command that is answered with 2xx, 4xx or 5xx.
func (c *Conn) answer(stage Stage) (reply.Reply, error) {
	r, err := c.read(stage, cmp.Or(c.d.CommandTimeout, DefaultCommandTimeout))
	if err == nil && r.Intermediate() {
		return reply.Reply{}, c.misfit(stage, r)
	}
	return r, err
}

// refuse ends the conversation over a reply that isn't what must be.
func (c *Conn) refuse(stage Stage, r reply.Reply) error {
	if r.Transient() || r.Permanent() {
		return c.fail(stage, r, nil)
	}
	return c.misfit(stage, r)
}

// misfit ends the conversation over a reply that makes no sense here.
func (c *Conn) misfit(stage Stage, r reply.Reply) error {
	return c.fail(stage, reply.Reply{}, fmt.Errorf("%w here: %v", ErrProtocol, r))
}

// command sends one line and reads its reply.
func (c *Conn) command(stage Stage, line string) (reply.Reply, error) {
	return c.exchange(stage, func(b []byte) []byte { return append(append(b, line...), "\r\n"...) })
}

// exchange sends what add appends, one command, and reads its reply.
func (c *Conn) exchange(stage Stage, add func([]byte) []byte) (reply.Reply, error) {
	if err := c.ready(stage); err != nil {
		return reply.Reply{}, err
	}
	c.out = add(c.out)
	c.flush() // read tells
	return c.answer(stage)
}

// Mail opens a transaction, after ending one that is open. A refusal is a reply, not an error.
func (c *Conn) Mail(ctx context.Context, m Mail) (reply.Reply, error) {
	defer c.watch(ctx)()
	if err := c.hush(StageMail); err != nil {
		return reply.Reply{}, err
	}
	if r := c.unfit(&m, nil); !r.IsZero() {
		return r, nil
	}
	if err := c.rset(); err != nil {
		return reply.Reply{}, err
	}
	r, err := c.exchange(StageMail, func(b []byte) []byte { return c.appendMail(b, &m, false) })
	c.open = err == nil && r.Positive()
	return r, err
}

// Rcpt names a recipient. A refusal is a reply, not an error.
func (c *Conn) Rcpt(ctx context.Context, rc Rcpt) (reply.Reply, error) {
	defer c.watch(ctx)()
	if err := c.ready(StageRcpt); err != nil {
		return reply.Reply{}, err
	}
	if r := unfitPath(rc.Address, c.utf8); !r.IsZero() {
		return r, nil
	}
	return c.exchange(StageRcpt, func(b []byte) []byte { return c.appendRcpt(b, &rc) })
}

// Data sends the message: size octets of src, -1 when not known. The reply is that to its end, or to DATA or BDAT where
// that was refused. An error for which errors.Is(err, ErrUnknown) leaves open whether the server took it.
func (c *Conn) Data(ctx context.Context, src io.Reader, size int64) (reply.Reply, error) {
	defer c.watch(ctx)()
	if err := c.ready(StageData); err != nil {
		return reply.Reply{}, err
	}
	if !c.offers.Chunking {
		c.out = append(c.out, "DATA\r\n"...)
		c.flush() // read tells
		r, err := c.read(StageData, cmp.Or(c.d.CommandTimeout, DefaultCommandTimeout))
		switch {
		case err != nil || r.Transient() || r.Permanent():
			return r, err
		case r.Code != 354:
			return reply.Reply{}, c.misfit(StageData, r)
		}
	}
	refused, err := c.prepare(src, size)
	if err != nil || !refused.IsZero() {
		return refused, err
	}
	if err := c.hush(StageMessage); err != nil {
		return reply.Reply{}, err
	}
	c.flush() // read tells
	return c.dot()
}

// dot reads the reply to the end of a message.
func (c *Conn) dot() (reply.Reply, error) {
	r, err := c.read(StageDot, cmp.Or(c.d.DataTimeout, DefaultDataTimeout))
	if err == nil && r.Intermediate() {
		return reply.Reply{}, c.misfit(StageDot, r)
	}
	// RFC 3030 2 leaves open what a refused BDAT leaves behind.
	c.open = c.offers.Chunking && !r.Positive()
	return r, err
}

// rset ends a transaction if one is open.
func (c *Conn) rset() error {
	if !c.open {
		return nil
	}
	r, err := c.command(StageRset, "RSET")
	if err == nil && !r.Positive() {
		err = c.refuse(StageRset, r)
	}
	c.open = err != nil
	return err
}

// Reset ends the transaction.
func (c *Conn) Reset(ctx context.Context) error {
	defer c.watch(ctx)()
	c.open = true
	return c.rset()
}

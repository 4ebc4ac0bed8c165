package smtpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"restante/relay/reply"
)

// groupMax bounds the commands sent before their replies are read. Their replies, some 100 octets each, fit into
// any TCP window, so that a server which must write before it reads on can't block us both (RFC 2920 3.1).
const groupMax = 64

// flight is a transaction under way.
type flight struct {
	t      *Transaction
	res    *Result
	local  bool // refused by ourselves, nothing was sent
	behind bool // its envelope went out behind the message before
	again  bool // its envelope was sent a second time

	rset, xforward, mail, data bool // replies owed to these
	sent, answered             int  // RCPT commands
}

// runner is one call of Run.
type runner struct {
	c      *Conn
	next   func() *Transaction
	before func(*Transaction) error
	done   func(*Transaction, *Result) error
}

// Run sends one transaction after another, until next returns nil and what was begun is done. It then returns nil, and
// the connection can be used on.
//
// Where the server offers PIPELINING a message costs one round trip: the end of one message goes out together with the
// envelope of the next. So next is asked for the following transaction just before the end of one is sent; it must
// not wait for that one. Without PIPELINING, and where XCLIENT is used, it takes the round trips that the protocol needs.
//
// before is called just before the end of a message is sent, the last moment to hold it back (a lease that is lost). done
// is called exactly once for each transaction that next returned, in order, and has returned before the end of
// the following message is sent. An error of either ends the connection and comes back from Run.
//
// A connection that is Spent takes no further transaction: Run returns nil behind the first.
//
// When the connection ends, Run returns its *Error, which is also in the Result of the transaction it happened in; a transaction
// whose envelope was on its way behind that gets ErrUnused. before may be nil.
func (c *Conn) Run(ctx context.Context, next func() *Transaction, before func(*Transaction) error, done func(*Transaction, *Result) error) error {
	defer c.watch(ctx)()
	if before == nil {
		before = func(*Transaction) error { return nil }
	}
	return (&runner{c: c, next: next, before: before, done: done}).run()
}

func (r *runner) run() error {
	if err := r.c.ready(StageMail); err != nil {
		return err
	}
	var cur *flight
	begun := false
	for {
		if cur == nil {
			if begun && r.c.Spent() {
				return nil
			}
			t := r.next()
			if t == nil {
				return nil
			}
			cur, begun = r.board(t), true
			r.begin(cur)
		}
		send, err := r.envelope(cur)
		if err != nil {
			return r.end(err, cur, nil)
		}
		if !send {
			if err := r.done(cur.t, cur.res); err != nil {
				return r.abort(err, nil)
			}
			cur = nil
			continue
		}
		nxt, more, err := r.message(cur)
		if err != nil {
			return r.end(err, cur, nxt)
		}
		if err := r.done(cur.t, cur.res); err != nil {
			return r.abort(err, nxt)
		}
		if !more {
			return nil
		}
		cur = nxt
	}
}

// end reports a connection that ended in cur, and behind it nxt, if there was one.
func (r *runner) end(err error, cur, nxt *flight) error {
	cur.res.Err = err
	out := err
	if e := r.done(cur.t, cur.res); e != nil {
		out = e
	}
	return r.unused(out, ErrUnused, nxt)
}

// abort ends the connection because of an error of done.
func (r *runner) abort(err error, nxt *flight) error {
	r.c.fail(StageMail, reply.Reply{}, fmt.Errorf("%w: %w", ErrAborted, err))
	return r.unused(err, ErrAborted, nxt)
}

// unused reports a transaction whose turn doesn't come any more.
func (r *runner) unused(err, why error, nxt *flight) error {
	if nxt == nil {
		return err
	}
	nxt.res.Err = &Error{Stage: StageMail, Host: r.c.name, Err: why}
	if e := r.done(nxt.t, nxt.res); e != nil {
		err = errors.Join(err, e)
	}
	return err
}

// board makes a transaction ready. One that the server can't take is answered by ourselves.
func (r *runner) board(t *Transaction) *flight {
	t.Mail.Size = t.Size
	f := &flight{t: t, res: &Result{Rcpts: make([]reply.Reply, len(t.Rcpts))}}
	f.res.Mail = r.c.unfit(&t.Mail, t.Rcpts)
	if len(t.Rcpts) == 0 {
		f.res.Mail = reply.New(554, reply.Enhanced{5, 5, 1}, "no recipients").With(ErrUnsupported)
	}
	f.local = !f.res.Mail.IsZero()
	for i := 0; i < len(t.Rcpts) && !f.local; i++ {
		if f.res.Rcpts[i] = unfitPath(t.Rcpts[i].Address, true); !f.res.Rcpts[i].IsZero() && len(t.Rcpts) == 1 {
			f.local = true
		}
	}
	return f
}

// begin sends the first commands of a transaction that isn't behind another. Errors are for the read that follows.
func (r *runner) begin(f *flight) {
	if f.local {
		return
	}
	if r.usesXClient() && r.c.xclient(f.t.Origin) != nil {
		return
	}
	if r.c.hush(StageMail) != nil {
		return
	}
	if r.c.offers.Pipelining {
		r.queue(f)
		r.c.flush() // read tells
	}
}

func (r *runner) usesXClient() bool { return r.c.target.XClient && len(r.c.offers.XClient) > 0 }

func (r *runner) usesXForward() bool {
	return r.c.target.XForward && len(r.c.offers.XForward) > 0 && !r.usesXClient()
}

// queue queues the commands before the first RCPT, the first group of those, and DATA if that was all.
func (r *runner) queue(f *flight) {
	c := r.c
	if c.open {
		c.out = append(c.out, "RSET\r\n"...)
		f.rset, c.open = true, false
	}
	if r.usesXForward() {
		c.out = append(append(append(c.out, "XFORWARD"...), c.attributes(f.t.Origin, c.offers.XForward)...), "\r\n"...)
		f.xforward = true
	}
	c.out = c.appendMail(c.out, &f.t.Mail, f.international())
	f.mail = true
	r.queueRcpts(f)
}

// international reports a recipient that needs SMTPUTF8.
func (f *flight) international() bool {
	for i := range f.t.Rcpts {
		if !ascii(f.t.Rcpts[i].Address) {
			return true
		}
	}
	return false
}

// queueRcpts queues the next group of RCPT commands, and DATA behind the last one.
func (r *runner) queueRcpts(f *flight) {
	c := r.c
	for n := 0; f.sent < len(f.t.Rcpts) && n < groupMax; f.sent++ {
		if !f.res.Rcpts[f.sent].IsZero() {
			continue // refused by ourselves
		}
		c.out = c.appendRcpt(c.out, &f.t.Rcpts[f.sent])
		n++
	}
	if f.sent == len(f.t.Rcpts) && !c.offers.Chunking {
		c.out = append(c.out, "DATA\r\n"...)
		f.data = true
	}
}

// envelope reads the replies to everything before the message, sending what of it wasn't sent. It reports
// whether the message is to be sent.
func (r *runner) envelope(f *flight) (bool, error) {
	c := r.c
	if f.local {
		return false, nil
	}
	if c.broken != nil {
		if c.broken.Stage == StageXClient {
			f.res.Mail = c.broken.Reply // what the server has against this client it would have said to MAIL
		}
		return false, c.broken
	}
	if !c.offers.Pipelining {
		return r.envelopeStepwise(f)
	}
	if err := r.opening(f); err != nil {
		return false, err
	}
	for {
		if err := r.rcptReplies(f); err != nil {
			return false, err
		}
		if f.sent == len(f.t.Rcpts) || !f.res.Mail.Positive() {
			break
		}
		if err := c.ready(StageRcpt); err != nil {
			return false, err
		}
		r.queueRcpts(f)
		c.flush() // read tells
	}
	if f.behind && !f.again && f.res.Mail.Code == 503 {
		return r.repeat(f)
	}
	if f.data {
		return r.dataReply(f)
	}
	return f.res.Mail.Positive() && f.accepted(), nil
}

// opening reads the replies to RSET, XFORWARD and MAIL.
func (r *runner) opening(f *flight) error {
	c := r.c
	if f.rset {
		f.rset = false
		if p, err := c.answer(StageRset); err != nil || !p.Positive() {
			return c.refuse(StageRset, p) // keeps an error that there was
		}
	}
	if f.xforward {
		f.xforward = false
		p, err := c.answer(StageXForward)
		if err != nil {
			return err
		}
		r.forwarded(p)
	}
	if f.mail {
		f.mail = false
		var err error
		if f.res.Mail, err = c.answer(StageMail); err != nil {
			return err
		}
		c.open = f.res.Mail.Positive()
	}
	return nil
}

// forwarded takes the reply to XFORWARD. It is only for the server's log: a refusal is no reason to keep mail back.
func (r *runner) forwarded(p reply.Reply) {
	if !p.Positive() {
		r.c.d.log().Warn("the primary offers XFORWARD and refuses it; not used on this connection any more", "host", r.c.name, "reply", p.String())
		r.c.offers.XForward = nil
	}
}

// rcptReplies reads the replies to those RCPT commands that were sent.
func (r *runner) rcptReplies(f *flight) error {
	for ; f.answered < f.sent; f.answered++ {
		if !f.res.Rcpts[f.answered].IsZero() {
			continue
		}
		p, err := r.c.answer(StageRcpt)
		f.res.Rcpts[f.answered] = p
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *flight) accepted() bool {
	for i := range f.res.Rcpts {
		if f.res.Rcpts[i].Positive() {
			return true
		}
	}
	return false
}

// dataReply reads the reply to a DATA that went out with the envelope.
func (r *runner) dataReply(f *flight) (bool, error) {
	c := r.c
	f.data = false
	p, err := c.read(StageData, cmp.Or(c.d.CommandTimeout, DefaultCommandTimeout))
	accepted := f.res.Mail.Positive() && f.accepted()
	switch {
	case err != nil || p.Transient() || p.Permanent():
		if accepted {
			f.res.Dot = p
		}
		return false, err
	case p.Code != 354:
		return false, c.misfit(StageData, p)
	case accepted:
		return true, nil
	case !f.res.Mail.Positive():
		// Recipients and message of which transaction? Better not to know.
		return false, c.misfit(StageData, p)
	}
	// RFC 2920 3.1: 354 although no recipient was accepted is answered by the dot alone.
	c.out = append(c.out, ".\r\n"...)
	c.flush() // read tells
	_, err = c.answer(StageData)
	c.open = false
	return false, err
}

// repeat sends an envelope again that was refused as out of order behind the message before, as
// servers do that don't leave a transaction when its message is refused.
func (r *runner) repeat(f *flight) (bool, error) {
	if f.data { // 503 like the rest, else we don't know where we are
		if p, err := r.c.read(StageData, cmp.Or(r.c.d.CommandTimeout, DefaultCommandTimeout)); err != nil {
			return false, err
		} else if !p.Permanent() && !p.Transient() {
			return false, r.c.misfit(StageData, p)
		}
	}
	again := r.board(f.t)
	again.again = true
	*f = *again
	r.c.open = true
	if err := r.c.ready(StageMail); err != nil {
		return false, err
	}
	r.queue(f)
	r.c.flush() // read tells
	return r.envelope(f)
}

// envelopeStepwise is envelope for a server without PIPELINING: each command waits for the reply to the one before.
func (r *runner) envelopeStepwise(f *flight) (bool, error) {
	c := r.c
	if err := c.rset(); err != nil {
		return false, err
	}
	if r.usesXForward() {
		p, err := c.command(StageXForward, "XFORWARD"+c.attributes(f.t.Origin, c.offers.XForward))
		if err != nil {
			return false, err
		}
		r.forwarded(p)
	}
	var err error
	f.res.Mail, err = c.exchange(StageMail, func(b []byte) []byte { return c.appendMail(b, &f.t.Mail, f.international()) })
	c.open = f.res.Mail.Positive()
	if err != nil || !c.open {
		return false, err
	}
	for i := range f.t.Rcpts {
		if !f.res.Rcpts[i].IsZero() {
			continue // refused by ourselves
		}
		f.res.Rcpts[i], err = c.exchange(StageRcpt, func(b []byte) []byte { return c.appendRcpt(b, &f.t.Rcpts[i]) })
		if err != nil {
			return false, err
		}
	}
	if !f.accepted() || c.offers.Chunking {
		return f.accepted(), nil
	}
	if err := c.ready(StageData); err != nil {
		return false, err
	}
	c.out = append(c.out, "DATA\r\n"...)
	c.flush() // read tells
	return r.dataReply(f)
}

// message sends the message of f and, behind its end, the envelope of the next transaction. The result is complete when
// it returns. more is false when next had nothing more.
func (r *runner) message(f *flight) (nxt *flight, more bool, err error) {
	c := r.c
	refused, err := r.body(f.t)
	if err != nil || !refused.IsZero() {
		f.res.Dot, c.open = refused, true
		return nil, true, err
	}
	more = true
	if c.offers.Pipelining && !r.usesXClient() {
		t := r.next()
		if more = t != nil; more {
			nxt = r.board(t)
		}
	}
	if err := r.before(f.t); err != nil {
		return nxt, more, c.fail(StageMessage, reply.Reply{}, fmt.Errorf("%w: %w", ErrAborted, err))
	}
	if err := c.hush(StageMessage); err != nil {
		return nxt, more, err
	}
	c.open = false
	follows := nxt != nil && !nxt.local
	if follows {
		nxt.behind = true
		r.queue(nxt)
	}
	f.res.Sent = true
	c.flush() // read tells
	open := c.open
	f.res.Dot, err = c.dot()
	if follows {
		c.open = open
	}
	return nxt, more, err
}

// body sends the message but for its end.
func (r *runner) body(t *Transaction) (reply.Reply, error) {
	src, err := t.Body()
	if err != nil {
		return reply.Reply{}, r.c.source("opening it: %w", err)
	}
	refused, err := r.c.prepare(src, t.Size)
	if cl, ok := src.(io.Closer); ok {
		if e := cl.Close(); e != nil && err == nil {
			err = r.c.source("closing it: %w", e)
		}
	}
	return refused, err
}

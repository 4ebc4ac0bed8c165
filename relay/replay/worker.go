package replay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"

	"restante/relay/health"
	"restante/relay/replay/pace"
	"restante/relay/smtpc"
	"restante/relay/trace"
	"restante/spool"
)

var (
	errLease   = errors.New("the lease is no longer held")
	errStopped = errors.New("outcomes can't be recorded")
)

// worker is one connection and what is under way on it.
type worker struct {
	g      *group
	e      *Engine
	give   chan *job // cap 1; closed: nothing more to do
	domain string    // to dial for
	conn   *smtpc.Conn
	jobs   []*job // taken and not ended, in order
	read   int    // results read
}

// work dials, sends what the group gives it, and ends when there is nothing for ConnIdle, when the
// window shrinks or when the connection breaks.
func (w *worker) work(ctx context.Context) {
	g, e := w.g, w.e
	conn, err := g.dial(ctx, w.domain)
	e.mu.Lock()
	g.connecting--
	if err == nil {
		g.pace.Opened()
	}
	e.mu.Unlock()
	if err != nil {
		w.dialFailed(ctx, err)
		return
	}
	w.conn = conn
	for {
		j := w.wait(ctx)
		if j == nil {
			conn.Quit()
			break
		}
		if err := w.converse(ctx, j); err != nil {
			conn.Close()
			if ctx.Err() == nil {
				e.log.Info("connection to a primary ended", "primary", g.key, "host", conn.Remote(), "error", err)
			}
			break
		}
		if conn.Spent() {
			conn.Quit()
			break
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	g.workers--
	g.owed = time.Time{}
	g.pace.Closed()
	g.dispatch()
	g.wakeFeeder()
}

// wait returns the next job, nil when the connection is to be closed.
func (w *worker) wait(ctx context.Context) *job {
	g, e := w.g, w.e
	e.mu.Lock()
	if g.stopped || g.once == nil && e.feeding.Err() != nil || g.pace.Excess() {
		e.mu.Unlock()
		return nil
	}
	if j := g.take(time.Now()); j != nil {
		e.mu.Unlock()
		return j
	}
	g.idle = append(g.idle, w)
	e.mu.Unlock()
	timer := time.NewTimer(ConnIdle)
	defer timer.Stop()
	var j *job
	select {
	case j = <-w.give:
	case <-ctx.Done():
	case <-timer.C:
	}
	if j == nil {
		e.mu.Lock()
		i := slices.Index(g.idle, w)
		if i >= 0 {
			g.idle = slices.Delete(g.idle, i, i+1)
		}
		e.mu.Unlock()
		if i >= 0 {
			return nil
		}
		if j = <-w.give; j == nil { // given, or closed, in the same moment
			return nil
		}
	}
	if !w.conn.Alive() {
		e.mu.Lock()
		w.unsend(j)
		e.mu.Unlock()
		return nil
	}
	return j
}

// unsend puts a started job back at the front, for no fault of its own. Callers hold e.mu.
func (w *worker) unsend(j *job) {
	w.g.pace.Ended(time.Now(), pace.Unsent)
	w.g.push(j, true)
}

// dialFailed says what a connection that could not be made means.
func (w *worker) dialFailed(ctx context.Context, err error) {
	g, e := w.g, w.e
	now := time.Now()
	e.mu.Lock()
	g.workers--
	others := g.pace.Connections() > 1
	g.pace.Failed(now)
	if !others {
		g.lostRow++
	}
	if g.once != nil && !others {
		g.once.dialFailed(err)
	}
	g.dispatch()
	e.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	e.o.Metrics.connect(others)
	e.log.Info("no connection to a primary", "primary", g.key, "others", others, "error", err)
	if others || g.once != nil && g.once.sel.To != "" {
		return // it takes no more connections than it has
	}
	var se *smtpc.Error
	kind, host, reply := health.Lost, "", ""
	if errors.As(err, &se) {
		host = se.Host
		if !se.Reply.IsZero() {
			reply = spool.Printable(se.Reply.String())
		}
		if se.Reply.Permanent() {
			kind = health.Ban
		}
	}
	e.observe(w.domain, kind, host, reply, spool.Printable(err.Error()))
}

// converse sends j and whatever else the group gives, until it gives nothing more. After an error the
// connection is of no use.
func (w *worker) converse(ctx context.Context, first *job) error {
	w.read = min(w.read, 1)
	err := w.conn.Run(ctx,
		func() *smtpc.Transaction {
			for {
				j := first
				if first = nil; j == nil {
					if j = w.another(); j == nil {
						return nil
					}
				}
				if j = w.recheck(ctx, j); j != nil {
					w.jobs = append(w.jobs, j)
					return w.e.transaction(j)
				}
			}
		},
		func(t *smtpc.Transaction) error { return w.before(t.Tag.(*job)) },
		func(t *smtpc.Transaction, res *smtpc.Result) error {
			j := t.Tag.(*job)
			w.jobs = slices.DeleteFunc(w.jobs, func(o *job) bool { return o == j })
			return w.result(ctx, j, res)
		})
	if len(w.jobs) > 0 || first != nil {
		// Run ended without a word on these: nothing of them was answered.
		w.e.mu.Lock()
		if first != nil {
			w.jobs = append(w.jobs, first)
		}
		for i := len(w.jobs) - 1; i >= 0; i-- {
			w.unsend(w.jobs[i])
		}
		w.jobs = nil
		w.e.mu.Unlock()
	}
	return err
}

// another takes the next job without waiting.
func (w *worker) another() *job {
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	if w.g.stopped || w.g.once == nil && w.e.feeding.Err() != nil || w.g.pace.Excess() {
		return nil
	}
	return w.g.take(time.Now())
}

// before is asked right before each final dot.
func (w *worker) before(j *job) error {
	for _, p := range j.parts() {
		if !p.lease.Valid() {
			return errLease
		}
	}
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	if w.e.failed != nil {
		return errStopped
	}
	w.g.owed = time.Now()
	return nil
}

// recheck asks again for the pairs of a job that waited for long: an admin may have held or removed
// some of them. It returns nil when none is left, or the index can't be asked.
func (w *worker) recheck(ctx context.Context, j *job) *job {
	if time.Since(j.read) < recheckAfter {
		return j
	}
	now := time.Now()
	v, err := w.e.o.Index.Entry(ctx, j.pairs[0].Entry)
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	if err != nil {
		w.g.pace.Ended(now, pace.Unsent)
		w.g.giveUp(j)
		return nil
	}
	return w.still(j, v.Pairs, now)
}

// transaction is a job as it goes over the wire.
func (e *Engine) transaction(j *job) *smtpc.Transaction {
	en := j.entry
	t := &smtpc.Transaction{
		Mail: smtpc.Mail{
			From: en.From, Body: en.Params.Body, SMTPUTF8: en.Params.SMTPUTF8, RequireTLS: en.Params.RequireTLS,
			Ret: en.Params.Ret, EnvID: en.Params.EnvID,
		},
		Rcpts: make([]smtpc.Rcpt, 0, j.count()),
		Tag:   j,
	}
	for _, part := range j.parts() {
		for _, p := range part.pairs {
			r := en.Rcpts[p.Rcpt]
			t.Rcpts = append(t.Rcpts, smtpc.Rcpt{Address: r.Address, Notify: r.Notify, ORcpt: r.ORcpt})
		}
	}
	if en.Client.Addr != "" {
		// An address that isn't one was never of use; the rest still is.
		addr, _ := netip.ParseAddr(en.Client.Addr)
		t.Origin = &smtpc.Origin{Addr: addr, Port: en.Client.Port, Name: en.Client.Name, Helo: en.Client.Helo, Protocol: en.Client.Protocol, ID: en.ID}
	}
	t.Size = j.body.Size()
	t.Body = func() (io.Reader, error) { return j.body.Reader(), nil }
	b, inMemory := j.body.Bytes()
	if inMemory {
		t.Body = func() (io.Reader, error) { return bytes.NewReader(b), nil }
		if en.TraceSize > len(b) || !mayForge(b[en.TraceSize:]) {
			return t
		}
	}
	if e.o.AuthservID == "" {
		return t
	}
	r, size, err := trace.Strip(j.body, int64(en.TraceSize), j.body.Size(), e.o.AuthservID)
	t.Body = func() (io.Reader, error) { return r, err }
	if err == nil {
		t.Size = size
	}
	return t
}

// mayForge says quickly that most messages have no Authentication-Results field at all.
func mayForge(message []byte) bool {
	header := message
	if i := bytes.Index(message, []byte("\r\n\r\n")); i >= 0 {
		header = message[:i+2]
	}
	for len(header) > 0 {
		if len(header) > 22 && (header[0] == 'A' || header[0] == 'a') && bytes.EqualFold(header[:22], []byte("authentication-results")) {
			return true
		}
		i := bytes.IndexByte(header, '\n')
		if i < 0 {
			return false
		}
		header = header[i+1:]
	}
	return false
}

package smtpd

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	smtp "github.com/emersion/go-smtp"

	"restante/relay/reply"
	"restante/spool"
)

// session is what go-smtp calls. It does so from the engine's goroutine, but for the Data of a message that
// comes by BDAT, which has a goroutine of its own; Reset may be called while that one still runs.
type session struct {
	w *wire

	mu  sync.Mutex
	txn *txn // nil outside a transaction
}

// txn is a transaction from MAIL to its end.
type txn struct {
	w        *wire
	tx       Transaction
	client   *Client
	mail     Mail
	begun    time.Time
	rcpts    int
	refused  int          // recipients
	refusal  reply.Reply  // the last of them
	declared atomic.Int64 // octets that the chunks of BDAT should have
	chunks   atomic.Bool  // some came

	mu     sync.Mutex
	busy   bool // Data runs
	over   bool // Reset came
	id     string
	size   int64
	took   time.Duration // from the end of the message to the reply
	result reply.Reply   // to the message; zero: there was none
	drop   bool          // closed without a reply
}

// Mail opens a transaction.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	w := s.w
	if s.open() {
		return wireError(reply.New(503, reply.Enhanced{5, 5, 1}, "Nested MAIL, end the transaction first"))
	}
	m := Mail{From: w.cmd.addr, Raw: w.cmd.path, Size: opts.Size, Params: spool.Params{
		Body: string(opts.Body), SMTPUTF8: opts.UTF8, RequireTLS: opts.RequireTLS,
		Ret: string(opts.Return), EnvID: w.cmd.param("ENVID"),
	}}
	if !m.From.ASCII() && !opts.UTF8 {
		return wireError(needsUTF8)
	}
	t := &txn{w: w, client: w.client(opts.UTF8), mail: m, begun: time.Now()}
	tx, r := w.srv.o.Handler.Begin(w.ctx, t.client, m)
	if r = proper(r); !r.IsZero() && !r.Positive() {
		w.cmd.judged = true
		t.result = r
		t.log("refused at MAIL")
		return wireError(r)
	}
	t.tx = tx
	s.mu.Lock()
	s.txn = t
	s.mu.Unlock()
	w.srv.wg.Add(1)
	w.accept(r, reply.New(250, reply.Enhanced{2, 1, 0}, "Sender ok"))
	return nil
}

// Rcpt adds a recipient.
func (s *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	w, t := s.w, s.current()
	if t == nil {
		return wireError(outOfOrder)
	}
	r := s.rcpt(t)
	if r.IsZero() || r.Positive() {
		t.rcpts++
		w.accept(r, reply.New(250, reply.Enhanced{2, 1, 5}, "Recipient ok"))
		return nil
	}
	t.refused++
	t.refusal = r
	w.cmd.judged = true
	w.srv.o.Metrics.rcptRefused(r)
	if r.Permanent() {
		if w.refused++; w.refused >= w.limits.RefusedRecipients && w.doom.IsZero() {
			w.srv.o.Metrics.limited("harvest")
			w.doom = reply.New(421, reply.Enhanced{4, 7, 0}, "Too many refused recipients")
		}
	}
	return wireError(r)
}

func (s *session) rcpt(t *txn) reply.Reply {
	c := &s.w.cmd
	switch {
	case !c.addr.ASCII() && !t.mail.Params.SMTPUTF8:
		return needsUTF8
	case c.addr.Routed(): // nothing that another server may take for a route is ours
		return reply.New(550, reply.Enhanced{5, 7, 1}, "Addresses with a route in them are not relayed")
	}
	return proper(t.tx.Rcpt(s.w.ctx, Rcpt{
		Addr: c.addr, Raw: c.path, Notify: c.param("NOTIFY"), ORcpt: c.param("ORCPT"),
	}))
}

// Replies that have several uses.
var (
	needsUTF8  = reply.New(553, reply.Enhanced{5, 6, 7}, "A non-ASCII address needs SMTPUTF8")
	outOfOrder = reply.New(503, reply.Enhanced{5, 5, 1}, "Out of order")
)

// proper makes sure that a Handler's reply is one that ends a command.
func proper(r reply.Reply) reply.Reply {
	if r.IsZero() || r.Positive() || r.Transient() || r.Permanent() {
		return r
	}
	return reply.New(451, reply.Enhanced{4, 3, 0}, "Internal error").With(r)
}

// accept makes go-smtp's next reply, which will be positive, the Handler's.
func (w *wire) accept(r, otherwise reply.Reply) {
	w.instead = r
	if r.IsZero() {
		w.instead = otherwise
	}
}

// wireError makes go-smtp send a reply. Any other error would become 554 there, with its text.
func wireError(r reply.Reply) error {
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.EnhancedCode(r.Enhanced), Message: r.Text}
}

// Data takes a message. With DATA, r is go-smtp's own reader and is passed over (see wire.readData); with BDAT it is
// the pipe that the engine's goroutine writes the chunks to. The transaction is the one that is open as we begin:
// that goroutine waits for our first read, or for our end. (An empty chunk that isn't the last wouldn't make it wait;
// wire.checkBdat doesn't let those through.)
func (s *session) Data(r io.Reader) error {
	t := s.current()
	if t == nil || !t.enter() {
		return wireError(outOfOrder)
	}
	defer t.leave()
	_, bdat := r.(*io.PipeReader)
	t.tx.Expect()
	body := spool.NewBody(s.w.srv.o.TempDir, s.w.limits.Memory)
	defer body.Close()
	in := newIntake(body, !bdat, &s.w.limits, min(s.w.limits.MessageSize, s.w.offers.Size))
	var err error
	if bdat {
		err = s.readPipe(r, in, t)
	} else {
		err = s.w.readData(in)
	}
	if err != nil { // the peer is gone, or began anew: nobody waits for a reply
		t.settle(reply.Reply{}, false)
		return wireError(reply.New(451, reply.Enhanced{4, 3, 0}, "Message cut short").With(err))
	}
	res := s.finish(t, in, body)
	if res.IsZero() {
		return wireError(reply.New(421, reply.Enhanced{4, 3, 0}, dropped))
	}
	return wireError(res)
}

// readPipe reads the chunks of BDAT to the last.
func (s *session) readPipe(r io.Reader, in *intake, t *txn) error {
	buf := s.w.srv.large.Get().(*[]byte)
	defer s.w.srv.recycle(buf)
	var got int64
	for {
		n, err := r.Read(*buf)
		got += int64(n)
		in.feed((*buf)[:n])
		if err == nil {
			continue
		}
		if err != io.EOF {
			return err
		}
		in.finish()
		// go-smtp takes a connection that breaks within the last chunk for its end. wire.readChunk
		// keeps that from it; this is the second lock on the same door.
		if got != t.declared.Load() {
			return errors.New("octets of the chunks are missing")
		}
		return nil
	}
}

// finish judges a message that is here and gives it to the Handler.
func (s *session) finish(t *txn, in *intake, body *spool.Body) reply.Reply {
	t.size = in.size
	res := in.fault
	if res.IsZero() {
		var err error
		if res, err = checkHeader(body, &s.w.limits, s.w.srv.o.Hostname); err != nil {
			res = temporary(err)
		}
	}
	if !res.IsZero() {
		t.settle(res, false)
		return res
	}
	t.id = spool.NewID()
	begun := time.Now()
	res = proper(t.tx.Data(s.w.ctx, t.id, body))
	t.took = time.Since(begun)
	t.settle(res, res.IsZero())
	return res
}

// Reset ends the transaction: after a message, at RSET and EHLO.
func (s *session) Reset() { s.end() }

// Logout ends the session.
func (s *session) Logout() error {
	s.end()
	return nil
}

func (s *session) current() *txn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.txn
}

func (s *session) open() bool { return s.current() != nil }

// expects hears that a chunk of n octets is announced. It reports whether there is a transaction to
// take it.
func (s *session) expects(n int64) bool {
	t := s.current()
	if t == nil || t.rcpts == 0 {
		return false
	}
	t.declared.Add(n)
	t.chunks.Store(true)
	return true
}

// receiving reports that chunks came, and not yet the last.
func (s *session) receiving() bool {
	t := s.current()
	return t != nil && t.chunks.Load()
}

// end ends the transaction, if there is one.
func (s *session) end() {
	s.mu.Lock()
	t := s.txn
	s.txn = nil
	s.mu.Unlock()
	if t == nil {
		return
	}
	t.mu.Lock()
	t.over = true
	busy := t.busy
	t.mu.Unlock()
	if !busy {
		t.close()
	}
}

// enter marks that Data runs; it fails if the transaction is over.
func (t *txn) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.busy {
		return false
	}
	t.busy = true
	return true
}

// leave ends Data, and the transaction if Reset came meanwhile.
func (t *txn) leave() {
	t.mu.Lock()
	t.busy = false
	over := t.over
	t.mu.Unlock()
	if over {
		t.close()
	}
}

// settle notes how the message ended.
func (t *txn) settle(r reply.Reply, drop bool) {
	t.result, t.drop = r, drop
	if r.Positive() {
		t.w.kept.Store(true)
	}
}

// close is the last that happens to a transaction, once.
func (t *txn) close() {
	defer t.w.srv.wg.Done()
	t.tx.Reset()
	switch {
	case t.drop:
		t.log("closed without a reply")
	case t.result.IsZero():
		t.log("ended without a message")
	case t.result.Positive():
		t.log("accepted")
	default:
		t.log("refused")
	}
}

// log writes the one line of a transaction and counts it.
func (t *txn) log(what string) {
	all := time.Since(t.begun)
	t.w.srv.o.Metrics.transaction(t, all)
	if !t.w.log.Enabled(t.w.ctx, slog.LevelInfo) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	if t.id != "" {
		attrs = append(attrs, slog.String("id", t.id))
	}
	attrs = append(attrs, slog.String("from", spool.Printable(t.mail.From.String())),
		slog.Int("rcpts", t.rcpts), slog.Int64("size", t.size))
	if t.refused > 0 {
		attrs = append(attrs, slog.Int("refused", t.refused), slog.String("refusal", spool.Printable(t.refusal.String())))
	}
	if !t.result.IsZero() {
		attrs = append(attrs, slog.String("reply", spool.Printable(t.result.String())))
	}
	if t.result.Cause != nil {
		attrs = append(attrs, slog.String("cause", t.result.Cause.Error()))
	}
	attrs = append(attrs, slog.String("helo", t.client.Helo), slog.String("protocol", t.client.Protocol))
	if t.client.TLS != "" {
		attrs = append(attrs, slog.String("tls", t.client.TLS))
	}
	attrs = append(attrs, slog.Duration("took", all))
	t.w.log.LogAttrs(t.w.ctx, slog.LevelInfo, what, attrs...)
}

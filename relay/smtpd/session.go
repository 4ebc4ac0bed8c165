package smtpd

import (
	"errors"
	"io"
	"log/slog"
	"time"

	smtp "github.com/emersion/go-smtp"

	"restante/relay/policy/rate"
	"restante/relay/reply"
	"restante/spool"
)

// session is what go-smtp calls, always from the engine's goroutine.
type session struct {
	w   *wire
	txn *txn // nil outside a transaction
}

// txn is a transaction from MAIL to its end.
type txn struct {
	w       *wire
	tx      Transaction
	client  *Client
	mail    Mail
	begun   time.Time
	rcpts   int
	refused int         // recipients
	refusal reply.Reply // the last of them
	id      string
	size    int64
	took    time.Duration // from the end of the message to the reply
	result  reply.Reply   // to the message; zero: there was none
	drop    bool          // closed without a reply
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
	tx, r := s.begin(t)
	if r.Refuses() {
		w.cmd.judged = true
		t.result = r
		if w.oneByOne(r) {
			t.log("refused at MAIL")
		} else {
			w.srv.o.Metrics.transaction(t, 0)
		}
		return wireError(r)
	}
	t.tx = tx
	s.txn = t
	w.srv.wg.Add(1)
	w.accept(r, reply.New(250, reply.Enhanced{2, 1, 0}, "Sender ok"))
	return nil
}

// begin asks whether the sender is taken.
func (s *session) begin(t *txn) (Transaction, reply.Reply) {
	over := s.w.srv.o.Rates.Message(s.w.remote.Addr())
	if over.IsZero() {
		tx, r := s.w.srv.o.Handler.Begin(s.w.ctx, t.client, t.mail)
		return tx, proper(r)
	}
	s.w.srv.o.Metrics.limited("rate_" + over.Kind)
	if over.Kind == rate.Banned {
		return nil, s.w.over(421, over) // and the connection is closed
	}
	return nil, s.w.over(450, over)
}

// Rcpt adds a recipient.
func (s *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	w, t := s.w, s.txn
	if t == nil {
		return wireError(outOfOrder)
	}
	r := s.rcpt(t)
	if !r.Refuses() {
		t.rcpts++
		w.hit()
		w.accept(r, reply.New(250, reply.Enhanced{2, 1, 5}, "Recipient ok"))
		return nil
	}
	t.refused++
	t.refusal = r
	w.cmd.judged = true
	w.srv.o.Metrics.rcptRefused(r)
	if w.oneByOne(r) {
		w.logRefusal("recipient refused", r, "to", spool.Printable(w.cmd.path))
	}
	w.harvest(r)
	return wireError(r)
}

func (s *session) rcpt(t *txn) reply.Reply {
	c := &s.w.cmd
	switch {
	case !c.addr.ASCII() && !t.mail.Params.SMTPUTF8:
		return needsUTF8
	case c.addr.Routed(): // nothing that another server may take for a route is ours
		return reply.New(550, reply.Enhanced{5, 7, 1}, "Addresses with a route in them are not relayed").With(ErrForeign)
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

// Data takes a message. r is go-smtp's own reader and is passed over (see wire.readData): it is left for go-smtp to find
// the end of data in.
func (s *session) Data(io.Reader) error {
	w, t := s.w, s.txn
	if t == nil {
		return wireError(outOfOrder)
	}
	t.tx.Expect()
	bdat := w.cmd.verb == "BDAT"
	body := spool.NewBody(w.srv.o.TempDir, w.limits.Memory)
	defer body.Close()
	in := newIntake(body, !bdat, &w.limits, w.offers.Size)
	var err error
	if bdat {
		err = w.readChunks(in)
	} else {
		err = w.readData(in)
	}
	if errors.Is(err, errTooLarge) {
		in.refuse(tooLarge(w.offers.Size))
	} else if err != nil { // the peer is gone, or gave up: nobody waits for a reply
		return wireError(reply.New(451, reply.Enhanced{4, 3, 0}, "Message cut short"))
	}
	res := s.finish(t, in, body)
	if res.IsZero() {
		return wireError(reply.New(421, reply.Enhanced{4, 3, 0}, dropped))
	}
	return wireError(res)
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
	if res.IsZero() {
		t.id = spool.NewID()
		begun := time.Now()
		res = proper(t.tx.Data(s.w.ctx, t.id, body))
		t.took = time.Since(begun)
		t.drop = res.IsZero()
	}
	t.result = res
	if res.Positive() {
		s.w.commands = 0
		s.w.rises(useful)
	}
	return res
}

// Reset ends the transaction: after a message, at RSET and EHLO.
func (s *session) Reset() { s.end() }

// Logout ends the session.
func (s *session) Logout() error {
	s.end()
	return nil
}

func (s *session) open() bool { return s.txn != nil }

// ready reports that there is a transaction with somebody to send to.
func (s *session) ready() bool { return s.txn != nil && s.txn.rcpts > 0 }

// end ends the transaction, if there is one.
func (s *session) end() {
	if t := s.txn; t != nil {
		s.txn = nil
		t.close()
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

// logRefusal writes a line for what was refused outside a message, with what the sender wasn't told.
func (w *wire) logRefusal(what string, r reply.Reply, more ...any) {
	more = append(more, "reply", spool.Printable(r.String()))
	if r.Cause != nil {
		more = append(more, "cause", r.Cause.Error())
	}
	w.log.Info(what, more...)
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
	attrs = append(attrs, slog.Float64("took_ms", float64(all.Microseconds())/1000))
	t.w.log.LogAttrs(t.w.ctx, slog.LevelInfo, what, attrs...)
}

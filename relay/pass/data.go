package pass

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"restante/relay/policy"
	"restante/relay/reply"
	"restante/relay/smtpc"
	"restante/relay/trace"
	"restante/spool"
)

// Data relays the message, or keeps it.
func (t *transaction) Data(ctx context.Context, id string, body *spool.Body) reply.Reply {
	defer t.expectDone()
	now := time.Now()
	if len(t.rcpts) == 0 {
		return reply.New(554, reply.Enhanced{5, 5, 1}, "No valid recipients")
	}
	for _, d := range t.domains() {
		if limit := t.h.sizeLimit(d); limit > 0 && body.Size() > limit {
			t.h.o.Metrics.refused("size")
			return tooBigReply(limit)
		}
	}
	j := t.visit.Message(ctx, policy.Message{ID: id, Domains: t.domains(), Rcpts: t.addresses(), Body: body})
	if j.Reply.Refuses() {
		t.h.o.Metrics.refused("border")
		return j.Reply
	}
	m := &message{id: id, now: now, trace: append(j.Fields, t.received(id, now)...), body: body, judged: j}
	switch {
	case j.Quarantine != "":
		return t.keep(ctx, m, j.Quarantine)
	case t.way.primary == "":
		return t.keep(ctx, m, t.way.reason)
	}
	return t.pass(ctx, m)
}

// message is what Data was given, with our own fields.
type message struct {
	id     string
	now    time.Time
	trace  []byte
	body   *spool.Body
	judged policy.Judgement
}

// pass relays the message; the primary's reply is ours, or the mail is kept: see Judge.
func (t *transaction) pass(ctx context.Context, m *message) reply.Reply {
	domain := t.domain
	rep, failed := t.send(ctx, domain, m)
	if failed == nil {
		c := Case{Stage: AtDot, Reply: rep, TookMail: t.way.record.TookMail, Named: t.link.Named()}
		v := Judge(c)
		switch v.Action {
		case Pass:
			t.observe(domain, c, v, "")
			t.open = false // RFC 5321 4.1.1.4: the transaction is over, whatever the reply
			t.part()
			if rep.Positive() {
				t.h.learn(ctx, t.rcpts)
				t.h.o.Metrics.passed(m.body.Size())
				if t.h.o.Passed != nil {
					t.h.o.Passed(domain)
				}
			} else {
				t.h.o.Metrics.refused("primary")
			}
			t.log(m, "passed", rep.String(), "")
			return rep
		case Defer:
			t.open = false
			t.part()
			t.observe(domain, c, v, "")
			t.h.o.Metrics.refused("deferred")
			t.log(m, "deferred", rep.String(), "")
			return deferred(c, v)
		}
		t.open = false
		failed = &failure{Case: c, key: t.way.primary, reason: "message: " + spool.Printable(rep.String())}
	}
	v := Judge(failed.Case)
	t.fail(ctx, domain, failed, v)
	// The store is asked only now, when the primary can't have the mail: see the package comment.
	if err := t.h.o.Spool.Available(); err != nil {
		t.h.o.Metrics.refused("store")
		if v.Unknown {
			t.log(m, "unknown", "", failed.reason)
			return reply.Reply{}
		}
		t.log(m, "refused", "", failed.reason+"; "+err.Error())
		return unavailable(err)
	}
	rep = t.keep(ctx, m, failed.reason)
	if v.Unknown && !rep.Positive() {
		return reply.Reply{} // the primary may have it: anything we said could be wrong
	}
	return rep
}

// send gives the message to the primary. The reply is its reply to DATA or to the end of the message.
func (t *transaction) send(ctx context.Context, domain string, m *message) (reply.Reply, *failure) {
	// Reading the message took its time. A session closed meanwhile is seen before anything of the
	// message goes out, so that nobody has to wonder what became of it.
	if t.link == nil || !t.link.Alive() {
		if t.reopened {
			return reply.Reply{}, t.failed(AtData, smtpc.ErrClosed, t.way)
		}
		if f := t.reopen(ctx, domain, t.way); f != nil {
			f.Stage = AtData
			return reply.Reply{}, f
		}
	}
	for {
		r, size, err := m.reader(t.h.o.Hostname)
		if err != nil {
			return reply.Reply{}, &failure{Case: Case{Stage: AtData}, key: t.way.primary, reason: err.Error(), ours: true}
		}
		rep, err := t.link.Data(ctx, r, size)
		if err == nil {
			t.link.heard(rep, true)
			return rep, nil
		}
		var e *smtpc.Error
		at := AtData
		if errors.As(err, &e) && e.Stage == smtpc.StageDot {
			at = AtDot
		}
		if errors.As(err, &e) && e.Stage == smtpc.StageData && t.mayReopen(err) {
			if f := t.reopen(ctx, domain, t.way); f != nil {
				f.Stage = AtData
				return reply.Reply{}, f
			}
			continue
		}
		f := t.failed(at, err, t.way)
		f.ours = errors.Is(err, smtpc.ErrSource)
		return reply.Reply{}, f
	}
}

// reader returns the octets that go out and their number.
func (m *message) reader(authservID string) (io.Reader, int64, error) {
	r, n, err := trace.Strip(m.body, 0, m.body.Size(), authservID)
	if err != nil {
		return nil, 0, err
	}
	return io.MultiReader(bytes.NewReader(m.trace), r), n + int64(len(m.trace)), nil
}

// keep puts the message into the spool. The zero reply means that nobody knows whether it is kept.
func (t *transaction) keep(ctx context.Context, m *message, reason string) reply.Reply {
	summary, err := trace.Summarize(m.body, m.body.Size())
	if err != nil {
		return unavailable(err)
	}
	e := &spool.Entry{
		ID: m.id, Kind: spool.Held, Received: m.now, From: t.mail.From.String(),
		Params: t.mail.Params, Client: t.client.Client, Reason: spool.Printable(reason), Summary: summary,
		Verdicts: m.judged.Verdicts, Quarantine: spool.Printable(m.judged.Quarantine),
	}
	for _, r := range t.rcpts {
		e.Rcpts = append(e.Rcpts, r.Recipient)
	}
	err = t.h.o.Spool.Append(ctx, e, m.trace, m.body)
	t.expectDone()
	switch {
	case err == nil:
		t.h.o.Metrics.kept(m.body.Size())
		switch {
		case e.Quarantine != "": // nobody is waiting for it: it opens no outage
			if t.h.o.Quarantined != nil {
				t.h.o.Quarantined(t.domains(), e)
			}
		case t.h.o.Kept != nil:
			t.h.o.Kept(t.domains(), e.Reason)
		}
		t.log(m, "kept", "", e.Reason)
		return reply.New(250, reply.Enhanced{2, 6, 0}, "Kept as %s", m.id)
	case errors.Is(err, spool.ErrUnsettled):
	case errors.Is(err, spool.ErrVoid), errors.Is(err, spool.ErrNoSpace), errors.Is(err, spool.ErrStoreDown):
		t.h.o.Metrics.refused("store")
		t.log(m, "refused", "", err.Error())
		return unavailable(err)
	}
	// What isn't certainly void may be durable: only silence is true.
	t.h.o.Metrics.refused("unsettled")
	t.log(m, "unknown", "", err.Error())
	return reply.Reply{}
}

// log says what became of a message and why. smtpd writes the transaction's line with the reply, so this
// one is for those who look closely, but where the sender got no reply.
func (t *transaction) log(m *message, outcome, answer, reason string) {
	level := slog.LevelDebug
	if outcome == "unknown" {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !t.h.log.Enabled(ctx, level) {
		return
	}
	attrs := []any{"id", m.id, "session", t.client.Session, "outcome", outcome, "from", t.mail.From.String(),
		"rcpts", len(t.rcpts), "domain", t.domain, "size", m.body.Size()}
	if answer != "" {
		attrs = append(attrs, "reply", spool.Printable(answer))
	}
	if reason != "" {
		attrs = append(attrs, "reason", reason)
	}
	t.h.log.Log(ctx, level, "mail", attrs...)
}

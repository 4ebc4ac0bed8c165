package pass

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/policy"
	"restante/relay/reply"
	"restante/relay/smtpc"
	"restante/relay/smtpd"
	"restante/spool"
)

// transaction is one MAIL until its end. smtpd calls it from one goroutine at a time.
type transaction struct {
	h      *Handler
	client *smtpd.Client
	mail   smtpd.Mail
	visit  *policy.Visit

	fixed  bool // the way stands: a recipient was accepted
	way    way
	rcpts  []recipient
	domain string // of the recipient that fixed the way

	link     *link
	release  func() // of the link's slot
	open     bool   // the link is inside a transaction: MAIL was accepted
	reopened bool
	done     func() // of Expect
}

// recipient is an accepted one.
type recipient struct {
	spool.Recipient
	addr mailaddr.Address
	key  string
}

// Rcpt finds the way of one recipient and, when it leads to the primary, asks the primary.
func (t *transaction) Rcpt(ctx context.Context, r smtpd.Rcpt) reply.Reply {
	d := t.h.hosted(r.Addr)
	if d == nil {
		t.h.o.Metrics.refused("relay")
		return t.client.Refuse(554, noRelay, "This server doesn't relay to that domain").With(smtpd.ErrForeign)
	}
	if rep := t.visit.Rcpt(ctx, r.Addr); rep.Refuses() {
		t.h.o.Metrics.refused("border")
		return rep
	}
	if rep := t.fits(d, r); !rep.IsZero() {
		return rep
	}
	w := t.h.wayOf(d, r.Addr)
	if t.fixed && !w.defer_ && (w.primary != t.way.primary || !t.visit.Together(t.domain, d.Name)) {
		return reply.New(452, otherWay, "That recipient goes another way, send it in a transaction of its own")
	}
	rec := recipient{addr: r.Addr, key: r.Addr.Key(), Recipient: spool.Recipient{
		Address: r.Addr.String(), Domain: d.Name, Notify: r.Notify, ORcpt: r.ORcpt,
	}}
	switch {
	case w.defer_:
		t.h.o.Metrics.refused("refuses-us")
		return t.client.Refuse(451, refusedLater, "The primary server refuses mail from here, try it or come back later")
	case w.primary == "":
		return t.keepRcpt(ctx, rec, w)
	}
	return t.passRcpt(ctx, rec, w)
}

// fits refuses what the primary could not be given later (RFC 1870 6.1, RFC 6531 3.5, RFC 8689 4.2.1).
func (t *transaction) fits(d *Domain, r smtpd.Rcpt) reply.Reply {
	if limit := t.h.sizeLimit(d.Name); limit > 0 && t.mail.Size > limit {
		return tooBigReply(limit)
	}
	offers, ok := t.h.o.Primaries.Offers(d.Name)
	if t.mail.Params.RequireTLS && !offers.KeepsTLS() {
		return reply.New(550, needsTLS, "The primary server of that domain can't promise to stay within verified TLS")
	}
	if t.mail.Params.SMTPUTF8 && ok && !offers.SMTPUTF8 {
		return reply.New(553, noUTF8, "The primary server of that domain doesn't take internationalized mail")
	}
	return reply.Reply{}
}

func tooBigReply(limit int64) reply.Reply {
	return reply.New(552, tooBig, "Message too big, the limit is %d octets", limit)
}

// keepRcpt accepts a recipient whose mail goes into the spool, if we know that it exists, or not that it doesn't.
func (t *transaction) keepRcpt(ctx context.Context, r recipient, w way) reply.Reply {
	if rep := t.unknown(ctx, r.addr, w); !rep.IsZero() {
		return rep
	}
	// Asked for each recipient: it is a look at memory while the store is heard of, and it may have gone.
	if err := t.h.o.Spool.Available(); err != nil {
		t.h.o.Metrics.refused("store")
		return unavailable(err)
	}
	t.accept(r, w)
	return reply.New(250, reply.Enhanced{2, 1, 5}, "Recipient ok")
}

func (t *transaction) accept(r recipient, w way) {
	if !t.fixed {
		t.fixed, t.way, t.domain = true, w, r.Domain
	}
	t.rcpts = append(t.rcpts, r)
	t.visit.Accepted()
}

// passRcpt asks the primary about a recipient.
func (t *transaction) passRcpt(ctx context.Context, r recipient, w way) reply.Reply {
	if t.link != nil && t.link.key != w.primary {
		t.part() // opened for a recipient that its primary refused
	}
	rep, failed := t.ask(ctx, r, w, false)
	if failed == nil {
		t.h.o.Recipients.Heard(ctx, r.addr, rep, time.Now())
		c := Case{Stage: AtRcpt, Reply: rep, TookMail: w.record.TookMail, Named: t.link.Named()}
		if rep.Permanent() {
			c.KnownGood = t.h.knownGood(ctx, r)
		}
		v := Judge(c)
		switch v.Action {
		case Pass:
			if rep.Positive() {
				t.h.trust(r.key)
				t.accept(r, w)
			} else {
				t.h.o.Metrics.refused("primary")
			}
			return rep
		case Defer:
			if c.KnownGood && v.Health == health.Refusal {
				counts, believe := t.h.doubt(r.key, w.record, time.Now())
				if believe {
					t.h.o.Recipients.Left(ctx, r.addr, time.Now())
					t.h.o.Metrics.refused("primary")
					return rep
				}
				if !counts {
					v.Health = ""
				}
			}
			return t.deferWith(r, c, v)
		}
		failed = &failure{Case: c, key: w.primary, reason: "RCPT TO:<" + r.Address + ">: " + spool.Printable(rep.String())}
	}
	v := Judge(failed.Case)
	switch {
	case t.fixed || failed.busy || failed.ours:
		// What was accepted before has to go somewhere, whatever the primary says by now.
	case v.Action == Pass:
		t.part()
		return failed.Reply
	case v.Action == Defer:
		rep := t.deferWith(r, failed.Case, v)
		t.part()
		return rep
	}
	t.fail(ctx, r.Domain, failed, v)
	w.primary, w.reason, w.up = "", failed.reason, failed.busy || failed.ours
	t.way = w // what was accepted before goes the same way: nothing of it has gone out
	return t.keepRcpt(ctx, r, w)
}

func (t *transaction) deferWith(r recipient, c Case, v Verdict) reply.Reply {
	t.observe(r.Domain, c, v, "")
	t.h.o.Metrics.refused("deferred")
	return deferred(c, v).With(errors.New("primary: " + spool.Printable(c.Reply.String())))
}

// failure is why the primary can't be given the mail: where, and its reply if it gave one.
type failure struct {
	Case
	reason string
	key    string // of the primary
	busy   bool   // nothing is wrong with the primary: we have too many connections to it
	ours   bool   // nothing is wrong with the primary: the message can't be read
}

// fail gives the primary up for this transaction and tells health.
func (t *transaction) fail(ctx context.Context, domain string, f *failure, v Verdict) {
	t.part()
	if f.busy || f.ours || ctx.Err() != nil { // the last: it was us who hung up
		return
	}
	t.observe(domain, f.Case, v, f.reason)
	if v.Health == health.Lost {
		t.h.pool.drop(f.key)
	}
	t.h.log.Warn("primary failed in pass-through, keeping the mail", "session", t.client.Session, "domain", domain,
		"stage", f.Stage, "reason", f.reason)
}

func (t *transaction) observe(domain string, c Case, v Verdict, reason string) {
	if v.Health == "" {
		return
	}
	o := health.Observation{Kind: v.Health, Reply: spool.Printable(c.Reply.String()), Reason: reason}
	if o.Reason == "" && v.Health != health.Took {
		o.Reason = string(c.Stage) + ": " + o.Reply
	}
	t.h.o.Primaries.Observe(domain, o)
}

// ask sends RCPT, opening session and transaction first where that is needed. A session that the primary
// closed while nothing was asked of it is opened again, once. The reply is the primary's to RCPT; failed is
// set when it came no further, or went away.
func (t *transaction) ask(ctx context.Context, r recipient, w way, again bool) (reply.Reply, *failure) {
	waited := t.open // since the last reply the sender had its turn
	if waited && !again && !t.reopened && !t.link.Alive() {
		if f := t.reopen(ctx, r.Domain, w); f != nil {
			return reply.Reply{}, f
		}
		waited = false
	}
	if !t.open {
		if f := t.begin(ctx, r.Domain, w); f != nil {
			return reply.Reply{}, f
		}
	}
	rep, err := t.link.Rcpt(ctx, outRcpt(r))
	if err == nil {
		t.link.heard(rep, false)
		return rep, nil
	}
	if waited && !again && t.mayReopen(err) {
		if f := t.reopen(ctx, r.Domain, w); f != nil {
			return reply.Reply{}, f
		}
		return t.ask(ctx, r, w, true)
	}
	return reply.Reply{}, t.failed(AtRcpt, err, w)
}

// begin gets a session to the primary and sends MAIL.
func (t *transaction) begin(ctx context.Context, domain string, w way) *failure {
	if t.link == nil {
		if f := t.connect(ctx, domain, w, true); f != nil {
			return f
		}
	}
	for {
		rep, err := t.sendMail(ctx)
		if err != nil {
			if t.link.reused || errors.Is(err, smtpc.ErrUnsupported) { // the latter: it has spoken for another client
				// It sat idle: that the primary closed it means nothing. Others in the pool may be as stale.
				t.unlink()
				if f := t.connect(ctx, domain, w, false); f != nil {
					return f
				}
				continue
			}
			return t.failed(AtMail, err, w)
		}
		if rep.Positive() {
			t.open = true
			return nil
		}
		return &failure{Case: Case{Stage: AtMail, Reply: rep, TookMail: w.record.TookMail, Named: t.link.Named()}, key: w.primary, reason: "MAIL: " + spool.Printable(rep.String())}
	}
}

// sendMail tells the primary who the client is, where it wants to hear it, and sends MAIL.
func (t *transaction) sendMail(ctx context.Context) (reply.Reply, error) {
	if err := t.origin(ctx); err != nil {
		return reply.Reply{}, err
	}
	m := smtpc.Mail{
		From: t.mail.From.String(), Body: t.mail.Params.Body, SMTPUTF8: t.mail.Params.SMTPUTF8, RequireTLS: t.mail.Params.RequireTLS,
		Ret: t.mail.Params.Ret, EnvID: t.mail.Params.EnvID,
	}
	if t.mail.Size > 0 {
		m.Size = t.mail.Size + 1024 // about what our Received field adds
	}
	return t.link.Mail(ctx, m)
}

// origin sends XCLIENT or XFORWARD; on a reused session too, which last spoke for somebody else.
func (t *transaction) origin(ctx context.Context) error {
	d := t.h.domainOf(t.link.domain)
	if d == nil || !d.XClient && !d.XForward {
		return nil
	}
	o := &smtpc.Origin{Port: t.client.Port, Name: t.client.Name, Helo: t.client.Helo, Protocol: t.client.Protocol}
	if a, err := netip.ParseAddr(t.client.Addr); err == nil {
		o.Addr = a
	}
	offers := t.link.Offers()
	switch {
	case d.XClient && len(offers.XClient) > 0:
		return t.link.XClient(ctx, o)
	case d.XForward && len(offers.XForward) > 0:
		return t.link.XForward(ctx, o)
	}
	return nil
}

// connect takes an idle session from the pool, if it may, or opens one.
func (t *transaction) connect(ctx context.Context, domain string, w way, idle bool) *failure {
	if t.release == nil {
		release, err := t.h.pool.acquire(ctx, w.primary)
		if err != nil {
			return &failure{Case: Case{Stage: AtConnect}, key: w.primary, reason: err.Error(), busy: true}
		}
		t.release = release
	}
	if idle {
		if l := t.h.pool.get(w.primary); l != nil {
			l.domain = domain
			t.link = l
			t.h.o.Metrics.session("reused")
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, t.h.o.DialTime)
	defer cancel()
	c, err := t.h.o.Primaries.Dial(ctx, domain)
	if err != nil {
		f := t.failed(AtConnect, err, w)
		// A primary that takes five connections and puts off the sixth is up: this mail is kept and
		// replayed at once, the others go on.
		f.busy = f.Reply.Transient() && t.h.pool.others(w.primary)
		return f
	}
	t.link = t.h.pool.fresh(w.primary, c)
	t.link.domain = domain
	t.h.o.Metrics.session("new")
	return nil
}

// reopen opens a new session in place of one that the primary closed while the sender had its turn, and
// brings it to where the old one was. A recipient that it now refuses makes that fail.
func (t *transaction) reopen(ctx context.Context, domain string, w way) *failure {
	t.reopened = true
	t.unlink()
	if f := t.connect(ctx, domain, w, false); f != nil {
		return f
	}
	t.h.o.Metrics.session("reopened")
	if f := t.begin(ctx, domain, w); f != nil {
		return f
	}
	for _, r := range t.rcpts {
		rep, err := t.link.Rcpt(ctx, outRcpt(r))
		if err != nil {
			return t.failed(AtRcpt, err, w)
		}
		if !rep.Positive() {
			// It accepted this one a moment ago, and so did we: whatever it says now, the mail is kept.
			return &failure{Case: Case{Stage: AtRcpt}, key: w.primary, reason: "RCPT TO:<" + r.Address + "> after it was accepted: " + spool.Printable(rep.String())}
		}
	}
	return nil
}

// mayReopen reports that err may only mean that the primary had closed the session while we were reading.
func (t *transaction) mayReopen(err error) bool {
	var timeout net.Error
	if t.reopened || errors.Is(err, smtpc.ErrTimeout) || errors.As(err, &timeout) && timeout.Timeout() ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return true
}

// failed makes a failure of an error of smtpc, which leaves the session unusable.
func (t *transaction) failed(s Stage, err error, w way) *failure {
	t.unlink()
	f := &failure{Case: Case{Stage: s, TookMail: w.record.TookMail}, key: w.primary, reason: spool.Printable(err.Error())}
	var e *smtpc.Error
	if errors.As(err, &e) {
		f.Reply = e.Reply
		if e.AboutClient() {
			f.Stage = AtOrigin
		}
	}
	return f
}

// part lets go of the session to the primary; one that still works goes back to the pool.
func (t *transaction) part() {
	if t.link != nil {
		if t.open {
			t.h.pool.tidy(t.link)
		} else {
			t.h.pool.put(t.link)
		}
	}
	t.link, t.open = nil, false
	t.letGo()
}

// unlink closes a session that is broken, keeping the slot for its successor.
func (t *transaction) unlink() {
	if t.link != nil {
		t.link.Close()
	}
	t.link, t.open = nil, false
}

func (t *transaction) letGo() {
	if t.release != nil {
		t.release()
		t.release = nil
	}
}

// Expect is called when the message begins to arrive. Only mail that will be kept makes a batch wait for it.
func (t *transaction) Expect() {
	if t.way.primary == "" && t.done == nil {
		t.done = t.h.o.Spool.Expect()
	}
}

// Reset ends the transaction.
func (t *transaction) Reset() {
	t.visit.Close()
	t.part()
	t.expectDone()
}

func (t *transaction) expectDone() {
	if t.done != nil {
		t.done()
		t.done = nil
	}
}

func outRcpt(r recipient) smtpc.Rcpt {
	return smtpc.Rcpt{Address: r.Address, Notify: r.Notify, ORcpt: r.ORcpt}
}

// addresses of the accepted recipients, for the Received field.
func (t *transaction) addresses() []string {
	as := make([]string, len(t.rcpts))
	for i, r := range t.rcpts {
		as[i] = r.Address
	}
	return as
}

// domains of the accepted recipients, each once.
func (t *transaction) domains() []string {
	var ds []string
	for _, r := range t.rcpts {
		if !slices.Contains(ds, r.Domain) {
			ds = append(ds, r.Domain)
		}
	}
	return ds
}

func (t *transaction) received(id string, now time.Time) []byte {
	return smtpd.Received(smtpd.Trace{
		Hostname: t.h.o.Hostname, Client: t.client, ID: id, Rcpts: t.addresses(), Time: now,
	})
}

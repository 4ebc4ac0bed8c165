package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"restante/relay/reply"
	"restante/relay/smtpc"
	"restante/spool"
)

// maxKnown is how many known recipients a probe asks for before it believes that none is taken.
const maxKnown = 3

// Prober asks one host how it is. The Monitor's own speaks SMTP: connect, banner, EHLO, STARTTLS, MAIL
// FROM:<>, RCPT for a known recipient, RSET, QUIT.
type Prober interface {
	Probe(ctx context.Context, t smtpc.Target, rcpts []string) Probed
}

// Probed is what a probe found.
type Probed struct {
	Observation               // Good, Lost or Ban
	Remote      string        // as smtpc.Conn.Remote has it, "" if none answered
	Offers      *smtpc.Offers // nil if it didn't come as far as EHLO
	Refused     []string      // known recipients that were refused
}

// watch probes s until ctx ends: at once, and then after each pause or when kicked.
func (m *Monitor) watch(ctx context.Context, s *set) {
	var good time.Time // when the set was last probed well
	for {
		m.mu.Lock()
		idle := s.rec.State == Up && time.Since(s.rec.LastTook) < s.interval && time.Since(good) < 6*s.interval &&
			s.rec.LastBad.Before(s.rec.LastTook)
		m.mu.Unlock()
		// Mail that it took within the interval says more than a probe; offers are looked at now and then.
		if !idle && m.probe(ctx, s) {
			good = time.Now()
		}
		m.mu.Lock()
		wait, calm := s.pause(), min(s.interval, 200*time.Millisecond)
		m.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.kick:
			timer.Stop()
			// Whatever kicks, a primary in trouble isn't asked more than a few times a second.
			select {
			case <-time.After(calm):
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// probe asks each host of s until one is good, within one interval altogether.
func (m *Monitor) probe(ctx context.Context, s *set) bool {
	m.mu.Lock()
	targets, interval := s.targets, s.interval
	last := make([]*smtpc.Target, len(targets))
	for i, t := range targets {
		last[i] = s.atLast(t)
	}
	var mxErr error
	for _, n := range s.domains {
		if d := m.domains[n]; d != nil {
			mxErr = d.mxErr
		}
	}
	m.mu.Unlock()
	if len(targets) == 0 {
		reason := "its MX records aren't known yet"
		if mxErr != nil {
			reason = "its MX records can't be found: " + mxErr.Error()
		}
		m.observe(s, Observation{Kind: Lost, Reason: reason, Probe: true})
		return false
	}
	rcpts := m.candidates(s)
	budget := interval / time.Duration(len(targets))
	var worst Probed
	for i, t := range targets {
		p := m.probeHost(ctx, t, last[i], rcpts, max(budget, 100*time.Millisecond))
		if ctx.Err() != nil {
			return false // we are stopping; this says nothing of the primary
		}
		if p.Offers != nil {
			m.mu.Lock()
			m.answeredLocked(s, t, p.Remote, *p.Offers)
			m.mu.Unlock()
		}
		if p.Kind == Good {
			m.probed(s, p)
			return true
		}
		// A host that refuses us says more than one that can't be reached.
		if worst.Kind == "" || worst.Kind == Lost && p.Kind == Ban {
			worst = p
		}
	}
	m.probed(s, worst)
	return false
}

func (m *Monitor) probeHost(ctx context.Context, t smtpc.Target, last *smtpc.Target, rcpts []string, budget time.Duration) Probed {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	begun := time.Now()
	p := m.o.Prober.Probe(ctx, t, rcpts)
	if p.Kind == Lost && p.unresolved() && last != nil {
		p = m.o.Prober.Probe(ctx, *last, rcpts)
	}
	m.o.Metrics.probed(p.Kind, time.Since(begun))
	return p
}

func (p Probed) unresolved() bool { return p.Observation.err != nil && unresolved(p.Observation.err) }

func (m *Monitor) probed(s *set, p Probed) {
	m.mu.Lock()
	s.refused = p.Refused
	m.mu.Unlock()
	p.Observation.Probe = true
	m.observe(s, p.Observation)
}

// candidates returns known recipients of the set's domains to ask for, a few of each of the first domains.
func (m *Monitor) candidates(s *set) []string {
	m.mu.Lock()
	names := s.domains[:min(len(s.domains), maxKnown)]
	virgin := !s.rec.TookMail
	distrust := maps.Clone(s.distrust)
	m.mu.Unlock()
	var rcpts []string
	for _, n := range names {
		if m.o.Known == nil {
			break
		}
		for _, a := range m.o.Known(n) {
			if distrust[a] || len(rcpts) == maxKnown {
				continue
			}
			rcpts = append(rcpts, a)
		}
	}
	if len(rcpts) == 0 && virgin && len(names) > 0 {
		return []string{postmaster + names[0]}
	}
	return rcpts
}

// postmaster is asked for where nobody is known and the primary never took mail: it shows a ban that speaks
// only at RCPT.
const postmaster = "postmaster@"

// tellOffers records what the primaries of domains offer now.
func (m *Monitor) tellOffers(domains []string) {
	if len(domains) == 0 || m.o.Note == nil {
		return
	}
	evs := make([]spool.Event, 0, len(domains))
	for _, n := range domains {
		o, ok := m.Offers(n)
		if !ok {
			continue // not hosted any more
		}
		evs = append(evs, spool.Event{Type: spool.Offered, By: "health", Domain: n, Data: map[string]any{
			"esmtp": o.ESMTP, "size": o.Size, "8bitmime": o.EightBitMIME, "smtputf8": o.SMTPUTF8, "dsn": o.DSN,
			"pipelining": o.Pipelining, "chunking": o.Chunking, "starttls": o.StartTLS,
			"enhancedstatuscodes": o.EnhancedStatusCodes, "xclient": o.XClient, "xforward": o.XForward,
		}})
	}
	m.o.Note(evs...)
}

// prober is the Monitor's own Prober.
type prober struct{ dialer Dialer }

func (p prober) Probe(ctx context.Context, t smtpc.Target, rcpts []string) Probed {
	c, err := p.dialer.Dial(ctx, t)
	if err != nil {
		return Probed{Observation: Judge(err, t.Name)}
	}
	defer c.Close()
	offers := c.Offers()
	out := Probed{Remote: c.Remote(), Offers: &offers}
	out.Host = c.Remote()
	out.Kind = Good
	if len(rcpts) == 0 {
		c.Quit()
		return out
	}
	r, err := c.Mail(ctx, smtpc.Mail{})
	if err != nil {
		return out.failed(Judge(err, t.Name))
	}
	if o, bad := judgeReply("MAIL FROM:<>", r); bad {
		c.Quit()
		return out.failed(o)
	}
	if !r.Positive() { // 4xx of its own making, e.g. a rate limit: it is alive
		c.Quit()
		return out
	}
	var last Observation
	for _, rcpt := range rcpts {
		r, err := c.Rcpt(ctx, smtpc.Rcpt{Address: rcpt})
		if err != nil {
			return out.failed(Judge(err, t.Name))
		}
		o, bad := judgeReply("RCPT TO:<"+rcpt+">", r)
		if strings.HasPrefix(rcpt, postmaster) && bad && o.Kind == Lost && r.Permanent() {
			bad = false // not everybody has one, whatever RFC 5321 4.5.1 says
		}
		if !bad {
			last = Observation{}
			break // taken, or put off: greylisting isn't a failure
		}
		last = o
		if !r.Permanent() {
			break // 421, 4.3.x: it isn't about the recipient
		}
		out.Refused = append(out.Refused, rcpt)
	}
	if err := c.Reset(ctx); err == nil {
		c.Quit()
	}
	if last.Kind != "" {
		return out.failed(last)
	}
	return out
}

func (p Probed) failed(o Observation) Probed {
	o.Host = cmp.Or(p.Host, o.Host)
	p.Observation = o
	return p
}

// Judge says what an error of smtpc means for health: Ban when the primary refused us for good at the
// connection, EHLO or STARTTLS, Lost in every other case.
func Judge(err error, host string) Observation {
	o := Observation{Kind: Lost, Host: host, Reason: spool.Printable(err.Error()), err: err}
	var e *smtpc.Error
	if errors.Is(err, smtpc.ErrSelf) {
		o.Reason = "the primary is this machine itself: set primary to the real mail server"
		return o
	}
	if !errors.As(err, &e) {
		return o
	}
	if !e.Reply.IsZero() {
		o.Reply = spool.Printable(e.Reply.String())
		o.Reason = fmt.Sprintf("%s: %s", e.Stage, o.Reply)
		switch e.Stage {
		case smtpc.StageBanner, smtpc.StageEhlo, smtpc.StageStartTLS:
			// A 554 banner needs no enhanced code to say that it is about us (RFC 5321 3.1).
			if e.Reply.Permanent() {
				o.Kind = Ban
			}
		}
	}
	return o
}

// Failing reports that a reply speaks of the primary and not of the mail: 421, and 4.3.x "mail system
// status" (RFC 3463 3.4), full disks (452 without another subject) included.
func Failing(r reply.Reply) bool {
	if r.Code == 421 {
		return true
	}
	if !r.Transient() {
		return false
	}
	return r.Enhanced[0] == 4 && r.Enhanced[1] == 3
}

// Banned reports that a reply is about us: 5.7.x (RFC 3463 3.8).
func Banned(r reply.Reply) bool {
	return r.Permanent() && r.Enhanced[0] == 5 && r.Enhanced[1] == 7
}

// AboutClient reports that a reply of a primary that was told who the client is (see smtpc.Conn.Named) speaks of that client: 5.7.x,
// unless it is about relaying, which a primary refuses that has lost its list of domains.
func AboutClient(r reply.Reply) bool {
	return Banned(r) && !strings.Contains(strings.ToLower(r.Text), "relay")
}

// judgeReply says whether a reply within a probe is bad, and as what.
func judgeReply(what string, r reply.Reply) (Observation, bool) {
	o := Observation{Reply: spool.Printable(r.String()), Reason: what + ": " + spool.Printable(r.String())}
	switch {
	case Failing(r):
		o.Kind = Lost
	case Banned(r):
		o.Kind = Ban
	case r.Permanent():
		o.Kind = Lost
	default:
		return Observation{}, false
	}
	return o, true
}

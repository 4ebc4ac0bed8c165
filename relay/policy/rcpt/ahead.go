package rcpt

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/reply"
	"restante/relay/smtpc"
	"restante/spool"
)

// Call-ahead: while a primary is up it is asked for the addresses that strangers asked of us while it wasn't, with the null sender,
// RCPT and then RSET. Its answers prove something only in a session in which it takes a recipient that is known, and refuses one that
// was made up just now: a server that is half restored refuses everybody, and a catch-all takes anybody. Few are asked for,
// since servers count refused recipients and ban who has many of them.

// Pace bounds call-ahead. Zero fields take the defaults.
type Pace struct {
	Every   time.Duration // between two sessions to one domain's primary, jittered; default 5 min
	Refused int           // refused recipients after which a session ends; default 3: servers count them, and ban
	Asked   int           // recipients asked for in a session; default 20
}

func (p *Pace) fill() {
	p.Every = cmp.Or(p.Every, 5*time.Minute)
	p.Refused = cmp.Or(p.Refused, 3)
	p.Asked = cmp.Or(p.Asked, 20)
}

const (
	sessionTime = time.Minute        // bounds a session of call-ahead
	backOffMax  = 16                 // the pause grows to so many times Pace.Every while sessions come to nothing
	wantedFor   = 7 * 24 * time.Hour // an address that nobody has asked for again for so long isn't asked of the primary
	catchAllFor = 24 * time.Hour     // how long it counts whether a primary takes any address
)

// verdict is whether a primary takes any address.
type verdict struct {
	at  time.Time // when it was asked; zero: never
	any bool
}

func (v verdict) takesAny(now time.Time) bool { return v.any && v.fresh(now) }

func (v verdict) fresh(now time.Time) bool { return !v.at.IsZero() && now.Sub(v.at) < catchAllFor }

// ahead asks until ctx ends.
func (d *Directory) ahead(ctx context.Context) {
	for {
		if name := d.due(d.now()); name != "" {
			d.ask(ctx, name)
			continue
		}
		timer := time.NewTimer(d.o.Pace.Every/5 + mathrand.N(d.o.Pace.Every/5+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// due names a domain whose primary is up and may be asked now, "" if there is none.
func (d *Directory) due(now time.Time) string {
	d.mu.Lock()
	var names []string
	for name, one := range d.domains {
		one.forgetBad(now)
		if one.CallAhead && !now.Before(one.next) && len(one.candidates(now)) > 0 {
			names = append(names, name)
		}
	}
	d.mu.Unlock()
	for _, name := range names {
		if r := d.o.Primaries.State(name); r.State == health.Up && r.Declaration == nil {
			return name
		}
	}
	return ""
}

// candidates are the local parts to be asked for, those first that were asked for most often: who really writes comes back.
// What is known by now, or too old, is dropped.
func (one *domain) candidates(now time.Time) []string {
	for l, w := range one.wanted {
		if _, known := one.find(l, now); known || now.Sub(w.last) > wantedFor {
			delete(one.wanted, l)
		}
	}
	times := func(l string) int {
		if w := one.wanted[l]; w != nil {
			return w.times
		}
		return 0
	}
	out := sortedKeys(one.wanted)
	for l, b := range one.bad {
		if b.again && now.Sub(b.at) >= RecheckAfter && one.wanted[l] == nil {
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return times(b) - times(a) })
	return out
}

// ask holds one session with the primary of a domain.
func (d *Directory) ask(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	err := d.session(ctx, name)
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.domains[name]
	if one == nil {
		return
	}
	one.misses++
	if err == nil {
		one.misses = 0
	}
	pause := d.o.Pace.Every * time.Duration(min(1<<min(one.misses, 10), backOffMax))
	one.next = now.Add(pause/2 + mathrand.N(pause+1))
	if err != nil && ctx.Err() == nil {
		d.o.Metrics.asked("nothing")
		d.log.Debug("the primary couldn't be asked for recipients", "domain", name, "error", err)
	}
}

// errProvesNothing: the answers of the primary in this session are about nobody.
var errProvesNothing = errors.New("its answers prove nothing now")

// session asks for witness, made-up address and candidates, in this order.
func (d *Directory) session(ctx context.Context, name string) error {
	c, err := d.o.Primaries.Dial(ctx, name)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Mail(ctx, smtpc.Mail{})
	if err == nil && !r.Positive() {
		err = fmt.Errorf("MAIL FROM:<>: %w", r)
	}
	if err != nil {
		return err
	}
	if err := d.questions(ctx, c, name); err != nil {
		c.Quit()
		return err
	}
	if err := c.Reset(ctx); err != nil {
		return err
	}
	c.Quit()
	return nil
}

func (d *Directory) questions(ctx context.Context, c *smtpc.Conn, name string) error {
	now := d.now()
	d.mu.Lock()
	one := d.domains[name]
	if one == nil {
		d.mu.Unlock()
		return nil
	}
	witness, any, locals := one.witness(now), one.any, one.candidates(now)
	d.mu.Unlock()
	if r, err := rcpt(ctx, c, name, witness); err != nil || !r.Positive() {
		return errors.Join(err, fmt.Errorf("%w: it refuses %s", errProvesNothing, address(name, witness)))
	}
	refused := 0
	if !any.fresh(now) {
		r, err := rcpt(ctx, c, name, "no-such-user-"+strings.ToLower(rand.Text()[:12]))
		if err != nil {
			return err
		}
		if r.Transient() {
			return fmt.Errorf("%w: it puts off an address that was made up: %s", errProvesNothing, r)
		}
		any = verdict{at: now, any: r.Positive()}
		d.catchAll(name, any)
		refused++
	}
	if any.any {
		return nil
	}
	for _, l := range locals[:min(len(locals), d.o.Pace.Asked)] {
		if refused >= d.o.Pace.Refused {
			break
		}
		r, err := rcpt(ctx, c, name, l)
		if err != nil {
			return err
		}
		if !r.Positive() {
			refused++
		}
		if r.Transient() {
			return fmt.Errorf("it puts off %s: %s", address(name, l), r)
		}
		d.answered(ctx, mailaddr.Address{Local: l, Domain: name}, r, now)
	}
	return nil
}

func rcpt(ctx context.Context, c *smtpc.Conn, domain, local string) (reply.Reply, error) {
	return c.Rcpt(ctx, smtpc.Rcpt{Address: address(domain, local)})
}

// witness is the local part of a recipient that the primary is known to have.
func (one *domain) witness(now time.Time) string {
	for l, p := range one.people {
		if p.in&bitPrimary != 0 && l != "" && !one.refused(l, now) {
			return l
		}
	}
	return "postmaster"
}

// catchAll notes whether the primary takes any address. If so there is nothing to ask it.
func (d *Directory) catchAll(name string, v verdict) {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.domains[name]
	if one == nil {
		return
	}
	if v.any && !one.any.any {
		d.log.Info("the primary takes any address, so it isn't asked which there are", "domain", name)
	}
	one.any = v
	if v.any {
		clear(one.wanted)
	}
}

// answered takes in the answer about one candidate.
func (d *Directory) answered(ctx context.Context, a mailaddr.Address, r reply.Reply, now time.Time) {
	d.log.Debug("asked the primary for a recipient", "domain", a.Domain, "address", a.String(), "reply", spool.Printable(r.String()))
	d.Heard(ctx, a, r, now)
	d.mu.Lock()
	one, local := d.domains[a.Domain], key(a)
	if one != nil {
		delete(one.wanted, local) // it was answered, whatever the answer
		if r.Positive() {
			d.setLocked(one.book, local, SourcePrimary, true, "")
		}
	}
	d.mu.Unlock()
	switch {
	case r.Positive():
		d.note(spool.Event{Type: spool.Learned, By: "recipients", Domain: a.Domain, Address: address(a.Domain, local)})
		d.o.Metrics.asked("exists")
	case NoSuchUser(r):
		d.o.Metrics.asked("absent")
	default:
		d.o.Metrics.asked("refused")
	}
}

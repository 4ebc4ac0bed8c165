package rcpt

import (
	"context"
	"slices"
	"strings"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/reply"
)

// wanted is an address that was asked of us while the primary wasn't asked.
type wanted struct {
	times int
	last  time.Time
}

// Heard is told what the primary said of a recipient: in reply to RCPT in pass-through, at replay or when
// asked. It never takes long: what is news is written lazily.
func (d *Directory) Heard(_ context.Context, a mailaddr.Address, r reply.Reply, now time.Time) {
	if d == nil || always(a) {
		return
	}
	switch {
	case r.Positive():
		d.taken(a)
	case NoSuchUser(r):
		d.unknown(a, now, false)
	}
}

// Left is told that the primary refuses a recipient that it had, and is believed.
func (d *Directory) Left(_ context.Context, a mailaddr.Address, now time.Time) {
	if d != nil && !always(a) {
		d.unknown(a, now, true)
	}
}

// NoSuchUser reports a reply that says that there is no such recipient: 5.1.1, 5.1.10 (RFC 3463, and what Microsoft's servers
// use it for). Without an enhanced code it must say so in words that are known, since a ban looks alike.
func NoSuchUser(r reply.Reply) bool {
	if !r.Permanent() {
		return false
	}
	if r.Enhanced != (reply.Enhanced{}) {
		return r.Enhanced == reply.Enhanced{5, 1, 1} || r.Enhanced == reply.Enhanced{5, 1, 10}
	}
	text := strings.ToLower(r.Text)
	return slices.ContainsFunc(unknownWords, func(w string) bool { return strings.Contains(text, w) })
}

// unknownWords are what servers that send no enhanced codes say of a recipient that they don't have: qmail, Exim, Sendmail and others.
var unknownWords = []string{"#5.1.1", "no mailbox here by that name", "unrouteable address", "unrouted address", "user unknown", "unknown user", "no such user"}

// taken notes that the primary takes mail for an address.
func (d *Directory) taken(a mailaddr.Address) {
	d.mu.RLock()
	one, local := d.domains[a.Domain], key(a)
	news := one != nil && (one.bad[local] != nil || one.wanted[local] != nil)
	d.mu.RUnlock()
	if !news { // the way of every message that is passed
		return
	}
	d.mu.Lock()
	was := one.bad[local] != nil
	delete(one.bad, local)
	delete(one.wanted, local)
	d.mu.Unlock()
	if was {
		d.note(changes(a.Domain, SourcePrimary, "recipients", stateExists, "", []string{local})...)
	}
}

// unknown notes that the primary has no such recipient. One that it is known to have is passed over unless it left.
func (d *Directory) unknown(a mailaddr.Address, now time.Time, left bool) {
	d.mu.Lock()
	one, local := d.domains[a.Domain], key(a)
	if one == nil {
		d.mu.Unlock()
		return
	}
	delete(one.wanted, local)
	if _, known := one.find(local, now); known && !left {
		d.mu.Unlock()
		return
	}
	old := one.bad[local]
	if old != nil && now.Sub(old.written) < BadFor/2 {
		old.at, old.again = now, false
		d.mu.Unlock()
		return // no news for others
	}
	if old == nil && len(one.bad) >= maxBad {
		one.forgetBad(now)
		if len(one.bad) >= maxBad {
			d.mu.Unlock()
			return
		}
	}
	one.bad[local] = &bad{at: now, written: now}
	d.mu.Unlock()
	d.note(changes(a.Domain, SourcePrimary, "recipients", stateGone, "", []string{local})...)
}

// lost notes that a list has lost an address, or has it again.
func (b *book) lost(local string, gone bool, kind string, at, now time.Time) {
	switch {
	case !gone, kind == kindRemoved:
		delete(b.left, local)
	case now.Sub(at) < LeftFor:
		b.left[local] = at
	}
}

// forgetBad drops refusals, and losses, that are too old to count.
func (b *book) forgetBad(now time.Time) {
	for l, at := range b.left {
		if now.Sub(at) >= LeftFor {
			delete(b.left, l)
		}
	}
	for l, one := range b.bad {
		if now.Sub(one.at) >= BadFor {
			delete(b.bad, l)
		}
	}
}

// Asked is told that a stranger asked for a recipient that isn't known to exist while the primary wasn't asked. It is asked
// about it when it is up.
func (d *Directory) Asked(a mailaddr.Address) {
	if d == nil || d.o.Primaries == nil {
		return
	}
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	one, local := d.domains[a.Domain], key(a)
	if one == nil || !one.CallAhead || one.any.takesAny(now) {
		return
	}
	if b := one.bad[local]; b != nil && now.Sub(b.at) < RecheckAfter {
		b.again = true
		return
	}
	w := one.wanted[local]
	if w == nil {
		if len(one.wanted) >= maxWanted && !one.dropWanted() {
			return
		}
		w = &wanted{}
		one.wanted[local] = w
	}
	w.times++
	w.last = now
}

// dropWanted makes room by dropping an address that was asked for once: real senders come back, and those who guess don't.
func (b *book) dropWanted() bool {
	for l, w := range b.wanted {
		if w.times == 1 {
			delete(b.wanted, l)
			return true
		}
	}
	return false
}

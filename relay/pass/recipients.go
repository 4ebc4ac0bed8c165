package pass

import (
	"context"
	"errors"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/policy/rcpt"
	"restante/relay/reply"
	"restante/spool"
)

// unknown refuses a recipient that doesn't exist as far as we know, and for whom the primary isn't asked; zero: it is taken.
func (t *transaction) unknown(ctx context.Context, a mailaddr.Address, w way) reply.Reply {
	answer := t.h.o.Recipients.Check(ctx, a)
	if answer.State != rcpt.Exists {
		t.h.o.Recipients.Asked(a)
	}
	why := errors.New(answer.Why)
	switch {
	case answer.Action == rcpt.Take:
		return reply.Reply{}
	case answer.Action == rcpt.Refuse && !w.up: // a primary that is up may know better
		t.h.o.Metrics.refused("recipient")
		return t.client.Refuse(550, noSuchUser, "No such recipient here").With(why)
	}
	t.h.o.Metrics.refused("recipient")
	return t.client.Refuse(450, maybeUser, "Whether that recipient exists can't be said now, try again later").With(why)
}

// knownGood reports that the primary is known to have a recipient, or should have it by a list.
func (h *Handler) knownGood(ctx context.Context, r recipient) bool {
	if h.o.Recipients.Has(r.addr) {
		return true
	}
	if h.o.Known == nil {
		return false
	}
	ok, err := h.o.Known.Known(ctx, r.Address)
	if err != nil {
		// Not knowing, we believe the primary less, never more: the sender tries again.
		h.log.Warn("whether a recipient is known can't be read from the index", "error", err)
		return true
	}
	return ok
}

// doubt says what to make of a primary's refusal of a recipient that it had. People leave: once the
// primary has taken other mail since it first refused this one, that no longer counts against its
// health, and after believeAfter the refusal is passed on.
func (h *Handler) doubt(key string, r health.Record, now time.Time) (counts, believe bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since, ok := h.doubts[key]
	if !ok || now.Sub(since) > 10*believeAfter { // too long ago to be one story
		if len(h.doubts) >= maxLearned {
			clear(h.doubts)
		}
		h.doubts[key] = now
		return true, false
	}
	if !r.LastTook.After(since) {
		return true, false
	}
	return false, now.Sub(since) >= believeAfter
}

// trust forgets doubts of recipients that the primary has accepted.
func (h *Handler) trust(key string) {
	h.mu.RLock()
	none := len(h.doubts) == 0
	h.mu.RUnlock()
	if none {
		return
	}
	h.mu.Lock()
	delete(h.doubts, key)
	h.mu.Unlock()
}

// learn notes recipients whom the primary took mail for.
func (h *Handler) learn(ctx context.Context, rcpts []recipient) {
	if h.o.Note == nil {
		return
	}
	var evs []spool.Event
	for _, r := range rcpts {
		h.mu.Lock()
		_, seen := h.learned[r.key]
		if !seen {
			if len(h.learned) >= maxLearned {
				clear(h.learned)
			}
			h.learned[r.key] = struct{}{}
		}
		h.mu.Unlock()
		if seen {
			continue
		}
		if h.o.Known != nil {
			if ok, err := h.o.Known.Known(ctx, r.Address); ok || err != nil {
				continue
			}
		}
		if !h.mayLearn(r, time.Now()) {
			continue
		}
		evs = append(evs, spool.Event{Type: spool.Learned, By: "pass", Domain: r.Domain, Address: r.Address})
	}
	if len(evs) > 0 {
		h.o.Note(evs...)
	}
}

// mayLearn counts an address that is new, and reports that it may be noted.
func (h *Handler) mayLearn(r recipient, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.fresh[r.Domain]
	if f == nil || now.Sub(f.since) >= 24*time.Hour {
		f = &fresh{since: now}
		h.fresh[r.Domain] = f
	}
	if f.n++; f.n > maxFresh {
		delete(h.learned, r.key) // another day
		if f.n == maxFresh+1 {
			h.log.Warn("a primary has taken mail for so many new addresses that no more are noted today; if it takes any address, write catch_all = \"on\"", "domain", r.Domain, "addresses", maxFresh)
		}
		return false
	}
	return true
}

// fresh counts the addresses of a domain that were learned since.
type fresh struct {
	since time.Time
	n     int
}

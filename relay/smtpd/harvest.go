package smtpd

import (
	"errors"
	"time"

	"restante/relay/reply"
)

// ErrForeign is the cause of a refusal (reply.Reply.With) that says that a recipient is in no domain of ours: who is refused so
// looks for an open relay, or was sent here by a wrong MX record.
var ErrForeign = errors.New("the domain isn't hosted here")

// Who asks for people who aren't there, or for relaying, is slowed down before he is sent away: from the tarpitFrom-th recipient of a session
// on, less those that were accepted, each reply waits. With places running short he goes at once.
const (
	tarpitFrom = 10
	tarpitTime = time.Second
)

// unknown reports a refusal that says that there is no such recipient, in the words of RFC 3463 3.2, without any, or in those of Microsoft 365
// (5.4.1). One for the sender, the size, a full mailbox, a list or a limit doesn't.
func unknown(r reply.Reply) bool {
	switch e := r.Enhanced; {
	case e == (reply.Enhanced{}):
		return r.Code == 550 || r.Code == 551
	case e == (reply.Enhanced{5, 4, 1}):
		return true
	case e[1] == 1:
		return e[2] == 1 || e[2] == 6 || e[2] == 10
	}
	return false
}

// harvest counts a refused recipient against the client, if that is what it speaks of. Foreign ones count in the session alone: anybody can let an
// MX record lead others' mail here, and have them banned.
func (w *wire) harvest(r reply.Reply) {
	limit := "harvest"
	switch {
	case errors.Is(r.Cause, ErrForeign):
		limit = "relay"
	case !unknown(r):
		return
	default:
		if over := w.srv.o.Rates.Refused(w.remote.Addr(), w.cmd.addr.Key()); !over.IsZero() && w.doom.IsZero() {
			w.srv.o.Metrics.limited("rate_" + over.Kind)
			w.doom = w.over(421, over)
		}
	}
	w.missed++
	slow, stressed := w.missed >= tarpitFrom && !w.srv.o.Rates.Exempt(w.remote.Addr()), w.srv.stressed.Load()
	if w.doom.IsZero() && (w.missed >= w.limits.RefusedRecipients || slow && stressed) {
		w.srv.o.Metrics.limited(limit)
		w.doom = w.refuse(421, reply.Enhanced{4, 7, 0}, "Too many refused recipients")
	}
	if !slow || stressed {
		return
	}
	w.flush()
	select {
	case <-time.After(tarpitTime):
	case <-w.ctx.Done():
	case <-w.srv.stopped:
	}
}

// hit notes an accepted recipient, which makes up for one that was refused.
func (w *wire) hit() {
	w.missed = max(0, w.missed-1)
	w.srv.o.Rates.Accepted(w.remote.Addr(), w.cmd.addr.Key())
}

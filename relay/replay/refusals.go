package replay

import (
	"time"

	"restante/relay/reply"
	"restante/spool"
)

const (
	// LostTimes is how many connections an entry may lose, while others pass, until it is parked.
	LostTimes = 3
	// KnownRow is the number of different messages in a row, with none accepted between, of which the envelope
	// was refused with 5xx although a recipient is known good, after which a domain's replay pauses.
	KnownRow = 5
	// AnyRow is the same for refusals of any kind.
	AnyRow = 20
	// RefusedTimes is how often a message must have been refused to be parked when nothing else was
	// accepted that would show that the primary is well.
	RefusedTimes = 3
	// pauseRetryMax bounds the time between two trials during a pause of our own.
	pauseRetryMax = time.Hour
)

// refusals are pairs that the primary refused with 5xx and that aren't parked yet, since a primary
// that was restored by half refuses everybody. Their claims stay under way.
type refusals struct {
	waiting []refusal
	row     map[string]bool // messages refused since one was accepted, by id; true: see KnownRow
	proven  bool            // a message was accepted since the primary came back
}

type refusal struct {
	d     *domain
	pair  spool.Pair
	key   key
	reply reply.Reply
	host  string
	known bool
	own   bool // written here: many servers refuse mail from their own domain that comes from outside, and that says nothing of them
	lease Lease
}

// own reports a pair that was written here, for a primary that may refuse it for that alone: then it neither pauses the
// replay of what came from outside, nor counts against health.
func (d *domain) own(p *spool.Pair) bool {
	return !d.Login && (p.Kind == spool.Local || p.Kind == spool.Copy)
}

// quiet reports a refusal that was to be expected: "bad destination mailbox address" (RFC 3463 3.2) of
// a recipient that was never known.
func (f *refusal) quiet() bool {
	return !f.known && f.reply.Enhanced == reply.Enhanced{5, 1, 1}
}

// add takes the refusals of one message and reports whether too many different messages were refused
// in a row. envelope: one of them was of a recipient known good, in answer to MAIL or RCPT.
func (r *refusals) add(rs []refusal, envelope bool) (tooMany bool) {
	r.waiting = append(r.waiting, rs...)
	if rs[0].own {
		return false
	}
	if r.row == nil {
		r.row = make(map[string]bool)
	}
	id := rs[0].pair.Entry
	r.row[id] = r.row[id] || envelope
	known := 0
	for _, k := range r.row {
		if k {
			known++
		}
	}
	return known >= KnownRow || len(r.row) >= AnyRow
}

// accepted says that a message was accepted and returns the refusals that thereby are the messages'
// own fault.
func (r *refusals) accepted() []refusal {
	r.row, r.proven = nil, true
	rs := r.waiting
	r.waiting = nil
	return rs
}

// atEnd is for when nothing else is left to send: park are those that are their own fault, again
// those that are tried again later.
func (r *refusals) atEnd() (park, again []refusal) {
	for _, f := range r.waiting {
		if f.pair.Attempts+1 >= RefusedTimes || r.proven && f.quiet() {
			park = append(park, f)
		} else {
			again = append(again, f)
		}
	}
	r.waiting = nil
	return park, again
}

// takeAll returns all, for a pause: they stay pending.
func (r *refusals) takeAll() []refusal {
	rs := r.waiting
	*r = refusals{}
	return rs
}

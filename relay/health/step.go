// Package health knows how the primaries are: whether mail may be passed to them, must be kept, or
// would be refused.
//
// Step is the whole state machine, pure: a record, an observation and a time give the next record. The
// Monitor around it probes each set of primary hosts, hears what pass-through and replay see
// (Observe), keeps declarations of an admin, and tells subscribers what changed.
//
// Health belongs to a set of primary hosts, not to a domain: a hundred domains behind one server are
// probed once, and go down and come back together. Declarations belong to a domain or an address.
//
//	up ──lost──> suspect ──3 failed probes──> down ──good probe──> recovering ──mail taken, or none pending──> up
//	 │              └──good probe: up, or recovering while mail is pending──┘
//	 └──5.7.x, and it never took mail from us──> refuses-us ──good probe──> up
//	 suspect ──3 failures, and store, resolver and the other primaries are gone too──> isolated
package health

import "time"

// State is how a primary is, as far as we can see.
type State string

// The states. Mail is passed in Up alone. In Suspect, Down, Recovering and Isolated it is kept; in
// RefusesUs the sender is told to come back later, since the primary itself can be reached by others.
const (
	Up         State = "up"
	Suspect    State = "suspect"    // something went wrong just now
	Down       State = "down"       // DownAfter probes in a row failed, or an admin said so
	Recovering State = "recovering" // it answers probes; no kept message has gone through yet
	RefusesUs  State = "refuses-us" // a ban or a blocklist: it is up, but not for us
	Isolated   State = "isolated"   // everything is gone at once: it is our own line
)

// DownAfter is the number of failed probes in a row after which a primary counts as down, and the number of
// refusals in a row of what it used to take after which it counts as suspect.
const DownAfter = 3

// aloneWithin is how long after a primary counted as down everything else may go too for it to be our
// own line after all.
const aloneWithin = time.Minute

// Kind says what was seen.
type Kind string

// The kinds of observation.
const (
	// Good: a probe went through to its end.
	Good Kind = "good"
	// Lost: no connection, a lost one, a time-out, 421 or 4.3.x; in a probe, in pass-through or at replay.
	Lost Kind = "lost"
	// Refusal: 5xx to MAIL, or to RCPT for a recipient known good. It counts, but alone it proves little:
	// people leave. A probe to which every known recipient was refused is Lost instead.
	Refusal Kind = "refusal"
	// Ban: 5.7.x, or 5xx to the connection itself. Only from a primary that never took mail from us does
	// it mean RefusesUs; otherwise it is a Refusal.
	Ban Kind = "ban"
	// Took: the primary answered 250 to a message, in pass-through or at replay.
	Took Kind = "took"
	// Empty: nothing is pending for the set any more.
	Empty Kind = "empty"
	// Ended: a declaration ended; while mail is pending the primary has to take one message first.
	Ended Kind = "ended"
)

// Observation is one thing seen of a primary.
type Observation struct {
	Kind    Kind
	Host    string // host and address it was seen of, "" if none was reached
	Reply   string // the reply in question, printable
	Reason  string // for people: "connect: connection refused"
	Pending bool   // with Good and Ended: mail is pending for this set
	Alone   bool   // with Lost: store, resolver and all other primaries are gone at the same time
	Probe   bool   // a probe saw it, not a session that carried mail
	Replay  bool   // with Took: it was a kept message

	err error // behind Reason; Step doesn't look at it
}

// Record is what is known of a set of primary hosts.
type Record struct {
	State State     `json:"state"`
	Since time.Time `json:"since"` // State began

	// DownSince is when it last counted as down; zero once it is up again. While it is set, going from
	// Recovering back to Down is the same failure, not a new one.
	DownSince time.Time `json:"down_since,omitzero"`

	Failures int       `json:"failures,omitempty"` // failed probes in a row
	Relapses int       `json:"relapses,omitempty"` // times Recovering ended in a failure since it was last up
	Refusals int       `json:"refusals,omitempty"` // Refusal in a row
	LastTook time.Time `json:"last_took,omitzero"`
	LastBad  time.Time `json:"last_bad,omitzero"`
	TookMail bool      `json:"took_mail,omitempty"` // it has taken mail from us, ever

	// Bans counts those that sessions met since it last took mail; until BanHold a good probe proves nothing
	// against the last of them, which a probe can't meet.
	Bans    int       `json:"bans,omitempty"`
	BanHold time.Time `json:"ban_hold,omitzero"`

	Host   string `json:"host,omitempty"`   // that answered last
	Reply  string `json:"reply,omitempty"`  // with the last bad observation
	Reason string `json:"reason,omitempty"` // why it isn't up, for people

	// Declaration is set in what Monitor.State returns while an admin's word is in force for the domain.
	Declaration *Declaration `json:"declaration,omitempty"`
}

// Declaration is an admin's word that a domain, or one address, counts as down.
type Declaration struct {
	Target string    `json:"target"` // domain or address, as Monitor.Declare normalised it
	Until  time.Time `json:"until"`  // it ends by itself
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
}

// Passes reports that mail may be passed.
func (r Record) Passes() bool { return r.State == Up }

// Reachable reports that replay may try: the last probe went through.
func (r Record) Reachable() bool { return r.State == Up || r.State == Recovering }

// NewRecord returns the record of a set of which nothing has been seen: mail is kept until the first probe,
// which is sent at once.
func NewRecord(now time.Time, tookMail bool) Record {
	return Record{State: Suspect, Since: now, TookMail: tookMail, Reason: "not probed yet"}
}

// Step returns the record after o was seen at now. It is pure.
func Step(r Record, o Observation, now time.Time) Record {
	switch o.Kind {
	case Good:
		return stepGood(r, o, now)
	case Took:
		r.TookMail, r.LastTook, r.Bans, r.BanHold = true, now, 0, time.Time{}
		r = r.good(o)
		// A message that got through in a session begun earlier says less than a failure seen since, so
		// only a replayed one ends Recovering; in the other states a probe has to come first.
		if r.State == Recovering && o.Replay {
			return r.to(Up, now)
		}
		return r
	case Empty:
		if r.State == Recovering {
			return r.to(Up, now)
		}
		return r
	case Ended:
		if r.State == Up && o.Pending {
			r.Reason = "a declaration ended; waiting for a kept message to go through"
			return r.to(Recovering, now)
		}
		return r
	case Lost:
		return stepLost(r, o, now)
	case Ban:
		if !r.TookMail {
			return r.bad(o, now).ban(o, now)
		}
		if o.Probe {
			return stepLost(r, o, now)
		}
		return stepRefusal(r, o, now)
	case Refusal:
		return stepRefusal(r, o, now)
	}
	return r
}

// maxBanHold bounds how long senders are put off for what a single reply 5.7.x may have meant.
const maxBanHold = 15 * time.Minute

func (r Record) ban(o Observation, now time.Time) Record {
	if o.Probe {
		r.BanHold = time.Time{} // the next probe meets the same, or it is over
		return r.to(RefusesUs, now)
	}
	r.Bans++
	r.BanHold = now.Add(min(time.Minute<<min(r.Bans-1, 10), maxBanHold))
	return r.to(RefusesUs, now)
}

func stepGood(r Record, o Observation, now time.Time) Record {
	if r.State == RefusesUs && now.Before(r.BanHold) {
		return r
	}
	refusals := r.Refusals
	r = r.good(o)
	switch r.State {
	case Up:
		// A probe goes no further than RCPT: it doesn't excuse refusals of real mail.
		r.Refusals = refusals
		return r
	case Recovering:
		if !o.Pending {
			return r.to(Up, now)
		}
		return r
	default:
		if o.Pending {
			r.Reason = "answers again; waiting for a kept message to go through"
			return r.to(Recovering, now)
		}
		return r.to(Up, now)
	}
}

func stepLost(r Record, o Observation, now time.Time) Record {
	r = r.bad(o, now)
	switch r.State {
	case Up, RefusesUs:
		r.Failures = 0
		if o.Probe {
			r.Failures = 1
		}
		return r.to(Suspect, now)
	case Suspect:
		// Fifty sessions that lose their connections when a server restarts are no outage: probes decide.
		if !o.Probe {
			return r
		}
		if r.Failures++; r.Failures < DownAfter {
			return r
		}
		return r.down(o, now)
	case Recovering:
		// A primary that answers probes but breaks at every message isn't back.
		r.Failures = 0
		r.Relapses++
		if !r.DownSince.IsZero() || r.Relapses >= DownAfter {
			return r.down(o, now)
		}
		return r.to(Suspect, now)
	case Down:
		// Mostly it went before our own line did. But when a line breaks, the probes of the sets fail one
		// after another, and the first may count as down before the last has noticed.
		if o.Alone && now.Sub(r.DownSince) < aloneWithin {
			r.DownSince = time.Time{}
			return r.to(Isolated, now)
		}
		return r
	case Isolated:
		if !o.Alone {
			return r.down(o, now) // the others are back, this one isn't
		}
		return r
	}
	return r
}

func stepRefusal(r Record, o Observation, now time.Time) Record {
	r = r.bad(o, now)
	r.Refusals++
	if r.Refusals < DownAfter {
		return r
	}
	switch r.State {
	case Up:
		r.Refusals = 0
		return r.to(Suspect, now)
	case Recovering:
		return stepLost(r, o, now)
	}
	return r
}

func (r Record) down(o Observation, now time.Time) Record {
	if o.Alone {
		return r.to(Isolated, now)
	}
	if r.DownSince.IsZero() {
		r.DownSince = now
	}
	return r.to(Down, now)
}

func (r Record) good(o Observation) Record {
	r.Failures, r.Refusals = 0, 0
	if o.Host != "" {
		r.Host = o.Host
	}
	return r
}

func (r Record) bad(o Observation, now time.Time) Record {
	r.LastBad, r.Reply, r.Reason = now, o.Reply, o.Reason
	return r
}

func (r Record) to(s State, now time.Time) Record {
	if s == Up {
		r.DownSince, r.Failures, r.Refusals, r.Relapses = time.Time{}, 0, 0, 0
		r.Reason, r.Reply = "", ""
	}
	if r.State != s {
		r.State, r.Since = s, now
	}
	return r
}

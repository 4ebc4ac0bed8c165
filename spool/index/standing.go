package index

import (
	"time"

	"restante/spool"
)

// Standing is where a pair stands.
type Standing struct {
	State   spool.PairState
	Changed time.Time // of the event that gave the state; zero while nothing has happened
	Reply   string    // of the server, of the last attempt that had one
	Host    string
	Reason  string
	By      string
	// Quarantined: it is of a quarantined entry and was never released, whatever else has become of it.
	Quarantined bool
}

// Stand is the rule of a pair for other folds: what the set of its events says, whatever their order. Those for which Decides
// is false may be left out. quarantine is the entry's.
func Stand(events []spool.Event, quarantine string, received time.Time) Standing {
	s := fold(events)
	s.detain(events, quarantine, received.UnixNano())
	return Standing{State: stateNames[s.state], Changed: when(s.ended), Reply: s.reply, Host: s.host, Reason: s.reason, By: s.by, Quarantined: s.quarantine != ""}
}

// Decides reports the events that give a pair a state.
func Decides(t spool.EventType) bool { return precedence(t) >= 0 }

// Package session keeps who is signed in. A session is made at sign-in, carried by a cookie whose
// token only the browser knows, and ends by itself (idle, or after its absolute term) or when somebody ends it.
//
// Everything stands in the ledger, so that sessions survive a restart and hold on every node: events of
// type spool.AccountChanged with Address = the account and Data, by its "change":
//
//	"session"       session (id), method, second, device, outage, until (RFC 3339), addr, agent: somebody has signed in
//	"session-seen"  session: it was used; noted once an hour at most; lazy
//	"session-ended" session, reason: it was ended
//	"sessions-ended" except (a session id or absent), reason: all that had begun by the event's time are ended
//
// The id is the SHA-256 of the token, in hex: whoever reads the ledger can't make a cookie of it. Events may
// come twice and in any order. An ended session never comes back.
package session

import (
	"context"
	"errors"
	"time"

	"restante/spool"
)

// Method is how somebody signed in.
type Method string

// The ways in.
const (
	Password Method = "password" // the account's own
	Learned  Method = "learned"  // the one that the primary knows
	Code     Method = "code"     // from the sheet
	Link     Method = "link"     // the admin's one-time link
	Practice Method = "practice" // the link that came by mail on a good day
	Passkey  Method = "passkey"
	Device   Method = "device" // the key kept by this browser
)

// Values of Data["change"] of the events that this package writes and reads.
const (
	changeStarted = "session"
	changeSeen    = "session-seen"
	changeEnded   = "session-ended"
	changeAll     = "sessions-ended"
)

// Limits of a session.
type Limits struct {
	Idle     time.Duration // without use, it ends after that
	Absolute time.Duration // it ends that long after sign-in, used or not
	Each     int           // sessions of one account; the least recently used makes room
	SeenNote time.Duration // that it is used is noted in the ledger as often as that at most; less than Idle
}

// DefaultLimits hold for a work day without use and a week in all; 20 sessions a person.
func DefaultLimits() Limits {
	return Limits{Idle: 24 * time.Hour, Absolute: 7 * 24 * time.Hour, Each: 20, SeenNote: time.Hour}
}

// Session is one browser that is signed in.
type Session struct {
	ID      string // 64 hex digits; it may be shown, it opens nothing
	Account string
	Method  Method
	Second  bool   // a second step was taken, or the passkey asked for the person
	Device  string // id of the device that signed in, "" for none
	Outage  bool   // good only while an outage of the account's domain is open
	Started time.Time
	Seen    time.Time // last use, exact on the node that it uses, else up to Limits.SeenNote old
	Until   time.Time // ends then at the latest
	Addr    string    // IP address at sign-in
	Agent   string    // "Firefox on Linux"
}

// Options of Sessions. Record, Note and Open must be set.
type Options struct {
	Record func(ctx context.Context, evs ...spool.Event) error // durable when it returns nil
	Note   func(evs ...spool.Event)                            // lazily durable
	Open   func(account string) bool                           // an outage or drill is open for the account's domain
	Limits Limits                                              // zero fields: DefaultLimits
}

// ErrNotFound: there is no such session, or it has ended.
var ErrNotFound = errors.New("no such session, or it has ended")

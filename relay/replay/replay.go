// Package replay hands kept mail over to the primaries, once they are back.
//
// It is driven by pending pairs and nothing else: whatever the index shows as pending, for a domain
// whose primary can be reached, is tried; an entry kept while the primary is up is tried at once.
//
//	index.Pending ──pages──> feeder ──spool.Fetch──> ready ──pace──> workers ──smtpc.Run──> primary
//	      ^                     │ skips: under way, settled, backing off                       │
//	      └──── fold <── ledger <── journal <── Settle (before the next final dot) <── replies ┘
//
// One Engine serves all domains. Domains with the same set of primary hosts share one group: one feeder,
// one pace (see relay/replay/pace), its connections. Each domain has its lease, claimed while it has
// mail and the primary may take it, looked at before every final dot. An entry with recipients in several of them goes
// in one transaction, where all may be sent.
//
// What becomes of a pair:
//
//	2xx to the dot        delivered, with the reply, the host and the lease's generation
//	4xx                   tried again, BackoffMin doubling to BackoffMax; parked after GiveUp of 4xx
//	5xx                   a suspicion first: parked as soon as the domain's primary has taken something else,
//	                      or when it was refused RefusedTimes. KnownRow messages to recipients known good, or AnyRow of any,
//	                      refused in a row: the domain pauses with an alert, all of them stay pending, and one
//	                      message is tried now and then until one is taken
//	connection lost       pending; parked when it lost LostTimes connections while others passed
//	reply to dot unseen   pending too, and counted: the duplicate of RFC 1047
//	does not fit          parked: over the primary's SIZE, or SMTPUTF8 that it lacks
//	damaged in the store  parked; so is what was erased there
//	missing in the store, of a newer format, or not readable now
//	                      pending, tried again later, BackoffMin doubling to BackoffMax; the others go on
//
// An entry with NotBefore isn't begun before then, and only once the ledger has been read to its end after that, so
// that what was taken back in time never goes out.
//
// Nothing is ever expired here, nor bounced, unless Options.Undelivered says so. When an outcome can be written neither to the journal nor
// to the ledger, all of replay stops, with an alert, until it can: a reply that was read is then still
// known here, and is the first thing written.
//
// The index lags behind the ledger. A pair that was settled is therefore kept in a set (claims) until
// a page of the index, read later and reaching past it, no longer shows it as pending; until then it
// isn't sent again. Memory is bounded: pages, a ready queue of ReadyBytes, and those claims.
package replay

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"restante/relay/health"
	"restante/relay/reply"
	"restante/relay/smtpc"
	"restante/spool"
	"restante/spool/index"
)

// Spool is what replay needs of the spool; see FromSpool.
type Spool interface {
	Fetch(ctx context.Context, id string, loc spool.Location) (*spool.Entry, *spool.Body, error)
	Settle(ev spool.Event) error
	Note(evs ...spool.Event)
	Record(ctx context.Context, evs ...spool.Event) error
	Sync(ctx context.Context) error // the index knows all that the ledger and the mail held when it was called
	Lease(ctx context.Context, name string) (Lease, error)
}

// Lease is the right to replay a domain.
type Lease interface {
	Valid() bool
	Lost() <-chan struct{}
	Generation() int64
	Release(ctx context.Context) error
}

// FromSpool makes a *spool.Spool fit.
func FromSpool(s *spool.Spool) Spool { return fromSpool{s} }

type fromSpool struct{ *spool.Spool }

// Lease returns once the lease is held and the index knows all that was ever recorded: what its last
// holder delivered, the journal of a killed process, and all of the ledger when the index is made anew.
func (f fromSpool) Lease(ctx context.Context, name string) (Lease, error) {
	// A rebuild may take minutes: the lease isn't held for that long without need.
	if err := f.Spool.CaughtUp(ctx); err != nil {
		return nil, err
	}
	l, err := f.Spool.Lease(ctx, name)
	if err != nil {
		return nil, err // not a nil *spool.Lease in an interface
	}
	if err := f.Spool.Sync(ctx); err != nil {
		return nil, errors.Join(err, l.Release(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// Index is what replay needs of the index; *index.Index has it. Pending and List give pairs oldest
// first, that is by entry id.
type Index interface {
	Pending(ctx context.Context, domain string, after index.Cursor, limit int) ([]spool.Pair, index.Cursor, error)
	Entry(ctx context.Context, id string) (*index.View, error)
	List(ctx context.Context, f index.Filter) ([]spool.Pair, index.Cursor, error)
	Summary(ctx context.Context, domain string) (index.Summary, error)
	Known(ctx context.Context, address string) (bool, error)
	Paused(ctx context.Context, domain string) (spool.Event, bool, error)
	Resumed(ctx context.Context, domain string) (spool.Event, bool, error)
	Changed() <-chan struct{} // closed at the next change
}

// Health is what replay needs to know of the primaries; *health.Monitor has it.
type Health interface {
	State(domain string) health.Record
	Key(domain string) string
	Declared(target string) (health.Declaration, bool)
	Dial(ctx context.Context, domain string) (*smtpc.Conn, error)
	Observe(domain string, o health.Observation)
	Subscribe(f func(health.Change))
}

// Config bounds replay. Zero fields get the defaults.
type Config struct {
	Connections int           // to one set of primary hosts at most; default 20
	Start       int           // connections after the first accepted message; default 5
	Rate        float64       // messages a second to one set of primary hosts; 0: no limit
	BackoffMin  time.Duration // after the first 4xx of an entry; default 15 s
	BackoffMax  time.Duration // the backoff doubles up to this; default 15 min
	GiveUp      time.Duration // 4xx for this long, then parked; default 5 days
	LostWait    time.Duration // after a lost connection all wait that long, then one goes first; default 1 s, doubles to 1 min
	PauseRetry  time.Duration // after a pause of our own, one message is tried; default 5 min, doubles to 1 h
}

// Domain is one domain that is replayed.
type Domain struct {
	Name        string
	Manual      bool    // wait for Start
	Login       bool    // by authenticated submission, which takes the domain's own mail: see refusal.own
	Connections int     // 0: Config.Connections
	Rate        float64 // 0: Config.Rate
}

// Options are what an Engine works with. Spool, Index and Health are required.
type Options struct {
	Spool   Spool
	Index   Index
	Health  Health
	Config  Config
	Domains []Domain
	// AuthservID is our own id in Authentication-Results fields: fields in a message that forge it
	// are left out on the way (RFC 8601 5). "" strips nothing.
	AuthservID string
	// DialTo connects to a host other than the primary, for Selection.To.
	DialTo func(ctx context.Context, hostport string) (*smtpc.Conn, error)
	// Hold says until when an entry is to be left alone, beyond its own NotBefore; zero: it may go. nil: all may.
	Hold func(*spool.Entry) time.Time
	// Undelivered is asked before pairs of one entry are parked. When it says true its writer has been told, durably, and
	// the pairs are bounced instead; after an error they are tried again. nil: they are parked.
	Undelivered func([]Undelivered) (bounced bool, err error)
	// Heard is told what a primary said of a recipient; it must not block. nil: nobody is.
	Heard func(address string, r reply.Reply)
	// Notify tells people; it must not block. nil: nobody.
	Notify  func(Notice)
	Log     *slog.Logger
	Metrics *Metrics
}

// NoticeKind says what a Notice is about.
type NoticeKind string

// The kinds of Notice.
const (
	NoticeParked   NoticeKind = "parked"          // Entry, Address, Reply or Reason
	NoticeFinished NoticeKind = "replay-finished" // nothing is pending any more: Delivered, Parked
	NoticePaused   NoticeKind = "replay-paused"   // by replay itself: Reason, Reply
	NoticeResumed  NoticeKind = "replay-resumed"  // by replay itself
	NoticeStopped  NoticeKind = "replay-stopped"  // neither journal nor ledger can be written: Reason
	NoticeGoesOn   NoticeKind = "replay-goes-on"  // they can again
)

// Notice is something that people should know.
type Notice struct {
	Kind      NoticeKind `json:"kind"`
	Time      time.Time  `json:"time"`
	Domain    string     `json:"domain,omitempty"`
	Entry     string     `json:"entry,omitempty"`
	Address   string     `json:"address,omitempty"`
	Reply     string     `json:"reply,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Delivered int64      `json:"delivered,omitempty"`
	Parked    int64      `json:"parked,omitempty"`
}

// State is what replay of a domain is doing.
type State string

// The states.
const (
	StateIdle    State = "idle"    // nothing is pending
	StateWaiting State = "waiting" // for the primary
	StateLease   State = "lease"   // another node replays it, or the store doesn't answer
	StateCanary  State = "canary"  // one message first
	StateRunning State = "running"
	StateBackoff State = "backoff" // what is left got 4xx and is tried again later
	StatePaused  State = "paused"  // by an admin or by itself: By, Reason
	StateManual  State = "manual"  // waits for Start
	StateStopped State = "stopped" // outcomes can't be recorded
)

// Status is how far replay of a domain is. Counts are pairs. A run begins when something is pending
// after nothing was.
type Status struct {
	Domain      string        `json:"domain"`
	State       State         `json:"state"`
	By          string        `json:"by,omitempty"`
	Reason      string        `json:"reason,omitempty"`
	Since       time.Time     `json:"since,omitzero"` // the run began
	Done        int64         `json:"done"`           // of this run: delivered and parked
	Total       int64         `json:"total"`          // Done and what is pending
	Pending     int64         `json:"pending"`
	Delivered   int64         `json:"delivered"`
	Parked      int64         `json:"parked"`
	Deferred    int64         `json:"deferred"` // attempts that got 4xx
	Lost        int64         `json:"lost"`     // attempts whose connection was lost
	Unknown     int64         `json:"unknown"`  // of those: final dot sent, no reply seen
	Rate        float64       `json:"rate"`     // pairs a second over the last 10 s
	Connections int           `json:"connections"`
	Left        time.Duration `json:"left"` // at that rate; 0: not known
	Next        time.Time     `json:"next,omitzero"`
	LastReply   string        `json:"last_reply,omitempty"` // that wasn't 2xx
	Recent      []Parked      `json:"recent,omitempty"`     // parked last, newest first, 10 at most
}

// Parked is a pair that was parked.
type Parked struct {
	Time    time.Time `json:"time"`
	Entry   string    `json:"entry"`
	Address string    `json:"address"`
	Reply   string    `json:"reply,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// StartOptions are for Start. Rate and Connections hold until the domain has nothing pending, or the process ends.
type StartOptions struct {
	By          string
	Reason      string
	Rate        float64 // 0: as configured
	Connections int     // 0: as configured
}

// Selection says what RunOnce sends: the pairs that fit all that is set.
type Selection struct {
	Domain      string
	Rcpt        string
	Since       time.Time // Since <= received < Until
	Until       time.Time
	IDs         []string // entries; unique prefixes will do
	Again       bool     // delivered pairs too: a Retried event opens a new round
	Rate        float64  // 0: as configured
	Connections int      // 0: as configured
	To          string   // host:port instead of the primary
	DryRun      bool     // count only
	By          string   // for the events
}

// Progress is told after each attempt of RunOnce, and at its end.
type Progress struct {
	Summary
	Entry   string `json:"entry,omitempty"`
	Address string `json:"address,omitempty"`
	Outcome string `json:"outcome,omitempty"` // "delivered", "parked", "deferred", "lost", or "selected" in a dry run
	Reply   string `json:"reply,omitempty"`
}

// Summary is what RunOnce did, in pairs. What is neither delivered nor parked is pending as before.
type Summary struct {
	Selected    int64   `json:"selected"`
	Octets      int64   `json:"octets"`
	Delivered   int64   `json:"delivered"`
	Parked      int64   `json:"parked"`
	Deferred    int64   `json:"deferred"`
	Lost        int64   `json:"lost"`
	Skipped     int64   `json:"skipped"` // being sent by somebody else, or in no state to be sent
	Rate        float64 `json:"rate"`
	Connections int     `json:"connections"`
}

// Package rcpt knows which recipients the hosted domains have, so that what is kept while a primary is away is mail that it
// would have taken.
//
// What is known comes from sources, each of which may be missing: the list in the configuration, lists that are imported or
// synced (a file, LDAP), single addresses that an admin added, and what the primary itself said, in pass-through, at
// replay or when it was asked (call-ahead, see ahead.go). An address exists when any source has it. An address that
// none has is unknown, and what becomes of it depends on how complete the lists are:
//
//   - postmaster and abuse always exist (RFC 5321 4.5.1, RFC 2142).
//   - Until each list that a domain is to have was taken in once, unknown recipients are kept.
//   - After that the domain's Unknown holds: put off with 450, kept, or refused with 550.
//   - Refused is only by lists that can be believed: when the newest is older than MaxAge, or a source fails, it is 450. So it is for
//     whom a list has lost within LeftFor: an export that was cut off looks like people who left.
//   - What the primary refused as unknown (5.1.1, 5.1.10) is put off, never refused, while that is fresh and no list has it.
//
// While the primary is up it decides by itself; the directory only hears. But one that refuses whom a list has may be restored by half:
// see Has, and relay/pass.
//
// # What is written
//
// Lists are kept in the ledger, so that every node knows them and a new one learns them: events spool.RecipientsChanged hold
// what changed, in chunks, and spool.RecipientsListed says that a full list was taken in and how long it is. Only
// changes are written; a full list that is the same is confirmed every ConfirmEvery. A list counts as taken in once as
// many addresses are known from it as it is said to have. A node that has read half of the ledger refuses nobody: until it was
// read to its end (Options.CaughtUp) the lists count as not complete, whatever is known of them.
// The list in the configuration isn't written: each node has its own configuration.
//
// Addresses that the primary has taken mail for stand in the ledger as spool.Learned, and are never forgotten.
package rcpt

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"restante/relay/health"
	"restante/relay/smtpc"
	"restante/spool"
	"restante/spool/index"
)

// Names of sources. Lists that are synced may have other names.
const (
	SourceConfig  = "configuration" // Domain.List
	SourceImport  = "import"        // `restante recipient import`
	SourceFile    = "file"
	SourceLDAP    = "ldap"
	SourceAdded   = "added"   // single addresses, by Add
	SourcePrimary = "primary" // what the primary itself said
	SourceAlways  = "always"  // postmaster, abuse
)

// What becomes of unknown recipients, once a domain's lists are complete.
const (
	UnknownDefer  = "defer"  // 450: the sender tries again, when the primary may be back (also "")
	UnknownAccept = "accept" // kept
	UnknownRefuse = "refuse" // 550, by lists that can be believed
)

// DefaultMaxAge is Domain.MaxAge when that is 0.
const DefaultMaxAge = 7 * 24 * time.Hour

// ConfirmEvery is how often a full list that hasn't changed is written again as taken in; with a MaxAge below four times that it is a
// quarter of it.
const ConfirmEvery = 6 * time.Hour

// Limits of what is remembered of one domain.
const (
	// MaxAddresses is how long a list may be. 200,000 take 12 MB of memory and half a second of a start (TestLarge).
	MaxAddresses = 1_000_000
	// maxBad is how many addresses are remembered, and written, that the primary refused. Beyond, more are passed over
	// until some are too old to count.
	maxBad = 10_000
	// maxWanted is how many addresses wait to be asked of the primary.
	maxWanted = 1000
)

// How long a refusal by the primary counts, and for how long a list's word isn't enough.
const (
	// BadFor is how long an address that the primary refused as unknown counts as such.
	BadFor = 24 * time.Hour
	// LeftFor is how long somebody whom a list has lost isn't refused.
	LeftFor = 24 * time.Hour
	// RecheckAfter is when such an address is asked of the primary again, if it was asked of us since.
	RecheckAfter = 4 * time.Hour
)

// Errors.
var (
	// ErrNotHosted: no such domain.
	ErrNotHosted = errors.New("the domain isn't hosted here; look at [[domain]] in the configuration")
	// ErrShrinks: the new list has less than half of the old one, or most of those on the old one are missing. See ReplaceOptions.Force.
	ErrShrinks = errors.New("a list loses more than half of its addresses, as a broken export does; look at it, and force it if it is right")
	// ErrTooMany: more than MaxAddresses, or too many at once.
	ErrTooMany = errors.New("too many addresses")
)

// Domain is a hosted domain.
type Domain struct {
	Name    string
	AliasOf string // its recipients are those of this hosted domain too, each under the same local part
	// List is the list in the configuration: local parts or whole addresses; "@" means any. Empty: there is none.
	List []string
	// Sources are the lists that are synced (SourceFile, SourceLDAP): until each was taken in once the lists aren't complete, and those
	// of others, as of a file that isn't configured any more, don't count. What is imported or added always does.
	Sources []string
	// SubAddress holds the characters that part a tag from a name: with "+", user+tag exists when user does (RFC 5233).
	// "" turns that off. An address that a source has as it stands wins.
	SubAddress string
	CatchAll   bool          // any local part exists
	Unknown    string        // UnknownDefer (also ""), UnknownAccept or UnknownRefuse
	MaxAge     time.Duration // beyond, nobody is refused by the lists any more; 0: DefaultMaxAge
	CallAhead  bool          // ask the primary, while it is up, for recipients that were asked of us while it was not
}

// Address is one address of a list.
type Address struct {
	Address string `json:"address"`        // whole, of the domain; "@example.com" means any (catch-all)
	Kind    string `json:"kind,omitempty"` // "user", "alias", "group", ...; "" when not known
}

// State is what is known of a recipient.
type State string

// The states.
const (
	Exists State = "exists"
	Absent State = "absent" // complete lists don't have it, or the primary said so
	Unsure State = "unsure"
)

// Action is what to do with a recipient while its primary isn't asked.
type Action string

// The actions.
const (
	Take   Action = "take"
	Defer  Action = "defer"
	Refuse Action = "refuse"
)

// Answer says whether a recipient exists.
type Answer struct {
	State  State  `json:"state"`
	Action Action `json:"action"`
	Why    string `json:"why"`              // for people
	Source string `json:"source,omitempty"` // the source that has it, "" if none
}

// Change is what a new list changes.
type Change struct {
	Domain  string   `json:"domain"`
	Source  string   `json:"source"`
	Before  int      `json:"before"` // addresses of the old list
	After   int      `json:"after"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	First   bool     `json:"first,omitempty"`   // there was no full list of that source
	Shrinks bool     `json:"shrinks,omitempty"` // it was refused for that, see ErrShrinks
}

// ReplaceOptions are for Replace.
type ReplaceOptions struct {
	DryRun bool      // only say what would change
	Force  bool      // even when the list loses more than half of its addresses
	At     time.Time // when the list was made, if that was before; zero: now
}

// Filter selects recipients. Its zero value selects those that exist.
type Filter struct {
	Source string // of that source only
	State  State  // Exists (also "") or Absent: refused by the primary not long ago
	Text   string // part of the address
	Limit  int    // 0: no limit
}

// Recipient is one that a source knows.
type Recipient struct {
	Address string    `json:"address"`
	State   State     `json:"state"`
	Kind    string    `json:"kind,omitempty"`
	Sources []string  `json:"sources,omitempty"`
	At      time.Time `json:"at,omitzero"` // of Absent: when the primary said so
}

// Freshness is how fresh and complete the lists of a domain are.
type Freshness struct {
	AliasOf  string        `json:"alias_of,omitempty"` // whose lists these are, "" for its own
	Complete bool          `json:"complete"`           // every list that the domain is to have was taken in
	Why      string        `json:"why,omitempty"`      // it is not complete, or is stale
	Reading  bool          `json:"reading,omitempty"`  // the ledger is still being read, so that nothing is complete
	Known    int           `json:"known"`              // addresses that exist, of all sources
	At       time.Time     `json:"at,omitzero"`        // of the newest full list; zero when there is none but in the configuration
	Stale    bool          `json:"stale"`              // that is longer ago than MaxAge, or a source fails: nobody is refused
	CatchAll bool          `json:"catch_all"`          // any address exists, or the primary takes any
	Sources  []SourceState `json:"sources"`            // by name
	Wanted   int           `json:"wanted"`             // addresses that wait to be asked of the primary
	Unknown  string        `json:"unknown"`            // what becomes of unknown recipients once it is complete
}

// SourceState is how one source is.
type SourceState struct {
	Name  string    `json:"name"`
	Count int       `json:"count"`           // addresses known from it
	At    time.Time `json:"at,omitzero"`     // when its last full list was taken in; zero: never, or it is in the configuration
	Err   string    `json:"error,omitempty"` // why the last sync failed, "" if it didn't
	Stale bool      `json:"stale,omitempty"` // older than MaxAge
}

// Index is what the ledger says of recipients. *index.Index is one.
type Index interface {
	Recipients(ctx context.Context, after index.RecipientsMark, each func(index.Recipient) error) (index.RecipientsMark, error)
	RecipientLists(ctx context.Context) ([]index.RecipientList, error)
	Changed() <-chan struct{}
}

// Primaries knows how the primaries are and opens sessions to them. *health.Monitor is one.
type Primaries interface {
	State(domain string) health.Record
	Dial(ctx context.Context, domain string) (*smtpc.Conn, error)
}

// Options are what New needs. Only Domains is required.
type Options struct {
	Domains   []Domain
	Index     Index                                               // nil: nothing is known but the configuration
	Record    func(ctx context.Context, evs ...spool.Event) error // writes to the ledger, durably; nil: nothing is written
	Note      func(evs ...spool.Event)                            // writes lazily; must not block
	CaughtUp  func(ctx context.Context) error                     // returns nil once the index was brought to the end of the ledger; nil: it is there
	Primaries Primaries                                           // for call-ahead; nil: none
	Pace      Pace                                                // of call-ahead
	Log       *slog.Logger
	Metrics   *Metrics
	Now       func() time.Time // nil: time.Now
}

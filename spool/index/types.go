package index

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"restante/spool"
)

// Errors of the index.
var (
	// ErrNotFound: no such entry or outage.
	ErrNotFound = errors.New("not in the index")
	// ErrAmbiguous: the prefix of an id fits more than one entry.
	ErrAmbiguous = errors.New("the id fits more than one entry; give more of it")
	// ErrForeign: the index was folded from another cluster's bucket.
	ErrForeign = fmt.Errorf("%w: the index was folded from another cluster's store", spool.ErrForeign)
)

// Options for Open.
type Options struct {
	Log     *slog.Logger
	Metrics *Metrics // nil: none
	Readers int      // connections for queries; 0: 3
}

// Cursor is where a listing goes on: opaque, "" for the beginning. A listing that has ended returns "".
type Cursor string

// StateHeld selects the parked pairs that an admin holds. It is for a Filter only: such pairs are parked.
const StateHeld spool.PairState = "held"

// StateQuarantined selects the parked pairs that are in quarantine. It is for a Filter only, as StateHeld.
const StateQuarantined spool.PairState = "quarantined"

// Filter selects pairs. Its zero value selects all of them.
type Filter struct {
	Domain       string          // hosted domain
	Rcpt         string          // recipient's address, case does not matter
	From         string          // reverse-path, case does not matter; "<>" for the null one
	State        spool.PairState // "" for any, StateHeld or StateQuarantined
	Outage       string          // id of an outage
	Since, Until time.Time       // when it was received: Since <= received < Until
	Written      bool            // only what was written here: all kinds but held
	Text         string          // part of sender, recipient or subject
	Limit        int             // 0: 100
	After        Cursor          // from the answer before
	Newest       bool            // newest first instead of oldest first
}

// View is all that is known of one entry. After Erased, addresses and summary are empty. After its
// batch was deleted Entry is nil and only the events are left.
type View struct {
	Entry    *spool.Entry   `json:"entry"`
	Location spool.Location `json:"location"`
	Pairs    []spool.Pair   `json:"pairs"`
	Events   []spool.Event  `json:"events"` // by time
	Erased   bool           `json:"erased,omitempty"`
}

// Counts are numbers of pairs by state.
type Counts struct {
	Pending   int64 `json:"pending"`
	Parked    int64 `json:"parked"`
	Expired   int64 `json:"expired"`
	Bounced   int64 `json:"bounced"`
	Removed   int64 `json:"removed"`
	Delivered int64 `json:"delivered"`
}

// Accepted is the sum: every pair is in exactly one state.
func (c Counts) Accepted() int64 {
	return c.Pending + c.Parked + c.Expired + c.Bounced + c.Removed + c.Delivered
}

// Of returns the number of pairs in a state.
func (c Counts) Of(s spool.PairState) int64 {
	if p := c.at(s); p != nil {
		return *p
	}
	return 0
}

func (c *Counts) at(s spool.PairState) *int64 {
	switch s {
	case spool.StatePending:
		return &c.Pending
	case spool.StateParked:
		return &c.Parked
	case spool.StateExpired:
		return &c.Expired
	case spool.StateBounced:
		return &c.Bounced
	case spool.StateRemoved:
		return &c.Removed
	case spool.StateDelivered:
		return &c.Delivered
	}
	return nil
}

// Summary is what status shows of a domain.
type Summary struct {
	Domain string    `json:"domain"`
	Outage string    `json:"outage,omitempty"` // the last outage, open or not; "" if there never was one
	Open   bool      `json:"open"`             // that outage is open
	Counts Counts    `json:"counts"`           // since that outage began: its pairs; without one, all that is kept
	All    Counts    `json:"all"`              // of the domain, whichever outage
	Oldest time.Time `json:"oldest,omitzero"`  // when the oldest pending pair of the domain was received
}

// Head is how far one stream goes, for keeping elsewhere: a chain that still has this hash at this
// place was not tampered with. Without a Break it was verified up to Seq, each batch against the one before; batches that
// are missing are for Tally to judge.
type Head struct {
	Stream spool.StreamID `json:"stream"`
	Seq    uint64         `json:"seq"` // next to be read
	Hash   string         `json:"hash"`
	Sealed bool           `json:"sealed,omitempty"`
	Break  *Break         `json:"break,omitempty"` // the first place where it could not be followed
}

// Outage is one outage with its sums. Counts are pairs; a message counts once per domain, however
// many recipients it has there.
type Outage struct {
	ID             string    `json:"id"`
	Domain         string    `json:"domain"`
	Opened         time.Time `json:"opened"`
	Closed         time.Time `json:"closed,omitzero"` // zero while open
	Reason         string    `json:"reason,omitempty"`
	Counts         Counts    `json:"counts"`
	Messages       int64     `json:"messages"`
	Octets         int64     `json:"octets"` // of those messages
	FirstDelivered time.Time `json:"first_delivered,omitzero"`
	LastDelivered  time.Time `json:"last_delivered,omitzero"`
	Heads          []Head    `json:"heads,omitempty"` // from Outage only
}

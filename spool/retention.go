package spool

import (
	"context"
	"time"
)

// Terms say how long entries of a domain are kept after their pairs have ended. Zero: without end.
type Terms struct {
	Delivered time.Duration // after delivery (also after bounced and removed)
	Parked    time.Duration // then a parked pair expires
	Pending   time.Duration // then a pending pair expires; zero by default
}

// Holdings is what retention asks; package index is one.
type Holdings interface {
	// Overdue returns up to limit parked and pending pairs that are past their terms.
	Overdue(ctx context.Context, now time.Time, terms func(domain string) Terms, limit int) ([]Pair, error)
	// Disposable returns the batches all of whose pairs have ended and are past their terms.
	Disposable(ctx context.Context, now time.Time, terms func(domain string) Terms, limit int) ([]Disposable, error)
	// Deleted returns the batches that were deleted since a time.
	Deleted(ctx context.Context, since time.Time) ([]Disposable, error)
	// Erasures returns the entries that have an Erased event whose batch may not have been rewritten yet.
	Erasures(ctx context.Context) ([]Erasure, error)
	// Find returns where entries are; those it doesn't know are missing in the answer.
	Find(ctx context.Context, ids []string) ([]Erasure, error)
}

// Disposable is a batch that may go.
type Disposable struct {
	Stream string
	Seq    uint64
	Big    []string       // entries with a big object; stands in the event's Data too
	Pairs  int            // pairs in it
	Data   map[string]any // for the BatchDeleted event: the sums by outage, so that reports still add up
}

// Erasure is an entry that is to be erased, and where it is.
type Erasure struct {
	Entry    string
	Location Location
}

// RetainReport counts what one run of retention did.
type RetainReport struct {
	Expired int `json:"expired"` // pairs
	Batches int `json:"batches"` // deleted
	Pairs   int `json:"pairs"`   // in those
	Big     int `json:"big"`     // big objects deleted
	Erased  int `json:"erased"`  // entries
}

// Erased returns what is left of an entry when its body and addresses are gone.
func (e *Entry) Erased() *Entry {
	left := &Entry{ID: e.ID, Kind: e.Kind, Received: e.Received, TraceSize: e.TraceSize, Size: e.Size, SHA256: e.SHA256}
	for _, r := range e.Rcpts {
		left.Rcpts = append(left.Rcpts, Recipient{Domain: r.Domain})
	}
	return left
}

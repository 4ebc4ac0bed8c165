package spool

import (
	"context"
	"errors"
)

// Spool keeps entries and events in a store.
type Spool struct {
	o      Options
	follow following
}

// Open takes hold of data_dir and starts the spool. It works when the store is down: the store is then
// proved in the background, and Available says that it is down.
func Open(ctx context.Context, o Options) (*Spool, error) { return nil, errors.New("not yet") }

// Available returns nil when new mail may be kept; otherwise why not: ErrStoreDown, ErrNoSpace, ErrForeign or ErrClosed.
// When nothing was heard from the store for 10 s it asks the store, for at most 2 s; so
// call it only where mail would be kept, never in pass-through.
func (s *Spool) Available() error { return nil }

// Expect says that a session is inside DATA, so that a batch may wait a moment for it. The returned
// function ends that and is to be called once Append has returned, or when there will be none; it may be called twice.
func (s *Spool) Expect() (done func()) { return func() {} }

// Append keeps the message, trace fields first, and returns nil when it is durable. It fills Size,
// TraceSize and SHA256; the entry is not to be changed afterwards. ErrVoid: certainly not kept.
// ErrUnsettled: close the connection without a reply. The body stays the caller's.
// ctx does not end the wait for an outcome, since its batch answers for it; when it has ended before
// the entry is in a batch, ErrVoid is returned.
func (s *Spool) Append(ctx context.Context, e *Entry, trace []byte, body *Body) error {
	return ErrVoid
}

// Record puts events into the ledger and returns nil when they are durable. It fills ID and Time.
// ErrVoid: certainly not recorded. ErrUnsettled: not known; to record the same events again is harmless.
func (s *Spool) Record(ctx context.Context, evs ...Event) error { return ErrVoid }

// Note records events lazily: with the next batch of the ledger, or within LazyWait. A killed process may lose them.
func (s *Spool) Note(evs ...Event) {}

// Settle records the outcome of one delivery: nil once it stands in the journal, from where it goes to
// the ledger in the background, or, failing that, in the ledger. On an error replay must stop.
func (s *Spool) Settle(ev Event) error { return ErrVoid }

// Cluster is the id of the cluster that the store belongs to, "" as long as that isn't known.
func (s *Spool) Cluster() string { return "" }

// Node is the name of this node.
func (s *Spool) Node() string { return "" }

// Close keeps what is under way, writes lazy events, seals the streams, gives back leases and lets go of data_dir.
func (s *Spool) Close(ctx context.Context) error { return nil }

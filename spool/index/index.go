// Package index folds the entries and events of a spool into a local database that can be asked.
package index

import (
	"context"
	"errors"
	"time"

	"restante/spool"
)

var errUnfinished = errors.New("unfinished")

// Index is a fold of a spool.
type Index struct{}

// Open opens or makes the index at path.
func Open(path string, o Options) (*Index, error) { return nil, errUnfinished }

func (x *Index) Close() error { return nil }
func (x *Index) Positions(ctx context.Context) (map[spool.StreamID]spool.Position, error) {
	return nil, errUnfinished
}
func (x *Index) Apply(ctx context.Context, steps []spool.Step) error { return errUnfinished }
func (x *Index) Pending(ctx context.Context, domain string, after Cursor, limit int) ([]spool.Pair, Cursor, error) {
	return nil, "", errUnfinished
}

// Entry's id may be a unique prefix.
func (x *Index) Entry(ctx context.Context, id string) (*View, error) { return nil, errUnfinished }
func (x *Index) List(ctx context.Context, f Filter) ([]spool.Pair, Cursor, error) {
	return nil, "", errUnfinished
}
func (x *Index) Summary(ctx context.Context, domain string) (Summary, error) {
	return Summary{}, errUnfinished
}
func (x *Index) Outages(ctx context.Context, domain string) ([]Outage, error) {
	return nil, errUnfinished
}
func (x *Index) Outage(ctx context.Context, id string) (*Outage, error) { return nil, errUnfinished }
func (x *Index) OutageOpen(domain string) (id string, ok bool)          { return "", false }

// Known: delivered or learned.
func (x *Index) Known(ctx context.Context, address string) (bool, error) { return false, errUnfinished }
func (x *Index) KnownGood(ctx context.Context, domain string, n int) ([]string, error) {
	return nil, errUnfinished
}

// Declarations in force (their Until may have passed: the caller looks).
func (x *Index) Declarations(ctx context.Context) ([]spool.Event, error) { return nil, errUnfinished }
func (x *Index) Paused(ctx context.Context, domain string) (spool.Event, bool, error) {
	return spool.Event{}, false, errUnfinished
}
func (x *Index) Offered(ctx context.Context, domain string) (spool.Event, bool, error) {
	return spool.Event{}, false, errUnfinished
}
func (x *Index) TookMail(ctx context.Context, domain string) (bool, error) {
	return false, errUnfinished
}

// Domains that have pairs or outages.
func (x *Index) Domains(ctx context.Context) ([]string, error) { return nil, errUnfinished }
func (x *Index) Lag() (batches int, since time.Time)           { return 0, time.Time{} }

// Changed returns a channel that is closed at the next change; ask again after it.
func (x *Index) Changed() <-chan struct{} { return nil }

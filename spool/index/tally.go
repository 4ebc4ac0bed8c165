package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"restante/spool"
	"restante/spool/table"
)

// missingMost bounds the batches that a tally names.
const missingMost = 100

// Tally is an outage counted anew: each state from the pairs themselves and from what retention said it deleted,
// and set against what the batches named when they were read. Unaccounted is the difference.
type Tally struct {
	Counts      Counts    // from rows and from the sums of deleted batches; not from counters
	Deleted     int64     // pairs of Counts whose batch retention has deleted
	Unaccounted int64     // pairs that were accepted and are in no state: at least so many where a batch is lost whole
	Missing     []Missing // where those are, at most 100
	Recipients  int64     // distinct addresses among the pairs that are still kept
	Chain       []Break   // where streams that hold anything of the outage are broken; none: verified
}

// Accepted is what the batches named.
func (t *Tally) Accepted() int64 { return t.Counts.Accepted() + t.Unaccounted }

// Missing is a batch whose pairs aren't all there.
type Missing struct {
	Key   string `json:"key"`   // "" for pairs that are known from the ledger alone
	Pairs int64  `json:"pairs"` // 0: not known
	Why   string `json:"why"`
}

// Tally counts an outage. It reads all pairs once, and on a whole index nothing else.
func (x *Index) Tally(ctx context.Context, id string) (*Tally, error) {
	list, err := x.outages(ctx, "o.id=?", id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("outage %s: %w", id, ErrNotFound)
	}
	t := &Tally{}
	var people error
	var both sync.WaitGroup
	both.Go(func() {
		people = x.db.Read.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT DISTINCT lower(address) FROM pair
			WHERE outage=(SELECT n FROM outage WHERE id=?) AND address<>'')`, id).Scan(&t.Recipients)
	})
	err = x.tally(ctx, &list[0], t)
	both.Wait()
	if err == nil {
		err = people
	}
	return t, err
}

func (x *Index) tally(ctx context.Context, o *Outage, t *Tally) error {
	at := x.straying.Load()                // before the moment that is read
	tx, err := x.db.Read.BeginTx(ctx, nil) // one moment for all that is compared
	if err != nil {
		return err
	}
	defer tx.Rollback() // it only reads
	var n int64
	if err := tx.QueryRowContext(ctx, "SELECT n FROM outage WHERE id=?", o.ID).Scan(&n); err != nil {
		return err
	}
	span := o.period()
	rows := int64(0)
	err = table.Each(ctx, tx, "SELECT outage=?, state, count(*), min(entry), max(changed) FROM pair GROUP BY 1, 2", func(r *sql.Rows) error {
		var mine bool
		var state int
		var pairs int64
		var lowest sql.RawBytes
		var changed sql.NullInt64
		if err := r.Scan(&mine, &state, &pairs, &lowest, &changed); err != nil {
			return err
		}
		rows += pairs
		if mine {
			*t.Counts.at(stateNames[state]) += pairs
			var k key
			copy(k[:], lowest)
			span.from, span.to = min(span.from, receivedAt(k)), max(span.to, changed.Int64)
		}
		return nil
	}, n)
	if err != nil {
		return err
	}
	err = table.Each(ctx, tx, "SELECT state, sum(pairs) FROM gone WHERE outage=? GROUP BY state", func(r *sql.Rows) error {
		var state int
		var pairs int64
		err := r.Scan(&state, &pairs)
		*t.Counts.at(stateNames[state]) += pairs
		t.Deleted += pairs
		return err
	}, n)
	if err != nil {
		return err
	}
	if err := dropped(ctx, tx, t, rows, span); err != nil {
		return err
	}
	chain, lost, number, err := breaks(ctx, tx, span)
	if err != nil {
		return err
	}
	t.Chain = chain
	strays, err := x.strays(ctx, tx, span, at)
	if err != nil {
		return err
	}
	t.lose(lost, number, strays)
	if len(t.Missing) > missingMost {
		t.Missing = t.Missing[:missingMost]
	}
	return nil
}

// lose counts what lost batches held: the pairs that the ledger tells of, at least one for each batch.
func (t *Tally) lose(lost []Break, number, strays int64) {
	for _, b := range lost {
		t.Missing = append(t.Missing, Missing{Key: b.Key, Why: b.Why})
	}
	if strays > 0 && number == 0 {
		t.Missing = append(t.Missing, Missing{Pairs: strays, Why: "the ledger tells of messages that no batch holds"})
	}
	t.Unaccounted += max(strays, number)
}

// period is from when to when an outage was, in ns.
func (o *Outage) period() period {
	p := period{from: o.Opened.UnixNano(), to: math.MaxInt64}
	if !o.Closed.IsZero() {
		p.to = max(o.Closed.UnixNano(), last(o.LastDelivered))
	} else {
		p.to = time.Now().UnixNano()
	}
	return p
}

func last(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// dropped finds the batches whose pairs aren't all in the table, when there are fewer than the batches named.
func dropped(ctx context.Context, q table.Querier, t *Tally, rows int64, p period) error {
	var named int64
	err := table.Each(ctx, q, "SELECT coalesce(sum(pairs),0) FROM batch WHERE deleted=0", func(r *sql.Rows) error { return r.Scan(&named) })
	if err != nil || named == rows {
		return err
	}
	return table.Each(ctx, q, `SELECT s.name, b.seq, b.pairs, b.low, b.high, (SELECT count(*) FROM pair p WHERE p.entry BETWEEN b.low AND b.high AND
			EXISTS(SELECT 1 FROM entry e WHERE e.id=p.entry AND e.stream=b.stream AND e.seq=b.seq)) AS found
		FROM batch b JOIN stream s ON s.n=b.stream WHERE b.deleted=0 AND b.low IS NOT NULL AND b.pairs>found`, func(r *sql.Rows) error {
		var name string
		var seq, pairs, found int64
		var low, high sql.RawBytes
		if err := r.Scan(&name, &seq, &pairs, &low, &high, &found); err != nil {
			return err
		}
		var l, h key
		copy(l[:], low)
		copy(h[:], high)
		if p.meets(receivedAt(l), receivedAt(h)) {
			t.Unaccounted += pairs - found
			t.Missing = append(t.Missing, Missing{Key: spool.StreamID{Name: name}.Key(uint64(seq)), Pairs: pairs - found, Why: "the index has lost rows of it"})
		}
		return nil
	})
}

// surplus is how many pairs the ledger tells of whose entry is in no batch, more than retention has deleted.
type surplus struct {
	at int64 // of straying
	n  int64
}

// strays returns how many pairs received in the period the ledger tells of though no batch holds them. All events
// are read for it, so the answer for the whole index is kept, also across starts, until an event comes before its entry again.
func (x *Index) strays(ctx context.Context, q table.Querier, p period, at int64) (int64, error) {
	const stray = "SELECT count(*) FROM (SELECT DISTINCT v.entry, v.rcpt FROM event v WHERE v.type IN (" + pairEvents +
		") AND v.entry BETWEEN ? AND ? AND NOT EXISTS(SELECT 1 FROM entry e WHERE e.id=v.entry))"
	s := x.surplus.Load()
	if s == nil || s.at != at {
		s = &surplus{at: at}
		var zero key
		var gone int64
		err := table.Each(ctx, q, stray, func(r *sql.Rows) error { return r.Scan(&s.n) }, zero[:], highest[:])
		if err == nil {
			err = table.Each(ctx, q, "SELECT coalesce(sum(pairs),0) FROM gone", func(r *sql.Rows) error { return r.Scan(&gone) })
		}
		if err != nil {
			return 0, err
		}
		s.n -= gone
		x.keepSurplus(ctx, s)
	}
	if s.n <= 0 {
		return 0, nil
	}
	from, to := lowest(p.from), lowest(p.to)
	var n int64
	err := table.Each(ctx, q, stray, func(r *sql.Rows) error { return r.Scan(&n) }, from[:], to[:])
	return min(n, s.n), err
}

// keepSurplus notes what was counted, unless it has changed meanwhile.
func (x *Index) keepSurplus(ctx context.Context, s *surplus) {
	x.applying.Lock()
	defer x.applying.Unlock()
	if x.straying.Load() != s.at {
		return
	}
	if _, err := x.db.Conn.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES('surplus',?)", strconv.FormatInt(s.n, 10)); err != nil {
		x.log.Debug("index: the count of strays is not kept", "err", err)
		return
	}
	x.surplus.Store(s)
}

// loadSurplus takes up what was kept.
func (x *Index) loadSurplus(ctx context.Context) error {
	var n int64
	err := x.db.Conn.QueryRowContext(ctx, "SELECT value FROM meta WHERE key='surplus'").Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		x.surplus.Store(nil)
		return nil
	}
	x.surplus.Store(&surplus{at: x.straying.Load(), n: n})
	return err
}

// forgetSurplus has it counted again.
func (t *txn) forgetSurplus() error {
	if !t.stray {
		return nil
	}
	_, err := t.x.db.Result(t.ctx, "DELETE FROM meta WHERE key='surplus'")
	return err
}

// pairEvents are the types of aboutPair, for a query.
const pairEvents = "'delivered','deferred','parked','bounced','expired','removed','held','released','retried'"

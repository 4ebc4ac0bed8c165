package index

import (
	"context"
	"database/sql"
	"math"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/table"
)

// began is when a stream began, in ns, as its name says it; 0 when it doesn't.
func began(id spool.StreamID) int64 {
	for part := range strings.SplitSeq(id.Name, "-") {
		if k, err := ulid.ParseStrict(part); err == nil {
			return receivedAt(k)
		}
	}
	return 0
}

// pairsOf is how many pairs an entry makes. Drafts make none.
func pairsOf(e *spool.Entry) int {
	if e.Kind == spool.Draft {
		return 0
	}
	return len(e.Rcpts)
}

// follows notes what is wrong between a batch and the one that was read before it: numbers that were passed over, octets
// that couldn't be read, a chain that doesn't lead on. Which of the missing batches retention has deleted is
// asked later, since the events that say so may come later.
func (t *txn) follows(row *streamRow, s *spool.Step) error {
	first, last := spanOf(s)
	if row.gap && first != 0 {
		if _, err := t.x.db.Result(t.ctx, "UPDATE gap SET before=? WHERE stream=? AND before=0", last, row.n); err != nil {
			return err
		}
		row.gap = false
	}
	seq, expected := int64(s.Position.Seq)-1, int64(row.pos.Seq)
	gap := func(from, upto, before int64, why string) error {
		row.gap = row.gap || before == 0
		t.stray = true
		_, err := t.x.db.Result(t.ctx, "INSERT OR IGNORE INTO gap VALUES(?,?,?,?,?,?)", row.n, from, upto, why, row.last, before)
		return err
	}
	if seq > expected {
		if err := gap(expected, seq, last, ""); err != nil {
			return err
		}
	}
	if s.Damaged {
		if err := gap(seq, seq+1, 0, s.Break); err != nil {
			return err
		}
	}
	if s.Break != "" && !row.broken {
		row.broken = true
		if _, err := t.x.db.Result(t.ctx, "UPDATE stream SET broken=?, why=? WHERE n=?", seq, s.Break, row.n); err != nil {
			return err
		}
	}
	if first != 0 && (row.first == 0 || first < row.first) {
		row.first = first
	}
	row.last = max(row.last, last)
	return nil
}

// spanOf is when what a step holds happened, in ns; zeros when it holds nothing.
func spanOf(s *spool.Step) (first, last int64) {
	add := func(at time.Time) {
		ns := at.UnixNano()
		if first == 0 || ns < first {
			first = ns
		}
		last = max(last, ns)
	}
	for _, l := range s.Entries {
		add(l.Entry.Received)
	}
	for i := range s.Events {
		add(s.Events[i].Time)
	}
	return first, last
}

// Break is a place where a stream can't be followed.
type Break struct {
	Key    string `json:"key"`
	Why    string `json:"why"`
	Ledger bool   `json:"ledger,omitempty"`
	Lost   bool   `json:"lost,omitempty"` // what the batch held is not known, or not all of it
	seq    int64
}

// period is a span of time in ns, both ends included.
type period struct{ from, to int64 }

func (p period) meets(from, to int64) bool { return from <= p.to && to >= p.from }

// gapRow is a row of the table gap.
type gapRow struct {
	stream, seq, upto, after, before int64
	why                              string
}

// streamInfo is one stream as breaks reads it.
type streamInfo struct {
	n, first, last int64
	id             spool.StreamID
	broken         sql.NullInt64
	why            sql.NullString
	gaps           []gapRow
}

// breaks returns what is wrong with the streams that hold anything of the period: the places where the
// chain is broken, in order, at most one for each stream, and the batches of mail that were lost in it, or damaged,
// with their number, which may be larger than the list.
func breaks(ctx context.Context, q table.Querier, p period) (chain, lost []Break, number int64, err error) {
	streams, err := streamInfos(ctx, q)
	if err != nil {
		return nil, nil, 0, err
	}
	for i := range streams {
		s := &streams[i]
		relevant := p.meets(s.first, s.last)
		var first *Break
		note := func(b Break) {
			if first == nil || b.seq < first.seq {
				first = &b
			}
		}
		if s.broken.Valid {
			note(Break{Key: s.id.Key(uint64(s.broken.Int64)), Why: s.why.String, Ledger: s.id.Ledger, seq: s.broken.Int64})
		}
		for _, g := range s.gaps {
			missing, n, err := g.missing(ctx, q, s.id)
			if err != nil {
				return nil, nil, 0, err
			}
			before := g.before
			if before == 0 {
				before = nextBegan(streams, s)
			}
			mine := p.meets(g.after, before)
			relevant = relevant || mine && len(missing) > 0
			for _, b := range missing {
				note(b)
			}
			if mine && !s.id.Ledger {
				number += n
				lost = append(lost, missing[:min(len(missing), missingMost-len(lost))]...)
			}
		}
		if relevant && first != nil {
			chain = append(chain, *first)
		}
	}
	return chain, lost, number, nil
}

func streamInfos(ctx context.Context, q table.Querier) ([]streamInfo, error) {
	var streams []streamInfo
	at := map[int64]int{}
	err := table.Each(ctx, q, "SELECT n, ledger, name, first, last, broken, why FROM stream ORDER BY ledger, name", func(r *sql.Rows) error {
		var s streamInfo
		err := r.Scan(&s.n, &s.id.Ledger, &s.id.Name, &s.first, &s.last, &s.broken, &s.why)
		at[s.n] = len(streams)
		streams = append(streams, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = table.Each(ctx, q, "SELECT stream, seq, upto, why, after, before FROM gap ORDER BY stream, seq", func(r *sql.Rows) error {
		var g gapRow
		if err := r.Scan(&g.stream, &g.seq, &g.upto, &g.why, &g.after, &g.before); err != nil {
			return err
		}
		if i, ok := at[g.stream]; ok {
			streams[i].gaps = append(streams[i].gaps, g)
		}
		return nil
	})
	return streams, err
}

// nextBegan is when the node of a stream began its next one: by then the stream had ended.
func nextBegan(streams []streamInfo, s *streamInfo) int64 {
	next := int64(math.MaxInt64)
	for i := range streams {
		o := &streams[i]
		if o.id.Ledger == s.id.Ledger && o.id.Node() == s.id.Node() && began(o.id) > began(s.id) {
			next = min(next, began(o.id))
		}
	}
	return next
}

// missing returns the first batches of a gap that retention hasn't deleted, and the number of all.
func (g *gapRow) missing(ctx context.Context, q table.Querier, id spool.StreamID) (out []Break, n int64, err error) {
	next := g.seq
	upTo := func(seq int64) {
		n += max(0, seq-next)
		for ; next < seq && len(out) < missingMost; next++ {
			why := g.why
			if why == "" {
				why = "it is missing, and nothing says that it was deleted"
			}
			out = append(out, Break{Key: id.Key(uint64(next)), Why: why, Ledger: id.Ledger, Lost: true, seq: next})
		}
	}
	err = table.Each(ctx, q, "SELECT seq FROM batch WHERE stream=? AND seq>=? AND seq<? AND deleted<>0 ORDER BY seq", func(r *sql.Rows) error {
		var seq int64
		if err := r.Scan(&seq); err != nil {
			return err
		}
		upTo(seq)
		next = seq + 1
		return nil
	}, g.stream, g.seq, g.upto)
	upTo(g.upto)
	return out, n, err
}

package index

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"

	"restante/spool"
	"restante/spool/table"
)

// knownCache bounds the addresses that the writer remembers to be in the table known already.
const knownCache = 10000

type countKey struct {
	domain, outage int64
	state          int
}

type streamRow struct {
	n           int64
	pos         spool.Position
	first, last int64 // ns: when what it holds happened
	broken      bool  // the first break of its chain is noted
	gap         bool  // the last that was read left a gap, and nothing dated has come behind it
}

// state is what the writer keeps in memory: small tables, all of them also in the file. Only the
// writer touches it; when a transaction fails it is read anew.
type state struct {
	cluster string
	waiting key // the highest entry that has events but isn't there: entries above it need not be asked for
	streams map[spool.StreamID]*streamRow
	domains map[string]int64
	outages map[string]*outage
	byN     map[int64]*outage
	lines   map[int64]*timeline
	counts  map[countKey]int64
	known   map[string]struct{}
}

func (x *Index) reload(ctx context.Context) error {
	x.stale = true
	st, err := x.load(ctx)
	if err != nil {
		return err
	}
	x.st, x.stale = st, false
	x.straying.Add(1)
	x.publish()
	return nil
}

// load reads the state on the writer's connection.
func (x *Index) load(ctx context.Context) (*state, error) {
	st := &state{streams: map[spool.StreamID]*streamRow{}, domains: map[string]int64{}, outages: map[string]*outage{},
		byN: map[int64]*outage{}, lines: map[int64]*timeline{}, counts: map[countKey]int64{}, known: map[string]struct{}{}}
	var waiting string
	for k, v := range map[string]*string{"cluster": &st.cluster, "waiting": &waiting} {
		err := x.db.Conn.QueryRowContext(ctx, "SELECT value FROM meta WHERE key=?", k).Scan(v)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
	}
	if _, err := hex.Decode(st.waiting[:], []byte(waiting)); err != nil {
		return nil, err
	}
	if err := x.loadSurplus(ctx); err != nil {
		return nil, err
	}
	err := table.Each(ctx, x.db.Conn, "SELECT n, ledger, name, seq, hash, sealed, first, last, broken IS NOT NULL, EXISTS(SELECT 1 FROM gap WHERE gap.stream=stream.n AND gap.before=0) FROM stream", func(r *sql.Rows) error {
		var id spool.StreamID
		var row streamRow
		var seq int64
		err := r.Scan(&row.n, &id.Ledger, &id.Name, &seq, &row.pos.Hash, &row.pos.Sealed, &row.first, &row.last, &row.broken, &row.gap)
		row.pos.Seq = uint64(seq)
		st.streams[id] = &row
		return err
	})
	if err != nil {
		return nil, err
	}
	err = table.Each(ctx, x.db.Conn, "SELECT n, name FROM domain", func(r *sql.Rows) error {
		var n int64
		var name string
		err := r.Scan(&n, &name)
		st.domains[name] = n
		return err
	})
	if err != nil {
		return nil, err
	}
	err = table.Each(ctx, x.db.Conn, "SELECT domain, outage, state, pairs FROM count", func(r *sql.Rows) error {
		var k countKey
		var n int64
		err := r.Scan(&k.domain, &k.outage, &k.state, &n)
		st.counts[k] = n
		return err
	})
	if err != nil {
		return nil, err
	}
	err = table.Each(ctx, x.db.Conn, "SELECT n, id, domain, opened, closed, reason, messages, octets, first, last, gfirst, glast FROM outage", func(r *sql.Rows) error {
		o := &outage{}
		err := r.Scan(&o.n, &o.id, &o.domain, &o.opened, &o.closed, &o.reason, &o.messages, &o.octets, &o.first, &o.last, &o.gfirst, &o.glast)
		st.outages[o.id], st.byN[o.n] = o, o
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, d := range st.domains {
		st.retime(d)
	}
	return st, nil
}

// retime builds the timeline of a domain anew.
func (st *state) retime(domain int64) {
	var list []*outage
	for _, o := range st.outages {
		if o.domain == domain && o.opened != 0 {
			list = append(list, o)
		}
	}
	st.lines[domain] = newTimeline(list)
}

// publish shows the open outages to OutageOpen.
func (x *Index) publish() {
	open := map[string]string{}
	for name, d := range x.st.domains {
		if t := x.st.lines[d]; t != nil {
			for _, o := range t.list {
				if o.closed == 0 {
					open[name] = o.id // the latest, when there are several
				}
			}
		}
	}
	x.open.Store(&open)
}

package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"restante/spool"
	"restante/spool/table"
)

// Domains returns the names of the domains that have, or had, entries or outages.
func (x *Index) Domains(ctx context.Context) ([]string, error) {
	var out []string
	err := table.Each(ctx, x.db.Read, "SELECT name FROM domain WHERE name<>'' ORDER BY name", func(r *sql.Rows) error {
		var n string
		err := r.Scan(&n)
		out = append(out, n)
		return err
	})
	return out, err
}

// OutageOpen returns the open outage of a domain, the latest if there are several. It asks no
// database and may be called for each message.
func (x *Index) OutageOpen(domain string) (id string, ok bool) {
	id, ok = (*x.open.Load())[domain]
	return id, ok
}

// OpenOutages returns the open outages by domain, hosted here or not. It asks no database.
func (x *Index) OpenOutages() map[string]string { return maps.Clone(*x.open.Load()) }

// counts reads the counters that a condition selects.
func (x *Index) counts(ctx context.Context, q table.Querier, where string, args ...any) (Counts, error) {
	var c Counts
	err := table.Each(ctx, q, "SELECT state, sum(pairs) FROM count WHERE "+where+" GROUP BY state", func(r *sql.Rows) error {
		var state int
		var n int64
		if err := r.Scan(&state, &n); err != nil {
			return err
		}
		*c.at(stateNames[state]) = n
		return nil
	}, args...)
	return c, err
}

// Summary returns the counts of a domain, from counters that are kept as the fold goes.
func (x *Index) Summary(ctx context.Context, domain string) (Summary, error) {
	s := Summary{Domain: domain}
	tx, err := x.db.Read.BeginTx(ctx, nil)
	if err != nil {
		return s, err
	}
	defer tx.Rollback() // it only reads
	d := int64(-1)
	err = tx.QueryRowContext(ctx, "SELECT n FROM domain WHERE name=?", strings.ToLower(domain)).Scan(&d)
	if errors.Is(err, sql.ErrNoRows) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if s.All, err = x.counts(ctx, tx, "domain=?", d); err != nil {
		return s, err
	}
	s.Counts = s.All
	var n, closed int64
	err = tx.QueryRowContext(ctx, "SELECT n, id, closed FROM outage WHERE domain=? AND opened<>0 ORDER BY opened DESC, id DESC LIMIT 1", d).Scan(&n, &s.Outage, &closed)
	if err == nil {
		s.Open = closed == 0
		s.Counts, err = x.counts(ctx, tx, "domain=? AND outage=?", d, n)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, err
	}
	var oldest int64
	err = tx.QueryRowContext(ctx, `SELECT e.received FROM pair p CROSS JOIN entry e ON e.id=p.entry
		WHERE p.state=0 AND p.domain=? ORDER BY p.entry, p.rcpt LIMIT 1`, d).Scan(&oldest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, err
	}
	s.Oldest = when(oldest)
	return s, nil
}

// Outages returns the outages of a domain ("" for all domains), the latest first.
func (x *Index) Outages(ctx context.Context, domain string) ([]Outage, error) {
	return x.outages(ctx, "(?1='' OR d.name=?1)", strings.ToLower(domain))
}

// Outage returns one outage, and the heads of all streams as they are now.
func (x *Index) Outage(ctx context.Context, id string) (*Outage, error) {
	list, err := x.outages(ctx, "o.id=?", id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("outage %s: %w", id, ErrNotFound)
	}
	o := &list[0]
	err = table.Each(ctx, x.db.Read, "SELECT ledger, name, seq, hash, sealed, broken, coalesce(why,'') FROM stream WHERE hash<>'' ORDER BY ledger, name", func(r *sql.Rows) error {
		var h Head
		var seq int64
		var broken sql.NullInt64
		var why string
		if err := r.Scan(&h.Stream.Ledger, &h.Stream.Name, &seq, &h.Hash, &h.Sealed, &broken, &why); err != nil {
			return err
		}
		h.Seq = uint64(seq)
		if broken.Valid {
			h.Break = &Break{Key: h.Stream.Key(uint64(broken.Int64)), Why: why, Ledger: h.Stream.Ledger}
		}
		o.Heads = append(o.Heads, h)
		return nil
	})
	return o, err
}

func (x *Index) outages(ctx context.Context, where string, args ...any) ([]Outage, error) {
	tx, err := x.db.Read.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // it only reads
	var out []Outage
	var ns []int64
	err = table.Each(ctx, tx, "SELECT o.n, o.id, d.name, o.opened, o.closed, o.reason, o.messages, o.octets, o.first, o.last"+
		" FROM outage o JOIN domain d ON d.n=o.domain WHERE o.opened<>0 AND "+where+" ORDER BY o.opened DESC, o.id DESC", func(r *sql.Rows) error {
		var o Outage
		var n int64
		var t [4]int64
		if err := r.Scan(&n, &o.ID, &o.Domain, &t[0], &t[1], &o.Reason, &o.Messages, &o.Octets, &t[2], &t[3]); err != nil {
			return err
		}
		for i, p := range []*time.Time{&o.Opened, &o.Closed, &o.FirstDelivered, &o.LastDelivered} {
			*p = when(t[i])
		}
		out, ns = append(out, o), append(ns, n)
		return nil
	}, args...)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].Counts, err = x.counts(ctx, tx, "outage=?", ns[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

var _ spool.Holdings = (*Index)(nil)

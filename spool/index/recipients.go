package index

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"restante/spool"
	"restante/spool/table"
)

// Recipient is what the ledger says last of one address and one source.
type Recipient struct {
	Domain  string
	Address string // lower case; "@example.com" is any
	Source  string // "" when the primary has taken mail for it: see Known
	Kind    string
	Gone    bool      // the source doesn't have it (any more)
	Time    time.Time // of the event; zero without a Source
}

// RecipientList says that a full list of a source was taken in.
type RecipientList struct {
	Domain string
	Source string
	Count  int
	Taken  time.Time // when it was taken in
	Time   time.Time // when that was written last
}

// RecipientsMark is how far Recipients was read. Its zero value is before the first. It is good for this process only.
type RecipientsMark struct {
	Reset          int64 // how often the index was emptied; more than before: what was read before is void
	changed, known int64
}

// recipients takes in what an event says of addresses: of each and its source the latest stands. Rows get a new number
// when they change, so that Recipients can tell what did.
func (t *txn) recipients(ev *spool.Event, id key) error {
	source, _ := ev.Data["source"].(string)
	kind, _ := ev.Data["kind"].(string)
	at, gone := ev.Time.UnixNano(), ev.Data["state"] == "gone"
	for _, a := range texts(ev.Data["addresses"]) {
		_, err := t.x.db.Result(t.ctx, `INSERT OR REPLACE INTO recipient(domain,source,address,kind,gone,time,id) SELECT ?1,?2,?3,?4,?5,?6,?7
			WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE domain=?1 AND address=?3 AND source=?2 AND (time>?6 OR time=?6 AND id>=?7))`,
			ev.Domain, source, addressKey(a), kind, gone, at, id[:])
		if err != nil {
			return err
		}
	}
	return nil
}

// texts are the strings of a list, whether it was read from JSON or not.
func texts(v any) []string {
	switch list := v.(type) {
	case []string:
		return list
	case []any:
		out := make([]string, 0, len(list))
		for _, one := range list {
			if s, ok := one.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// recipientsPage is how many rows of a table Recipients reads at once.
const recipientsPage = 10_000

// Recipients calls each for what has changed since the mark, in any order, but for no more than some thousands, and returns the mark to
// go on with: the same one when nothing has changed. When the index was emptied since, what was read before is void and all
// of it comes again: the mark's Reset has changed. each must not ask the index.
func (x *Index) Recipients(ctx context.Context, after RecipientsMark, each func(Recipient) error) (RecipientsMark, error) {
	if r := x.resets.Load(); r != after.Reset {
		after = RecipientsMark{Reset: r}
	}
	next := after
	tx, err := x.db.Read.BeginTx(ctx, nil)
	if err != nil {
		return after, err
	}
	defer tx.Rollback() // it only reads
	err = table.Each(ctx, tx, "SELECT n, domain, address FROM known WHERE n>? ORDER BY n LIMIT ?", func(r *sql.Rows) error {
		var one Recipient
		if err := r.Scan(&next.known, &one.Domain, &one.Address); err != nil {
			return err
		}
		return each(one)
	}, after.known, recipientsPage)
	if err != nil {
		return after, err
	}
	err = table.Each(ctx, tx, "SELECT n, domain, source, address, kind, gone, time FROM recipient WHERE n>? ORDER BY n LIMIT ?", func(r *sql.Rows) error {
		var one Recipient
		var ns int64
		if err := r.Scan(&next.changed, &one.Domain, &one.Source, &one.Address, &one.Kind, &one.Gone, &ns); err != nil {
			return err
		}
		one.Time = when(ns)
		return each(one)
	}, after.changed, recipientsPage)
	if err != nil {
		return after, err
	}
	return next, nil
}

// RecipientLists returns the last full list of each domain and source.
func (x *Index) RecipientLists(ctx context.Context) ([]RecipientList, error) {
	events, err := x.kept(ctx, "kind=?", flagListed)
	if err != nil {
		return nil, err
	}
	out := make([]RecipientList, 0, len(events))
	for _, ev := range events {
		domain, source, _ := strings.Cut(listedKey(&ev), " ")
		count, _ := ev.Data["count"].(float64)
		one := RecipientList{Domain: domain, Source: source, Count: int(count), Taken: ev.Time, Time: ev.Time}
		if text, ok := ev.Data["taken"].(string); ok {
			if at, err := time.Parse(time.RFC3339, text); err == nil && at.Before(ev.Time) {
				one.Taken = at
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// listedKey is the key of flagListed.
func listedKey(ev *spool.Event) string {
	source, _ := ev.Data["source"].(string)
	return ev.Domain + " " + source
}

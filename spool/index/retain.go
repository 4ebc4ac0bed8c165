package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/table"
)

// sum is what a deleted batch held, by domain, outage and state. It stands in the Data of the
// BatchDeleted event, so that an outage's report still adds up when the entries are long gone.
type sum struct {
	Domain   string `json:"domain"`
	Outage   string `json:"outage,omitempty"`
	State    string `json:"state"`
	Pairs    int64  `json:"pairs"`
	Messages int64  `json:"messages"`
	Octets   int64  `json:"octets"`
	First    int64  `json:"first,omitempty,string"` // ns, as text: a float is not exact, of deliveries
	Last     int64  `json:"last,omitempty,string"`
}

// sumsData makes the Data of a BatchDeleted event.
func sumsData(sums []sum) (map[string]any, error) {
	raw, err := json.Marshal(map[string]any{"sums": sums})
	if err != nil {
		return nil, err
	}
	var data map[string]any
	return data, json.Unmarshal(raw, &data)
}

func sumsOf(ev *spool.Event) ([]sum, bool) {
	if ev.Data["sums"] == nil {
		return nil, false
	}
	raw, err := json.Marshal(ev.Data["sums"])
	if err != nil {
		return nil, false
	}
	var sums []sum
	return sums, json.Unmarshal(raw, &sums) == nil
}

// deleteBatches takes the rows of deleted batches away and counts their sums instead. The events
// about their entries stay, as they do in the ledger.
func (t *txn) deleteBatches() error {
	for _, ev := range t.gone {
		id, seq, ok := spool.ParseKey(ev.Batch)
		if !ok || id.Ledger {
			t.x.log.Error("an event of the ledger names no batch and is passed over", "id", ev.ID, "batch", ev.Batch)
			continue
		}
		if err := t.deleteBatch(ev, id, int64(seq)); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) deleteBatch(ev *spool.Event, id spool.StreamID, seq int64) error {
	row, err := t.stream(id)
	if err != nil {
		return err
	}
	var gone bool
	var low, high []byte
	s, err := t.x.db.Stmt(t.ctx, "SELECT deleted, low, high FROM batch WHERE stream=? AND seq=?")
	if err != nil {
		return err
	}
	err = s.QueryRowContext(t.ctx, row.n, seq).Scan(&gone, &low, &high)
	if err != nil && !errors.Is(err, sql.ErrNoRows) || gone {
		return err
	}
	if _, err := t.x.db.Result(t.ctx, "INSERT OR REPLACE INTO batch VALUES(?,?,0,1,NULL,NULL,0)", row.n, seq); err != nil {
		return err
	}
	big, err := json.Marshal(ev.Data["big"])
	if err != nil {
		return err
	}
	if _, err := t.x.db.Result(t.ctx, "INSERT OR REPLACE INTO deletion VALUES(?,?,?,?)", row.n, seq, ev.Time.UnixNano(), string(big)); err != nil {
		return err
	}
	live, err := t.deleteRows(row.n, seq, low, high)
	if err != nil {
		return err
	}
	sums, ok := sumsOf(ev)
	if !ok {
		sums = live
	}
	for _, s := range sums {
		if err := t.addSum(s); err != nil {
			return err
		}
	}
	return nil
}

// deleteRows takes the entries of a batch and their pairs out of the tables and the counters, and
// returns what they added up to.
func (t *txn) deleteRows(stream, seq int64, low, high []byte) ([]sum, error) {
	if len(low) == 0 {
		return nil, nil
	}
	live, pairs, err := t.x.batchSums(t.ctx, t.x.db.Conn, stream, seq, low, high)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		k := countKey{p.domain, p.outage, p.s.state}
		t.st.counts[k]--
		t.counts[k] = true
		if o := t.st.byN[p.outage]; o != nil {
			o.dirty = true
			if p.lead {
				o.messages--
				o.octets -= p.size
			}
		}
	}
	// What was taken back must not look like sent, once its pairs are gone.
	if _, err := t.x.db.Result(t.ctx, `DELETE FROM writing WHERE stream=? AND seq=? AND id BETWEEN ? AND ? AND EXISTS(SELECT 1 FROM pair p WHERE p.entry=id)
		AND NOT EXISTS(SELECT 1 FROM pair p WHERE p.entry=id AND p.state<>4)`, stream, seq, low, high); err != nil {
		return nil, err
	}
	const in = "(SELECT id FROM entry WHERE id BETWEEN ? AND ? AND stream=? AND seq=?)"
	if _, err := t.x.db.Result(t.ctx, "DELETE FROM pair WHERE entry IN "+in, low, high, stream, seq); err != nil {
		return nil, err
	}
	_, err = t.x.db.Result(t.ctx, "DELETE FROM entry WHERE id BETWEEN ? AND ? AND stream=? AND seq=?", low, high, stream, seq)
	return live, err
}

// addSum counts what a deleted batch held.
func (t *txn) addSum(s sum) error {
	n := stateNumber(spool.PairState(s.State))
	if n < 0 {
		return nil
	}
	d, err := t.domain(s.Domain)
	if err != nil {
		return err
	}
	k := countKey{domain: d, state: n}
	if s.Outage != "" {
		o, err := t.outageRow(s.Outage, s.Domain)
		if err != nil {
			return err
		}
		k.outage = o.n
		o.messages += s.Messages
		o.octets += s.Octets
		o.dirty = true
		if s.First != 0 {
			o.delivered(s.First)
			o.delivered(s.Last)
			if o.gfirst == 0 || s.First < o.gfirst {
				o.gfirst = s.First
			}
			o.glast = max(o.glast, s.Last)
		}
	}
	t.st.counts[k] += s.Pairs
	t.counts[k] = true
	_, err = t.x.db.Result(t.ctx, "INSERT INTO gone VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET pairs=pairs+excluded.pairs", k.domain, k.outage, int64(n), s.Pairs)
	return err
}

// batchSums reads the pairs of a batch and adds them up.
func (x *Index) batchSums(ctx context.Context, q table.Querier, stream, seq int64, low, high []byte) ([]sum, []*pairRow, error) {
	var pairs []*pairRow
	var sums []sum
	at := map[countKey]int{}
	err := table.Each(ctx, q, `SELECT p.entry, p.rcpt, p.domain, p.outage, p.state, p.lead, p.size, coalesce(p.ended,0), d.name, coalesce(o.id,'')
		FROM entry e CROSS JOIN pair p ON p.entry=e.id JOIN domain d ON d.n=p.domain LEFT JOIN outage o ON o.n=p.outage
		WHERE e.id BETWEEN ? AND ? AND e.stream=? AND e.seq=?`, func(r *sql.Rows) error {
		p := &pairRow{}
		var k sql.RawBytes
		var domain, outage string
		if err := r.Scan(&k, &p.rcpt, &p.domain, &p.outage, &p.s.state, &p.lead, &p.size, &p.s.ended, &domain, &outage); err != nil {
			return err
		}
		copy(p.entry[:], k)
		pairs = append(pairs, p)
		ck := countKey{p.domain, p.outage, p.s.state}
		i, ok := at[ck]
		if !ok {
			i = len(sums)
			at[ck] = i
			sums = append(sums, sum{Domain: domain, Outage: outage, State: string(stateNames[p.s.state])})
		}
		s := &sums[i]
		s.Pairs++
		if p.lead {
			s.Messages++
			s.Octets += p.size
		}
		if p.s.state == delivered {
			if s.First == 0 || p.s.ended < s.First {
				s.First = p.s.ended
			}
			s.Last = max(s.Last, p.s.ended)
		}
		return nil
	}, low, high, stream, seq)
	return sums, pairs, err
}

// eraseEntries empties what the rows tell of erased entries.
func (t *txn) eraseEntries() error {
	done := map[key]bool{}
	for _, r := range t.records {
		if r.ev.Type == spool.Erased && r.ev.Data["done"] == true {
			done[r.entry] = true
		}
	}
	for _, k := range t.erase {
		t.changed = true
		if _, err := t.x.db.Result(t.ctx, "INSERT INTO erasure VALUES(?,?) ON CONFLICT DO UPDATE SET done=max(done,excluded.done)", k[:], done[k]); err != nil {
			return err
		}
		e, flags, err := readEntry(t.ctx, t.x.db.Conn, k)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		more, err := encodeEntry(e.Erased())
		if err != nil {
			return err
		}
		_, err = t.x.db.Result(t.ctx, "UPDATE entry SET sender='', subject='', more=?, flags=? WHERE id=?", more, int64(flags|flagErased), k[:])
		if err != nil {
			return err
		}
		if _, err := t.x.db.Result(t.ctx, "UPDATE pair SET address='' WHERE entry=?", k[:]); err != nil {
			return err
		}
	}
	return nil
}

// writeState writes the counters and outages that changed.
func (t *txn) writeState() error {
	for _, o := range t.st.byN {
		if !o.dirty {
			continue
		}
		if o.recount {
			if err := t.recount(o); err != nil {
				return err
			}
		}
		_, err := t.x.db.Result(t.ctx, "UPDATE outage SET domain=?, opened=?, closed=?, reason=?, messages=?, octets=?, first=?, last=?, gfirst=?, glast=? WHERE n=?",
			o.domain, o.opened, o.closed, o.reason, o.messages, o.octets, o.first, o.last, o.gfirst, o.glast, o.n)
		if err != nil {
			return err
		}
		o.dirty, o.recount = false, false
	}
	for k := range t.counts {
		var err error
		if n := t.st.counts[k]; n == 0 {
			delete(t.st.counts, k)
			_, err = t.x.db.Result(t.ctx, "DELETE FROM count WHERE domain=? AND outage=? AND state=?", k.domain, k.outage, int64(k.state))
		} else {
			_, err = t.x.db.Result(t.ctx, "INSERT OR REPLACE INTO count VALUES(?,?,?,?)", k.domain, k.outage, int64(k.state), n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recount finds the first and last delivery of an outage anew, after one of them has left it.
func (t *txn) recount(o *outage) error {
	var first, last sql.NullInt64
	err := t.x.db.Conn.QueryRowContext(t.ctx, "SELECT min(ended), max(ended) FROM pair WHERE outage=? AND state=5", o.n).Scan(&first, &last)
	if err != nil {
		return err
	}
	o.first, o.last = o.gfirst, o.glast
	if first.Valid {
		o.delivered(first.Int64)
		o.delivered(last.Int64)
	}
	return nil
}

// Overdue implements spool.Holdings.
func (x *Index) Overdue(ctx context.Context, now time.Time, terms func(string) spool.Terms, limit int) ([]spool.Pair, error) {
	domains, err := x.Domains(ctx)
	if err != nil {
		return nil, err
	}
	var all []spool.Pair
	for _, d := range domains {
		t := terms(d)
		if t.Parked > 0 && len(all) < limit {
			ps, _, err := x.pairs(ctx, "p.domain=(SELECT n FROM domain WHERE name=?) AND p.state=1 AND p.state BETWEEN 1 AND 4 AND p.ended<=?",
				[]any{d, now.Add(-t.Parked).UnixNano()}, false, "", limit-len(all))
			if err != nil {
				return nil, err
			}
			all = append(all, ps...)
		}
		if t.Pending > 0 && len(all) < limit {
			before := lowest(now.Add(-t.Pending).UnixNano())
			ps, _, err := x.pairs(ctx, "p.domain=(SELECT n FROM domain WHERE name=?) AND p.state=0 AND p.entry<?",
				[]any{d, before[:]}, false, "", limit-len(all))
			if err != nil {
				return nil, err
			}
			all = append(all, ps...)
		}
	}
	return all, nil
}

// candidate is a batch that retention looks at.
type candidate struct {
	stream, seq int64
	name        string
	low, high   []byte
}

// Disposable implements spool.Holdings. A batch with a draft that is still needed stays (see writtenPast), and so does
// the last batch of a stream that isn't sealed: by it the stream's place is known.
func (x *Index) Disposable(ctx context.Context, now time.Time, terms func(string) spool.Terms, limit int) ([]spool.Disposable, error) {
	var cands []candidate
	err := table.Each(ctx, x.db.Read, `SELECT b.stream, b.seq, s.name, b.low, b.high FROM batch b JOIN stream s ON s.n=b.stream
		WHERE b.deleted=0 AND b.entries>0 AND (s.sealed OR b.seq+1<s.seq) ORDER BY b.stream, b.seq`, func(r *sql.Rows) error {
		var c candidate
		if err := r.Scan(&c.stream, &c.seq, &c.name, &c.low, &c.high); err != nil {
			return err
		}
		cands = append(cands, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	memo := map[string]spool.Terms{}
	going := map[place]bool{}
	var out []spool.Disposable
	for _, c := range cands {
		if len(out) >= limit {
			break
		}
		sums, pairs, err := x.batchSums(ctx, x.db.Read, c.stream, c.seq, c.low, c.high)
		if err != nil {
			return nil, err
		}
		names, err := x.domainNames(ctx, pairs)
		if err != nil {
			return nil, err
		}
		if !pastTerms(pairs, names, terms, memo, now) {
			continue
		}
		if past, err := x.writtenPast(ctx, c, going, terms, now); err != nil {
			return nil, err
		} else if !past {
			continue
		}
		d := spool.Disposable{Stream: c.name, Seq: uint64(c.seq), Pairs: len(pairs)}
		err = table.Each(ctx, x.db.Read, "SELECT id, flags FROM entry WHERE id BETWEEN ? AND ? AND stream=? AND seq=?", func(r *sql.Rows) error {
			var k sql.RawBytes
			var flags int
			if err := r.Scan(&k, &flags); err != nil {
				return err
			}
			if flags&flagBig != 0 {
				d.Big = append(d.Big, idText(k))
			}
			return nil
		}, c.low, c.high, c.stream, c.seq)
		if err != nil {
			return nil, err
		}
		if d.Data, err = sumsData(sums); err != nil {
			return nil, err
		}
		going[place{c.stream, c.seq}] = true
		out = append(out, d)
	}
	return out, nil
}

func idText(raw []byte) string {
	var k key
	copy(k[:], raw)
	return k.String()
}

func pastTerms(pairs []*pairRow, names map[int64]string, terms func(string) spool.Terms, memo map[string]spool.Terms, now time.Time) bool {
	for _, p := range pairs {
		name := names[p.domain]
		t, ok := memo[name]
		if !ok {
			t = terms(name)
			memo[name] = t
		}
		switch p.s.state {
		case pending, parked:
			return false
		case expired: // it has had its term before it expired
		default:
			if t.Delivered <= 0 || when(p.s.ended).Add(t.Delivered).After(now) {
				return false
			}
		}
	}
	return true
}

func (x *Index) domainNames(ctx context.Context, pairs []*pairRow) (map[int64]string, error) {
	names := map[int64]string{}
	for _, p := range pairs {
		if _, ok := names[p.domain]; ok {
			continue
		}
		var name string
		if err := x.db.Read.QueryRowContext(ctx, "SELECT name FROM domain WHERE n=?", p.domain).Scan(&name); err != nil {
			return nil, err
		}
		names[p.domain] = name
	}
	return names, nil
}

// Deleted implements spool.Holdings.
func (x *Index) Deleted(ctx context.Context, since time.Time) ([]spool.Disposable, error) {
	var all []spool.Disposable
	err := table.Each(ctx, x.db.Read, "SELECT s.name, d.seq, d.big FROM deletion d JOIN stream s ON s.n=d.stream WHERE d.time>=?", func(r *sql.Rows) error {
		var d spool.Disposable
		var big []byte
		if err := r.Scan(&d.Stream, &d.Seq, &big); err != nil {
			return err
		}
		all = append(all, d)
		return json.Unmarshal(big, &all[len(all)-1].Big)
	}, since.UnixNano())
	return all, err
}

// Erasures implements spool.Holdings.
func (x *Index) Erasures(ctx context.Context) ([]spool.Erasure, error) {
	return x.erasures(ctx, "SELECT e.id, s.name, e.seq, e.offset, e.length, e.flags FROM erasure r JOIN entry e ON e.id=r.entry JOIN stream s ON s.n=e.stream WHERE r.done=0")
}

// Find implements spool.Holdings.
func (x *Index) Find(ctx context.Context, ids []string) ([]spool.Erasure, error) {
	var all []spool.Erasure
	for _, id := range ids {
		k, err := ulid.ParseStrict(id)
		if err != nil {
			return nil, fmt.Errorf("%q is not the id of an entry: %w", id, err)
		}
		es, err := x.erasures(ctx, "SELECT e.id, s.name, e.seq, e.offset, e.length, e.flags FROM entry e JOIN stream s ON s.n=e.stream WHERE e.id=?", k[:])
		if err != nil {
			return nil, err
		}
		all = append(all, es...)
	}
	return all, nil
}

func (x *Index) erasures(ctx context.Context, query string, args ...any) ([]spool.Erasure, error) {
	var all []spool.Erasure
	err := table.Each(ctx, x.db.Read, query, func(r *sql.Rows) error {
		var k sql.RawBytes
		var e spool.Erasure
		var flags int
		if err := r.Scan(&k, &e.Location.Stream, &e.Location.Seq, &e.Location.Offset, &e.Location.Length, &flags); err != nil {
			return err
		}
		e.Entry, e.Location.Big = idText(k), flags&flagBig != 0
		all = append(all, e)
		return nil
	}, args...)
	return all, err
}

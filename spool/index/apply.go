package index

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/table"
)

// Flags of an entry.
const (
	flagBig    = 1
	flagErased = 2
)

type pairKey struct {
	entry key
	rcpt  int
}

// pairRow is a pair while a transaction works on it.
type pairRow struct {
	pairKey
	domain  int64
	outage  int64
	lead    bool // the first recipient of its domain: with it the message is counted
	address string
	size    int64
	s       standing
	was     *counted // as counted before; nil for a new one
}

type counted struct {
	outage int64
	state  int
	ended  int64
}

// record is an event about an entry.
type record struct {
	id    key
	entry key
	ev    *spool.Event
}

// txn is one transaction of the fold.
type txn struct {
	x       *Index
	ctx     context.Context
	st      *state
	records []record
	events  map[pairKey][]spool.Event // of this transaction, about pairs
	pairs   map[pairKey]*pairRow
	full    map[key]bool // entries whose pairs are folded from all their events in the table
	erase   []key
	gone    []*spool.Event // BatchDeleted
	moved   map[*outage]*move
	counts  map[countKey]bool // changed
	changed bool
	stray   bool
	nPairs  int
	nEvents int
}

// Apply folds the steps and their positions in one transaction. Steps that were applied before are
// passed over. What makes no sense is told in the log and passed over too, since the store can't be
// argued with.
func (x *Index) Apply(ctx context.Context, steps []spool.Step) error {
	x.applying.Lock()
	defer x.applying.Unlock()
	start := time.Now()
	ctx = context.WithoutCancel(ctx) // a transaction is short, and an interrupted one would only be done again
	if x.stale {
		// Its positions are ahead of the rows: what failed would be taken for applied.
		if err := x.reload(ctx); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	if _, err := x.db.Result(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	t := &txn{x: x, ctx: ctx, st: x.st, events: map[pairKey][]spool.Event{}, pairs: map[pairKey]*pairRow{},
		full: map[key]bool{}, moved: map[*outage]*move{}, counts: map[countKey]bool{}}
	err := t.run(steps)
	if err == nil {
		_, err = x.db.Result(ctx, "COMMIT")
	}
	if err != nil {
		if _, rerr := x.db.Conn.ExecContext(ctx, "ROLLBACK"); rerr != nil {
			x.log.Debug("index: roll back", "err", rerr) // SQLite may have done it already
		}
		return errors.Join(fmt.Errorf("index: %w", err), x.reload(ctx))
	}
	x.publish()
	if t.stray {
		x.straying.Add(1)
	}
	if t.changed {
		x.announce()
	}
	x.metrics.applied(t.nPairs, t.nEvents, time.Since(start))
	return nil
}

func (t *txn) run(steps []spool.Step) error {
	fresh, err := t.positions(steps)
	if err != nil {
		return err
	}
	for i := range fresh {
		for j := range fresh[i].Events {
			if err := t.event(&fresh[i].Events[j]); err != nil {
				return err
			}
		}
	}
	for i := range fresh {
		if err := t.batch(&fresh[i]); err != nil {
			return err
		}
	}
	for _, f := range []func() error{t.insertEvents, t.loadPairs, t.foldPairs, t.writePairs, t.eraseEntries,
		t.reassign, t.deleteBatches, t.writeState, t.forgetSurplus} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// positions moves the positions on and returns the steps that were not applied before.
func (t *txn) positions(steps []spool.Step) ([]spool.Step, error) {
	var fresh []spool.Step
	touched := map[spool.StreamID]*streamRow{}
	for _, s := range steps {
		if s.Cluster != "" && t.st.cluster == "" {
			t.st.cluster = s.Cluster
			if _, err := t.x.db.Result(t.ctx, "INSERT INTO meta VALUES('cluster',?)", s.Cluster); err != nil {
				return nil, err
			}
		}
		if s.Cluster != "" && s.Cluster != t.st.cluster {
			return nil, fmt.Errorf("%w: the index has %s, the store %s", ErrForeign, t.st.cluster, s.Cluster)
		}
		if s.Stream.IsZero() {
			fresh = append(fresh, s)
			continue
		}
		row, err := t.stream(s.Stream)
		if err != nil {
			return nil, err
		}
		if s.Position.Seq <= row.pos.Seq && row.pos.Hash != "" {
			continue
		}
		if err := t.follows(row, &s); err != nil {
			return nil, err
		}
		row.pos = s.Position
		touched[s.Stream] = row
		fresh = append(fresh, s)
	}
	for _, row := range touched {
		_, err := t.x.db.Result(t.ctx, "UPDATE stream SET seq=?, hash=?, sealed=?, first=?, last=? WHERE n=?",
			int64(row.pos.Seq), row.pos.Hash, row.pos.Sealed, row.first, row.last, row.n)
		if err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

func (t *txn) stream(id spool.StreamID) (*streamRow, error) {
	if row := t.st.streams[id]; row != nil {
		return row, nil
	}
	res, err := t.x.db.Result(t.ctx, "INSERT INTO stream(ledger,name,seq,hash,sealed,first,last) VALUES(?,?,0,'',0,0,0)", id.Ledger, id.Name)
	if err != nil {
		return nil, err
	}
	row := &streamRow{first: began(id), last: began(id)}
	if row.n, err = res.LastInsertId(); err != nil {
		return nil, err
	}
	t.st.streams[id] = row
	return row, nil
}

func (t *txn) domain(name string) (int64, error) {
	if n, ok := t.st.domains[name]; ok {
		return n, nil
	}
	res, err := t.x.db.Result(t.ctx, "INSERT INTO domain(name) VALUES(?)", name)
	if err != nil {
		return 0, err
	}
	n, err := res.LastInsertId()
	t.st.domains[name] = n
	t.st.retime(n)
	return n, err
}

// event sorts one event: those about entries are gathered, the others are applied.
func (t *txn) event(ev *spool.Event) error {
	t.nEvents++
	id, err := ulid.ParseStrict(ev.ID)
	if err != nil {
		t.x.log.Error("an event of the ledger has no valid id and is passed over", "id", ev.ID, "type", ev.Type)
		return nil
	}
	if passed, err := t.passed(ev, id); passed || err != nil {
		return err
	}
	if ev.Entry == "" {
		return t.flagEvent(ev, id)
	}
	entry, err := ulid.ParseStrict(ev.Entry)
	if err != nil {
		t.x.log.Error("an event of the ledger names no valid entry and is passed over", "id", ev.ID, "type", ev.Type, "entry", ev.Entry)
		return nil
	}
	t.records = append(t.records, record{id: id, entry: entry, ev: ev})
	return nil
}

func (t *txn) insertEvents() error {
	b := t.x.db.Bulk("INSERT OR IGNORE INTO event(entry,id,type,time,rcpt,round,more) VALUES ", 7)
	seen := map[[2]key]bool{}
	for _, r := range t.records {
		if seen[[2]key{r.entry, r.id}] {
			continue
		}
		seen[[2]key{r.entry, r.id}] = true
		more, err := encodeEvent(r.ev)
		if err != nil {
			return err
		}
		err = b.Add(t.ctx, r.entry[:], r.id[:], string(r.ev.Type), r.ev.Time.UnixNano(), int64(r.ev.Rcpt), int64(r.ev.Round), more)
		if err != nil {
			return err
		}
		if aboutPair(r.ev.Type) {
			k := pairKey{r.entry, r.ev.Rcpt}
			t.events[k] = append(t.events[k], *r.ev)
			t.changed = true
		}
		if r.ev.Type == spool.Erased {
			t.erase = append(t.erase, r.entry)
		}
	}
	return b.Flush(t.ctx)
}

// batch inserts the entries of a step and makes their pairs.
func (t *txn) batch(s *spool.Step) error {
	if len(s.Entries) == 0 {
		return nil
	}
	row, err := t.stream(s.Stream)
	if err != nil {
		return err
	}
	seq := int64(s.Entries[0].Location.Seq)
	ids := make([]any, 0, len(s.Entries))
	keys := make([]key, len(s.Entries))
	low, high := highest, key{}
	for i, l := range s.Entries {
		if keys[i], err = ulid.ParseStrict(l.Entry.ID); err != nil {
			t.x.log.Error("an entry has no valid id and is passed over", "id", l.Entry.ID, "batch", s.Stream.Key(uint64(seq)))
			continue
		}
		if keys[i].Compare(low) < 0 {
			low = keys[i]
		}
		if keys[i].Compare(high) > 0 {
			high = keys[i]
		}
		ids = append(ids, keys[i].Bytes())
	}
	res, err := t.x.db.Result(t.ctx, "INSERT OR IGNORE INTO batch VALUES(?,?,?,0,?,?,0)", row.n, seq, len(s.Entries), low[:], high[:])
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err // retention has deleted it, or is about to
	}
	have := map[key]bool{{}: true}
	err = t.x.db.Lookup(t.ctx, "id", "SELECT entry.id FROM k CROSS JOIN entry ON entry.id=k.id", ids, func(r *sql.Rows) error {
		return scanKey(r, have)
	})
	if err != nil {
		return err
	}
	named := 0
	b := t.x.db.Bulk("INSERT INTO entry(id,stream,seq,offset,length,flags,kind,received,size,sender,subject,more) VALUES ", 12)
	for i, l := range s.Entries {
		if have[keys[i]] {
			t.x.log.Warn("an entry is passed over: its id was there before", "id", l.Entry.ID, "batch", s.Stream.Key(uint64(seq)))
			continue
		}
		have[keys[i]] = true
		if err := t.addEntry(b, keys[i], &l, row.n); err != nil {
			return err
		}
		named += pairsOf(l.Entry)
	}
	if _, err := t.x.db.Result(t.ctx, "UPDATE batch SET pairs=? WHERE stream=? AND seq=?", int64(named), row.n, seq); err != nil {
		return err
	}
	return b.Flush(t.ctx)
}

// addEntry writes the row of a new entry and makes its pairs.
func (t *txn) addEntry(b *table.Bulk, k key, l *spool.Located, stream int64) error {
	more, err := encodeEntry(l.Entry)
	if err != nil {
		return err
	}
	flags := 0
	if l.Location.Big {
		flags |= flagBig
	}
	seq := int64(l.Location.Seq)
	err = b.Add(t.ctx, k.Bytes(), stream, seq, l.Location.Offset, l.Location.Length, int64(flags), string(l.Entry.Kind),
		l.Entry.Received.UnixNano(), l.Entry.Size, l.Entry.From, l.Entry.Summary.Subject, more)
	if err != nil {
		return err
	}
	if err := t.newPairs(k, l.Entry); err != nil {
		return err
	}
	return t.written(k, l.Entry, stream, seq)
}

func scanKey(r *sql.Rows, into map[key]bool) error {
	var raw sql.RawBytes
	if err := r.Scan(&raw); err != nil {
		return err
	}
	var k key
	copy(k[:], raw)
	into[k] = true
	return nil
}

// newPairs makes the pairs of an entry. Drafts have none.
func (t *txn) newPairs(k key, e *spool.Entry) error {
	t.changed = true
	if k.Compare(t.st.waiting) <= 0 {
		t.full[k] = true
		t.stray = true
	}
	if pairsOf(e) == 0 {
		return nil
	}
	for i, r := range e.Rcpts {
		d, err := t.domain(r.Domain)
		if err != nil {
			return err
		}
		lead := !slices.ContainsFunc(e.Rcpts[:i], func(o spool.Recipient) bool { return o.Domain == r.Domain })
		p := &pairRow{pairKey: pairKey{k, i}, domain: d, lead: lead, address: r.Address, size: e.Size}
		p.s.detain(nil, e.Quarantine, receivedAt(k))
		t.pairs[p.pairKey] = p
		t.nPairs++
	}
	return nil
}

// loadPairs reads the pairs that events of this transaction are about, and finds the events that
// entries of this transaction were waited for by.
func (t *txn) loadPairs() error {
	var args []any
	for k := range t.events {
		if t.pairs[k] == nil {
			args = append(args, k.entry.Bytes(), int64(k.rcpt))
		}
	}
	err := t.x.db.Lookup(t.ctx, "e,r", "SELECT "+scanned+
		" FROM k CROSS JOIN pair p ON p.entry=k.e AND p.rcpt=k.r", args, t.scanPair)
	if err != nil {
		return err
	}
	waiting := t.st.waiting
	for _, r := range t.records {
		k := pairKey{r.entry, r.ev.Rcpt}
		if t.pairs[k] == nil && aboutPair(r.ev.Type) {
			t.stray = true
		}
		if p := t.pairs[k]; p == nil && r.entry.Compare(t.st.waiting) > 0 {
			// An Erased or Opened of a known entry without pairs raises it too: that costs a look, no more.
			t.st.waiting = r.entry
		} else if p != nil && p.s.changed != 0 {
			t.full[r.entry] = true
		}
	}
	if t.st.waiting != waiting {
		_, err := t.x.db.Result(t.ctx, "INSERT OR REPLACE INTO meta VALUES('waiting',?)", hex.EncodeToString(t.st.waiting[:]))
		if err != nil {
			return err
		}
	}
	return t.loadEvents()
}

// scanned are the columns that scanPair reads.
const scanned = "p.entry, p.rcpt, p.domain, p.outage, p.state, p.lead, p.address, p.size, p.ended, p.changed, coalesce(p.quarantine,'')"

func (t *txn) scanPair(r *sql.Rows) error {
	p := &pairRow{was: &counted{}}
	var k sql.RawBytes
	var ended, changed sql.NullInt64
	err := r.Scan(&k, &p.rcpt, &p.domain, &p.outage, &p.s.state, &p.lead, &p.address, &p.size, &ended, &changed, &p.s.quarantine)
	copy(p.entry[:], k)
	p.s.ended, p.s.changed = ended.Int64, changed.Int64
	*p.was = counted{p.outage, p.s.state, p.s.ended}
	t.pairs[p.pairKey] = p
	return err
}

// loadEvents reads all events of the entries in t.full; they replace those of this transaction.
func (t *txn) loadEvents() error {
	if len(t.full) == 0 {
		return nil
	}
	var args []any
	for k := range t.full {
		args = append(args, k.Bytes())
	}
	for k := range t.events {
		if t.full[k.entry] {
			delete(t.events, k)
		}
	}
	return t.x.db.Lookup(t.ctx, "e", "SELECT v.entry, v.id, v.type, v.time, v.rcpt, v.round, v.more FROM k CROSS JOIN event v ON v.entry=k.e", args,
		func(r *sql.Rows) error {
			ev, k, err := scanEvent(r)
			if err != nil {
				return err
			}
			if ev.Type == spool.Erased {
				t.erase = append(t.erase, k)
			}
			pk := pairKey{k, ev.Rcpt}
			if aboutPair(ev.Type) && t.pairs[pk] != nil {
				t.events[pk] = append(t.events[pk], ev)
			}
			return nil
		})
}

func scanEvent(r *sql.Rows) (spool.Event, key, error) {
	var ev spool.Event
	var entry, id, more sql.RawBytes
	var ns int64
	if err := r.Scan(&entry, &id, &ev.Type, &ns, &ev.Rcpt, &ev.Round, &more); err != nil {
		return ev, key{}, err
	}
	rcpt, round, typ := ev.Rcpt, ev.Round, ev.Type
	if err := json.Unmarshal(more, &moreEvent{Event: &ev}); err != nil {
		return ev, key{}, err
	}
	var k, i key
	copy(k[:], entry)
	copy(i[:], id)
	ev.ID, ev.Time, ev.Type, ev.Rcpt, ev.Round = i.String(), time.Unix(0, ns).UTC(), typ, rcpt, round
	if k != (key{}) {
		ev.Entry = k.String()
	}
	return ev, k, nil
}

// foldPairs folds the pairs that are new or have events.
func (t *txn) foldPairs() error {
	for k, p := range t.pairs {
		if evs := t.events[k]; len(evs) > 0 {
			why := p.s.quarantine
			p.s = fold(evs)
			p.s.detain(evs, why, receivedAt(p.entry))
			took := slices.ContainsFunc(evs, func(e spool.Event) bool { return e.Type == spool.Delivered })
			if took && p.address != "" && p.domain != t.st.domains[spool.Smarthost] {
				if err := t.know(addressKey(p.address), ""); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t *txn) writePairs() error {
	add := t.x.db.Bulk("INSERT INTO pair(entry,rcpt,domain,outage,state,lead,address,size,round,attempts,changed,ended,reply,reason,host,by,quarantine) VALUES ", 17)
	// In the order of the tree: the next row is then mostly on the same page.
	for _, k := range slices.SortedFunc(maps.Keys(t.pairs), comparePairs) {
		p := t.pairs[k]
		if p.was != nil && len(t.events[k]) == 0 {
			continue
		}
		fresh := p.was == nil
		p.outage = 0
		if o := t.st.lines[p.domain].assign(receivedAt(p.entry), p.s.state, p.s.ended); o != nil {
			p.outage = o.n
		}
		t.account(p)
		var err error
		if fresh {
			err = add.Add(t.ctx, p.entry.Bytes(), int64(p.rcpt), p.domain, p.outage, int64(p.s.state), p.lead, p.address, p.size,
				orNull(int64(p.s.round)), orNull(int64(p.s.attempts)), orNull(p.s.changed), orNull(p.s.ended),
				orNull(p.s.reply), orNull(p.s.reason), orNull(p.s.host), orNull(p.s.by), orNull(p.s.quarantine))
		} else {
			_, err = t.x.db.Result(t.ctx, "UPDATE pair SET outage=?, state=?, round=?, attempts=?, changed=?, ended=?, reply=?, reason=?, host=?, by=?, quarantine=?"+
				" WHERE entry=? AND rcpt=?", p.outage, int64(p.s.state),
				orNull(int64(p.s.round)), orNull(int64(p.s.attempts)), orNull(p.s.changed), orNull(p.s.ended),
				orNull(p.s.reply), orNull(p.s.reason), orNull(p.s.host), orNull(p.s.by), orNull(p.s.quarantine), p.entry.Bytes(), int64(p.rcpt))
		}
		if err != nil {
			return err
		}
	}
	return add.Flush(t.ctx)
}

func comparePairs(a, b pairKey) int {
	if c := a.entry.Compare(b.entry); c != 0 {
		return c
	}
	return a.rcpt - b.rcpt
}

// orNull saves the room of what isn't set: most rows are pending and have no outcome.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// account moves the pair in the counters from where it was to where it is.
func (t *txn) account(p *pairRow) {
	now := counted{p.outage, p.s.state, p.s.ended}
	if p.was != nil {
		if *p.was == now {
			return
		}
		t.count(p, *p.was, -1)
	}
	t.count(p, now, 1)
	p.was = &now
}

func (t *txn) count(p *pairRow, c counted, n int64) {
	k := countKey{p.domain, c.outage, c.state}
	t.st.counts[k] += n
	t.counts[k] = true
	o := t.st.byN[c.outage]
	if o == nil {
		return
	}
	if p.lead {
		o.messages += n
		o.octets += n * p.size
		o.dirty = true
	}
	if c.state != delivered {
		return
	}
	o.dirty = true
	if n < 0 {
		o.recount = o.recount || c.ended == o.first || c.ended == o.last
		return
	}
	o.delivered(c.ended)
}

// delivered takes the time of one delivery into the outage's first and last.
func (o *outage) delivered(ns int64) {
	if o.first == 0 || ns < o.first {
		o.first = ns
	}
	o.last = max(o.last, ns)
}

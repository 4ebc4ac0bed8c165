package mailbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/table"
)

// key is a ULID as its 16 octets, which sort as the text does.
type key = ulid.ULID

// Store is the fold and its queries. One goroutine may Apply and one may Run; any number may ask.
type Store struct {
	o   Options
	log *slog.Logger
	db  *table.DB

	writing sync.Mutex // held while the writer's connection is used; guards what follows
	st      *state
	stale   bool // st isn't what is in the file

	views views
	subs  subscribers
	clock clock

	waitMu  sync.Mutex
	waiting map[string]chan struct{} // entries that somebody waits for

	behindMu sync.Mutex
	behind   spool.Behind
	poke     chan struct{} // there is text to be read
}

// state is what the writer keeps in memory; all of it is in the file too.
type state struct {
	cluster   string
	next      int64 // n of the next entry
	streams   map[spool.StreamID]*streamRow
	addresses map[string]int64
	noted     map[key]bool
}

type streamRow struct {
	n   int64
	pos spool.Position
}

// Open opens the database at path, or makes an empty one, which the next Follow fills: when there is none, when it is of
// another version, or when SQLite can't read it.
func Open(path string, o Options) (*Store, error) {
	o.Limits = o.Limits.withDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Text == nil {
		o.Text = plain(int64(o.Limits.Text))
	}
	s := &Store{o: o, log: o.Log, waiting: map[string]chan struct{}{}, poke: make(chan struct{}, 1)}
	s.views.init(o.Limits.ViewRows)
	var err error
	if s.db, err = table.Open(path, table.Spec{Schema: schema, Version: schemaVersion, Log: o.Log, Readers: 4, Pragmas: []string{"cache_size(-2000)", "temp_store(MEMORY)"}}); err != nil {
		return nil, fmt.Errorf("mailboxes: %w", err)
	}
	ctx := context.Background()
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("mailboxes %s: %w", path, err), s.db.Close())
	}
	return s, nil
}

func (s *Store) begin(ctx context.Context) error {
	if err := s.reload(ctx); err != nil {
		return err
	}
	var last sql.NullInt64
	if err := s.db.Read.QueryRowContext(ctx, "SELECT max(time) FROM mark").Scan(&last); err != nil {
		return err
	}
	if last.Valid {
		s.clock.seen(time.Unix(0, last.Int64), s.o.Now())
	}
	return errors.Join(s.pruneActivity(ctx), s.pruneSessions(ctx))
}

// Close ends the store. No method may run or be called any more.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.subs.end()
	return s.db.Close()
}

// reload reads the state from the file.
func (s *Store) reload(ctx context.Context) error {
	s.stale = true
	st := &state{streams: map[spool.StreamID]*streamRow{}, addresses: map[string]int64{}, noted: map[key]bool{}}
	err := s.db.Each(ctx, "SELECT value FROM meta WHERE key='cluster'", func(r *sql.Rows) error { return r.Scan(&st.cluster) })
	if err != nil {
		return err
	}
	err = s.db.Each(ctx, "SELECT coalesce(max(n),0)+1 FROM item", func(r *sql.Rows) error { return r.Scan(&st.next) })
	if err != nil {
		return err
	}
	err = s.db.Each(ctx, "SELECT n, ledger, name, seq, hash, sealed FROM stream", func(r *sql.Rows) error {
		var id spool.StreamID
		var row streamRow
		var seq int64
		err := r.Scan(&row.n, &id.Ledger, &id.Name, &seq, &row.pos.Hash, &row.pos.Sealed)
		row.pos.Seq = uint64(seq)
		st.streams[id] = &row
		return err
	})
	if err != nil {
		return err
	}
	err = s.db.Each(ctx, "SELECT id FROM noted", func(r *sql.Rows) error {
		var k key
		err := scanKeys(r, &k)
		st.noted[k] = true
		return err
	})
	if err == nil {
		s.st, s.stale = st, false
	}
	return err
}

// scanKeys scans columns that are ids.
func scanKeys(r *sql.Rows, into ...*key) error {
	raw := make([]sql.RawBytes, len(into))
	args := make([]any, len(into))
	for i := range raw {
		args[i] = &raw[i]
	}
	if err := r.Scan(args...); err != nil {
		return err
	}
	for i := range raw {
		copy(into[i][:], raw[i])
	}
	return nil
}

// Positions returns how far each stream is folded.
func (s *Store) Positions(ctx context.Context) (map[spool.StreamID]spool.Position, error) {
	m := map[spool.StreamID]spool.Position{}
	err := table.Each(ctx, s.db.Read, "SELECT ledger, name, seq, hash, sealed FROM stream WHERE hash<>''", func(r *sql.Rows) error {
		var id spool.StreamID
		var p spool.Position
		var seq int64
		err := r.Scan(&id.Ledger, &id.Name, &seq, &p.Hash, &p.Sealed)
		p.Seq = uint64(seq)
		m[id] = p
		return err
	})
	return m, err
}

// Cluster returns the id of the cluster that was folded, "" while nothing was.
func (s *Store) Cluster(ctx context.Context) (string, error) {
	var c string
	err := s.db.Read.QueryRowContext(ctx, "SELECT value FROM meta WHERE key='cluster'").Scan(&c)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return c, err
}

// Reset empties the store, so that the follower folds everything again. What happened to entries, and their flags, stay: a
// store that was restored from a backup may have forgotten what did happen.
func (s *Store) Reset(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.db.Tx(ctx, func() error {
		for _, t := range []string{"stream", "item", "place", "slot", "node", "written", "pair", "erased", "deleted", "account", "activity"} {
			if err := s.db.Exec(ctx, "DELETE FROM "+t); err != nil {
				return err
			}
		}
		if err := s.db.Exec(ctx, "INSERT INTO ft(ft) VALUES('delete-all')"); err != nil {
			return err
		}
		return s.db.Exec(ctx, "DELETE FROM meta WHERE key<>'version'")
	})
	if err != nil {
		return fmt.Errorf("mailboxes: %w", err)
	}
	s.views.clear()
	return s.reload(ctx)
}

// SetBehind is told by the follower how far the store is behind. While that is much, full text waits.
func (s *Store) SetBehind(b spool.Behind) {
	s.behindMu.Lock()
	was := s.behind
	s.behind = b
	s.behindMu.Unlock()
	switch {
	case b.Err != nil && was.Err == nil:
		s.log.Error("the webmail doesn't see what happens: its database can't take it in. Mend what is named and it goes on by itself; deleting webmail.db while restante is stopped is harmless", "error", b.Err)
	case b.Err == nil && was.Err != nil:
		s.log.Info("the webmail's database goes on and catches up", "batches", b.Batches)
	case b.Since.IsZero() && !was.Since.IsZero() && s.o.Now().Sub(was.Since) > behindLong:
		s.log.Info("the webmail has caught up", "behind_ms", s.o.Now().Sub(was.Since).Milliseconds())
	}
}

// behindLong is how long the store has been behind for that to be worth a word.
const behindLong = 10 * time.Second

// Behind returns since when the store lacks what happened, and why, for more than a moment; else the zero Behind.
func (s *Store) Behind() spool.Behind {
	s.behindMu.Lock()
	defer s.behindMu.Unlock()
	if s.behind.Err == nil && (s.behind.Since.IsZero() || s.o.Now().Sub(s.behind.Since) <= behindLong) {
		return spool.Behind{}
	}
	return s.behind
}

func (s *Store) lagging() int {
	s.behindMu.Lock()
	defer s.behindMu.Unlock()
	return s.behind.Batches
}

// canonical is how addresses are compared.
func canonical(address string) string { return strings.ToLower(strings.TrimSpace(address)) }

// untagged is the address without the "+tag" of its local part.
func untagged(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	if plus := strings.IndexByte(address[:at], '+'); plus > 0 {
		return address[:plus] + address[at:]
	}
	return address
}

// address returns the number of an address, making it if need be. The writer calls it.
func (s *Store) address(ctx context.Context, name string) (int64, error) {
	if n, ok := s.st.addresses[name]; ok {
		return n, nil
	}
	if len(s.st.addresses) > addressCache {
		clear(s.st.addresses)
	}
	var n int64
	err := s.db.Each(ctx, "SELECT n FROM address WHERE name=?", func(r *sql.Rows) error { return r.Scan(&n) }, name)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		res, err := s.db.Result(ctx, "INSERT INTO address(name) VALUES(?)", name)
		if err != nil {
			return 0, err
		}
		if n, err = res.LastInsertId(); err != nil {
			return 0, err
		}
	}
	s.st.addresses[name] = n
	return n, nil
}

// addressCache bounds the addresses whose numbers the writer remembers.
const addressCache = 20000

// stored is what item.data holds of an entry, as JSON.
type stored struct {
	Kind      spool.Kind        `json:"k"`
	Received  int64             `json:"r"` // ns
	NotBefore int64             `json:"nb,omitempty"`
	From      string            `json:"f,omitempty"` // envelope
	Rcpts     []string          `json:"t,omitempty"`
	HeadFrom  string            `json:"hf,omitempty"`
	HeadTo    string            `json:"ht,omitempty"`
	Subject   string            `json:"s,omitempty"`
	MessageID string            `json:"m,omitempty"`
	Size      int64             `json:"z"`
	Trace     int               `json:"tr,omitempty"`
	Verdicts  map[string]string `json:"v,omitempty"`
	Account   string            `json:"a,omitempty"`
	Writing   string            `json:"w,omitempty"`
	Attached  bool              `json:"at,omitempty"` // an attachment of a draft
	Location  spool.Location    `json:"l"`
	// Quarantine is why nobody sees it before it is released.
	Quarantine string `json:"q,omitempty"`
}

func (d *stored) decode(raw []byte) error { return json.Unmarshal(raw, d) }

// clock gives event times later than any seen, so that the last writer is the last.
type clock struct {
	mu   sync.Mutex
	last time.Time
}

// aheadMax is how far another node's clock may be ahead for its times to be adopted.
const aheadMax = 5 * time.Minute

func (c *clock) next(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := now.UTC().Round(0)
	if !t.After(c.last) {
		t = c.last.Add(1)
	}
	c.last = t
	return t
}

func (c *clock) seen(t, now time.Time) {
	if t.Sub(now) > aheadMax {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.last) {
		c.last = t.UTC()
	}
}

package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"restante/spool"
	"restante/spool/table"
)

// schemaVersion changes with the tables or the fold rules; an index of another version is thrown
// away and folded again.
const schemaVersion = "4"

// readerCache bounds the memory of a connection for queries, as SQLite's negative KiB: the pages that are asked for lie close
// together, since ids grow with time.
const readerCache = "cache_size(-1000)"

const schema = `
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE stream(n INTEGER PRIMARY KEY, ledger INTEGER NOT NULL, name TEXT NOT NULL,
	seq INTEGER NOT NULL, hash TEXT NOT NULL, sealed INTEGER NOT NULL,
	first INTEGER NOT NULL, last INTEGER NOT NULL, broken INTEGER, why TEXT, UNIQUE(ledger, name));
CREATE TABLE gap(stream INTEGER, seq INTEGER, upto INTEGER NOT NULL, why TEXT NOT NULL,
	after INTEGER NOT NULL, before INTEGER NOT NULL, PRIMARY KEY(stream, seq)) WITHOUT ROWID;
CREATE TABLE domain(n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE outage(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, domain INTEGER NOT NULL,
	opened INTEGER NOT NULL, closed INTEGER NOT NULL, reason TEXT NOT NULL,
	messages INTEGER NOT NULL, octets INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
	gfirst INTEGER NOT NULL, glast INTEGER NOT NULL);
CREATE TABLE count(domain INTEGER, outage INTEGER, state INTEGER, pairs INTEGER NOT NULL,
	PRIMARY KEY(domain, outage, state)) WITHOUT ROWID;
CREATE TABLE gone(domain INTEGER, outage INTEGER, state INTEGER, pairs INTEGER NOT NULL,
	PRIMARY KEY(domain, outage, state)) WITHOUT ROWID;
CREATE TABLE batch(stream INTEGER, seq INTEGER, entries INTEGER NOT NULL, deleted INTEGER NOT NULL,
	low BLOB, high BLOB, pairs INTEGER NOT NULL, PRIMARY KEY(stream, seq)) WITHOUT ROWID;
CREATE TABLE entry(id BLOB PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
	offset INTEGER NOT NULL, length INTEGER NOT NULL, flags INTEGER NOT NULL, kind TEXT NOT NULL,
	received INTEGER NOT NULL, size INTEGER NOT NULL, sender TEXT NOT NULL, subject TEXT NOT NULL,
	more BLOB) WITHOUT ROWID;
CREATE TABLE pair(entry BLOB, rcpt INTEGER, domain INTEGER NOT NULL, outage INTEGER NOT NULL,
	state INTEGER NOT NULL, lead INTEGER NOT NULL, address TEXT NOT NULL, size INTEGER NOT NULL,
	round INTEGER, attempts INTEGER, changed INTEGER, ended INTEGER,
	reply TEXT, reason TEXT, host TEXT, by TEXT, quarantine TEXT,
	PRIMARY KEY(entry, rcpt)) WITHOUT ROWID;
CREATE INDEX pair_pending ON pair(domain, entry, rcpt) WHERE state=0;
CREATE INDEX pair_odd ON pair(domain, state, entry, rcpt) WHERE state BETWEEN 1 AND 4;
CREATE INDEX pair_free ON pair(domain, entry, rcpt) WHERE outage=0;
CREATE TABLE event(entry BLOB, id BLOB, type TEXT NOT NULL, time INTEGER NOT NULL,
	rcpt INTEGER NOT NULL, round INTEGER NOT NULL, more BLOB, PRIMARY KEY(entry, id)) WITHOUT ROWID;
CREATE TABLE erasure(entry BLOB PRIMARY KEY, done INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE deletion(stream INTEGER, seq INTEGER, time INTEGER NOT NULL, big TEXT NOT NULL, PRIMARY KEY(stream, seq)) WITHOUT ROWID;
CREATE TABLE flag(kind TEXT, key TEXT, type TEXT NOT NULL, time INTEGER NOT NULL, id BLOB NOT NULL, event BLOB,
	PRIMARY KEY(kind, key)) WITHOUT ROWID;
CREATE TABLE writing(id BLOB PRIMARY KEY, writing TEXT NOT NULL, kind TEXT NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
	received INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX writing_writing ON writing(writing);
CREATE TABLE discard(id BLOB PRIMARY KEY, value INTEGER NOT NULL, time INTEGER NOT NULL, event BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE known(n INTEGER PRIMARY KEY AUTOINCREMENT, domain TEXT, address TEXT, UNIQUE(domain, address));
CREATE TABLE recipient(n INTEGER PRIMARY KEY AUTOINCREMENT, domain TEXT NOT NULL, source TEXT NOT NULL, address TEXT NOT NULL, kind TEXT NOT NULL,
	gone INTEGER NOT NULL, time INTEGER NOT NULL, id BLOB NOT NULL, UNIQUE(domain, address, source));
`

// Index is a fold of a spool into a local database. One goroutine may Apply; any number may ask.
type Index struct {
	log     *slog.Logger
	metrics *Metrics
	db      *table.DB

	applying sync.Mutex // held by Apply; guards st and all of db but Read
	st       *state
	stale    bool // st isn't what is in the file: a transaction failed, and st could not be read anew

	open atomic.Pointer[map[string]string] // domain -> open outage

	changeMu sync.Mutex
	changed  chan struct{}

	resets   atomic.Int64 // how often it was emptied; grows before what is folded next can be read
	straying atomic.Int64 // grows, under applying, when an event came before its entry or a gap was found
	surplus  atomic.Pointer[surplus]

	lagMu    sync.Mutex
	lag      int
	lagSince time.Time
}

// Open opens the index at path, or makes an empty one: when there is none, when it is of another
// version, or when SQLite can't read it. The caller sees an empty one by Positions being empty; the
// follower then folds everything again.
func Open(path string, o Options) (*Index, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	x := &Index{log: o.Log, metrics: o.Metrics, changed: make(chan struct{}), lagSince: time.Now()}
	_, err := table.Open(path, table.Spec{Schema: schema, Version: schemaVersion, Log: o.Log, Readers: o.Readers, Pragmas: []string{readerCache}, Reserve: true,
		Load: func(db *table.DB) (err error) {
			x.db = db
			if x.st, err = x.load(context.Background()); err == nil {
				x.publish()
			}
			return err
		}})
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return x, nil
}

// Remove deletes the files of the index at path, which must not be open.
func Remove(path string) error { return table.Remove(path) }

// Reset empties the index, so that the follower folds everything again. Events about entries stay: a
// store that was restored from a backup may have forgotten deliveries that did happen.
func (x *Index) Reset(ctx context.Context) error {
	x.applying.Lock()
	defer x.applying.Unlock()
	tx, err := x.db.Conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, t := range []string{"stream", "domain", "outage", "count", "gone", "gap", "batch", "entry", "pair", "erasure", "deletion", "flag", "known", "recipient", "writing"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+t); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM meta WHERE key<>'version'"); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO meta SELECT 'waiting', lower(hex(max(entry))) FROM event HAVING max(entry) IS NOT NULL"); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	x.resets.Add(1)
	return x.reload(ctx)
}

// Close ends the index. No method may run or be called any more.
func (x *Index) Close() error {
	x.applying.Lock()
	defer x.applying.Unlock()
	return x.db.Close()
}

// Positions returns how far each stream is folded.
func (x *Index) Positions(ctx context.Context) (map[spool.StreamID]spool.Position, error) {
	rows, err := x.db.Read.QueryContext(ctx, "SELECT ledger, name, seq, hash, sealed FROM stream WHERE hash<>''")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	m := map[spool.StreamID]spool.Position{}
	for rows.Next() {
		var id spool.StreamID
		var p spool.Position
		var seq int64
		if err := rows.Scan(&id.Ledger, &id.Name, &seq, &p.Hash, &p.Sealed); err != nil {
			return nil, err
		}
		p.Seq = uint64(seq)
		m[id] = p
	}
	return m, rows.Err()
}

// Cluster returns the id of the cluster that was folded, "" while nothing was.
func (x *Index) Cluster(ctx context.Context) (string, error) {
	var c string
	err := x.db.Read.QueryRowContext(ctx, "SELECT value FROM meta WHERE key='cluster'").Scan(&c)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return c, err
}

// Changed returns a channel that is closed at the next change of a pair, an outage or a flag. Ask
// for it before looking, so that no change is missed.
func (x *Index) Changed() <-chan struct{} {
	x.changeMu.Lock()
	defer x.changeMu.Unlock()
	return x.changed
}

func (x *Index) announce() {
	x.changeMu.Lock()
	defer x.changeMu.Unlock()
	close(x.changed)
	x.changed = make(chan struct{})
}

// SetLag is told by the follower how many batches are known of and not yet folded, and since when.
func (x *Index) SetLag(batches int, since time.Time) {
	x.lagMu.Lock()
	defer x.lagMu.Unlock()
	x.lag, x.lagSince = batches, since
}

// Lag returns how many batches of any stream are known of and not yet folded, and since when the
// oldest of them waits (zero when there are none). Right after Open it is (0, time of Open) until the
// follower has looked once.
func (x *Index) Lag() (batches int, since time.Time) {
	x.lagMu.Lock()
	defer x.lagMu.Unlock()
	return x.lag, x.lagSince
}

// Package table opens the local SQLite files that are folded from a spool, and makes many small statements cheap.
//
// Such a file is a cache: it can be deleted at any time, and one that SQLite can't read or that is of another version
// is made anew. It names who wrote to whom, so it is readable by its owner alone. It has one writer, whose
// connection is used by one goroutine at a time, and readers, which see committed rows only.
package table

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"restante/spool/room"
)

// leastRoom is the room below which a file that can't be opened isn't made anew, in octets.
const leastRoom = 1 << 20

// Spec.Reserve: its file, how much is given at once, in octets, and how long after that it begins to grow again.
const (
	reserveSuffix = "-reserve"
	reserveShare  = 512 << 10
	refillEvery   = time.Minute
)

// writerCache is the size of the writer's page cache, as SQLite's negative KiB. It bounds the memory.
const writerCache = "-8000"

// BulkRows is how many rows one statement of Bulk or Lookup carries: most of what a row costs is the call itself.
const BulkRows = 32

// Spec says what a file holds.
type Spec struct {
	Schema  string          // statements that make its tables, among them meta(key, value)
	Version string          // changes with the tables or the rules of the fold
	Readers int             // connections for queries; 0: 3
	Load    func(*DB) error // reads what the caller holds in memory; nil for none. An error means that the file can't be used
	Pragmas []string        // of those connections, "cache_size(-1000)" among them: it bounds their memory
	Log     *slog.Logger
	// Reserve is whether room is kept beside the file, which it gets when the disk is full. What is written just then may fail: it
	// is tried again.
	Reserve bool
}

// DB is an open file. Exec, Stmt, Tx, Bulk and Lookup use the writer's connection.
type DB struct {
	Read  *sql.DB
	Conn  *sql.Conn // the writer's
	path  string
	write *sql.DB
	stmts map[string]*sql.Stmt

	reserve  *room.Reserve // nil: none
	refilled time.Time     // when it was last tried
}

var errNoFolder = errors.New("its folder can't be used")

// Open opens the file at path, or makes an empty one: when there is none, when it is of another version, or when SQLite can't read it.
func Open(path string, s Spec) (*DB, error) {
	if s.Readers <= 0 {
		s.Readers = 3
	}
	var d *DB
	var reserve *room.Reserve
	open := func() error {
		d = &DB{path: path, reserve: reserve}
		if err := d.open(s); err != nil {
			return errors.Join(err, d.Close())
		}
		return nil
	}
	if s.Reserve {
		reserve = room.OpenReserve(path+reserveSuffix, room.Steps{})
	}
	err := open()
	if err != nil && reserve != nil && reserve.Release(reserveShare) { // a full disk has several names in SQLite
		err = open()
	}
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, os.ErrPermission) || errors.Is(err, errNoFolder):
		return nil, err
	}
	if left, _, ferr := room.Free(filepath.Dir(path)); ferr == nil && left < leastRoom {
		return nil, fmt.Errorf("%s: %w: %d octets are left on its disk, make room", path, err, left) // to make it anew there would end in none
	}
	s.Log.Warn("a local database can't be used and is made anew from the store", "path", path, "cause", err)
	if err := Remove(path); err != nil {
		return nil, err
	}
	if err := open(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// Remove deletes the files of the database at path, which must not be open.
func Remove(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// private makes the file, or one of before, readable by its owner alone. SQLite gives its other files the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, os.ErrExist):
		return os.Chmod(path, 0o600)
	}
	return err
}

func (d *DB) open(s Spec) error {
	if fi, err := os.Stat(filepath.Dir(d.path)); err != nil || !fi.IsDir() {
		return fmt.Errorf("%w: %s", errNoFolder, filepath.Dir(d.path))
	}
	ctx := context.Background()
	err := private(d.path)
	if err != nil {
		return err
	}
	// NORMAL: a power cut may cost the last transactions, never the file's sense; rows and
	// positions go together, so what was lost is simply folded again.
	d.write, err = sql.Open("sqlite", dsn(d.path, "journal_mode(WAL)", "synchronous(NORMAL)",
		"cache_size("+writerCache+")", "wal_autocheckpoint(4000)", "busy_timeout(10000)", "temp_store(MEMORY)"))
	if err != nil {
		return err
	}
	d.write.SetMaxOpenConns(1)
	if d.Conn, err = d.write.Conn(ctx); err != nil {
		return err
	}
	d.stmts = map[string]*sql.Stmt{}
	if err := d.prepare(ctx, s); err != nil {
		return err
	}
	d.Read, err = sql.Open("sqlite", dsn(d.path, append([]string{"query_only(1)", "busy_timeout(10000)"}, s.Pragmas...)...))
	if err != nil {
		return err
	}
	d.Read.SetMaxOpenConns(s.Readers)
	d.Read.SetMaxIdleConns(s.Readers)
	if s.Load == nil {
		return nil
	}
	return s.Load(d)
}

// prepare makes the tables of an empty file and refuses a file of another version.
func (d *DB) prepare(ctx context.Context, s Spec) error {
	var tables int
	if err := d.Conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return err
	}
	if tables == 0 {
		_, err := d.Conn.ExecContext(ctx, "BEGIN;"+s.Schema+"INSERT INTO meta VALUES('version','"+s.Version+"');COMMIT")
		return err
	}
	var version string
	if err := d.Conn.QueryRowContext(ctx, "SELECT value FROM meta WHERE key='version'").Scan(&version); err != nil {
		return err
	}
	if version != s.Version {
		return fmt.Errorf("it is of version %s, this program's is %s", version, s.Version)
	}
	return nil
}

// Close ends the use of the file. No method may run any more.
func (d *DB) Close() error {
	var errs []error
	for _, s := range d.stmts {
		errs = append(errs, s.Close())
	}
	d.stmts = nil
	if d.Read != nil {
		errs = append(errs, d.Read.Close())
	}
	if d.Conn != nil {
		errs = append(errs, d.Conn.Close())
	}
	if d.write != nil {
		errs = append(errs, d.write.Close())
	}
	return errors.Join(errs...) // whoever asks all the same gets an error
}

// Stmt returns the prepared statement for a query.
func (d *DB) Stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := d.stmts[query]; s != nil {
		return s, nil
	}
	s, err := d.Conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", query, err)
	}
	d.stmts[query] = s
	return s, nil
}

// Exec runs a statement.
func (d *DB) Exec(ctx context.Context, query string, args ...any) error {
	_, err := d.Result(ctx, query, args...)
	return err
}

// Result runs a statement and returns what it did.
func (d *DB) Result(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := d.Stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	result, err := s.ExecContext(ctx, args...)
	d.makeRoom(err)
	return result, err
}

// makeRoom gives a part of the reserve to a disk that is full, and lets it grow again later.
func (d *DB) makeRoom(err error) {
	if d.reserve == nil {
		return
	}
	var e *sqlite.Error
	switch {
	case errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL:
		d.reserve.Release(reserveShare)
		d.refilled = time.Now()
	case err == nil && d.reserve.Lacks() > 0 && time.Since(d.refilled) > refillEvery:
		d.reserve.Refill()
		d.refilled = time.Now()
	}
}

// Each calls f with each row of a query.
func (d *DB) Each(ctx context.Context, query string, f func(*sql.Rows) error, args ...any) error {
	s, err := d.Stmt(ctx, query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return Drain(rows, f)
}

// Tx runs f in one transaction.
func (d *DB) Tx(ctx context.Context, f func() error) error {
	if err := d.Exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := safely(f)
	if err == nil {
		err = d.Exec(ctx, "COMMIT")
	}
	if err != nil {
		// SQLite may have rolled back already; then this says that there is nothing to do.
		_, _ = d.Conn.ExecContext(ctx, "ROLLBACK")
	}
	return err
}

// safely makes an error of a panic, so that what was begun is rolled back and can go on.
func safely(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}

// Bulk gathers rows and writes them by statements of many rows.
type Bulk struct {
	d      *DB
	insert string
	tuple  string // "(?,?)"
	args   []any
	width  int
}

// Bulk begins one. insert is the statement up to and with VALUES, width the number of columns.
func (d *DB) Bulk(insert string, width int) *Bulk {
	return &Bulk{d: d, insert: insert, width: width, tuple: "(?" + strings.Repeat(",?", width-1) + ")"}
}

// Add adds a row.
func (b *Bulk) Add(ctx context.Context, args ...any) error {
	b.args = append(b.args, args...)
	if len(b.args) < BulkRows*b.width {
		return nil
	}
	err := b.d.Exec(ctx, b.insert+b.tuple+strings.Repeat(","+b.tuple, BulkRows-1), b.args...)
	b.args = b.args[:0]
	return err
}

// Flush writes what is left.
func (b *Bulk) Flush(ctx context.Context) error {
	for i := 0; i < len(b.args); i += b.width {
		if err := b.d.Exec(ctx, b.insert+b.tuple, b.args[i:i+b.width]...); err != nil {
			return err
		}
	}
	b.args = b.args[:0]
	return nil
}

// Lookup asks "WITH k(<columns>) AS (VALUES ...) <query>" for many keys at once; args are the keys, one after the other.
func (d *DB) Lookup(ctx context.Context, columns, query string, args []any, f func(*sql.Rows) error) error {
	width := strings.Count(columns, ",") + 1
	tuple := "(?" + strings.Repeat(",?", width-1) + ")"
	for len(args) > 0 {
		n := 1
		if len(args) >= BulkRows*width {
			n = BulkRows
		}
		err := d.Each(ctx, "WITH k("+columns+") AS (VALUES "+tuple+strings.Repeat(","+tuple, n-1)+") "+query, f, args[:n*width]...)
		if err != nil {
			return err
		}
		args = args[n*width:]
	}
	return nil
}

// Querier is a *sql.DB, a *sql.Tx or a *sql.Conn.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Each calls f with each row of a query.
func Each(ctx context.Context, q Querier, query string, f func(*sql.Rows) error, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return Drain(rows, f)
}

// Drain calls f with each row and closes them.
func Drain(rows *sql.Rows, f func(*sql.Rows) error) error {
	for rows.Next() {
		if err := f(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

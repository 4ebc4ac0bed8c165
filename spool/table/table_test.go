package table

import (
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restante/spool/room/roomtest"
)

// With no octet left on the disk the file can still be written, after a try or two, and opened.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	roomtest.Disk(t, dir, 32)
	path := filepath.Join(dir, "t.db")
	open := func() *DB {
		d, err := Open(path, Spec{Schema: "CREATE TABLE meta(key, value);CREATE TABLE line(text);", Version: "1", Log: slog.New(slog.DiscardHandler), Reserve: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	write := func(d *DB) (err error) {
		for range 5 {
			err = d.Tx(t.Context(), func() error {
				return d.Exec(t.Context(), "INSERT INTO line VALUES(?)", strings.Repeat("x", 50_000))
			})
			if err == nil {
				break
			}
		}
		return err
	}
	d := open()
	if err := write(d); err != nil {
		t.Fatal(err)
	}
	lines := 1
	for range 6 { // each time what was given is taken by others
		clear := roomtest.Fill(t, dir, 0)
		if err := write(d); err != nil {
			t.Fatalf("line %d on a full disk: %v", lines, err)
		}
		if lines++; lines == 5 {
			// A process that was killed left its files, and the next finds the disk as full.
			roomtest.Fill(t, dir, 0)
			d = open()
		}
		clear()
	}
	var n int
	count := func(r *sql.Rows) error { return r.Scan(&n) }
	if err := d.Each(t.Context(), "SELECT count(*) FROM line", count); err != nil || n != lines {
		t.Errorf("%d lines are there, %d were written (%v)", n, lines, err)
	}
	// Without the reserve it can't.
	if err := os.Remove(path + reserveSuffix); err != nil {
		t.Fatal(err)
	}
	d.reserve = nil
	roomtest.Fill(t, dir, 0)
	if err := write(d); err == nil {
		t.Error("it was written on a full disk without a reserve")
	}
	// What can't be opened for want of room isn't taken for damaged, and stays.
	path = filepath.Join(dir, "other.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(path, Spec{Schema: "CREATE TABLE meta(key, value);", Version: "1", Log: slog.New(slog.DiscardHandler)}); err == nil {
		d.Close()
		t.Error("it was made on a full disk")
	} else if _, err := os.Stat(path); err != nil {
		t.Error("it is gone:", err)
	}
}

package index

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"restante/spool"
)

// TestMain lets the test binary be the process that TestKilled kills.
func TestMain(m *testing.M) {
	if path := os.Getenv("RESTANTE_INDEX_VICTIM"); path != "" {
		victim(path)
		return
	}
	os.Exit(m.Run())
}

// victim folds batch after batch, from where the index says it is, until it is killed.
func victim(path string) {
	x, err := Open(path, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	pos, err := x.Positions(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	m := newMaker()
	m.n = 1000 * pos[spool.StreamID{Name: "n1-01J"}].Seq
	m.seq[spool.StreamID{Name: "n1-01J"}] = pos[spool.StreamID{Name: "n1-01J"}].Seq
	m.seq[spool.StreamID{Ledger: true, Name: "n1-01J"}] = pos[spool.StreamID{Ledger: true, Name: "n1-01J"}].Seq
	for {
		mail := m.mail(7)
		if err := x.Apply(context.Background(), []spool.Step{mail, m.delivered(mail)}); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("applied")
	}
}

// TestKilled: however a process is killed, rows and positions go together, and so do the counters.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 10 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "RESTANTE_INDEX_VICTIM="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 3+7*round && lines.Scan(); n++ {
			if lines.Text() != "applied" {
				t.Error(lines.Text())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		x := openAt(t, path)
		pos, err := x.Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seq := pos[spool.StreamID{Name: "n1-01J"}].Seq
		if led := pos[spool.StreamID{Ledger: true, Name: "n1-01J"}].Seq; led != seq || seq < 3 {
			t.Errorf("positions %d and %d", seq, led)
		}
		var rows, events int
		if err := x.db.Read.QueryRow("SELECT (SELECT count(*) FROM pair WHERE state=5), (SELECT count(*) FROM event)").Scan(&rows, &events); err != nil {
			t.Fatal(err)
		}
		sum, err := x.Summary(t.Context(), "example.test")
		if want := int(seq) * 7; err != nil || rows != want || events != want || sum.All.Delivered != int64(want) || sum.All.Accepted() != int64(want) {
			t.Errorf("%d batches: %d rows, %d events, %+v %v", seq, rows, events, sum.All, err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBrokenFile: an index that can't be read, or is of another version, is made anew.
func TestBrokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	for _, content := range []string{"this is no database, but long enough to look at: " + string(make([]byte, 5000)), ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		x := openAt(t, path)
		if err := x.Apply(t.Context(), []spool.Step{newMaker().mail(3)}); err != nil {
			t.Fatal(err)
		}
		if _, err := x.db.Conn.ExecContext(t.Context(), "UPDATE meta SET value='0' WHERE key='version'"); err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		x = openAt(t, path)
		if pos, err := x.Positions(t.Context()); err != nil || len(pos) != 0 {
			t.Errorf("an index of another version is used: %v %v", pos, err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing", "index.db"), Options{}); err == nil {
		t.Error("a folder that isn't there is accepted")
	}
}

// TestFailedTwice: a transaction fails, and what it changed in memory can't be read anew either, as on a disk that
// fails for a while. When the same steps are applied again, none of them is taken for applied.
func TestFailedTwice(t *testing.T) {
	x := openAt(t, filepath.Join(t.TempDir(), "index.db"))
	m := newMaker()
	first, second := m.mail(3), m.mail(3)
	if err := x.Apply(t.Context(), []spool.Step{first}); err != nil {
		t.Fatal(err)
	}
	rename := func(from, to string) {
		t.Helper()
		for _, table := range []string{"pair", "count"} {
			if _, err := x.db.Conn.ExecContext(t.Context(), "ALTER TABLE "+table+from+" RENAME TO "+table+to); err != nil {
				t.Fatal(err)
			}
		}
	}
	rename("", "_gone")
	if err := x.Apply(t.Context(), []spool.Step{second}); err == nil {
		t.Fatal("applied without its tables")
	}
	if err := x.Apply(t.Context(), []spool.Step{second}); err == nil {
		t.Error("called applied what failed before")
	}
	rename("_gone", "")
	if err := x.Apply(t.Context(), []spool.Step{second}); err != nil {
		t.Fatal(err)
	}
	sum, err := x.Summary(t.Context(), "example.test")
	if err != nil {
		t.Fatal(err)
	}
	if sum.All.Pending != 6 {
		t.Errorf("%d pending, want 6", sum.All.Pending)
	}
}

// TestAskedAfterClose: at a stop that ran out of time somebody may still ask. That is an error and no panic.
func TestAskedAfterClose(t *testing.T) {
	x, err := Open(filepath.Join(t.TempDir(), "index.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := newMaker()
	if err := x.Apply(t.Context(), []spool.Step{m.mail(1)}); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Summary(t.Context(), "example.test"); err == nil {
		t.Error("a closed index answers")
	}
	if err := x.Apply(t.Context(), []spool.Step{m.mail(1)}); err == nil {
		t.Error("a closed index folds")
	}
}

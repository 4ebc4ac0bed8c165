package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// TestUrgentAndLazy: recorded events go at once, outcomes gather a moment, lazy ones wait for a batch or a minute.
func TestUrgentAndLazy(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		store := mem.New()
		fault := wrap.NewFault(store)
		s := openSpool(t, fault, dir, Limits{})
		s.Note(Event{Type: Learned, Address: "a@example.com"})
		time.Sleep(59 * time.Second)
		if n := puts(fault, "ledger/"); n != 0 {
			t.Errorf("a lazy event cost %d PUTs of its own within a minute", n)
		}
		time.Sleep(2 * time.Second)
		if n := puts(fault, "ledger/"); n != 1 {
			t.Errorf("%d PUTs after a minute, want 1", n)
		}
		s.Note(Event{Type: Learned, Address: "b@example.com"})
		start := time.Now()
		if err := s.Record(t.Context(), Event{Type: OutageOpened, Domain: "example.com"}); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Record waited %s", waited)
		}
		if n := puts(fault, "ledger/"); n != 2 {
			t.Errorf("%d PUTs, want the lazy event to go with the urgent one", n)
		}
		for range 100 {
			if err := s.Settle(Event{Type: Delivered, Entry: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if n := puts(fault, "ledger/"); n != 3 {
			t.Errorf("%d PUTs, want one for 100 outcomes at once", n)
		}
		closeSpool(t, s)
		if n := len(readAll(t, store).events); n != 103 {
			t.Errorf("%d events in the ledger, want 103", n)
		}
	})
}

// TestEventTimes: times grow whatever the clock does, other nodes' times are adopted, unless far ahead.
func TestEventTimes(t *testing.T) {
	var c clock
	a := c.now()
	c.seen(a.Add(time.Minute))
	if b := c.now(); !b.After(a.Add(time.Minute)) {
		t.Errorf("%s is not after what was seen", b)
	}
	c.seen(time.Now().Add(time.Hour))
	if b := c.now(); b.After(time.Now().Add(30 * time.Minute)) {
		t.Errorf("a clock an hour ahead was adopted: %s", b)
	}
	last := c.now()
	for range 1000 {
		if b := c.now(); !b.After(last) {
			t.Fatal("two events at one time")
		} else {
			last = b
		}
	}
}

// TestJournalOutlivesKill: outcomes that never reached the ledger are there at the next start, and the journal is emptied once they do.
func TestJournalOutlivesKill(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		store := mem.New()
		fault := wrap.NewFault(store)
		s := openSpool(t, fault, dir, Limits{})
		fault.Crash()
		want := map[string]bool{}
		for i := range 50 {
			ev := Event{ID: NewID(), Type: Delivered, Entry: fmt.Sprint(i), Reply: "250 ok \u00e4\nsecond line"}
			want[ev.ID] = true
			if err := s.Settle(ev); err != nil {
				t.Fatal(err)
			}
		}
		kill(s)
		next := openSpool(t, store, dir, Limits{})
		if n := len(next.journaled()); n != 50 {
			t.Errorf("%d events to be folded at the start, want 50", n)
		}
		time.Sleep(time.Second)
		if n := next.journal.pending(); n != 0 {
			t.Errorf("%d events still pending", n)
		}
		closeSpool(t, next)
		c := readAll(t, store)
		for id := range want {
			if c.events[id].Reply != "250 ok \u00e4\nsecond line" {
				t.Errorf("event %s: %+v", id, c.events[id])
			}
		}
		left, err := os.ReadDir(filepath.Join(dir, "journal"))
		if err != nil || len(left) != 0 {
			t.Errorf("journal after a clean stop: %v, %v", left, err)
		}
	})
}

// TestJournalTornTail: at whatever octet the last write was cut off, the whole lines are read and the rest is ignored
// without complaint; damage elsewhere is counted.
func TestJournalTornTail(t *testing.T) {
	var whole []byte
	var ends []int
	for i := range 5 {
		b, err := marshal(Event{ID: fmt.Sprint(i), Type: Delivered})
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, journalLine(b)...)
		ends = append(ends, len(whole))
	}
	for cut := range len(whole) + 1 {
		want := 0
		for _, end := range ends {
			if end <= cut {
				want++
			}
		}
		if evs, bad := parseJournal(whole[:cut]); len(evs) != want || bad != 0 {
			t.Errorf("cut at %d: %d events, want %d; %d bad", cut, len(evs), want, bad)
		}
	}
	for at := range ends[3] - 1 {
		broken := append([]byte(nil), whole...)
		broken[at] ^= 0x20
		evs, bad := parseJournal(broken)
		if len(evs) < 3 || len(evs)+bad < 4 {
			t.Errorf("octet %d damaged: %d events, %d bad", at, len(evs), bad)
		}
		for _, ev := range evs {
			if ev.Type != Delivered {
				t.Errorf("octet %d damaged: event %+v was read", at, ev)
			}
		}
	}
}

// TestJournalRotation: segments go when the ledger has their events, in whatever order, and never before.
func TestJournalRotation(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := openJournal(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	event, err := marshal(Event{ID: "x", Type: Delivered, Reply: strings.Repeat("r", 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	var parts []*segment
	for range 13 {
		p, err := j.write(event)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	files := func() int {
		all, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := files(); n != 4 {
		t.Errorf("%d segments for 13 MB, want 4", n)
	}
	for _, p := range parts[4:] { // the second, third and fourth; the first stays
		j.durable(p, 1)
	}
	if n := files(); n != 2 || j.pending() != 4 {
		t.Errorf("%d segments, %d pending; want the first and the active one", n, j.pending())
	}
	if st, err := os.Stat(parts[12].path); err != nil || st.Size() != 0 {
		t.Errorf("the active segment was not emptied: %v, %v", st, err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	again, left, damaged, err := openJournal(dir, j.log)
	if err != nil || damaged != 0 || len(left) != 1 {
		t.Fatalf("%d segments left, %d damaged, %v", len(left), damaged, err)
	}
	for part, evs := range left {
		again.durable(part, len(evs))
	}
	if n := files(); n != 0 {
		t.Errorf("%d segments at the end", n)
	}
}

// TestJournalUnwritable: then the ledger must take the outcome before replay goes on, and when neither can, replay must stop.
func TestJournalUnwritable(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		store := mem.New()
		fault := wrap.NewFault(store)
		s := openSpool(t, fault, dir, Limits{})
		if err := s.Settle(Event{ID: "A", Type: Delivered}); err != nil {
			t.Fatal(err)
		}
		s.journal.mu.Lock()
		s.journal.file.Close() // as good as a dead disk
		s.journal.mu.Unlock()
		if err := s.Settle(Event{ID: "B", Type: Delivered}); err != nil {
			t.Errorf("the ledger could take it: %v", err)
		}
		if _, ok := readAll(t, store).events["B"]; !ok {
			t.Error("Settle returned nil, but the event is neither here nor there")
		}
		fault.SetDown(wrap.ErrDown)
		if err := s.Settle(Event{ID: "C", Type: Delivered}); err == nil {
			t.Error("neither journal nor ledger, and yet no error")
		}
		fault.SetDown(nil)
		time.Sleep(time.Minute)
		_ = s.Close(t.Context()) // complains of the journal
	})
}

// TestOutcomesWhileLedgerFails: the index is told from the journal, so that replay does not repeat itself.
func TestOutcomesWhileLedgerFails(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		fold := follow(t, s)
		time.Sleep(time.Second)
		fault.Script(func(p wrap.Point) wrap.Action {
			if p.Op == "put" {
				return wrap.Action{Err: wrap.ErrLost}
			}
			return wrap.Action{}
		})
		if err := s.Settle(Event{Type: Delivered, Entry: "E"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !fold.delivered("E") {
			t.Error("the fold was not told")
		}
		fault.Clear()
		time.Sleep(5 * time.Second)
		closeSpool(t, s)
	})
}

func TestRecordWhileDown(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		fault.Add(wrap.Rule{Op: "put", Prefix: "ledger/", When: "before", Times: 20, Action: wrap.Action{Err: wrap.ErrLost}})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.Record(ctx, Event{Type: OutageOpened}); !errors.Is(err, ErrUnsettled) {
			t.Errorf("got %v, want ErrUnsettled", err)
		}
		time.Sleep(5 * time.Minute)
		if err := s.Record(t.Context(), Event{Type: OutageClosed}); err != nil {
			t.Error(err)
		}
		closeSpool(t, s)
	})
}

func TestTwoProcesses(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		store := mem.New()
		s := openSpool(t, store, dir, Limits{})
		_, err := tryOpen(store, dir, Limits{})
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), dir) {
			t.Errorf("a second process on one data_dir: %v", err)
		}
		closeSpool(t, s)
		closeSpool(t, openSpool(t, store, dir, Limits{}))
	})
}

// TestForeign: stores that aren't ours are refused, and the error says what to do.
func TestForeign(t *testing.T) {
	d := dirs(t, 2)
	other := mem.New()
	closeSpool(t, openSpool(t, other, d[1], Limits{}))
	newer := mem.New()
	put(t, newer, rootKey, `{"format":2,"cluster":"X"}`)
	headless := mem.New()
	put(t, headless, "mail/a-b/0000000000000/0000000000000000.tar.zst", "x")
	junk := mem.New()
	put(t, junk, rootKey, `{`)

	ours := mem.New()
	closeSpool(t, openSpool(t, ours, d[0], Limits{}))
	for name, c := range map[string]struct {
		store blob.Store
		dir   string
		says  string
	}{
		"another cluster": {other, d[0], "start with an empty data_dir"},
		"emptied":         {mem.New(), d[0], "is it the right bucket"},
		"newer":           {newer, t.TempDir(), "use a newer one"},
		"headless":        {headless, t.TempDir(), "restore that object"},
		"junk":            {junk, t.TempDir(), "no JSON"},
	} {
		_, err := tryOpen(c.store, c.dir, Limits{})
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := openSpool(t, ours, d[0], Limits{})
	if s.Cluster() != readCluster(t, ours) || s.Node() == "" {
		t.Errorf("cluster %q, node %q", s.Cluster(), s.Node())
	}
	closeSpool(t, s)
	if _, err := Open(t.Context(), Options{Store: ours, DataDir: d[0], Node: "other"}); err == nil || !strings.Contains(err.Error(), "belongs to node") {
		t.Errorf("another node's data_dir: %v", err)
	}
	if _, err := Open(t.Context(), Options{Store: ours, DataDir: t.TempDir(), Node: "a-b"}); err == nil {
		t.Error("a node name with '-' was taken")
	}
}

func put(t *testing.T, store blob.Store, key, text string) {
	if _, err := store.Put(t.Context(), key, bytesBody([]byte(text)), absent); err != nil {
		t.Fatal(err)
	}
}

// unfit is a store that ignores conditions.
type unfit struct{ blob.Store }

func (u unfit) Put(ctx context.Context, key string, body blob.Body, c blob.Cond) (string, error) {
	if c.Absent {
		if err := u.Delete(ctx, key); err != nil {
			return "", err
		}
	}
	return u.Store.Put(ctx, key, body, c)
}

func TestUnfitStore(t *testing.T) {
	_, err := tryOpen(unfit{mem.New()}, t.TempDir(), Limits{})
	if !errors.Is(err, blob.ErrUnfit) {
		t.Errorf("a store without conditional writes: %v", err)
	}
}

// TestNodeFile: the name made up at the first start stays.
func TestNodeFile(t *testing.T) {
	dir := t.TempDir()
	store := mem.New()
	s := openSpool(t, store, dir, Limits{})
	name := s.Node()
	closeSpool(t, s)
	s = openSpool(t, store, dir, Limits{})
	if s.Node() != name || !nodeName.MatchString(name) {
		t.Errorf("node %q, then %q", name, s.Node())
	}
	closeSpool(t, s)
	b, err := os.ReadFile(filepath.Join(dir, nodeFile))
	if err != nil || !json.Valid(b) {
		t.Errorf("%s, %v", b, err)
	}
}

// FuzzJournal: whatever a disk gives back, only lines that were written whole are read.
func FuzzJournal(f *testing.F) {
	b, err := marshal(Event{ID: "A", Type: Delivered, Reply: "250 ok"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(journalLine(b))
	f.Add([]byte("00000000 {}\n\n"))
	f.Fuzz(func(t *testing.T, junk []byte) {
		evs, bad := parseJournal(append(journalLine(b), junk...))
		if len(evs) == 0 || evs[0].ID != "A" {
			t.Fatal("the line before the junk is lost")
		}
		if lines := bytes.Count(junk, []byte("\n")); len(evs)-1+bad > lines {
			t.Errorf("%d events and %d bad lines from %d lines", len(evs)-1, bad, lines)
		}
	})
}

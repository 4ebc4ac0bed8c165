package spool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/local"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// life is what happens in the life of a process that a crash test enumerates.
type life struct {
	letters  []*letter
	recorded map[string]error // by event id
	settled  map[string]error
}

// live appends, records and settles: one alone, several at once, a big one.
func live(s *Spool) *life {
	l := &life{recorded: map[string]error{}, settled: map[string]error{}}
	send := func(letters ...*letter) {
		l.letters = append(l.letters, letters...)
		sendAll(s, letters)
	}
	settle := func(i int) {
		ev := settledEvent(l.letters[i])
		ev.ID = NewID()
		l.settled[ev.ID] = s.Settle(ev)
	}
	send(newLetter(300))
	settle(0)
	send(newLetter(0), newLetter(500), newLetter(700))
	ev := Event{ID: NewID(), Type: OutageOpened, Domain: "example.com", Outage: "2026-11-21-example.com"}
	l.recorded[ev.ID] = s.Record(context.Background(), ev)
	s.Note(Event{Type: Learned, Address: "bob@example.com"})
	send(newLetter(9000), newLetter(100))
	settle(1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if lease, err := s.Lease(ctx, "example.com"); err == nil {
		send(newLetter(400))
		settle(2)
		_ = lease.Release(ctx)
	}
	send(newLetter(50))
	settle(3)
	return l
}

var crashLimits = Limits{InlineMax: 4 << 10, GatherWait: time.Millisecond}

// judge looks at what the crash left, through the next process on the same data_dir.
func (l *life) judge(t *testing.T, store blob.Store, dir string) {
	t.Helper()
	next := openSpool(t, store, dir, crashLimits)
	extra := newLetter(200)
	if err := extra.send(next); err != nil {
		t.Errorf("the next process takes no mail: %v", err)
	}
	sealRest(t, next, store)
	closeSpool(t, next)
	c := readAll(t, store)
	c.judge(t, append(l.letters, extra))
	if len(c.twice) > 0 {
		t.Errorf("kept twice: %v", c.twice)
	}
	for id, err := range l.recorded {
		if _, there := c.events[id]; err == nil && !there || errors.Is(err, ErrVoid) && there {
			t.Errorf("event %s: recorded with %v, there: %v", id, err, there)
		}
	}
	for id, err := range l.settled {
		if _, there := c.events[id]; err == nil && !there {
			t.Errorf("settled event %s is not in the ledger after the next start", id)
		}
	}
	for id, head := range c.heads {
		if !head.Sealed {
			t.Errorf("%s is not sealed", id)
		}
	}
}

// TestCrashPoints crashes before and after every call that reaches the store.
func TestCrashPoints(t *testing.T) {
	points := 1
	for n := 0; n <= points; n++ {
		dir := dirs(t, 1)[0]
		synctest.Test(t, func(t *testing.T) {
			store := mem.New()
			fault := wrap.NewFault(store)
			s := openSpool(t, fault, dir, crashLimits)
			first := len(fault.Points())
			if n > 0 {
				fault.CrashAt(first + n)
			}
			l := live(s)
			if n == 0 {
				closeSpool(t, s)
				points = len(fault.Points()) - first
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_ = s.Close(ctx)
				cancel()
			}
			l.judge(t, store, dir)
		})
		if t.Failed() {
			t.Fatalf("crash point %d of %d", n, points)
		}
	}
	if points < 20 {
		t.Errorf("only %d points: the life is too short to prove anything", points)
	}
	t.Logf("%d crash points", points)
}

// TestCrashPointsOfFiles crashes at every operation on a file of a local store.
func TestCrashPointsOfFiles(t *testing.T) {
	steps := 1
	for n := 0; n <= steps; n++ {
		d := dirs(t, 2)
		synctest.Test(t, func(t *testing.T) {
			count, crashed := 0, errors.New("the power is gone")
			mu := make(chan struct{}, 1)
			armed := false
			store, err := local.Open(d[1], local.Options{Step: func(op local.Op, _ string, do func() error) error {
				mu <- struct{}{}
				if armed {
					count++
				}
				dead := n > 0 && count >= n
				<-mu
				if dead {
					return crashed
				}
				return unsynced(op, "", do)
			}})
			if err != nil {
				t.Fatal(err)
			}
			s := openSpool(t, store, d[0], crashLimits)
			mu <- struct{}{}
			armed = true
			<-mu
			l := live(s)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_ = s.Close(ctx)
			cancel()
			if n == 0 {
				steps = count
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := local.Open(d[1], local.Options{Step: unsynced})
			if err != nil {
				t.Fatal(err)
			}
			l.judge(t, again, d[0])
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		})
		if t.Failed() {
			t.Fatalf("crash at file operation %d of %d", n, steps)
		}
	}
	t.Logf("%d file operations", steps)
}

// unsynced is a local.Step that syncs nothing: what is tried here is a killed process, not a power failure.
func unsynced(op local.Op, _ string, do func() error) error {
	switch op {
	case local.PutSync, local.PutSyncDir, local.PutMkSync, local.OpenSyncDir, local.DelSyncDir:
		return nil
	}
	return do()
}

// unknownCase is one way in which the answer to the put of a batch gets lost.
type unknownCase struct {
	name  string
	rules []wrap.Rule
	want  error // of the letter in that batch
}

// unknownCases are all ways, and when the write then lands.
func unknownCases() []unknownCase {
	minutes := func(m int) time.Duration { return time.Duration(m) * time.Minute }
	return []unknownCase{
		{"lost before", []wrap.Rule{{When: "before", Times: 1, Action: wrap.Action{Err: wrap.ErrLost}}}, nil},
		{"lost after", []wrap.Rule{{When: "after", Times: 1, Action: wrap.Action{Err: wrap.ErrLost}}}, nil},
		{"lands before the second put", []wrap.Rule{{When: "before", Times: 1, Action: wrap.Action{Late: &wrap.Late{Calls: 1}}}}, nil},
		{"lands after the second put", []wrap.Rule{{When: "before", Times: 1, Action: wrap.Action{Late: &wrap.Late{Calls: 2}}}}, nil},
		{"answer lost four times", []wrap.Rule{{When: "after", Times: 4, Action: wrap.Action{Err: wrap.ErrLost}}}, nil},
		{"hangs after being written", []wrap.Rule{{When: "after", Times: 2, Action: wrap.Action{Hang: true}}}, nil},
		{"no space on the second try", []wrap.Rule{
			{When: "before", Times: 1, Action: wrap.Action{Err: wrap.ErrLost}},
			{When: "before", Times: 1, Action: wrap.Action{Err: errors.Join(blob.ErrNotWritten, blob.ErrNoSpace)}}}, ErrVoid},
		{"no space on the second try, the first lands before the void", []wrap.Rule{
			{When: "before", Times: 1, Action: wrap.Action{Late: &wrap.Late{Calls: 1}}},
			{When: "before", Times: 1, Action: wrap.Action{Err: errors.Join(blob.ErrNotWritten, blob.ErrNoSpace)}}}, nil},
		{"no space on the second try, the first lands after the void", []wrap.Rule{
			{When: "before", Times: 1, Action: wrap.Action{Late: &wrap.Late{After: minutes(1)}}},
			{When: "before", Times: 1, Action: wrap.Action{Err: errors.Join(blob.ErrNotWritten, blob.ErrNoSpace)}}}, ErrVoid},
		{"dead for ever after the first", []wrap.Rule{
			{When: "before", Times: 1, Action: wrap.Action{Late: &wrap.Late{After: minutes(10)}}},
			{When: "before", Times: 140, Action: wrap.Action{Err: wrap.ErrLost}}}, ErrUnsettled},
		{"dead, and the first lands when the void is put", []wrap.Rule{
			{When: "before", Times: 1, Action: wrap.Action{Late: &wrap.Late{After: minutes(3)}}},
			{When: "before", Times: 400, Action: wrap.Action{Err: wrap.ErrLost}}}, ErrUnsettled},
		{"certainly refused", []wrap.Rule{{When: "before", Times: 1, Action: wrap.Action{Err: errors.Join(blob.ErrNotWritten, blob.ErrNoSpace)}}}, ErrVoid},
		{"refuses connections for a moment", []wrap.Rule{{When: "before", Times: 3, Action: wrap.Action{Err: blob.ErrNotWritten}}}, nil},
		{"refuses connections", []wrap.Rule{{When: "before", Times: 30, Action: wrap.Action{Err: blob.ErrNotWritten}}}, ErrVoid},
		{"can't be trusted", []wrap.Rule{{When: "after", Times: 1, Action: wrap.Action{Err: errors.Join(blob.ErrUnreadable)}}}, nil},
	}
}

func TestUnknownOutcomes(t *testing.T) {
	for _, c := range unknownCases() {
		t.Run(c.name, func(t *testing.T) {
			dir := dirs(t, 1)[0]
			synctest.Test(t, func(t *testing.T) {
				store := mem.New()
				fault := wrap.NewFault(store)
				s := openSpool(t, fault, dir, Limits{})
				if err := newLetter(10).send(s); err != nil { // so that seq 0 is taken
					t.Fatal(err)
				}
				for _, r := range c.rules {
					r.Op, r.Prefix = "put", "mail/"
					fault.Add(r)
				}
				first, second := newLetter(100), newLetter(200)
				start := time.Now()
				_ = first.send(s)
				if !errors.Is(first.err, c.want) {
					t.Errorf("got %v, want %v", first.err, c.want)
				}
				if took := time.Since(start); took > 2*time.Minute+30*time.Second {
					t.Errorf("took %s", took)
				}
				time.Sleep(15 * time.Minute) // whatever is late has landed
				fault.Clear()
				time.Sleep(time.Minute)
				if err := second.send(s); err != nil {
					t.Errorf("after it the stream does not go on: %v", err)
				}
				closeSpool(t, s)
				fault.Land("")
				readAll(t, store).judge(t, []*letter{first, second})
				for _, l := range fault.Landed() {
					if l.Err == nil && errors.Is(first.err, ErrVoid) {
						t.Errorf("late put of %s landed after the message was refused", l.Key)
					}
				}
			})
		})
	}
}

// TestUnreadable: what is at the key can't be trusted, so nothing may be said, and the service goes on elsewhere.
func TestUnreadable(t *testing.T) {
	for name, action := range map[string]wrap.Action{
		"untrusted": {Err: blob.ErrUnreadable},
		"mangled":   {Mangle: func(b []byte) []byte { return b[:len(b)/2] }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := dirs(t, 1)[0]
			synctest.Test(t, func(t *testing.T) {
				store := mem.New()
				fault := wrap.NewFault(store)
				s := openSpool(t, fault, dir, Limits{})
				fault.Add(wrap.Rule{Op: "put", When: "after", Prefix: "mail/", Times: 1, Action: wrap.Action{Err: wrap.ErrLost}})
				fault.Add(wrap.Rule{Op: "get", When: "after", Prefix: "mail/", Times: 1, Action: action})
				first, second := newLetter(100), newLetter(200)
				if err := first.send(s); !errors.Is(err, ErrUnsettled) {
					t.Errorf("got %v, want ErrUnsettled", err)
				}
				if err := second.send(s); err != nil {
					t.Error(err)
				}
				closeSpool(t, s)
				c := readAll(t, store)
				c.judge(t, []*letter{first, second})
				if len(c.heads) != 2 {
					t.Errorf("%d streams, want a new one", len(c.heads))
				}
			})
		})
	}
}

// TestTakenForDead: somebody seals our streams while we live. All goes on in new ones; a put that is still under way never lands behind the seal.
func TestTakenForDead(t *testing.T) {
	dir := dirs(t, 1)[0]
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		fault := wrap.NewFault(store)
		s := openSpool(t, fault, dir, crashLimits)
		letters := []*letter{newLetter(10), newLetter(20), newLetter(9000), newLetter(30)}
		_ = letters[0].send(s)
		if err := s.Record(t.Context(), Event{Type: OutageOpened, Domain: "example.com"}); err != nil {
			t.Fatal(err)
		}
		lease, err := s.Lease(t.Context(), "example.com")
		if err != nil {
			t.Fatal(err)
		}
		for id, head := range readAll(t, store).heads {
			if _, err := s.seal(t.Context(), id, head); err != nil {
				t.Fatal(err)
			}
		}
		// The first put after the seal is late as well.
		fault.Add(wrap.Rule{Op: "put", When: "before", Prefix: "mail/", Times: 1, Action: wrap.Action{Late: &wrap.Late{After: time.Minute}}})
		_ = letters[1].send(s)
		if !lease.Valid() {
			select {
			case <-lease.Lost():
			default:
				t.Error("the lease is invalid, but Lost is open")
			}
		} else {
			t.Error("the lease outlived the takeover")
		}
		_ = letters[2].send(s)
		if err := s.Record(t.Context(), Event{Type: OutageClosed, Domain: "example.com"}); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		_ = letters[3].send(s)
		again, err := s.Lease(t.Context(), "example.com")
		if err != nil || again.Generation() <= lease.Generation() {
			t.Errorf("lease after the takeover: %v", err)
		}
		closeSpool(t, s)
		c := readAll(t, store)
		c.judge(t, letters)
		for _, l := range letters {
			if l.err != nil {
				t.Errorf("refused because of a takeover: %v", l.err)
			}
		}
		if len(c.heads) != 4 || len(c.twice) > 0 {
			t.Errorf("%d streams, twice: %v", len(c.heads), c.twice)
		}
	})
}

// TestBigMoved: the stream changes between the octets of a big message and the batch that names them.
func TestBigMoved(t *testing.T) {
	dir := dirs(t, 1)[0]
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		fault := wrap.NewFault(store)
		s := openSpool(t, fault, dir, crashLimits)
		if err := newLetter(10).send(s); err != nil {
			t.Fatal(err)
		}
		old := s.mail.lanes[0].current()
		sealed := false
		big := newLetter(20000)
		fault.Script(func(p wrap.Point) wrap.Action {
			if p.Op == "put" && p.When == "before" && !sealed && p.Key == old.Key(1) {
				sealed = true
				object := s.mark(old, s.header(old, Position{Seq: 1, Hash: s.mail.lanes[0].pos.Hash}, "seal"))
				if _, err := store.Put(context.Background(), old.Key(1), bytesBody(object), absent); err != nil {
					t.Error(err)
				}
			}
			return wrap.Action{}
		})
		if err := big.send(s); err != nil {
			t.Error(err)
		}
		closeSpool(t, s)
		readAll(t, store).judge(t, []*letter{big})
		if !sealed {
			t.Error("the test did not do what it is for")
		}
	})
}

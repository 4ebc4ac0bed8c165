package spool

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// bubble runs f in a synctest bubble with a data_dir made outside of it.
func bubble(t *testing.T, f func(t *testing.T, dir string)) {
	t.Helper()
	dir := dirs(t, 1)[0]
	synctest.Test(t, func(t *testing.T) { f(t, dir) })
}

func slowPuts(f *wrap.Fault, d time.Duration) {
	f.Add(wrap.Rule{Op: "put", When: "before", Prefix: "mail/", Action: wrap.Action{Delay: d}})
}

// puts counts the puts of batches that reached the store.
func puts(f *wrap.Fault, prefix string) (n int) {
	for _, p := range f.Points() {
		if p.Op == "put" && p.When == "after" && len(p.Key) >= len(prefix) && p.Key[:len(prefix)] == prefix {
			n++
		}
	}
	return n
}

// TestAlone: one session costs one PUT a message and never waits, nor does it read or list anything.
func TestAlone(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		before := len(fault.Points())
		for range 20 {
			start := time.Now()
			if err := newLetter(4096).send(s); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(start); waited != 0 {
				t.Errorf("waited %s", waited)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(fault.Points()) - before; n != 40 { // before and after
			t.Errorf("%d points of calls for 20 messages, want 40", n)
		}
		closeSpool(t, s)
	})
}

// TestAloneBesideSlowSender: a session that takes minutes inside DATA does not hold up the others for long.
func TestAloneBesideSlowSender(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		s := openSpool(t, mem.New(), dir, Limits{})
		slow := s.Expect()
		start := time.Now()
		for range 100 {
			if err := newLetter(100).send(s); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(start); waited > 40*time.Millisecond {
			t.Errorf("100 messages waited %s in all for a session that never came", waited)
		}
		slow()
		slow()
		closeSpool(t, s)
		if s.mail.expected != 0 || s.mail.held != 0 {
			t.Errorf("expected %d, held %d at the end", s.mail.expected, s.mail.held)
		}
	})
}

// TestThrift: 50 sessions cost at most 40 PUTs for 1,000 messages, with stores and clients of all speeds.
func TestThrift(t *testing.T) {
	for _, c := range []struct{ put, think, data time.Duration }{
		{60 * time.Millisecond, 500 * time.Microsecond, 200 * time.Microsecond}, // S3, clients near by
		{5 * time.Millisecond, 500 * time.Microsecond, 200 * time.Microsecond},  // a store on this machine
		{60 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond},   // clients far off
	} {
		bubble(t, func(t *testing.T, dir string) {
			fault := wrap.NewFault(mem.New())
			s := openSpool(t, fault, dir, Limits{})
			slowPuts(fault, c.put)
			var all sync.WaitGroup
			const messages = 1000
			for i := range 50 {
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				all.Go(func() {
					for range messages / 50 {
						time.Sleep(c.think/2 + time.Duration(rng.Int64N(int64(c.think))))
						done := s.Expect()
						time.Sleep(c.data/2 + time.Duration(rng.Int64N(int64(c.data))))
						body := NewBody("", 1<<20)
						_, _ = body.Write(make([]byte, 4096))
						if err := s.Append(t.Context(), sampleEntry(), nil, body); err != nil {
							t.Error(err)
						}
						done()
					}
				})
			}
			all.Wait()
			if n := puts(fault, "mail/"); n > 40 {
				t.Errorf("put %s, think %s: %d PUTs for %d messages", c.put, c.think, n, messages)
			} else {
				t.Logf("put %s, think %s: %d PUTs", c.put, c.think, n)
			}
			closeSpool(t, s)
		})
	}
}

// TestLanes: a second stream is begun only while full batches stand waiting, and sealed when it was idle.
func TestLanes(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		store := mem.New()
		fault := wrap.NewFault(store)
		s := openSpool(t, fault, dir, Limits{BatchBytes: 64 << 10, BatchCount: 100})
		slowPuts(fault, time.Second)
		send := func(n, size int) []*letter {
			var letters []*letter
			for range n {
				l := newLetter(10)
				text := sampleMessage(size)
				l.text = string(text)
				letters = append(letters, l)
			}
			sendAll(s, letters)
			return letters
		}
		few := send(40, 100)
		if n := len(s.mail.streams()); n != 1 {
			t.Errorf("%d lanes for few small messages", n)
		}
		many := send(60, 20<<10)
		if n := len(s.mail.streams()); n < 2 || n > 4 {
			t.Errorf("%d lanes for many messages", n)
		}
		time.Sleep(2 * time.Minute)
		sealed := 0
		for id, head := range readAll(t, store).heads {
			if head.Sealed {
				sealed++
			} else if id != s.mail.lanes[0].current() {
				t.Errorf("%s is idle and not sealed", id)
			}
		}
		if sealed == 0 {
			t.Error("no idle lane was sealed")
		}
		last := send(60, 20<<10)
		closeSpool(t, s)
		c := readAll(t, store)
		c.judge(t, append(append(few, many...), last...))
		for id, head := range c.heads {
			if !head.Sealed {
				t.Errorf("%s is not sealed at the end", id)
			}
		}
	})
}

// TestAvailable: down at most 10 s after the store died, up at most 5 s after its return, and no session waits longer than 2 min.
func TestAvailable(t *testing.T) {
	hang := func(f *wrap.Fault) { f.Script(func(wrap.Point) wrap.Action { return wrap.Action{Hang: true} }) }
	refuse := func(f *wrap.Fault) { f.SetDown(wrap.ErrDown) }
	for name, die := range map[string]func(*wrap.Fault){"hangs": hang, "refuses": refuse} {
		for _, busy := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T, dir string) {
					store := mem.New()
					fault := wrap.NewFault(store)
					s := openSpool(t, fault, dir, Limits{})
					if err := s.Available(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
					if err := s.Available(); err != nil {
						t.Fatal("after a quiet minute:", err)
					}
					die(fault)
					died := time.Now()
					l := newLetter(100)
					answered := make(chan time.Duration, 1)
					if busy {
						go func() { _ = l.send(s); answered <- time.Since(died) }()
					}
					for s.Available() == nil {
						if time.Sleep(500 * time.Millisecond); time.Since(died) > 10*time.Second {
							t.Fatal("still available 10 s after the store died")
						}
					}
					if err := s.Available(); !errors.Is(err, ErrStoreDown) {
						t.Error(err)
					}
					if busy {
						if took := <-answered; took > 2*time.Minute+5*time.Second {
							t.Errorf("a session waited %s", took)
						}
					}
					late := newLetter(50)
					if err := late.send(s); !errors.Is(err, ErrVoid) || !errors.Is(err, ErrStoreDown) {
						t.Errorf("sent while down: %v", err)
					}
					time.Sleep(time.Minute)
					fault.Clear()
					fault.SetDown(nil)
					returned := time.Now()
					for s.Available() != nil {
						if time.Sleep(100 * time.Millisecond); time.Since(returned) > 5*time.Second {
							t.Fatal("not available 5 s after the store's return")
						}
					}
					again := newLetter(100)
					if err := again.send(s); err != nil {
						t.Error(err)
					}
					closeSpool(t, s)
					readAll(t, store).judge(t, append([]*letter{again, late}, map[bool][]*letter{true: {l}}[busy]...))
				})
			})
		}
	}
}

// TestOpenWhileDown: the spool opens at once, and works once the store is there.
func TestOpenWhileDown(t *testing.T) {
	for name, action := range map[string]wrap.Action{"refuses": {Err: wrap.ErrDown}, "hangs": {Hang: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, dir string) {
				store := mem.New()
				fault := wrap.NewFault(store)
				fault.Script(func(wrap.Point) wrap.Action { return action })
				start := time.Now()
				s := openSpool(t, fault, dir, Limits{})
				if took := time.Since(start); took > openWait {
					t.Errorf("Open took %s", took)
				}
				if err := s.Available(); !errors.Is(err, ErrStoreDown) {
					t.Errorf("available: %v", err)
				}
				if err := newLetter(1).send(s); !errors.Is(err, ErrVoid) {
					t.Error(err)
				}
				ev := Event{ID: NewID(), Type: Delivered, Entry: "x"}
				if err := s.Settle(ev); err != nil {
					t.Errorf("settle with the journal alone: %v", err)
				}
				time.Sleep(time.Minute)
				fault.Clear()
				time.Sleep(25 * time.Second) // a hanging call ends after PutTimeout
				if err := s.Available(); err != nil {
					t.Error(err)
				}
				if err := newLetter(1).send(s); err != nil {
					t.Error(err)
				}
				closeSpool(t, s)
				if _, ok := readAll(t, store).events[ev.ID]; !ok {
					t.Error("the settled event never came to the ledger")
				}
			})
		})
	}
}

// TestNeverReached: a spool whose store never came closes without waiting.
func TestNeverReached(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		fault.SetDown(wrap.ErrDown)
		s := openSpool(t, fault, dir, Limits{})
		s.Note(Event{Type: Learned})
		closeSpool(t, s)
		if err := s.Available(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := newLetter(1).send(s); !errors.Is(err, ErrVoid) {
			t.Error(err)
		}
	})
}

func TestMinFree(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		fault.SetFree(100<<20, 1<<40)
		s, err := Open(t.Context(), Options{Store: fault, DataDir: dir, Limits: Limits{MinFree: 128 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Available(); !errors.Is(err, ErrNoSpace) || !strings.HasSuffix(err.Error(), " has 104.8 MB free, min_free is 134.2 MB") {
			t.Errorf("with 100 MB free: %v", err)
		}
		fault.SetFree(200<<20, 1<<40)
		time.Sleep(2 * time.Second)
		if err := s.Available(); err != nil {
			t.Error(err)
		}
		closeSpool(t, s)
	})
}

// TestCanceled: a session that has gone before its entry is in a batch is refused; later its batch answers.
func TestCanceled(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Append(ctx, sampleEntry(), nil, NewBody("", 10)); !errors.Is(err, ErrVoid) {
			t.Error(err)
		}
		slowPuts(fault, time.Second)
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.Append(ctx, sampleEntry(), nil, NewBody("", 10)); err != nil {
			t.Errorf("its batch was under way: %v", err)
		}
		closeSpool(t, s)
	})
}

// TestRefusedInput: what JSON would silently change is refused.
func TestRefusedInput(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		s := openSpool(t, mem.New(), dir, Limits{})
		for _, change := range []func(*Entry){
			func(e *Entry) { e.From = "a\xff@example.net" },
			func(e *Entry) { e.Rcpts[0].Address = "\xc3@example.com" },
			func(e *Entry) { e.ID = "../../../../etc/passwd....." },
			func(e *Entry) { e.ID = "" },
		} {
			e := sampleEntry()
			change(e)
			if err := s.Append(t.Context(), e, nil, NewBody("", 10)); !errors.Is(err, ErrVoid) {
				t.Errorf("%+v: %v", e, err)
			}
		}
		closeSpool(t, s)
	})
}

// TestBigOutcomes: the octets of a big message go before its batch, and nothing is said too early.
func TestBigOutcomes(t *testing.T) {
	for name, a := range map[string]wrap.Rule{
		"lost before": {When: "before", Times: 1, Action: wrap.Action{Err: wrap.ErrLost}},
		"lost after":  {When: "after", Times: 1, Action: wrap.Action{Err: wrap.ErrLost}},
		"late":        {When: "before", Times: 1, Action: wrap.Action{Late: &wrap.Late{Calls: 1}}},
		"no space":    {When: "before", Times: 1, Action: wrap.Action{Err: errors.Join(blob.ErrNotWritten, blob.ErrNoSpace)}},
		"dead":        {When: "before", Action: wrap.Action{Err: wrap.ErrLost}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, dir string) {
				store := mem.New()
				fault := wrap.NewFault(store)
				s := openSpool(t, fault, dir, crashLimits)
				a.Op, a.Prefix = "put", "big/"
				fault.Add(a)
				l := newLetter(50_000)
				_ = l.send(s)
				if bad := name == "no space" || name == "dead"; bad != (l.err != nil) {
					t.Errorf("got %v", l.err)
				}
				if name == "no space" && !errors.Is(l.err, ErrNoSpace) {
					t.Errorf("got %v, want ErrNoSpace", l.err)
				}
				closeSpool(t, s)
				readAll(t, store).judge(t, []*letter{l})
			})
		})
	}
}

package spool

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// TestModel sends letters and events, some at once, through a store that goes wrong at random in all the ways there are, for
// lives that end by a clean stop or a kill. Whatever was told to whom must hold in the end.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		lives := rapid.IntRange(1, 3).Draw(rt, "lives")
		rate := rapid.IntRange(0, 60).Draw(rt, "faults in 100 calls")
		rounds := rapid.SliceOfN(rapid.IntRange(1, 6), 1, 6).Draw(rt, "letters sent at once")
		clean := rapid.Bool().Draw(rt, "clean stops")
		dir := dirs(t, 1)[0]
		synctest.Test(t, func(t *testing.T) {
			runModel(t, dir, seed, lives, rate, rounds, clean)
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}

func runModel(t *testing.T, dir string, seed uint64, lives, rate int, rounds []int, clean bool) {
	store := mem.New()
	var letters []*letter
	recorded, settled := map[string]error{}, map[string]error{}
	var lateLanding []*wrap.Fault
	limits := Limits{InlineMax: 3000, BatchBytes: 5000, GatherWait: time.Millisecond}
	for range lives {
		seed++
		fault := wrap.NewFault(store)
		lateLanding = append(lateLanding, fault)
		s := openSpool(t, fault, dir, limits)
		dice := &dice{rng: rand.New(rand.NewPCG(seed, 7)), rate: rate}
		fault.Script(dice.action)
		for _, n := range rounds {
			var some []*letter
			for i := range n {
				some = append(some, newLetter(50+i*1500))
			}
			letters = append(letters, some...)
			sendAll(s, some)
			ev := settledEvent(some[0])
			ev.ID = NewID()
			settled[ev.ID] = s.Settle(ev)
			ev = Event{ID: NewID(), Type: Parked, Entry: some[0].entry.ID}
			recorded[ev.ID] = s.Record(t.Context(), ev)
			time.Sleep(time.Duration(dice.below(5)) * time.Second)
		}
		if clean {
			fault.Clear()
			time.Sleep(5 * time.Minute)
			closeSpool(t, s)
		} else {
			fault.Crash()
			kill(s)
		}
	}
	last := openSpool(t, store, dir, limits)
	sealRest(t, last, store)
	closeSpool(t, last)
	for _, f := range lateLanding {
		f.Land("") // behind the seals
	}
	c := readAll(t, store)
	c.judge(t, letters)
	for id, err := range recorded {
		if _, there := c.events[id]; err == nil && !there || errors.Is(err, ErrVoid) && there {
			t.Errorf("event %s: recorded with %v, there: %v", id, err, there)
		}
	}
	for id, err := range settled {
		if _, there := c.events[id]; err == nil && !there {
			t.Errorf("settled event %s is lost", id)
		}
	}
}

// dice decides at each point of a call. Calls of one run may come in another order the next time, since they are concurrent.
type dice struct {
	mu   sync.Mutex
	rng  *rand.Rand
	rate int
}

func (d *dice) below(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

func (d *dice) action(p wrap.Point) wrap.Action {
	if d.below(100) >= d.rate {
		return wrap.Action{}
	}
	if p.Op == "put" && p.When == "before" {
		switch d.below(6) {
		case 0:
			return wrap.Action{Err: blob.ErrNotWritten}
		case 1:
			return wrap.Action{Err: errors.Join(blob.ErrNotWritten, blob.ErrNoSpace)}
		case 2:
			return wrap.Action{Late: &wrap.Late{Calls: 1 + d.below(3)}}
		case 3:
			return wrap.Action{Late: &wrap.Late{After: time.Duration(d.below(300)) * time.Second}}
		case 4:
			return wrap.Action{Hang: true}
		}
	}
	if p.Op == "get" && p.When == "after" && d.below(4) == 0 {
		return wrap.Action{Mangle: func(b []byte) []byte { return b[:len(b)*2/3] }}
	}
	return wrap.Action{Err: wrap.ErrLost}
}

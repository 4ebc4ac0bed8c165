package replay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool"
	"restante/spool/blob/local"
)

var errDead = errors.New("the process was killed")

// killer stands between the engine and the spool and kills the process at a named point: a copy of what
// is on disk is taken at that very moment, and from then on nothing that the engine asks for happens.
type killer struct {
	Spool
	mu    sync.Mutex
	point string // "<operation>:before" or ":after"
	left  int    // that many times it passes
	dead  bool
	image func() // takes the copy
	died  chan struct{}
	known []string // entries whose delivery was recorded while it lived
}

// at passes a point, or dies there.
func (k *killer) at(point string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errDead
	}
	if point != k.point {
		return nil
	}
	if k.left--; k.left >= 0 {
		return nil
	}
	k.image()
	k.dead = true
	close(k.died)
	return errDead
}

func (k *killer) isDead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead
}

func (k *killer) Fetch(ctx context.Context, id string, loc spool.Location) (*spool.Entry, *spool.Body, error) {
	if err := k.at("fetch:before"); err != nil {
		return nil, nil, err
	}
	e, b, err := k.Spool.Fetch(ctx, id, loc)
	return e, b, errors.Join(err, k.at("fetch:after"))
}

func (k *killer) Settle(ev spool.Event) error {
	if err := k.at("settle:before"); err != nil {
		return err
	}
	err := k.Spool.Settle(ev)
	k.mu.Lock()
	if err == nil && !k.dead {
		k.known = append(k.known, ev.Entry)
	}
	k.mu.Unlock()
	return errors.Join(err, k.at("settle:after"))
}

func (k *killer) Note(evs ...spool.Event) {
	if k.at("note:before") == nil {
		k.Spool.Note(evs...)
		_ = k.at("note:after")
	}
}

type killerLease struct {
	Lease
	k *killer
}

// Valid is asked before each final dot, and says no once the process is dead.
func (l killerLease) Valid() bool { return !l.k.isDead() && l.Lease.Valid() }

func (k *killer) Lease(ctx context.Context, name string) (Lease, error) {
	if err := k.at("lease:before"); err != nil {
		return nil, err
	}
	l, err := k.Spool.Lease(ctx, name)
	if err != nil {
		return nil, err
	}
	return killerLease{l, k}, k.at("lease:after")
}

// TestKilledAtEachPoint kills the process at each point of replay, begins again with what was on disk at
// that moment, and counts: nothing lost, and no duplicate but of replies that were not read.
func TestKilledAtEachPoint(t *testing.T) {
	const messages = 60
	points := []string{
		"lease:before", "lease:after", "fetch:before", "fetch:after", "settle:before", "settle:after",
		"note:before", "note:after", // of a message that got 4xx
		"dot:before", "dot:after", // at the primary: it has taken the message, and the reply doesn't arrive
	}
	for _, point := range points {
		for _, left := range []int{0, 7, 30} {
			if strings.HasPrefix(point, "lease") && left > 0 || strings.HasPrefix(point, "note") && left > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s %d", point, left), func(t *testing.T) {
				t.Parallel()
				killAt(t, point, left, messages)
			})
		}
	}
}

func killAt(t *testing.T, point string, left, messages int) {
	image := filepath.Join(t.TempDir(), "image")
	k := &killer{point: point, left: left, died: make(chan struct{})}
	first := newRig(t, sink.Options{Keep: true, Deliver: func(*sink.Envelope, []byte) error {
		if err := k.at("dot:before"); err != nil {
			return err
		}
		_ = k.at("dot:after") // taken: a dead process doesn't read the reply
		return nil
	}})
	k.image = func() {
		copyTree(t, image, first.dir)
		if left%2 == 1 { // the index is a cache: it may be gone, too
			for _, suffix := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(filepath.Join(image, "index.db"+suffix))
			}
		}
	}
	openOnDisk(t, first)
	first.keepMany(messages)
	first.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "<user5@", Reply: "450 4.2.1 later", Count: 1}}})
	k.Spool = FromSpool(first.spool)
	first.options.Spool = k
	stop := first.run()
	select {
	case <-k.died:
	case <-time.After(10 * time.Second):
		t.Fatalf("the point was not reached: %+v", first.status())
	}
	stop()
	before := len(first.sink.Messages())
	first.engine = nil

	second := newRig(t, sink.Options{Keep: true})
	second.dir = image
	second.sent = first.sent
	openOnDisk(t, second)
	second.folded(messages)
	second.run()
	second.delivered(messages)

	got := make(map[string]int)
	for _, m := range append(first.sink.Messages(), second.sink.Messages()...) {
		got[string(m.Data)]++
	}
	duplicates := 0
	for id, m := range first.sent {
		if got[string(m)] == 0 {
			t.Errorf("%s is lost", id)
		}
		duplicates += max(0, got[string(m)]-1)
	}
	for _, id := range k.known {
		if n := got[string(first.sent[id])]; n != 1 {
			t.Errorf("%s was sent %d times, though its reply was read and recorded", id, n)
		}
	}
	// At most one reply unread on each connection there was, five at the end, beside those that came
	// in the moment of death and were read by nobody.
	if most := int(first.sink.Stats().MaxCurrent); duplicates > most {
		t.Errorf("%d duplicates, %d connections; %d had been taken before", duplicates, most, before)
	}
}

// openOnDisk opens a rig whose store is in its folder too.
func openOnDisk(t *testing.T, r *rig) {
	t.Helper()
	store, err := local.Open(filepath.Join(r.dir, "store"), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.store = store
	r.stop = append(r.stop, func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	r.open()
}

// copyTree copies a folder while others write into it, as a killed machine's disk would have it.
func copyTree(t *testing.T, to, from string) {
	var err error
	for range 20 {
		if err = os.RemoveAll(to); err != nil {
			break
		}
		if err = os.CopyFS(to, os.DirFS(from)); err == nil {
			break // else a temporary file went away meanwhile
		}
	}
	if err != nil {
		t.Error("image:", err)
	}
}

package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"restante/spool/blob"
	"restante/spool/room"
)

// How the vigil keeps to design.md: down at most 10 s after the store died, up at most 5 s after its return.
const (
	staleAfter  = 5 * time.Second // with nothing heard for that long, Available asks the store
	askTimeout  = 2 * time.Second
	downAfter   = 3 * time.Second // of failing calls; a single failure is no death
	askEvery    = time.Second     // while failing
	spaceEvery  = time.Second
	probePrefix = "probe/"
)

// vigil knows whether the store answers, from the calls that are made anyway and, where those say too
// little, from calls of its own.
type vigil struct {
	store   blob.Store
	dir     string
	node    string
	minFree int64
	log     *slog.Logger
	metrics *Metrics
	ctx     context.Context
	spawn   func(func()) bool

	mu      sync.Mutex
	reached bool      // the cluster is known and the store was proved
	refused error     // the store is not to be used
	good    time.Time // when a call last worked
	bad     time.Time // since when calls fail, zero when they don't
	why     error
	dead    bool          // an own call failed too
	asking  chan struct{} // closed when the call under way ends; nil: none
	nursing bool          // the goroutine that waits for the store's return runs
	etag    string        // of the probe object

	spaceAt  time.Time
	spaceErr error
}

// heard notes how a write went.
func (v *vigil) heard(err error) {
	if err == nil || errors.Is(err, blob.ErrPrecondition) {
		v.well()
		return
	}
	if v.ctx.Err() == nil {
		v.ill(err, false)
	}
}

func (v *vigil) well() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.good = time.Now()
	if v.bad.IsZero() {
		return
	}
	v.log.Info("store answers again", "store", v.store.String(), "after_ms", time.Since(v.bad).Milliseconds())
	v.bad, v.why, v.dead = time.Time{}, nil, false
	v.metrics.available(true)
}

// reach says that the store may be used.
func (v *vigil) reach() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reached, v.good, v.why = true, time.Now(), nil
	v.metrics.available(true)
}

// missed notes that the store was not reached yet.
func (v *vigil) missed(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.why = err
}

// refuse says that the store is not to be used.
func (v *vigil) refuse(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refused = err
	v.metrics.available(false)
}

// ill notes a failure. dead: there is no need to wait for more of them.
func (v *vigil) ill(err error, dead bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.why = err
	v.dead = v.dead || dead
	if v.bad.IsZero() {
		v.bad = time.Now()
		v.log.Warn("store fails", "store", v.store.String(), "err", err)
		v.metrics.available(false)
	}
	if !v.nursing {
		v.nursing = v.spawn(v.nurse)
	}
}

// nurse asks the store until it takes writes again.
func (v *vigil) nurse() {
	for {
		err := v.askWrite()
		if err == nil {
			v.well()
		}
		v.mu.Lock()
		if v.bad.IsZero() || v.ctx.Err() != nil {
			v.nursing = false
			v.mu.Unlock()
			return
		}
		v.dead = v.dead || time.Since(v.bad) > downAfter
		v.mu.Unlock()
		select {
		case <-time.After(askEvery):
		case <-v.ctx.Done():
		}
	}
}

// askWrite writes an object of a few octets.
func (v *vigil) askWrite() error {
	ctx, cancel := context.WithTimeout(v.ctx, askTimeout)
	defer cancel()
	key := probePrefix + v.node + ".json"
	body := bytes.NewReader(fmt.Appendf(nil, "{\"time\":%q}\n", time.Now().UTC().Format(time.RFC3339Nano)))
	cond := blob.Cond{Absent: true}
	if v.etag != "" {
		cond = blob.Cond{Match: v.etag}
	}
	etag, err := v.store.Put(ctx, key, body, cond)
	if errors.Is(err, blob.ErrPrecondition) {
		rc, info, gerr := v.store.Get(ctx, key, blob.Range{})
		v.etag = ""
		if errors.Is(gerr, blob.ErrNotExist) || gerr != nil {
			return gerr
		}
		cond = blob.Cond{Match: info.ETag}
		if err := rc.Close(); err != nil {
			return err
		}
		etag, err = v.store.Put(ctx, key, body, cond)
	}
	if err != nil {
		return err
	}
	v.etag = etag
	return nil
}

// askRead reads what must be there. One call serves all who ask.
func (v *vigil) askRead() {
	v.mu.Lock()
	if wait := v.asking; wait != nil {
		v.mu.Unlock()
		<-wait
		return
	}
	done := make(chan struct{})
	v.asking = done
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(v.ctx, askTimeout)
	defer cancel()
	rc, _, err := v.store.Get(ctx, rootKey, blob.Range{})
	if err == nil {
		err = rc.Close()
	}
	v.mu.Lock()
	failing := !v.bad.IsZero()
	v.mu.Unlock()
	switch {
	case err != nil && v.ctx.Err() == nil:
		v.ill(err, true)
	case err == nil && !failing: // a read says nothing about writes that fail
		v.well()
	}
	v.mu.Lock()
	v.asking = nil
	v.mu.Unlock()
	close(done)
}

// down is the present belief, without asking.
func (v *vigil) down() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.refused != nil:
		return v.refused
	case !v.reached && v.why != nil:
		return fmt.Errorf("%w: %w", ErrStoreDown, v.why)
	case !v.reached:
		return fmt.Errorf("%w: %s was not reached yet", ErrStoreDown, v.store)
	case !v.bad.IsZero() && errors.Is(v.why, blob.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrNoSpace, v.why)
	case !v.bad.IsZero() && (v.dead || time.Since(v.bad) >= downAfter):
		return fmt.Errorf("%w: %w", ErrStoreDown, v.why)
	}
	return nil
}

// available asks the store when nothing was heard from it lately, and for room.
func (v *vigil) available() error {
	if err := v.down(); err != nil {
		return err
	}
	v.look()
	if err := v.down(); err != nil {
		return err
	}
	return v.space()
}

// look asks the store when nothing was heard from it lately.
func (v *vigil) look() {
	v.mu.Lock()
	stale := time.Since(v.good) > staleAfter
	v.mu.Unlock()
	if stale {
		v.askRead()
	}
}

// space reports too little room, in the store or in data_dir.
func (v *vigil) space() error {
	if v.minFree <= 0 {
		return nil
	}
	v.mu.Lock()
	if time.Since(v.spaceAt) < spaceEvery {
		defer v.mu.Unlock()
		return v.spaceErr
	}
	v.spaceAt = time.Now() // others use the last answer meanwhile, since a dying disk may keep us waiting
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(v.ctx, askTimeout)
	defer cancel()
	var why error
	if free, _, err := blob.Space(ctx, v.store); err == nil && free < v.minFree {
		why = fmt.Errorf("%w: %s has %s free, min_free is %s", ErrNoSpace, v.store, Octets(free), Octets(v.minFree))
	} else if free, _, err := room.Free(v.dir); err == nil && free < v.minFree {
		why = fmt.Errorf("%w: data_dir %s has %s free, min_free is %s", ErrNoSpace, v.dir, Octets(free), Octets(v.minFree))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.spaceErr = why
	return why
}

// pause waits before another try: 50 ms, then twice as long each time, up to a second.
func (v *vigil) pause(ctx context.Context, try int) {
	wait(ctx, min(time.Second, 50*time.Millisecond<<min(try, 5)))
}

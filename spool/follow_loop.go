package spool

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

// How often the store is asked. On S3 a GET costs $0.0004 and a LIST $0.005 per 1,000: a foreign stream
// that is idle costs about $0.02 a month, listing the streams, two requests each, $0.03, and
// a stream that is silent, less than $0.01.
const (
	pollFirst   = time.Second      // next batch of a foreign stream, when it has just had one
	pollIdle    = 10 * time.Second // after some time without
	pollAsleep  = time.Minute      // after asleepAfter without
	asleepAfter = 30 * time.Minute
	listBusy    = time.Minute // new streams, while another node's stream has had a batch lately
	listIdle    = 15 * time.Minute
	busyFor     = 10 * time.Minute
	silentFor   = time.Hour // without a batch: then a stream is listed too, as often

	applyItems = 5000                  // entries and events in one transaction, about
	applyPause = 20 * time.Millisecond // between transactions, so that they gather
	readAhead  = 4                     // objects of a stream read at once when catching up
)

// tail is one stream as a follower knows it.
type tail struct {
	id     StreamID
	pos    Position // read so far
	broken bool     // pos.Hash is unknown, since the batch before couldn't be read
	next   time.Time
	every  time.Duration
	last   time.Time // when it last had a batch
	listed time.Time // when it was last listed
	fails  int       // readings of the next object that failed in a row
	retry  time.Time // when that is tried again
}

// follower feeds one fold: the first of Follow, or (lead isn't nil) another with what that one has applied.
type follower struct {
	s    *Spool
	fold Fold
	log  *slog.Logger
	src  objects

	wake     chan struct{}
	caughtUp chan struct{} // closed
	ended    chan struct{}

	lead    *follower      // of the first fold; nil: it is this one
	beside  []*follower    // of the others
	running sync.WaitGroup // of those

	mu          sync.Mutex
	queue       []Step // handed over by the writers
	handed      int    // items in it
	journal     []Event
	heads       map[StreamID]uint64 // next seq after the newest batch that is known of
	applied     map[StreamID]uint64
	moved       chan struct{} // closed and made anew when applied has changed
	syncs       []chan struct{}
	troubles    map[StreamID]Trouble
	behindSince time.Time

	// of the loop alone
	tails    map[StreamID]*tail
	steps    []Step // read, not yet applied
	items    int
	nextList time.Time
	nextSeal time.Time       // when dead streams are sealed, or tried again
	early    bool            // the mail, and with it the domains, isn't known yet
	later    []*tail         // streams of the ledger that go on once it is
	told     map[string]bool // damaged batches of the ledger for which replay was paused
}

func newFollower(s *Spool, fold Fold) *follower {
	return &follower{s: s, fold: fold, log: s.log, src: objects{store: s.o.Store, codec: s.codec, timeout: s.o.Limits.PutTimeout},
		wake: make(chan struct{}, 1), caughtUp: make(chan struct{}), ended: make(chan struct{}),
		heads: map[StreamID]uint64{}, applied: map[StreamID]uint64{}, moved: make(chan struct{}), tails: map[StreamID]*tail{}, troubles: map[StreamID]Trouble{}, told: map[string]bool{}}
}

func (f *follower) run(ctx context.Context) error {
	if err := f.begin(ctx); err != nil {
		return err
	}
	for _, b := range f.beside {
		f.running.Go(func() { b.runBeside(ctx) })
	}
	if err := f.catchUp(ctx, listAll); err != nil {
		return err
	}
	close(f.caughtUp)
	for _, b := range f.beside {
		b.poke()
	}
	for {
		if err := f.round(ctx); err != nil {
			return err
		}
		if !f.rest(ctx) {
			return ctx.Err()
		}
	}
}

// retrying does what needs the store until it works. Only ErrForeign ends it.
func (f *follower) retrying(ctx context.Context, what string, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		if err == nil || errors.Is(err, ErrForeign) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if try%60 == 0 {
			f.log.Warn("the index waits", "for", what, "err", err)
		}
		if !sleep(ctx, min(time.Second, 50*time.Millisecond<<min(try, 5))) {
			return ctx.Err()
		}
	}
}

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// listing says which streams are listed, beside those that are new; never those that are sealed.
type listing int

const (
	listSilent listing = iota // of others, without a batch for long: retention may have deleted the next one, and then its 404 says nothing
	listOpen                  // of others
	listAll
)

// discover lists the streams, and how far those go that are new or wanted.
func (f *follower) discover(ctx context.Context, which listing) (map[*tail][]uint64, error) {
	ids, err := f.src.streams(ctx)
	if err != nil {
		return nil, err
	}
	ahead := map[*tail][]uint64{}
	now := time.Now()
	for _, id := range ids {
		_, known := f.tails[id]
		t := f.tail(id)
		silent := now.Sub(t.last) > silentFor && now.Sub(t.listed) > silentFor
		if t.pos.Sealed || which != listAll && (f.s.writing(id) || which != listOpen && known && !silent) {
			continue
		}
		t.listed = now
		seqs, err := f.src.seqs(ctx, id, t.pos.Seq, 0, nil)
		if err != nil {
			return nil, err
		}
		if len(seqs) > 0 {
			ahead[t] = seqs
			f.know(id, seqs[len(seqs)-1]+1)
		}
	}
	return ahead, nil
}

func (f *follower) tail(id StreamID) *tail {
	t := f.tails[id]
	if t == nil {
		t = &tail{id: id, last: time.Now()}
		f.tails[id] = t
	}
	return t
}

func (f *follower) know(id StreamID, head uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heads[id] = max(f.heads[id], head)
}

// catchUp reads all there is: the ledger first, then the mail, whatever its age.
func (f *follower) catchUp(ctx context.Context, which listing) error {
	var ahead map[*tail][]uint64
	err := f.retrying(ctx, "the store", func() (err error) {
		ahead, err = f.discover(ctx, which)
		return err
	})
	if err != nil {
		return err
	}
	f.nextList = time.Now().Add(f.listEvery())
	total := 0
	for _, seqs := range ahead {
		total += len(seqs)
	}
	start := time.Now()
	if total > 100 {
		f.log.Info("the index reads the store", "batches", total)
	}
	for _, ledger := range []bool{true, false} {
		f.early = ledger
		var order []*tail
		for t := range ahead {
			if t.id.Ledger == ledger {
				order = append(order, t)
			}
		}
		// by name, so that the mail of a node comes in by time
		slices.SortFunc(order, func(a, b *tail) int { return strings.Compare(a.id.Name, b.id.Name) })
		for _, t := range order {
			if err := f.readAll(ctx, t, ahead[t]); err != nil {
				return err
			}
		}
		if err := f.apply(ctx); err != nil {
			return err
		}
	}
	if err := f.readLater(ctx, ahead); err != nil {
		return err
	}
	if total > 100 {
		f.log.Info("the index has read the store", "batches", total, "took_ms", time.Since(start).Milliseconds())
	}
	return nil
}

// read is one object on its way to the fold.
type read struct {
	seq  uint64
	step Step
	head *batch.Header
	err  error
}

// readAll reads the given objects of a stream, some at once, and takes them in order, up to one that holds the stream up.
func (f *follower) readAll(ctx context.Context, t *tail, seqs []uint64) error {
	err := inOrder(ctx, seqs, func(ctx context.Context, seq uint64) read {
		r := read{seq: seq}
		r.step, r.head, r.err = f.src.step(ctx, t.id, seq)
		return r
	}, func(r read) error { return f.take(ctx, t, r) })
	if errors.Is(err, errStuck) {
		return nil
	}
	return err
}

// inOrder reads several objects at once and takes them one after the other, in the order of seqs.
func inOrder[T any](ctx context.Context, seqs []uint64, read func(context.Context, uint64) T, take func(T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan chan T, readAhead)
	go func() {
		defer close(results)
		for _, seq := range seqs {
			c := make(chan T, 1)
			select {
			case results <- c:
			case <-ctx.Done():
				return
			}
			go func() { c <- read(ctx, seq) }()
		}
	}()
	for c := range results {
		if err := take(<-c); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// take adds an object that was read to the steps. What can't be read of a damaged one is passed over.
// What the store doesn't give is read again, see insist.
func (f *follower) take(ctx context.Context, t *tail, r read) error {
	if errors.Is(r.err, ErrDamaged) { // what is passed over is never read again: a single bad read must not decide
		r.step, r.head, r.err = f.src.step(ctx, t.id, r.seq)
	}
	if err := f.insist(ctx, t, &r); err != nil {
		return err
	}
	if errors.Is(r.err, blob.ErrNotExist) {
		return nil // deleted since it was listed
	}
	if r.err != nil {
		f.log.Error("an object of the store is damaged; what can be read of it is used. Run `restante fsck`", "key", t.id.Key(r.seq), "readable", len(r.step.Entries), "err", r.err)
		if r.step.Position == (Position{}) {
			r.step.Position = Position{Seq: r.seq + 1, Hash: unknownHash}
			r.step.Damaged = true
		}
		r.step.Break = r.err.Error()
	}
	if r.err != nil && t.id.Ledger {
		if err := f.doubt(ctx, t, t.id.Key(r.seq)); err != nil {
			return err
		}
	}
	if r.step.Cluster != "" && r.step.Cluster != f.s.Cluster() {
		f.log.Error("an object of another cluster lies in this store and is passed over", "key", t.id.Key(r.seq), "cluster", r.step.Cluster)
		r.step.Entries, r.step.Events = nil, nil
	}
	r.step.Cluster = f.s.Cluster()
	f.chain(t, &r)
	t.pos = r.step.Position
	t.broken = t.pos.Hash == unknownHash
	t.last = time.Now()
	return f.add(ctx, r.step)
}

// add queues a step for the fold.
func (f *follower) add(ctx context.Context, st Step) error {
	for _, ev := range st.Events {
		f.s.clock.seen(ev.Time)
		if ev.Type == ReplayPaused && ev.Batch != "" {
			f.told[ev.Batch] = true
		}
		if id, seq, ok := ParseKey(ev.Batch); ok && ev.Type == BatchDeleted && f.lead == nil {
			f.know(id, seq+1) // its stream goes on behind it
		}
	}
	f.steps = append(f.steps, st)
	f.items += len(st.Entries) + len(st.Events) + 1
	if f.items < applyItems {
		return nil
	}
	return f.apply(ctx)
}

// apply gives the steps to the fold, and what the first has applied to the others. What can't be folded now must be later: it
// tries until that works, and with another fold the steps stay for who tries again.
func (f *follower) apply(ctx context.Context) error {
	if len(f.steps) == 0 {
		return nil
	}
	apply := func() error { return f.fold.Apply(ctx, f.steps) }
	if f.lead != nil {
		if err := apply(); err != nil {
			return err
		}
	} else if err := f.retrying(ctx, "its own file", apply); err != nil {
		return err
	}
	for _, b := range f.beside {
		for _, st := range f.steps {
			b.hand(st)
		}
	}
	f.mu.Lock()
	for _, st := range f.steps {
		if !st.Stream.IsZero() {
			f.applied[st.Stream] = max(f.applied[st.Stream], st.Position.Seq)
		}
	}
	close(f.moved)
	f.moved = make(chan struct{})
	f.mu.Unlock()
	f.steps, f.items = nil, 0
	if f.lead == nil {
		f.tellLag()
	}
	return nil
}

// lag is how many batches are known of and not yet folded. The caller holds f.mu.
func (f *follower) lag() (batches int) {
	for id, head := range f.heads {
		if a := f.applied[id]; head > a {
			batches += int(head - a)
		}
	}
	return batches
}

// tellLag tells the fold how far behind it is.
func (f *follower) tellLag() {
	f.mu.Lock()
	behind := f.lag()
	if behind == 0 {
		f.behindSince = time.Time{}
	} else if f.behindSince.IsZero() {
		f.behindSince = time.Now()
	}
	since := f.behindSince
	f.mu.Unlock()
	if l, ok := f.fold.(Lagging); ok {
		l.SetLag(behind, since)
	}
}

// round does what is due: what was handed over, what was dropped, polls, a list now and then.
func (f *follower) round(ctx context.Context) error {
	f.mu.Lock()
	queue, journal, syncs := f.queue, f.journal, f.syncs
	f.queue, f.journal, f.syncs, f.handed = nil, nil, nil, 0
	f.mu.Unlock()
	if len(journal) > 0 {
		if err := f.add(ctx, Step{Events: journal, Cluster: f.s.Cluster()}); err != nil {
			return err
		}
	}
	for _, st := range queue {
		if err := f.handedOver(ctx, st); err != nil {
			return err
		}
	}
	if err := f.readKnown(ctx); err != nil {
		return err
	}
	complete, err := f.poll(ctx, len(syncs) > 0)
	if err != nil {
		return err
	}
	if len(syncs) > 0 || time.Now().After(f.nextList) {
		which := listSilent
		if len(syncs) > 0 {
			which = listOpen
		}
		if err := f.catchUp(ctx, which); err != nil {
			return err
		}
	}
	if err := f.recover(ctx); err != nil {
		return err
	}
	if err := f.apply(ctx); err != nil {
		return err
	}
	f.synced(syncs, complete)
	f.tellLag()
	return nil
}

// synced answers those who wait in Sync, or lets them wait for another round.
func (f *follower) synced(syncs []chan struct{}, complete bool) {
	if !complete {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.syncs = append(f.syncs, syncs...)
		return
	}
	for _, c := range syncs {
		close(c)
	}
}

// handedOver takes a step from a writer of this process. When steps before it were dropped it is
// dropped too; readKnown then reads them all.
func (f *follower) handedOver(ctx context.Context, st Step) error {
	if st.Stream.IsZero() {
		return f.add(ctx, st)
	}
	t := f.tail(st.Stream)
	if st.Position.Seq != t.pos.Seq+1 {
		return nil
	}
	t.pos, t.broken = st.Position, st.Position.Hash == unknownHash
	t.last = time.Now()
	return f.add(ctx, st)
}

// readKnown reads from the store what is known to be there and was not handed over.
func (f *follower) readKnown(ctx context.Context) error {
	f.mu.Lock()
	heads := make(map[StreamID]uint64, len(f.heads))
	for id, h := range f.heads {
		heads[id] = h
	}
	f.mu.Unlock()
	for id, head := range heads {
		t := f.tail(id)
		if t.pos.Sealed || t.pos.Seq >= head || time.Now().Before(t.retry) {
			continue
		}
		var seqs []uint64
		for n := t.pos.Seq; n < head; n++ {
			seqs = append(seqs, n)
		}
		if err := f.readAll(ctx, t, seqs); err != nil {
			return err
		}
		if t.pos.Seq < head && !t.pos.Sealed && t.fails == 0 { // retention has deleted the last of them
			f.skip(t, head)
		}
	}
	return nil
}

// skip goes on behind what retention has deleted.
func (f *follower) skip(t *tail, head uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied[t.id] = max(f.applied[t.id], head)
	t.pos, t.broken = Position{Seq: head, Hash: unknownHash}, true
}

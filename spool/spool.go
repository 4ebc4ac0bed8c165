package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

// Spool keeps entries and events in a store.
type Spool struct {
	o       Options
	log     *slog.Logger
	process string // ULID of this start
	epoch   epoch
	lock    *os.File
	lockID  string
	codec   *batch.Codec
	vigil   *vigil
	clock   clock
	journal *journal
	left    []Event // that the journal held at the start
	leases  leases
	mail    *queue
	ledger  *queue
	bigs    chan struct{} // bounds the big messages being written
	follow  following

	mu      sync.Mutex
	node    node
	cluster string
	closed  bool // Close was called
	ending  bool // spawn is over

	ctx     context.Context // ends when Close gives up waiting
	stop    context.CancelCauseFunc
	workers sync.WaitGroup // lookouts and renewals
	writers sync.WaitGroup // streams
}

const (
	openWait = 2 * time.Second // how long Open waits for the store
	bigsMax  = 8               // big messages written at once, each with a few MB of memory
)

// Open takes hold of data_dir and starts the spool. It works when the store is down: the store is then
// proved in the background, and Available says that it is down. Errors: ErrInUse, ErrForeign,
// blob.ErrUnfit with what the store lacks, or a data_dir that can't be used.
func Open(ctx context.Context, o Options) (*Spool, error) {
	o.Limits = o.Limits.withDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Spool{o: o, log: o.Log, process: NewID(), epoch: newEpoch(), codec: batch.New(), bigs: make(chan struct{}, bigsMax)}
	s.leases.held = map[string]*Lease{}
	if err := s.openDataDir(); err != nil {
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
		return nil, fmt.Errorf("data_dir %s: %w", o.DataDir, err)
	}
	s.ctx, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	s.vigil = &vigil{store: o.Store, dir: o.DataDir, node: s.node.Node, minFree: o.Limits.MinFree, log: o.Log, metrics: o.Metrics,
		ctx: s.ctx, spawn: s.spawn}
	s.mail = &queue{limits: o.Limits, gather: true}
	s.ledger = &queue{limits: o.Limits}
	s.ledger.limits.LanesMax = 1
	s.mail.open = func(lane int) *stream { return s.newStream(s.mail, false, lane) }
	s.ledger.open = func(lane int) *stream { return s.newStream(s.ledger, true, lane) }

	s.mail.lanes = []*stream{s.newStream(s.mail, false, 0)}
	s.ledger.lanes = []*stream{s.newStream(s.ledger, true, 0)}
	if err := s.openJournal(); err != nil {
		return nil, errors.Join(fmt.Errorf("data_dir %s: %w", o.DataDir, err), s.Close(ctx))
	}
	bound := make(chan error, 1)
	s.spawn(func() { s.reach(bound) })
	var err error
	select {
	case err = <-bound:
	case <-time.After(openWait):
		s.log.Warn("store doesn't answer; mail is refused until it does", "store", o.Store.String())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// openDataDir takes the lock and reads node.json and the journal.
func (s *Spool) openDataDir() (err error) {
	dir := s.o.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if s.lock, err = lockFile(filepath.Join(dir, "lock")); err != nil {
		return err
	}
	s.lockID = lockID(s.lock)
	if err := os.RemoveAll(s.tempDir()); err != nil {
		return err
	}
	if err := os.Mkdir(s.tempDir(), 0o700); err != nil {
		return err
	}
	if s.node, err = loadNode(dir, s.o.Node); err != nil {
		return err
	}
	return nil
}

// openJournal reads what the last process left, to be folded (journaled) and to be put into the ledger.
func (s *Spool) openJournal() error {
	j, left, damaged, err := openJournal(filepath.Join(s.o.DataDir, "journal"), s.log)
	if err != nil {
		return err
	}
	s.journal = j
	if damaged > 0 {
		s.o.Metrics.alert("journal-damaged")
		s.log.Error("lines of the journal are damaged: as many deliveries may be repeated", "lines", damaged)
	}
	for part, evs := range left {
		s.left = append(s.left, evs...)
		for chunk := range slices.Chunk(evs, s.o.Limits.BatchCount) {
			it, err := s.events(chunk)
			if err != nil {
				return err
			}
			it.part = part
			s.ledger.add(it)
		}
	}
	return nil
}

// journaled returns what the journal held at the start. It must be folded before replay begins; it also
// comes again, under the same ids, with the ledger.
func (s *Spool) journaled() []Event { return s.left }

// reach binds the spool to its store and proves the store, as often as it takes. It sends on bound once.
func (s *Spool) reach(bound chan<- error) {
	tell := func(err error) {
		select {
		case bound <- err:
		default:
		}
	}
	name := s.o.Store.String()
	for s.ctx.Err() == nil {
		err := s.bind(s.ctx)
		again := err == nil && s.node.Proved == name
		if err == nil && !again {
			err = s.prove(name)
		}
		switch {
		case err == nil:
			s.vigil.reach()
			s.mail.run()
			s.ledger.run()
			tell(nil)
			if again {
				if err := s.prove(name); errors.Is(err, blob.ErrUnfit) {
					s.refuse(err)
				}
			}
			return
		case errors.Is(err, ErrForeign) || errors.Is(err, blob.ErrUnfit):
			s.refuse(err)
			tell(err)
			return
		}
		s.vigil.missed(err)
		tell(nil)
		wait(s.ctx, askEvery)
	}
}

// refuse stops the use of the store for good.
func (s *Spool) refuse(err error) {
	s.o.Metrics.alert("store-refused")
	s.log.Error("store is refused", "store", s.o.Store.String(), "err", err)
	s.vigil.refuse(err)
}

// prove tries the store and remembers that it was found fit.
func (s *Spool) prove(name string) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Limits.PutTimeout)
	defer cancel()
	if err := blob.Prove(ctx, s.o.Store); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node.Proved == name {
		return nil
	}
	s.node.Proved = name
	return s.node.save(s.o.DataDir)
}

// spawn runs f beside, until Close; false when that has begun.
func (s *Spool) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	s.workers.Go(f)
	return true
}

// Close keeps what is under way, writes lazy events, gives back leases, seals the streams and lets go of
// data_dir. When ctx ends first, what is not settled is answered with ErrUnsettled or ErrVoid, and the next start
// seals the streams. The store stays the caller's.
//
// With a store that doesn't answer Close waits for the batch under way to be settled or given up as long as a caller waits for it, which may
// take Limits.SettleTimeout and Limits.PutTimeout together, by default 2 min 20 s, or until ctx ends. Without one it ends within 10 s. An
// earlier end loses no mail that was answered, and is no error; senders whose connections break without a reply come again.
func (s *Spool) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	queues := []*queue{s.mail, s.ledger}
	if err := s.finish(ctx, queues); err != nil {
		s.log.Warn("stopped before the store had taken everything; nothing that was answered is lost: the next start seals the streams and writes what the journal holds",
			"store", s.o.Store.String(), "err", err)
	}
	s.stop(ErrClosed)
	for _, q := range queues {
		q.fail(time.Now(), fmt.Errorf("%w: %w", ErrVoid, ErrClosed))
		<-q.close()
		for _, w := range q.streams() {
			close(w.groups)
		}
	}
	s.leases.loseAll()
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.writers.Wait()
	s.workers.Wait()
	var errs []error
	if s.journal != nil {
		errs = append(errs, s.journal.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// GiveUp ends the wait for the store: callers who wait get ErrUnsettled or ErrVoid, and nothing more is kept. Close is still to be called.
func (s *Spool) GiveUp() { s.stop(ErrClosed) }

// finish is what Close has to write. It is given up once the store doesn't answer and nobody waits.
func (s *Spool) finish(ctx context.Context, queues []*queue) error {
	ctx, release := s.whileUp(ctx)
	defer release()
	for _, q := range queues {
		select {
		case <-q.close():
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		if slices.ContainsFunc(queues, (*queue).begun) {
			return context.Cause(ctx)
		}
		return nil
	}
	var errs []error
	for _, l := range s.leases.all() {
		errs = append(errs, l.Release(ctx))
	}
	if s.Cluster() != "" {
		errs = append(errs, s.sealOwn(ctx))
	}
	err := errors.Join(errs...)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // it says more than where we were
	}
	return err
}

// whileUp is ctx, but ends also with GiveUp, and when the store doesn't answer and no caller waits for it.
func (s *Spool) whileUp(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			wait(ctx, askEvery)
			if ctx.Err() != nil {
				return
			}
			if s.mail.awaited() || s.ledger.awaited() {
				continue
			}
			s.vigil.look()
			if err := s.vigil.down(); err != nil {
				cancel(err)
			}
		}
	}()
	return ctx, func() { stop(); cancel(nil); <-done }
}

// flushed waits until all events queued before are in the ledger.
func (s *Spool) flushed(ctx context.Context) error {
	answer := make(chan error, 1)
	it := &item{answer: answer}
	added, needed := s.ledger.barrier(it)
	if !needed {
		return nil
	}
	if !added {
		return ErrClosed
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		s.ledger.leave(it)
		return context.Cause(ctx)
	}
}

// Available returns nil when new mail may be kept; otherwise why not: ErrStoreDown, ErrNoSpace, ErrForeign,
// blob.ErrUnfit or ErrClosed. When nothing was heard from the store for 5 s it asks the store, for at most 2 s; so
// call it only where mail would be kept, never in pass-through.
func (s *Spool) Available() error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	return s.vigil.available()
}

// Believed is what Available would say from what was heard of the store by other calls, without asking it
// anything: for those who look often and may be late.
func (s *Spool) Believed() error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	if err := s.vigil.down(); err != nil {
		return err
	}
	return s.vigil.space()
}

// Cluster is the id of the cluster that the store belongs to, "" as long as that isn't known.
func (s *Spool) Cluster() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster
}

// Node is the name of this node.
func (s *Spool) Node() string { return s.node.Node }

// storeError adds the spool's word for a store's error.
func (s *Spool) storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, blob.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, ErrNoSpace), errors.Is(err, ErrStoreDown), errors.Is(err, blob.ErrUnreadable):
		return err
	}
	return fmt.Errorf("%w: %w", ErrStoreDown, err)
}

package spool

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

// Lease is the right to do something that only one node may do at a time. It is renewed by itself until
// Release, and lost when that fails for too long or when somebody has ended one of our streams.
type Lease struct {
	s    *Spool
	name string

	mu         sync.Mutex
	generation int64
	etag       string
	until      time.Time // by the monotonic clock
	over       bool
	lost       chan struct{}
	expiry     *time.Timer

	writing chan struct{} // cap 1: held while the object is written, so that renewal and release don't cross
}

// leaseDoc is lease/<name>.json.
type leaseDoc struct {
	Format     int               `json:"format"`
	Name       string            `json:"name"`
	Generation int64             `json:"generation"` // grows with every change of holder
	Node       string            `json:"node"`
	Instance   string            `json:"instance"` // of the node's data_dir
	Process    string            `json:"process"`
	Lock       string            `json:"lock,omitempty"` // of the data_dir, see lockID
	Released   bool              `json:"released,omitempty"`
	Ledger     map[string]uint64 `json:"ledger,omitempty"` // the holder's streams; when released: the seq up to which they must be folded
	Time       time.Time         `json:"time"`             // for people
	Nonce      string            `json:"nonce"`
}

// The times of a lease, in parts of Limits.LeaseTerm.
const (
	leaseHeld    = 0.9 // a holder counts on it for that long after it began to write it
	leaseWatched = 1.1 // another takes it after that long without a change
	leaseRenewed = 0.3
)

func (s *Spool) term(part float64) time.Duration {
	return time.Duration(part * float64(s.o.Limits.LeaseTerm))
}

// leases are those that this process holds.
type leases struct {
	mu   sync.Mutex
	held map[string]*Lease
}

func (l *leases) loseAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lease := range l.held {
		lease.lose()
	}
}

func (l *leases) all() (all []*Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lease := range l.held {
		all = append(all, lease)
	}
	return all
}

// holder returns the lease if it is held by this process.
func (l *leases) holder(name string) *Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease := l.held[name]; lease != nil && !lease.ended() {
		return lease
	}
	return nil
}

// Lease waits until the named lease is held by the caller alone, or ctx ends; only a full store fails it at once. When its last holder left without
// releasing it, the holder's ledger is sealed, and Lease returns once all of it was folded. Names are of [a-z0-9._-].
func (s *Spool) Lease(ctx context.Context, name string) (*Lease, error) {
	key := "lease/" + name + ".json"
	if err := blob.CheckKey(key); err != nil {
		return nil, fmt.Errorf("lease %q: %w", name, err)
	}
	var seen string // the ETag that is watched
	var since time.Time
	for try := 0; ; try++ {
		if err := context.Cause(ctx); err != nil {
			return nil, fmt.Errorf("lease %s: %w", name, err)
		}
		if other := s.leases.holder(name); other != nil {
			select {
			case <-other.Lost():
			case <-ctx.Done():
			}
			continue
		}
		doc, etag, err := s.readLease(ctx, key)
		if err != nil || s.Cluster() == "" {
			s.vigil.pause(ctx, try)
			continue
		}
		if etag != seen {
			seen, since = etag, time.Now()
		}
		if !s.mayTake(doc) && time.Since(since) < s.term(leaseWatched) {
			wait(ctx, s.term(leaseWatched/10))
			continue
		}
		lease, err := s.take(ctx, key, doc, etag)
		if errors.Is(err, blob.ErrNoSpace) {
			return nil, fmt.Errorf("lease %s: %w", name, err)
		}
		if err != nil {
			s.vigil.pause(ctx, try)
			continue
		}
		if err := s.foldHolder(ctx, doc); err != nil {
			return nil, errors.Join(fmt.Errorf("lease %s: %w", name, err), lease.Release(context.WithoutCancel(ctx)))
		}
		if !lease.Valid() {
			continue
		}
		return lease, nil
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// mayTake reports whether the lease is nobody's: never held, released, held by this process, or by a former process
// on the same data_dir that is certainly dead. That the data_dir is the same doesn't say so, since a
// machine may have been cloned and its twin be alive. It is dead when it held the very flock that we hold now, in this boot of
// the machine: so a killed process's successor need not wait. And it is dead when the store can be open in one process
// only, which after a power failure is us. After a reboot with a bucket the lease is watched for a full term, like a stranger's: a
// shorter watch would miss a holder that lives but can't renew just now, and counts on what it has. What this doesn't tell apart are
// two copies of a running machine, memory included; those meet at the ledger, where the second one's write is refused.
func (s *Spool) mayTake(doc *leaseDoc) bool {
	if doc == nil || doc.Released || doc.Process == s.process {
		return true
	}
	return doc.Instance == s.node.Instance && (s.o.Exclusive || doc.Lock != "" && doc.Lock == s.lockID)
}

// readLease returns nil when there is none yet.
func (s *Spool) readLease(ctx context.Context, key string) (*leaseDoc, string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.term(leaseRenewed))
	defer cancel()
	rc, info, err := s.o.Store.Get(ctx, key, blob.Range{})
	if errors.Is(err, blob.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer rc.Close()
	doc := new(leaseDoc)
	if err := json.NewDecoder(rc).Decode(doc); err != nil {
		return nil, "", fmt.Errorf("%s: %w", key, err)
	}
	if doc.Format > batch.Format {
		return nil, "", fmt.Errorf("%s: %w: format %d", key, ErrForeign, doc.Format)
	}
	return doc, info.ETag, nil
}

// writeLease puts the document and returns its ETag, also when only a look at the key shows that it is there.
func (s *Spool) writeLease(ctx context.Context, key string, doc *leaseDoc, etag string) (string, error) {
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	doc.Format, doc.Nonce, doc.Time = batch.Format, fmt.Sprintf("%x", nonce), time.Now().UTC()
	b, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	cond := blob.Cond{Absent: etag == "", Match: etag}
	pctx, cancel := context.WithTimeout(ctx, s.term(leaseRenewed))
	defer cancel()
	fresh, err := s.o.Store.Put(pctx, key, bytes.NewReader(append(b, '\n')), cond)
	if err == nil {
		return fresh, nil
	}
	there, tag, rerr := s.readLease(ctx, key)
	if rerr == nil && there != nil && there.Nonce == doc.Nonce {
		return tag, nil
	}
	return "", err
}

// take makes the lease ours. Its time runs from before the first octet was sent.
func (s *Spool) take(ctx context.Context, key string, old *leaseDoc, etag string) (*Lease, error) {
	doc := s.leaseDoc(key)
	doc.Generation = 1
	if old != nil {
		doc.Generation = old.Generation + 1
	}
	start := time.Now()
	tag, err := s.writeLease(ctx, key, doc, etag)
	if err != nil {
		return nil, err
	}
	l := &Lease{s: s, name: doc.Name, generation: doc.Generation, etag: tag, lost: make(chan struct{}), writing: make(chan struct{}, 1)}
	l.until = start.Add(s.term(leaseHeld))
	l.expiry = time.AfterFunc(time.Until(l.until), l.expire)
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	if other := s.leases.held[doc.Name]; other != nil && !other.ended() {
		l.lose()
		return nil, errors.New("another goroutine was first")
	}
	if !s.spawn(func() { l.renew(key) }) {
		l.lose()
		return nil, ErrClosed
	}
	s.leases.held[doc.Name] = l
	return l, nil
}

func (s *Spool) leaseDoc(key string) *leaseDoc {
	id, pos, _ := s.ledger.streams()[0].position()
	return &leaseDoc{Name: key[len("lease/") : len(key)-len(".json")], Node: s.node.Node, Instance: s.node.Instance, Process: s.process, Lock: s.lockID,
		Ledger: map[string]uint64{id.Name: pos.Seq}}
}

// foldHolder makes sure that all the last holder did is known here: what it wrote before it released the lease, or,
// when it didn't, all that it can ever write.
func (s *Spool) foldHolder(ctx context.Context, doc *leaseDoc) error {
	if doc == nil || doc.Process == s.process {
		return nil
	}
	for name, seq := range doc.Ledger {
		id := StreamID{Ledger: true, Name: name}
		pos := Position{Seq: seq}
		if !doc.Released {
			head, err := s.head(ctx, id)
			if err != nil {
				return err
			}
			if pos, err = s.seal(ctx, id, head); err != nil {
				return err
			}
		}
		if pos.Seq == 0 {
			continue
		}
		if err := s.folded(ctx, id, pos); err != nil {
			return err
		}
	}
	return nil
}

// renew keeps the lease until it is over.
func (l *Lease) renew(key string) {
	pause := l.s.term(leaseRenewed)
	for {
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-l.lost:
			t.Stop()
			return
		}
		l.writing <- struct{}{}
		l.mu.Lock()
		if l.over {
			l.mu.Unlock()
			<-l.writing
			return
		}
		doc := l.s.leaseDoc(key)
		doc.Generation = l.generation
		etag := l.etag
		l.mu.Unlock()
		start := time.Now()
		tag, err := l.s.writeLease(l.s.ctx, key, doc, etag)
		l.mu.Lock()
		if err == nil && !l.over {
			l.etag, l.until = tag, start.Add(l.s.term(leaseHeld))
			l.expiry.Reset(time.Until(l.until))
			pause = l.s.term(leaseRenewed)
		} else {
			pause = min(time.Second, l.s.term(leaseRenewed))
		}
		l.mu.Unlock()
		<-l.writing
		if errors.Is(err, blob.ErrPrecondition) {
			// A late write of ours would have shown its nonce or that of a write before it.
			if doc, tag, rerr := l.s.readLease(l.s.ctx, key); rerr == nil && doc != nil && doc.Process == l.s.process && doc.Generation == l.generation {
				l.mu.Lock()
				l.etag = tag
				l.mu.Unlock()
				continue
			} else if rerr == nil {
				l.lose()
				return
			}
		}
	}
}

// expire ends the lease when its time is over.
func (l *Lease) expire() {
	l.mu.Lock()
	early := time.Until(l.until)
	if early > 0 {
		l.expiry.Reset(early)
	}
	l.mu.Unlock()
	if early <= 0 {
		l.lose()
	}
}

// lose ends the lease.
func (l *Lease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	l.expiry.Stop()
	close(l.lost)
}

func (l *Lease) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// Valid reports whether the lease is still held, by this process's monotonic clock alone. It asks nobody, so it may
// be called before every final dot.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.over && time.Now().Before(l.until)
}

// Lost is closed when the lease is no longer held.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Generation grows with every change of holder.
func (l *Lease) Generation() int64 { return l.generation }

// Release gives the lease back once all outcomes of deliveries are in the ledger, so that others need not
// wait for its end. When it fails the lease ends by itself.
func (l *Lease) Release(ctx context.Context) error {
	if l.ended() {
		return nil
	}
	if err := l.s.flushed(ctx); err != nil {
		// Not marked as released, since others may act on that mark. But nobody has a use for it any more:
		// were it renewed, neither this process nor another could ever get it again.
		l.lose()
		return fmt.Errorf("release lease %s: %w", l.name, err)
	}
	select {
	case l.writing <- struct{}{}:
		defer func() { <-l.writing }()
	case <-ctx.Done():
		l.lose()
		return fmt.Errorf("release lease %s: %w", l.name, context.Cause(ctx))
	}
	key := "lease/" + l.name + ".json"
	l.mu.Lock()
	held, etag, generation := !l.over, l.etag, l.generation
	l.mu.Unlock()
	l.lose() // first: from here on nobody may act on it
	if !held {
		return nil
	}
	doc := l.s.leaseDoc(key)
	doc.Generation, doc.Released = generation, true
	if _, err := l.s.writeLease(ctx, key, doc, etag); err != nil && !errors.Is(err, blob.ErrPrecondition) {
		return fmt.Errorf("release lease %s: %w", l.name, err)
	}
	return nil
}

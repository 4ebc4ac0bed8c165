package spool

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

// stream writes one stream: one group at a time, the next only when the one before is settled.
type stream struct {
	s      *Spool
	q      *queue
	root   string // "mail" or "ledger", for logs and metrics
	lane   int
	groups chan *group
	busy   bool // under q.mu

	mu   sync.Mutex // guards the fields below for readers other than run
	id   StreamID
	pos  Position
	used bool // something was put, or may have been
}

// outcome is how an attempt to keep a group ended.
type outcome string

const (
	kept       outcome = "kept"
	refused    outcome = "refused"    // the store certainly wrote nothing, the key is still free
	void       outcome = "void"       // a void of ours is there
	foreign    outcome = "foreign"    // somebody else's octets or seal are there
	unreadable outcome = "unreadable" // something may be there
	abandoned  outcome = "abandoned"  // the process ends first
)

func (s *Spool) newStream(q *queue, ledger bool, lane int) *stream {
	w := &stream{s: s, q: q, root: "mail", lane: lane, groups: make(chan *group, 1)}
	if ledger {
		w.root = "ledger"
	}
	w.id = s.newStreamID(ledger, lane)
	s.writers.Go(w.run)
	return w
}

func (s *Spool) newStreamID(ledger bool, lane int) StreamID {
	name := s.node.Node + "-" + NewID()
	if lane > 0 {
		name += fmt.Sprintf("-%d", lane)
	}
	return StreamID{Ledger: ledger, Name: name}
}

// current returns the stream's id, which changes when it had to be given up.
func (w *stream) current() StreamID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.id
}

func (w *stream) position() (id StreamID, pos Position, used bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.id, w.pos, w.used
}

func (w *stream) run() {
	for {
		var idle <-chan time.Time
		if _, _, used := w.position(); used && w.lane > 0 {
			idle = time.After(laneIdle)
		}
		select {
		case g, ok := <-w.groups:
			if !ok {
				return
			}
			w.commit(g)
			w.q.free(w, g)
		case <-idle:
			w.rest()
		}
	}
}

// laneIdle is how long a lane beyond the first may be idle before its stream is sealed, so that nobody need follow it.
const laneIdle = time.Minute

// rest seals the stream of a lane that is idle. Should that fail, the next start seals it.
func (w *stream) rest() {
	ctx, cancel := context.WithTimeout(w.s.ctx, w.s.o.Limits.PutTimeout)
	defer cancel()
	if err := w.seal(ctx); err != nil {
		w.s.log.Warn("an idle stream could not be sealed", "stream", w.current().String(), "err", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id, w.pos, w.used = w.s.newStreamID(w.id.Ledger, w.lane), Position{}, false
}

// commit settles a group, whatever it takes, and tells all who wait for it.
func (w *stream) commit(g *group) {
	defer w.q.release(slices.Clone(g.items))
	for {
		w.sendAway(g)
		if g.size == 0 {
			g.answer(nil) // nothing but a barrier
			return
		}
		b := w.assemble(g)
		out, err := w.settle(g, b)
		w.s.o.Metrics.batch(w.root, string(out), b.count, int64(len(b.object)), time.Since(g.formed))
		switch out {
		case kept:
			w.advance(b.header)
			w.s.committed(b.step(w.s.Cluster(), Position{Seq: b.header.Seq + 1, Hash: b.header.Chain}))
			w.done(g)
			g.answer(nil)
		case void:
			w.advance(b.void)
			w.s.committed(Step{Stream: b.id, Position: Position{Seq: b.void.Seq + 1, Hash: b.void.Chain}, Cluster: w.s.Cluster()})
			w.again(g)
			g.answer(fmt.Errorf("%w: %w", ErrVoid, err))
		case refused:
			w.again(g)
			g.answer(fmt.Errorf("%w: %w", ErrVoid, err))
		case foreign:
			w.renew(err)
			if !g.answered {
				continue
			}
			w.again(g) // the senders were told to come again
		case unreadable:
			w.s.log.Error("what the store holds can't be read back, so this mail is neither taken nor refused; the senders will send it again", "key", b.key, "err", err)
			w.renew(err)
			w.again(g)
			g.answer(fmt.Errorf("%w: %w", ErrUnsettled, err))
		case abandoned:
			g.answer(err)
		}
		return
	}
}

// sendAway takes out entries whose octets were put under a stream that this isn't any more.
func (w *stream) sendAway(g *group) {
	rest := g.items[:0]
	for _, it := range g.items {
		if it.bigOn != "" && it.bigOn != w.id.Name {
			it.answer <- errMoved
			g.size -= it.size
			continue
		}
		rest = append(rest, it)
	}
	g.items = rest
}

// done notes that the group's events are durable.
func (w *stream) done(g *group) {
	for _, it := range g.items {
		if it.part != nil {
			w.s.journal.durable(it.part, len(it.events))
		}
	}
}

// again queues what nobody waits for, but must not be lost, once more, after a pause.
func (w *stream) again(g *group) {
	if w.s.ctx.Err() != nil {
		return // what matters stands in the journal
	}
	var items []*item
	for _, it := range g.items {
		if it.answer == nil {
			items = append(items, it)
		}
	}
	if len(items) > 0 {
		w.s.vigil.pause(w.s.ctx, math.MaxInt)
		w.q.putBack(items)
	}
}

func (w *stream) advance(h *batch.Header) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pos = Position{Seq: h.Seq + 1, Hash: h.Chain}
}

// renew gives the stream up, since something is in its way, and starts a new one. Whoever put a seal there took us for
// dead, so leases are asked for again.
func (w *stream) renew(why error) {
	w.mu.Lock()
	old := w.id
	w.id, w.pos, w.used = w.s.newStreamID(old.Ledger, w.lane), Position{}, false
	fresh := w.id
	w.mu.Unlock()
	w.s.o.Metrics.alert("foreign-bytes")
	w.s.log.Error("stream was ended by somebody else, a new one is begun; if no other node took over, look for a second copy of this node", "stream", old.String(), "new", fresh.String(), "err", why)
	w.s.leases.loseAll()
}

// assembled is a group as it will be stored.
type assembled struct {
	id     StreamID
	key    string
	object []byte
	header *batch.Header
	void   *batch.Header // of the void that was put in its place, if any
	refs   []batch.Ref
	items  []*item
	count  int
}

func (w *stream) assemble(g *group) *assembled {
	w.mu.Lock()
	if w.pos.Hash == "" {
		w.pos.Hash = batch.Genesis(w.s.Cluster(), w.id.String())
	}
	w.used = true
	b := &assembled{id: w.id, key: w.id.Key(w.pos.Seq), items: g.items}
	b.header = w.s.header(w.id, w.pos, batch.Batch)
	w.mu.Unlock()
	if b.id.Ledger {
		var lines []batch.Line
		for _, it := range g.items {
			lines = append(lines, it.lines...)
		}
		b.count = len(lines)
		b.object = w.s.codec.Ledger(b.header, lines)
		return b
	}
	mail := make([]*batch.Item, len(g.items))
	for i, it := range g.items {
		mail[i] = it.mail
	}
	b.count = len(mail)
	b.object, b.refs = w.s.codec.Mail(b.header, mail)
	return b
}

// header begins an object of a stream.
func (s *Spool) header(id StreamID, pos Position, kind batch.Kind) *batch.Header {
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	return &batch.Header{Kind: kind, Cluster: s.Cluster(), Stream: id.String(), Seq: pos.Seq,
		Time: time.Now().UTC(), Nonce: fmt.Sprintf("%x", nonce), By: s.node.Node, Prev: pos.Hash}
}

// mark returns a void or seal.
func (s *Spool) mark(id StreamID, h *batch.Header) []byte {
	if id.Ledger {
		return s.codec.Ledger(h, nil)
	}
	object, _ := s.codec.Mail(h, nil)
	return object
}

// step is the batch as followers see it.
func (b *assembled) step(cluster string, pos Position) Step {
	st := Step{Stream: b.id, Position: pos, Cluster: cluster}
	if b.id.Ledger {
		st.Events = make([]Event, 0, b.count)
		for _, it := range b.items {
			st.Events = append(st.Events, it.events...)
		}
		return st
	}
	st.Entries = make([]Located, len(b.items))
	for i, it := range b.items {
		loc := Location{Stream: b.id.Name, Seq: b.header.Seq, Offset: b.refs[i].Offset, Length: b.refs[i].Length}
		if it.bigOn != "" {
			loc.Offset, loc.Length, loc.Big = 0, it.mail.BigLength(), true
		}
		st.Entries[i] = Located{Entry: it.entry, Location: loc}
	}
	return st
}

// settle puts the object at its key and finds out what is there then: design.md, promise 2.
func (w *stream) settle(g *group, b *assembled) (outcome, error) {
	var (
		start   = time.Now()
		body    = b.object
		isVoid  = false
		unknown = false // some attempt may have written, or may yet
		ours    = [][]byte{b.object}
		last    error
	)
	for try := 0; ; try++ {
		err := w.s.put(b.key, body)
		switch {
		case err == nil && isVoid:
			return void, last
		case err == nil:
			return kept, nil
		case errors.Is(err, blob.ErrPrecondition):
			which, out, rerr := w.s.whatIs(b.key, ours)
			switch {
			case out == kept && which == 1:
				return void, last
			case out != "":
				return out, rerr
			}
			err, unknown = rerr, true
		case errors.Is(err, blob.ErrNotWritten):
			if !unknown && w.hopeless(err, start) {
				return refused, w.s.storeError(err)
			}
		default:
			unknown = true
		}
		last = w.s.storeError(err)
		w.trouble(g, last)
		if ended := w.s.ctx.Err(); ended != nil {
			if !unknown {
				return abandoned, fmt.Errorf("%w: %w", ErrVoid, last)
			}
			return abandoned, fmt.Errorf("%w: %w", ErrUnsettled, last)
		}
		late := time.Since(start) > w.s.o.Limits.SettleTimeout
		if late && unknown {
			// Its senders will come again, so now a void is the better end: but it is the key that decides.
			g.answer(fmt.Errorf("%w after %s: %w", ErrUnsettled, ExactSpan(w.s.o.Limits.SettleTimeout), last))
		}
		if unknown && !isVoid && (late || errors.Is(err, blob.ErrNoSpace)) {
			isVoid = true
			body, b.void = w.voidFor(b)
			ours = append(ours, body)
		}
		w.s.vigil.pause(w.s.ctx, try)
	}
}

// hopeless reports that a put that certainly wrote nothing isn't worth another try while a session waits.
func (w *stream) hopeless(err error, start time.Time) bool {
	return errors.Is(err, blob.ErrNoSpace) || errors.Is(err, blob.ErrUnfit) || errors.Is(err, blob.ErrInvalid) ||
		w.s.ctx.Err() != nil || time.Since(start) > w.s.o.Limits.RefusedFor || w.s.vigil.down() != nil
}

// trouble spares others a wait that is as good as lost, and hands outcomes of deliveries to the index
// before the ledger has them, so that replay does not repeat them.
func (w *stream) trouble(g *group, err error) {
	w.q.fail(time.Now().Add(-w.s.o.Limits.RefusedFor), fmt.Errorf("%w: %w", ErrVoid, err))
	if g.told {
		return
	}
	g.told = true
	var evs []Event
	for _, it := range g.items {
		if it.part != nil {
			evs = append(evs, it.events...)
		}
	}
	if len(evs) > 0 {
		w.s.committed(Step{Events: evs, Cluster: w.s.Cluster()})
	}
}

func (w *stream) voidFor(b *assembled) ([]byte, *batch.Header) {
	h := w.s.header(b.id, Position{Seq: b.header.Seq, Hash: b.header.Prev}, batch.Void)
	return w.s.mark(b.id, h), h
}

// put is one attempt to write an object that must not exist yet.
func (s *Spool) put(key string, object []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Limits.PutTimeout)
	defer cancel()
	_, err := s.o.Store.Put(ctx, key, bytes.NewReader(object), blob.Cond{Absent: true})
	s.vigil.heard(err)
	return err
}

// whatIs reads what is at a key: kept and the index of the octets it is equal to, foreign, or unreadable. With
// no outcome it could not be read now, and err says why.
func (s *Spool) whatIs(key string, ours [][]byte) (which int, out outcome, err error) {
	got, err := s.get(s.ctx, key, blob.Range{}, math.MaxInt32)
	if err != nil {
		if errors.Is(err, blob.ErrUnreadable) {
			return 0, unreadable, err
		}
		return 0, "", err
	}
	for i, o := range ours {
		if bytes.Equal(o, got) {
			return i, kept, nil
		}
	}
	h, err := s.parseHeader(key, got)
	if err != nil {
		return 0, unreadable, fmt.Errorf("%s: %w", key, err)
	}
	return 0, foreign, fmt.Errorf("%s holds a %s by %s", key, h.Kind, h.By)
}

// parseHeader reads the header of an object of a stream.
func (s *Spool) parseHeader(key string, object []byte) (*batch.Header, error) {
	id, seq, ok := ParseKey(key)
	if !ok {
		return nil, fmt.Errorf("%s: no key of a batch", key)
	}
	var h *batch.Header
	if id.Ledger {
		ev, err := s.codec.Events(object)
		if err != nil {
			return nil, err
		}
		h = &ev.Header
	} else {
		toc, _, err := s.codec.TOC(object, int64(len(object)))
		if err != nil {
			return nil, err
		}
		h = &toc.Header
	}
	if h.Stream != id.String() || h.Seq != seq {
		return nil, fmt.Errorf("%w: it says it is %s/%016x", batch.ErrDamaged, h.Stream, h.Seq)
	}
	return h, nil
}

// get reads at most limit octets of an object, in at most PutTimeout.
func (s *Spool) get(ctx context.Context, key string, r blob.Range, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Limits.PutTimeout)
	defer cancel()
	rc, _, err := s.o.Store.Get(ctx, key, r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(rc, limit+1))
	err = errors.Join(err, rc.Close())
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: larger than %d octets", key, limit)
	}
	return b, err
}

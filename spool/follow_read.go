package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

const (
	tailOctets = 64 << 10 // of a batch of mail, read first: nearly always its whole table of contents
	tocMax     = 64 << 20 // a longer table of contents is refused
	ledgerMax  = 64 << 20 // a longer batch of the ledger is refused
)

// unknownHash is the chain hash of a batch that could not be read.
const unknownHash = "unknown"

// objects reads what streams hold. It needs a store alone, so that fsck and export work without a Spool.
type objects struct {
	store   blob.Store
	codec   *batch.Codec
	timeout time.Duration // of one request; 0: none but ctx's
}

// get reads at most limit octets of an object and returns what the store knows of it.
func (o objects) get(ctx context.Context, key string, r blob.Range, limit int64) ([]byte, blob.Info, error) {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	rc, info, err := o.store.Get(ctx, key, r)
	if err != nil {
		return nil, info, err
	}
	b, err := io.ReadAll(io.LimitReader(rc, limit+1))
	err = errors.Join(err, rc.Close())
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: %w: larger than %d octets", key, ErrDamaged, limit)
	}
	return b, info, err
}

// toc reads the table of contents of a batch of mail from its tail.
func (o objects) toc(ctx context.Context, key string) (*batch.TOC, error) {
	want := int64(tailOctets)
	for {
		tail, info, err := o.get(ctx, key, blob.Range{Offset: -want}, want)
		if err != nil {
			return nil, err
		}
		toc, need, err := o.codec.TOC(tail, info.Size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, damaged(err))
		}
		if toc != nil {
			return toc, nil
		}
		if need <= want || need > tocMax {
			return nil, fmt.Errorf("%s: %w: its table of contents is said to take %d octets", key, ErrDamaged, need)
		}
		want = need
	}
}

// damaged makes the codec's complaint one of this package's.
func damaged(err error) error {
	if errors.Is(err, batch.ErrDamaged) && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// fits reports an object that says it is another.
func fits(id StreamID, seq uint64, h *batch.Header) error {
	if h.Stream != id.String() || h.Seq != seq {
		return fmt.Errorf("%s: %w: it says it is %s, number %d", id.Key(seq), ErrDamaged, h.Stream, h.Seq)
	}
	return nil
}

// step reads one object of a stream. A batch of mail whose table of contents is damaged is read from
// its members; what could be read is then returned together with an error that is ErrDamaged.
func (o objects) step(ctx context.Context, id StreamID, seq uint64) (Step, *batch.Header, error) {
	if id.Ledger {
		return o.ledgerStep(ctx, id, seq)
	}
	key := id.Key(seq)
	st := Step{Stream: id}
	toc, err := o.toc(ctx, key)
	if errors.Is(err, ErrDamaged) {
		st.Entries, err = o.salvage(ctx, id, seq, err)
		return st, nil, err
	}
	if err != nil {
		return st, nil, err
	}
	if err := fits(id, seq, &toc.Header); err != nil {
		return st, nil, err
	}
	st.Cluster = toc.Cluster
	st.Position = Position{Seq: seq + 1, Hash: toc.Chain, Sealed: toc.Kind == batch.Seal}
	for _, row := range toc.Entries {
		e := new(Entry)
		if err := json.Unmarshal(row.Entry, e); err != nil || e.ID != row.ID {
			return st, nil, fmt.Errorf("%s: %w: entry %s in its table of contents: %w", key, ErrDamaged, row.ID, err)
		}
		st.Entries = append(st.Entries, Located{Entry: e, Location: location(id, seq, &row)})
	}
	return st, &toc.Header, damaged(toc.VerifyChain())
}

func location(id StreamID, seq uint64, row *batch.Row) Location {
	return Location{Stream: id.Name, Seq: seq, Offset: row.EML.Offset, Length: row.EML.Length, Big: row.Big}
}

// salvage finds the entries of a damaged batch by going through its frames.
func (o objects) salvage(ctx context.Context, id StreamID, seq uint64, why error) ([]Located, error) {
	object, _, err := o.get(ctx, id.Key(seq), blob.Range{}, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	var found []Located
	bodies := map[string]batch.Member{}
	for m, err := range o.codec.Scan(object) {
		name, kind := memberName(m.Name)
		switch {
		case err != nil:
			why = errors.Join(why, err)
		case kind == "eml":
			bodies[name] = m
		case kind == "json":
			e := new(Entry)
			if err := json.Unmarshal(m.Content, e); err != nil || e.ID != name {
				continue
			}
			l := Located{Entry: e, Location: Location{Stream: id.Name, Seq: seq, Big: true}}
			if b, ok := bodies[name]; ok {
				l.Location.Offset, l.Location.Length, l.Location.Big = b.Offset, b.Length, false
			}
			found = append(found, l)
		}
	}
	return found, why
}

// memberName splits "<id>.eml" and "<id>.json".
func memberName(name string) (id, kind string) {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

func (o objects) ledgerStep(ctx context.Context, id StreamID, seq uint64) (Step, *batch.Header, error) {
	key := id.Key(seq)
	st := Step{Stream: id}
	object, _, err := o.get(ctx, key, blob.Range{}, ledgerMax)
	if err != nil {
		return st, nil, err
	}
	evs, err := o.codec.Events(object)
	if err != nil {
		return st, nil, fmt.Errorf("%s: %w", key, damaged(err))
	}
	if err := fits(id, seq, &evs.Header); err != nil {
		return st, nil, err
	}
	st.Cluster = evs.Cluster
	st.Position = Position{Seq: seq + 1, Hash: evs.Chain, Sealed: evs.Kind == batch.Seal}
	for _, l := range evs.Lines {
		var ev Event
		if err := json.Unmarshal(l.JSON, &ev); err != nil {
			return st, nil, fmt.Errorf("%s: %w: event %s: %w", key, ErrDamaged, l.ID, err)
		}
		st.Events = append(st.Events, ev)
	}
	return st, &evs.Header, damaged(evs.VerifyChain())
}

// streams lists the streams that a store holds, those of the ledger first.
func (o objects) streams(ctx context.Context) ([]StreamID, error) {
	var all []StreamID
	for _, root := range []string{"ledger/", "mail/"} {
		for name, err := range o.store.Prefixes(ctx, root) {
			if err != nil {
				return nil, err
			}
			all = append(all, StreamID{Ledger: root == "ledger/", Name: name})
		}
	}
	return all, nil
}

// seqs lists the numbers of a stream's objects from a number on, at most limit of them (0: all). Keys that are no batch's are
// passed to strange.
func (o objects) seqs(ctx context.Context, id StreamID, from uint64, limit int, strange func(key string)) ([]uint64, error) {
	after := ""
	if from > 0 {
		after = id.Key(from - 1)
	}
	var all []uint64
	for info, err := range o.store.List(ctx, id.String()+"/", after) {
		if err != nil {
			return nil, err
		}
		got, seq, ok := ParseKey(info.Key)
		if !ok || got != id {
			if strange != nil {
				strange(info.Key)
			}
			continue
		}
		if all = append(all, seq); len(all) == limit {
			break
		}
	}
	return all, nil
}

// chain looks whether an object follows from the one before. What is missing between the two is for the
// fold to judge, which knows what retention has deleted.
func (f *follower) chain(t *tail, r *read) {
	if r.head == nil || t.broken || r.seq != t.pos.Seq {
		return
	}
	want := t.pos.Hash
	if want == "" {
		want = batch.Genesis(r.head.Cluster, t.id.String())
	}
	if r.head.Prev == want {
		return
	}
	f.log.Error("a stream's chain is broken: what was read before is not what this batch follows. Run `restante fsck`", "key", t.id.Key(r.seq), "prev", r.head.Prev, "want", want)
	if r.step.Break == "" {
		r.step.Break = "it doesn't follow the batch that was read before it"
	}
}

package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

// seal ends a stream whose next batch is at from, and returns the position after the seal. What others have put there
// is read and skipped; if it is a seal, that one counts.
func (s *Spool) seal(ctx context.Context, id StreamID, from Position) (Position, error) {
	if from.Sealed {
		return from, nil
	}
	if from.Hash == "" && from.Seq == 0 {
		from.Hash = batch.Genesis(s.Cluster(), id.String())
	}
	for pos := from; ; {
		h := s.header(id, pos, batch.Seal)
		object := s.mark(id, h)
		err := s.putUntil(ctx, id.Key(pos.Seq), object)
		if err == nil {
			return Position{Seq: pos.Seq + 1, Hash: h.Chain, Sealed: true}, nil
		}
		if !errors.Is(err, blob.ErrPrecondition) {
			return pos, fmt.Errorf("seal %s: %w", id, err)
		}
		there, err := s.headerAt(ctx, id, pos.Seq)
		if err != nil {
			return pos, fmt.Errorf("seal %s: %w", id, err)
		}
		pos = Position{Seq: pos.Seq + 1, Hash: there.Chain, Sealed: there.Kind == batch.Seal}
		if pos.Sealed {
			return pos, nil
		}
	}
}

// putUntil puts an object that must not exist yet, again and again until the store's answer is certain or ctx ends.
func (s *Spool) putUntil(ctx context.Context, key string, object []byte) error {
	for try := 0; ; try++ {
		pctx, cancel := context.WithTimeout(ctx, s.o.Limits.PutTimeout)
		_, err := s.o.Store.Put(pctx, key, bytes.NewReader(object), blob.Cond{Absent: true})
		cancel()
		if err == nil || errors.Is(err, blob.ErrPrecondition) || errors.Is(err, blob.ErrInvalid) || errors.Is(err, blob.ErrUnfit) {
			return err
		}
		if ctx.Err() != nil {
			return err
		}
		s.vigil.pause(ctx, try)
	}
}

// headerAt reads the header of one object of a stream.
func (s *Spool) headerAt(ctx context.Context, id StreamID, seq uint64) (*batch.Header, error) {
	key := id.Key(seq)
	object, err := s.get(ctx, key, blob.Range{}, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	h, err := s.parseHeader(key, object)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return h, nil
}

// head finds where a stream that was never followed ends.
func (s *Spool) head(ctx context.Context, id StreamID) (Position, error) {
	last := ""
	for info, err := range s.o.Store.List(ctx, id.String()+"/", "") {
		if err != nil {
			return Position{}, err
		}
		last = info.Key
	}
	if last == "" {
		return Position{}, nil
	}
	_, seq, ok := ParseKey(last)
	if !ok {
		return Position{}, fmt.Errorf("%s: no key of a batch", last)
	}
	h, err := s.headerAt(ctx, id, seq)
	if err != nil {
		return Position{}, err
	}
	return Position{Seq: seq + 1, Hash: h.Chain, Sealed: h.Kind == batch.Seal}, nil
}

// writing reports whether this process writes the stream. When it doesn't any more, somebody else may
// have put batches there that committed has not told of.
func (s *Spool) writing(id StreamID) bool {
	for _, q := range []*queue{s.mail, s.ledger} {
		for _, w := range q.streams() {
			if w.current() == id {
				return true
			}
		}
	}
	return false
}

// sealOwn ends the streams of this process.
func (s *Spool) sealOwn(ctx context.Context) error {
	var errs []error
	for _, q := range []*queue{s.mail, s.ledger} {
		for _, w := range q.streams() {
			errs = append(errs, w.seal(ctx))
		}
	}
	return errors.Join(errs...)
}

// seal ends the stream if it has begun. Nothing may be under way.
func (w *stream) seal(ctx context.Context) error {
	id, pos, used := w.position()
	if !used {
		return nil
	}
	start := time.Now()
	after, err := w.s.seal(ctx, id, pos)
	if err != nil {
		return err
	}
	w.s.log.Debug("stream sealed", "stream", id.String(), "seq", after.Seq-1, "took_ms", time.Since(start).Milliseconds())
	w.s.committed(Step{Stream: id, Position: after, Cluster: w.s.Cluster()})
	return nil
}

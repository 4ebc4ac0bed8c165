package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"restante/spool/batch"
)

// Appending is one entry for AppendAll, with what Append takes beside it. Bodies may be the same one.
type Appending struct {
	Entry *Entry
	Trace []byte
	Body  *Body
}

// AppendAll keeps several entries in one batch: when it returns nil all of them are durable, and when it returns
// ErrVoid none is. It is for the entries of one piece of writing. All else is as with Append.
func (s *Spool) AppendAll(ctx context.Context, all ...Appending) error {
	if len(all) == 0 {
		return nil
	}
	big := false
	for i := range all {
		a := &all[i]
		a.Entry.TraceSize = len(a.Trace)
		a.Entry.Size = int64(len(a.Trace)) + a.Body.Size()
		a.Entry.SHA256 = a.Body.SHA256()
		if err := a.Entry.check(); err != nil {
			return fmt.Errorf("%w: %w", ErrVoid, err)
		}
		big = big || a.Entry.Size > s.o.Limits.InlineMax
	}
	if err := s.vigil.down(); err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	if big { // all of them, so that all stay with the same stream
		return s.appendAllBig(ctx, all)
	}
	items := make([]*item, len(all))
	for i := range all {
		m, err := message(&all[i])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrVoid, err)
		}
		var inMemory bool
		if m.Body, inMemory = all[i].Body.Bytes(); !inMemory {
			if m.Body, err = io.ReadAll(all[i].Body.Reader()); err != nil {
				return fmt.Errorf("%w: %w", ErrVoid, err)
			}
		}
		items[i] = &item{mail: s.codec.Encode(m), entry: all[i].Entry}
	}
	return s.commitTogether(ctx, items)
}

func message(a *Appending) (batch.Message, error) {
	entry, err := marshal(a.Entry)
	if err != nil {
		return batch.Message{}, fmt.Errorf("entry: %w", err)
	}
	return batch.Message{ID: a.Entry.ID, Time: a.Entry.Received, Trace: a.Trace, Entry: entry}, nil
}

// appendAllBig puts the octets of each as an object of its own, then all entries into a batch that names them.
func (s *Spool) appendAllBig(ctx context.Context, all []Appending) error {
	select {
	case s.bigs <- struct{}{}:
		defer func() { <-s.bigs }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrVoid, context.Cause(ctx))
	}
	files := make([]*os.File, len(all))
	encoded := make([]*batch.Item, len(all))
	lengths := make([]int64, len(all))
	for i := range all {
		m, err := message(&all[i])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrVoid, err)
		}
		f, big, err := s.compress(all[i].Trace, all[i].Body)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrVoid, s.storeError(err))
		}
		defer f.Close() // an unnamed temporary file
		m.Big, m.Trace = &big, nil
		files[i], encoded[i], lengths[i] = f, s.codec.Encode(m), big.Length
	}
	for {
		stream := s.mail.streams()[0].current()
		items := make([]*item, len(all))
		for i := range all {
			if err := s.putBig(ctx, stream.BigKey(all[i].Entry.ID), io.NewSectionReader(files[i], 0, lengths[i])); err != nil {
				return fmt.Errorf("%w: %w", ErrVoid, s.storeError(err))
			}
			items[i] = &item{mail: encoded[i], entry: all[i].Entry, bigOn: stream.Name}
		}
		err := s.commitTogether(ctx, items)
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

// commitTogether waits until the batch of the items is settled, which is one for all.
func (s *Spool) commitTogether(ctx context.Context, items []*item) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	answer := make(chan error, len(items))
	for i, it := range items {
		it.answer, it.size, it.joined = answer, it.mail.Size(), i > 0
	}
	if !s.mail.addAll(items) {
		return fmt.Errorf("%w: %w", ErrVoid, ErrClosed)
	}
	var err error
	for range items {
		err = <-answer // the same for all
	}
	return err
}

// addAll queues items that go into one batch; false when the queue is closing.
func (q *queue) addAll(items []*item) bool {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return false
	}
	running := q.running
	q.running = false // no group is formed before all are there
	for _, it := range items {
		q.push(it, now)
	}
	q.running = running
	q.pump(now)
	return true
}

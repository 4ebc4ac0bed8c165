package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"restante/spool/batch"
	"restante/spool/blob"
)

// errMoved: the stream under which the octets of a big message were put is not written any more.
var errMoved = errors.New("stream has changed")

// Expect says that a session is inside DATA, so that a batch may wait a moment for it. Call the
// returned function once Append has returned, or when there will be none; it may be called twice.
func (s *Spool) Expect() (done func()) {
	s.mail.expect(1)
	var once sync.Once
	return func() { once.Do(func() { s.mail.expect(-1) }) }
}

// Append keeps the message, trace fields first, and returns nil when it is durable. It fills Size,
// TraceSize and SHA256; the entry is not to be changed afterwards. ErrVoid: certainly not kept.
// ErrUnsettled: close the connection without a reply. The body stays the caller's.
// ctx does not end the wait for an outcome, since its batch answers for it; when it has ended before
// the entry is in a batch, ErrVoid is returned.
func (s *Spool) Append(ctx context.Context, e *Entry, trace []byte, body *Body) error {
	e.TraceSize = len(trace)
	e.Size = int64(len(trace)) + body.Size()
	e.SHA256 = body.SHA256()
	if err := e.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	if err := s.vigil.down(); err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	entry, err := marshal(e)
	if err != nil {
		return fmt.Errorf("%w: entry: %w", ErrVoid, err)
	}
	m := batch.Message{ID: e.ID, Time: e.Received, Trace: trace, Entry: entry}
	if e.Size > s.o.Limits.InlineMax {
		return s.appendBig(ctx, e, m, body)
	}
	var inMemory bool
	if m.Body, inMemory = body.Bytes(); !inMemory {
		if m.Body, err = io.ReadAll(body.Reader()); err != nil {
			return fmt.Errorf("%w: %w", ErrVoid, err)
		}
	}
	return s.commitMail(ctx, &item{mail: s.codec.Encode(m), entry: e})
}

// commitMail waits until the item's batch is settled.
func (s *Spool) commitMail(ctx context.Context, it *item) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	answer := make(chan error, 1)
	it.answer = answer
	it.size = it.mail.Size()
	if !s.mail.add(it) {
		return fmt.Errorf("%w: %w", ErrVoid, ErrClosed)
	}
	return <-answer
}

// check refuses what JSON would change, and ids that can't be names.
func (e *Entry) check() error {
	if len(e.ID) != 26 || !isAlphanumeric(e.ID) {
		return fmt.Errorf("entry id %q is no ULID", e.ID)
	}
	valid := utf8.ValidString(e.From) && utf8.ValidString(e.Params.EnvID)
	for _, r := range e.Rcpts {
		valid = valid && utf8.ValidString(r.Address) && utf8.ValidString(r.ORcpt) && utf8.ValidString(r.Notify)
	}
	if !valid {
		return errors.New("an address is not valid UTF-8")
	}
	return nil
}

func isAlphanumeric(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// marshal is json.Marshal that leaves <, > and & readable.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes()[:b.Len()-1], nil
}

// appendBig puts the octets as an object of its own, then the entry into a batch that names it. An object
// that no batch names counts for nothing; fsck removes it.
func (s *Spool) appendBig(ctx context.Context, e *Entry, m batch.Message, body *Body) error {
	select {
	case s.bigs <- struct{}{}:
		defer func() { <-s.bigs }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrVoid, context.Cause(ctx))
	}
	f, big, err := s.compress(m.Trace, body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, s.storeError(err))
	}
	defer f.Close() // an unnamed temporary file
	m.Big, m.Trace = &big, nil
	encoded := s.codec.Encode(m)
	for {
		stream := s.mail.streams()[0].current()
		if err := s.putBig(ctx, stream.BigKey(e.ID), io.NewSectionReader(f, 0, big.Length)); err != nil {
			return fmt.Errorf("%w: %w", ErrVoid, s.storeError(err))
		}
		err := s.commitMail(ctx, &item{mail: encoded, entry: e, bigOn: stream.Name})
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

// compress writes the message as one zstd frame to a temporary file that has no name any more.
func (s *Spool) compress(trace []byte, body *Body) (f *os.File, big batch.Big, err error) {
	f, err = os.CreateTemp(s.tempDir(), "big-*.tmp")
	if err != nil {
		return nil, big, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err = os.Remove(f.Name()); err != nil {
		return f, big, err
	}
	enc, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return f, big, err
	}
	sum := sha256.New()
	big.Size, err = io.Copy(io.MultiWriter(enc, sum), io.MultiReader(bytes.NewReader(trace), body.Reader()))
	if err = errors.Join(err, enc.Close()); err != nil {
		return f, big, err
	}
	big.SHA256 = hex.EncodeToString(sum.Sum(nil))
	big.Length, err = f.Seek(0, io.SeekEnd)
	return f, big, err
}

// putBig puts an object whose outcome needs no void: whatever lands later is named by no batch.
func (s *Spool) putBig(ctx context.Context, key string, body *io.SectionReader) error {
	start := time.Now()
	for try := 0; ; try++ {
		err := s.putBigOnce(key, body)
		if errors.Is(err, blob.ErrPrecondition) {
			var same bool
			if same, err = s.holds(key, body); same {
				return nil
			} else if err == nil {
				return fmt.Errorf("%s holds something else", key)
			}
		}
		if err == nil {
			return nil
		}
		hopeless := errors.Is(err, blob.ErrNoSpace) || errors.Is(err, blob.ErrUnfit) || errors.Is(err, blob.ErrInvalid) || errors.Is(err, blob.ErrUnreadable)
		if hopeless || s.ctx.Err() != nil || ctx.Err() != nil || time.Since(start) > s.o.Limits.SettleTimeout || s.vigil.down() != nil {
			return err
		}
		s.vigil.pause(ctx, try)
	}
}

func (s *Spool) putBigOnce(key string, body *io.SectionReader) error {
	// A megabyte a second is slower than any store worth the name.
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Limits.PutTimeout+time.Duration(body.Size()>>20)*time.Second)
	defer cancel()
	_, err := s.o.Store.Put(ctx, key, body, blob.Cond{Absent: true})
	s.vigil.heard(err)
	return err
}

// holds compares what is at a key with body.
func (s *Spool) holds(key string, body *io.SectionReader) (bool, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Limits.PutTimeout+time.Duration(body.Size()>>20)*time.Second)
	defer cancel()
	rc, info, err := s.o.Store.Get(ctx, key, blob.Range{})
	if err != nil {
		return false, err
	}
	defer rc.Close()
	if info.Size != body.Size() {
		return false, nil
	}
	there, ours := sha256.New(), sha256.New()
	if _, err := io.Copy(there, rc); err != nil {
		return false, err
	}
	if _, err := io.Copy(ours, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return false, err
	}
	return bytes.Equal(there.Sum(nil), ours.Sum(nil)), nil
}

// tempDir is where temporary files go. They have no names while they are used.
func (s *Spool) tempDir() string { return filepath.Join(s.o.DataDir, "tmp") }

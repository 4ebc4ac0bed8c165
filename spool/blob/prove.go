package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"
	"time"
)

// ProveFolder holds what Prove writes; nothing else may be kept there.
const ProveFolder = "prove/"

const (
	proveSize  = 256 << 10       // of the slow object: twice what clients send in one piece
	proveWait  = 2 * time.Second // at most, for the quick writer, before the slow one goes on
	proveStale = time.Hour       // leftovers of a Prove that was killed are removed when so old
	proveMend  = "Restante needs a store with conditional writes, such as a local disk (file://), Amazon S3, MinIO, versitygw, Ceph (Squid or later) or Cloudflare R2"
)

// Prove tries on the store itself what mail rests on: put-if-absent, also against a slower first writer, put-if-match, ranged
// gets and a list right after the write. It takes 6 PUTs, 5 GETs and a LIST ($0.00004 at S3) and about a second, and
// removes what it wrote. An error with ErrUnfit says what the store lacks and what to use; any other is that
// of a call that failed, and Prove may be tried again.
func Prove(ctx context.Context, s Store) error {
	p := &prover{store: s, folder: ProveFolder + strings.ToLower(rand.Text()) + "/"}
	err := p.run(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnfit):
		return fmt.Errorf("%s: %w. %s", s, err, proveMend)
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%s: %w: %w. %s", s, ErrUnfit, err, proveMend)
	}
	return fmt.Errorf("%s: trying the store: %w", s, err)
}

type prover struct {
	store  Store
	folder string
}

func (p *prover) run(ctx context.Context) (err error) {
	defer func() {
		err = errors.Join(err, p.clean(ctx))
	}()
	for _, step := range []func(context.Context) error{p.absent, p.ranges, p.match, p.listed, p.slower} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func unfit(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnfit, fmt.Sprintf(format, args...))
}

func (p *prover) clean(ctx context.Context) error {
	err1 := p.store.Delete(ctx, p.folder+"first")
	err2 := p.store.Delete(ctx, p.folder+"slow")
	return errors.Join(err1, err2)
}

func (p *prover) put(ctx context.Context, name, text string, c Cond) (string, error) {
	return p.store.Put(ctx, p.folder+name, bytes.NewReader([]byte(text)), c)
}

func (p *prover) read(ctx context.Context, name string, r Range) (string, Info, error) {
	rd, info, err := p.store.Get(ctx, p.folder+name, r)
	if err != nil {
		return "", info, err
	}
	defer rd.Close()
	b, err := io.ReadAll(rd)
	return string(b), info, err
}

const proveText = "0123456789abcdef"

// absent: a second put at the same key is refused and changes nothing.
func (p *prover) absent(ctx context.Context) error {
	if _, err := p.put(ctx, "first", proveText, Cond{Absent: true}); err != nil {
		return err
	}
	switch _, err := p.put(ctx, "first", "overwritten", Cond{Absent: true}); {
	case err == nil:
		return unfit("it ignores If-None-Match: a second put at the same key succeeded")
	case !errors.Is(err, ErrPrecondition):
		return err
	}
	return nil
}

// ranges: the octets asked for come, and the size of the whole with them.
func (p *prover) ranges(ctx context.Context) error {
	for r, want := range map[Range]string{
		{}:                      proveText,
		{Offset: 3, Length: 4}:  proveText[3:7],
		{Offset: -5, Length: 0}: proveText[11:],
	} {
		got, info, err := p.read(ctx, "first", r)
		if err != nil {
			return err
		}
		if got != want || info.Size != int64(len(proveText)) {
			return unfit("get of range %+v gave %q (of %d octets in all), wrote %q", r, got, info.Size, proveText)
		}
	}
	return nil
}

// match: a put goes through with the ETag that the last put or list gave, and with no older one.
func (p *prover) match(ctx context.Context) error {
	_, info, err := p.read(ctx, "first", Range{Length: 1})
	if err != nil {
		return err
	}
	if _, err := p.put(ctx, "first", "second version", Cond{Match: info.ETag}); err != nil {
		if errors.Is(err, ErrPrecondition) {
			return unfit("it refuses If-Match with the object's own ETag %q", info.ETag)
		}
		return err
	}
	switch _, err := p.put(ctx, "first", "overwritten", Cond{Match: info.ETag}); {
	case err == nil:
		return unfit("it ignores If-Match: a put with an old ETag succeeded")
	case !errors.Is(err, ErrPrecondition):
		return err
	}
	return nil
}

// listed: what was just written is in the list. What an earlier Prove left behind goes.
func (p *prover) listed(ctx context.Context) error {
	found := false
	for info, err := range p.store.List(ctx, ProveFolder, "") {
		switch {
		case err != nil:
			return err
		case info.Key == p.folder+"first":
			found = true
		case time.Since(info.Modified) > proveStale:
			if err := p.store.Delete(ctx, info.Key); err != nil {
				return err
			}
		}
	}
	if !found {
		return unfit("a list did not show what had just been written: %sfirst", p.folder)
	}
	return nil
}

// slower: of two writers, of whom the first to begin is the last to end, one wins, and its octets are there.
func (p *prover) slower(ctx context.Context) error {
	slow := newSlowBody(proveSize)
	defer slow.release()
	slowDone := make(chan error, 1)
	go func() {
		_, err := p.store.Put(ctx, p.folder+"slow", slow, Cond{Absent: true})
		slowDone <- err
	}()
	select {
	case <-slow.halfway:
	case err := <-slowDone: // didn't even begin
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// A store that lets the first writer lock the key answers the second only after it: so it isn't made to wait for long.
	timer := time.AfterFunc(proveWait, slow.release)
	defer timer.Stop()
	_, quickErr := p.put(ctx, "slow", proveText, Cond{Absent: true})
	slow.release()
	slowErr := <-slowDone
	if quickErr == nil && slowErr == nil {
		return unfit("a put-if-absent that took long overwrote one that had finished in the meantime")
	}
	for _, err := range []error{quickErr, slowErr} {
		if err != nil && errors.Is(err, ErrNotWritten) {
			return err
		}
	}
	_, info, err := p.read(ctx, "slow", Range{Length: 1})
	if err != nil {
		return err
	}
	if slowIsThere := info.Size == proveSize; quickErr == nil && slowIsThere || slowErr == nil && !slowIsThere {
		return unfit("of two puts at the same key the one that was refused is what is there")
	}
	return nil
}

// slowBody is a body whose second half can't be read before release.
type slowBody struct {
	size          int64
	halfway, gate chan struct{}
	seen, open    sync.Once
}

func newSlowBody(size int64) *slowBody {
	return &slowBody{size: size, halfway: make(chan struct{}), gate: make(chan struct{})}
}

func (b *slowBody) release() { b.open.Do(func() { close(b.gate) }) }

func (b *slowBody) Size() int64 { return b.size }

// CRC32C implements Summed, so that no store needs to read ahead.
func (b *slowBody) CRC32C() uint32 {
	return crc32.Checksum(make([]byte, b.size), crc32.MakeTable(crc32.Castagnoli))
}

// ReadAt gives zeros; what reaches into the second half only after release.
func (b *slowBody) ReadAt(p []byte, at int64) (int, error) {
	n := int(min(int64(len(p)), b.size-at))
	if at+int64(n) > b.size/2 {
		b.seen.Do(func() { close(b.halfway) })
		<-b.gate
	}
	clear(p[:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

var _ Summed = (*slowBody)(nil)

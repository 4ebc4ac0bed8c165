package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// CopyOptions of Copy. The zero value is right for most. Objects over 8 MiB pass through a file in os.TempDir().
type CopyOptions struct {
	// Parallel is how many objects are copied at once; 0: 8.
	Parallel int
	// Replace says of a key whether dst may already hold something else there, which is then replaced. nil: of none. The
	// spool's leases are such: they change in place.
	Replace func(key string) bool
	// Progress is told now and then, and at the end; one call at a time.
	Progress func(CopyProgress)
}

// CopyProgress says how far a Copy is.
type CopyProgress struct {
	Objects, Octets           int64 // copied or found the same
	Same                      int64 // objects of these that dst held already
	TotalObjects, TotalOctets int64 // in src
}

const (
	copyInMemory = 8 << 20
	copyParallel = 8
	copyEvery    = 100 * time.Millisecond
)

// Copy puts every object of src into dst, and compares what dst holds already, so that it can be run again after
// a break. It stops at the first object that differs and may not be replaced. Neither store should be in use. Nothing is deleted.
func Copy(ctx context.Context, dst, src Store, o CopyOptions) (CopyProgress, error) {
	if o.Parallel == 0 {
		o.Parallel = copyParallel
	}
	c := &copier{dst: dst, src: src, o: o, present: map[string]bool{}}
	for info, err := range dst.List(ctx, "", "") {
		if err != nil {
			return c.done, fmt.Errorf("%s: %w", dst, err)
		}
		c.present[info.Key] = true
	}
	var todo []string
	for info, err := range src.List(ctx, "", "") {
		if err != nil {
			return c.done, fmt.Errorf("%s: %w", src, err)
		}
		if strings.HasPrefix(info.Key, ProveFolder) {
			continue
		}
		todo = append(todo, info.Key)
		c.done.TotalObjects++
		c.done.TotalOctets += info.Size
	}
	err := c.all(ctx, todo)
	c.tell(true)
	return c.done, err
}

type copier struct {
	dst, src Store
	o        CopyOptions
	present  map[string]bool

	mu   sync.Mutex
	done CopyProgress
	told time.Time
}

// all copies the objects in order, some at once, and stops at the first error.
func (c *copier) all(ctx context.Context, keys []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan string)
	var wg sync.WaitGroup
	for range c.o.Parallel {
		wg.Go(func() {
			for key := range work {
				if err := c.one(ctx, key); err != nil {
					cancel(fmt.Errorf("copy %s: %w", key, err))
				}
			}
		})
	}
feed:
	for _, key := range keys {
		select {
		case work <- key:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

func (c *copier) one(ctx context.Context, key string) error {
	data, err := c.fetch(ctx, key)
	if err != nil {
		return err
	}
	defer data.close()
	same := false
	if c.present[key] {
		same, err = c.meet(ctx, key, data)
	} else if _, err = c.dst.Put(ctx, key, data, Cond{Absent: true}); errors.Is(err, ErrPrecondition) {
		// Ours after all, from a try whose answer was lost, or somebody else's.
		same, err = c.meet(ctx, key, data)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done.Objects++
	c.done.Octets += data.Size()
	if same {
		c.done.Same++
	}
	c.tellLocked(false)
	return nil
}

// meet deals with a key at which dst holds something: the same octets, or what may be replaced.
func (c *copier) meet(ctx context.Context, key string, data *copied) (same bool, err error) {
	rd, info, err := c.dst.Get(ctx, key, Range{})
	if err != nil {
		return false, err
	}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.Copy(h, rd)
	if err = errors.Join(err, rd.Close()); err != nil {
		return false, err
	}
	if n == data.Size() && h.Sum32() == data.sum {
		return true, nil
	}
	if c.o.Replace == nil || !c.o.Replace(key) {
		return false, fmt.Errorf("%s already holds something else there (%d octets, not %d): copy into an empty place", c.dst, n, data.Size())
	}
	_, err = c.dst.Put(ctx, key, data, Cond{Match: info.ETag})
	return false, err
}

func (c *copier) tell(always bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tellLocked(always)
}

func (c *copier) tellLocked(always bool) {
	if c.o.Progress != nil && (always || time.Since(c.told) >= copyEvery) {
		c.told = time.Now()
		c.o.Progress(c.done)
	}
}

// copied is an object on its way, in memory or in a file.
type copied struct {
	io.ReaderAt
	size int64
	sum  uint32
	file *os.File
}

func (d *copied) Size() int64    { return d.size }
func (d *copied) CRC32C() uint32 { return d.sum }

func (d *copied) close() {
	if d.file != nil {
		d.file.Close() // has been read; its name is gone already
	}
}

// fetch reads an object whole.
func (c *copier) fetch(ctx context.Context, key string) (*copied, error) {
	rd, info, err := c.src.Get(ctx, key, Range{})
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	d := &copied{size: info.Size}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	var n int64
	if info.Size <= copyInMemory {
		buf := bytes.NewBuffer(make([]byte, 0, info.Size))
		n, err = io.Copy(io.MultiWriter(buf, h), rd)
		d.ReaderAt = bytes.NewReader(buf.Bytes())
	} else {
		if d.file, err = os.CreateTemp("", "restante-copy-*"); err != nil {
			return nil, err
		}
		os.Remove(d.file.Name()) // goes with the file; what can't be removed now stays in the temporary folder
		n, err = io.Copy(io.MultiWriter(d.file, h), rd)
		d.ReaderAt = d.file
	}
	if err == nil && n != info.Size {
		err = fmt.Errorf("read %d of %d octets: %w", n, info.Size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	d.sum = h.Sum32()
	return d, nil
}

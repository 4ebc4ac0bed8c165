package spool

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"restante/spool/batch"
	"restante/spool/blob"
)

// fetchCache bounds the batch objects that Fetch keeps, in octets as stored. Replay takes entries in
// the order they came, so a handful of batches is enough for each to be read once.
const fetchCache = 32 << 20

// objectMax bounds a batch object that is read whole.
const objectMax = 256 << 20

// ErrErased: the entry is there, but its body and addresses were erased.
var ErrErased = errors.New("the message was erased")

// loaded is a batch object in memory.
type loaded struct {
	key    string
	object []byte
	rows   map[string]*batch.Row // nil when the table of contents is damaged
	err    error                 // of reading
	ready  chan struct{}
}

// objectCache keeps the batch objects used last. The zero value is ready for use.
type objectCache struct {
	mu    sync.Mutex
	byKey map[string]*list.Element // of *loaded
	order list.List                // most recently used first
	size  int64
}

// get returns the object, reading it if need be; many who ask for one object cause one request.
func (c *objectCache) get(ctx context.Context, src objects, key string) (*loaded, error) {
	c.mu.Lock()
	if c.byKey == nil {
		c.byKey = map[string]*list.Element{}
	}
	if el := c.byKey[key]; el != nil {
		c.order.MoveToFront(el)
		l := el.Value.(*loaded)
		c.mu.Unlock()
		select {
		case <-l.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if errors.Is(l.err, context.Canceled) && ctx.Err() == nil {
			return c.get(ctx, src, key) // whoever read it gave up; it is out of the cache already
		}
		return l, l.err
	}
	l := &loaded{key: key, ready: make(chan struct{})}
	c.byKey[key] = c.order.PushFront(l)
	c.mu.Unlock()
	l.load(ctx, src)
	if l.err != nil {
		c.drop(key, l)
	} else {
		c.grow(int64(len(l.object)))
	}
	close(l.ready)
	return l, l.err
}

func (l *loaded) load(ctx context.Context, src objects) {
	l.object, _, l.err = src.get(ctx, l.key, blob.Range{}, objectMax)
	if l.err != nil {
		return
	}
	toc, _, err := src.codec.TOC(l.object, int64(len(l.object)))
	if err != nil {
		return // its members are looked for one by one
	}
	l.rows = make(map[string]*batch.Row, len(toc.Entries))
	for i := range toc.Entries {
		l.rows[toc.Entries[i].ID] = &toc.Entries[i]
	}
}

// drop takes an object out, if it is still that one; nil: whichever it is.
func (c *objectCache) drop(key string, l *loaded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byKey[key]
	if el == nil || l != nil && el.Value.(*loaded) != l {
		return
	}
	c.remove(el)
}

func (c *objectCache) remove(el *list.Element) {
	l := c.order.Remove(el).(*loaded)
	delete(c.byKey, l.key)
	select {
	case <-l.ready:
		c.size -= int64(len(l.object))
	default: // not counted yet
	}
}

func (c *objectCache) grow(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size += n
	for c.size > fetchCache && c.order.Len() > 1 {
		c.remove(c.order.Back())
	}
}

// Fetch returns an entry and the octets of its message, trace fields included. The octets received
// are compared with the hash taken at receipt: ErrDamaged if they differ, or can't be read. ErrErased
// when they were erased, blob.ErrNotExist when the batch was deleted. The caller closes the body.
// Batches are kept in memory for a while, so that fetching the entries of one in a row reads it once.
func (s *Spool) Fetch(ctx context.Context, id string, loc Location) (*Entry, *Body, error) {
	src := objects{store: s.o.Store, codec: s.codec, timeout: s.o.Limits.PutTimeout}
	key := StreamID{Name: loc.Stream}.Key(loc.Seq)
	for again := false; ; again = true {
		l, err := s.follow.cache.get(ctx, src, key)
		if err != nil {
			return nil, nil, fmt.Errorf("fetch %s: %w", id, err)
		}
		e, body, err := src.message(ctx, l, id, loc, s.tempDir(), s.o.Limits.BodyMemory)
		if err == nil {
			return e, body, nil
		}
		if again || !errors.Is(err, ErrDamaged) {
			return nil, nil, fmt.Errorf("fetch %s from %s: %w", id, key, err)
		}
		// A single bad read must not decide, and least of all for all entries of the batch.
		s.follow.cache.drop(key, l)
	}
}

// message takes one entry and its octets out of a batch.
func (o objects) message(ctx context.Context, l *loaded, id string, loc Location, dir string, memory int64) (*Entry, *Body, error) {
	row := l.rows[id]
	if row == nil {
		return o.search(l, id)
	}
	e := new(Entry)
	if err := json.Unmarshal(row.Entry, e); err != nil || e.ID != id {
		return nil, nil, fmt.Errorf("%w: its entry can't be read: %w", ErrDamaged, err)
	}
	switch {
	case row.Erased:
		return nil, nil, ErrErased
	case row.Big:
		body, err := o.big(ctx, e, StreamID{Name: loc.Stream}.BigKey(id), dir, memory)
		if errors.Is(err, blob.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err) // its batch is there
		}
		return e, body, err
	}
	name, content, err := o.codec.Member(l.object[row.EML.Offset : row.EML.Offset+row.EML.Length])
	if err != nil {
		return nil, nil, damaged(err)
	}
	if name != id+".eml" {
		return nil, nil, fmt.Errorf("%w: %s is where the message should be", ErrDamaged, name)
	}
	body, err := verified(e, content, row.EML.SHA256)
	return e, body, err
}

// search finds an entry in a batch whose table of contents is damaged.
func (o objects) search(l *loaded, id string) (*Entry, *Body, error) {
	var content []byte
	for m, err := range o.codec.Scan(l.object) {
		if err != nil {
			continue
		}
		switch m.Name {
		case id + ".eml":
			content = m.Content
		case id + ".json":
			e := new(Entry)
			err := json.Unmarshal(m.Content, e)
			switch {
			case content == nil:
				return nil, nil, fmt.Errorf("%w: the message can't be read, its envelope can", ErrDamaged)
			case err != nil:
				return nil, nil, fmt.Errorf("%w: the envelope can't be read: %w", ErrDamaged, err)
			case e.ID != id:
				return nil, nil, fmt.Errorf("%w: the envelope is that of %q", ErrDamaged, e.ID)
			}
			sum := sha256.Sum256(content)
			body, err := verified(e, content, hex.EncodeToString(sum[:]))
			return e, body, err
		}
	}
	return nil, nil, fmt.Errorf("%w: it is not there", ErrDamaged)
}

// verified makes a Body of octets that have the hash taken at receipt. whole is the hash of all of them.
func verified(e *Entry, content []byte, whole string) (*Body, error) {
	if e.TraceSize < 0 || e.TraceSize > len(content) {
		return nil, fmt.Errorf("%w: %d octets, %d of them trace fields", ErrDamaged, len(content), e.TraceSize)
	}
	sum := sha256.Sum256(content[e.TraceSize:])
	if hex.EncodeToString(sum[:]) != e.SHA256 {
		return nil, fmt.Errorf("%w: the SHA-256 is not the one taken at receipt", ErrDamaged)
	}
	return &Body{memory: int64(len(content)), buf: content, size: int64(len(content)), sum: whole}, nil
}

// big reads a message that is an object of its own.
func (o objects) big(ctx context.Context, e *Entry, key, dir string, memory int64) (*Body, error) {
	body := NewBody(dir, memory)
	if _, err := o.bigTo(ctx, e, key, body); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return body, nil
}

// bigTo decodes a big object to w and compares it with the hash taken at receipt. It returns the size of
// the object. Errors: blob.ErrNotExist, ErrDamaged, those of the store, those of w.
func (o objects) bigTo(ctx context.Context, e *Entry, key string, w io.Writer) (_ int64, err error) {
	rc, info, err := o.store.Get(ctx, key, blob.Range{})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	src, dst := &noting{r: rc}, &noting{w: w}
	dec, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return info.Size, err
	}
	defer dec.Close()
	sum := &skipping{h: sha256.New(), skip: int64(e.TraceSize)}
	n, err := io.Copy(io.MultiWriter(dst, sum), io.LimitReader(dec, e.Size+1))
	switch {
	case src.err != nil || dst.err != nil || ctx.Err() != nil:
		err = errors.Join(err, ctx.Err())
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	case n != e.Size || hex.EncodeToString(sum.h.Sum(nil)) != e.SHA256:
		err = fmt.Errorf("%w: the SHA-256 is not the one taken at receipt", ErrDamaged)
	}
	if err != nil {
		return info.Size, fmt.Errorf("%s: %w", key, err)
	}
	return info.Size, nil
}

// noting remembers that reading or writing failed, which is not the fault of the octets.
type noting struct {
	r   io.Reader
	w   io.Writer
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return k, err
}

func (n *noting) Write(p []byte) (int, error) {
	k, err := n.w.Write(p)
	n.err = err
	return k, err
}

// skipping hashes what comes after the first octets.
type skipping struct {
	h    hash.Hash
	skip int64
}

func (s *skipping) Write(p []byte) (int, error) {
	n := int64(len(p))
	if s.skip >= n {
		s.skip -= n
		return len(p), nil
	}
	s.h.Write(p[s.skip:])
	s.skip = 0
	return len(p), nil
}

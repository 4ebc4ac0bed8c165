package spool

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

// bigGrace is how old an unnamed big object must have been when the check began to be an orphan: a younger
// one may belong to a message that was just being kept when the batches were listed.
const bigGrace = time.Hour

// checker is one run of Check.
type checker struct {
	o       CheckOptions
	src     objects
	rep     *CheckReport
	deleted map[string]Event  // BatchDeleted, by key
	erased  map[string]bool   // entries with an Erased event
	big     map[string]*Entry // big objects that batches name; nil: erased
	unread  map[string]bool   // streams of mail with batches that could not be read: what those name isn't known
	began   time.Time
	done    int
	total   int
}

func (c *checker) run(ctx context.Context) error {
	if err := c.root(ctx); err != nil {
		return err
	}
	if err := c.strangers(ctx); err != nil {
		return err
	}
	ids, err := c.src.streams(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids { // the ledger comes first
		if err := c.stream(ctx, id); err != nil {
			return err
		}
	}
	return c.bigs(ctx)
}

func (c *checker) found(f Finding) {
	c.rep.Findings = append(c.rep.Findings, f)
	if c.o.Found != nil {
		c.o.Found(f)
	}
}

func (c *checker) progress(key string, octets int64) {
	c.done++
	c.rep.Octets += octets
	if c.o.Progress != nil {
		c.o.Progress(CheckProgress{Key: key, Objects: c.done, Total: max(c.total, c.done), Octets: c.rep.Octets})
	}
}

func (c *checker) root(ctx context.Context) error {
	b, _, err := c.src.get(ctx, rootKey, blob.Range{}, 64<<10)
	if errors.Is(err, blob.ErrNotExist) {
		c.found(Finding{Key: rootKey, Kind: FoundFormat, Detail: "it is missing: this is no store of Restante, or the wrong prefix of it"})
		return nil
	}
	if err != nil {
		return err
	}
	var r root
	switch err := json.Unmarshal(b, &r); {
	case err != nil:
		c.found(Finding{Key: rootKey, Kind: FoundFormat, Detail: "it is no JSON: " + err.Error()})
	case r.Format > batch.Format:
		c.found(Finding{Key: rootKey, Kind: FoundFormat, Detail: fmt.Sprintf("the store is of format %d, this program knows up to %d", r.Format, batch.Format)})
	}
	c.rep.Cluster = r.Cluster
	return nil
}

func (c *checker) strangers(ctx context.Context) error {
	ours := []string{"mail", "ledger", "big", "lease", "once", "probe", "prove"}
	for name, err := range c.src.store.Prefixes(ctx, "") {
		if err != nil {
			return err
		}
		if name = strings.TrimSuffix(name, "/"); name != rootKey && !slices.Contains(ours, name) {
			c.found(Finding{Key: name, Kind: FoundStrange, Detail: "it is not ours", Harmless: true})
		}
	}
	return nil
}

// checked is one object of a stream after it was read.
type checked struct {
	seq    uint64
	head   *batch.Header // nil when it can't be read
	octets int64
	err    error // of the store
	finds  []Finding
	events []Event
	big    map[string]*Entry
	count  int
}

func (c *checker) stream(ctx context.Context, id StreamID) error {
	seqs, err := c.src.seqs(ctx, id, 0, 0, func(key string) {
		c.found(Finding{Key: key, Kind: FoundStrange, Detail: "it is no batch", Harmless: true})
	})
	if err != nil {
		return err
	}
	c.rep.Streams++
	c.total += len(seqs)
	at := Position{Hash: batch.Genesis(c.rep.Cluster, id.String())}
	err = inOrder(ctx, seqs, func(ctx context.Context, seq uint64) checked { return c.object(ctx, id, seq) }, func(r checked) error {
		if errors.Is(r.err, blob.ErrNotExist) {
			return nil // deleted since it was listed
		}
		if r.err != nil {
			if !c.others(ctx) {
				return fmt.Errorf("%s: %w", id.Key(r.seq), r.err)
			}
			r.finds = append(r.finds, Finding{Key: id.Key(r.seq), Kind: FoundUnread, Detail: r.err.Error()})
		}
		c.take(ctx, id, &at, r)
		return nil
	})
	if err != nil {
		return err
	}
	if !at.Sealed && at.Seq > 0 {
		f := Finding{Key: id.Key(at.Seq), Kind: FoundUnsealed, Detail: "the stream has no end: its writer lives, or was killed", Harmless: true}
		if c.o.Repair && at.Hash != unknownHash && c.o.Mine != nil && c.o.Mine(id) { // what can't be read may be a seal
			f.Repaired = c.seal(ctx, id, at)
		}
		c.found(f)
	}
	return nil
}

// others reports that the store gives other objects than one that it doesn't give: then it is the object that suffers.
func (c *checker) others(ctx context.Context) bool { return ctx.Err() == nil && c.src.answers(ctx) }

// take puts what was found in one object into the report and looks whether it follows from the one before.
func (c *checker) take(ctx context.Context, id StreamID, at *Position, r checked) {
	key := id.Key(r.seq)
	c.rep.Batches++
	for n := at.Seq; n < r.seq; n++ {
		if _, ok := c.deleted[id.Key(n)]; !ok {
			c.unread[id.Name] = c.unread[id.Name] || !id.Ledger
			c.found(Finding{Key: id.Key(n), Kind: FoundHole, Detail: "it is missing, and no event says that it was deleted"})
		}
	}
	if at.Sealed {
		c.found(Finding{Key: key, Kind: FoundAfterSeal, Detail: "it lies behind the seal of its stream"})
	}
	for _, f := range r.finds {
		c.unread[id.Name] = c.unread[id.Name] || !id.Ledger
		c.found(f)
	}
	if r.head != nil && r.seq == at.Seq && at.Hash != unknownHash && r.head.Prev != at.Hash {
		c.found(Finding{Key: key, Kind: FoundChain, Detail: fmt.Sprintf("it follows %.12s..., but the batch before has %.12s...", r.head.Prev, at.Hash)})
	}
	if ev, ok := c.deleted[key]; ok {
		f := Finding{Key: key, Kind: FoundOrphan, Detail: "event " + ev.ID + " says that it was deleted", Harmless: true}
		if c.o.Repair {
			f.Repaired = c.remove(ctx, key)
		}
		c.found(f)
	} else {
		for k, e := range r.big {
			c.big[k] = e
		}
	}
	for _, ev := range r.events {
		switch ev.Type {
		case BatchDeleted:
			c.deleted[ev.Batch] = ev
		case Erased:
			c.erased[ev.Entry] = true
		}
	}
	if id.Ledger {
		c.rep.Events += r.count
	} else {
		c.rep.Entries += r.count
	}
	*at = Position{Seq: r.seq + 1, Hash: unknownHash, Sealed: at.Sealed}
	if r.head != nil {
		at.Hash, at.Sealed = r.head.Chain, at.Sealed || r.head.Kind == batch.Seal
	}
	c.progress(key, r.octets)
}

// object reads and checks one object of a stream.
func (c *checker) object(ctx context.Context, id StreamID, seq uint64) checked {
	r := checked{seq: seq, big: map[string]*Entry{}}
	if id.Ledger || c.o.Quick {
		var st Step
		st, r.head, r.err = c.src.step(ctx, id, seq)
		r.events, r.count = st.Events, len(st.Events)+len(st.Entries)
		if errors.Is(r.err, ErrDamaged) || errors.Is(r.err, batch.ErrNewer) {
			r.find(id.Key(seq), "", r.err)
			r.err = nil
		}
		for _, l := range st.Entries {
			if l.Location.Big {
				r.big[id.BigKey(l.Entry.ID)] = l.Entry
			}
		}
		return r
	}
	object, _, err := c.src.get(ctx, id.Key(seq), blob.Range{}, objectMax)
	if err != nil && !errors.Is(err, ErrDamaged) {
		r.err = err
		return r
	}
	r.octets = int64(len(object))
	if err == nil {
		var toc *batch.TOC
		toc, _, err = c.src.codec.TOC(object, r.octets)
		if err == nil {
			err = fits(id, seq, &toc.Header)
		}
		if err == nil {
			r.head, r.count = &toc.Header, len(toc.Entries)
			c.members(id, object, toc, &r)
			return r
		}
	}
	r.find(id.Key(seq), "", err)
	c.scan(id, object, &r)
	return r
}

func (r *checked) find(key, entry string, err error) {
	r.finds = append(r.finds, Finding{Key: key, Kind: FoundDamaged, Entry: entry, Detail: err.Error()})
}

// members compares each member of a batch with its hash, and each message with the one taken at receipt.
func (c *checker) members(id StreamID, object []byte, toc *batch.TOC, r *checked) {
	key := id.Key(r.seq)
	if err := toc.VerifyChain(); err != nil {
		r.find(key, "", err)
	}
	for i := range toc.Entries {
		row := &toc.Entries[i]
		e := new(Entry)
		if err := json.Unmarshal(row.Entry, e); err != nil || e.ID != row.ID {
			r.find(key, row.ID, fmt.Errorf("its entry can't be read: %w", err))
			continue
		}
		if row.Erased {
			if row.Big {
				r.big[id.BigKey(row.ID)] = nil
			}
			continue
		}
		if _, err := c.member(object, row.ID+".json", row.JSON); err != nil {
			r.find(key, row.ID, err)
		}
		if row.Big {
			r.big[id.BigKey(row.ID)] = e
			continue
		}
		content, err := c.member(object, row.ID+".eml", row.EML)
		if err == nil {
			_, err = verified(e, content, "")
		}
		if err != nil {
			r.find(key, row.ID, err)
		}
	}
}

func (c *checker) member(object []byte, name string, s batch.Span) ([]byte, error) {
	got, content, err := c.src.codec.Member(object[s.Offset : s.Offset+s.Length])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	sum := sha256.Sum256(content)
	if got != name || hex.EncodeToString(sum[:]) != s.SHA256 {
		return nil, fmt.Errorf("%s: its hash is not the one in the table of contents", name)
	}
	return content, nil
}

// scan says which entries of a batch without a usable table of contents can still be read.
func (c *checker) scan(id StreamID, object []byte, r *checked) {
	readable := map[string]int{}
	for m, err := range c.src.codec.Scan(object) {
		if name, kind := memberName(m.Name); err == nil && (kind == "eml" || kind == "json") {
			readable[name]++
		}
	}
	whole := 0
	for name, n := range readable {
		if n == 2 {
			whole++
			continue
		}
		r.finds = append(r.finds, Finding{Key: id.Key(r.seq), Kind: FoundDamaged, Entry: name, Detail: "only a part of it can be read"})
	}
	r.count = whole
	if len(r.finds) > 0 {
		r.finds[0].Detail += fmt.Sprintf("; %d of its messages can still be read", whole)
	}
}

// bigs looks at the messages that are objects of their own.
func (c *checker) bigs(ctx context.Context) error {
	seen := map[string]bool{}
	for info, err := range c.src.store.List(ctx, "big/", "") {
		if err != nil {
			return err
		}
		seen[info.Key] = true
		c.rep.Big++
		e, named := c.big[info.Key]
		if named && e != nil {
			var octets int64
			var err error
			if !c.o.Quick {
				octets, err = c.src.bigTo(ctx, e, info.Key, io.Discard)
			}
			switch {
			case errors.Is(err, blob.ErrNotExist):
				seen[info.Key] = false
			case errors.Is(err, ErrDamaged):
				c.found(Finding{Key: info.Key, Kind: FoundDamaged, Entry: e.ID, Detail: err.Error()})
			case err != nil && c.others(ctx):
				c.found(Finding{Key: info.Key, Kind: FoundUnread, Entry: e.ID, Detail: err.Error()})
			case err != nil:
				return err
			}
			c.progress(info.Key, octets)
			continue
		}
		if !named && c.began.Sub(info.Modified) < bigGrace {
			continue
		}
		if stream, _, _ := strings.Cut(strings.TrimPrefix(info.Key, "big/"), "/"); !named && c.unread[stream] {
			c.found(Finding{Key: info.Key, Kind: FoundOrphan, Detail: "no batch that can be read names it; it is left alone, since a damaged or missing one of its stream may", Harmless: true})
			c.progress(info.Key, 0)
			continue
		}
		f := Finding{Key: info.Key, Kind: FoundOrphan, Detail: "no batch names it: its message was never accepted, was erased or is past its term", Harmless: true}
		if c.o.Repair {
			f.Repaired = c.remove(ctx, info.Key)
		}
		c.found(f)
		c.progress(info.Key, 0)
	}
	for key, e := range c.big {
		if e != nil && !seen[key] && !c.erased[e.ID] {
			c.found(Finding{Key: key, Kind: FoundMissing, Entry: e.ID, Detail: "a batch names it, but it is not there"})
		}
	}
	return nil
}

// remove deletes an object and says so.
func (c *checker) remove(ctx context.Context, key string) string {
	if err := c.src.store.Delete(ctx, key); err != nil {
		return "" // it stands in the report as not mended
	}
	return "deleted"
}

// seal ends a stream that has no writer any more.
func (c *checker) seal(ctx context.Context, id StreamID, at Position) string {
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	h := &batch.Header{Kind: batch.Seal, Cluster: c.rep.Cluster, Stream: id.String(), Seq: at.Seq, Time: time.Now().UTC(),
		Nonce: hex.EncodeToString(nonce[:]), By: "fsck", Prev: at.Hash}
	var object []byte
	if id.Ledger {
		object = c.src.codec.Ledger(h, nil)
	} else {
		object, _ = c.src.codec.Mail(h, nil)
	}
	if _, err := c.src.store.Put(ctx, id.Key(at.Seq), bytes.NewReader(object), blob.Cond{Absent: true}); err != nil {
		return ""
	}
	return "sealed"
}

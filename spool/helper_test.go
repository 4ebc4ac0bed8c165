package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"restante/spool/batch"
	"restante/spool/blob"
)

var absent = blob.Cond{Absent: true}

// openSpool opens a spool whose store is not asked for room.
func openSpool(t testing.TB, store blob.Store, dir string, limits Limits) *Spool {
	t.Helper()
	s, err := tryOpen(store, dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryOpen(store blob.Store, dir string, limits Limits) (*Spool, error) {
	if limits.MinFree == 0 {
		limits.MinFree = -1
	}
	return Open(context.Background(), Options{Store: store, DataDir: dir, Limits: limits})
}

func closeSpool(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Error("close:", err)
	}
}

// kill ends a spool as kill -9 does, as far as that can be had inside a process: it writes nothing more that the
// store takes, if the store has crashed, and gives up the lock.
func kill(s *Spool) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Close(ctx)
}

// letter is a message that a test sends.
type letter struct {
	entry *Entry
	trace string
	text  string
	err   error // of Append
}

func newLetter(size int) *letter {
	l := &letter{entry: sampleEntry(), trace: "Received: by mx2\r\n"}
	l.text = "Subject: " + l.entry.ID + "\r\n\r\n"
	if n := size - len(l.text); n > 0 {
		l.text += strings.Repeat(l.entry.ID[20:], n/6+1)[:n]
	}
	return l
}

func (l *letter) send(s *Spool) error {
	done := s.Expect()
	defer done()
	body := NewBody("", 1<<20)
	defer body.Close()
	if _, err := body.Write([]byte(l.text)); err != nil {
		return err
	}
	l.err = s.Append(context.Background(), l.entry, []byte(l.trace), body)
	return l.err
}

// sendAll sends letters at once.
func sendAll(s *Spool, letters []*letter) {
	var all sync.WaitGroup
	for _, l := range letters {
		all.Go(func() { _ = l.send(s) })
	}
	all.Wait()
}

// contents is all that a store holds, read without a Spool.
type contents struct {
	mail   map[string]string // octets by id
	twice  []string
	events map[string]Event
	heads  map[StreamID]Position
	kinds  map[string]batch.Kind // by key
}

// readAll reads a store from its keys alone, and checks density, chains and hashes.
func readAll(t testing.TB, store blob.Store) *contents {
	t.Helper()
	c := &contents{mail: map[string]string{}, events: map[string]Event{}, heads: map[StreamID]Position{}, kinds: map[string]batch.Kind{}}
	codec := batch.New()
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		id, seq, ok := ParseKey(info.Key)
		if !ok {
			continue
		}
		object := readObject(t, store, info.Key)
		head, known := c.heads[id]
		if !known {
			head.Hash = batch.Genesis(readCluster(t, store), id.String())
		}
		if head.Seq != seq || head.Sealed {
			t.Errorf("%s comes after seq %d, sealed %v", info.Key, head.Seq, head.Sealed)
		}
		var h batch.Header
		if id.Ledger {
			h = c.readLedger(t, codec, object)
		} else {
			h = c.readMail(t, store, codec, id, object)
		}
		if h.Prev != head.Hash || h.Seq != seq || h.Stream != id.String() {
			t.Errorf("%s does not follow the one before: %+v after %+v", info.Key, h, head)
		}
		c.kinds[info.Key] = h.Kind
		c.heads[id] = Position{Seq: seq + 1, Hash: h.Chain, Sealed: h.Kind == batch.Seal}
	}
	return c
}

func (c *contents) readLedger(t testing.TB, codec *batch.Codec, object []byte) batch.Header {
	evs, err := codec.Events(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := evs.VerifyChain(); err != nil {
		t.Error(err)
	}
	parsed, bad := parseJournal(journalOf(evs.Lines))
	if bad > 0 {
		t.Error("a line of the ledger is no event")
	}
	for _, ev := range parsed {
		c.events[ev.ID] = ev
	}
	return evs.Header
}

func journalOf(lines []batch.Line) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		b.Write(journalLine(l.JSON))
	}
	return b.Bytes()
}

func (c *contents) readMail(t testing.TB, store blob.Store, codec *batch.Codec, id StreamID, object []byte) batch.Header {
	toc, _, err := codec.TOC(object, int64(len(object)))
	if err != nil {
		t.Fatal(err)
	}
	if err := toc.VerifyChain(); err != nil {
		t.Error(err)
	}
	for _, row := range toc.Entries {
		if _, ok := c.mail[row.ID]; ok {
			c.twice = append(c.twice, row.ID)
		}
		if row.Big {
			c.mail[row.ID] = unzstd(t, readObject(t, store, id.BigKey(row.ID)))
			continue
		}
		_, eml, err := codec.Member(object[row.EML.Offset : row.EML.Offset+row.EML.Length])
		if err != nil {
			t.Error(err)
		}
		c.mail[row.ID] = string(eml)
	}
	return toc.Header
}

func unzstd(t testing.TB, b []byte) string {
	dec, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	out, err := io.ReadAll(dec)
	if err != nil {
		t.Error(err)
	}
	return string(out)
}

func readObject(t testing.TB, store blob.Store, key string) []byte {
	t.Helper()
	rc, _, err := store.Get(t.Context(), key, blob.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readCluster(t testing.TB, store blob.Store) string {
	var r root
	mustJSON(t, readObject(t, store, rootKey), &r)
	return r.Cluster
}

// judge compares what the senders were told with what the store holds: promises 1 and 2.
func (c *contents) judge(t testing.TB, letters []*letter) {
	t.Helper()
	for _, l := range letters {
		got, there := c.mail[l.entry.ID]
		switch {
		case there && got != l.trace+l.text:
			t.Errorf("message %s was altered", l.entry.ID)
		case l.err == nil && !there:
			t.Errorf("message %s was acknowledged and is lost", l.entry.ID)
		case errors.Is(l.err, ErrVoid) && errors.Is(l.err, ErrUnsettled):
			t.Errorf("message %s: both certain and not: %v", l.entry.ID, l.err)
		case errors.Is(l.err, ErrVoid) && there:
			t.Errorf("message %s was refused (%v) and is kept", l.entry.ID, l.err)
		case l.err != nil && !errors.Is(l.err, ErrVoid) && !errors.Is(l.err, ErrUnsettled):
			t.Errorf("message %s: neither ErrVoid nor ErrUnsettled: %v", l.entry.ID, l.err)
		}
	}
}

// sealRest seals what dead processes left open, as the next start does, and checks that nothing lands behind.
func sealRest(t testing.TB, s *Spool, store blob.Store) {
	t.Helper()
	for id := range readAll(t, store).heads {
		if s.writing(id) {
			continue
		}
		head, err := s.head(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.seal(t.Context(), id, head); err != nil {
			t.Fatal(err)
		}
	}
}

func settledEvent(l *letter) Event {
	return Event{Type: Delivered, By: "replay", Entry: l.entry.ID, Reply: "250 2.0.0 ok", Host: "192.0.2.9"}
}

// sinkFold is a Fold in memory.
type sinkFold struct {
	mu     sync.Mutex
	pos    map[StreamID]Position
	events map[string]Event
	mail   map[string]Location
}

func newSinkFold() *sinkFold {
	return &sinkFold{pos: map[StreamID]Position{}, events: map[string]Event{}, mail: map[string]Location{}}
}

func (f *sinkFold) Positions(context.Context) (map[StreamID]Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.pos), nil
}

func (f *sinkFold) Apply(_ context.Context, steps []Step) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, st := range steps {
		if !st.Stream.IsZero() {
			f.pos[st.Stream] = st.Position
		}
		for _, ev := range st.Events {
			f.events[ev.ID] = ev
		}
		for _, e := range st.Entries {
			f.mail[e.Entry.ID] = e.Location
		}
	}
	return nil
}

func (f *sinkFold) delivered(entry string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(slices.Collect(maps.Values(f.events)), func(ev Event) bool { return ev.Entry == entry && ev.Type == Delivered })
}

// follow runs Follow until the test ends.
func follow(t *testing.T, s *Spool) *sinkFold {
	f := newSinkFold()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Follow(ctx, f) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error("follow:", err)
		}
	})
	return f
}

// dirs makes n folders that outlive subtests' bubbles.
func dirs(t testing.TB, n int) []string {
	all := make([]string, n)
	for i := range all {
		d, err := os.MkdirTemp(t.TempDir(), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		all[i] = d
	}
	return all
}

func mustJSON(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func bytesBody(b []byte) blob.Body { return bytes.NewReader(b) }

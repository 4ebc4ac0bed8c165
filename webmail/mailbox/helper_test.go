package mailbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/blob"
)

var base = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// fakeSpool holds octets of entries and what was noted.
type fakeSpool struct {
	mu    sync.Mutex
	raw   map[string]string
	noted []spool.Event
	fetch int
	fail  error // of Fetch
}

func (f *fakeSpool) Fetch(_ context.Context, id string, _ spool.Location) (*spool.Entry, *spool.Body, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetch++
	if f.fail != nil {
		return nil, nil, f.fail
	}
	raw, ok := f.raw[id]
	if !ok {
		return nil, nil, fmt.Errorf("%s: %w", id, blob.ErrNotExist)
	}
	b := spool.NewBody("", 1<<20)
	if _, err := b.Write([]byte(raw)); err != nil {
		return nil, nil, err
	}
	return &spool.Entry{ID: id}, b, nil
}

func (f *fakeSpool) Note(evs ...spool.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noted = append(f.noted, evs...)
}

// wordsOf is a plain Text: the octets after the header, and names after "file:".
func wordsOf(_ context.Context, r io.ReaderAt, size int64) (string, []string, error) {
	raw, err := io.ReadAll(io.NewSectionReader(r, 0, size))
	if err != nil {
		return "", nil, err
	}
	_, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	var names []string
	var text []string
	for line := range strings.SplitSeq(string(body), "\n") {
		if name, ok := strings.CutPrefix(line, "file:"); ok {
			names = append(names, name)
		} else {
			text = append(text, line)
		}
	}
	return strings.Join(text, "\n"), names, nil
}

func openStore(t testing.TB, path string, f *fakeSpool, change func(*Options)) *Store {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "webmail.db")
	}
	o := Options{Fetch: f.Fetch, Note: f.Note, Text: wordsOf, Now: func() time.Time { return base.Add(24 * time.Hour) }}
	if change != nil {
		change(&o)
	}
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// maker makes entries, events and the steps that bring them.
type maker struct {
	n   int
	seq map[spool.StreamID]uint64
}

func newMaker() *maker { return &maker{seq: map[spool.StreamID]uint64{}} }

func (m *maker) id(at time.Time) string {
	m.n++
	var k key
	if err := k.SetTime(uint64(at.UnixMilli())); err != nil {
		panic(err)
	}
	k[13], k[14], k[15] = byte(m.n>>16), byte(m.n>>8), byte(m.n)
	return k.String()
}

var mailStream, ledgerStream = spool.StreamID{Name: "n1-01J"}, spool.StreamID{Ledger: true, Name: "n1-01J"}

func (m *maker) step(id spool.StreamID) spool.Step {
	m.seq[id]++
	return spool.Step{Stream: id, Cluster: "c1", Position: spool.Position{Seq: m.seq[id], Hash: fmt.Sprint(id, m.seq[id])}}
}

func (m *maker) mail(es ...*spool.Entry) spool.Step { return m.mailIn(mailStream, es...) }

func (m *maker) mailIn(id spool.StreamID, es ...*spool.Entry) spool.Step {
	st := m.step(id)
	for i, e := range es {
		st.Entries = append(st.Entries, spool.Located{Entry: e, Location: spool.Location{Stream: id.Name, Seq: st.Position.Seq - 1, Offset: int64(i), Length: 7}})
	}
	return st
}

func (m *maker) ledger(evs ...spool.Event) spool.Step {
	st := m.step(ledgerStream)
	st.Events = evs
	return st
}

// held makes a message from somebody to some of ours.
func (m *maker) held(minute int, from, subject string, rcpts ...string) *spool.Entry {
	at := base.Add(time.Duration(minute) * time.Minute)
	e := &spool.Entry{ID: m.id(at), Kind: spool.Held, Received: at, From: from, Size: 100, SHA256: "00",
		Summary: spool.Summary{From: "Somebody <" + from + ">", To: strings.Join(rcpts, ", "), Subject: subject}}
	e.Summary.MessageID = "<" + e.ID + "@x.test>"
	for _, r := range rcpts {
		e.Rcpts = append(e.Rcpts, spool.Recipient{Address: r, Domain: "a.test"})
	}
	return e
}

func (m *maker) event(minute int, typ spool.EventType, entry string) spool.Event {
	at := base.Add(time.Duration(minute) * time.Minute)
	return spool.Event{ID: m.id(at), Time: at, Type: typ, Entry: entry, By: "x"}
}

func apply(t testing.TB, s *Store, steps ...spool.Step) {
	t.Helper()
	if err := s.Apply(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
}

func own(id string, more ...string) Box { return Box{ID: id, Addresses: append([]string{id}, more...)} }

func entriesOf(items []Item) []string {
	var ids []string
	for _, it := range items {
		ids = append(ids, it.Entry)
	}
	return ids
}

func mustList(t testing.TB, s *Store, q Query) Page {
	t.Helper()
	p, err := s.List(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func yes() *bool { v := true; return &v }
func no() *bool  { v := false; return &v }

func removeFile(name string) error { return os.Remove(name) }

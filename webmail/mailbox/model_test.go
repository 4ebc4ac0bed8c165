package mailbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"restante/spool"
	"restante/spool/index"
)

// history is what streams hold, in order.
type history struct {
	m       *maker
	streams [][]spool.Step
	entries []*spool.Entry
	events  []spool.Event
	lossy   bool // something was erased or deleted
	where   map[string]string
}

var boxes = []Box{own("anna@a.test", "a@a.test", "all@a.test"), own("max@a.test", "all@a.test"), {ID: "info@a.test", Addresses: []string{"info@a.test"}, Shared: true},
	own("eve@a.test"), own("info@a.test"), {ID: "anna@a.test", Addresses: []string{"anna@a.test"}, Shared: true}}

var modelAddresses = []string{"anna@a.test", "Anna+tag@A.test", "a@a.test", "all@a.test", "max@a.test", "info@a.test", "other@a.test", "info+x@a.test"}

func drawHistory(t *rapid.T, lossy bool) *history {
	h := &history{m: newMaker(), lossy: lossy, where: map[string]string{}}
	writings := []string{h.m.id(base), h.m.id(base)}
	for s := range 2 {
		sid := spool.StreamID{Name: fmt.Sprintf("n%d-01J", s)}
		var steps []spool.Step
		for range rapid.IntRange(0, 4).Draw(t, "batches") {
			var es []*spool.Entry
			for range rapid.IntRange(1, 4).Draw(t, "entries") {
				es = append(es, h.drawEntry(t, writings))
			}
			st := h.m.mailIn(sid, es...)
			for _, e := range es {
				h.where[e.ID] = sid.Key(st.Position.Seq - 1)
			}
			h.entries = append(h.entries, es...)
			steps = append(steps, st)
		}
		h.streams = append(h.streams, steps)
	}
	for s := range 2 {
		sid := spool.StreamID{Ledger: true, Name: fmt.Sprintf("n%d-01J", s)}
		var steps []spool.Step
		for range rapid.IntRange(0, 6).Draw(t, "ledger batches") {
			st := h.m.step(sid)
			for range rapid.IntRange(1, 4).Draw(t, "events") {
				if ev, ok := h.drawEvent(t); ok {
					h.events = append(h.events, ev)
					st.Events = append(st.Events, ev)
				}
			}
			steps = append(steps, st)
		}
		h.streams = append(h.streams, steps)
	}
	return h
}

func (h *history) drawEntry(t *rapid.T, writings []string) *spool.Entry {
	e := h.m.held(rapid.IntRange(0, 300).Draw(t, "minute"), "s@x.test", rapid.SampledFrom([]string{"Plan", "Re: Plan", "other", ""}).Draw(t, "subject"))
	e.Kind = rapid.SampledFrom([]spool.Kind{spool.Held, spool.Held, spool.Held, spool.Local, spool.Copy, spool.Outbound, spool.Draft, spool.Draft}).Draw(t, "kind")
	for range rapid.IntRange(1, 2).Draw(t, "rcpts") {
		e.Rcpts = append(e.Rcpts, spool.Recipient{Address: rapid.SampledFrom(modelAddresses).Draw(t, "rcpt"), Domain: "a.test"})
	}
	e.Summary.To = e.Rcpts[0].Address
	e.Summary.MessageID = fmt.Sprintf("<m%d@x.test>", rapid.IntRange(0, 20).Draw(t, "mid"))
	if rapid.Bool().Draw(t, "answers") {
		e.Summary.Refs = fmt.Sprintf("<m%d@x.test>", rapid.IntRange(0, 20).Draw(t, "ref"))
	}
	if e.Kind == spool.Held {
		e.Quarantine = rapid.SampledFrom([]string{"", "", "a virus"}).Draw(t, "quarantine")
	}
	if e.Kind != spool.Held {
		e.Mailbox = rapid.SampledFrom([]string{"anna@a.test", "max@a.test"}).Draw(t, "account")
		e.From = rapid.SampledFrom([]string{e.Mailbox, "info@a.test", "anna@a.test"}).Draw(t, "from")
		e.Writing = rapid.SampledFrom(writings).Draw(t, "writing")
		if e.Kind == spool.Draft {
			e.Rcpts = nil
		} else if rapid.IntRange(0, 9).Draw(t, "later") == 0 {
			e.NotBefore = base.Add(48 * time.Hour) // after the now of the test
		}
	}
	return e
}

func (h *history) drawEvent(t *rapid.T) (spool.Event, bool) {
	types := []spool.EventType{spool.Delivered, spool.Removed, spool.Removed, spool.Released, spool.Parked, spool.Flagged, spool.Flagged, spool.Flagged}
	if h.lossy {
		types = append(types, spool.Erased, spool.BatchDeleted)
	}
	if len(h.entries) == 0 {
		return spool.Event{}, false
	}
	e := rapid.SampledFrom(h.entries).Draw(t, "entry")
	ev := h.m.event(rapid.IntRange(0, 20).Draw(t, "event minute"), rapid.SampledFrom(types).Draw(t, "type"), e.ID)
	switch ev.Type {
	case spool.Flagged:
		e = h.entries[rapid.IntRange(0, min(2, len(h.entries)-1)).Draw(t, "flagged")] // few, so that flags meet
		ev.Entry, ev.Address = e.ID, rapid.SampledFrom(boxes[:3]).Draw(t, "box").ID
		name := rapid.SampledFrom([]string{"seen", "starred", "trashed", "discarded"}).Draw(t, "flag")
		if name == "discarded" {
			ev.Address = e.Mailbox
		}
		ev.Data = map[string]any{name: rapid.Bool().Draw(t, "value")}
		return ev, ev.Address != ""
	case spool.BatchDeleted:
		ev.Entry, ev.Batch = "", h.where[e.ID]
		return ev, true
	}
	if len(e.Rcpts) == 0 {
		return ev, ev.Type == spool.Erased
	}
	ev.Rcpt, ev.Round = rapid.IntRange(0, len(e.Rcpts)-1).Draw(t, "event rcpt"), rapid.IntRange(0, 1).Draw(t, "round")
	return ev, true
}

// shuffle interleaves the streams and cuts them into transactions.
func (h *history) shuffle(t *rapid.T) [][]spool.Step {
	left := slices.Clone(h.streams)
	var txs [][]spool.Step
	var tx []spool.Step
	for {
		var able []int
		for i, s := range left {
			if len(s) > 0 {
				able = append(able, i)
			}
		}
		if len(able) == 0 {
			return append(txs, tx)
		}
		i := rapid.SampledFrom(able).Draw(t, "stream")
		tx = append(tx, left[i][0])
		left[i] = left[i][1:]
		if rapid.Bool().Draw(t, "cut") {
			txs, tx = append(txs, tx), nil
		}
	}
}

// modelItem is one message that a box sees.
type modelItem struct {
	e      *spool.Entry
	folder Folder
	marks  [marks]bool
	thread int
}

// model says, from the sets of entries and events, what a box holds.
func (h *history) model(b Box, now time.Time) []modelItem {
	gone := map[string]bool{}
	pairs := map[string]map[int][]spool.Event{}
	type flag struct {
		box, entry, name string
	}
	latest := map[flag]spool.Event{}
	for _, ev := range h.events {
		switch {
		case ev.Type == spool.Erased:
			gone[ev.Entry] = true
		case ev.Type == spool.BatchDeleted:
			for id, batch := range h.where {
				if batch == ev.Batch {
					gone[id] = true
				}
			}
		case ev.Type == spool.Flagged:
			for name := range ev.Data {
				f := flag{ev.Address, ev.Entry, name}
				if was, ok := latest[f]; !ok || was.Time.Before(ev.Time) || was.Time.Equal(ev.Time) && was.ID < ev.ID {
					latest[f] = ev
				}
			}
		default:
			if pairs[ev.Entry] == nil {
				pairs[ev.Entry] = map[int][]spool.Event{}
			}
			pairs[ev.Entry][ev.Rcpt] = append(pairs[ev.Entry][ev.Rcpt], ev)
		}
	}
	removed := func(e *spool.Entry, rcpt int) bool {
		evs := pairs[e.ID][rcpt]
		return len(evs) > 0 && index.Stand(evs, e.Quarantine, e.Received).State == spool.StateRemoved
	}
	detained := func(e *spool.Entry, rcpt int) bool {
		released := slices.ContainsFunc(pairs[e.ID][rcpt], func(ev spool.Event) bool { return ev.Type == spool.Released })
		return e.Quarantine != "" && !released
	}
	allGone := func(e *spool.Entry) bool {
		for i := range e.Rcpts {
			if !removed(e, i) {
				return false
			}
		}
		return true
	}
	marked := func(e *spool.Entry, name string) bool {
		ev, ok := latest[flag{b.ID, e.ID, name}]
		return ok && ev.Data[name] == true
	}
	threads := h.threads(gone)
	var out []modelItem
	for _, e := range h.entries {
		if gone[e.ID] || e.NotBefore.After(now) {
			continue
		}
		it := modelItem{e: e, thread: threads[e.ID]}
		switch e.Kind {
		case spool.Held, spool.Local:
			for i, r := range e.Rcpts {
				a := strings.ToLower(r.Address)
				local, domain, _ := strings.Cut(a, "@")
				local, _, _ = strings.Cut(local, "+")
				if !removed(e, i) && !detained(e, i) && (slices.Contains(b.Addresses, a) || slices.Contains(b.Addresses, local+"@"+domain)) {
					it.folder = Inbox
				}
			}
		case spool.Copy:
			if !allGone(e) && (e.Mailbox == b.ID || b.Shared && e.From == b.ID) {
				it.folder = Sent
			}
		case spool.Draft:
			live := !b.Shared && e.Mailbox == b.ID && !marked(e, "discarded")
			for _, o := range h.entries {
				if o.Writing != e.Writing || o.Mailbox != e.Mailbox || gone[o.ID] {
					continue
				}
				if o.Kind == spool.Draft && o.ID > e.ID || o.Kind != spool.Draft && !allGone(o) {
					live = false
				}
			}
			if live {
				it.folder = Drafts
			}
		}
		if it.folder == "" {
			continue
		}
		for i, name := range markNames {
			it.marks[i] = marked(e, name)
		}
		out = append(out, it)
	}
	slices.SortFunc(out, func(a, b modelItem) int { return strings.Compare(b.e.ID, a.e.ID) })
	return out
}

// threads labels entries by what they share, again and again until nothing moves.
func (h *history) threads(gone map[string]bool) map[string]int {
	label := map[string]int{}
	nodes := map[string][]int64{}
	for i, e := range h.entries {
		n := newEntry(&spool.Located{Entry: e}, key{}, 0, 0)
		if !gone[e.ID] && n.data.shown() {
			nodes[e.ID], label[e.ID] = n.nodes(), i+1
		}
	}
	for moved := true; moved; {
		moved = false
		for a, an := range nodes {
			for b, bn := range nodes {
				if label[a] < label[b] && slices.ContainsFunc(an, func(k int64) bool { return slices.Contains(bn, k) }) {
					label[b], moved = label[a], true
				}
			}
		}
	}
	return label
}

func (m *modelItem) in(f Folder) bool {
	switch f {
	case Trash:
		return m.marks[markTrashed]
	case Starred:
		return m.marks[markStarred] && !m.marks[markTrashed] && m.folder != Drafts
	case All:
		return !m.marks[markTrashed]
	}
	return m.folder == f && !m.marks[markTrashed]
}

// line is what a test compares of a list.
type line struct {
	Entry, Thread string
	Count         int
	Unread        bool
}

// lines is the list of a folder, by the model.
func lines(items []modelItem, f Folder) []line {
	var out []line
	seen := map[int]bool{}
	for _, it := range items {
		if !it.in(f) || seen[it.thread] {
			continue
		}
		seen[it.thread] = true
		l := line{Entry: it.e.ID}
		for _, o := range items {
			if o.thread != it.thread {
				continue
			}
			l.Thread = o.e.ID // the last is the oldest
			if o.marks[markTrashed] == (f == Trash) {
				l.Count++
				l.Unread = l.Unread || o.folder == Inbox && !o.marks[markSeen]
			}
		}
		out = append(out, l)
	}
	return out
}

func (h *history) check(t *rapid.T, s *Store) {
	now := base.Add(24 * time.Hour)
	for _, b := range boxes {
		want := h.model(b, now)
		for _, f := range append(Folders(), All) {
			h.checkFolder(t, s, b, f, want)
		}
		for _, e := range h.entries {
			if h.lossy && e.Kind == spool.Draft { // that it was sent may be known or not
				continue
			}
			i := slices.IndexFunc(want, func(m modelItem) bool { return m.e == e })
			it, err := s.Item(t.Context(), b, e.ID)
			if (err == nil) != (i >= 0) || err != nil && !errors.Is(err, ErrNotFound) {
				t.Fatalf("%s asks for %s (%s): %v, seen by the model: %v", b.ID, e.ID, e.Kind, err, i >= 0)
			}
			if err == nil && (it.Folder != want[i].folder || it.Starred != want[i].marks[markStarred] || it.Trashed != want[i].marks[markTrashed]) {
				t.Fatalf("%s: %+v, want %+v", b.ID, it, want[i])
			}
		}
	}
}

func (h *history) checkFolder(t *rapid.T, s *Store, b Box, f Folder, want []modelItem) {
	var got []line
	for after := Cursor(""); ; {
		p, err := s.List(t.Context(), Query{Box: b, Folder: f, After: after, Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range p.Items {
			got = append(got, line{it.Entry, it.Thread, it.Count, it.Unread})
		}
		if after = p.Next; after == "" {
			break
		}
	}
	expected := lines(want, f)
	if h.lossy { // what is gone may have held a conversation together, or not, as it was seen or not
		var a, b []string
		for _, it := range want {
			if it.in(f) {
				a = append(a, it.e.ID)
			}
		}
		for _, l := range got {
			b = append(b, l.Entry)
		}
		for _, id := range b {
			if f != Drafts && f != All && f != Trash && !slices.Contains(a, id) {
				t.Fatalf("%s shows %s", f, id)
			}
		}
		return
	}
	if d := cmp.Diff(expected, got); d != "" {
		t.Fatalf("%s of %s (-want +got):\n%s", f, b.ID, d)
	}
	counts, err := s.Counts(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	var c Count
	for _, it := range want {
		if it.in(f) {
			c.Total++
			if it.folder == Inbox && !it.marks[markSeen] {
				c.Unread++
			}
		}
	}
	if f != All && counts[f] != c {
		t.Fatalf("%s of %s counts %+v, want %+v", f, b.ID, counts[f], c)
	}
	for i, l := range got {
		newer, older, err := s.Neighbours(t.Context(), Query{Box: b, Folder: f}, l.Entry)
		if err != nil || i > 0 && newer != got[i-1].Thread || i+1 < len(got) && older != got[i+1].Thread || i == 0 && newer != "" || i+1 == len(got) && older != "" {
			t.Fatalf("neighbours of %s in %s: %q %q, %v", l.Entry, f, newer, older, err)
		}
	}
}

// TestModel folds random histories in random orders, with views that were there from the beginning and with views that are
// read at the end, and compares each with what the sets of entries and events say.
func TestModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, rapid.IntRange(0, 3).Draw(t, "lossy") == 0)
		n++
		early := rapid.Bool().Draw(t, "early")
		s, err := Open(filepath.Join(dir, fmt.Sprint(n)), Options{Note: func(...spool.Event) {}, Text: wordsOf, Now: func() time.Time { return base.Add(24 * time.Hour) }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, tx := range h.shuffle(t) {
			for i := 0; early && i < len(boxes); i++ {
				if _, err := s.Counts(t.Context(), boxes[i]); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Apply(t.Context(), tx); err != nil {
				t.Fatal(err)
			}
		}
		h.check(t, s)
	})
}

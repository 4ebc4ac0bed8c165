package index

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"restante/spool"
)

// history is a spool's content: what each stream holds, in order.
type history struct {
	streams [][]spool.Step
	entries []*spool.Entry
	events  []spool.Event
}

var domains = []string{"a.test", "b.test"}

// drawHistory makes entries and events with times from a span of a few hours, in two streams of each kind.
func drawHistory(t *rapid.T) *history {
	m := newMaker()
	h := &history{}
	at := func(label string) time.Time {
		return m.base.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, label)) * time.Minute)
	}
	id := func(when time.Time) string {
		m.n++
		var k key
		if err := k.SetTime(uint64(when.UnixMilli())); err != nil {
			t.Fatal(err)
		}
		k[15], k[14], k[6] = byte(m.n), byte(m.n>>8), byte(rapid.IntRange(0, 255).Draw(t, "id"))
		return k.String()
	}
	for s := range 2 {
		sid := spool.StreamID{Name: fmt.Sprintf("n%d-01J", s)}
		var steps []spool.Step
		for range rapid.IntRange(0, 4).Draw(t, "batches") {
			st := m.step(sid)
			for i := range rapid.IntRange(1, 3).Draw(t, "entries") {
				when := at("received")
				e := &spool.Entry{ID: id(when), Kind: spool.Held, Received: when, From: "s@x.test", Size: 100, SHA256: "00",
					Verdicts: map[string]string{"spf": "pass"}, Summary: spool.Summary{Subject: "é"}}
				e.Quarantine = rapid.SampledFrom([]string{"", "", "a virus"}).Draw(t, "quarantine")
				for r := range rapid.IntRange(1, 3).Draw(t, "rcpts") {
					d := rapid.SampledFrom(domains).Draw(t, "domain")
					e.Rcpts = append(e.Rcpts, spool.Recipient{Address: fmt.Sprintf("u%d@%s", r, d), Domain: d, Notify: strings.Repeat("NEVER", r%2)})
				}
				h.entries = append(h.entries, e)
				st.Entries = append(st.Entries, spool.Located{Entry: e, Location: spool.Location{Stream: sid.Name, Seq: m.seq[sid] - 1, Offset: int64(i), Length: 7}})
			}
			steps = append(steps, st)
		}
		h.streams = append(h.streams, steps)
	}
	types := []spool.EventType{spool.Delivered, spool.Delivered, spool.Deferred, spool.Parked, spool.Bounced, spool.Expired, spool.Removed, spool.HeldBack,
		spool.Released, spool.Retried, spool.OutageOpened, spool.OutageOpened, spool.OutageClosed, spool.Declared, spool.DeclareEnded,
		spool.ReplayPaused, spool.ReplayResumed, spool.Learned, spool.Opened, spool.RecipientsChanged, spool.RecipientsListed}
	for s := range 2 {
		sid := spool.StreamID{Ledger: true, Name: fmt.Sprintf("n%d-01J", s)}
		var steps []spool.Step
		for range rapid.IntRange(0, 8).Draw(t, "ledger batches") {
			st := m.step(sid)
			for range rapid.IntRange(1, 3).Draw(t, "events") {
				when := at("event")
				ev := spool.Event{ID: id(when), Time: when, Type: rapid.SampledFrom(types).Draw(t, "type"), By: "x"}
				h.fill(t, &ev)
				h.events = append(h.events, ev)
				st.Events = append(st.Events, ev)
			}
			steps = append(steps, st)
		}
		h.streams = append(h.streams, steps)
	}
	return h
}

func (h *history) fill(t *rapid.T, ev *spool.Event) {
	ev.Domain = rapid.SampledFrom(domains).Draw(t, "domain")
	switch {
	case aboutPair(ev.Type) || ev.Type == spool.Opened:
		ev.Domain = ""
		if len(h.entries) == 0 {
			ev.Type, ev.Domain = spool.ReplayPaused, domains[0]
			return
		}
		e := rapid.SampledFrom(h.entries).Draw(t, "entry")
		ev.Entry, ev.Rcpt = e.ID, rapid.IntRange(0, len(e.Rcpts)-1).Draw(t, "rcpt")
		ev.Round = rapid.IntRange(0, 2).Draw(t, "round")
		ev.Reply = rapid.SampledFrom([]string{"", "250 ok", "450 no", "550 never"}).Draw(t, "reply")
		ev.Reason = rapid.SampledFrom([]string{"", "why"}).Draw(t, "reason")
		if ev.Type == spool.Retried && rapid.Bool().Draw(t, "again") {
			ev.Data = map[string]any{"again": true}
		}
	case ev.Type == spool.OutageOpened || ev.Type == spool.OutageClosed:
		ev.Outage = fmt.Sprintf("o%d-%s", rapid.IntRange(0, 2).Draw(t, "outage"), ev.Domain)
	case ev.Type == spool.Learned || ev.Type == spool.Declared || ev.Type == spool.DeclareEnded:
		ev.Address = fmt.Sprintf("U%d@%s", rapid.IntRange(0, 2).Draw(t, "address"), ev.Domain)
	case ev.Type == spool.RecipientsChanged:
		ev.Data = map[string]any{"source": rapid.SampledFrom([]string{"file", "primary"}).Draw(t, "source"), "kind": rapid.SampledFrom([]string{"", "user"}).Draw(t, "kind"),
			"state": rapid.SampledFrom([]string{"exists", "gone"}).Draw(t, "state"), "addresses": []string{"R0@" + ev.Domain, fmt.Sprintf("r%d@%s", rapid.IntRange(1, 2).Draw(t, "address"), ev.Domain)}}
	case ev.Type == spool.RecipientsListed:
		ev.Data = map[string]any{"source": "file", "count": rapid.IntRange(0, 9).Draw(t, "count")}
	}
}

// shuffle interleaves the streams, keeping the order within each, and cuts them into transactions.
// Some ledger events come before by way of the journal.
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
		i := rapid.SampledFrom(able).Draw(t, "next stream")
		st := left[i][0]
		left[i] = left[i][1:]
		if len(st.Events) > 0 && rapid.IntRange(0, 3).Draw(t, "journal") == 0 {
			tx = append(tx, spool.Step{Events: slices.Clone(st.Events), Cluster: "c"})
		}
		tx = append(tx, st)
		if rapid.IntRange(0, 9).Draw(t, "twice") == 0 {
			tx = append(tx, st)
		}
		if rapid.Bool().Draw(t, "commit") {
			txs, tx = append(txs, tx), nil
		}
	}
}

// answer is all that can be asked of an index.
type answer struct {
	Pairs    []spool.Pair
	Pending  []spool.Pair
	Views    []*View
	Outages  []Outage
	Sums     []Summary
	Declared []spool.Event
	Paused   []string
	Known    []string
	Rcpts    []string
	Lists    []RecipientList
}

func ask(t testing.TB, x *Index) answer {
	t.Helper()
	ctx := context.Background()
	var a answer
	var err error
	must := func() {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var c Cursor
	for first := true; first || c != ""; first = false {
		var page []spool.Pair
		page, c, err = x.List(ctx, Filter{Limit: 3, After: c})
		must()
		a.Pairs = append(a.Pairs, page...)
	}
	for first := true; first || c != ""; first = false {
		var page []spool.Pair
		page, c, err = x.Pending(ctx, "", c, 2)
		must()
		a.Pending = append(a.Pending, page...)
	}
	seen := ""
	for _, p := range a.Pairs {
		if p.Entry != seen {
			var v *View
			v, err = x.Entry(ctx, p.Entry)
			must()
			slices.SortFunc(v.Events, func(a, b spool.Event) int { return strings.Compare(a.ID, b.ID) })
			a.Views = append(a.Views, v)
			seen = p.Entry
		}
	}
	a.Outages, err = x.Outages(ctx, "")
	must()
	for _, o := range a.Outages {
		var r *Tally
		r, err = x.Tally(ctx, o.ID)
		must()
		if r.Counts != o.Counts || r.Unaccounted != 0 || r.Deleted != 0 || len(r.Chain) != 0 {
			t.Fatalf("nothing is missing of %+v, but: %+v", o, r)
		}
	}
	a.Declared, err = x.Declarations(ctx)
	must()
	for _, d := range domains {
		var s Summary
		s, err = x.Summary(ctx, d)
		must()
		id, open := x.OutageOpen(d)
		a.Sums = append(a.Sums, s)
		a.Known = append(a.Known, id, fmt.Sprint(open))
		_, paused, perr := x.Paused(ctx, d)
		err = perr
		must()
		a.Paused = append(a.Paused, fmt.Sprint(d, paused))
		var good []string
		good, err = x.KnownGood(ctx, d, 100)
		must()
		a.Known = append(a.Known, good...)
	}
	_, err = x.Recipients(ctx, RecipientsMark{}, func(r Recipient) error {
		a.Rcpts = append(a.Rcpts, fmt.Sprint(r))
		return nil
	})
	must()
	slices.Sort(a.Rcpts)
	a.Lists, err = x.RecipientLists(ctx)
	must()
	return a
}

// naive computes pairs and outages from the whole history at once.
func (h *history) naive() (pairs []spool.Pair, outages []Outage) {
	type span struct{ opened, closed time.Time }
	spans := map[string]*span{}
	for _, ev := range h.events {
		if ev.Type != spool.OutageOpened && ev.Type != spool.OutageClosed {
			continue
		}
		s := spans[ev.Outage]
		if s == nil {
			s = &span{}
			spans[ev.Outage] = s
		}
		if ev.Type == spool.OutageOpened && (s.opened.IsZero() || ev.Time.Before(s.opened)) {
			s.opened = ev.Time
		}
		if ev.Type == spool.OutageClosed && ev.Time.After(s.closed) {
			s.closed = ev.Time
		}
	}
	byID := map[string]*Outage{}
	for id, s := range spans {
		if !s.opened.IsZero() {
			_, d, _ := strings.Cut(id, "-")
			byID[id] = &Outage{ID: id, Domain: d, Opened: s.opened, Closed: s.closed}
		}
	}
	for _, e := range h.entries {
		led := map[string]bool{}
		for i, r := range e.Rcpts {
			var evs []spool.Event
			for _, ev := range h.events {
				if ev.Entry == e.ID && ev.Rcpt == i && aboutPair(ev.Type) {
					evs = append(evs, ev)
				}
			}
			s := fold(evs)
			s.detain(evs, e.Quarantine, e.Received.UnixNano())
			p := spool.Pair{Quarantine: s.quarantine, Entry: e.ID, Rcpt: i, Address: r.Address, Domain: r.Domain, State: stateNames[s.state], Round: s.round, Attempts: s.attempts, Reply: s.reply}
			var best *Outage
			for _, o := range byID {
				joins := o.Domain == r.Domain && (o.Closed.IsZero() || o.Closed.After(e.Received)) &&
					(!o.Opened.After(e.Received) || s.state == pending || s.ended > o.Opened.UnixNano())
				if joins && (best == nil || o.Opened.Before(best.Opened) || o.Opened.Equal(best.Opened) && o.ID < best.ID) {
					best = o
				}
			}
			if best != nil {
				p.Outage = best.ID
				*best.Counts.at(p.State)++
				if !led[r.Domain] {
					best.Messages++
					best.Octets += e.Size
				}
				if end := time.Unix(0, s.ended).UTC(); p.State == spool.StateDelivered {
					if best.FirstDelivered.IsZero() || end.Before(best.FirstDelivered) {
						best.FirstDelivered = end
					}
					if end.After(best.LastDelivered) {
						best.LastDelivered = end
					}
				}
			}
			led[r.Domain] = true
			pairs = append(pairs, p)
		}
	}
	for _, o := range byID {
		outages = append(outages, *o)
	}
	slices.SortFunc(outages, func(a, b Outage) int {
		if c := b.Opened.Compare(a.Opened); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	slices.SortFunc(pairs, func(a, b spool.Pair) int {
		if c := strings.Compare(a.Entry, b.Entry); c != 0 {
			return c
		}
		return a.Rcpt - b.Rcpt
	})
	return pairs, outages
}

func openAt(t testing.TB, path string) *Index {
	t.Helper()
	x, err := Open(path, Options{Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestAnyOrder: streams in any interleaving, cut into any transactions, with some steps twice, give the
// same index; and it is what a naive model makes of the whole.
func TestAnyOrder(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		var answers []answer
		for range 2 {
			n++
			path := filepath.Join(dir, fmt.Sprint(n))
			x := openAt(t, path)
			for i, tx := range h.shuffle(rt) {
				if err := x.Apply(context.Background(), tx); err != nil {
					rt.Fatalf("transaction %d: %v", i, err)
				}
				if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
					if err := x.Close(); err != nil {
						rt.Fatal(err)
					}
					x = openAt(t, path)
				}
			}
			answers = append(answers, ask(t, x))
			if err := x.Close(); err != nil {
				rt.Fatal(err)
			}
			if err := Remove(path); err != nil {
				rt.Fatal(err)
			}
		}
		if d := cmp.Diff(answers[0], answers[1]); d != "" {
			rt.Fatalf("two orders give two indexes:\n%s", d)
		}
		pairs, outages := h.naive()
		var got []spool.Pair
		for _, p := range answers[0].Pairs {
			got = append(got, spool.Pair{Entry: p.Entry, Rcpt: p.Rcpt, Address: p.Address, Domain: p.Domain, State: p.State, Round: p.Round, Attempts: p.Attempts, Reply: p.Reply, Outage: p.Outage, Quarantine: p.Quarantine})
		}
		if d := cmp.Diff(pairs, got); d != "" {
			rt.Fatalf("pairs are not the model's:\n%s", d)
		}
		if d := cmp.Diff(outages, answers[0].Outages); d != "" {
			rt.Fatalf("outages are not the model's:\n%s", d)
		}
		checkSums(rt, answers[0])
		for _, v := range answers[0].Views {
			i := slices.IndexFunc(h.entries, func(e *spool.Entry) bool { return e.ID == v.Entry.ID })
			if d := cmp.Diff(h.entries[i], v.Entry); d != "" {
				rt.Fatalf("an entry does not come back:\n%s", d)
			}
		}
	})
}

// checkSums compares the counters with the pairs.
func checkSums(t *rapid.T, a answer) {
	for _, s := range a.Sums {
		var all, last Counts
		var pend []spool.Pair
		for _, p := range a.Pairs {
			if p.Domain != s.Domain {
				continue
			}
			*all.at(p.State)++
			if p.Outage == s.Outage {
				*last.at(p.State)++
			}
			if p.State == spool.StatePending {
				pend = append(pend, p)
			}
		}
		if s.Outage == "" {
			last = all
		}
		if s.All != all || s.Counts != last {
			raw, err := json.Marshal(s)
			t.Fatalf("summary %s %v, pairs say %+v and %+v", raw, err, all, last)
		}
		if len(pend) > 0 && !s.Oldest.Equal(pend[0].Received) {
			t.Fatalf("oldest %v, want %v", s.Oldest, pend[0].Received)
		}
	}
	var pend []spool.Pair
	for _, p := range a.Pairs {
		if p.State == spool.StatePending {
			pend = append(pend, p)
		}
	}
	if d := cmp.Diff(pend, a.Pending); d != "" {
		t.Fatalf("pending:\n%s", d)
	}
}

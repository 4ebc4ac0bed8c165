package index

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"restante/spool"
)

const testWriting = "01M7YNAYM0000000000000WRTE"

var ledger = spool.StreamID{Ledger: true, Name: "n1-01J"}

// writer makes batches of one entry each and what happens to them.
type writer struct {
	t *testing.T
	m *maker
	x *Index
}

func newWriter(t *testing.T) *writer {
	t.Helper()
	x := openAt(t, filepath.Join(t.TempDir(), "index.db"))
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return &writer{t: t, m: newMaker(), x: x}
}

func (w *writer) apply(steps ...spool.Step) {
	w.t.Helper()
	if err := w.x.Apply(w.t.Context(), steps); err != nil {
		w.t.Fatal(err)
	}
}

// batch brings one entry and returns its id and the seq of its batch.
func (w *writer) batch(e spool.Entry) (string, uint64) {
	w.t.Helper()
	st := w.m.step(spool.StreamID{Name: "n1-01J"})
	id, at := w.m.id()
	e.ID, e.Received, e.Size, e.SHA256 = id, at, 100, "00"
	seq := st.Position.Seq - 1
	st.Entries = []spool.Located{{Entry: &e, Location: spool.Location{Stream: "n1-01J", Seq: seq, Length: 7}}}
	w.apply(st)
	return id, seq
}

func (w *writer) draft(reason string) (string, uint64) {
	return w.batch(spool.Entry{Kind: spool.Draft, Mailbox: "Anna@example.test", Writing: testWriting, Reason: reason})
}

func (w *writer) sent() (string, uint64) {
	return w.batch(spool.Entry{Kind: spool.Outbound, Mailbox: "anna@example.test", Writing: testWriting,
		Rcpts: []spool.Recipient{{Address: "x@elsewhere.example", Domain: spool.Smarthost}}})
}

func (w *writer) event(typ spool.EventType, entry string, data map[string]any) {
	w.t.Helper()
	st := w.m.step(ledger)
	id, at := w.m.id()
	st.Events = []spool.Event{{ID: id, Time: at, Type: typ, Entry: entry, Data: data, By: "x"}}
	w.apply(st)
}

// gone returns the batches that may go after some days, and deletes them.
func (w *writer) gone(days int) []uint64 {
	w.t.Helper()
	now := w.m.base.Add(time.Duration(days) * 24 * time.Hour)
	ds, err := w.x.Disposable(w.t.Context(), now, func(string) spool.Terms { return spool.Terms{Delivered: 14 * 24 * time.Hour} }, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	var seqs []uint64
	st := w.m.step(ledger)
	for _, d := range ds {
		seqs = append(seqs, d.Seq)
		id, at := w.m.id()
		st.Events = append(st.Events, spool.Event{ID: id, Time: at, Type: spool.BatchDeleted, Batch: spool.StreamID{Name: d.Stream}.Key(d.Seq), Data: d.Data})
	}
	w.apply(st)
	return seqs
}

func (w *writer) want(days int, seqs ...uint64) {
	w.t.Helper()
	if got := w.gone(days); !slices.Equal(got, seqs) {
		w.t.Errorf("after %d days the batches %v may go, want %v", days, got, seqs)
	}
}

// TestDraftsAreKept: the newest version of a draft and its attachments stay for ever; versions before it go after their term.
func TestDraftsAreKept(t *testing.T) {
	w := newWriter(t)
	_, first := w.draft("")
	w.draft(attachmentReason)
	w.draft("")
	w.batch(spool.Entry{Kind: spool.Draft}) // of no writing: nobody knows
	w.batch(spool.Entry{Kind: spool.Held, Rcpts: []spool.Recipient{{Address: "a@example.test", Domain: "example.test"}}})
	w.want(13)
	w.want(15, first)
	w.want(1000)
}

// TestSentDrafts: drafts go a term after they were sent, oldest first, and what was sent never before them.
func TestSentDrafts(t *testing.T) {
	w := newWriter(t)
	_, attached := w.draft(attachmentReason)
	_, draft := w.draft("")
	id, sent := w.sent()
	w.draft("") // saved by another window, too late; and the last batch stays in any case
	w.batch(spool.Entry{Kind: spool.Held})
	w.event(spool.Delivered, id, nil)
	w.want(13)
	w.want(15, attached, draft, sent, sent+1)
}

// TestSentGoesLast: what was sent waits for a draft whose batch can't go yet, or the draft would look unsent after a new fold.
func TestSentGoesLast(t *testing.T) {
	w := newWriter(t)
	st := w.m.step(spool.StreamID{Name: "n1-01J"})
	for _, e := range []spool.Entry{{Kind: spool.Draft, Mailbox: "anna@example.test", Writing: testWriting},
		{Kind: spool.Held, Rcpts: []spool.Recipient{{Address: "a@example.test", Domain: "example.test"}}}} {
		e.ID, e.Received = w.m.id()
		st.Entries = append(st.Entries, spool.Located{Entry: &e, Location: spool.Location{Stream: "n1-01J"}})
	}
	w.apply(st)
	id, sent := w.sent()
	w.batch(spool.Entry{Kind: spool.Held})
	w.event(spool.Delivered, id, nil)
	w.want(15) // the mail beside the draft is pending
	w.event(spool.Delivered, st.Entries[1].Entry.ID, nil)
	w.want(15, 0, sent)
}

// TestTakenBack: what was taken back leaves the draft, also when the entry that was to go out is gone.
func TestTakenBack(t *testing.T) {
	w := newWriter(t)
	_, first := w.draft("")
	id, sent := w.sent()
	w.draft("")
	w.batch(spool.Entry{Kind: spool.Held})
	w.event(spool.Removed, id, nil)
	w.want(15, first, sent)
	w.want(1000)
}

// TestDiscardedDrafts: they go a term after they were given up, unless somebody took them up again.
func TestDiscardedDrafts(t *testing.T) {
	w := newWriter(t)
	_, attached := w.draft(attachmentReason)
	id, draft := w.draft("")
	w.batch(spool.Entry{Kind: spool.Held})
	w.event(spool.Flagged, id, map[string]any{"discarded": true})
	w.event(spool.Flagged, id, map[string]any{"discarded": false})
	w.want(15)
	w.event(spool.Flagged, id, map[string]any{"discarded": true})
	w.want(13)
	w.want(15, attached, draft)
}

// TestSmarthost: what goes out by a smarthost is in no outage, and teaches nothing about a primary.
func TestSmarthost(t *testing.T) {
	w := newWriter(t)
	st := w.m.step(ledger)
	for _, d := range []string{spool.Smarthost, "example.test"} {
		id, at := w.m.id()
		st.Events = append(st.Events, spool.Event{ID: id, Time: at, Type: spool.OutageOpened, Domain: d, Outage: "o-" + d})
	}
	w.apply(st)
	id, _ := w.sent()
	w.event(spool.Delivered, id, nil)
	sum, err := w.x.Summary(t.Context(), spool.Smarthost)
	if err != nil || sum.Outage != "" || sum.All.Delivered != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	if open := w.x.OpenOutages(); len(open) != 1 || open["example.test"] == "" {
		t.Errorf("open: %v", open)
	}
	known := 0
	if err := w.x.db.Read.QueryRow("SELECT count(*) FROM known").Scan(&known); err != nil || known != 0 {
		t.Errorf("%d addresses are known, %v", known, err)
	}
}

// TestPassedEvents: what only the webmail needs is not kept.
func TestPassedEvents(t *testing.T) {
	w := newWriter(t)
	id, _ := w.sent()
	w.event(spool.Flagged, id, map[string]any{"seen": true})
	w.event(spool.Activity, id, map[string]any{"what": "sent"})
	w.event(spool.AccountChanged, "", map[string]any{"name": "Anna"})
	v, err := w.x.Entry(t.Context(), id)
	if err != nil || len(v.Events) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestKept: of secrets and notices the last writer stands, whatever comes first.
func TestKept(t *testing.T) {
	w := newWriter(t)
	var evs []spool.Event
	add := func(ev spool.Event) {
		ev.ID, ev.Time = w.m.id()
		evs = append(evs, ev)
	}
	add(spool.Event{Type: spool.SecretKept, Address: "dkim/a/s1", Data: map[string]any{"value": "old"}})
	add(spool.Event{Type: spool.SecretKept, Address: "dkim/a/s1", Data: map[string]any{"value": "new"}})
	add(spool.Event{Type: spool.SecretKept, Address: "dkim/b/s1", Data: map[string]any{"value": "b"}})
	add(spool.Event{Type: spool.SecretKept, Address: "tls/x", Data: map[string]any{"value": "x"}})
	add(spool.Event{Type: spool.NoticeSet, Domain: "", Reason: "back at two"})
	add(spool.Event{Type: spool.NoticeSet, Domain: "a", Reason: "call us"})
	add(spool.Event{Type: spool.NoticeSet, Domain: "a"})
	slices.Reverse(evs)
	st := w.m.step(ledger)
	st.Events = evs
	w.apply(st)
	if ev, ok, err := w.x.Secret(t.Context(), "dkim/a/s1"); err != nil || !ok || ev.Data["value"] != "new" {
		t.Errorf("%+v, %v, %v", ev, ok, err)
	}
	if _, ok, err := w.x.Secret(t.Context(), "none"); err != nil || ok {
		t.Error(ok, err)
	}
	if all, err := w.x.Secrets(t.Context(), "dkim/"); err != nil || len(all) != 2 || all[0].Address != "dkim/a/s1" || all[1].Address != "dkim/b/s1" {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := w.x.Notices(t.Context()); err != nil || len(all) != 1 || all[0].Reason != "back at two" {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestFromOutside: what was written here isn't mail from outside that is pending.
func TestFromOutside(t *testing.T) {
	w := newWriter(t)
	want := func(want bool) {
		t.Helper()
		if got, err := w.x.FromOutside(t.Context(), "Example.test"); err != nil || got != want {
			t.Errorf("pending from outside: %v, %v", got, err)
		}
		if got, _, err := w.x.Stray(t.Context(), "Example.test", time.Now().Add(time.Hour)); err != nil || got.IsZero() == want { // there is no outage here
			t.Errorf("pending from outside, in no outage: %v, %v", got, err)
		}
	}
	rcpt := []spool.Recipient{{Address: "b@example.test", Domain: "example.test"}}
	want(false)
	w.batch(spool.Entry{Kind: spool.Local, Mailbox: "anna@example.test", Rcpts: rcpt})
	w.batch(spool.Entry{Kind: spool.Copy, Mailbox: "anna@example.test", Rcpts: rcpt})
	want(false)
	id, _ := w.batch(spool.Entry{Kind: spool.Held, Rcpts: rcpt})
	want(true)
	w.event(spool.Delivered, id, nil)
	want(false)
}

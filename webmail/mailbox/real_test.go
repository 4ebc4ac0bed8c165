package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/index"
)

// node is a real spool with the index and the mailboxes that follow it.
type node struct {
	t      *testing.T
	sp     *spool.Spool
	x      *index.Index
	s      *Store
	cancel context.CancelFunc
	ended  chan error
}

func startNode(t *testing.T, store blob.Store, dir string, change func(*Options)) *node {
	t.Helper()
	n := &node{t: t, ended: make(chan error, 1)}
	var err error
	n.sp, err = spool.Open(t.Context(), spool.Options{Store: store, DataDir: dir, Limits: spool.Limits{MinFree: -1, LazyWait: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	if n.x, err = index.Open(filepath.Join(dir, "index.db"), index.Options{}); err != nil {
		t.Fatal(err)
	}
	o := Options{Fetch: n.sp.Fetch, Append: n.sp.Append, Record: n.sp.Record, Note: n.sp.Note, TempDir: dir}
	if change != nil {
		change(&o)
	}
	if n.s, err = Open(filepath.Join(dir, "webmail.db"), o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.ended <- n.sp.Follow(ctx, n.x, n.s) }()
	t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	if n.sp == nil {
		return
	}
	n.cancel()
	if err := <-n.ended; err != nil {
		n.t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, f := range []func() error{func() error { return n.sp.Close(ctx) }, n.x.Close, n.s.Close} {
		if err := f(); err != nil {
			n.t.Error(err)
		}
	}
	n.sp = nil
}

func (n *node) sync() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(n.sp.Sync(ctx), n.sp.Abreast(ctx)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) append(e *spool.Entry, raw string) string {
	n.t.Helper()
	id := n.keep(e, raw)
	n.sync()
	return id
}

// keep is append without waiting.
func (n *node) keep(e *spool.Entry, raw string) string {
	n.t.Helper()
	e.ID, e.Received = spool.NewID(), time.Now().UTC()
	body := spool.NewBody("", 1<<20)
	defer body.Close()
	if _, err := io.WriteString(body, raw); err != nil {
		n.t.Fatal(err)
	}
	if err := n.sp.Append(n.t.Context(), e, []byte("Received: by x\r\n"), body); err != nil {
		n.t.Fatal(err)
	}
	return e.ID
}

func (n *node) folder(b Box, f Folder) []string {
	n.t.Helper()
	return entriesOf(mustList(n.t, n.s, Query{Box: b, Folder: f}).Items)
}

const draftHead = "From: Anna <anna@a.test>\r\nTo: =?utf-8?q?J=C3=BCrgen?= <j@x.test>\r\nSubject: Plan\r\nMessage-ID: <d1@a.test>\r\n"

// TestDrafts: from the first version to sent, taken back, sent again; discarded and taken up again; attachments.
func TestDrafts(t *testing.T) {
	n := startNode(t, mem.New(), t.TempDir(), nil)
	ctx, anna, max := t.Context(), own("anna@a.test"), own("max@a.test")
	d, err := n.s.SaveDraft(ctx, Draft{Account: "Anna@a.test", Raw: []byte(draftHead + "\r\none\r\n")})
	if err != nil {
		t.Fatal(err)
	}
	if ids := n.folder(anna, Drafts); !slices.Equal(ids, []string{d.Entry}) || d.Writing == "" || d.Box != "anna@a.test" {
		t.Fatalf("%v, %+v", ids, d)
	}
	a, err := n.s.Attach(ctx, "anna@a.test", d.Writing, "größe.txt", "text/plain; charset=utf-8", strings.NewReader("attached"), 8)
	if err != nil || a.Name != "größe.txt" || a.Type != "text/plain; charset=utf-8" || a.Size != 8 {
		t.Fatalf("%+v, %v", a, err)
	}
	if _, err := n.s.Attach(ctx, "anna@a.test", d.Writing, "x", "", strings.NewReader("123456789"), 8); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	raw := draftHead + AttachmentField + ": " + a.ID + "\r\n\r\ntwo\r\n"
	second, err := n.s.SaveDraft(ctx, Draft{Account: "anna@a.test", Writing: d.Writing, Raw: []byte(raw)})
	if err != nil || len(second.Attachments) != 1 || second.Attachments[0] != a {
		t.Fatalf("%+v, %v", second, err)
	}
	got, err := n.s.Draft(ctx, "anna@a.test", d.Writing)
	if err != nil || string(got.Raw) != raw || got.Entry != second.Entry || len(got.Attachments) != 1 || got.Attachments[0] != a || got.Box != "anna@a.test" {
		t.Fatalf("%+v, %v", got, err)
	}
	it, err := n.s.Item(ctx, anna, second.Entry)
	if err != nil || it.Folder != Drafts || it.Writing != d.Writing || it.Subject != "Plan" || len(it.To) != 1 || it.To[0] != (Person{"Jürgen", "j@x.test"}) || it.Unread {
		t.Errorf("%+v, %v", it, err)
	}
	if ids := n.folder(anna, Drafts); !slices.Equal(ids, []string{second.Entry}) {
		t.Errorf("the first version still shows: %v", ids)
	}
	checkAttachment(t, n, a, d.Writing)
	for _, b := range []Box{max, {ID: "anna@a.test", Addresses: []string{"anna@a.test"}, Shared: true}} {
		if _, err := n.s.Item(ctx, b, second.Entry); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v sees a draft: %v", b, err)
		}
	}
	if _, err := n.s.Draft(ctx, "max@a.test", d.Writing); !errors.Is(err, ErrNotFound) {
		t.Errorf("max reads it: %v", err)
	}

	sent := n.append(&spool.Entry{Kind: spool.Copy, Mailbox: "anna@a.test", From: "anna@a.test", Writing: d.Writing, Rcpts: []spool.Recipient{{Address: "anna@a.test", Domain: "a.test"}}}, draftHead+"\r\ntwo\r\n")
	if ids := n.folder(anna, Drafts); len(ids) != 0 {
		t.Errorf("a draft that was sent shows: %v", ids)
	}
	if _, err := n.s.Draft(ctx, "anna@a.test", d.Writing); !errors.Is(err, ErrNotFound) {
		t.Errorf("a draft that was sent: %v", err)
	}
	if err := n.sp.Record(ctx, spool.Event{Type: spool.Removed, Entry: sent}); err != nil {
		t.Fatal(err)
	}
	n.sync()
	if ids := n.folder(anna, Drafts); !slices.Equal(ids, []string{second.Entry}) || len(n.folder(anna, Sent)) != 0 {
		t.Errorf("taken back: %v", ids)
	}
	if err := n.s.DiscardDraft(ctx, "max@a.test", d.Writing); !errors.Is(err, ErrNotFound) {
		t.Errorf("max discards it: %v", err)
	}
	if err := n.s.DiscardDraft(ctx, "anna@a.test", d.Writing); err != nil {
		t.Fatal(err)
	}
	if ids := n.folder(anna, Drafts); len(ids) != 0 {
		t.Errorf("discarded: %v", ids)
	}
	if err := n.s.Flag(ctx, "max@a.test", max, []string{second.Entry}, Change{Trashed: no()}); err != nil || len(n.folder(anna, Drafts)) != 0 {
		t.Errorf("max took it up again: %v", err)
	}
	if err := n.s.Flag(ctx, "anna@a.test", anna, []string{second.Entry}, Change{Trashed: no()}); err != nil {
		t.Fatal(err)
	}
	if ids := n.folder(anna, Drafts); !slices.Equal(ids, []string{second.Entry}) {
		t.Errorf("taken up again: %v", ids)
	}
}

func checkAttachment(t *testing.T, n *node, a Attachment, writing string) {
	t.Helper()
	got, r, err := n.s.OpenAttachment(t.Context(), "anna@a.test", writing, a.ID)
	if err != nil || got != a {
		t.Fatalf("%+v, %v", got, err)
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(raw) != "attached" {
		t.Errorf("%q, %v", raw, err)
	}
	for _, c := range [][2]string{{"max@a.test", writing}, {"anna@a.test", spool.NewID()}} {
		if _, _, err := n.s.OpenAttachment(t.Context(), c[0], c[1], a.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v opens it: %v", c, err)
		}
	}
	if _, err := n.s.Item(t.Context(), own("anna@a.test"), a.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("an attachment is a message: %v", err)
	}
}

// TestSeen waits for what others have kept, and not for what never comes.
func TestSeen(t *testing.T) {
	n := startNode(t, mem.New(), t.TempDir(), func(o *Options) { o.Limits.DraftWait = 30 * time.Second })
	anna := own("anna@a.test")
	d, err := n.s.SaveDraft(t.Context(), Draft{Account: "anna@a.test", Raw: []byte(draftHead + "\r\none\r\n")})
	if err != nil {
		t.Fatal(err)
	}
	sent := &spool.Entry{ID: spool.NewID(), Kind: spool.Outbound, Received: time.Now().UTC(), From: "anna@a.test", Mailbox: "anna@a.test", Writing: d.Writing,
		Rcpts: []spool.Recipient{{Address: "j@x.test", Domain: spool.Smarthost}}}
	body := spool.NewBody("", 1<<20)
	defer body.Close()
	if _, err := io.WriteString(body, draftHead+"\r\none\r\n"); err != nil {
		t.Fatal(err)
	}
	n.s.writing.Lock() // nothing is folded meanwhile
	if err := n.sp.Append(t.Context(), sent, nil, body); err != nil {
		t.Fatal(err)
	}
	seen := make(chan struct{})
	go func() { n.s.Seen(t.Context(), sent.ID); close(seen) }()
	select {
	case <-seen:
		t.Error("seen before it was folded")
	case <-time.After(50 * time.Millisecond):
	}
	n.s.writing.Unlock()
	<-seen
	if ids := n.folder(anna, Drafts); len(ids) != 0 {
		t.Errorf("the draft of what was sent is there: %v", ids)
	}
	n.s.Seen(t.Context(), sent.ID) // at once
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	n.s.Seen(ctx, spool.NewID())
}

// TestSaveDraftRefuses what couldn't be read again.
func TestSaveDraftRefuses(t *testing.T) {
	n := startNode(t, mem.New(), t.TempDir(), func(o *Options) { o.Limits.Raw = 100 })
	if _, err := n.s.SaveDraft(t.Context(), Draft{Account: "a@a.test", Raw: []byte("no header\r\n\r\n")}); err == nil {
		t.Error("no message")
	}
	if _, err := n.s.SaveDraft(t.Context(), Draft{Account: "a@a.test", Raw: []byte("A: " + strings.Repeat("x", 100) + "\r\n\r\n")}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := n.s.Attach(t.Context(), "a@a.test", "../x", "x", "", strings.NewReader(""), 8); err == nil {
		t.Error("no piece of writing")
	}
}

// TestAnswering: colleagues see who writes an answer from the shared mailbox, not the draft.
func TestAnswering(t *testing.T) {
	n := startNode(t, mem.New(), t.TempDir(), nil)
	ctx := t.Context()
	info := Box{ID: "info@a.test", Addresses: []string{"info@a.test"}, Shared: true}
	id := n.append(&spool.Entry{Kind: spool.Held, From: "s@x.test", Rcpts: []spool.Recipient{{Address: "info@a.test", Domain: "a.test"}}, Summary: spool.Summary{MessageID: "<q@x.test>"}}, "Subject: q\r\n\r\n")
	save := func(account, box, writing string) SavedDraft {
		d, err := n.s.SaveDraft(ctx, Draft{Account: account, Box: box, Writing: writing, Raw: []byte("Subject: Re: q\r\nIn-Reply-To: <q@x.test>\r\n\r\n")})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	who := func() (out []string) {
		as, err := n.s.Answering(ctx, info, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range as {
			out = append(out, a.Account)
		}
		return out
	}
	if w := who(); len(w) != 0 {
		t.Error(w)
	}
	d := save("anna@a.test", "info@a.test", "")
	save("anna@a.test", "info@a.test", d.Writing)
	save("max@a.test", "info@a.test", "")
	save("eve@a.test", "", "") // from her own address: nobody's business
	if w := who(); !slices.Equal(w, []string{"max@a.test", "anna@a.test"}) {
		t.Error(w)
	}
	if err := n.s.DiscardDraft(ctx, "anna@a.test", d.Writing); err != nil {
		t.Fatal(err)
	}
	if w := who(); !slices.Equal(w, []string{"max@a.test"}) {
		t.Error(w)
	}
	if ids := n.folder(info, Drafts); len(ids) != 0 {
		t.Errorf("drafts show in the shared box: %v", ids)
	}
	if _, err := n.s.Answering(ctx, own("eve@a.test"), id); !errors.Is(err, ErrNotFound) {
		t.Errorf("who doesn't see the question asks: %v", err)
	}
}

// TestFlagsGoToTheLedger: another node shows them, and so does this one when its file is gone.
func TestFlagsGoToTheLedger(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	n := startNode(t, store, dir, nil)
	anna := own("anna@a.test")
	id := n.append(&spool.Entry{Kind: spool.Held, From: "s@x.test", Rcpts: []spool.Recipient{{Address: "anna@a.test", Domain: "a.test"}}}, "Subject: q\r\n\r\nhello\r\n")
	if err := n.s.Flag(t.Context(), "anna@a.test", anna, []string{id, "nonsense", spool.NewID()}, Change{Seen: yes(), Starred: yes()}); err != nil {
		t.Fatal(err)
	}
	it, e, body, err := n.s.Open(t.Context(), anna, id)
	if err != nil || it.Unread || !it.Starred || e.ID != id || body.Size() != e.Size {
		t.Fatalf("%+v, %v", it, err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	n.s.NoteActivity("Anna@a.test", id, "download", map[string]any{"file": "x"})
	if _, _, _, err := n.s.Open(t.Context(), own("max@a.test"), id); !errors.Is(err, ErrNotFound) {
		t.Errorf("max opens it: %v", err)
	}
	n.stop()
	if err := removeDB(dir); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, store, dir, nil)
	n.sync()
	if it, err := n.s.Item(t.Context(), anna, id); err != nil || it.Unread || !it.Starred {
		t.Errorf("%+v, %v", it, err)
	}
	evs, err := n.s.Activity(t.Context(), "anna@a.test", time.Time{}, 10)
	if err != nil || len(evs) != 1 || evs[0].Data["what"] != "download" || evs[0].Entry != id {
		t.Errorf("%+v, %v", evs, err)
	}
	if ev, ok, err := n.x.Paused(t.Context(), "a.test"); ok || err != nil {
		t.Errorf("a new file paused replay: %+v, %v", ev, err)
	}
}

func removeDB(dir string) error {
	var errs []error
	files, err := filepath.Glob(filepath.Join(dir, "webmail.db*"))
	for _, f := range files {
		errs = append(errs, removeFile(f))
	}
	return errors.Join(append(errs, err)...)
}

// TestSentOutcomes: a sent message shows how each of its recipients stands.
func TestSentOutcomes(t *testing.T) {
	n := startNode(t, mem.New(), t.TempDir(), nil)
	w := spool.NewID()
	first := n.append(&spool.Entry{Kind: spool.Outbound, Mailbox: "anna@a.test", From: "info@a.test", Writing: w, Rcpts: []spool.Recipient{{Address: "w@x.test", Domain: spool.Smarthost}}}, "Subject: q\r\n\r\n")
	n.append(&spool.Entry{Kind: spool.Copy, Mailbox: "anna@a.test", From: "info@a.test", Writing: w, Rcpts: []spool.Recipient{{Address: "anna@a.test", Domain: "a.test"}}}, "Subject: q\r\n\r\n")
	if err := n.sp.Record(t.Context(), spool.Event{Type: spool.Removed, Entry: first, Reason: spool.TakenBack}); err != nil { // and sent again
		t.Fatal(err)
	}
	out := n.append(&spool.Entry{Kind: spool.Outbound, Mailbox: "anna@a.test", From: "info@a.test", Writing: w,
		Rcpts: []spool.Recipient{{Address: "x@x.test", Domain: spool.Smarthost}, {Address: "y@x.test", Domain: spool.Smarthost}}}, "Subject: q\r\n\r\n")
	n.append(&spool.Entry{Kind: spool.Outbound, Mailbox: "eve@a.test", From: "eve@a.test", Writing: w, Rcpts: []spool.Recipient{{Address: "z@x.test", Domain: spool.Smarthost}}}, "Subject: q\r\n\r\n")
	n.append(&spool.Entry{Kind: spool.Local, Mailbox: "anna@a.test", From: "info@a.test", Writing: w, Rcpts: []spool.Recipient{{Address: "max@a.test", Domain: "a.test"}}}, "Subject: q\r\n\r\n")
	err := n.sp.Record(t.Context(), spool.Event{Type: spool.Delivered, Entry: out, Reply: "250 ok"}, spool.Event{Type: spool.Bounced, Entry: out, Rcpt: 1, Reason: "no such person"})
	if err != nil {
		t.Fatal(err)
	}
	n.sync()
	for _, b := range []Box{own("anna@a.test"), {ID: "info@a.test", Addresses: []string{"info@a.test"}, Shared: true}} {
		p := mustList(t, n.s, Query{Box: b, Folder: Sent})
		if len(p.Items) != 1 {
			t.Fatalf("%s: %+v", b.ID, p)
		}
		var got []string
		for _, o := range p.Items[0].Outcomes {
			got = append(got, fmt.Sprintf("%s %s %s%s", o.Address, o.State, o.Reply, o.Reason))
		}
		if want := []string{"x@x.test delivered 250 ok", "y@x.test bounced no such person", "max@a.test pending "}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", b.ID, got, want)
		}
	}
	if ids := n.folder(own("max@a.test"), Inbox); len(ids) != 1 {
		t.Errorf("max has %v", ids)
	}
}

// TestRealText: what webmail/render makes of a message is found.
func TestRealText(t *testing.T) {
	n := startNode(t, mem.New(), t.TempDir(), nil)
	anna := own("anna@a.test")
	raw := "From: =?utf-8?q?J=C3=BCrgen?= <j@x.test>\r\nSubject: Angebot\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Die Gr=F6=DFe ist <b>gut</b>.<script>evil()</script></p>\r\n" +
		"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"Rechnung 7.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n"
	id := n.append(&spool.Entry{Kind: spool.Held, From: "j@x.test", Rcpts: []spool.Recipient{{Address: "anna@a.test", Domain: "a.test"}},
		Summary: spool.Summary{From: "Jürgen <j@x.test>", Subject: "Angebot"}}, raw)
	if _, err := n.s.readTexts(t.Context()); err != nil {
		t.Fatal(err)
	}
	for q, found := range map[string]bool{"größe": true, "GROSSE": true, "rechn": true, `"ist gut"`: true, "has:attachment from:jurgen": true, "evil": false, "has:attachment evil": false} {
		sr, err := ParseSearch(q, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p := mustList(t, n.s, Query{Box: anna, Search: sr}); (len(p.Items) == 1) != found {
			t.Errorf("%q: %d found", q, len(p.Items))
		}
	}
	if it, err := n.s.Item(t.Context(), anna, id); err != nil || it.Attachments != 1 || it.Snippet != "Die Größe ist gut." {
		t.Errorf("%+v, %v", it, err)
	}
}

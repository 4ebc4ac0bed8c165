package mailbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restante/spool"
)

// TestNotedAgain: flags that a killed process took with it are noted again, those that the ledger has are not.
func TestNotedAgain(t *testing.T) {
	f := &fakeSpool{}
	path := filepath.Join(t.TempDir(), "webmail.db")
	s := openStore(t, path, f, nil)
	m := newMaker()
	a, b := m.held(0, "s@x.test", "a", "anna@a.test"), m.held(1, "s@x.test", "b", "anna@a.test")
	apply(t, s, m.mail(a, b))
	box := own("anna@a.test")
	for _, e := range []*spool.Entry{a, b} {
		if err := s.Flag(t.Context(), "anna@a.test", box, []string{e.ID}, Change{Seen: yes()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flag(t.Context(), "anna@a.test", box, []string{a.ID}, Change{Seen: yes()}); err != nil || len(f.noted) != 2 {
		t.Errorf("a flag that is set already is noted: %d events, %v", len(f.noted), err)
	}
	apply(t, s, m.ledger(f.noted[0]))
	lost := f.noted[1]
	f.noted = nil
	if err := s.noteAgain(t.Context()); err != nil || len(f.noted) != 0 {
		t.Errorf("noted again too early: %+v, %v", f.noted, err)
	}
	closeStore(t, s)
	s = openStore(t, path, f, func(o *Options) { o.Now = func() time.Time { return base.Add(25 * time.Hour) } })
	defer closeStore(t, s)
	if err := s.noteAgain(t.Context()); err != nil || len(f.noted) != 1 || f.noted[0].ID != lost.ID {
		t.Errorf("noted again: %+v, %v", f.noted, err)
	}
	apply(t, s, m.ledger(f.noted...))
	f.noted = nil
	if err := s.noteAgain(t.Context()); err != nil || len(f.noted) != 0 {
		t.Errorf("noted again: %+v, %v", f.noted, err)
	}
}

// TestFlagOrder: the last writer stands, whoever comes first, and our own flag is later than any that was seen.
func TestFlagOrder(t *testing.T) {
	f := &fakeSpool{}
	s := openStore(t, "", f, nil)
	defer closeStore(t, s)
	m := newMaker()
	e := m.held(0, "s@x.test", "a", "anna@a.test")
	box := own("anna@a.test")
	ahead := m.event(0, spool.Flagged, e.ID)
	ahead.Address, ahead.Data, ahead.Time = "anna@a.test", map[string]any{"seen": true, "starred": true}, base.Add(24*time.Hour+4*time.Minute)
	wild := m.event(0, spool.Flagged, e.ID) // a clock that is too wrong to be followed
	wild.Address, wild.Data, wild.Time = "anna@a.test", map[string]any{"answered": true}, base.Add(240*time.Hour)
	apply(t, s, m.ledger(ahead, wild), m.mail(e))
	if err := s.Flag(t.Context(), "anna@a.test", box, []string{e.ID}, Change{Seen: no(), Answered: no()}); err != nil {
		t.Fatal(err)
	}
	it, err := s.Item(t.Context(), box, e.ID)
	if err != nil || !it.Unread || !it.Starred || !it.Answered {
		t.Errorf("%+v, %v", it, err)
	}
	many := make([]string, 1001)
	if err := s.Flag(t.Context(), "x", box, many, Change{}); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
}

// TestLater: what can still be taken back shows to nobody else until its time, and then those who look are told.
func TestLater(t *testing.T) {
	var now atomic.Int64
	now.Store(base.UnixNano())
	s := openStore(t, "", &fakeSpool{}, func(o *Options) { o.Now = func() time.Time { return time.Unix(0, now.Load()) } })
	defer closeStore(t, s)
	m := newMaker()
	box := own("max@a.test")
	told, end := s.Subscribe(box.ID)
	defer end()
	other, endOther := s.Subscribe("anna@a.test")
	defer endOther()
	e := m.held(0, "anna@a.test", "a", "max@a.test")
	e.Kind, e.Mailbox, e.NotBefore = spool.Local, "anna@a.test", base.Add(50*time.Millisecond)
	apply(t, s, m.mail(e))
	<-told
	if _, err := s.Item(t.Context(), box, e.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("it shows before its time: %v", err)
	}
	if c, err := s.Counts(t.Context(), box); err != nil || c[Inbox] != (Count{}) {
		t.Errorf("%+v, %v", c, err)
	}
	now.Store(base.Add(time.Second).UnixNano())
	<-told // by the timer
	if ids := entriesOf(mustList(t, s, Query{Box: box, Folder: Inbox}).Items); !slices.Equal(ids, []string{e.ID}) {
		t.Error(ids)
	}
	select {
	case <-other:
		t.Error("somebody else was told")
	default:
	}
}

func TestSubscribeEnds(t *testing.T) {
	s := openStore(t, "", &fakeSpool{}, nil)
	defer closeStore(t, s)
	c, end := s.Subscribe("Anna@a.test", "all@a.test")
	end()
	end()
	m := newMaker()
	apply(t, s, m.mail(m.held(0, "s@x.test", "a", "anna@a.test")))
	select {
	case <-c:
		t.Error("told after the end")
	default:
	}
	if len(s.subs.all) != 0 {
		t.Errorf("%d names are left", len(s.subs.all))
	}
}

func TestAccounts(t *testing.T) {
	var told []string
	s := openStore(t, "", &fakeSpool{}, func(o *Options) {
		o.Events = func(evs []spool.Event) {
			for _, ev := range evs {
				told = append(told, ev.ID)
			}
		}
	})
	defer closeStore(t, s)
	m := newMaker()
	var evs []spool.Event
	for i := range 3 {
		ev := m.event(i, spool.AccountChanged, "")
		ev.Address, ev.Data = "anna@a.test", map[string]any{"n": float64(i)}
		evs = append(evs, ev)
	}
	apply(t, s, m.ledger(evs[2], evs[0]))
	apply(t, s, m.ledger(evs[1]), spool.Step{Cluster: "c1", Events: evs[:1]})
	got, err := s.Accounts(t.Context())
	if err != nil || cmp.Diff(evs, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(evs, got))
	}
	if want := []string{evs[2].ID, evs[0].ID, evs[1].ID, evs[0].ID}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestUnclaimed(t *testing.T) {
	s := openStore(t, "", &fakeSpool{}, nil)
	defer closeStore(t, s)
	m := newMaker()
	a, b := m.held(0, "s@x.test", "a", "New@a.test", "anna@a.test"), m.held(5, "s@x.test", "b", "new@a.test")
	apply(t, s, m.mail(a, b, m.held(6, "s@x.test", "c", "Anna+x@a.test"), m.held(7, "s@x.test", "d", "one@a.test")))
	gone := m.event(8, spool.Removed, b.ID)
	apply(t, s, m.ledger(gone))
	got, err := s.Unclaimed(t.Context(), func(address string) bool { return address == "anna@a.test" })
	want := []AddressCount{{"new@a.test", 1, base}, {"one@a.test", 1, base.Add(7 * time.Minute)}}
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
}

func TestStats(t *testing.T) {
	s := openStore(t, "", &fakeSpool{}, nil)
	defer closeStore(t, s)
	m := newMaker()
	anna, max := own("anna@a.test"), own("max@a.test")
	var es []*spool.Entry
	for i := range 5 {
		es = append(es, m.held(i*10, "s@x.test", fmt.Sprint(i), "anna@a.test"))
	}
	both := m.held(20, "s@x.test", "both", "anna@a.test", "max@a.test")
	sent := m.held(25, "anna@a.test", "sent", "anna@a.test")
	sent.Kind, sent.Mailbox = spool.Copy, "anna@a.test"
	draft := m.held(1, "anna@a.test", "draft")
	draft.Kind, draft.Mailbox, draft.Writing = spool.Draft, "anna@a.test", m.id(base)
	apply(t, s, m.mail(append(es, both, sent, draft)...))
	flag := func(b Box, c Change, es ...*spool.Entry) {
		for _, e := range es {
			if err := s.Flag(t.Context(), b.ID, b, []string{e.ID}, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	flag(anna, Change{Seen: yes()}, es[0], es[1], es[2], both)
	flag(anna, Change{Seen: no()}, es[1])
	flag(anna, Change{Answered: yes()}, es[2])
	flag(anna, Change{Trashed: yes()}, both)
	flag(max, Change{Seen: yes()}, both)
	st, err := s.Stats(t.Context(), anna, base.Add(5*time.Minute), base.Add(40*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if got := []int{st.ArrivedCount, st.SentCount, st.DraftCount, st.Read, st.Answered, st.Deleted}; !slices.Equal(got, []int{4, 1, 1, 2, 1, 1}) {
		t.Errorf("%v", got)
	}
	if ids := entriesOf(st.Arrived); !slices.Equal(ids, []string{es[3].ID, both.ID, es[2].ID, es[1].ID}) {
		t.Errorf("%v", ids)
	}
	if ids := append(entriesOf(st.Sent), entriesOf(st.Drafts)...); !slices.Equal(ids, []string{sent.ID, draft.ID}) {
		t.Errorf("%v", ids)
	}
	for domain, want := range map[string]Totals{"a.test": {Read: 2, Readers: 2, Sent: 1, Senders: 1}, "": {Read: 2, Readers: 2, Sent: 1, Senders: 1}, "_.test": {}} {
		if got, err := s.Totals(t.Context(), domain, base.Add(5*time.Minute), time.Time{}); err != nil || got != want {
			t.Errorf("%q: %+v, %v", domain, got, err)
		}
	}
}

func TestActivityIsPruned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webmail.db")
	limit := func(o *Options) { o.Limits.Activity = 3 }
	s := openStore(t, path, &fakeSpool{}, limit)
	for i := range 5 {
		s.NoteActivity("anna@a.test", "", fmt.Sprint(i), nil)
	}
	s.NoteActivity("max@a.test", "", "x", nil)
	closeStore(t, s)
	s = openStore(t, path, &fakeSpool{}, limit)
	defer closeStore(t, s)
	var got []any
	evs, err := s.Activity(t.Context(), "anna@a.test", time.Time{}, 2)
	if err != nil || len(evs) != 2 {
		t.Fatal(evs, err)
	}
	more, err := s.Activity(t.Context(), "anna@a.test", evs[1].Time, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range append(evs, more...) {
		got = append(got, ev.Data["what"])
	}
	if !slices.Equal(got, []any{"4", "3", "2"}) {
		t.Error(got)
	}
}

// TestReset: a new fold of the same streams shows the same, and flags that the store has forgotten stay.
func TestReset(t *testing.T) {
	f := &fakeSpool{raw: map[string]string{}}
	s := openStore(t, "", f, nil)
	defer closeStore(t, s)
	m := newMaker()
	box := own("anna@a.test")
	a, b := m.held(0, "s@x.test", "a", box.ID), m.held(1, "s@x.test", "b", box.ID)
	f.raw[a.ID], f.raw[b.ID] = "\r\n\r\nhello", "\r\n\r\nhello"
	steps := []spool.Step{m.mail(a), m.mail(b)}
	apply(t, s, steps...)
	if _, err := s.readTexts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Flag(t.Context(), box.ID, box, []string{a.ID}, Change{Starred: yes()}); err != nil {
		t.Fatal(err)
	}
	if err := s.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pos, err := s.Positions(t.Context()); err != nil || len(pos) != 0 {
		t.Error(pos, err)
	}
	if c, err := s.Cluster(t.Context()); c != "" || err != nil {
		t.Error(c, err)
	}
	if ids := entriesOf(mustList(t, s, Query{Box: box, Folder: Inbox}).Items); len(ids) != 0 {
		t.Error(ids)
	}
	apply(t, s, steps[0])
	if ids := entriesOf(mustList(t, s, Query{Box: box, Folder: Starred}).Items); !slices.Equal(ids, []string{a.ID}) {
		t.Error(ids)
	}
	if n, err := s.Progress(t.Context()); n != 1 || err != nil {
		t.Errorf("%d wait to be read, %v", n, err)
	}
	if err := s.Apply(t.Context(), []spool.Step{{Stream: mailStream, Cluster: "another", Position: spool.Position{Seq: 9, Hash: "x"}}}); !errors.Is(err, spool.ErrForeign) {
		t.Error(err)
	}
}

// TestUnusableFile: a damaged file, or one of another version, is made anew; nobody but its owner reads it.
func TestUnusableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webmail.db")
	for _, content := range []string{"this is no database, whatever its name says", ""} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, path, &fakeSpool{}, nil)
		if pos, err := s.Positions(t.Context()); err != nil || len(pos) != 0 {
			t.Error(pos, err)
		}
		closeStore(t, s)
	}
	s := openStore(t, path, &fakeSpool{}, nil)
	m := newMaker()
	apply(t, s, m.mail(m.held(0, "s@x.test", "a", "anna@a.test")))
	if err := s.db.Exec(t.Context(), "UPDATE meta SET value='0' WHERE key='version'"); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	closeStore(t, s)
	s = openStore(t, path, &fakeSpool{}, nil)
	defer closeStore(t, s)
	if pos, err := s.Positions(t.Context()); err != nil || len(pos) != 0 {
		t.Error(pos, err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no", "folder.db"), Options{}); err == nil {
		t.Error("a folder that isn't there")
	}
}

// TestRun reads what comes while it runs, and ends.
func TestRun(t *testing.T) {
	f := &fakeSpool{raw: map[string]string{}}
	s := openStore(t, "", f, func(o *Options) { o.Now = func() time.Time { return base } })
	defer closeStore(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	told, end := s.Subscribe("anna@a.test")
	defer end()
	m := newMaker()
	for i := range 3 {
		e := m.held(i, "s@x.test", "a", "anna@a.test")
		f.mu.Lock()
		f.raw[e.ID] = "\r\n\r\nhello"
		f.mu.Unlock()
		apply(t, s, m.mail(e))
		for {
			<-told // once for the message, once for its text
			it, err := s.Item(t.Context(), own("anna@a.test"), e.ID)
			if err != nil {
				t.Fatal(err)
			}
			if it.Snippet == "hello" {
				break
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestViewsAreLetGo: memory is bounded, and what was let go is read again.
func TestViewsAreLetGo(t *testing.T) {
	s := openStore(t, "", &fakeSpool{}, func(o *Options) { o.Limits.ViewRows = 25 })
	defer closeStore(t, s)
	m := newMaker()
	var es []*spool.Entry
	for i := range 100 {
		es = append(es, m.held(i, "s@x.test", fmt.Sprint(i), fmt.Sprintf("u%d@a.test", i%10)))
	}
	apply(t, s, m.mail(es[:50]...))
	for range 2 {
		for i := range 10 {
			mustList(t, s, Query{Box: own(fmt.Sprintf("u%d@a.test", i)), Folder: Inbox})
			if s.views.rows > 25 || len(s.views.all) > 6 {
				t.Fatalf("%d rows of %d boxes are kept", s.views.rows, len(s.views.all))
			}
		}
		apply(t, s, m.mail(es[50:]...))
	}
	for i := range 10 {
		if p := mustList(t, s, Query{Box: own(fmt.Sprintf("u%d@a.test", i)), Folder: Inbox}); len(p.Items) != 10 {
			t.Errorf("%d messages", len(p.Items))
		}
	}
	sum := 0
	for _, v := range s.views.all {
		sum += len(v.rows)
	}
	if sum != s.views.rows {
		t.Errorf("%d rows are kept, %d counted", sum, s.views.rows)
	}
}

func TestParsePeople(t *testing.T) {
	for field, want := range map[string][]Person{
		"":                            nil,
		"a@x.test":                    {{"", "a@x.test"}},
		"<a@x.test>":                  {{"", "a@x.test"}},
		"Anna B <a@x.test>, b@x.test": {{"Anna B", "a@x.test"}, {"", "b@x.test"}},
		`"Müller, Anna" <a@x.test>; C <c@x.test>`:  {{"Müller, Anna", "a@x.test"}, {"C", "c@x.test"}},
		"Müller, Anna <a@x.test>, b@x.test":        {{"Müller, Anna", "a@x.test"}, {"", "b@x.test"}},
		`"a \"b\" c" <a@x.test>`:                   {{`a "b" c`, "a@x.test"}},
		"a@x.test (Anna)":                          {{"Anna", "a@x.test"}},
		"undisclosed-recipients:;":                 nil,
		"team: a@x.test, B <b@x.test>;, c@x.test":  {{"", "a@x.test"}, {"B", "b@x.test"}, {"", "c@x.test"}},
		"Anna <a@x.test>, Some long li…":           {{"Anna", "a@x.test"}},
		"Anna <a@x.te…":                            {{"Anna", "a@x.te"}},
		`"unclosed <a@x.test>, b@x.test`:           {{`"unclosed`, "a@x.test"}, {"", "b@x.test"}},
		`admin@bank.test <evil@x.test>`:            {{"admin@bank.test", "evil@x.test"}},
		"no address":                               nil,
		strings.Repeat("x,", 100) + "Y <y@x.test>": {{strings.Repeat("x,", 100) + "Y", "y@x.test"}},
	} {
		if d := cmp.Diff(want, parsePeople(field)); d != "" {
			t.Errorf("%q:\n%s", field, d)
		}
	}
}

func TestPeople(t *testing.T) {
	s := openStore(t, "", &fakeSpool{}, nil)
	defer closeStore(t, s)
	m := newMaker()
	anna, info := own("anna@a.test"), Box{ID: "info@a.test", Addresses: []string{"info@a.test"}, Shared: true}
	from := func(e *spool.Entry, f string) *spool.Entry { e.Summary.From = f; return e }
	sent := m.held(9, "anna@a.test", "x", "anna@a.test")
	sent.Kind, sent.Mailbox, sent.Summary.To = spool.Copy, "anna@a.test", "Zoe <zoe@x.test>"
	apply(t, s, m.mail(from(m.held(0, "j@x.test", "a", "anna@a.test"), "Jürgen Maier <J@x.test>"), from(m.held(5, "j@x.test", "a", "anna@a.test"), "j@x.test"),
		from(m.held(3, "k@x.test", "a", "anna@a.test"), "k@x.test"), from(m.held(4, "s@x.test", "a", "info@a.test"), "Max Shared <s@x.test>"), sent,
		from(m.held(6, "secret@x.test", "a", "eve@a.test"), "Maiden <secret@x.test>")))
	for prefix, want := range map[string][]Person{
		"":     {{"Zoe", "zoe@x.test"}, {"Jürgen Maier", "j@x.test"}, {"Max Shared", "s@x.test"}, {"", "k@x.test"}},
		"ma":   {{"Jürgen Maier", "j@x.test"}, {"Max Shared", "s@x.test"}},
		"J@":   {{"Jürgen Maier", "j@x.test"}},
		"zo":   {{"Zoe", "zoe@x.test"}},
		"test": nil,
	} {
		got, err := s.People(t.Context(), []Box{anna, info}, prefix, 10)
		for i := range got {
			got[i].Addr = strings.ToLower(got[i].Addr)
		}
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%q: %v %s", prefix, err, d)
		}
	}
	if got, err := s.People(t.Context(), []Box{anna}, "", 1); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
}

func TestBaseSubject(t *testing.T) {
	for s, want := range map[string]string{
		"Plan": "plan", "Re: Plan": "+plan", "RE: AW:  Fwd: Plan  B": "+plan b", "Re[2]: Plan": "+plan", "Re(3): x": "+x", "回复：计划": "+计划",
		"Note: Plan": "note: plan", "": "", "Re:": "+", "Re Plan": "re plan", "[list] Re: x": "[list] re: x", "Réf: x": "+x",
	} {
		base, answers := baseSubject(s)
		if got := map[bool]string{true: "+"}[answers] + base; got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// TestConversations: by what a message answers, else by subject and people.
func TestConversations(t *testing.T) {
	s := openStore(t, "", &fakeSpool{}, nil)
	defer closeStore(t, s)
	m := newMaker()
	box := own("anna@a.test")
	mail := func(minute int, from, to, subject, id, refs string) *spool.Entry {
		e := m.held(minute, from, subject, "anna@a.test")
		e.Summary.From, e.Summary.To, e.Summary.MessageID, e.Summary.Refs = from, to, id, refs
		return e
	}
	sent := mail(1, "anna@a.test", "s@x.test", "Plan", "<2@a>", "")
	sent.Kind, sent.Mailbox = spool.Copy, "anna@a.test"
	apply(t, s, m.mail(
		mail(0, "s@x.test", "anna@a.test", "Plan", "<1@x>", ""), // began elsewhere: nothing ties it to what has the same subject
		sent,
		mail(2, "s@x.test", "Anna <anna@a.test>", "Re: Plan", "<3@x>", ""),              // an answer that names nothing: to what was sent
		mail(3, "t@x.test", "anna@a.test", "Re: Plan", "<4@x>", ""),                     // of somebody else
		mail(4, "s@x.test", "anna@a.test", "quite another", "<5@x>", "<2@a>"),           // an answer by name
		mail(5, "u@x.test", "anna@a.test", "late", "<7@x> (added by a relay)", "<6@x>"), // an answer to what isn't here, and one to it
		mail(6, "v@x.test", "anna@a.test", "late", "<8@x>", "<7@x>"),
	))
	var got []string
	for _, it := range mustList(t, s, Query{Box: box, Folder: Inbox}).Items {
		got = append(got, fmt.Sprintf("%s %d %d", it.MessageID, it.Count, len(it.Senders)))
	}
	if want := []string{"<8@x> 2 2", "<5@x> 3 2", "<4@x> 1 1", "<1@x> 1 1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	items, err := s.Conversation(t.Context(), box, sent.ID)
	if err != nil || len(items) != 3 || items[0].Entry != sent.ID || items[0].Folder != Sent || items[2].MessageID != "<5@x>" || items[1].Thread != sent.ID {
		t.Errorf("%+v, %v", items, err)
	}
	if _, err := s.Conversation(t.Context(), own("max@a.test"), sent.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

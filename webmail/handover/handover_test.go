package handover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restante/spool"
	"restante/webmail/accounts"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/render"
	"restante/webmail/words"
)

var (
	since = time.Date(2026, 11, 21, 8, 12, 0, 0, time.UTC)
	until = time.Date(2026, 11, 21, 9, 3, 41, 0, time.UTC)
	anna  = accounts.Account{Address: "anna@example.com", Name: "Anna Schmidt", Language: "en", Zone: "Europe/Berlin"}
)

// fake is the mail of a few boxes.
type fake struct {
	stats  map[string]mailbox.Stats
	drafts map[string]mailbox.SavedDraft
	files  map[string]string
	fail   error
}

func (f *fake) Stats(_ context.Context, b mailbox.Box, from, to time.Time) (mailbox.Stats, error) {
	if !from.Equal(since) || !to.Equal(until) {
		return mailbox.Stats{}, fmt.Errorf("asked for %s to %s", from, to)
	}
	return f.stats[b.ID], f.fail
}

func (f *fake) Draft(_ context.Context, account, writing string) (mailbox.SavedDraft, error) {
	d, ok := f.drafts[account+writing]
	if !ok {
		return d, mailbox.ErrNotFound
	}
	return d, nil
}

func (f *fake) OpenAttachment(_ context.Context, account, writing, id string) (mailbox.Attachment, io.ReadCloser, error) {
	content, ok := f.files[id]
	if !ok {
		return mailbox.Attachment{}, nil, mailbox.ErrNotFound
	}
	return mailbox.Attachment{}, io.NopCloser(strings.NewReader(content)), nil
}

func item(minute int, from, subject string) mailbox.Item {
	p := mailbox.Person{Name: from, Addr: strings.ToLower(from) + "@kunde.example"}
	return mailbox.Item{Received: since.Add(time.Duration(minute) * time.Minute), From: []mailbox.Person{p}, To: []mailbox.Person{p}, Subject: subject}
}

func sample() *fake {
	answered, deleted, unread := item(5, "Kunde", "Offer"), item(9, "", " \n"), item(20, "DHL", "Your parcel")
	answered.Answered, deleted.Trashed, unread.Unread = true, true, true
	raw := compose.Draft{Box: anna.Address, From: anna.Address, To: "Kunde <k@kunde.example>, unfinish", Bcc: "chef@example.com", Subject: "Re: Offre été", Text: "Bonjour,\n\nvoilà", Saved: until, Attachments: []string{"F1"}}.Bytes()
	return &fake{
		stats: map[string]mailbox.Stats{
			anna.Address: {Arrived: []mailbox.Item{unread, deleted, answered}, ArrivedCount: 3, Read: 2, Answered: 1, Deleted: 1,
				Sent: []mailbox.Item{item(30, "Kunde", "Re: Offer")}, SentCount: 1,
				Drafts: []mailbox.Item{{Writing: "W1"}, {Writing: "gone"}, {Writing: "empty"}, {Writing: "broken"}}, DraftCount: 4},
			"info@example.com":  {ArrivedCount: 5, Read: 4, Answered: 3},
			"quiet@example.com": {SentCount: 1},
		},
		drafts: map[string]mailbox.SavedDraft{
			anna.Address + "W1":     {Draft: mailbox.Draft{Raw: raw}, Saved: until, Attachments: []mailbox.Attachment{{ID: "F1", Name: "plan.pdf", Type: "application/pdf", Size: 4}}},
			anna.Address + "empty":  {Draft: mailbox.Draft{Raw: compose.Draft{From: anna.Address}.Bytes()}, Saved: until},
			anna.Address + "broken": {Draft: mailbox.Draft{Raw: []byte("what?")}, Saved: until},
		},
		files: map[string]string{"F1": "plan"},
	}
}

func outage() Outage {
	return Outage{Since: since, Until: until, ReadingUntil: until.AddDate(0, 0, 7), URL: "https://mx2.example.net", From: "postmaster@example.com", Now: until}
}

func collect(t *testing.T, f *fake, a accounts.Account) Report {
	t.Helper()
	box := func(id string) mailbox.Box { return mailbox.Box{ID: id, Addresses: []string{id}} }
	r, err := Collect(t.Context(), f, a, box(a.Address), []mailbox.Box{box("info@example.com"), box("quiet@example.com")}, outage())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// text is what the mail says, and its attached drafts.
func read(t *testing.T, raw []byte) (*render.Message, string) {
	t.Helper()
	m, err := render.Parse(t.Context(), bytes.NewReader(raw), int64(len(raw)), render.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Odd) > 0 {
		t.Errorf("odd: %v", m.Odd)
	}
	body, _ := m.Body()
	text, err := io.ReadAll(body.Open(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	s := strings.ReplaceAll(string(text), "\r\n", "\n")
	return m, strings.TrimPrefix(strings.ReplaceAll(s, " \n", " "), " ") // format=flowed, "From" stuffed
}

// TestDuring: the day is said once of an outage within one.
func TestDuring(t *testing.T) {
	berlin, err := time.LoadLocation(anna.Zone)
	if err != nil {
		t.Fatal(err)
	}
	o := Outage{Since: since, Until: until}
	for lang, want := range map[string]string{"fr": "Le samedi 21 novembre 2026 de 09:12 à 10:03", "de": "Am Samstag, 21. November 2026, von 09:12 bis 10:03"} {
		if got := during(words.Of(lang), o, berlin); got != want {
			t.Errorf("%s: %q", lang, got)
		}
	}
	o.Until = o.Until.AddDate(0, 0, 1)
	if got := during(words.Of("en"), o, berlin); got != "From Saturday, 21 November 2026, 09:12 until Sunday, 22 November 2026, 10:03" {
		t.Errorf("over midnight: %q", got)
	}
}

func TestHandOverMail(t *testing.T) {
	r := collect(t, sample(), anna)
	if !r.Worth() {
		t.Error("nothing to tell?")
	}
	raw, err := r.Build()
	if err != nil {
		t.Fatal(err)
	}
	m, got := read(t, raw)
	want := `On Saturday, 21 November 2026, from 09:12 until 10:03 your mail server couldn't be reached, and your mail arrived in the emergency webmail. What arrived there is handed over to this mailbox, also what you deleted there. Here everything is new again; this is how it stood there:

3 messages arrived.
2 read, 1 answered, 1 deleted.
- 09:17 Kunde: Offer (answered)
- 09:21 @kunde.example: (no subject) (deleted)
- 09:32 DHL: Your parcel (not read yet)

You sent 1 message. A copy of it comes to this mailbox too.
- 09:42 to Kunde: Re: Offer

1 draft was not sent. It is attached: open it to go on with it.
1 more draft is kept in the emergency webmail.

- info@example.com: 5 messages arrived, 4 read, 3 answered.

Until Saturday, 28 November 2026, 10:03 you can still read all of it in the emergency webmail:
https://mx2.example.net

This message was written by a program. Nobody reads answers to it.
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if m.Subject != "Your mail while the mail server was down, Saturday, 21 November 2026" || !m.AutoReply || m.To[0].Addr != anna.Address || m.From[0].Addr != "postmaster@example.com" {
		t.Errorf("%+v", m)
	}
	if len(m.Attachments) != 1 || m.Attachments[0].Message == nil || m.Attachments[0].Name != "Re_ Offre été.eml" {
		t.Fatalf("attachments %+v", m.Attachments)
	}
	d := m.Attachments[0].Message
	if d.Subject != "Re: Offre été" || d.Header.Get("X-Unsent") != "1" || len(d.To) != 1 || d.Bcc[0].Addr != "chef@example.com" || len(d.Attachments) != 1 || d.Attachments[0].Name != "plan.pdf" {
		t.Errorf("draft %+v", d)
	}
	for name := range map[string]bool{"X-Restante-Box": true, "X-Restante-Attachment": true} {
		if d.Header.Get(name) != "" {
			t.Errorf("the draft says %s", name)
		}
	}
}

func TestInEveryLanguage(t *testing.T) {
	for lang, want := range map[string]string{"fr": "3 messages sont arrivés.", "de": "3 Nachrichten kamen an.", "ja": "3通届きました。", "": "3 messages arrived.", "xx": "3 messages arrived."} {
		a := anna
		a.Language, a.Zone = lang, "Asia/Tokyo"
		raw, err := collect(t, sample(), a).Build()
		if err != nil {
			t.Fatal(err)
		}
		if _, got := read(t, raw); !strings.Contains(got, want) || strings.Contains(got, "⟦") || strings.Contains(got, "{") || !strings.Contains(got, "17:17") {
			t.Errorf("%s: %s", lang, got)
		}
		if dir := os.Getenv("RESTANTE_SCREENSHOTS"); dir != "" && lang != "" {
			if err := os.WriteFile(dir+"/handover-"+lang+".eml", raw, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestWhoIsTold(t *testing.T) {
	told := item(1, "Restante", "Your mail while the mail server was down")
	told.Kind = spool.Local
	news := item(1, "Kunde", "Offer")
	news.EnvelopeFrom = "k@kunde.example"
	for _, c := range []struct {
		name  string
		own   mailbox.Stats
		info  mailbox.Stats
		short bool
		want  bool
	}{
		{"nothing", mailbox.Stats{}, mailbox.Stats{}, false, false},
		{"news", mailbox.Stats{Arrived: []mailbox.Item{news}, ArrivedCount: 1}, mailbox.Stats{}, false, true},
		{"news in a moment", mailbox.Stats{Arrived: []mailbox.Item{news}, ArrivedCount: 1}, mailbox.Stats{}, true, false},
		{"read in a moment", mailbox.Stats{Arrived: []mailbox.Item{news}, ArrivedCount: 1, Read: 1}, mailbox.Stats{}, true, true},
		{"a hand-over mail", mailbox.Stats{Arrived: []mailbox.Item{told}, ArrivedCount: 1}, mailbox.Stats{}, false, false},
		{"written", mailbox.Stats{SentCount: 1}, mailbox.Stats{}, true, true},
		{"shared", mailbox.Stats{}, mailbox.Stats{ArrivedCount: 2}, false, true},
		{"an old draft", mailbox.Stats{Drafts: []mailbox.Item{{Writing: "old"}}, DraftCount: 1}, mailbox.Stats{}, false, false},
	} {
		f := sample()
		f.drafts[anna.Address+"old"] = mailbox.SavedDraft{Draft: f.drafts[anna.Address+"W1"].Draft, Saved: since.Add(-time.Hour)}
		f.stats = map[string]mailbox.Stats{anna.Address: c.own, "info@example.com": c.info}
		r := collect(t, f, anna)
		if c.short {
			r.Outage.Until = since.Add(time.Minute)
		}
		if r.Worth() != c.want {
			t.Errorf("%s: told: %v", c.name, r.Worth())
		}
	}
}

// TestDraftOfTheNext: a draft that was saved in the next outage is told of after that.
func TestDraftOfTheNext(t *testing.T) {
	f := sample()
	f.stats = map[string]mailbox.Stats{anna.Address: {Drafts: []mailbox.Item{{Writing: "W1"}}, DraftCount: 1}}
	for next, want := range map[time.Time]bool{{}: true, until.Add(time.Minute): true, until.Add(-time.Minute): false} {
		r, err := Collect(t.Context(), f, anna, mailbox.Box{ID: anna.Address}, nil, Outage{Since: since, Until: until, Next: next})
		if err != nil || r.Worth() != want {
			t.Errorf("the next at %s: told: %v, %v", next, r.Worth(), err)
		}
	}
}

func TestMuchIsCounted(t *testing.T) {
	f := sample()
	st := mailbox.Stats{ArrivedCount: 800, DraftCount: 30}
	for i := range 200 {
		st.Arrived = append(st.Arrived, item(300-i, "Kunde", "x"))
	}
	for range 30 {
		st.Drafts = append(st.Drafts, mailbox.Item{Writing: "W1"})
	}
	f.stats[anna.Address] = st
	raw, err := collect(t, f, anna).Build()
	if err != nil {
		t.Fatal(err)
	}
	m, got := read(t, raw)
	if strings.Count(got, "Kunde: x") != maxLines || !strings.Contains(got, "and 750 more") || !strings.Contains(got, "10 more drafts are kept") || len(m.Attachments) != maxDrafts {
		t.Errorf("%d attached, %s", len(m.Attachments), got)
	}
}

func TestLargeDraftsGoWithoutTheirFiles(t *testing.T) {
	f := sample()
	f.files["F1"] = strings.Repeat("x", MaxSize)
	raw, err := collect(t, f, anna).Build()
	if err != nil || len(raw) > MaxSize {
		t.Fatalf("%d octets, %v", len(raw), err)
	}
	if m, _ := read(t, raw); len(m.Attachments) != 1 || len(m.Attachments[0].Message.Attachments) != 0 {
		t.Errorf("%+v", m.Attachments)
	}
}

func TestFailures(t *testing.T) {
	f := sample()
	f.fail = errors.New("the disk is gone")
	if _, err := Collect(t.Context(), f, anna, mailbox.Box{ID: anna.Address}, nil, outage()); !errors.Is(err, f.fail) {
		t.Errorf("%v", err)
	}
	f.fail = nil
	delete(f.files, "F1")
	raw, err := collect(t, f, anna).Build()
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := read(t, raw); len(m.Attachments) != 1 || len(m.Attachments[0].Message.Attachments) != 0 {
		t.Errorf("a file that is gone: %+v", m.Attachments)
	}
}

package compose

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func base64Reader(raw []byte) io.Reader {
	return base64.NewDecoder(base64.StdEncoding, bytes.NewReader(raw))
}

func sampleDraft() Draft {
	return Draft{
		Box: "info@example.com", From: "anna@example.com", To: "Jörg <j@kunde.example>, max@kun", Cc: "Schmidt, A", Bcc: "b@example.com",
		Subject: "Angebot für Donnerstag", Text: "Hallo,\n\n  eingerückt   \n> zitiert\n-- \nAnna\n\n",
		InReplyTo: "<p@kunde.example>", References: []string{"<o@kunde.example>", "<p@kunde.example>"},
		Answers: "01J9Z6AAAAAAAAAAAAAAAAAAAA", Forwards: "01J9Z6BBBBBBBBBBBBBBBBBBBB", Saved: time.Date(2026, 11, 21, 9, 12, 4, 0, time.UTC),
		Attachments: []string{"01J9Z6CCCCCCCCCCCCCCCCCCCC", "01J9Z6DDDDDDDDDDDDDDDDDDDD"},
	}
}

func TestDraftReadsBack(t *testing.T) {
	want := sampleDraft()
	raw := want.Bytes()
	read(t, raw) // it is a message
	got, err := ReadDraft(append([]byte("Received: from x\r\n\tby y; now\r\n"), raw...))
	if err != nil {
		t.Fatal(err)
	}
	got.Saved = got.Saved.UTC()
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDraftKeepsWhatIsTyped(t *testing.T) {
	typed := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("aé漢 ,;<>\"\\()@.=?\n"))), rapid.Just("anna@example.com, "), rapid.Just("=?utf-8?Q?a?="))
	rapid.Check(t, func(t *rapid.T) {
		d := Draft{From: "anna@example.com", To: typed.Draw(t, "to"), Cc: typed.Draw(t, "cc"), Subject: typed.Draw(t, "subject"), Text: typed.Draw(t, "text")}
		got, err := ReadDraft(d.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		want := d
		want.Subject = cut(oneLine(d.Subject), MaxSubject)
		want.To, want.Cc, want.Text = oneLine(d.To), oneLine(d.Cc), Newlines(d.Text)
		if diff := cmp.Diff([]string{want.To, want.Cc, want.Text, want.Subject}, []string{got.To, got.Cc, got.Text, got.Subject}); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestReadDraftRefuses(t *testing.T) {
	for _, raw := range []string{
		"", "hello", "Subject: x\r\n\r\nplain text",
		"Content-Transfer-Encoding: base64\r\n\r\n%%%%",
	} {
		if _, err := ReadDraft([]byte(raw)); !errors.Is(err, ErrDraft) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestDraftEmpty(t *testing.T) {
	if !(Draft{From: "anna@example.com", Text: " \n"}).Empty() {
		t.Error("nothing typed is something")
	}
	if (Draft{Attachments: []string{"01J"}}).Empty() || (Draft{Subject: "x"}).Empty() {
		t.Error("something is nothing")
	}
}

func TestDraftRecipients(t *testing.T) {
	to, cc, bcc, problems := Draft{To: "a@example.com, b@x", Cc: "A@example.com, c@example.com", Bcc: "c@example.com, d@example.com"}.Recipients()
	got := FormatList(to) + "|" + FormatList(cc) + "|" + FormatList(bcc)
	if got != "a@example.com|c@example.com|d@example.com" || len(problems) != 1 || problems[0] != (Problem{"b@x", NoDot}) {
		t.Errorf("%s %v", got, problems)
	}
}

func TestCheck(t *testing.T) {
	known := []string{"example.com", "kunde.example", "x.de"}
	for _, c := range []struct {
		draft Draft
		want  string
	}{
		{Draft{Subject: "s", Text: "t", To: "a@example.com"}, ""},
		{Draft{Text: "t"}, "no-subject"},
		{Draft{Subject: "s", Text: " \n"}, "no-text"},
		{Draft{Subject: "s", Text: "", Attachments: []string{"01J"}}, ""},
		{Draft{Subject: "s", Text: "See the Attached file"}, "forgotten:attached"},
		{Draft{Subject: "s", Text: "anbei das Angebot"}, "forgotten:anbei"},
		{Draft{Subject: "s", Text: "im Anhang"}, "forgotten:anhang"},
		{Draft{Subject: "s", Text: "資料を添付します"}, "forgotten:添付"},
		{Draft{Subject: "s", Text: "Veuillez trouver ci-joint"}, "forgotten:ci-joint"},
		{Draft{Subject: "Attached: offer", Text: "t"}, "forgotten:attached"},
		{Draft{Subject: "s", Text: "the unattached one"}, ""},
		{Draft{Subject: "s", Text: "ok\n> see the attached file\n-- \nattached"}, ""},
		{Draft{Subject: "s", Text: "FYI\n---------- Forwarded message ----------\nattached"}, ""},
		{Draft{Subject: "s", Text: "attached", Attachments: []string{"01J"}}, ""},
		{Draft{Subject: "s", Text: "attached", Forwards: "01J"}, ""},
		{Draft{Subject: "s", Text: "t", To: "a@exmaple.com, b@kunde.exampl, c@example.com, d@y.de"}, "lookalike:a@exmaple.com=example.com lookalike:b@kunde.exampl=kunde.example"},
		{Draft{Subject: "s", Text: "t", Bcc: "a@examplle.com", Cc: "b@exanple.com"}, "lookalike:b@exanple.com=example.com lookalike:a@examplle.com=example.com"},
		{Draft{Subject: "s", Text: "t", To: "a@another.example"}, ""},
	} {
		var got []string
		for _, w := range Check(c.draft, known) {
			s := w.Kind
			if w.Text != "" {
				s += ":" + w.Text
			}
			if w.Other != "" {
				s += "=" + w.Other
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %q, want %q", c.draft, got, c.want)
		}
	}
}

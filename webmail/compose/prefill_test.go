package compose

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func people(list string) []Person {
	p, problems := ParseList(list)
	if len(problems) > 0 {
		panic(fmt.Sprint(problems))
	}
	return p
}

func TestWhoGetsAnAnswer(t *testing.T) {
	own := []string{"anna@example.com", "a.schmidt@example.com", "info@example.com"}
	customer := Original{From: people("Kunde <k@kunde.example>"), To: people("Anna <anna+shop@example.com>, max@example.com"), Cc: people("info@example.com, chef@kunde.example, K@kunde.example")}
	with := func(change func(*Original)) Original {
		o := customer
		change(&o)
		return o
	}
	for _, c := range []struct {
		name string
		mode Mode
		o    Original
		want string // to | cc | from
	}{
		{"author", Reply, customer, "Kunde <k@kunde.example>||anna@example.com"},
		{"all", ReplyAll, customer, "Kunde <k@kunde.example>, max@example.com|chef@kunde.example|anna@example.com"},
		{"reply-to", Reply, with(func(o *Original) { o.ReplyTo = people("desk@kunde.example") }), "desk@kunde.example||anna@example.com"},
		{"all with reply-to", ReplyAll, with(func(o *Original) { o.ReplyTo = people("desk@kunde.example") }), "desk@kunde.example, max@example.com|chef@kunde.example, K@kunde.example|anna@example.com"},
		{"mail-reply-to", Reply, with(func(o *Original) { o.MailReplyTo = people("me@kunde.example") }), "me@kunde.example||anna@example.com"},
		{"mail-followup-to", ReplyAll, with(func(o *Original) { o.MailFollowupTo = people("list@kunde.example, anna@example.com") }), "list@kunde.example||anna@example.com"},
		{"own sent mail", Reply, Original{From: people("a.schmidt@example.com"), To: people("k@kunde.example"), Cc: people("c@kunde.example")}, "k@kunde.example||a.schmidt@example.com"},
		{"own sent mail, all", ReplyAll, Original{From: people("a.schmidt@example.com"), To: people("k@kunde.example"), Cc: people("c@kunde.example")}, "k@kunde.example|c@kunde.example|a.schmidt@example.com"},
		{"to oneself", Reply, Original{From: people("anna@example.com"), To: people("anna@example.com")}, "anna@example.com||anna@example.com"},
		{"only cc is left", ReplyAll, Original{From: people("anna@example.com"), Cc: people("k@kunde.example")}, "k@kunde.example||anna@example.com"},
		{"envelope decides", Reply, with(func(o *Original) { o.Delivered = "INFO@example.com" }), "Kunde <k@kunde.example>||info@example.com"},
		{"not to us by name", Reply, Original{From: people("k@kunde.example"), To: people("list@kunde.example")}, "k@kunde.example||anna@example.com"},
		{"no author", Reply, Original{To: people("anna@example.com")}, "||anna@example.com"},
		{"broken author", Reply, Original{From: []Person{{"x", "nobody"}}}, "||anna@example.com"},
		{"new", New, Original{}, "||anna@example.com"},
		{"forward", Forward, customer, "||anna@example.com"},
	} {
		p := Start(c.mode, c.o, own, "", Words{})
		if got := FormatList(p.To) + "|" + FormatList(p.Cc) + "|" + p.From; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if p := Start(Reply, customer, nil, "", Words{}); p.From != "" {
		t.Errorf("from nobody: %q", p.From)
	}
}

func TestSubjects(t *testing.T) {
	for subject, want := range map[string]string{
		"Offer": "Re: Offer", "Re: Offer": "Re: Offer", "AW: WG: Offer": "Re: Offer", "RE[3]: Re^2: Offer": "Re: Offer", "回复：Offer": "Re: Offer",
		"返信: 見積もり": "Re: 見積もり", "": "Re:", "Regarding: x": "Re: Regarding: x", "I: me and you": "Re: I: me and you", " a \r\n b": "Re: a b", "Re:": "Re:",
		"fwd: Offer": "Re: Offer",
	} {
		if got := withPrefix("Re: ", subject); got != want {
			t.Errorf("%q: %q, want %q", subject, got, want)
		}
	}
	if got := withPrefix("Fwd: ", strings.Repeat("é", 900)); len(got) > MaxSubject {
		t.Errorf("%d octets", len(got))
	}
	if BareSubject("Re: Fwd: x") != "x" {
		t.Error("the bare subject has prefixes")
	}
}

func TestPrefilledText(t *testing.T) {
	o := Original{From: people("Kunde <k@kunde.example>"), To: people("anna@example.com"), Subject: "Offer",
		Text: "Hello Anna,\r\n\r\n> you wrote\nthanks  \n\n-- \nKunde GmbH\n"}
	w := Words{Wrote: "On 21 Nov, Kunde wrote:", Forwarded: "Forwarded message", From: "From", Date: "Date", Subject: "Subject", To: "To", Cc: "Cc", DateText: "21 Nov"}
	for _, c := range []struct {
		mode            Mode
		signature, want string
	}{
		{New, "", ""},
		{New, " Anna\r\nExample Ltd \n", "\n\n-- \nAnna\nExample Ltd"},
		{Reply, "Anna", "\n\nAnna\n\nOn 21 Nov, Kunde wrote:\n> Hello Anna,\n>\n>> you wrote\n> thanks\n"},
		{Forward, "", "\n\n---------- Forwarded message ----------\nFrom: Kunde <k@kunde.example>\nDate: 21 Nov\nSubject: Offer\nTo: anna@example.com\n\nHello Anna,\n\n> you wrote\nthanks  \n\n-- \nKunde GmbH\n"},
		{ForwardAs, "", ""},
	} {
		if d := cmp.Diff(c.want, Start(c.mode, o, []string{"anna@example.com"}, c.signature, w).Text); d != "" {
			t.Errorf("%s: %s", c.mode, d)
		}
	}
}

func TestQuoteIsBounded(t *testing.T) {
	got := Quote(strings.Repeat("a line of some length\n", 5000))
	if len(got) > quotedAt+100 || !strings.HasSuffix(got, "> […]\n") {
		t.Errorf("%d octets, ends %q", len(got), got[len(got)-30:])
	}
	if got = Quote(strings.Repeat("é", 20000)); len(got) > quotedAt+10 {
		t.Errorf("one endless line: %d octets", len(got))
	}
}

func TestThread(t *testing.T) {
	many := make([]string, 50)
	for i := range many {
		many[i] = fmt.Sprintf("<%d@x.example>", i)
	}
	for _, c := range []struct {
		o    Original
		want string
	}{
		{Original{MessageID: "a@x.example"}, "<a@x.example>: <a@x.example>"},
		{Original{MessageID: "<b@x.example>", InReplyTo: []string{"a@x.example"}}, "<b@x.example>: <a@x.example> <b@x.example>"},
		{Original{MessageID: "<c@x.example>", InReplyTo: []string{"b@x.example"}, References: []string{"a@x.example", "b@x.example", "a@x.example"}}, "<c@x.example>: <a@x.example> <b@x.example> <c@x.example>"},
		{Original{MessageID: "no id at all"}, ": "},
		{Original{MessageID: "<a@x.example>\r\nBcc: x@y.example"}, ": "},
		{Original{MessageID: "z@x.example", References: many}, "<z@x.example>: <0@x.example> " + strings.Join(many[32:], " ") + " <z@x.example>"},
	} {
		parent, refs := Thread(c.o)
		if got := parent + ": " + strings.Join(refs, " "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.o, got, c.want)
		}
	}
}

package compose

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"
)

// Draft is a piece of writing as its page shows it: what was typed, whether it makes sense yet or not.
type Draft struct {
	Box               string // the mailbox it is written from: the account's main address or a shared one
	From              string // address
	To, Cc, Bcc       string // as typed
	Subject, Text     string
	InReplyTo         string
	References        []string
	Answers, Forwards string   // entries
	Attachments       []string // ids of the entries that hold them
	Saved             time.Time
}

// ErrDraft is returned by ReadDraft for what is none.
var ErrDraft = errors.New("this is not a draft")

// Empty reports a draft in which nothing was written that would be missed.
func (d Draft) Empty() bool {
	return strings.TrimSpace(d.To+d.Cc+d.Bcc+d.Subject+d.Text) == "" && len(d.Attachments) == 0
}

// Bytes returns the draft as a message without its attachments; see the package comment.
func (d Draft) Bytes() []byte {
	var h header
	h.field("Date", d.Saved.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	h.people("From", []Person{{Addr: d.From}})
	for _, f := range []struct{ name, typed string }{{"To", d.To}, {"Cc", d.Cc}, {"Bcc", d.Bcc}} {
		people, _ := ParseList(f.typed)
		h.people(f.name, people)
		if typed := oneLine(f.typed); typed != FormatList(people) {
			h.field("X-Restante-Typed-"+f.name, encodeWords(cut(typed, maxField)))
		}
	}
	h.text("Subject", cut(d.Subject, MaxSubject))
	h.ids("In-Reply-To", d.InReplyTo)
	h.ids("References", d.References...)
	for _, f := range []struct{ name, value string }{{"Box", d.Box}, {"Answers", d.Answers}, {"Forwards", d.Forwards}} {
		if f.value != "" {
			h.text("X-Restante-"+f.name, f.value)
		}
	}
	for _, id := range d.Attachments {
		h.text("X-Restante-Attachment", id)
	}
	h.field("MIME-Version", "1.0")
	h.field("Content-Type", "text/plain; charset=utf-8")
	h.field("Content-Transfer-Encoding", "base64")
	var b bytes.Buffer
	b.WriteString(h.String() + "\r\n")
	writeBase64(&b, strings.NewReader(Newlines(cut(d.Text, MaxText)))) // a buffer refuses nothing
	return b.Bytes()
}

// ReadDraft reads what Bytes wrote, behind trace fields too.
func ReadDraft(raw []byte) (Draft, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Draft{}, fmt.Errorf("%w: %w", ErrDraft, err)
	}
	get := func(name string) string {
		s, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get(name))
		if err != nil {
			return m.Header.Get(name)
		}
		return s
	}
	d := Draft{
		Box: get("X-Restante-Box"), From: get("From"), Subject: get("Subject"),
		InReplyTo: m.Header.Get("In-Reply-To"), References: strings.Fields(m.Header.Get("References")),
		Answers: get("X-Restante-Answers"), Forwards: get("X-Restante-Forwards"),
	}
	d.Saved, _ = m.Header.Date()
	for name, into := range map[string]*string{"To": &d.To, "Cc": &d.Cc, "Bcc": &d.Bcc} {
		if *into = get("X-Restante-Typed-" + name); *into == "" {
			*into = FormatList(headerPeople(m.Header.Get(name)))
		}
	}
	d.Attachments = m.Header["X-Restante-Attachment"]
	if m.Header.Get("Content-Transfer-Encoding") != "base64" {
		return Draft{}, fmt.Errorf("%w: its text is not encoded", ErrDraft)
	}
	text, err := io.ReadAll(io.LimitReader(base64.NewDecoder(base64.StdEncoding, m.Body), MaxText+1))
	if err != nil {
		return Draft{}, fmt.Errorf("%w: %w", ErrDraft, err)
	}
	d.Text = string(text)
	return d, nil
}

// headerPeople reads an address field that header.people wrote: encoded names are decoded one by one,
// so that a comma in a name divides nothing.
func headerPeople(value string) []Person {
	list, err := mail.ParseAddressList(value)
	if err != nil {
		return nil
	}
	people := make([]Person, len(list))
	for i, a := range list {
		people[i] = Person{a.Name, a.Address}
	}
	return people
}

// Recipients reads the address fields: each address once, in To before Cc before Bcc.
func (d Draft) Recipients() (to, cc, bcc []Person, problems []Problem) {
	seen := map[string]bool{}
	read := func(typed string) (out []Person) {
		people, bad := ParseList(typed)
		problems = append(problems, bad...)
		for _, p := range people {
			if !seen[Key(p.Addr)] {
				seen[Key(p.Addr)] = true
				out = append(out, p)
			}
		}
		return out
	}
	return read(d.To), read(d.Cc), read(d.Bcc), problems
}

// Message returns the draft as a message to be gone on with elsewhere; without its attachments.
func (d Draft) Message(name string) Message {
	to, cc, bcc, _ := d.Recipients()
	return Message{
		ID: NewMessageID(d.From), Date: d.Saved, From: Person{name, d.From}, To: to, Cc: cc, Bcc: bcc, Subject: d.Subject, Text: d.Text,
		InReplyTo: d.InReplyTo, References: d.References, Unsent: true,
	}
}

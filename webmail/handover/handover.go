// Package handover writes the hand-over mail: what each person finds in the normal mailbox after an outage, saying
// what arrived in the emergency webmail, what was done with it there (which the normal mailbox can't know: it has
// everything as new), what was sent, and with the drafts that were not, attached as messages that mail programs
// open as drafts.
package handover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"restante/spool"
	"restante/webmail/accounts"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/words"
)

// Limits of one mail.
const (
	maxLines  = 50       // messages that are listed by name, of each kind; the others are counted
	maxDrafts = 20       // drafts that are attached; the others are counted, and stay in the webmail
	MaxSize   = 20 << 20 // octets of the mail; drafts whose files don't fit go without them
)

// Noticeable is how long an outage lasts at least for people to be told who did nothing in the webmail: a primary that
// says "later" to one message is no news to anybody.
const Noticeable = 10 * time.Minute

// Mail is what it reads; mailbox.Store is one.
type Mail interface {
	Stats(ctx context.Context, b mailbox.Box, since, until time.Time) (mailbox.Stats, error)
	Draft(ctx context.Context, account, writing string) (mailbox.SavedDraft, error)
	OpenAttachment(ctx context.Context, account, writing, id string) (mailbox.Attachment, io.ReadCloser, error)
}

// Outage is what the mail is about.
type Outage struct {
	Since, Until time.Time
	Next         time.Time // when the next one began, zero if none has: drafts saved since then are of that
	ReadingUntil time.Time // how long the webmail can be read after it, zero if that isn't known
	URL          string    // of the webmail, "" if it isn't known
	From         string    // the address that the mail is from
	Now          time.Time
}

// Report is what one person is told.
type Report struct {
	Account accounts.Account
	Outage  Outage
	Own     mailbox.Stats
	Shared  []Shared
	drafts  []draft
	lost    int // drafts that could not be read, or were too many
}

// Shared is what happened in a shared mailbox.
type Shared struct {
	Address string
	Stats   mailbox.Stats
}

type draft struct {
	compose.Draft
	files []compose.Attachment
}

// Collect reads what there is to tell a person. The files of drafts are opened by Build: ctx must last as long.
func Collect(ctx context.Context, m Mail, a accounts.Account, own mailbox.Box, shared []mailbox.Box, o Outage) (Report, error) {
	r := Report{Account: a, Outage: o}
	var err error
	if r.Own, err = m.Stats(ctx, own, o.Since, o.Until); err != nil {
		return r, fmt.Errorf("what happened in %s: %w", own.ID, err)
	}
	for _, b := range shared {
		st, err := m.Stats(ctx, b, o.Since, o.Until)
		if err != nil {
			return r, fmt.Errorf("what happened in %s: %w", b.ID, err)
		}
		if st.ArrivedCount > 0 {
			r.Shared = append(r.Shared, Shared{b.ID, st})
		}
	}
	for _, it := range r.Own.Drafts {
		saved, err := m.Draft(ctx, a.Address, it.Writing)
		if errors.Is(err, mailbox.ErrNotFound) {
			continue // sent or discarded meanwhile
		}
		if err != nil {
			return r, fmt.Errorf("draft %s: %w", it.Writing, err)
		}
		d := draft{}
		if saved.Saved.Before(o.Since) || !o.Next.IsZero() && saved.Saved.After(o.Next) { // it was handed over before, or will be
			continue
		}
		if d.Draft, err = compose.ReadDraft(saved.Raw); err != nil {
			r.lost++
			continue
		}
		if d.Empty() {
			continue
		}
		if len(r.drafts) == maxDrafts {
			r.lost++
			continue
		}
		for _, f := range saved.Attachments {
			d.files = append(d.files, compose.Attachment{Name: f.Name, Type: f.Type, Size: f.Size, Open: func() (io.ReadCloser, error) {
				_, content, err := m.OpenAttachment(ctx, a.Address, it.Writing, f.ID)
				return content, err
			}})
		}
		r.drafts = append(r.drafts, d)
	}
	return r, nil
}

// Worth reports that there is something to tell: somebody who read, wrote or left a draft in the webmail is told, others
// when mail arrived in a noticeable outage. Mail of the node itself is no news, least of all a hand-over mail.
func (r Report) Worth() bool {
	if r.Own.Read+r.Own.SentCount+len(r.drafts)+r.lost > 0 {
		return true
	}
	news := r.Own.ArrivedCount
	for _, it := range r.Own.Arrived {
		if it.Kind == spool.Local && it.EnvelopeFrom == "" {
			news--
		}
	}
	return (news > 0 || len(r.Shared) > 0) && r.Outage.Until.Sub(r.Outage.Since) >= Noticeable
}

// Build writes the mail, in the person's language and zone.
func (r Report) Build() ([]byte, error) {
	t := words.Of(r.Account.Language)
	zone, err := time.LoadLocation(r.Account.Zone)
	if err != nil || r.Account.Zone == "" {
		zone = time.UTC
	}
	m := compose.Message{
		ID: compose.NewMessageID(r.Outage.From), Date: r.Outage.Now.In(zone), From: compose.Person{Name: t.T("handover.name"), Addr: r.Outage.From},
		To: []compose.Person{{Name: r.Account.Name, Addr: r.Account.Address}}, Auto: true,
		Subject: t.T("handover.subject", "day", t.Day(r.Outage.Since, zone)), Text: r.text(t, zone),
	}
	room := int64(MaxSize - 1<<20) // less the text and the header
	for i, d := range r.drafts {
		raw, err := d.build(r.Account.Name, room)
		if err != nil {
			return nil, fmt.Errorf("draft %d: %w", i+1, err)
		}
		if raw == nil {
			continue
		}
		room -= int64(len(raw)) + 1024
		name := compose.FileName(cmp.Or(strings.TrimSpace(d.Subject), t.T("handover.draft"))) + ".eml"
		m.Attachments = append(m.Attachments, compose.Attachment{Name: name, Type: "message/rfc822", Size: int64(len(raw)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(string(raw))), nil
		}})
	}
	return m.Build(MaxSize)
}

// build makes a message of a draft: with its files, without them where they don't fit or are gone, nil when not even
// that fits.
func (d draft) build(name string, room int64) ([]byte, error) {
	m := d.Message(name)
	m.Attachments = d.files
	raw, err := m.Build(room)
	if errors.Is(err, compose.ErrSize) || errors.Is(err, mailbox.ErrNotFound) {
		m.Attachments = nil
		raw, err = m.Build(room)
	}
	if errors.Is(err, compose.ErrSize) {
		return nil, nil
	}
	return raw, err
}

func (r Report) text(t *words.Words, zone *time.Location) string {
	o := r.Outage
	parts := []string{
		t.T("handover.intro", "during", during(t, o, zone)),
		r.arrived(t, zone), r.sent(t, zone), r.unsent(t), r.shared(t),
	}
	if o.URL != "" && !o.ReadingUntil.IsZero() {
		parts = append(parts, t.T("handover.reading", "until", t.Full(o.ReadingUntil, zone))+"\n"+o.URL)
	}
	parts = append(parts, t.T("handover.foot"))
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "\n\n")
}

// during says when the outage was, its day once when it was within one.
func during(t *words.Words, o Outage, zone *time.Location) string {
	if day := t.Day(o.Since, zone); day == t.Day(o.Until, zone) {
		return t.T("handover.day", "day", day, "since", t.Clock(o.Since, zone), "until", t.Clock(o.Until, zone))
	}
	return t.T("handover.during", "since", t.Full(o.Since, zone), "until", t.Full(o.Until, zone))
}

func (r Report) arrived(t *words.Words, zone *time.Location) string {
	st := r.Own
	if st.ArrivedCount == 0 {
		return t.T("handover.nothing")
	}
	head := t.T("handover.arrived", "n", st.ArrivedCount) + "\n" + t.T("handover.done", "read", st.Read, "answered", st.Answered, "deleted", st.Deleted)
	return head + "\n" + list(t, st.Arrived, st.ArrivedCount, func(it mailbox.Item) string {
		var marks []string
		switch {
		case it.Trashed:
			marks = append(marks, t.T("handover.mark.deleted"))
		case it.Answered:
			marks = append(marks, t.T("handover.mark.answered"))
		case it.Unread:
			marks = append(marks, t.T("handover.mark.unread"))
		}
		return line(t, zone, r.Outage, it, who(it.From), marks...)
	})
}

func (r Report) sent(t *words.Words, zone *time.Location) string {
	st := r.Own
	if st.SentCount == 0 {
		return ""
	}
	return t.T("handover.sent", "n", st.SentCount) + "\n" + list(t, st.Sent, st.SentCount, func(it mailbox.Item) string {
		return line(t, zone, r.Outage, it, t.T("handover.to", "names", who(it.To)))
	})
}

func (r Report) unsent(t *words.Words) string {
	var parts []string
	if n := len(r.drafts); n > 0 {
		parts = append(parts, t.T("handover.drafts", "n", n))
	}
	if r.lost > 0 {
		parts = append(parts, t.T("handover.lost", "n", r.lost))
	}
	return strings.Join(parts, "\n")
}

func (r Report) shared(t *words.Words) string {
	var lines []string
	for _, s := range r.Shared {
		lines = append(lines, "- "+t.T("handover.shared", "box", s.Address, "n", s.Stats.ArrivedCount, "read", s.Stats.Read, "answered", s.Stats.Answered))
	}
	return strings.Join(lines, "\n")
}

// list writes the messages oldest first, as they came, and counts those that are too many.
func list(t *words.Words, items []mailbox.Item, n int, write func(mailbox.Item) string) string {
	items = slices.Clone(items[:min(len(items), maxLines)])
	slices.SortStableFunc(items, func(a, b mailbox.Item) int { return a.Received.Compare(b.Received) })
	var lines []string
	for _, it := range items {
		lines = append(lines, "- "+write(it))
	}
	if more := n - len(items); more > 0 {
		lines = append(lines, "- "+t.T("handover.more", "n", more))
	}
	return strings.Join(lines, "\n")
}

// line is one message in a list: "10:41 Anna Schmidt: Offer (answered)".
func line(t *words.Words, zone *time.Location, o Outage, it mailbox.Item, who string, marks ...string) string {
	subject := strings.Join(strings.Fields(it.Subject), " ")
	if subject == "" {
		subject = t.T("handover.nosubject")
	}
	s := t.Since(it.Received, o.Since, zone) + " " + who + ": " + subject
	if len(marks) > 0 {
		s += " (" + strings.Join(marks, ", ") + ")"
	}
	return s
}

// who names the first of some people.
func who(people []mailbox.Person) string {
	if len(people) == 0 {
		return "?"
	}
	name := compose.CleanName(people[0].Name)
	if name == "" {
		name = compose.CleanName(people[0].Addr)
	}
	if len(people) > 1 {
		name += " …"
	}
	return name
}

package compose

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Original is the message that is answered or forwarded, as webmail/render read it.
type Original struct {
	From, ReplyTo, To, Cc []Person
	Bcc                   []Person // of one's own sent messages
	MailReplyTo           []Person // of the field Mail-Reply-To
	MailFollowupTo        []Person // of the field Mail-Followup-To
	Subject               string
	MessageID             string // with or without angle brackets
	InReplyTo, References []string
	Date                  time.Time
	Text                  string // quotes within it marked by "> "
	Delivered             string // the address in the envelope by which it came here
}

// Mode is what is being written.
type Mode string

// The modes.
const (
	New       Mode = "new"
	Reply     Mode = "reply"
	ReplyAll  Mode = "reply-all"
	Forward   Mode = "forward"    // the text in the text, its attachments as attachments
	ForwardAs Mode = "forward-as" // the whole message as one attachment
)

// Words are the pieces of text in the reader's language that a prefilled text needs.
type Words struct {
	Wrote     string // the line above a quote, complete: "On 21 November 2026 at 09:12, Anna Schmidt wrote:"
	Forwarded string // "Forwarded message"
	From      string // the names of fields above a forwarded text
	Date      string
	Subject   string
	To        string
	Cc        string
	DateText  string // the date of the original as the reader reads it
}

// Prefill is where a new piece of writing starts.
type Prefill struct {
	To, Cc        []Person
	Subject, Text string
	InReplyTo     string
	References    []string
	From          string // the address of own that was written to
	Listed        int    // how many people it goes to
}

// Start fills in a piece of writing. own are the addresses that may write, the preferred one first;
// they are left out of the recipients. signature is put where it belongs: below the text, above a quote.
func Start(mode Mode, o Original, own []string, signature string, w Words) Prefill {
	p := Prefill{From: chooseFrom(o, own)}
	switch mode {
	case Reply, ReplyAll:
		p.To, p.Cc = recipients(mode, o, own)
		p.Subject = withPrefix("Re: ", o.Subject)
		p.Text = "\n\n" + above(signature) + w.Wrote + "\n" + Quote(o.Text)
		p.InReplyTo, p.References = Thread(o)
		p.Listed = len(p.To) + len(p.Cc)
	case Forward:
		p.Subject = withPrefix("Fwd: ", o.Subject)
		p.Text = "\n\n" + above(signature) + forwarded(o, w)
		_, p.References = Thread(o)
	case ForwardAs:
		p.Subject = withPrefix("Fwd: ", o.Subject)
		p.Text = below(signature)
		_, p.References = Thread(o)
	default:
		p.Text = below(signature)
	}
	return p
}

// below returns how a signature stands in a new text: behind the separator of RFC 3676 4.3.
func below(signature string) string {
	if signature = strings.TrimSpace(Newlines(signature)); signature == "" {
		return ""
	}
	return "\n\n-- \n" + signature
}

// above leaves the separator out, since readers would hide the quote below it with the signature.
func above(signature string) string {
	if signature = strings.TrimSpace(Newlines(signature)); signature == "" {
		return ""
	}
	return signature + "\n\n"
}

// chooseFrom returns the own address that the original was written to: the one of the envelope, else
// the first in To and Cc, else (an answer to one's own message) the one it came from, else the first of own.
func chooseFrom(o Original, own []string) string {
	asked := []Person{{Addr: o.Delivered}}
	asked = append(append(append(asked, o.To...), o.Cc...), o.From...)
	for _, p := range asked {
		for _, exact := range []bool{true, false} { // info+sales@ before info@, if it is one of own
			for _, a := range own {
				if Key(a) == Key(p.Addr) || !exact && Base(a) == Base(p.Addr) {
					return a
				}
			}
		}
	}
	if len(own) > 0 {
		return own[0]
	}
	return ""
}

// recipients says whom an answer goes to. Reply-To is the author's wish (RFC 5322 3.6.2); so are
// Mail-Reply-To and Mail-Followup-To where mailing lists carry them.
func recipients(mode Mode, o Original, own []string) (to, cc []Person) {
	mine := map[string]bool{}
	for _, a := range own {
		mine[Base(a)] = true
	}
	seen := map[string]bool{}
	take := func(lists ...[]Person) (out []Person) {
		for _, p := range slices.Concat(lists...) {
			addr, why := CleanAddress(p.Addr)
			if why != "" || seen[Key(addr)] || mine[Base(addr)] {
				continue
			}
			seen[Key(addr)] = true
			out = append(out, Person{CleanName(p.Name), addr})
		}
		return out
	}
	author := o.ReplyTo
	if len(author) == 0 {
		author = o.From
	}
	switch {
	case fromMe(o, mine): // going on with what one wrote oneself: to the same people
		if to = take(o.To); mode == ReplyAll {
			cc = take(o.Cc)
		}
	case mode == ReplyAll && len(o.MailFollowupTo) > 0:
		to = take(o.MailFollowupTo)
	case mode == ReplyAll:
		to = take(author, o.To)
		cc = take(o.Cc)
		if len(to) == 0 {
			to, cc = cc, nil
		}
	case len(o.MailReplyTo) > 0:
		to = take(o.MailReplyTo)
	default:
		to = take(author)
	}
	if len(to) == 0 && len(cc) == 0 { // a message to oneself: answer oneself
		clear(mine)
		to = take(author)
	}
	return to, cc
}

func fromMe(o Original, mine map[string]bool) bool {
	return len(o.From) > 0 && mine[Base(o.From[0].Addr)] && len(o.To) > 0
}

// Thread returns In-Reply-To and References for an answer to o (RFC 5322 3.6.4).
func Thread(o Original) (inReplyTo string, references []string) {
	refs := o.References
	if len(refs) == 0 && len(o.InReplyTo) == 1 {
		refs = o.InReplyTo
	}
	refs = append(slices.Clone(refs), o.MessageID)
	seen := map[string]bool{}
	for _, r := range refs {
		if r = cleanMessageID(r); r != "" && !seen[r] {
			seen[r] = true
			references = append(references, r)
		}
	}
	if n := len(references); n > MaxReferences {
		references = append(references[:1:1], references[n-MaxReferences+1:]...)
	}
	return cleanMessageID(o.MessageID), references
}

var messageID = regexp.MustCompile(`^<[!-;=?-~]+@[!-;=?-~]+>$`) // visible ASCII without <>, tolerant towards real ones

// cleanMessageID returns id in angle brackets, "" when it is none that can be put in a field.
func cleanMessageID(id string) string {
	id = strings.TrimSpace(id)
	if !strings.HasPrefix(id, "<") {
		id = "<" + id + ">"
	}
	if len(id) > maxMessageID || !messageID.MatchString(id) {
		return ""
	}
	return id
}

// What programs of many languages put before the subject of an answer or forward, also counted: Re[2], Re^2.
var subjectPrefix = regexp.MustCompile(`(?i)^\s*(re|aw|antw|antwort|sv|vs|vá|odp|ynt|rif|réf|tr|rv|enc|res|fwd?|wg|vl|vb|i|回复|回覆|答复|转发|轉寄|返信|転送)(\[\d+\]|\^\d+|\(\d+\))?\s*[:：]\s*`)

// One letter or short prefixes that are words too are only dropped before a further prefix; "I: " and "Tr: " stay.
var ambiguous = regexp.MustCompile(`(?i)^\s*(i|vs|res|enc|tr)\s*:`)

// withPrefix puts Re: or Fwd: before a subject that has neither yet.
func withPrefix(prefix, subject string) string {
	subject = oneLine(subject)
	for {
		m := subjectPrefix.FindString(subject)
		if m == "" || ambiguous.MatchString(subject) {
			break
		}
		subject = subject[len(m):]
	}
	return strings.TrimSpace(prefix + cut(subject, MaxSubject-len(prefix)))
}

// BareSubject returns the subject without the prefixes of answers and forwards.
func BareSubject(subject string) string { return withPrefix("", subject) }

func forwarded(o Original, w Words) string {
	var b strings.Builder
	b.WriteString("---------- " + w.Forwarded + " ----------\n")
	line := func(name, value string) {
		if value = oneLine(value); value != "" {
			b.WriteString(name + ": " + value + "\n")
		}
	}
	line(w.From, FormatList(o.From))
	line(w.Date, w.DateText)
	line(w.Subject, o.Subject)
	line(w.To, FormatList(o.To))
	line(w.Cc, FormatList(o.Cc))
	b.WriteString("\n" + strings.TrimRight(Newlines(o.Text), "\n") + "\n")
	return b.String()
}

// Quote marks each line of a text as quoted, one level deeper (RFC 3676 4.5). The signature of the
// original and what is under it is left out, and so is what is over 8,000 octets, at a line's end,
// which "> […]" shows.
func Quote(text string) string {
	lines := strings.Split(strings.TrimRight(Newlines(text), "\n\t "), "\n")
	if i := slices.Index(lines, "-- "); i > 0 {
		lines = lines[:i]
		for len(lines) > 1 && strings.TrimSpace(lines[len(lines)-1]) == "" {
			lines = lines[:len(lines)-1]
		}
	}
	var b strings.Builder
	for _, l := range lines {
		if b.Len()+len(l) > quotedAt && b.Len() > 0 {
			b.WriteString("> […]\n")
			break
		}
		switch {
		case strings.TrimSpace(l) == "":
			b.WriteString(">")
		case strings.HasPrefix(l, ">"):
			b.WriteString(">" + strings.TrimRight(l, " "))
		default:
			b.WriteString("> " + strings.TrimRight(cut(l, quotedAt), " "))
		}
		b.WriteString("\n")
	}
	return b.String()
}

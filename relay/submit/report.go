package submit

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/replay"
	"restante/spool"
)

// bounce is a report that a message could not be delivered (RFC 3462, RFC 3464), in words that a person understands first.
type bounce struct {
	host   string
	to     mailaddr.Address
	entry  *spool.Entry // that could not be delivered
	failed []replay.Undelivered
	header []byte // of it, may be empty
	now    time.Time
	id     string // of the report's entry

	language string         // of the person, "" if it isn't known
	zone     *time.Location // the same, nil
}

// message is the whole report, CRLF line ends.
func (b *bounce) message() []byte {
	var m bytes.Buffer
	boundary := "=_" + b.id
	line := func(format string, args ...any) { fmt.Fprintf(&m, format+"\r\n", args...) }
	line("From: Mail delivery <postmaster@%s>", b.to.Domain)
	line("To: <%s>", b.to)
	w, code := wordsOf(b.language)
	line("Subject: %s", encoded(fmt.Sprintf(w.subject, cut(b.subject(), 120))))
	line("Content-Language: %s", code)
	line("Date: %s", b.now.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	line("Message-ID: <%s.bounce@%s>", b.id, b.to.Domain)
	if id := b.field("Message-ID"); id != "" {
		line("In-Reply-To: %s", id)
		line("References: %s", id)
	}
	line("Auto-Submitted: auto-replied") // RFC 3834 5
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"%s\"", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=utf-8")
	line("Content-Transfer-Encoding: quoted-printable")
	line("")
	qp := quotedprintable.NewWriter(&m)
	qp.Write([]byte(b.text())) // to memory
	qp.Close()
	line("")
	line("--%s", boundary)
	international := !b.to.ASCII()
	for _, u := range b.failed {
		international = international || !ascii(u.Pair.Address)
	}
	if international { // RFC 6533
		line("Content-Type: message/global-delivery-status")
	} else {
		line("Content-Type: message/delivery-status")
	}
	line("")
	b.status(line, international)
	line("--%s", boundary)
	switch {
	case !ascii(string(b.header)):
		line("Content-Type: message/global-headers")
	default:
		line("Content-Type: text/rfc822-headers")
	}
	line("")
	m.Write(b.header)
	line("")
	line("--%s--", boundary)
	return m.Bytes()
}

// text is for people.
func (b *bounce) text() string {
	w, _ := wordsOf(b.language)
	zone := b.zone
	if zone == nil {
		zone = time.UTC
	}
	date := b.entry.Received.In(zone).Format(w.date)
	var t strings.Builder
	if subject := b.subject(); subject != "" {
		fmt.Fprintf(&t, w.lost+"\n\n", subject, date)
	} else {
		fmt.Fprintf(&t, w.lostBare+"\n\n", date)
	}
	for _, u := range b.failed {
		why := w.why[whyNot(u)]
		if long, ok := strings.CutPrefix(u.Reason, tooLong); ok {
			why = fmt.Sprintf(w.away, w.long(long))
		}
		fmt.Fprintf(&t, "  %s\n  %s\n", spool.Printable(u.Pair.Address), why)
		if u.Reply != "" {
			fmt.Fprintf(&t, "  "+w.said+"\n", strings.Join(strings.Fields(spool.Printable(u.Reply)), " "))
		}
		t.WriteString("\n")
	}
	if len(b.entry.Rcpts) > len(b.failed) {
		t.WriteString(w.onlyThese + "\n\n")
	}
	t.WriteString(w.safe + "\n")
	return t.String()
}

// status is the part for machines (RFC 3464 2).
func (b *bounce) status(line func(string, ...any), international bool) {
	line("Reporting-MTA: dns; %s", b.host)
	line("Arrival-Date: %s", b.entry.Received.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	for _, u := range b.failed {
		line("")
		kind := "rfc822"
		if international {
			kind = "utf-8"
		}
		line("Final-Recipient: %s; %s", kind, u.Pair.Address)
		line("Action: failed")
		_, enhanced := codes(u.Reply)
		if !strings.HasPrefix(enhanced, "5.") {
			enhanced = "5.0.0"
			if strings.HasPrefix(u.Reason, tooLong) || strings.HasPrefix(u.Reply, "4") {
				enhanced = "5.4.7" // RFC 3463 3.5: delivery time expired
			}
		}
		line("Status: %s", enhanced)
		if host, _, _ := strings.Cut(u.Host, " "); host != "" && ascii(host) {
			line("Remote-MTA: dns; %s", host)
		}
		if code, _ := codes(u.Reply); code != "" && ascii(u.Reply) {
			line("Diagnostic-Code: smtp; %s", cut(strings.Join(strings.Fields(spool.Printable(u.Reply)), " "), 900))
		}
		line("Last-Attempt-Date: %s", b.now.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	}
	line("")
}

// subject is that of the message, decoded and on one line.
func (b *bounce) subject() string { return strings.TrimSpace(b.entry.Summary.Subject) }

// field returns a field of the message's header that can stand in another header as it is.
func (b *bounce) field(name string) string {
	for f := range fields(string(b.header)) {
		n, value, ok := strings.Cut(f, ":")
		if ok && strings.EqualFold(strings.TrimSpace(n), name) && ascii(value) && !strings.ContainsAny(value, "\r\n") && len(value) < 900 {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// encoded is a header's text as encoded words (RFC 2047), folded.
func encoded(text string) string {
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", text), "?= =?", "?=\r\n =?")
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// cut shortens a text to at most n octets, between characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

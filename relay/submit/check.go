package submit

import (
	"bytes"
	"fmt"
	"net/mail"
	"strings"

	"restante/relay/mailaddr"
	"restante/spool"
)

// Limits of a message's form (RFC 5322 2.1.1, RFC 5321 4.5.3.1.6).
const (
	maxLine   = 998
	maxHeader = 256 << 10
)

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// envelope is a checked Submission.
type envelope struct {
	Submission
	from      mailaddr.Address
	outbound  []spool.Recipient
	local     []spool.Recipient
	messageID string
	params    spool.Params
}

// check refuses what can't be sent as it is.
func (s *Service) check(m Submission) (*envelope, error) {
	max := s.config().Limits
	e := &envelope{Submission: m}
	e.Account = strings.ToLower(m.Account)
	if e.Account == "" || len(m.Writing) != 26 {
		return nil, refuse("it has no account or no writing")
	}
	if e.Box == "" {
		e.Box = e.Account
	}
	e.Box = strings.ToLower(e.Box)
	e.Delay = min(max0(m.Delay), MaxDelay)
	var err error
	if e.from, err = mailaddr.Parse(m.From); err != nil || !s.o.Hosted(e.from.Domain) {
		return nil, refuse("%s is no address that mail can be sent from here", m.From)
	}
	switch n := len(m.Rcpts); {
	case n == 0:
		return nil, refuse("it has no recipients")
	case n > max.PerMessage:
		return nil, refuse("it has %d recipients; %d are possible at a time", n, max.PerMessage)
	}
	if size := int64(len(m.Message)); size > max.Size {
		return nil, refuse("it has %.1f MB with its attachments; %.1f MB are possible", float64(size)/1e6, float64(max.Size)/1e6)
	}
	if err := e.recipients(s.o.Hosted); err != nil {
		return nil, err
	}
	return e, e.message()
}

func max0[T ~int64](v T) T { return max(v, 0) }

// recipients sorts them into those outside and those of hosted domains, each once.
func (e *envelope) recipients(hosted func(string) bool) error {
	e.params.SMTPUTF8 = !e.from.ASCII()
	seen := make(map[string]bool)
	for _, text := range e.Rcpts {
		a, err := mailaddr.Parse(text)
		switch {
		case err != nil || a.IsZero():
			return refuse("%q is not an e-mail address", text)
		case a.IsLiteral():
			return refuse("%q: write to a name, not to a number", text)
		case seen[a.Key()]:
			continue
		}
		seen[a.Key()] = true
		e.params.SMTPUTF8 = e.params.SMTPUTF8 || !a.ASCII()
		r := spool.Recipient{Address: a.String(), Domain: spool.Smarthost}
		if hosted(a.Domain) {
			r.Domain = a.Domain
			e.local = append(e.local, r)
			continue
		}
		e.outbound = append(e.outbound, r)
	}
	return nil
}

// once are the fields that a message has exactly one of, or at most one (RFC 5322 3.6).
var once = map[string]struct{ required bool }{
	"from": {true}, "date": {true}, "message-id": {true}, "sender": {}, "reply-to": {}, "to": {}, "cc": {},
	"in-reply-to": {}, "references": {}, "subject": {}, "mime-version": {}, "content-type": {},
}

// never are fields that a message has from others only, or that must not leave.
var never = []string{"bcc", "resent-bcc", "return-path", "received", "dkim-signature", "authentication-results", "x-restante-copy", "x-restante-attachment"}

// message looks at the octets: their line ends, lengths and header fields.
func (e *envelope) message() error {
	if err := e.lines(); err != nil {
		return err
	}
	head, _, ok := bytes.Cut(e.Message, []byte("\r\n\r\n"))
	if !ok || len(head) > maxHeader {
		return refuse("its header has no end, or is over %d kB", maxHeader>>10)
	}
	count := make(map[string]int)
	var from string
	for field := range fields(string(head) + "\r\n") {
		name, value, ok := strings.Cut(field, ":")
		name = strings.ToLower(name)
		if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return refuse("its header has a line that is no field: %q", spool.Printable(field[:min(len(field), 60)]))
		}
		count[name]++
		switch name {
		case "from":
			from = value
		case "message-id":
			e.messageID = strings.TrimSpace(value)
		}
	}
	for name, rule := range once {
		if count[name] > 1 || rule.required && count[name] == 0 {
			return refuse("its header has the field %s %d times", name, count[name])
		}
	}
	for _, name := range never {
		if count[name] > 0 {
			return refuse("its header has a field %s", name)
		}
	}
	list, err := mail.ParseAddressList(strings.TrimSpace(strings.ReplaceAll(from, "\r\n", "")))
	if err != nil || len(list) != 1 {
		return refuse("its From field can't be read, or names several people")
	}
	if a, err := mailaddr.Parse(list[0].Address); err != nil || a.Key() != e.from.Key() {
		return refuse("its From field says %s, and not %s", list[0].Address, e.from)
	}
	return nil
}

// fields yields the fields of a header, each with its continuation lines and without its last line end.
func fields(header string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for at := 0; at < len(header); {
			end := at
			for {
				i := strings.Index(header[end:], "\r\n")
				end += i + 2
				if i < 0 || end >= len(header) || header[end] != ' ' && header[end] != '\t' {
					break
				}
			}
			if !yield(strings.TrimSuffix(header[at:end], "\r\n")) {
				return
			}
			at = end
		}
	}
}

// lines refuses bare CR and LF, NUL and lines that are too long, and finds out what the message needs of a server.
func (e *envelope) lines() error {
	e.params.Body = "7BIT"
	inHeader, from := true, 0
	for i, c := range e.Message {
		switch {
		case c == 0:
			return refuse("it holds a NUL")
		case c >= 0x80 && inHeader:
			e.params.SMTPUTF8, e.params.Body = true, "8BITMIME"
		case c >= 0x80:
			e.params.Body = "8BITMIME"
		case c == '\r' && (i+1 == len(e.Message) || e.Message[i+1] != '\n'), c == '\n' && (i == 0 || e.Message[i-1] != '\r'):
			return refuse("it holds a bare CR or LF")
		case c == '\n':
			if i-1-from > maxLine {
				return refuse("it has a line of %d octets; %d are possible", i-1-from, maxLine)
			}
			inHeader = inHeader && i-1 > from
			from = i + 1
		}
	}
	if from != len(e.Message) {
		return refuse("it doesn't end in a line end")
	}
	return nil
}

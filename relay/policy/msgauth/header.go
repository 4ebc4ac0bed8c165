package msgauth

import (
	"bytes"
	"io"
	"net/mail"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"restante/relay/mailaddr"
	"restante/relay/trace"
)

// header is what is read of a message's header.
type header struct {
	from     []string // values of From
	tags     []map[string]string
	signed   int    // DKIM-Signature fields
	indirect bool   // see Verdict
	broken   string // why nobody can be said to be its author, "" when somebody can
	refuse   string // why DKIM is not verified, "" when it is
}

func readHeader(r io.ReaderAt, size int64) *header {
	h := &header{}
	b, whole, err := trace.Header(r, 0, size)
	switch {
	case err != nil:
		h.broken, h.refuse = "the message could not be read", "the message could not be read"
		return h
	case !whole && int64(len(b)) < size:
		h.broken = "the header has no end" // what stands behind may be another From
	}
	if len(b) > maxHeader {
		h.refuse = "the header is larger than is verified"
	}
	fields := 0
	for at := 0; at < len(b); fields++ {
		end := trace.FieldEnd(b, at)
		h.field(b[at:end])
		at = end
	}
	switch {
	case fields > maxFields:
		h.refuse = "the header has more fields than are verified"
	case bytes.Count(b, []byte("\n")) > maxLines:
		h.refuse = "the header has more lines than are verified"
	}
	for _, t := range h.tags {
		if strings.Count(t["h"], ":") >= maxSigned {
			h.refuse = "a signature covers more fields than are verified"
		}
	}
	return h
}

// unverified reports signatures that aren't looked at.
func (h *header) unverified() bool {
	return h.signed > len(h.tags) || h.signed > 0 && h.refuse != ""
}

// longestName is that of the fields that are read.
const longestName = len("dkim-signature")

func (h *header) field(f []byte) {
	name, value, _ := bytes.Cut(f, []byte(":"))
	name = bytes.TrimRight(name, " \t\r\n") // a folded blank before the colon is obsolete (RFC 5322 4.5), and read by some
	if len(name) > longestName {
		return
	}
	switch strings.ToLower(string(name)) {
	case "from":
		h.from = append(h.from, string(value))
	case "dkim-signature":
		h.signed++
		if len(h.tags) < maxSignatures {
			h.tags = append(h.tags, tagsOf(string(value[:min(len(value), maxHeader)])))
		}
	case "list-id", "list-post", "arc-seal":
		h.indirect = true
	}
}

// tagsOf reads a tag list (RFC 6376 3.2), white space gone; of what stands twice the first counts.
func tagsOf(s string) map[string]string {
	tags := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if _, twice := tags[name]; ok && !twice {
			tags[name] = strings.Join(strings.Fields(value), "")
		}
	}
	return tags
}

// authors returns the domains of the authors in A-labels, each once, and why no single field names them. Several domains
// are each asked what they want (RFC 9989 11.5); of a message with no From or with two (RFC 5322 3.6) nobody can say who is
// shown as its author, so that it never passes, but it may fail.
func (h *header) authors() (domains []string, why string) {
	switch {
	case len(h.from) == 0:
		why = "no From field"
	case len(h.from) > 1:
		why = "more than one From field"
	}
	bad := 0 // that can't be parsed
	for _, from := range h.from {
		addrs, doubt := addresses(from)
		if doubt != "" {
			why = doubt
		}
		for _, addr := range addrs {
			if len(domains)+bad > maxAuthors {
				break
			}
			at := strings.LastIndexByte(addr, '@')
			d, err := mailaddr.ParseDomain(addr[at+1:])
			names := []string{d}
			switch {
			case at < 0 || strings.HasPrefix(d, "["):
				why, names = unread, nil
			case err != nil:
				bad++
				why, names = unread, near(addr[at+1:])
			}
			for _, d := range names {
				if !slices.Contains(domains, d) {
					domains = append(domains, d)
				}
			}
		}
	}
	if len(domains) > maxAuthors {
		domains, why = domains[:maxAuthors], "From names more domains than are asked"
	}
	if len(domains) == 0 && why == "" {
		why = "no address in From can be read"
	}
	if h.broken != "" {
		why = h.broken
	}
	return domains, why
}

const unread = "an address in From can't be read"

// addresses reads the addresses of a From field, in the form that real mail has too, and says why they may not be all that a reader
// shows. What can't be parsed is shown all the same: then each <address> counts, and one that has no end; where there is
// none, all that looks like an address does.
func addresses(value string) (out []string, doubt string) {
	if len(value) <= maxFrom {
		if list, err := (&mail.AddressParser{}).ParseList(strings.Join(strings.Fields(value), " ")); err == nil {
			for _, a := range list {
				out = append(out, a.Address)
			}
			return out, ""
		}
	} else {
		doubt = "From is longer than is read"
	}
	var beside []string
	for rest := value; len(out)+len(beside) < maxAddresses; {
		before, after, open := strings.Cut(rest, "<")
		beside = append(beside, loose(before)...)
		if !open {
			break
		}
		addr, next, closed := strings.Cut(after, ">")
		if !closed {
			out, doubt = append(out, loose(addr)...), unread
			break
		}
		out, rest = append(out, strings.TrimSpace(addr)), next
	}
	if len(out) == 0 {
		return beside, unread
	}
	shown := map[string]bool{}
	for _, a := range out {
		shown[strings.ToLower(a[strings.LastIndexByte(a, '@')+1:])] = true
	}
	for _, b := range beside {
		if !shown[strings.ToLower(b[1:])] {
			return out, "From can be read in two ways"
		}
	}
	return out, doubt
}

// loose returns what looks like the end of an address, from its @ on.
func loose(s string) (out []string) {
	for len(out) < maxAddresses {
		_, after, ok := strings.Cut(s, "@")
		if !ok {
			break
		}
		end := strings.IndexFunc(after, noName)
		if end < 0 {
			end = len(after)
		}
		if domain := strings.Trim(after[:end], "."); domain != "" {
			out = append(out, "@"+domain)
		}
		s = after[end:]
	}
	return out
}

// noName reports what doesn't stand in a domain.
func noName(c rune) bool {
	return c < 0x80 && c != '.' && c != '-' && c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c)
}

// near returns the names that a domain which can't be parsed may be read as: comments and blanks may stand in it (RFC 5322
// 3.4.1, 4.4), and readers pass over more.
func near(domain string) (names []string) {
	var b strings.Builder
	depth := 0
	for i := 0; i < len(domain) && b.Len() < maxTag; i++ {
		switch c := domain[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n':
			b.WriteByte(c)
		}
	}
	for part := range strings.FieldsFuncSeq(b.String(), noName) {
		labels := strings.FieldsFunc(part, func(c rune) bool { return c == '.' })
		if d, err := mailaddr.ParseDomain(strings.Join(labels, ".")); err == nil && len(labels) > 1 && len(names) < maxAuthors {
			names = append(names, d)
		}
	}
	return names
}

// aLabels brings a domain of a tag (which may be in U-labels, RFC 8616 5) to lower-case A-labels.
func aLabels(domain string) string {
	if len(domain) <= maxTag { // Punycode's time grows with the square of it
		if a, err := idna.Lookup.ToASCII(domain); err == nil {
			return strings.ToLower(strings.TrimSuffix(a, "."))
		}
	}
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}

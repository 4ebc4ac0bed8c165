package msgauth

import (
	"bytes"
	"io"
	"net/mail"
	"strings"

	"golang.org/x/net/idna"

	"restante/relay/mailaddr"
	"restante/relay/trace"
)

// header is what is read of a message's header.
type header struct {
	size   int64    // octets up to and with the empty line; 0 when it has none within maxHeader
	from   []string // values of From
	tags   []map[string]string
	signed bool   // it has a DKIM-Signature
	refuse string // why DKIM is not verified, "" when it is
}

func readHeader(r io.ReaderAt, size int64) *header {
	h := &header{}
	b := make([]byte, min(size, maxHeader))
	n, err := r.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		h.refuse = "the message could not be read"
		return h
	}
	b = b[:n]
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		b = b[:i+2]
		h.size = int64(i + 4)
	} else if size > maxHeader {
		h.refuse = "the header is larger than is verified"
	}
	fields := 0
	for at := 0; at < len(b); fields++ {
		end := trace.FieldEnd(b, at)
		name, value, _ := bytes.Cut(b[at:end], []byte(":"))
		at = end
		switch strings.ToLower(strings.TrimRight(string(name), " \t")) {
		case "from":
			h.from = append(h.from, string(value))
		case "dkim-signature":
			h.signed = true
			if len(h.tags) < maxSignatures {
				h.tags = append(h.tags, tagsOf(string(value)))
			}
		}
	}
	if fields > maxFields {
		h.refuse = "the header has more fields than are verified"
	}
	for _, t := range h.tags {
		if strings.Count(t["h"], ":") >= maxSigned {
			h.refuse = "a signature covers more fields than are verified"
		}
	}
	return h
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

// author returns the domain of the author in A-labels, and why there is none. A message with several authors of different
// domains, with no From or with two is not one that a record can speak for (RFC 9989 11.5, RFC 5322 3.6).
func (h *header) author() (domain, why string) {
	switch len(h.from) {
	case 0:
		return "", "no From field"
	case 1:
	default:
		return "", "more than one From field"
	}
	for _, addr := range addresses(h.from[0]) {
		at := strings.LastIndexByte(addr, '@')
		d, err := mailaddr.ParseDomain(addr[at+1:])
		if at < 0 || err != nil || strings.HasPrefix(d, "[") {
			return "", "an address in From can't be read"
		}
		if domain != "" && d != domain {
			return "", "From names several domains"
		}
		domain = d
	}
	if domain == "" {
		return "", "no address in From can be read"
	}
	return domain, ""
}

// addresses reads the addresses of a From field, in the form that real mail has too.
func addresses(value string) []string {
	var out []string
	list, err := (&mail.AddressParser{}).ParseList(strings.Join(strings.Fields(value), " "))
	if err == nil {
		for _, a := range list {
			out = append(out, a.Address)
		}
		return out
	}
	// What can't be parsed may still be shown by a reader: every <address> counts, or the value itself.
	for rest := value; ; {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		addr, next, ok := strings.Cut(after, ">")
		if !ok {
			break
		}
		out, rest = append(out, strings.TrimSpace(addr)), next
	}
	if len(out) == 0 {
		out = append(out, strings.TrimSpace(value))
	}
	return out
}

// aLabels brings a domain of a tag (which may be in U-labels, RFC 8616 5) to lower-case A-labels.
func aLabels(domain string) string {
	if a, err := idna.Lookup.ToASCII(domain); err == nil {
		return strings.ToLower(strings.TrimSuffix(a, "."))
	}
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}

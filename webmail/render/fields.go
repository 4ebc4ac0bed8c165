package render

import (
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

const (
	maxReferences  = 100
	maxUnsubscribe = 10
)

// fields fills in what a message's header says.
func (p *parser) fields(m *Message, id string) {
	if strings.Count(id, ".") == 0 {
		id = ""
	}
	seen := map[string]bool{}
	for _, f := range m.Header {
		name := strings.ToLower(f.Name)
		if seen[name] {
			switch name {
			case "from", "sender", "subject", "date", "message-id", "reply-to", "content-type":
				p.note(OddDuplicate, id, f.Name)
			}
			switch name {
			case "to", "cc", "bcc": // the lists are joined
			default:
				continue
			}
		}
		seen[name] = true
		p.field(m, id, name, f.Value)
	}
}

func (p *parser) field(m *Message, id, name, value string) {
	addresses := func(into *[]Address) {
		list, odd := parseAddresses(value, p.l.Addresses-len(*into))
		*into = append(*into, list...)
		if odd {
			p.note(OddAddress, id, name)
		}
	}
	switch name {
	case "from":
		addresses(&m.From)
	case "sender":
		addresses(&m.Sender)
	case "reply-to":
		addresses(&m.ReplyTo)
	case "to":
		addresses(&m.To)
	case "cc":
		addresses(&m.Cc)
	case "bcc":
		addresses(&m.Bcc)
	case "subject":
		m.Subject = DecodeHeader(value)
	case "message-id":
		if ids := messageIDs(value); len(ids) > 0 {
			m.MessageID = ids[0]
		}
	case "in-reply-to":
		m.InReplyTo = messageIDs(value)
	case "references":
		m.References = messageIDs(value)
	case "date":
		t, ok := parseDate(value)
		if m.Date = t; !ok {
			p.note(OddDate, id, "")
		}
	case "list-unsubscribe":
		m.Unsubscribe = unsubscribe(value)
	case "content-language":
		tag, _, _ := strings.Cut(value, ",")
		m.Language = langTag(tag)
	case "auto-submitted":
		v := strings.ToLower(strings.TrimSpace(value))
		m.AutoReply = v != "" && !strings.HasPrefix(v, "no")
	}
}

// messageIDs reads "<a@b> <c@d>"; words without brackets count when they hold an @ and nothing is in brackets.
func messageIDs(value string) []string {
	var ids []string
	clean := func(s string) string {
		s = strings.Map(func(r rune) rune {
			if r <= ' ' || dropped(r) || r == '<' || r == '>' {
				return -1
			}
			return r
		}, strings.ToValidUTF8(s, ""))
		if len(s) > 998 {
			return ""
		}
		return s
	}
	rest := value
	for len(ids) < maxReferences {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		inside, tail, ok := strings.Cut(after, ">")
		if !ok {
			break
		}
		if id := clean(inside); id != "" {
			ids = append(ids, id)
		}
		rest = tail
	}
	if len(ids) == 0 {
		for _, w := range strings.Fields(value) {
			if id := clean(w); strings.Contains(id, "@") && len(ids) < maxReferences {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func unsubscribe(value string) []string {
	var all []string
	for _, piece := range strings.Split(value, "<") {
		inside, _, ok := strings.Cut(piece, ">")
		if !ok || len(all) >= maxUnsubscribe {
			continue
		}
		inside = strings.Join(strings.Fields(inside), "")
		if u, ok := safeLink(inside); ok {
			all = append(all, u)
		}
	}
	return all
}

// safeLink returns a link that may be followed when a person wants to: absolute, http, https or mailto, and
// written so that every program reads it alike.
func safeLink(s string) (string, bool) {
	s = strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
	s = strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' { // browsers drop these (WHATWG URL 4.4)
			return -1
		}
		return r
	}, s)
	if len(s) > maxLink || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' || bidiControl(r) }) {
		return "", false
	}
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", false
	}
	switch scheme = strings.ToLower(scheme); scheme {
	case "mailto":
		return "mailto:" + escapeLink(rest), true
	case "http", "https":
	default:
		return "", false
	}
	// Browsers take any number of slashes, either way round; we write two.
	rest = strings.TrimLeft(rest, "/\\")
	end := strings.IndexAny(rest, "/?#\\")
	if end < 0 {
		end = len(rest)
	}
	authority := rest[:end]
	host := authority[strings.LastIndexByte(authority, '@')+1:] // user:password@ misleads people only
	host, ok = asciiHost(unpercent(host))
	if !ok || !validHost(host) {
		return "", false
	}
	return scheme + "://" + host + escapeLink(strings.ReplaceAll(rest[end:], "\\", "/")), true
}

const maxLink = 8 << 10

// asciiHost maps a host as browsers do before they look it up (UTS 46), so that what is shown of it is where it leads.
func asciiHost(host string) (string, bool) {
	if isASCII([]byte(host)) {
		return host, true
	}
	name, port, hasPort := strings.Cut(host, ":")
	if len(name) > maxDomain {
		return "", false
	}
	name, err := idna.New(idna.MapForLookup()).ToASCII(name)
	if hasPort {
		name += ":" + port
	}
	return name, err == nil
}

func validHost(host string) bool {
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
	}
	if name == "" || len(name) > 253 || strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		return false
	}
	if strings.HasPrefix(name, "[") {
		return strings.HasSuffix(name, "]") && strings.Trim(name[1:len(name)-1], "0123456789abcdefABCDEF:.") == ""
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == 0x7f || dropped(r) || bidiControl(r) || strings.ContainsRune("\"'<>^`{|}%/?#@\\[]:;,()!$&*+=~", r)
	})
}

// escapeLink percent-encodes what has no place in a URL and leaves the rest as it is.
func escapeLink(s string) string {
	const keep = "-._~:/?#[]@!$&()*+,;=%" // and not ', which may be legal but ends too much
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString(strings.ToUpper(url.PathEscape(string([]byte{c}))))
	}
	return b.String()
}

// langTag returns a language tag if it looks like one (RFC 5646), else "".
func langTag(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 35 || len(s) < 2 {
		return ""
	}
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z') && !(s[i] >= '0' && s[i] <= '9') && s[i] != '-' {
			return ""
		}
	}
	return s
}

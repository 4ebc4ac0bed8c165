package render

import (
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

const maxLinks = 5000 // in one line; more stay text

// A link in text: with its scheme, with www, or an address. Only ASCII, since text goes on without a space after
// it in some languages.
var linkPattern = regexp.MustCompile(`(?i)\b(?:https?://|www\.|mailto:)[a-z0-9\-._~:/?#\[\]@!$&'()*+,;=%|]+|[a-z0-9._%+\-]+@[a-z0-9\-]+(?:\.[a-z0-9\-]+)+`)

// A host named in text, of any alphabet.
var hostPattern = regexp.MustCompile(`(?i)(?:[\p{L}\p{N}\p{M}\-]+[.。．｡․])+[\p{L}\p{N}\-]{2,}`)

// linkify cuts a line into text and links.
func linkify(s string) Line {
	if s == "" {
		return nil
	}
	if !strings.Contains(s, "://") && !strings.Contains(s, "@") && !strings.Contains(s, "www.") && !strings.Contains(s, "WWW.") {
		return Line{{Text: s}}
	}
	var line Line
	at := 0
	for _, m := range linkPattern.FindAllStringIndex(s, maxLinks) {
		text := trimLink(s[m[0]:m[1]])
		target := text
		switch lower := strings.ToLower(text); {
		case strings.HasPrefix(lower, "www."):
			target = "http://" + text
		case !strings.HasPrefix(lower, "http") && !strings.HasPrefix(lower, "mailto:") || !strings.Contains(text, ":"):
			target = "mailto:" + text
		}
		u, ok := safeLink(target)
		if !ok || m[0] < at {
			continue
		}
		if m[0] > at {
			line = append(line, Span{Text: s[at:m[0]]})
		}
		line = append(line, Span{Text: text, URL: u, Host: linkHint(text, u)})
		at = m[0] + len(text)
	}
	if at < len(s) {
		line = append(line, Span{Text: s[at:]})
	}
	return line
}

// trimLink takes off what ends a sentence rather than a link.
func trimLink(s string) string {
	for {
		short := strings.TrimRight(s, ".,;:!?'*_|~")
		for _, pair := range []string{"()", "[]"} {
			if strings.HasSuffix(short, pair[1:]) && strings.Count(short, pair[:1]) < strings.Count(short, pair[1:]) {
				short = short[:len(short)-1]
			}
		}
		if short == s {
			return s
		}
		s = short
	}
}

// linkHost returns where a safe link leads: its host, or the address of a mailto.
func linkHost(link string) string {
	if rest, ok := strings.CutPrefix(link, "mailto:"); ok {
		rest, _, _ = strings.Cut(rest, "?")
		return strings.ToLower(unpercent(rest))
	}
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// linkHint returns where a link leads, to be shown beside its text, when the text names another place.
func linkHint(text, link string) string {
	if len(text) > 2000 {
		text = text[:2000]
	}
	host := linkHost(link)
	mail := strings.HasPrefix(link, "mailto:")
	if mail {
		_, domain, _ := cutAddr(host)
		if addr := addressIn(text); addr != "" && addr != host && !strings.Contains(host, addr) {
			return Visible(host)
		}
		host = domain
	}
	if !strings.ContainsAny(text, ".。．｡․") {
		return ""
	}
	// http://bank.example@evil.example: what comes before the @ is no place.
	named := hostPattern.FindAllString(strings.ToLower(text), 20)
	for _, n := range named {
		n = strings.NewReplacer("。", ".", "．", ".", "｡", ".", "․", ".").Replace(n)
		if len(n) > maxDomain {
			continue
		}
		if ascii, err := idna.Punycode.ToASCII(n); err == nil {
			n = ascii
		}
		if n != host && !strings.HasSuffix(host, "."+strings.TrimPrefix(n, "www.")) && host != strings.TrimPrefix(n, "www.") {
			if pathOf(text, link, n) {
				continue
			}
			return displayHost(host)
		}
	}
	return ""
}

// pathOf says whether n occurs in the text only behind the host that the link leads to, as a file's name does.
func pathOf(text, link, n string) bool {
	text = strings.ToLower(text)
	_, rest, ok := strings.Cut(text, "://")
	if !ok {
		rest = text
	}
	host, path, ok := strings.Cut(rest, "/")
	if !ok || strings.Contains(host, "@") || strings.Contains(host, "\\") || strings.ContainsAny(host, " \u00a0") {
		return false
	}
	return strings.EqualFold(host, linkHost(link)) && strings.Contains(path, n) && !strings.Contains(host, n)
}

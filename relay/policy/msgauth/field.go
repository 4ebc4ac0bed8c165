package msgauth

import (
	"fmt"
	"strings"
)

// maxReason bounds what is told of a reason, in octets.
const maxReason = 120

// Field is the verdict as an Authentication-Results field with its CRLF (RFC 8601 2.2), one method a line; nil when nothing was judged.
func (j *Judge) Field(v *Verdict) []byte {
	if !v.Judged {
		return nil
	}
	var b strings.Builder
	b.WriteString("Authentication-Results: " + j.o.AuthservID)
	add := func(method string, result Result, reason string, props ...string) {
		if result == "" {
			return
		}
		fmt.Fprintf(&b, ";\r\n\t%s=%s", method, result)
		if result == TempError {
			reason = "DNS gave no answer" // our own resolvers, which errors name, are nobody else's business
		}
		if reason != "" && result != Pass && result != None {
			b.WriteString(" reason=" + quoted(reason))
		}
		for i := 0; i+1 < len(props); i += 2 {
			if props[i+1] != "" {
				b.WriteString("\r\n\t " + props[i] + "=" + value(props[i+1]))
			}
		}
	}
	if v.From != "" {
		add("spf", v.SPF.Result, v.SPF.Reason, "smtp.mailfrom", v.SPF.Domain)
	}
	add("spf", v.Helo.Result, v.Helo.Reason, "smtp.helo", v.Helo.Domain)
	for _, s := range v.DKIM {
		add("dkim", s.Result, s.Reason, "header.d", s.Domain, "header.s", s.Selector, "header.a", s.Algorithm, "header.b", s.Tag)
	}
	add("dmarc", v.DMARC.Result, v.DMARC.Reason, "header.from", v.DMARC.From, "polrec.p", v.DMARC.Wanted,
		"polrec.domain", v.DMARC.Record, "policy.published-domain-policy", v.DMARC.Policy)
	b.WriteString("\r\n")
	return []byte(b.String())
}

// value is a token where it can be one, else a quoted string. What a sender wrote stays within it.
func value(s string) string {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_+", rune(c)) {
			return quoted(s)
		}
	}
	return s
}

func quoted(s string) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < maxReason; i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\'')
		case c < ' ' || c > '~':
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	return `"` + b.String() + `"`
}

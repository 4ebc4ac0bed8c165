package scan

import (
	"fmt"
	"strings"
)

// foldAt is the length at which a line of a field ends, in octets (RFC 5322 2.1.1 wants 78).
const foldAt = 76

// fields are the trace fields of a message that something was found in, or that wasn't scanned.
func fields(hostname string, gates []*gate, found []finding) []byte {
	var spam, virus bool
	words := []string{"X-Restante-Scan:", hostname}
	for i, f := range found {
		spam, virus = spam || f.spam && f.err == nil, virus || f.virus != ""
		words[len(words)-1] += ";"
		words = append(words, gates[i].name+"="+strings.ReplaceAll(f.verdict, " ", "-"))
		if f.virus != "" {
			words = append(words, "virus="+token(f.virus))
		}
		if f.wanted != 0 {
			words = append(words, fmt.Sprintf("score=%.2f/%.2f", f.score, f.wanted))
		}
		for j, s := range f.symbols {
			if j == 0 {
				words = append(words, "tests="+token(s))
				continue
			}
			words[len(words)-1] += ","
			words = append(words, token(s))
		}
	}
	var b strings.Builder
	if spam {
		b.WriteString("X-Spam-Flag: YES\r\n")
	}
	if virus {
		b.WriteString("X-Virus-Flag: YES\r\n")
	}
	column := 0
	for i, w := range words {
		switch {
		case i == 0:
		case column+1+len(w) > foldAt:
			b.WriteString("\r\n\t")
			column = 8
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += len(w)
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// token leaves nothing of a filter's word that would end it.
func token(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == ';' || r == ',' || r == '=' {
			return '-'
		}
		return r
	}, s)
}

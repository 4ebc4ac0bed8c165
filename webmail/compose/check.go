package compose

import (
	"strings"
	"unicode"
)

// Warning is something about a finished draft that its writer may want to look at before it goes.
type Warning struct {
	Kind  string // NoSubject, Forgotten, Lookalike, NoText
	Text  string // the word, or the address, that is meant
	Other string // of Lookalike: the domain that it resembles
}

// The kinds of warning.
const (
	NoSubject = "no-subject"
	NoText    = "no-text"
	Forgotten = "forgotten" // the text speaks of an attachment, and there is none
	Lookalike = "lookalike" // a recipient's domain is one slip away from a known one
)

// attachmentWords are what texts say that come with an attachment, in the languages of the webmail.
// Those of one script are looked for at the beginning of a word, the others anywhere.
var attachmentWords = []string{
	"attached", "attachment", "enclosed", "i attach", "i'm attaching",
	"ci-joint", "ci-jointe", "ci-joints", "ci-jointes", "pièce jointe", "pièces jointes", "en pièce", "je joins", "je vous joins",
	"anbei", "anhang", "angehängt", "angehangen", "beigefügt", "beiliegend", "im anhang", "hänge an",
	"添付", "同封",
}

// Check looks at a draft that is about to be sent. known are the domains of one's own house.
func Check(d Draft, known []string) []Warning {
	var all []Warning
	own := ownText(d.Text)
	if strings.TrimSpace(d.Subject) == "" {
		all = append(all, Warning{Kind: NoSubject})
	}
	if strings.TrimSpace(d.Text) == "" && len(d.Attachments) == 0 {
		all = append(all, Warning{Kind: NoText})
	}
	if word := mentions(own+"\n"+BareSubject(d.Subject), attachmentWords); word != "" && len(d.Attachments) == 0 && d.Forwards == "" {
		all = append(all, Warning{Kind: Forgotten, Text: word})
	}
	to, cc, bcc, _ := d.Recipients()
	for _, list := range [][]Person{to, cc, bcc} {
		for _, p := range list {
			if like := lookalike(Domain(p.Addr), known); like != "" {
				all = append(all, Warning{Kind: Lookalike, Text: p.Addr, Other: like})
			}
		}
	}
	return all
}

// ownText is what the writer wrote: no quotes, and nothing from a forwarded message or a signature on.
func ownText(text string) string {
	var b strings.Builder
	for l := range strings.Lines(Newlines(text)) {
		bare := strings.TrimRight(l, "\n")
		if bare == signatureLine || strings.HasPrefix(bare, "---------- ") {
			break
		}
		if !strings.HasPrefix(bare, ">") {
			b.WriteString(l)
		}
	}
	return b.String()
}

func mentions(text string, words []string) string {
	text = strings.ToLower(text)
	for _, w := range words {
		for at := 0; ; {
			i := strings.Index(text[at:], w)
			if i < 0 {
				break
			}
			at += i
			if at == 0 || w[0] >= 0x80 && wide([]rune(w)[0]) || !endsInLetter(text[:at]) {
				return w
			}
			at += len(w)
		}
	}
	return ""
}

func endsInLetter(s string) bool {
	r := []rune(s[max(0, len(s)-4):])
	return len(r) > 0 && unicode.IsLetter(r[len(r)-1])
}

// lookalike returns the known domain that is one letter, or two letters in the wrong order, away from domain.
func lookalike(domain string, known []string) string {
	for _, k := range known {
		if k = strings.ToLower(k); domain == k {
			return ""
		}
	}
	for _, k := range known {
		if k = strings.ToLower(k); len(k) > 5 && oneSlip(domain, k) {
			return k
		}
	}
	return ""
}

// oneSlip reports one letter too many, missing or wrong, or two neighbours swapped.
func oneSlip(a, b string) bool {
	if a == b || len(a)-len(b) > 1 || len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	x, y := a[i:], b[i:]
	switch {
	case len(x) > len(y):
		return x[1:] == y
	case len(x) < len(y):
		return y[1:] == x
	case x[1:] == y[1:]:
		return true
	}
	return len(x) > 1 && x[0] == y[1] && x[1] == y[0] && x[2:] == y[2:]
}

package webmail

import (
	"net/http"
	"strings"

	"restante/webmail/words"
)

// line is one line on top of the page: what is going on.
type line struct {
	Kind        string // CSS class: down, recovering, drill, back, up, notice
	Domain      string // of another domain than the viewer's own, "" otherwise
	Text        string
	More        string // what it means here; a phone leaves it out while a message is read
	Done, Total int64  // while handing over
	Live        bool   // said by screen readers when it changes
}

// lines say what is going on with the viewer's mail servers, their own first, then what the admin says, and that the pages lack
// what is kept while they do.
func (s *Server) lines(r *http.Request, v *viewer) []line {
	t := s.wordsOf(r)
	var out []line
	said := map[string]bool{}
	for i, domain := range domainsOf(v) {
		d := s.o.Outages.Domain(domain)
		l := s.stateLine(r, v, t, d)
		if i > 0 {
			if l.Text == out[0].Text || l.Kind == "up" || l.Kind == "back" {
				l.Text = "" // the same machine, or nothing that matters here
			}
			l.Domain = domain
		}
		if l.Text != "" || i == 0 {
			out = append(out, l)
		}
		if d.Notice != "" && !said[d.Notice] {
			said[d.Notice] = true
			out = append(out, line{Kind: "notice", Text: d.Notice, Live: true})
		}
	}
	if b := s.o.Mail.Behind(); !b.Since.IsZero() {
		out = append(out, line{Kind: "notice", Text: t.T("common.line.behind", "since", t.Since(b.Since, s.o.Now(), zoneOf(r))), Live: true})
	}
	return out
}

// stateLine says in one sentence or two how a domain's mail server is and what that means here.
func (s *Server) stateLine(r *http.Request, v *viewer, t *words.Words, d DomainState) line {
	now, zone := s.o.Now(), zoneOf(r)
	since, until := t.Since(d.Since, now, zone), t.Since(d.Until, now, zone)
	switch {
	case d.Recovering:
		return line{Kind: "recovering", Text: t.T("common.line.recovering", "done", d.Delivered, "total", d.Total), Done: d.Delivered, Total: d.Total}
	case d.Down:
		key, kind := "common.line.down", "down"
		if d.Drill {
			key, kind = "common.line.drill", "drill"
		}
		what := t.T("common.line.writes")
		if _, why := s.mayWrite(r, v); why != "" {
			what = t.T("common.line.arrives") + t.T("common.line.gap") + t.T("common.why."+why)
		}
		return line{Kind: kind, Text: t.T(key, "since", since), More: what, Live: true}
	case d.Up && !d.Until.IsZero():
		text, more := t.T("common.line.back", "until", until), ""
		if d.Parked > 0 {
			text = t.T("common.line.parked", "until", until, "done", d.Delivered, "total", d.Total, "n", d.Parked)
		}
		if !d.WritingUntil.IsZero() && now.Before(d.WritingUntil) {
			more = t.T("common.line.closes", "at", t.Since(d.WritingUntil, now, zone))
		}
		return line{Kind: "back", Text: text, More: more, Live: true}
	}
	return line{Kind: "up", Text: t.T("common.line.up")}
}

// fingerprint tells whether lines have changed.
func fingerprint(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Kind + "\x00" + l.Domain + "\x00" + l.Text + "\x00" + l.More + "\x01")
	}
	return b.String()
}

package render

import (
	"context"
	"strconv"
	"strings"
	"time"
)

const (
	maxCalendar    = 1 << 20 // octets of a calendar part
	maxEvents      = 50      // events of one part
	maxAttendees   = 500     // of one event
	maxDescription = 8 << 10 // octets
	maxProperties  = 20_000  // lines of one part
)

// Calendar returns the invitations in a text/calendar part (RFC 5545), as far as they can be read. All text in
// them is printable; what a calendar program would act on (alarms, attachments) is passed over.
func Calendar(ctx context.Context, p *Part) ([]Invitation, error) {
	l, err := load(ctx, p, maxCalendar)
	if err != nil {
		return nil, err
	}
	c := calendar{method: calendarWord(p.params["method"]), zones: map[string]*zone{}, locations: map[string]*time.Location{}}
	lines := unfoldCalendar(l.text)
	c.readZones(lines)
	c.read(lines)
	for i := range c.events {
		c.events[i].Method = c.method
	}
	return c.events, nil
}

type calendar struct {
	method    string
	zones     map[string]*zone
	locations map[string]*time.Location
	events    []Invitation
}

// property is one content line (RFC 5545 3.1).
type property struct {
	name, value string
	params      map[string]string
}

// unfoldCalendar joins folded lines and takes them apart.
func unfoldCalendar(text string) []property {
	var all []property
	var line strings.Builder
	finish := func() {
		if p, ok := parseProperty(line.String()); ok {
			all = append(all, p)
		}
		line.Reset()
	}
	for s := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\t") {
			line.WriteString(s[1:])
			continue
		}
		finish()
		line.WriteString(s)
		if len(all) > maxProperties {
			return all
		}
	}
	finish()
	return all
}

func parseProperty(s string) (property, bool) {
	quoted := false
	colon := -1
	var cuts []int
	for i := 0; i < len(s) && colon < 0; i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ';':
			cuts = append(cuts, i)
		case c == ':':
			colon = i
		}
	}
	if colon <= 0 {
		return property{}, false
	}
	p := property{value: s[colon+1:]}
	cuts = append(cuts, colon)
	p.name = strings.ToUpper(strings.TrimSpace(s[:cuts[0]]))
	for i := 0; i+1 < len(cuts) && i < maxParams; i++ {
		name, value, _ := strings.Cut(s[cuts[i]+1:cuts[i+1]], "=")
		if p.params == nil {
			p.params = map[string]string{}
		}
		p.params[strings.ToUpper(strings.TrimSpace(name))] = strings.Trim(value, `" `)
	}
	return p, true
}

func (c *calendar) read(lines []property) {
	var event *Invitation
	var depth int // components within the event
	var duration time.Duration
	for _, p := range lines {
		switch {
		case p.name == "BEGIN" && event != nil:
			depth++
		case p.name == "END" && event != nil && depth > 0:
			depth--
		case p.name == "BEGIN":
			kind := strings.ToUpper(strings.TrimSpace(p.value))
			if (kind == "VEVENT" || kind == "VTODO") && len(c.events) < maxEvents {
				event, duration = &Invitation{}, 0
			}
		case p.name == "END" && event != nil:
			c.finish(event, duration)
			event = nil
		case event == nil:
			if p.name == "METHOD" {
				c.method = calendarWord(p.value)
			}
		case depth > 0:
		case p.name == "DURATION":
			duration = parseDuration(p.value)
		default:
			c.property(event, p)
		}
	}
	if event != nil {
		c.finish(event, duration)
	}
}

func (c *calendar) finish(e *Invitation, duration time.Duration) {
	switch {
	case e.Start.IsZero():
	case e.AllDay && e.End.IsZero():
		e.End = e.Start
		if days := int(duration / (24 * time.Hour)); days > 1 {
			e.End = e.Start.AddDate(0, 0, days-1)
		}
	case e.AllDay:
		e.End = e.End.AddDate(0, 0, -1) // the end is the first day after it (RFC 5545 3.6.1)
	case e.End.IsZero() && duration > 0:
		e.End = e.Start.Add(duration)
	}
	if e.End.Before(e.Start) {
		e.End = e.Start
	}
	c.events = append(c.events, *e)
}

func (c *calendar) property(e *Invitation, p property) {
	switch p.name {
	case "UID":
		e.UID = cutString(oneLine(p.value), 300)
	case "SEQUENCE":
		e.Sequence, _ = strconv.Atoi(strings.TrimSpace(p.value))
	case "SUMMARY":
		e.Summary = cutString(oneLine(unescapeCalendar(p.value)), 500)
	case "LOCATION":
		e.Location = cutString(oneLine(unescapeCalendar(p.value)), 500)
	case "DESCRIPTION":
		e.Description = cutString(strings.TrimSpace(cleanText(unescapeCalendar(p.value))), maxDescription)
	case "STATUS":
		e.Status = calendarWord(p.value)
	case "URL":
		if u, ok := safeLink(p.value); ok && !strings.HasPrefix(u, "mailto:") {
			e.URL = u
		}
	case "ORGANIZER":
		e.Organizer = calendarAddress(p)
	case "ATTENDEE":
		if len(e.Attendees) < maxAttendees && !strings.EqualFold(p.params["CUTYPE"], "ROOM") && !strings.EqualFold(p.params["CUTYPE"], "RESOURCE") {
			e.Attendees = append(e.Attendees, Attendee{
				Address:  calendarAddress(p),
				Answer:   calendarWord(p.params["PARTSTAT"]),
				Optional: strings.EqualFold(p.params["ROLE"], "OPT-PARTICIPANT"),
			})
		}
	case "DTSTART":
		t := c.time(p)
		e.Start, e.AllDay, e.Zone, e.Floating = t.t, t.date, t.zone, t.floating
	case "DTEND", "DUE":
		e.End = c.time(p).t
	case "RRULE":
		e.Repeat = c.repeat(p.value)
	case "RDATE", "EXDATE":
		e.Repeat.Complex = true
	}
}

// calendarWord keeps a word of the standard's kind.
func calendarWord(s string) string {
	s = strings.ToUpper(strings.TrimSpace(s))
	if len(s) > 30 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return ""
	}
	return s
}

func calendarAddress(p property) Address {
	value := strings.TrimSpace(p.value)
	if rest, ok := cutPrefixFold(value, "mailto:"); ok {
		value = rest
	}
	name := unescapeCalendar(p.params["CN"])
	a := Address{Name: cutString(oneLine(name), maxNameShown), Addr: cleanAddr(value)}
	if strings.EqualFold(a.Name, a.Addr) {
		a.Name = ""
	}
	a.Suspicious = suspicion(name, a.Addr)
	return a
}

// unescapeCalendar undoes RFC 5545 3.3.11.
func unescapeCalendar(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if s[i] == 'n' || s[i] == 'N' {
			b.WriteByte('\n')
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// repeat reads a rule (RFC 5545 3.3.10) as far as it is told to people.
func (c *calendar) repeat(value string) Repeat {
	r := Repeat{Interval: 1}
	for i, part := range strings.Split(value, ";") {
		if i > 20 {
			break
		}
		name, v, _ := strings.Cut(part, "=")
		v = strings.ToUpper(strings.TrimSpace(v))
		switch strings.ToUpper(strings.TrimSpace(name)) {
		case "FREQ":
			switch v {
			case "DAILY", "WEEKLY", "MONTHLY", "YEARLY":
				r.Every = v
			}
		case "INTERVAL":
			if n, err := strconv.Atoi(v); err == nil && n > 0 && n < 1000 {
				r.Interval = n
			}
		case "COUNT":
			if n, err := strconv.Atoi(v); err == nil && n > 0 && n < 100_000 {
				r.Count = n
			}
		case "UNTIL":
			r.Until = c.time(property{value: v}).t
		case "BYDAY":
			for _, d := range strings.Split(v, ",") {
				if len(r.Days) < 14 && validDay(d) {
					r.Days = append(r.Days, d)
				}
			}
		case "WKST", "":
		default:
			r.Complex = true
		}
	}
	if r.Every == "" {
		return Repeat{Complex: true}
	}
	return r
}

func validDay(s string) bool {
	if len(s) < 2 || len(s) > 5 || !strings.Contains("MO TU WE TH FR SA SU", s[len(s)-2:]) {
		return false
	}
	n := s[:len(s)-2]
	_, err := strconv.Atoi(n)
	return n == "" || err == nil
}

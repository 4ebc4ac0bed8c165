package render

import (
	"strconv"
	"strings"
	"time"
)

const maxShifts = 20 // rules of one time zone

// calTime is a time of a calendar, with what it says of its zone.
type calTime struct {
	t        time.Time
	date     bool
	zone     string
	floating bool
}

// time reads DATE and DATE-TIME (RFC 5545 3.3.4, 3.3.5). A zone is known by its name, or by what the calendar itself
// says of it, or is floating.
func (c *calendar) time(p property) calTime {
	value := strings.TrimSpace(p.value)
	id := oneLine(p.params["TZID"])
	if len(value) == 8 || strings.EqualFold(p.params["VALUE"], "DATE") {
		t, err := time.Parse("20060102", value[:min(len(value), 8)])
		if err != nil {
			return calTime{}
		}
		return calTime{t: t, date: true}
	}
	utc := strings.HasSuffix(value, "Z")
	t, err := time.Parse("20060102T150405", strings.TrimSuffix(value, "Z"))
	if err != nil {
		if t, err = time.Parse("20060102T1504", strings.TrimSuffix(value, "Z")); err != nil {
			return calTime{}
		}
	}
	switch {
	case utc:
		return calTime{t: t}
	case id == "":
		return calTime{t: t, floating: true}
	}
	name := cutValid(id, 60)
	if loc := c.location(id); loc != nil {
		return calTime{t: time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, loc), zone: loc.String()}
	}
	if z := c.zones[id]; z != nil {
		if offset, ok := z.offset(t); ok {
			loc := time.FixedZone(name, offset)
			return calTime{t: time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, loc), zone: name}
		}
	}
	return calTime{t: t, zone: name, floating: true}
}

// location looks up each name once, and not too many.
func (c *calendar) location(id string) *time.Location {
	loc, known := c.locations[id]
	if !known && len(c.locations) < maxEvents {
		loc = location(id)
		c.locations[id] = loc
	}
	return loc
}

// location finds a zone by its IANA name, also where a path is before it, or by the name that Windows gives it.
func location(id string) *time.Location {
	if w, ok := windowsZone(id); ok {
		id = w
	}
	if i := strings.Index(id, "/"); i == 0 { // /freeassociation.sourceforge.net/Europe/Berlin
		parts := strings.Split(strings.Trim(id, "/"), "/")
		if len(parts) > 2 {
			id = strings.Join(parts[len(parts)-2:], "/")
		}
	}
	if id == "" || len(id) > 60 || id == "Local" || strings.Contains(id, "..") || strings.HasPrefix(id, "/") || strings.Contains(id, `\`) {
		return nil
	}
	loc, err := time.LoadLocation(id)
	if err != nil {
		return nil
	}
	return loc
}

// windowsZone maps the names that Outlook writes (after CLDR's windowsZones, the most common).
func windowsZone(name string) (string, bool) {
	switch name {
	case "UTC", "GMT Standard Time":
		if name == "UTC" {
			return "UTC", true
		}
		return "Europe/London", true
	case "Greenwich Standard Time":
		return "Atlantic/Reykjavik", true
	case "W. Europe Standard Time":
		return "Europe/Berlin", true
	case "Romance Standard Time":
		return "Europe/Paris", true
	case "Central Europe Standard Time":
		return "Europe/Budapest", true
	case "Central European Standard Time":
		return "Europe/Warsaw", true
	case "FLE Standard Time":
		return "Europe/Kiev", true
	case "GTB Standard Time":
		return "Europe/Bucharest", true
	case "Turkey Standard Time":
		return "Europe/Istanbul", true
	case "Russian Standard Time":
		return "Europe/Moscow", true
	case "Israel Standard Time":
		return "Asia/Jerusalem", true
	case "Egypt Standard Time":
		return "Africa/Cairo", true
	case "South Africa Standard Time":
		return "Africa/Johannesburg", true
	case "Arab Standard Time":
		return "Asia/Riyadh", true
	case "Arabian Standard Time":
		return "Asia/Dubai", true
	case "India Standard Time":
		return "Asia/Kolkata", true
	case "SE Asia Standard Time":
		return "Asia/Bangkok", true
	case "China Standard Time":
		return "Asia/Shanghai", true
	case "Singapore Standard Time":
		return "Asia/Singapore", true
	case "Taipei Standard Time":
		return "Asia/Taipei", true
	case "Tokyo Standard Time":
		return "Asia/Tokyo", true
	case "Korea Standard Time":
		return "Asia/Seoul", true
	case "AUS Eastern Standard Time":
		return "Australia/Sydney", true
	case "New Zealand Standard Time":
		return "Pacific/Auckland", true
	case "Eastern Standard Time":
		return "America/New_York", true
	case "Central Standard Time":
		return "America/Chicago", true
	case "Mountain Standard Time":
		return "America/Denver", true
	case "Pacific Standard Time":
		return "America/Los_Angeles", true
	case "Atlantic Standard Time":
		return "America/Halifax", true
	case "E. South America Standard Time":
		return "America/Sao_Paulo", true
	case "Argentina Standard Time":
		return "America/Buenos_Aires", true
	}
	return "", false
}

// zone is what a calendar says of a time zone itself (RFC 5545 3.6.5).
type zone struct{ shifts []shift }

// shift is one change of the clock, each year from its start on.
type shift struct {
	start   time.Time // local
	offset  int       // seconds, after it
	yearly  bool
	month   time.Month
	weekday time.Weekday
	nth     int // 2 for the second such day of the month, -1 for the last; 0 for the day of start
}

func (c *calendar) readZones(lines []property) {
	var z *zone
	var s *shift
	for _, p := range lines {
		switch p.name {
		case "BEGIN":
			switch strings.ToUpper(strings.TrimSpace(p.value)) {
			case "VTIMEZONE":
				z = &zone{}
			case "STANDARD", "DAYLIGHT":
				if z != nil && len(z.shifts) < maxShifts {
					s = &shift{}
				}
			}
		case "END":
			switch strings.ToUpper(strings.TrimSpace(p.value)) {
			case "VTIMEZONE":
				z = nil
			case "STANDARD", "DAYLIGHT":
				if z != nil && s != nil {
					z.shifts = append(z.shifts, *s)
				}
				s = nil
			}
		case "TZID":
			if z != nil && s == nil && len(c.zones) < maxEvents {
				c.zones[oneLine(p.value)] = z
			}
		case "TZOFFSETTO":
			if s != nil {
				s.offset = parseOffset(p.value)
			}
		case "DTSTART":
			if s != nil {
				s.start, _ = time.Parse("20060102T150405", strings.TrimSpace(p.value))
				s.month = s.start.Month()
			}
		case "RRULE":
			if s != nil {
				s.rule(p.value)
			}
		}
	}
}

func (s *shift) rule(value string) {
	for part := range strings.SplitSeq(strings.ToUpper(value), ";") {
		name, v, _ := strings.Cut(part, "=")
		switch name {
		case "FREQ":
			s.yearly = v == "YEARLY"
		case "BYMONTH":
			if n, err := strconv.Atoi(v); err == nil && n >= 1 && n <= 12 {
				s.month = time.Month(n)
			}
		case "BYDAY":
			if !validDay(v) {
				continue
			}
			s.weekday = time.Weekday(strings.Index("SUMOTUWETHFRSA", v[len(v)-2:]) / 2)
			s.nth, _ = strconv.Atoi(v[:len(v)-2])
		}
	}
}

// last returns when the shift happened last, at or before the local time t.
func (s *shift) last(t time.Time) (time.Time, bool) {
	if !s.yearly || s.nth == 0 || s.nth < -5 || s.nth > 5 {
		return s.start, !s.start.After(t)
	}
	for _, year := range []int{t.Year(), t.Year() - 1} {
		at := s.in(year)
		if !at.After(t) && !at.Before(s.start.AddDate(0, 0, -7)) {
			return at, true
		}
	}
	return time.Time{}, false
}

// in returns when the shift happens in a year.
func (s *shift) in(year int) time.Time {
	h, m, sec := s.start.Clock()
	if s.nth < 0 {
		last := time.Date(year, s.month+1, 0, h, m, sec, 0, time.UTC)
		back := (int(last.Weekday()) - int(s.weekday) + 7) % 7
		return last.AddDate(0, 0, -back+7*(s.nth+1))
	}
	first := time.Date(year, s.month, 1, h, m, sec, 0, time.UTC)
	ahead := (int(s.weekday) - int(first.Weekday()) + 7) % 7
	return first.AddDate(0, 0, ahead+7*(s.nth-1))
}

// offset returns the zone's offset at the local time t.
func (z *zone) offset(t time.Time) (seconds int, ok bool) {
	var newest time.Time
	for i := range z.shifts {
		if at, happened := z.shifts[i].last(t); happened && (!ok || at.After(newest)) {
			newest, seconds, ok = at, z.shifts[i].offset, true
		}
	}
	if !ok && len(z.shifts) > 0 {
		return z.shifts[0].offset, true
	}
	return seconds, ok
}

// parseOffset reads "+0530".
func parseOffset(s string) int {
	s = strings.TrimSpace(s)
	if len(s) < 5 {
		return 0
	}
	n, err := strconv.Atoi(s[1:5])
	if err != nil || n < 0 || n > 2359 {
		return 0
	}
	seconds := n/100*3600 + n%100*60
	if s[0] == '-' {
		return -seconds
	}
	return seconds
}

// parseDuration reads "P1DT2H30M" (RFC 5545 3.3.6), at most a year of it.
func parseDuration(s string) time.Duration {
	s, ok := strings.CutPrefix(strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "+"), "P")
	if !ok {
		return 0
	}
	var d time.Duration
	n := 0
	for i := 0; i < len(s); i++ {
		unit := time.Duration(0)
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			if n = n*10 + int(c-'0'); n > 1_000_000 {
				return 0
			}
			continue
		case c == 'W':
			unit = 7 * 24 * time.Hour
		case c == 'D':
			unit = 24 * time.Hour
		case c == 'H':
			unit = time.Hour
		case c == 'M':
			unit = time.Minute
		case c == 'S':
			unit = time.Second
		case c == 'T':
			continue
		default:
			return 0
		}
		d += time.Duration(n) * unit
		n = 0
		if d > 366*24*time.Hour {
			return 366 * 24 * time.Hour
		}
	}
	return d
}

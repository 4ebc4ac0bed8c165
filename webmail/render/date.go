package render

import (
	"strconv"
	"strings"
	"time"
)

// parseDate reads RFC 5322 3.3 and what passes for it: weekdays and zones of any kind, two-digit years, months
// before days, ISO 8601.
func parseDate(value string) (time.Time, bool) {
	value = strings.TrimSpace(value)
	if len(value) > 200 {
		value = value[:200]
	}
	if t, err := time.Parse(time.RFC3339, strings.Replace(value, " ", "T", 1)); err == nil {
		return t, saneYear(t.Year())
	}
	bare, comment := takeComments(value)
	bare = strings.ReplaceAll(bare, ",", " ")
	var d dateParts
	d.day, d.year, d.month, d.hour = -1, -1, 0, -1
	for _, w := range strings.Fields(bare) {
		d.word(w)
	}
	if !d.zoned && comment != "" {
		d.word(strings.TrimSpace(comment))
	}
	if d.day < 1 || d.day > 31 || d.month == 0 || d.year < 0 {
		return time.Time{}, false
	}
	if d.hour < 0 {
		d.hour = 0
	}
	t := time.Date(d.year, d.month, d.day, d.hour, d.minute, d.second, 0, time.FixedZone("", d.offset))
	return t, saneYear(d.year)
}

func saneYear(y int) bool { return y >= 1970 && y <= 9000 }

type dateParts struct {
	day, year, hour, minute, second int
	month                           time.Month
	offset                          int
	zoned                           bool
}

// word takes one word of a date for what it looks like.
func (d *dateParts) word(w string) {
	switch {
	case strings.Contains(w, ":"):
		d.clock(w)
		return
	case (w[0] == '+' || w[0] == '-') && len(w) >= 4 && d.hour >= 0:
		d.zone(w)
		return
	}
	if a := strings.Split(w, "-"); len(a) == 3 && monthOf(a[1]) != 0 { // 21-Nov-2026
		for _, x := range a {
			d.word(x + " ")
		}
		return
	}
	w = strings.Trim(w, " .")
	if n, err := strconv.Atoi(w); err == nil && n >= 0 && w[0] != '+' {
		switch {
		case d.day < 0 && n <= 31 && len(w) <= 2:
			d.day = n
		case d.year < 0:
			d.year = n
			switch { // RFC 5322 4.3
			case len(w) == 2 && n < 50:
				d.year += 2000
			case len(w) <= 3:
				d.year += 1900
			}
			if len(w) > 4 {
				d.year = -1
			}
		}
		return
	}
	if m := monthOf(w); m != 0 && d.month == 0 {
		d.month = m
		return
	}
	if off, ok := zoneNames(w); ok && !d.zoned {
		d.offset, d.zoned = off*3600, true
	}
}

func (d *dateParts) clock(w string) {
	if d.hour >= 0 {
		return
	}
	if i := strings.IndexAny(w, "+-"); i > 0 {
		defer d.zone(w[i:])
		w = w[:i]
	}
	a := strings.Split(w, ":")
	get := func(i, most int) int {
		if i >= len(a) {
			return 0
		}
		s, _, _ := strings.Cut(a[i], ".")
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > most {
			return 0
		}
		return n
	}
	d.hour, d.minute, d.second = get(0, 23), get(1, 59), min(get(2, 60), 59)
}

func (d *dateParts) zone(w string) {
	digits := strings.ReplaceAll(w[1:], ":", "")
	n, err := strconv.Atoi(digits)
	if d.zoned || err != nil || n < 0 {
		return
	}
	if len(digits) <= 2 {
		n *= 100
	}
	if n > 2359 {
		return
	}
	d.offset = n/100*3600 + n%100*60
	if w[0] == '-' {
		d.offset = -d.offset
	}
	d.zoned = true
}

func monthOf(w string) time.Month {
	if len(w) < 3 {
		return 0
	}
	for m := time.January; m <= time.December; m++ {
		if strings.HasPrefix(strings.ToLower(m.String()), strings.ToLower(strings.Trim(w, " ."))) {
			return m
		}
	}
	return 0
}

// zoneNames knows those of RFC 5322 4.3, and a few more without which times would be hours off.
func zoneNames(w string) (hours int, ok bool) {
	switch strings.ToUpper(w) {
	case "UT", "UTC", "GMT", "Z", "WET":
		return 0, true
	case "EST", "CDT":
		return -5, true
	case "EDT":
		return -4, true
	case "CST", "MDT":
		return -6, true
	case "MST", "PDT":
		return -7, true
	case "PST":
		return -8, true
	case "CET", "MEZ", "BST", "WEST":
		return 1, true
	case "CEST", "MESZ", "EET":
		return 2, true
	case "EEST", "MSK":
		return 3, true
	case "JST", "KST":
		return 9, true
	}
	return 0, false
}

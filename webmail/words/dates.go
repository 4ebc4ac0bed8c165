package words

import (
	"fmt"
	"strings"
	"time"
)

// calendar is how a language writes dates. The layouts use {d} day, {m} month's number, {mon} its short
// and {month} its long name, {y} year, {wd} and {weekday}, {hm} the time of day.
type calendar struct {
	months, short, days, shortDays  []string
	day, dayYear, long, full, since string
	clock                           string // time.Format layout
	first                           string // the first of a month, where it isn't written "1"
}

func calendarOf(lang string) calendar {
	switch lang {
	case "fr":
		return calendar{
			months:    strings.Fields("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
			short:     strings.Fields("janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc."),
			days:      strings.Fields("dimanche lundi mardi mercredi jeudi vendredi samedi"),
			shortDays: strings.Fields("dim. lun. mar. mer. jeu. ven. sam."),
			day:       "{d} {mon}", dayYear: "{d} {mon} {y}", since: "le {d} {mon} à {hm}", long: "{weekday} {d} {month} {y}", full: "{weekday} {d} {month} {y}, {hm}", clock: "15:04", first: "1er",
		}
	case "de":
		return calendar{
			months:    strings.Fields("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
			short:     strings.Fields("Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez."),
			days:      strings.Fields("Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag"),
			shortDays: strings.Fields("So Mo Di Mi Do Fr Sa"),
			day:       "{d}. {mon}", dayYear: "{d}. {mon} {y}", since: "{d}. {mon}, {hm}", long: "{weekday}, {d}. {month} {y}", full: "{weekday}, {d}. {month} {y}, {hm}", clock: "15:04",
		}
	case "ja":
		return calendar{
			days:      strings.Fields("日曜日 月曜日 火曜日 水曜日 木曜日 金曜日 土曜日"),
			shortDays: strings.Fields("日曜 月曜 火曜 水曜 木曜 金曜 土曜"),
			day:       "{m}月{d}日", dayYear: "{y}年{m}月{d}日", since: "{m}月{d}日 {hm}", long: "{y}年{m}月{d}日 {weekday}", full: "{y}年{m}月{d}日 {weekday} {hm}", clock: "15:04",
		}
	}
	return calendar{
		months:    strings.Fields("January February March April May June July August September October November December"),
		short:     strings.Fields("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"),
		days:      strings.Fields("Sunday Monday Tuesday Wednesday Thursday Friday Saturday"),
		shortDays: strings.Fields("Sun Mon Tue Wed Thu Fri Sat"),
		day:       "{d} {mon}", dayYear: "{d} {mon} {y}", since: "{d} {mon}, {hm}", long: "{weekday}, {d} {month} {y}", full: "{weekday}, {d} {month} {y}, {hm}", clock: "15:04",
	}
}

func (c calendar) write(layout string, t time.Time) string {
	month, short := "", ""
	if len(c.months) == 12 {
		month, short = c.months[t.Month()-1], c.short[t.Month()-1]
	}
	day := fmt.Sprint(t.Day())
	if t.Day() == 1 && c.first != "" {
		day = c.first
	}
	return strings.NewReplacer("{d}", day, "{m}", fmt.Sprint(int(t.Month())), "{mon}", short, "{month}", month,
		"{y}", fmt.Sprint(t.Year()), "{wd}", c.shortDays[t.Weekday()], "{weekday}", c.days[t.Weekday()], "{hm}", t.Format(c.clock)).Replace(layout)
}

// Clock is the time of day of t in the zone: "10:41".
func (w *Words) Clock(t time.Time, zone *time.Location) string {
	return t.In(zone).Format(calendarOf(w.lang).clock)
}

// Day is a date without the time of day: "Saturday, 21 November 2026".
func (w *Words) Day(t time.Time, zone *time.Location) string {
	c := calendarOf(w.lang)
	return c.write(c.long, t.In(zone))
}

// Full is a date with the time of day, for titles and print: "Saturday, 21 November 2026, 10:41".
func (w *Words) Full(t time.Time, zone *time.Location) string {
	c := calendarOf(w.lang)
	return c.write(c.full, t.In(zone))
}

// When is t as a list says it: the time of day today, the weekday within the last six days, then the date, with
// the year when it is another one.
func (w *Words) When(t, now time.Time, zone *time.Location) string {
	c, at, today := calendarOf(w.lang), t.In(zone), now.In(zone)
	switch days := dayNumber(today) - dayNumber(at); {
	case days == 0:
		return at.Format(c.clock)
	case days > 0 && days < 7:
		return c.write("{wd} {hm}", at)
	case at.Year() == today.Year():
		return c.write(c.day, at)
	}
	return c.write(c.dayYear, at)
}

// Since is t within a sentence ("unreachable since 09:12"): the time of day, with the date before it unless it is today.
func (w *Words) Since(t, now time.Time, zone *time.Location) string {
	at := t.In(zone)
	if dayNumber(at) == dayNumber(now.In(zone)) {
		return w.Clock(t, zone)
	}
	c := calendarOf(w.lang)
	return c.write(c.since, at)
}

// dayNumber counts days; only differences of it mean something.
func dayNumber(t time.Time) int {
	y, m, d := t.Date()
	return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// Weekday is the name of a day of the week.
func (w *Words) Weekday(d time.Weekday) string { return calendarOf(w.lang).days[d] }

// Month is the short name of t's month, in t's own zone: "Nov".
func (w *Words) Month(t time.Time) string {
	c := calendarOf(w.lang)
	if len(c.short) == 12 {
		return c.short[t.Month()-1]
	}
	return c.write("{m}月", t)
}

// DayOfMonth is the number of t's day, in t's own zone: "21".
func (w *Words) DayOfMonth(t time.Time) string { return fmt.Sprint(t.Day()) }

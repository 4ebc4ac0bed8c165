package cli

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"

	"restante/spool"
)

// Styles are SGR sequences; they only ever repeat what a word says already.
const (
	styleBold  = "1"
	styleDim   = "2"
	styleRed   = "31"
	styleGreen = "32"
	styleAmber = "33"
)

// paint colours text where colour is wanted.
func (e *Env) paint(style, text string) string {
	if !e.Color || style == "" || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// cell is one field of a table row.
type cell struct {
	text  string
	style string
	right bool
}

func col(text string) cell           { return cell{text: text} }
func num(n int64) cell               { return cell{text: thousands(n), right: true} }
func styled(style, text string) cell { return cell{text: text, style: style} }

// table prints aligned columns. On a terminal the last column is cut to the width, unless it is whole. With
// stack, the columns from that one on go to a second line where a terminal has no room for them.
type table struct {
	env    *Env
	head   []string
	rows   [][]cell
	indent string
	whole  bool
	stack  int
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	var widths []int
	measure := func(i int, s string) {
		for len(widths) <= i {
			widths = append(widths, 0)
		}
		widths[i] = max(widths[i], runewidth.StringWidth(s))
	}
	for i, h := range t.head {
		measure(i, h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			measure(i, c.text)
		}
	}
	stacked := t.stack > 0 && t.env.Terminal && t.env.Width > 0 && t.before(widths)+8 > t.env.Width
	line := func(row []cell) {
		if !stacked || len(row) <= t.stack {
			t.line(w, row, widths)
			return
		}
		t.line(w, row[:t.stack], widths)
		var rest []string
		for _, c := range row[t.stack:] {
			rest = append(rest, c.text)
		}
		text := runewidth.Truncate(t.indent+"    "+strings.Join(rest, "  "), t.env.Width, "…")
		fmt.Fprintln(w, t.env.paint(row[len(row)-1].style, text))
	}
	if len(t.head) > 0 && len(t.rows) > 0 {
		cells := make([]cell, len(t.head))
		for i, h := range t.head {
			cells[i] = styled(styleDim, h)
			cells[i].right = t.rows[0][i].right
		}
		line(cells)
	}
	for _, row := range t.rows {
		line(row)
	}
}

// before is how much room the columns before the last take.
func (t *table) before(widths []int) int {
	n := runewidth.StringWidth(t.indent)
	for _, w := range widths[:max(0, len(widths)-1)] {
		n += w + 2
	}
	return n
}

func (t *table) line(w io.Writer, row []cell, widths []int) {
	var b strings.Builder
	b.WriteString(t.indent)
	used := runewidth.StringWidth(t.indent)
	for i, c := range row {
		text := c.text
		last := i == len(row)-1
		if last && !t.whole && t.env.Terminal && t.env.Width > used+8 {
			text = runewidth.Truncate(text, t.env.Width-used, "…")
		}
		pad := strings.Repeat(" ", max(0, widths[i]-runewidth.StringWidth(text)))
		switch {
		case c.right:
			b.WriteString(pad + t.env.paint(c.style, text))
		case last:
			b.WriteString(t.env.paint(c.style, text))
		default:
			b.WriteString(t.env.paint(c.style, text) + pad)
		}
		if !last {
			b.WriteString("  ")
			used += widths[i] + 2
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// sgr is what paint puts around text; it takes no room on the screen.
var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// onScreen is how many columns a line takes.
func onScreen(line string) int { return runewidth.StringWidth(sgr.ReplaceAllString(line, "")) }

// fold breaks a line that a terminal has no room for, between its parts, which stand three spaces apart.
func (e *Env) fold(line string) string {
	if !e.Terminal || e.Width <= 0 || onScreen(line) <= e.Width {
		return line
	}
	var b strings.Builder
	parts := strings.Split(line, "   ")
	used := onScreen(parts[0])
	b.WriteString(parts[0])
	for _, p := range parts[1:] {
		gap := "   "
		if used+len(gap)+onScreen(p) > e.Width {
			gap, used, p = "\n    ", 1, strings.TrimLeft(p, " ")
		}
		b.WriteString(gap + p)
		used += 3 + onScreen(p)
	}
	return b.String()
}

// clean makes text from mail safe to print: controls and direction marks become "?".
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}

// thousands is a number as people read it: 1,902.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// octets is a size as people read it: 31.4 MB.
func octets(n int64) string { return spool.Octets(n) }

// span is a duration as people read it: 4 s, 47 min, 2 h, 3 days.
func span(d time.Duration) string { return spool.Span(d) }

// ago is how long before now.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	if now.Sub(t) < time.Second {
		return "just now"
	}
	return span(now.Sub(t)) + " ago"
}

// clock is a time as short as it is clear: 09:12 today, else 20 Nov 09:12, with the year when it is another.
func clock(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	t, now = t.Local(), now.Local()
	switch {
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format("15:04")
	case t.Year() == now.Year():
		return t.Format("2 Jan 15:04")
	default:
		return t.Format("2 Jan 2006 15:04")
	}
}

// bar draws a progress bar: ████░░.
func bar(done, total int64, width int) string {
	if total <= 0 {
		return strings.Repeat("░", width)
	}
	full := min(int(done*int64(width)/total), width)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// plural is "1 message", "2 messages".
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + one + "s"
}

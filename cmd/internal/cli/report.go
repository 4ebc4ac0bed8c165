package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/spool"
	"restante/spool/index"
)

func newOutageReport(c *command) *cobra.Command {
	var format, domain string
	var pairs bool
	cmd := &cobra.Command{
		Use:   "report [<outage>]",
		Short: "Prove what became of everything that was accepted in an outage",
		Long: `Prove what became of everything that was accepted in an outage:
accepted = delivered + parked + bounced + expired + removed + pending, unaccounted 0.
Without an id it is the last outage, of the domain if one is named.

With --format csv, or with --pairs, each pair of message and recipient is listed with the primary's
reply. Exit code 4 when something is unaccounted, parked or pending.`,
		Example: `  restante outage report --domain example.com
  restante outage report 2026-11-21-example.com
  restante outage report 2026-11-21-example.com --format csv > outage.csv
  restante outage report 2026-11-21-example.com --json --pairs`,
		Args: argCount(0, 1, "the outage"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.common.json {
				format = "json"
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := c.lastOutage(cmd.Context(), client, args, domain)
			if err != nil {
				return err
			}
			r, err := client.Report(cmd.Context(), id)
			if err != nil {
				return err
			}
			each := func(f func(spool.Pair) error) error { return client.ReportPairs(cmd.Context(), r.ID, f) }
			switch format {
			case "text":
				c.printReport(r)
				if pairs {
					err = c.printPairs(each)
				}
			case "json":
				err = c.reportJSON(r, pairs, each)
			case "csv":
				err = c.reportCSV(each)
			default:
				return admin.Errorf(admin.KindUsage, "write --format text, json or csv", "there is no format %q", format)
			}
			if err == nil && (r.Unaccounted != 0 || r.Counts.Parked > 0 || r.Counts.Pending > 0 || !r.Chain.Verified) {
				return errAttention
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text, json or csv")
	cmd.Flags().StringVar(&domain, "domain", "", "the last outage of this domain")
	cmd.Flags().BoolVar(&pairs, "pairs", false, "list each pair with the primary's reply")
	return cmd
}

// lastOutage is the outage that was named, or the last one.
func (c *command) lastOutage(ctx context.Context, client *admin.Client, args []string, domain string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	list, err := client.Outages(ctx, domain)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		if err := hosted(ctx, client, domain); err != nil {
			return "", err
		}
		s, err := client.Status(ctx)
		if err != nil {
			return "", err
		}
		if s.Index.Reading {
			return "", admin.Errorf(admin.KindFailed, "try again in a moment; see `restante status`", "no outage was read so far: "+admin.StillReading)
		}
		return "", admin.Errorf(admin.KindNotFound, "one begins when a primary is down, or with `restante outage declare`", "there was no outage yet")
	}
	if beside := beside(list); len(beside) > 0 {
		fmt.Fprintf(c.Err, "the last of several that were open at the same time, see `restante outage list`: %s\n", strings.Join(beside, ", "))
	}
	return list[0].ID, nil
}

// beside are a few of the outages that were open when the last began, as those of other domains with the same server.
func beside(list []index.Outage) []string {
	var ids []string
	for _, o := range list[1:] {
		if !o.Closed.IsZero() && o.Closed.Before(list[0].Opened) {
			continue
		}
		if len(ids) == 3 {
			return append(ids, "...")
		}
		ids = append(ids, o.ID)
	}
	return ids
}

// mostShown is how many pairs the text names for each state that wants somebody to look.
const mostShown = 20

// paper prints a report; its numbers end in one column.
type paper struct {
	*Env
	r     *admin.Report
	width int // of the numbers
}

func (e *Env) printReport(r *admin.Report) {
	p := paper{Env: e, r: r, width: 5}
	for _, n := range []int64{r.Messages, r.Accepted, r.Unaccounted} {
		p.width = max(p.width, len(thousands(n)))
	}
	fmt.Fprintf(e.Out, "Outage %s, %s\n", r.ID, period(r.Opened, r.Closed, time.Now()))
	if r.Reason != "" {
		fmt.Fprintf(e.Out, "  because       %s\n", clean(admin.Brief(r.Reason)))
	}
	p.accepted()
	p.line("=", "delivered", r.Counts.Delivered, styleGreen, deliveredWhen(r))
	p.state("parked", spool.StateParked)
	for _, state := range rareEnds {
		if r.Counts.Of(state) > 0 {
			p.state(string(state), state)
		}
	}
	p.line("+", "pending", r.Counts.Pending, styleAmber, "")
	p.unaccounted()
	if r.Deleted > 0 {
		fmt.Fprintf(e.Out, "  retention   %*s %s of these deleted since; their sums stand in the ledger\n", p.width, thousands(r.Deleted), noun(r.Deleted, "pair"))
	}
	if line := webmailUse(r); line != "" {
		fmt.Fprintf(e.Out, "  in webmail    %s\n", line)
	}
	p.chain()
}

func noun(n int64, one string) string {
	if n == 1 {
		return one
	}
	return one + "s"
}

// line prints one number of the sum.
func (p *paper) line(sign, what string, n int64, style, rest string) {
	count := fmt.Sprintf("%*s", p.width, thousands(n))
	if n > 0 {
		count = p.paint(style, count)
	}
	if rest != "" {
		rest = "   " + rest
	}
	fmt.Fprintf(p.Out, "  %s %-10s%s%s\n", sign, what, count, rest)
}

// under prints what belongs to the number above.
func (p *paper) under(text string) {
	fmt.Fprintf(p.Out, "%s%s\n", strings.Repeat(" ", 14+p.width+3), text)
}

func (p *paper) accepted() {
	r := p.r
	to := " for " + plural(r.Recipients, "recipient")
	if r.Deleted > 0 {
		to = "" // those of deleted messages are no longer known
	}
	fmt.Fprintf(p.Out, "  accepted    %*s %s%s, %s\n", p.width, thousands(r.Messages), noun(r.Messages, "message"), to, octets(r.Octets))
	if r.Accepted != r.Messages {
		fmt.Fprintf(p.Out, "              %*s %s of message and recipient, counted below\n", p.width, thousands(r.Accepted), noun(r.Accepted, "pair"))
	}
}

// state prints the number of pairs in a state with each of them, as far as there is room.
func (p *paper) state(what string, state spool.PairState) {
	n := p.r.Counts.Of(state)
	var each []string
	for _, x := range p.r.NotDelivered {
		if x.State == state && len(each) < mostShown {
			to := x.Address
			if to == "" {
				to = "(erased)"
			}
			each = append(each, fmt.Sprintf("%s to %s  %s", x.Entry, clean(to), clean(why(x))))
		}
	}
	first := ""
	if len(each) > 0 {
		first = each[0]
	}
	p.line("+", what, n, styleAmber, first)
	for _, text := range each[min(1, len(each)):] {
		p.under(text)
	}
	if more := n - int64(len(each)); more > 0 && len(each) > 0 {
		p.under(fmt.Sprintf("and %s more -> restante queue list --state %s --outage %s", thousands(more), state, p.r.ID))
	}
}

func (p *paper) unaccounted() {
	count := fmt.Sprintf("%*s", p.width, thousands(p.r.Unaccounted))
	if p.r.Unaccounted == 0 {
		fmt.Fprintf(p.Out, "  unaccounted %s\n", count)
		return
	}
	fmt.Fprintf(p.Out, "  unaccounted %s   at least, from:\n", p.paint(styleRed, count))
	for i, m := range p.r.Missing {
		if i == mostShown {
			p.under("and more -> restante fsck")
			break
		}
		text := clean(admin.Brief(m.Why))
		if m.Key != "" {
			text = clean(m.Key) + ": " + text
		}
		p.under(text)
	}
}

func (p *paper) chain() {
	c := p.r.Chain
	switch {
	case c.Verified:
		fmt.Fprintf(p.Out, "  chain verified  sha256:%s\n", c.Head)
	case len(c.Broken) == 0:
		fmt.Fprintf(p.Out, "  chain %s  %s\n", p.paint(styleRed, "NOT VERIFIED"), clean(c.Problem))
	}
	for i, b := range c.Broken {
		if i == mostShown {
			p.under("and more -> restante fsck")
			break
		}
		fmt.Fprintf(p.Out, "  chain %s at %s: %s -> restante fsck\n", p.paint(styleRed, "BROKEN"), clean(b.Key), clean(admin.Brief(b.Why)))
	}
}

func period(from, to, now time.Time) string {
	from = from.Local()
	text := from.Format("2 Jan 2006 15:04:05")
	if to.IsZero() {
		return text + from.Format(" MST") + " until now, still open (" + spool.ExactSpan(now.Sub(from)) + ")"
	}
	from, to = from.Truncate(time.Second), to.Local().Truncate(time.Second) // so that the span is the one between the times shown
	end := to.Format("15:04:05")
	if to.Format(time.DateOnly) != from.Format(time.DateOnly) {
		end = to.Format("2 Jan 2006 15:04:05")
	}
	return text + " to " + end + to.Format(" MST") + " (" + spool.ExactSpan(to.Sub(from)) + ")"
}

func deliveredWhen(r *admin.Report) string {
	if r.Counts.Delivered == 0 || r.FirstDelivered.IsZero() {
		return ""
	}
	day := r.Opened.Local().Format(time.DateOnly)
	at := func(t time.Time) string { // with its date when that is another than the last one named
		t = t.Local()
		layout := time.TimeOnly
		if d := t.Format(time.DateOnly); d != day {
			layout, day = "2 Jan 2006 15:04:05", d
		}
		return t.Format(layout)
	}
	first := at(r.FirstDelivered)
	return fmt.Sprintf("first %s, last %s, primary's replies recorded", first, at(r.LastDelivered))
}

// why is the reply or the reason behind a pair's state.
func why(p spool.Pair) string {
	switch {
	case p.Quarantine != "" && p.Reason == p.Quarantine:
		return "in quarantine: " + p.Reason
	case p.Reason != "" && p.Reply != "" && p.State != spool.StateDelivered:
		return p.Reason + ": " + p.Reply
	case p.Reply != "":
		return p.Reply
	default:
		return p.Reason
	}
}

// printPairs prints a line a pair as they come: there may be millions.
func (e *Env) printPairs(each func(func(spool.Pair) error) error) error {
	out := bufio.NewWriter(e.Out)
	line := func(entry, state, rcpt, when, reply string) error {
		pad := strings.Repeat(" ", max(0, 32-runewidth.StringWidth(rcpt)))
		_, err := fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%-26s  %-9s  %s%s  %-20s  %s", entry, state, rcpt, pad, when, reply), " "))
		return err
	}
	begun := false
	err := each(func(p spool.Pair) error {
		if !begun {
			begun = true
			if err := line("ENTRY", "STATE", "RECIPIENT", "WHEN", "REPLY"); err != nil {
				return err
			}
		}
		return line(p.Entry, string(p.State), clean(p.Address), stamp(p.Changed), clean(why(p)))
	})
	return errors.Join(err, out.Flush())
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// reportJSON prints the report, with its pairs as "pairs" when they are asked for, as they come.
func (c *command) reportJSON(r *admin.Report, pairs bool, each func(func(spool.Pair) error) error) error {
	if !pairs {
		return c.printJSON(r)
	}
	var head bytes.Buffer
	enc := json.NewEncoder(&head)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	out := bufio.NewWriter(c.Out)
	out.Write(bytes.TrimSuffix(head.Bytes(), []byte("\n}\n"))) // a bufio.Writer keeps its error for Flush
	out.WriteString(",\n  \"pairs\": [")
	comma := "\n    "
	err := each(func(p spool.Pair) error {
		head.Reset()
		enc.SetIndent("    ", "  ")
		if err := enc.Encode(p); err != nil {
			return err
		}
		out.WriteString(comma)
		comma = ",\n    "
		_, err := out.Write(bytes.TrimSuffix(head.Bytes(), []byte("\n")))
		return err
	})
	if err != nil {
		return errors.Join(err, out.Flush()) // cut short, and so no JSON: nobody takes the part for the whole
	}
	out.WriteString("\n  ]\n}\n")
	return out.Flush()
}

// reportCSV prints one line a pair (RFC 4180).
func (c *command) reportCSV(each func(func(spool.Pair) error) error) error {
	w := csv.NewWriter(c.Out)
	w.UseCRLF = true // RFC 4180 2.1
	if err := w.Write([]string{"outage", "entry", "recipient", "from", "received", "size", "state", "changed", "attempts", "reply", "host", "reason", "by"}); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	err := each(func(p spool.Pair) error {
		row := []string{p.Outage, p.Entry, p.Address, p.From, stamp(p.Received), strconv.FormatInt(p.Size, 10),
			string(p.State), stamp(p.Changed), strconv.Itoa(p.Attempts), p.Reply, p.Host, p.Reason, p.By}
		for i := range row {
			row[i] = tame(row[i])
		}
		return w.Write(row)
	})
	w.Flush()
	return errors.Join(err, w.Error())
}

// tame keeps spreadsheets from taking a field for a formula: they do so behind blanks and line ends too.
func tame(s string) string {
	text := strings.TrimLeft(s, " \t\r\n\u00a0\ufeff")
	if text != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(text)[0]) || s != "" && strings.ContainsRune("\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}

package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/spool"
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
			id, err := lastOutage(cmd.Context(), client, args, domain)
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
func lastOutage(ctx context.Context, client *admin.Client, args []string, domain string) (string, error) {
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
		return "", admin.Errorf(admin.KindNotFound, "one begins when a primary is down, or with `restante outage declare`", "there was no outage yet")
	}
	return list[0].ID, nil
}

func (e *Env) printReport(r *admin.Report) {
	now := time.Now()
	fmt.Fprintf(e.Out, "Outage of %s, %s\n", r.Domain, period(r.Opened, r.Closed, now))
	if r.Reason != "" {
		fmt.Fprintf(e.Out, "  because       %s\n", clean(admin.Brief(r.Reason)))
	}
	fmt.Fprintf(e.Out, "  accepted      %s for %s, %s\n", plural(r.Messages, "message"), plural(r.Recipients, "recipient"), octets(r.Octets))
	if r.Accepted != r.Messages {
		fmt.Fprintf(e.Out, "                %s of message and recipient, counted below\n", plural(r.Accepted, "pair"))
	}
	line := func(sign, what string, n int64, style, rest string) {
		count := fmt.Sprintf("%9s", thousands(n))
		if n > 0 {
			count = e.paint(style, count)
		}
		if rest != "" {
			rest = "   " + rest
		}
		fmt.Fprintf(e.Out, "  %s %-10s%s%s\n", sign, what, count, rest)
	}
	line("=", "delivered", r.Counts.Delivered, styleGreen, deliveredWhen(r))
	line("+", "parked", r.Counts.Parked, styleAmber, firstOf(r.NotDelivered, spool.StateParked))
	for _, x := range []struct {
		what  string
		state spool.PairState
	}{{"bounced", spool.StateBounced}, {"expired", spool.StateExpired}, {"removed", spool.StateRemoved}} {
		if n := r.Counts.Of(x.state); n > 0 {
			line("+", x.what, n, styleAmber, firstOf(r.NotDelivered, x.state))
		}
	}
	line("+", "pending", r.Counts.Pending, styleAmber, "")
	style := styleRed
	count := fmt.Sprintf("%9s", thousands(r.Unaccounted))
	if r.Unaccounted != 0 {
		count = e.paint(style, count)
	}
	fmt.Fprintf(e.Out, "  unaccounted %s\n", count)
	if r.Chain.Verified {
		fmt.Fprintf(e.Out, "  chain verified  sha256:%s\n", r.Chain.Head)
	} else {
		fmt.Fprintf(e.Out, "  chain %s  %s\n", e.paint(styleRed, "NOT VERIFIED"), clean(r.Chain.Problem))
	}
}

func period(from, to, now time.Time) string {
	from = from.Local()
	text := from.Format("2 Jan 2006 15:04:05")
	if to.IsZero() {
		return text + from.Format(" MST") + " until now, still open (" + exactSpan(now.Sub(from)) + ")"
	}
	to = to.Local()
	end := to.Format("15:04:05")
	if to.Format(time.DateOnly) != from.Format(time.DateOnly) {
		end = to.Format("2 Jan 2006 15:04:05")
	}
	return text + " to " + end + to.Format(" MST") + " (" + exactSpan(to.Sub(from)) + ")"
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

// firstOf shows one example of a state and how to see the rest.
func firstOf(pairs []spool.Pair, state spool.PairState) string {
	for _, p := range pairs {
		if p.State == state {
			return fmt.Sprintf("%s to %s  %s", p.Entry, clean(p.Address), clean(why(p)))
		}
	}
	return ""
}

// why is the reply or the reason behind a pair's state.
func why(p spool.Pair) string {
	switch {
	case p.Reason != "" && p.Reply != "" && p.State != spool.StateDelivered:
		return p.Reason + ": " + p.Reply
	case p.Reply != "":
		return p.Reply
	default:
		return p.Reason
	}
}

func (e *Env) printPairs(each func(func(spool.Pair) error) error) error {
	t := table{env: e, head: []string{"ENTRY", "STATE", "RECIPIENT", "WHEN", "REPLY"}}
	err := each(func(p spool.Pair) error {
		t.add(col(p.Entry), col(string(p.State)), col(clean(p.Address)), col(stamp(p.Changed)), col(clean(why(p))))
		return nil
	})
	t.print(e.Out)
	return err
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// reportJSON prints the report, with its pairs as "pairs" when they are asked for.
func (c *command) reportJSON(r *admin.Report, pairs bool, each func(func(spool.Pair) error) error) error {
	if !pairs {
		return c.printJSON(r)
	}
	full := struct {
		*admin.Report
		Pairs []json.RawMessage `json:"pairs"`
	}{Report: r, Pairs: []json.RawMessage{}}
	if err := each(func(p spool.Pair) error {
		text, err := json.Marshal(p)
		full.Pairs = append(full.Pairs, text)
		return err
	}); err != nil {
		return err
	}
	return c.printJSON(full)
}

// reportCSV prints one line a pair (RFC 4180).
func (c *command) reportCSV(each func(func(spool.Pair) error) error) error {
	w := csv.NewWriter(c.Out)
	if err := w.Write([]string{"outage", "entry", "recipient", "from", "received", "size", "state", "changed", "attempts", "reply", "host", "reason", "by"}); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	err := each(func(p spool.Pair) error {
		return w.Write([]string{p.Outage, p.Entry, tame(p.Address), tame(p.From), stamp(p.Received), strconv.FormatInt(p.Size, 10),
			string(p.State), stamp(p.Changed), strconv.Itoa(p.Attempts), tame(p.Reply), tame(p.Host), tame(p.Reason), tame(p.By)})
	})
	w.Flush()
	if err != nil {
		return err
	}
	return w.Error()
}

// tame keeps spreadsheets from taking a field for a formula.
func tame(s string) string {
	if s != "" && (s[0] == '=' || s[0] == '+' || s[0] == '-' || s[0] == '@' || s[0] == '\t' || s[0] == '\r') {
		return "'" + s
	}
	return s
}

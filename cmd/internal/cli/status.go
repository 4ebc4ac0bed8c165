package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/relay/policy/rcpt"
	"restante/spool/index"
)

func newStatus(c *command) *cobra.Command {
	var watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "How the domains, the store and the node are; what needs a person first",
		Long: `How the domains, the store and the node are; what needs a person first, then why.

Counts are pairs of message and recipient since the domain's last outage began. Exit code 4 when a
domain is not up, mail is parked (whenever it came), a content filter, a list of recipients or the store is failing, or the index is
still reading the store: then counts are incomplete, and "?" is what nobody knows yet.`,
		Example: `  restante status
  restante status --watch
  restante status --json | jq '.domains[] | select(.state != "up")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if watch {
				return c.watch(cmd.Context(), every, func(ctx context.Context, w io.Writer) (bool, error) {
					s, err := client.Status(ctx)
					if err != nil {
						return false, err
					}
					if c.common.json {
						return false, printLine(w, s)
					}
					c.printStatus(w, s)
					return false, nil
				})
			}
			s, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if c.common.json {
				err = c.printJSON(s)
			} else {
				c.printStatus(c.Out, s)
			}
			if err == nil && needsAttention(s) {
				return errAttention
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on until interrupted")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "with --watch: how often")
	return cmd
}

// statusRow is one line of the status, what stands below it, and whether a person should look.
type statusRow struct {
	name, word, style, line string
	below                   []string
	bad                     bool
}

// needsAttention: a person should look.
func needsAttention(s *admin.Status) bool {
	return s.Index.Reading || slices.ContainsFunc(statusRows(s), func(r statusRow) bool { return r.bad })
}

// statusRows are all lines, of domains first.
func statusRows(s *admin.Status) []statusRow {
	var rows []statusRow
	for i := range s.Domains {
		rows = append(rows, domainRow(&s.Domains[i], s))
	}
	add := func(name, word, style, line string, bad bool) {
		rows = append(rows, statusRow{name: name, word: word, style: style, line: line, bad: bad})
	}
	store, style := s.Store.State, styleGreen
	if store != "ok" {
		store, style = strings.ToUpper(store), styleRed
	}
	add("store", store, style, storeLine(&s.Store), s.Store.State != "ok")
	if s.Webmail != nil {
		word, style := webmailWord(s.Webmail)
		add("webmail", word, style, webmailLine(s.Webmail), s.Webmail.State != "open")
	}
	for i := range s.Filters {
		word, style := filterWord(&s.Filters[i])
		add(s.Filters[i].Name, word, style, filterLine(&s.Filters[i], s.Now), !s.Filters[i].Up)
	}
	if s.Sending != nil {
		word, style := sendingWord(s.Sending)
		add("sending", word, style, sendingLine(s.Sending, s.Now), !sendingWell(s.Sending))
	}
	node, style := "ready", styleGreen
	if !s.Ready {
		node, style = "NOT READY", styleRed
	}
	add("node", node, style, nodeLine(s), !s.Ready)
	return rows
}

func domainRow(d *admin.DomainStatus, s *admin.Status) statusRow {
	word, style := stateWord(d.State)
	since := ""
	if d.Since != nil && d.State != "up" {
		since = fmt.Sprintf("since %s (%s)", clock(*d.Since, s.Now), span(s.Now.Sub(*d.Since)))
	}
	r := statusRow{name: d.Name, word: word, style: style, line: domainLine(d, s.Now, since)}
	r.bad = d.State != "up" || d.Parked+d.EarlierParked > 0 || slices.ContainsFunc(d.Lists.Sources, func(s rcpt.SourceState) bool { return s.Err != "" })
	if line := countsLine(d, s.Now, s.Index.Reading); line != "" {
		r.below = append(r.below, line)
	}
	if d.Parked+d.EarlierParked > 0 {
		r.below = append(r.below, "parked mail waits for a person -> restante queue list --state parked --domain "+d.Name)
	}
	for _, decl := range d.Declared {
		r.below = append(r.below, declaredLine(decl, s.Now))
	}
	return r
}

// printStatus begins with what needs a person, then says why, then what is well: twenty domains that are up
// must not hide a filter that fails.
func (e *Env) printStatus(w io.Writer, s *admin.Status) {
	rows := statusRows(s)
	slices.SortStableFunc(rows, func(x, y statusRow) int {
		switch {
		case x.bad == y.bad:
			return 0
		case x.bad:
			return -1
		}
		return 1
	})
	t := table{env: e, whole: true}
	for _, r := range rows {
		t.add(col(r.name), styled(r.style, r.word), col(r.line))
	}
	reasons := func() {
		for _, r := range s.Reasons {
			e.hang(w, e.paint(styleAmber, "! "), r, 2)
		}
	}
	var b strings.Builder
	t.print(&b)
	lines, said := strings.Split(b.String(), "\n"), false
	for i, r := range rows {
		if !r.bad && !said {
			reasons()
			said = true
		}
		fmt.Fprintln(w, e.fold(lines[i]))
		for _, text := range r.below {
			fmt.Fprintln(w, e.fold("  "+text))
		}
	}
	if !said {
		reasons()
	}
}

// stateWord is a state as people see it: loud when mail isn't passed.
func stateWord(state string) (word, style string) {
	switch state {
	case "up":
		return "up", styleGreen
	case "down", "isolated", "refuses-us":
		return strings.ToUpper(state), styleRed
	default:
		return strings.ToUpper(state), styleAmber
	}
}

func domainLine(d *admin.DomainStatus, now time.Time, since string) string {
	parts := []string{}
	if since != "" {
		parts = append(parts, since)
	}
	where := strings.Join(d.Primary, ", ")
	if d.State == "up" && d.Latency > 0 {
		where += fmt.Sprintf("  %.0f ms  %s", max(1, d.Latency), protection(d))
	}
	if d.Cause != "" && d.State != "up" {
		where += "  " + clean(admin.Brief(d.Cause))
		if d.LastTried != nil {
			where += ", last tried " + ago(*d.LastTried, now)
		}
	}
	parts = append(parts, where)
	if d.Passed > 0 {
		parts = append(parts, "passed through "+thousands(d.Passed))
	}
	return strings.Join(parts, "   ")
}

// protection is how mail to the primary is protected on its way, in a word or two.
func protection(d *admin.DomainStatus) string {
	switch {
	case d.TLS == "":
		return "in plain"
	case d.Verified == "":
		return "TLS, unverified"
	}
	return "TLS by " + map[string]string{"dane": "DANE", "pinned": "fingerprint", "CA": "CA"}[d.Verified]
}

// countsLine is what was kept and what became of it. While the index is reading, nothing counted doesn't mean nothing kept.
func countsLine(d *admin.DomainStatus, now time.Time, reading bool) string {
	if !reading && d.Accepted+d.EarlierParked+d.EarlierPending == 0 && d.State == "up" && d.Recipients != "any (no list)" && !d.Lists.Stale {
		return ""
	}
	count := func(n int64) string {
		if reading && n == 0 {
			return "?"
		}
		return thousands(n)
	}
	parts := []string{"kept " + count(d.Accepted), "delivered " + count(d.Delivered), "parked " + count(d.Parked), "pending " + count(d.Pending)}
	if reading {
		parts[0] = "counting, so far: " + parts[0]
	}
	ended := index.Counts{Bounced: d.Bounced, Expired: d.Expired, Removed: d.Removed}
	for _, state := range rareEnds {
		if n := ended.Of(state); n > 0 {
			parts = append(parts, string(state)+" "+thousands(n))
		}
	}
	if d.EarlierParked+d.EarlierPending > 0 {
		parts = append(parts, fmt.Sprintf("not of this outage: parked %s, pending %s", thousands(d.EarlierParked), thousands(d.EarlierPending)))
	}
	if d.Quarantined > 0 {
		parts = append(parts, fmt.Sprintf("in quarantine %s, the oldest for %s", thousands(d.Quarantined), span(now.Sub(*d.QuarantinedOldest))))
	}
	if d.Oldest != nil {
		parts = append(parts, "oldest "+span(now.Sub(*d.Oldest)))
	}
	if d.Recipients != "any" {
		parts = append(parts, recipientsPart(&d.Lists, now))
	}
	replay := "replay: " + d.Replay
	if d.ReplayReason != "" {
		replay += " (" + clean(d.ReplayReason) + ")"
	}
	return strings.Join(append(parts, replay), "   ")
}

func declaredLine(d admin.Declaration, now time.Time) string {
	what := "declared down"
	if d.Address != "" {
		what = d.Address + " declared down"
	}
	line := fmt.Sprintf("%s by %s until %s", what, d.By, clock(d.Until, now))
	if d.Reason != "" {
		line += ": " + clean(d.Reason)
	}
	return line
}

func storeLine(s *admin.StoreState) string {
	parts := []string{s.URL}
	if s.PutMS > 0 {
		parts = append(parts, fmt.Sprintf("put %.1f ms", s.PutMS))
	}
	if s.Total > 0 {
		parts = append(parts, fmt.Sprintf("%s free of %s", octets(s.Free), octets(s.Total)))
	}
	if s.Error != "" {
		parts = append(parts, clean(admin.Brief(s.Error)))
	}
	return strings.Join(parts, "   ")
}

func nodeLine(s *admin.Status) string {
	line := fmt.Sprintf("%s   SMTP on %s   %s   running for %s", s.Hostname, strings.Join(s.SMTP.Listen, ", "),
		plural(int64(s.SMTP.Sessions), "session"), span(s.Now.Sub(s.Started)))
	if s.Index.Behind > 0 {
		line += fmt.Sprintf("   index %s behind", plural(int64(s.Index.Behind), "batche"))
	}
	return strings.ReplaceAll(line, "batchees", "batches")
}

// onePage is as much of a text as a terminal shows at once, and how many of its lines that takes: what has
// scrolled away can't be drawn over.
func (e *Env) onePage(text string) (page string, lines int) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		n := 1
		if wide := onScreen(strings.TrimSuffix(line, "\n")); e.Width > 0 && wide > 0 {
			n += (wide - 1) / e.Width
		}
		if e.Height > 2 && lines+n > e.Height-2 {
			b.WriteString("... there is more than fits: see it without --watch\n")
			return b.String(), lines + 1
		}
		lines += n
		b.WriteString(line)
	}
	return b.String(), lines
}

// stillReading says on stderr that the index is still reading the store. Ask before what it is about, which may be
// incomplete then.
func (c *command) stillReading(ctx context.Context, client *admin.Client) (bool, error) {
	s, err := client.Status(ctx)
	if err != nil || !s.Index.Reading {
		return false, err
	}
	fmt.Fprintln(c.Err, "! "+admin.StillReading)
	return true, nil
}

// watch shows something again and again until it is done or interrupted: in place on a terminal, as it changes in a pipe.
func (e *Env) watch(ctx context.Context, every time.Duration, show func(context.Context, io.Writer) (done bool, err error)) error {
	tick := time.NewTicker(max(every, 100*time.Millisecond))
	defer tick.Stop()
	lines, before := 0, ""
	for {
		var b strings.Builder
		done, err := show(ctx, &b)
		if err != nil {
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		text := b.String()
		if e.Terminal {
			if lines > 0 {
				fmt.Fprintf(e.Out, "\x1b[%dA\x1b[J", lines)
			}
			text, lines = e.onePage(text)
			fmt.Fprint(e.Out, text)
		} else if text != before {
			fmt.Fprint(e.Out, text)
			before = text
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

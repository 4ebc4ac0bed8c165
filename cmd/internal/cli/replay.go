package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
)

func newReplay(c *command) *cobra.Command {
	return group("replay", "Hand kept mail over: start, pause, watch, or deliver a selection",
		`  restante replay status --watch
  restante replay pause --domain example.com --reason "they are restoring from tape"
  restante replay run --domain example.com --since 2h --dry-run`,
		newReplayStart(c), newReplayPause(c), newReplayResume(c), newReplayStatus(c), newReplayRun(c))
}

// domainFlag is the --domain of commands that work on one domain, or on all.
func domainFlag(cmd *cobra.Command, domain *string) {
	cmd.Flags().StringVar(domain, "domain", "", "this domain only (default: all)")
}

// domains is the one domain named, or all that the node has.
func domains(ctx context.Context, client *admin.Client, domain string) ([]string, error) {
	if domain != "" {
		return []string{domain}, nil
	}
	s, err := client.Status(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, d := range s.Domains {
		list = append(list, d.Name)
	}
	return list, nil
}

// hosted fails when a domain was named that the node doesn't have.
func hosted(ctx context.Context, client *admin.Client, domain string) error {
	if domain == "" {
		return nil
	}
	name, err := config.ParseDomain(domain)
	if err != nil {
		return admin.Errorf(admin.KindUsage, "write for example --domain example.com", "%w", err)
	}
	list, err := domains(ctx, client, "")
	if err != nil || slices.Contains(list, name) {
		return err
	}
	return admin.Errorf(admin.KindNotFound, "the domains are "+strings.Join(list, ", "), "no domain %q here", domain)
}

func newReplayStart(c *command) *cobra.Command {
	var sel selectFlags
	var watch, yes bool
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the replay of a domain, also where it is manual",
		Long: `Start the replay of a domain, also where it is manual or was paused. It begins as soon as the primary
answers. To deliver only some of what was kept, or again, see "replay run"; a selection given here does that.`,
		Example: `  restante replay start --domain example.com
  restante replay start --domain example.com --watch`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if sel.selects() {
				return c.replayRun(cmd.Context(), client, &sel, yes)
			}
			list, err := domains(cmd.Context(), client, sel.Domain)
			if err != nil {
				return err
			}
			for _, d := range list {
				if err := client.ReplayStart(cmd.Context(), d); err != nil {
					return err
				}
			}
			return c.afterReplay(cmd.Context(), client, sel.Domain, watch, "started", list)
		},
	}
	sel.register(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show the progress until nothing is pending")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}

func newReplayPause(c *command) *cobra.Command {
	var domain, reason string
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Pause the replay of a domain until it is resumed",
		Example: `  restante replay pause --domain example.com --reason "they are restoring from tape"
  restante replay pause`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			list, err := domains(cmd.Context(), client, domain)
			if err != nil {
				return err
			}
			for _, d := range list {
				if err := client.ReplayPause(cmd.Context(), d, reason); err != nil {
					return err
				}
			}
			return c.afterReplay(cmd.Context(), client, domain, false, "paused", list)
		},
	}
	domainFlag(cmd, &domain)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the others")
	return cmd
}

func newReplayResume(c *command) *cobra.Command {
	var domain string
	cmd := &cobra.Command{
		Use:     "resume",
		Short:   "End a pause",
		Example: `  restante replay resume --domain example.com`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			list, err := domains(cmd.Context(), client, domain)
			if err != nil {
				return err
			}
			did := []string{}
			for _, d := range list {
				r, err := client.ReplayStatus(cmd.Context(), d)
				if err != nil {
					return err
				}
				// A pause may stand in what the index has not read yet.
				if len(r) == 1 && !r[0].Reading && r[0].State != "paused" && r[0].State != "stopped" {
					if !c.common.json {
						fmt.Fprintf(c.Out, "%s: replay was not paused\n", d)
					}
					continue
				}
				if err := client.ReplayResume(cmd.Context(), d); err != nil {
					return err
				}
				did = append(did, d)
			}
			return c.afterReplay(cmd.Context(), client, domain, false, "resumed", did)
		},
	}
	domainFlag(cmd, &domain)
	return cmd
}

func (c *command) afterReplay(ctx context.Context, client *admin.Client, domain string, watch bool, did string, list []string) error {
	if watch {
		return c.watchReplay(ctx, client, domain, time.Second, true)
	}
	if c.common.json {
		return c.printJSON(map[string]any{"did": did, "domains": list})
	}
	for _, d := range list {
		fmt.Fprintf(c.Out, "%s: replay %s\n", d, did)
	}
	return nil
}

func newReplayStatus(c *command) *cobra.Command {
	var domain string
	var watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "How far the replay is",
		Example: `  restante replay status --watch
  restante replay status --domain example.com --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if watch {
				return c.watchReplay(cmd.Context(), client, domain, every, false)
			}
			list, err := client.ReplayStatus(cmd.Context(), domain)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(list)
			}
			c.printReplay(c.Out, list)
			return nil
		},
	}
	domainFlag(cmd, &domain)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on until interrupted")
	cmd.Flags().DurationVar(&every, "every", time.Second, "with --watch: how often")
	return cmd
}

func (c *command) watchReplay(ctx context.Context, client *admin.Client, domain string, every time.Duration, untilDone bool) error {
	return c.watch(ctx, every, func(ctx context.Context, w io.Writer) (bool, error) {
		list, err := client.ReplayStatus(ctx, domain)
		if err != nil {
			return false, err
		}
		if c.common.json {
			err = printLine(w, list)
		} else {
			c.printReplay(w, list)
		}
		done := true
		for _, r := range list {
			done = done && handedOver(r)
		}
		return untilDone && done, err
	})
}

// handedOver reports that nothing is left. While it is running the index lags behind, and what it shows as pending
// may be nothing too early; so it may while the index is still reading the store.
func handedOver(r admin.Replay) bool {
	return !r.Reading && r.Done >= r.Total && r.State != "running" && r.State != "canary"
}

func (e *Env) printReplay(w io.Writer, list []admin.Replay) {
	t := table{env: e, whole: true}
	for _, r := range list {
		count := fmt.Sprintf("%s / %s", thousands(r.Done), thousands(r.Total))
		switch {
		case r.Reading && r.Total == 0:
			count = "counting, ? pending"
		case r.Reading:
			count = "counting, so far " + count
		case r.Total == 0:
			count = "nothing pending"
		}
		rest := []string{}
		switch r.State {
		case "running", "canary":
			rest = append(rest, fmt.Sprintf("%.0f/s", r.Rate), plural(int64(r.Connections), "connection"))
			if r.Left > 0 {
				rest = append(rest, span(time.Duration(r.Left*float64(time.Second)))+" left")
			}
		case "idle":
		case "lease": // it is about to have it, or somebody else does
			if r.Reason == "" {
				rest = append(rest, "STARTING")
			} else {
				rest = append(rest, "WAITING", clean(admin.Brief(r.Reason)))
			}
		default:
			rest = append(rest, strings.ToUpper(r.State))
			if r.Reason != "" {
				rest = append(rest, clean(admin.Brief(r.Reason)))
			}
		}
		if r.Parked > 0 {
			rest = append(rest, "parked "+thousands(r.Parked))
		}
		cells := []cell{col(r.Domain)}
		if e.Terminal && r.Total > 0 {
			cells = append(cells, styled(styleGreen, bar(r.Done, r.Total, 23)))
		} else if e.Terminal {
			cells = append(cells, col(""))
		}
		t.add(append(cells, col(count), col(strings.Join(rest, "   ")))...)
	}
	var b strings.Builder
	t.print(&b)
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(w, e.fold(strings.TrimSuffix(line, "\n")))
	}
	if slices.ContainsFunc(list, func(r admin.Replay) bool { return r.Reading }) {
		fmt.Fprintln(w, e.fold(e.paint(styleAmber, "! ")+admin.StillReading))
	}
	for _, r := range list {
		for _, p := range r.Recent {
			fmt.Fprintf(w, "  parked  %s to %s  %s  ->  restante queue show %s\n", p.Entry, clean(p.Address), clean(why(p)), p.Entry)
		}
	}
}

// selectFlags choose entries: the flags of `replay run`.
type selectFlags struct {
	admin.Selection
	since, until string
}

func (s *selectFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.Domain, "domain", "", "to this domain")
	f.StringVar(&s.Rcpt, "rcpt", "", "to this address")
	f.StringVar(&s.since, "since", "", "received since: 2h, 3d, 09:12, 2026-11-21T09:12")
	f.StringVar(&s.until, "until", "", "received before that, written as with --since")
	f.StringSliceVar(&s.IDs, "id", nil, "these entries (repeat it, or separate with commas)")
	f.BoolVar(&s.Again, "again", false, "also what was delivered: the primary lost it after it had answered 250")
	f.IntVar(&s.Rate, "rate", 0, "messages a second at most (default: as configured)")
	f.StringVar(&s.To, "to", "", "host:port to deliver to instead of the primary")
	f.BoolVar(&s.DryRun, "dry-run", false, "say what would be delivered, deliver nothing")
}

// selects reports that more was given than a domain.
func (s *selectFlags) selects() bool {
	return s.Rcpt != "" || s.since != "" || s.until != "" || len(s.IDs) > 0 || s.Again || s.Rate != 0 || s.To != "" || s.DryRun
}

func newReplayRun(c *command) *cobra.Command {
	var sel selectFlags
	var yes, watch bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Deliver a selection once, now, and wait for it",
		Long: `Deliver a selection once, now, and wait for it. Without --again only what is pending is delivered;
with it also what was delivered before, for a primary that lost mail after it had taken it. What is
parked is for "queue retry" and "queue release".
Exit code 4 when some of it could not be delivered.`,
		Example: `  restante replay run --domain example.com --dry-run
  restante replay run --rcpt info@example.com --since 2026-11-21T09:00 --again
  restante replay run --id 01J9Z6Q3 --to 127.0.0.1:2601`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			return c.replayRun(cmd.Context(), client, &sel, yes)
		},
	}
	sel.register(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	cmd.Flags().BoolVarP(&watch, "watch", "w", true, "show the progress")
	return cmd
}

func (c *command) replayRun(ctx context.Context, client *admin.Client, sel *selectFlags, yes bool) error {
	var err error
	if sel.Rate < 0 {
		return admin.Errorf(admin.KindUsage, "write for example --rate 5", "--rate %d is less than none", sel.Rate)
	}
	if sel.Again && !sel.DryRun {
		if err := c.confirm(yes, "--again delivers mail a second time to people who still have it"); err != nil {
			return err
		}
	}
	if sel.Since, err = parseWhen(sel.since, time.Now()); err != nil {
		return err
	}
	if sel.Until, err = parseWhen(sel.until, time.Now()); err != nil {
		return err
	}
	drawn := false
	r, err := client.ReplayRun(ctx, sel.Selection, func(p admin.Progress) {
		if !c.Terminal || c.common.json {
			return
		}
		drawn = true
		fmt.Fprintf(c.Out, "\r\x1b[K%s  %s / %s   parked %s", bar(p.Done, p.Total, 23), thousands(p.Done), thousands(p.Total), thousands(p.Parked))
	})
	if drawn {
		fmt.Fprintln(c.Out)
	}
	if err != nil {
		return err
	}
	if c.common.json {
		err = c.printJSON(r)
	} else {
		c.printRun(r)
	}
	if err == nil && !r.DryRun && r.Delivered < r.Selected {
		return errAttention
	}
	return err
}

func (e *Env) printRun(r *admin.RunResult) {
	if r.DryRun {
		fmt.Fprintf(e.Out, "%s would be delivered\n", plural(r.Selected, "pair"))
		t := table{env: e, indent: "  "}
		for _, p := range r.Pairs {
			t.add(col(p.Entry), col(string(p.State)), col(clean(p.Address)), cell{text: octets(p.Size), right: true}, col(clean(p.Subject)))
		}
		t.print(e.Out)
		return
	}
	fmt.Fprintf(e.Out, "selected %s   delivered %s   parked %s   not now %s\n",
		thousands(r.Selected), thousands(r.Delivered), thousands(r.Parked), thousands(r.Selected-r.Delivered-r.Parked))
	if r.Problem != "" {
		fmt.Fprintln(e.Out, "  "+clean(r.Problem))
	}
}

// parseWhen reads a moment: a duration before now, a date, or a date with a time, in local time.
func parseWhen(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	if t, err := time.ParseInLocation("15:04", s, now.Location()); err == nil {
		return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location()), nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return time.Time{}, admin.Errorf(admin.KindUsage, "write for example 2h, 3d, 09:12, 2026-11-21 or 2026-11-21T09:12", "%q is no time", s)
	}
	return now.Add(-d), nil
}

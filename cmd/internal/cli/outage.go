package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/spool"
	"restante/spool/index"
)

func newOutage(c *command) *cobra.Command {
	return group("outage", "List, show, declare and report outages",
		`  restante outage list
  restante outage report 2026-11-21-example.com
  restante outage declare --domain example.com --for 2h --reason "mailboxes won't open"`,
		newOutageList(c), newOutageShow(c), newOutageDeclare(c), newOutageEnd(c), newOutageReport(c))
}

func newOutageList(c *command) *cobra.Command {
	var domain string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List outages, newest first, and what is declared",
		Example: `  restante outage list
  restante outage list --domain example.com --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			reading, err := c.stillReading(cmd.Context(), client)
			if err != nil {
				return err
			}
			list, err := client.Outages(cmd.Context(), domain)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				if err := hosted(cmd.Context(), client, domain); err != nil {
					return err
				}
			}
			if c.common.json {
				if list == nil {
					list = []index.Outage{}
				}
				return c.printJSON(list)
			}
			declared, err := client.Declarations(cmd.Context())
			if err != nil {
				return err
			}
			for _, d := range declared {
				if domain == "" || d.Domain == domain {
					line := declaredLine(d, time.Now())
					if d.Address == "" {
						line = d.Domain + ": " + line
					}
					fmt.Fprintln(c.Out, line)
				}
			}
			switch {
			case len(list) > 0:
				c.printOutages(list)
			case reading:
				fmt.Fprintln(c.Out, "no outage read so far")
			default:
				fmt.Fprintln(c.Out, "no outage yet")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&domain, "domain", "", "of this domain only")
	return cmd
}

func target(d admin.Declaration) string {
	if d.Address != "" {
		return d.Address
	}
	return d.Domain
}

// rareEnds are what can become of mail beside delivered and parked. They are shown where there are some, so that sums add up.
var rareEnds = []spool.PairState{spool.StateBounced, spool.StateExpired, spool.StateRemoved}

// printOutages prints a line for each: KEPT is the sum of the numbers behind it.
func (e *Env) printOutages(list []index.Outage) {
	now := time.Now()
	states := []spool.PairState{spool.StateDelivered, spool.StateParked}
	for _, s := range rareEnds {
		if slices.ContainsFunc(list, func(o index.Outage) bool { return o.Counts.Of(s) > 0 }) {
			states = append(states, s)
		}
	}
	states = append(states, spool.StatePending)
	t := table{env: e, head: []string{"OUTAGE", "BEGAN", "LASTED", "KEPT"}}
	for _, s := range states {
		t.head = append(t.head, strings.ToUpper(string(s)))
	}
	t.head = append(t.head, "")
	for _, o := range list {
		end, until, style := "closed", o.Closed, ""
		if o.Closed.IsZero() {
			end, until, style = "open", now, styleRed
		} else if o.Counts.Parked > 0 {
			style = styleAmber
		}
		row := []cell{col(o.ID), col(clock(o.Opened, now)), col(span(until.Sub(o.Opened).Round(time.Second))), num(o.Counts.Accepted())} // rounded as in the report
		for _, s := range states {
			row = append(row, num(o.Counts.Of(s)))
		}
		t.add(append(row, styled(style, end))...)
	}
	t.print(e.Out)
}

func newOutageShow(c *command) *cobra.Command {
	return &cobra.Command{
		Use:   "show [<outage>]",
		Short: "Show one outage with its sums: the one named, or the last",
		Example: `  restante outage show
  restante outage show 2026-11-21-example.com`,
		Args: argCount(0, 1, "the outage"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := c.lastOutage(cmd.Context(), client, args, "")
			if err != nil {
				return err
			}
			r, err := client.Report(cmd.Context(), id)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(r.Outage)
			}
			c.printReport(r)
			return nil
		},
	}
}

// targetFlags are --domain and --rcpt, of which exactly one is given.
func targetFlags(cmd *cobra.Command, d *admin.Declaration) {
	cmd.Flags().StringVar(&d.Domain, "domain", "", "the domain")
	cmd.Flags().StringVar(&d.Address, "rcpt", "", "only this address")
}

func checkTarget(cmd *cobra.Command, d *admin.Declaration) error {
	if (d.Domain == "") == (d.Address == "") {
		return admin.Errorf(admin.KindUsage, "see `"+cmd.CommandPath()+" --help`", "give either --domain or --rcpt")
	}
	return nil
}

func newOutageDeclare(c *command) *cobra.Command {
	var d admin.Declaration
	cmd := &cobra.Command{
		Use:   "declare",
		Short: "Say that a primary is down, whatever probes see",
		Long: `Say that a primary is down, whatever probes see: its SMTP answers, but mailboxes or sign-in are dead.
Mail is kept until the declaration ends, by itself or by "outage end", and is then handed over.

With --rcpt only that address is kept and then replayed, so that the real path can be tried
while nobody else notices.`,
		Example: `  restante outage declare --domain example.com --for 2h --reason "mailboxes won't open"
  restante outage declare --rcpt me@example.com --for 15m --reason "trying it out"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTarget(cmd, &d); err != nil {
				return err
			}
			if v, err := config.ParseDuration(d.For); err != nil || v <= 0 {
				return admin.Errorf(admin.KindUsage, "write for example --for 15m, --for 2h or --for 1d", "%q is no duration", d.For)
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			got, err := client.Declare(cmd.Context(), d)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(got)
			}
			end := "restante outage end --domain " + got.Domain
			if got.Address != "" {
				end = "restante outage end --rcpt " + got.Address
			}
			fmt.Fprintf(c.Out, "%s counts as down until %s\n", target(*got), clock(got.Until, time.Now()))
			if was := got.Replaced; was != nil {
				fmt.Fprintf(c.Out, "this replaces: %s\n", declaredLine(*was, time.Now()))
			}
			fmt.Fprintf(c.Out, "to end it before: %s\n", end)
			return nil
		},
	}
	targetFlags(cmd, &d)
	cmd.Flags().StringVar(&d.For, "for", "1h", "how long: 15m, 2h, 1d")
	cmd.Flags().StringVar(&d.Reason, "reason", "", "why, for the report")
	return cmd
}

func newOutageEnd(c *command) *cobra.Command {
	var d admin.Declaration
	cmd := &cobra.Command{
		Use:   "end",
		Short: "End a declaration before its time",
		Example: `  restante outage end --domain example.com
  restante outage end --rcpt me@example.com`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTarget(cmd, &d); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := client.EndDeclaration(cmd.Context(), d); err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(d)
			}
			fmt.Fprintf(c.Out, "%s is as probes see it again; what was kept is handed over\n", target(d))
			return nil
		},
	}
	targetFlags(cmd, &d)
	return cmd
}

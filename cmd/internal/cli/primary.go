package cli

import (
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/primary"
	"restante/cmd/internal/setup"
)

func newPrimary(c *command) *cobra.Command {
	return group("primary", "Try whether the primary takes what is handed over to it", `  restante primary test example.com`, newPrimaryTest(c))
}

func newPrimaryTest(c *command) *cobra.Command {
	var t admin.PrimaryTest
	var kind string
	cmd := &cobra.Command{
		Use:   "test <domain>",
		Short: "Try the primary of a domain as replay would, and name what to set there",
		Long: `Try the primary of a domain as replay would, and name what to set there. It is asked what it offers and whether it takes
a known, an unknown and the postmaster's address, for several messages and over several connections. Then it gets one
message, announced as a test, from a domain whose SPF record lets nobody send: a primary that takes Restante for the
sender refuses that, and with it much of what would be handed over after an outage.

Nothing else is changed: neither the primary's state nor what is known of recipients. Exit code 4 when a row says warn or FAIL.`,
		Example: `  restante primary test example.com
  restante primary test example.com --to it@example.com --kind zimbra`,
		Args: argCount(1, 1, "the domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.Domain, t.Kind = args[0], primary.Kind(strings.ToLower(kind))
			client, err := c.client()
			if err != nil {
				return err
			}
			r, err := client.PrimaryTest(cmd.Context(), t)
			if err != nil {
				return err
			}
			if c.common.json {
				err = c.printJSON(r)
			} else {
				c.printPrimaryTest(r)
			}
			if err == nil && !r.Well() {
				return errAttention
			}
			return err
		},
	}
	var names []string
	for _, k := range primary.Kinds() {
		names = append(names, string(k))
	}
	f := cmd.Flags()
	f.StringVar(&t.To, "to", "", "recipient of the test message (default: postmaster@<domain>)")
	f.StringVar(&t.From, "from", "", "its sender (default: one of a domain reserved for examples, which lets nobody send)")
	f.StringVar(&kind, "kind", "", "what the primary is, if its banner doesn't tell: "+strings.Join(names, ", "))
	return cmd
}

// printPrimaryTest prints the rows of each host, and under each that needs somebody what to do.
func (e *Env) printPrimaryTest(r *primary.Report) {
	fmt.Fprintf(e.Out, "%s, with a test message from %s to %s\n", clean(r.Domain), clean(r.From), clean(r.To))
	width := 0
	for _, row := range r.Rows {
		width = max(width, runewidth.StringWidth(row.Check))
	}
	host := ""
	var done map[string]string // mends of this host that stand above, and under what
	for _, row := range r.Rows {
		if row.Host != host || done == nil {
			host, done = row.Host, map[string]string{}
			fmt.Fprintln(e.Out, "\n"+e.paint(styleBold, clean(host)))
		}
		word := string(row.Result)
		head := "  " + e.paint(setupStyle(setup.Result(word)), word) + strings.Repeat(" ", 6-len(word)) + runewidth.FillRight(clean(row.Check), width) + "  "
		e.hang(e.Out, head, clean(row.Found), 8+width+2)
		if at, twice := done[row.Mend]; twice {
			fmt.Fprintln(e.Out, strings.Repeat(" ", 8)+e.paint(styleDim, "-> ")+"as above, "+at)
		} else if row.Mend != "" {
			done[row.Mend] = clean(row.Check)
			e.printMend(row.Mend)
		}
	}
}

// printMend prints what to do. Its lines are for copying, and stay whole.
func (e *Env) printMend(mend string) {
	mark := "-> "
	for line := range strings.SplitSeq(mend, "\n") {
		fmt.Fprintln(e.Out, strings.Repeat(" ", 8)+e.paint(styleDim, mark)+clean(line))
		mark = "   "
	}
}

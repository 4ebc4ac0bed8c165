package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
)

func newNotice(c *command) *cobra.Command {
	var n admin.Notice
	cmd := &cobra.Command{
		Use:   "notice <text>",
		Short: "Tell staff something, on the sign-in page and above their mail",
		Long: `Tell staff something, on the sign-in page and above their mail, at once and on every node. A new notice replaces
the one before; a notice for a domain stands for its people in place of the one for all.`,
		Example: `  restante notice "Mail will be back at about 14:00. Questions: extension 100." --for 6h
  restante notice list
  restante notice clear`,
		Args: argCount(1, 1, "the text"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			n.Text = args[0]
			if n.Text == "" {
				return admin.Errorf(admin.KindUsage, "`restante notice clear` takes a notice back", "the text is empty")
			}
			got, err := client.NoticeSet(cmd.Context(), n)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(got)
			}
			until := "until you take it back: restante notice clear"
			if got.Domain != "" {
				until += " --domain " + got.Domain
			}
			if !got.Until.IsZero() {
				until = "until " + clock(got.Until, time.Now())
			}
			fmt.Fprintf(c.Out, "staff%s see this now, %s:\n  %s\n", ofDomain(got.Domain), until, clean(got.Text))
			return nil
		},
	}
	cmd.Flags().StringVar(&n.Domain, "domain", "", "only for people of this domain")
	cmd.Flags().StringVar(&n.For, "for", "", "how long it stands: 6h, 1d (default: until it is taken back)")
	cmd.AddCommand(newNoticeList(c), newNoticeClear(c))
	return cmd
}

func ofDomain(domain string) string {
	if domain == "" {
		return ""
	}
	return " of " + domain
}

func newNoticeList(c *command) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "Show the notices in force",
		Example: `  restante notice list`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			list, err := client.Notices(cmd.Context())
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(list)
			}
			if len(list) == 0 {
				fmt.Fprintln(c.Out, "no notice")
				return nil
			}
			now := time.Now()
			t := table{env: c.Env, whole: true}
			for _, n := range list {
				who, until := "all", ""
				if n.Domain != "" {
					who = n.Domain
				}
				if !n.Until.IsZero() {
					until = "until " + clock(n.Until, now)
				}
				t.add(col(who), col(clock(n.Set, now)), col(n.By), col(until), col(clean(n.Text)))
			}
			t.print(c.Out)
			return nil
		},
	}
}

func newNoticeClear(c *command) *cobra.Command {
	var n admin.Notice
	cmd := &cobra.Command{
		Use:     "clear",
		Short:   "Take a notice back",
		Example: `  restante notice clear --domain example.com`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			got, err := client.NoticeSet(cmd.Context(), n)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(got)
			}
			fmt.Fprintf(c.Out, "the notice for %s is taken back\n", map[bool]string{true: "all", false: got.Domain}[got.Domain == ""])
			return nil
		},
	}
	cmd.Flags().StringVar(&n.Domain, "domain", "", "the one for this domain")
	return cmd
}

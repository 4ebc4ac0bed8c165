package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newReload(c *command) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Let the node read its configuration again, all or nothing",
		Long: `Let the node read its configuration again. Either all of it takes effect or none; no session is
dropped. A domain that still has pending mail can't be removed. SIGHUP does the same.`,
		Example: `  restante config check && restante reload`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			r, err := client.Reload(cmd.Context())
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(r)
			}
			if len(r.Changed) == 0 {
				fmt.Fprintln(c.Out, "reloaded: nothing has changed")
			} else {
				fmt.Fprintln(c.Out, "reloaded: "+strings.Join(r.Changed, ", "))
			}
			if len(r.Restart) > 0 {
				fmt.Fprintln(c.Out, "needs a restart: "+strings.Join(r.Restart, ", "))
			}
			for _, w := range r.Warn {
				fmt.Fprintln(c.Out, c.paint(styleAmber, "! ")+w)
			}
			return nil
		},
	}
}

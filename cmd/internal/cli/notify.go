package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
)

func newNotify(c *command) *cobra.Command {
	return group("notify", "Try the notifications", `  restante notify test`, newNotifyTest(c))
}

func newNotifyTest(c *command) *cobra.Command {
	return &cobra.Command{
		Use:     "test",
		Short:   "Send a test along every way that [notify] names, and say how it went",
		Example: `  restante notify test`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			sent, err := client.NotifyTest(cmd.Context())
			if err != nil {
				return err
			}
			if c.common.json {
				if err := c.printJSON(sent); err != nil {
					return err
				}
			}
			if len(sent) == 0 {
				return admin.Errorf(admin.KindFailed, "write command, url or heartbeat_url into [notify], then `restante reload`", "no notification is configured")
			}
			failed := 0
			t := table{env: c.Env}
			for _, s := range sent {
				if s.Error == "" {
					t.add(col(s.Way), styled(styleGreen, "ok"), col(""))
					continue
				}
				failed++
				t.add(col(s.Way), styled(styleRed, "FAILED"), col(clean(s.Error)))
			}
			if !c.common.json {
				t.print(c.Out)
			}
			if failed > 0 {
				return admin.Errorf(admin.KindFailed, "mend what is named above, then try again", "%d of %d failed", failed, len(sent))
			}
			if !c.common.json {
				fmt.Fprintln(c.Out, "look whether it arrived")
			}
			return nil
		},
	}
}

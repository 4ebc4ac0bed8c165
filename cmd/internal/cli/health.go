package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/spool"
)

func newHealth(c *command) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Whether the node takes and keeps mail, for watchdogs",
		Long: `Whether the node takes mail and can keep it. Exit code 0 when it does, 1 when it doesn't, 3 when it
does not answer. A primary that is down doesn't matter here: that is when the node has to be well.`,
		Example: `  restante health
  HEALTHCHECK CMD ["/restante", "health"]`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			s, err := client.Status(ctx)
			if ctx.Err() != nil && cmd.Context().Err() == nil {
				return admin.Errorf(admin.KindUnreachable, "look at its log", "the node did not answer within %s", spool.ExactSpan(timeout))
			}
			if err != nil {
				return err
			}
			if c.common.json {
				if err := c.printJSON(map[string]any{"ready": s.Ready, "reasons": s.Reasons}); err != nil {
					return err
				}
			} else if s.Ready {
				fmt.Fprintln(c.Out, "ready")
			}
			if !s.Ready {
				return admin.Errorf(admin.KindFailed, "see `restante status`", "not ready: %s", strings.Join(s.Reasons, "; "))
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	return cmd
}

package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
)

func newDev(c *command) *cobra.Command {
	return group("dev", "Play with the stand-in primary of `serve --dev`",
		`  restante dev primary stop
  restante dev primary start
  restante dev primary list`,
		group("primary", "Stop, start and look into the stand-in primary", `  restante dev primary stop`,
			newDevPrimary(c, "stop", "Stop the stand-in primary: an outage begins"),
			newDevPrimary(c, "start", "Start it again: what was kept is handed over"),
			newDevPrimary(c, "list", "List what it has received")))
}

func newDevPrimary(c *command, do, short string) *cobra.Command {
	return &cobra.Command{
		Use:     do,
		Short:   short,
		Example: "  restante dev primary " + do,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			p, err := client.Primary(cmd.Context(), do)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(p)
			}
			c.printPrimary(p, do)
			return nil
		},
	}
}

func (e *Env) printPrimary(p *admin.DevPrimary, do string) {
	state, style := "stopped", styleRed
	if p.Running {
		state, style = "running", styleGreen
	}
	fmt.Fprintf(e.Out, "stand-in primary %s   %s   %s in %s\n", p.Address, e.paint(style, state), plural(int64(p.Count), "message"), p.Maildir)
	if do != "list" {
		return
	}
	t := table{env: e, indent: "  "}
	for _, m := range p.Messages {
		t.add(col(m.Time.Local().Format(time.TimeOnly)), cell{text: octets(m.Size), right: true}, col(clean(m.From)), col(clean(m.Subject)))
	}
	t.print(e.Out)
}

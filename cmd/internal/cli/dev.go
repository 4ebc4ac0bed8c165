package cli

import (
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
)

func newDev(c *command) *cobra.Command {
	return group("dev", "Play with `serve --dev`: send mail, stop and start its stand-in primary",
		`  restante dev primary stop
  restante dev send --count 20
  restante dev primary start`,
		newDevSend(c),
		group("primary", "Stop, start and look into the stand-in primary", `  restante dev primary stop`,
			newDevPrimary(c, "stop", "Stop the stand-in primary: an outage begins"),
			newDevPrimary(c, "start", "Start the stand-in primary again: what was kept is handed over"),
			newDevPrimary(c, "list", "List what the stand-in primary has received")))
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

func newDevSend(c *command) *cobra.Command {
	var from, to string
	var count int
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Send messages to the node, as another mail server would",
		Long: `Send messages to the node, as another mail server would: letters, newsletters, an invoice, an invitation, a
question to info@, a fraud and more, one after the other.`,
		Example: `  restante dev send
  restante dev send --count 20 --to you@example.test`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			s, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if !s.Dev {
				return admin.Errorf(admin.KindUsage, "use a mail client; this command is for `restante serve --dev`", "this node takes real mail")
			}
			replies, err := sendTest(s.SMTP.Listen[0], from, to, count)
			if err != nil {
				return admin.Errorf(admin.KindFailed, "see `restante status`", "message %d was not taken: %w", len(replies)+1, err)
			}
			if c.common.json {
				return c.printJSON(map[string]any{"sent": len(replies), "replies": replies})
			}
			fmt.Fprintf(c.Out, "%s to %s taken, the last with: %s\n", plural(int64(len(replies)), "message"), to, clean(replies[len(replies)-1]))
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the sender (default: one that fits each message)")
	cmd.Flags().StringVar(&to, "to", "you@"+config.DevDomain, "the recipient")
	cmd.Flags().IntVar(&count, "count", 1, "how many")
	return cmd
}

// sendTest sends small messages over one connection and returns the reply to each.
func sendTest(addr, from, to string, count int) ([]string, error) {
	conn, err := textproto.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, _, err := conn.ReadResponse(220); err != nil {
		return nil, err
	}
	say := func(code int, format string, args ...any) (string, error) {
		if err := conn.PrintfLine(format, args...); err != nil {
			return "", err
		}
		got, text, err := conn.ReadResponse(code)
		return fmt.Sprintf("%d %s", got, text), err
	}
	if _, err := say(250, "EHLO localhost"); err != nil {
		return nil, err
	}
	var replies []string
	all := samples()
	for i := range max(count, 1) {
		one := all[i%len(all)]
		rcpt := to
		if _, domain, ok := strings.Cut(to, "@"); ok && one.To != "" {
			rcpt = one.To + "@" + domain
		}
		if from != "" {
			one.From, one.Name = from, ""
		}
		for _, line := range []string{"MAIL FROM:<" + one.From + "> BODY=8BITMIME", "RCPT TO:<" + rcpt + ">"} {
			if _, err := say(250, "%s", line); err != nil {
				return replies, err
			}
		}
		if _, err := say(354, "DATA"); err != nil {
			return replies, err
		}
		w := conn.DotWriter()
		if _, err := io.WriteString(w, one.message(rcpt, i, time.Now())); err != nil {
			return replies, err
		}
		if err := w.Close(); err != nil {
			return replies, err
		}
		code, text, err := conn.ReadResponse(250)
		if err != nil {
			return replies, err
		}
		replies = append(replies, fmt.Sprintf("%d %s", code, text))
	}
	_, err = say(221, "QUIT")
	return replies, err
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

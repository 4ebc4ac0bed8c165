package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/relay/submit"
	"restante/spool"
)

func newSending(c *command) *cobra.Command {
	return group("sending", "See whether people can send, and stop an account or everybody", `  restante sending status
  restante sending stop anna@example.com --reason "phished"
  restante sending allow anna@example.com`, newSendingStatus(c), newSendingSwitch(c, true), newSendingSwitch(c, false))
}

func newSendingStatus(c *command) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Whether people can send, and what waits",
		Long: `Whether people can send, and what waits: the smarthost, the submission servers of domains, who is stopped.
Exit code 4 when a server isn't up, or everybody is stopped.`,
		Example: `  restante sending status`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			s, err := client.Sending(cmd.Context())
			if err != nil {
				return err
			}
			if c.common.json {
				err = c.printJSON(s)
			} else {
				c.printSending(s, time.Now())
			}
			if err == nil && !sendingWell(s) {
				return errAttention
			}
			return err
		},
	}
}

func sendingWell(s *submit.Status) bool {
	for _, x := range s.Servers {
		if x.State != "up" {
			return false
		}
	}
	return len(s.Stopped) == 0 || s.Stopped[0].Account != ""
}

func (e *Env) printSending(s *submit.Status, now time.Time) {
	t := table{env: e, whole: true}
	if len(s.Servers) == 0 || s.Servers[0].Domain != spool.Smarthost {
		t.add(col("smarthost"), styled(styleAmber, "none"), col("people can write to hosted domains only: write [smarthost] host in the configuration"))
	}
	for _, x := range s.Servers {
		name := "submission for " + x.Domain
		if x.Domain == spool.Smarthost {
			name = "smarthost"
		}
		state, style := stateWord(string(x.State))
		text := x.Address
		if x.State != "up" {
			text += fmt.Sprintf("   since %s (%s)   %s", clock(x.Since, now), span(now.Sub(x.Since)), whyNoServer(x.Reason))
		}
		t.add(col(name), styled(style, state), col(text))
	}
	for _, x := range s.Stopped {
		name := x.Account
		if name == "" {
			name = "everybody"
		}
		text := fmt.Sprintf("since %s by %s", clock(x.Time, now), x.By)
		if x.Reason != "" && x.Reason != "stopped by "+x.By {
			text += ": " + clean(x.Reason)
		}
		t.add(col(name), styled(styleRed, "STOPPED"), col(text))
	}
	waits := "nothing waits for the smarthost"
	if s.Pending > 0 {
		waits = plural(s.Pending, "pair") + " of message and recipient wait, the oldest for " + span(now.Sub(s.Oldest))
	}
	t.add(col("last 24 h"), col(""), col(tallyLine(s.LastDay)+"; "+waits))
	t.print(e.Out)
}

// whyNoServer is why a smarthost or submission server can't be used, with what to do where that is known.
func whyNoServer(reason string) string {
	why := clean(admin.Brief(reason))
	if strings.HasPrefix(reason, "auth: ") {
		why += " -> mend its user and password in the configuration, then restante reload"
	}
	return why
}

// tallyLine is "17 sent, 16 delivered, 1 bounced".
func tallyLine(t submit.Tally) string {
	parts := []string{thousands(t.Sent) + " sent"}
	for _, x := range []struct {
		n    int64
		what string
	}{{t.Delivered, "delivered"}, {t.Pending, "pending"}, {t.Parked, "parked"}, {t.Bounced, "bounced"}, {t.Removed, "taken back"}} {
		if x.n > 0 || x.what == "delivered" && t.Sent > 0 {
			parts = append(parts, thousands(x.n)+" "+x.what)
		}
	}
	return strings.Join(parts, ", ")
}

func newSendingSwitch(c *command, stop bool) *cobra.Command {
	r := admin.SendingSwitch{Stop: stop}
	var all, yes bool
	cmd := &cobra.Command{
		Use:     "allow [<account>]",
		Short:   "Take a stop back",
		Long:    "Take a stop back, for an account or with --all the one for everybody. What waited is sent within seconds.",
		Example: "  restante sending allow anna@example.com\n  restante sending allow --all",
		Args:    argCount(0, 1, "the account"),
	}
	if stop {
		cmd.Use, cmd.Short = "stop [<account>]", "Stop an account, or everybody"
		cmd.Long = `Stop an account, or with --all everybody: nothing more can be sent, and what waits stays where it is, on every node
and until it is allowed again. Nothing is deleted; see it with: restante queue list --written --state pending`
		cmd.Example = "  restante sending stop anna@example.com --reason phished\n  restante sending stop --all"
		cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the other admins")
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "with --all: don't ask")
	}
	cmd.Flags().BoolVar(&all, "all", false, "everybody")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case all == (len(args) == 1):
			return admin.Errorf(admin.KindUsage, "name an account, or say --all", "whose sending?")
		case !all:
			r.Account = args[0]
		case stop:
			if err := c.confirm(yes, "Stop sending for everybody"); err != nil {
				return err
			}
		}
		client, err := c.client()
		if err != nil {
			return err
		}
		s, err := client.SendingSwitch(cmd.Context(), r)
		if err != nil {
			return err
		}
		if c.common.json {
			return c.printJSON(s)
		}
		c.printSending(s, time.Now())
		if stop && !all {
			if _, err := client.User(cmd.Context(), r.Account); err != nil && admin.AsError(err).Kind == admin.KindNotFound {
				fmt.Fprintf(c.Err, "nobody has the address %s now: is it written right? See restante user list\n", clean(r.Account))
			}
		}
		return nil
	}
	return cmd
}

// sendingWord is how sending stands in a word.
func sendingWord(s *submit.Status) (word, style string) {
	if len(s.Stopped) > 0 && s.Stopped[0].Account == "" {
		return "STOPPED", styleRed
	}
	for _, x := range s.Servers {
		if x.State != "up" {
			return stateWord(string(x.State))
		}
	}
	return "open", styleGreen
}

// sendingLine is the rest of it: what is wrong where, else the smarthost, and what waits.
func sendingLine(s *submit.Status, now time.Time) string {
	var parts []string
	for _, x := range s.Servers {
		switch {
		case x.State != "up":
			parts = append(parts, x.Address+"  "+whyNoServer(x.Reason))
		case x.Domain == spool.Smarthost:
			parts = append(parts, x.Address)
		}
	}
	if s.LastDay.Sent > 0 {
		parts = append(parts, "last 24 h: "+tallyLine(s.LastDay))
	}
	if s.Pending > 0 {
		parts = append(parts, fmt.Sprintf("waiting %s, oldest %s", thousands(s.Pending), span(now.Sub(s.Oldest))))
	}
	if n := len(s.Stopped); n > 0 {
		parts = append(parts, thousands(int64(n))+" stopped -> restante sending status")
	}
	return strings.Join(parts, "   ")
}

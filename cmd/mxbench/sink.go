package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/relay/sink"
)

func sinkCommand() *cobra.Command {
	var (
		listen      string
		fourth      float64
		fifth       float64
		delay       time.Duration
		connections int
		before      float64
		after       float64
	)
	c := &cobra.Command{
		Use:   "sink",
		Short: "Take mail as a primary with faults would, and count it",
		Example: `  mxbench sink --listen 127.0.0.1:2600
  mxbench sink --refuse-4xx 0.1 --drop-after-dot 0.01 --max-connections 5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rule := func(rate float64, r sink.Rule) []sink.Rule {
				r.Rate = rate
				if rate <= 0 {
					return nil
				}
				return []sink.Rule{r}
			}
			faults := sink.Faults{MaxConnections: connections, Delay: delay}
			faults.Rules = append(faults.Rules, rule(fourth, sink.Rule{Stage: sink.StageDot, Reply: "451 4.3.0 not now"})...)
			faults.Rules = append(faults.Rules, rule(fifth, sink.Rule{Stage: sink.StageDot, Reply: "550 5.7.1 never"})...)
			faults.Rules = append(faults.Rules, rule(before, sink.Rule{Stage: sink.StageDot, Drop: sink.DropBefore})...)
			faults.Rules = append(faults.Rules, rule(after, sink.Rule{Stage: sink.StageDot, Drop: sink.DropAfter})...)
			s := sink.New(sink.Options{Addr: listen, Faults: faults})
			if err := s.Start(); err != nil {
				return err
			}
			defer s.Stop()
			fmt.Fprintln(cmd.OutOrStdout(), "listening on", s.Addr())
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			var last sink.Stats
			for {
				select {
				case <-cmd.Context().Done():
					return nil
				case <-tick.C:
				}
				if now := s.Stats(); now != last {
					fmt.Fprintf(cmd.OutOrStdout(), "messages %d (%d/s)  refused %d  dropped %d  connections %d\n",
						now.Messages, now.Messages-last.Messages, now.Refused, now.Dropped, now.Current)
					last = now
				}
			}
		},
	}
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:2600", "host:port")
	f.Float64Var(&fourth, "refuse-4xx", 0, "share of messages answered 451 at the dot")
	f.Float64Var(&fifth, "refuse-5xx", 0, "share of messages answered 550 at the dot")
	f.Float64Var(&before, "drop-before-dot", 0, "share of messages whose connection is cut before they are taken")
	f.Float64Var(&after, "drop-after-dot", 0, "share of messages whose connection is cut after they were taken, before the reply")
	f.IntVar(&connections, "max-connections", 0, "answer 421 above this many connections (default: no limit)")
	f.DurationVar(&delay, "delay", 0, "wait before each group of replies")
	f.SortFlags = false
	c.Long = strings.TrimSpace(`
Takes every message and keeps none. A line is printed each second in which something came. The faults are drawn
for each message by chance, at the rates given.`)
	return c
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/load"
)

func sendCommand() *cobra.Command {
	o := load.SendOptions{}
	var record string
	c := &cobra.Command{
		Use:   "send HOST:PORT",
		Short: "Send messages as many MTAs at once would",
		Long: `Sends numbered messages, each with the hash of its body in its header, over many sessions at once, pipelining where
that is offered. With --retry a message that was deferred or cut off is sent again, as an MTA does. With --record
every attempt is written as one line of JSON: its number, the last reply, and whether the final dot had gone out.`,
		Example: `  mxbench send 127.0.0.1:2525 --messages 10000 --sessions 50 --reuse
  mxbench send 127.0.0.1:2525 --messages 1000 --retry 1s --record replies.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Addr = args[0]
			if record != "" {
				f, err := os.Create(record)
				if err != nil {
					return err
				}
				var mu sync.Mutex
				var unwritten error
				enc := json.NewEncoder(f)
				o.Record = func(a load.Attempt) {
					mu.Lock()
					defer mu.Unlock()
					if unwritten == nil {
						unwritten = enc.Encode(a)
					}
				}
				defer func() { err = errors.Join(err, unwritten, f.Close()) }()
			}
			sent := load.Send(cmd.Context(), o)
			fmt.Fprintln(cmd.OutOrStdout(), sent)
			if sent.GaveUp > 0 {
				return fmt.Errorf("%d messages were neither accepted nor refused", sent.GaveUp)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Run, "run", fmt.Sprintf("r%x", time.Now().Unix()), "name of this load, in each message")
	f.IntVar(&o.Messages, "messages", 1000, "how many messages")
	f.IntVar(&o.First, "first", 0, "number of the first")
	f.IntVar(&o.Size, "size", 4096, "octets of each message")
	f.IntVar(&o.Sessions, "sessions", 50, "connections at once")
	f.BoolVar(&o.Reuse, "reuse", false, "send many messages over each connection")
	f.DurationVar(&o.Retry, "retry", 0, "try deferred messages again after this long (default: never)")
	f.StringVar(&o.From, "from", "load@sender.test", "reverse-path")
	f.StringVar(&o.To, "to", "user@example.test", "recipient")
	f.StringVar(&record, "record", "", "file for every attempt, one line of JSON each")
	return c
}

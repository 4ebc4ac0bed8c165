package main

import (
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/load"
)

func linkCommand() *cobra.Command {
	var (
		listen, to           string
		delay, every, break_ time.Duration
	)
	c := &cobra.Command{
		Use:   "link",
		Short: "Stand in for a slow or broken line between two programs",
		Long:  `Relays TCP. Octets arrive --delay after they were sent, in each direction. With --break-every the line is cut again and again, for --break-for.`,
		Example: `  mxbench link --listen 127.0.0.1:2601 --to 127.0.0.1:2600 --delay 25ms
  mxbench link --to 127.0.0.1:2600 --break-every 10s --break-for 2s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "relaying", l.Addr(), "to", to)
			k := &load.Link{To: to, Delay: delay}
			if every > 0 {
				go func() {
					for {
						for _, step := range []struct {
							after time.Duration
							do    func()
						}{{every, k.Break}, {break_, k.Mend}} {
							select {
							case <-time.After(step.after):
								step.do()
							case <-cmd.Context().Done():
								return
							}
						}
					}
				}()
			}
			return k.Serve(cmd.Context(), l)
		},
	}
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:2601", "host:port")
	f.StringVar(&to, "to", "127.0.0.1:2600", "host:port at the other end")
	f.DurationVar(&delay, "delay", 0, "each way; a round trip takes twice as long")
	f.DurationVar(&every, "break-every", 0, "cut the line this often (default: never)")
	f.DurationVar(&break_, "break-for", time.Second, "for this long")
	return c
}

// Command mxbench is the load tool behind Restante's benchmarks: it sends mail as many MTAs at once would, takes
// it as a primary with faults of your choice, stands in for a slow or broken line, and measures Restante and
// Postfix side by side.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "mxbench",
		Short:         "Load, faults and comparison for a backup MX",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(sendCommand(), sinkCommand(), linkCommand(), compareCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mxbench:", err)
		os.Exit(1)
	}
}

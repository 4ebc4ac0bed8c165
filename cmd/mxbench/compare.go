package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
)

// comparison is one run of `mxbench compare`.
type comparison struct {
	binary   string
	dir      string
	messages int
	kept     int
	runs     int
	size     int
	out      io.Writer
	rows     [][]string
}

// maker starts a system.
type maker func(ctx context.Context, c *comparison) (system, error)

// measure is one figure of one system, got anew at each call.
type measure func(ctx context.Context, start maker) (float64, error)

func compareCommand() *cobra.Command {
	c := &comparison{}
	var only string
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Measure Restante beside Postfix as backup MX, on this machine, in one run",
		Long: `Starts Postfix and Restante by turns, each as backup MX of example.test in a temporary folder of the same disk, with
the same load while the primary is down, and then lets it hand over to a sink. Each figure is the median of --runs.
Needs root and Debian's postfix; the part on S3 needs versitygw. Nothing of the machine's own Postfix is touched.`,
		Example: `  go run ./cmd/mxbench compare
  go run ./cmd/mxbench compare --runs 1 --messages 2000 --only accept`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			c.out = cmd.OutOrStdout()
			if c.dir, err = os.MkdirTemp("", "mxbench-"); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
			if c.binary, err = node.Build(ctx, c.dir); err != nil {
				return err
			}
			for _, part := range []struct {
				name string
				run  func(context.Context) error
			}{
				{"accept", c.accept}, {"border", c.border}, {"drain", c.drain}, {"line", c.line}, {"s3", c.s3}, {"crowd", c.crowd}, {"idle", c.idle}, {"million", c.million},
			} {
				if only == "" && (part.name == "million" || part.name == "idle") || only != "" && !strings.Contains(only, part.name) {
					continue
				}
				if err := part.run(ctx); err != nil {
					return fmt.Errorf("%s: %w", part.name, err)
				}
			}
			return c.print()
		},
	}
	f := cmd.Flags()
	f.IntVar(&c.messages, "messages", 10000, "messages of the main load; the slower figures take a part of them")
	f.IntVar(&c.runs, "runs", 3, "how often each figure is measured")
	f.IntVar(&c.size, "size", 4096, "octets of a message")
	f.StringVar(&only, "only", "", "parts to run: accept, border, drain, line, s3, crowd, idle, million (default: all but the last two, which take long)")
	f.IntVar(&c.kept, "kept", 1_000_000, "messages of the part million, which takes some ten minutes")
	return cmd
}

func (c *comparison) print() error {
	fmt.Fprintf(c.out, "\n%d cores, %s, messages of %d octets, median of %d\n\n", runtime.NumCPU(), runtime.Version(), c.size, c.runs)
	w := tabwriter.NewWriter(c.out, 0, 0, 3, ' ', 0)
	for _, row := range c.rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func (c *comparison) row(cells ...string) {
	if len(c.rows) == 0 {
		c.rows = append(c.rows, []string{"", "Postfix", "Restante", "ratio"})
	}
	c.rows = append(c.rows, cells)
	fmt.Fprintln(c.out, strings.Join(cells, "  "))
}

// sideBySide measures both by turns and adds a row with the ratio of the medians.
func (c *comparison) sideBySide(ctx context.Context, what string, m measure) error {
	return c.beside(ctx, what, newRestante, m)
}

// beside does so with Restante set up in a way of its own.
func (c *comparison) beside(ctx context.Context, what string, restante maker, m measure) error {
	var figures [2][]float64
	for range c.runs {
		for i, start := range []maker{newPostfix, restante} {
			v, err := m(ctx, start)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			figures[i] = append(figures[i], v)
		}
	}
	p, r := median(figures[0]), median(figures[1])
	c.row(what, fmt.Sprintf("%.0f/s", p), fmt.Sprintf("%.0f/s", r), fmt.Sprintf("%.1fx", r/p))
	return nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func (c *comparison) load(addr string, messages, sessions int, reuse bool) load.SendOptions {
	o := load.SendOptions{Addr: addr, Run: "bench", Messages: messages, Size: c.size, Sessions: sessions, Reuse: reuse, Retry: time.Second}
	o.Made = o.Make()
	return o
}

// take sends to a system whose primary is down and returns accepted messages a second.
func (c *comparison) take(ctx context.Context, s system, messages, sessions int, reuse bool) (float64, error) {
	sent := load.Send(ctx, c.load(s.addr(), messages, sessions, reuse))
	if int(sent.Accepted) != messages {
		return 0, fmt.Errorf("of %d messages: %v", messages, sent)
	}
	return sent.Rate(), nil
}

func (c *comparison) accept(ctx context.Context) error {
	for _, p := range []struct {
		what               string
		messages, sessions int
		reuse              bool
	}{
		{"accepted, 50 sessions, connections reused", c.messages, 50, true},
		{"accepted, 50 sessions, a connection each", c.messages / 2, 50, false},
		{"accepted, 1 session", c.messages / 5, 1, true},
	} {
		err := c.sideBySide(ctx, p.what, func(ctx context.Context, start maker) (rate float64, err error) {
			s, err := start(ctx, c)
			if err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, s.remove()) }()
			return c.take(ctx, s, p.messages, p.sessions, p.reuse)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) drain(ctx context.Context) error {
	return c.sideBySide(ctx, "handed over to a sink", func(ctx context.Context, start maker) (float64, error) {
		return c.handOver(ctx, start, c.messages, 0)
	})
}

func (c *comparison) line(ctx context.Context) error {
	return c.sideBySide(ctx, "handed over across a 50 ms round trip, 20 connections", func(ctx context.Context, start maker) (float64, error) {
		return c.handOver(ctx, start, c.messages/4, 25*time.Millisecond)
	})
}

// handOver fills a system while its primary is down, brings the primary back behind a line with this delay each way, and
// returns messages a second from the first to the last that the primary takes.
func (c *comparison) handOver(ctx context.Context, start maker, messages int, delay time.Duration) (rate float64, err error) {
	s, err := start(ctx, c)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	if _, err := c.take(ctx, s, messages, 50, true); err != nil {
		return 0, err
	}
	return s.primary().back(ctx, messages, delay, s.flush)
}

// tempDir returns a new folder of this run that every user may enter.
func (c *comparison) tempDir() (string, error) {
	if err := os.Chmod(c.dir, 0o755); err != nil {
		return "", err
	}
	d, err := os.MkdirTemp(c.dir, "")
	if err != nil {
		return "", err
	}
	return filepath.Join(d, "node"), nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/relay/sink"
	"restante/spool/blob"
	"restante/spool/blob/s3test"
)

// onBucket runs f with a node that keeps its mail in a bucket on this machine.
func (c *comparison) onBucket(ctx context.Context, f func(*restanteMX) error) (err error) {
	dir, err := os.MkdirTemp(c.dir, "s3-")
	if err != nil {
		return err
	}
	server, err := s3test.Launch(dir)
	if err != nil {
		return err
	}
	defer server.Stop()
	s, err := startRestante(ctx, c, node.Options{Store: server.URL("mail"), Env: server.Env()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	return f(s)
}

// s3 counts what mail costs in a bucket.
func (c *comparison) s3(ctx context.Context) error {
	const messages = 1000
	return c.onBucket(ctx, func(s *restanteMX) error {
		for _, sessions := range []int{50, 1} {
			before, err := s.n.Metric(ctx, "restante_spool_batches_total", `stream="mail"`)
			if err != nil {
				before = 0 // no batch yet
			}
			sent := load.Send(ctx, c.load(s.addr(), messages, sessions, true))
			if sent.Accepted != messages {
				return fmt.Errorf("of %d messages: %v", messages, sent)
			}
			after, err := s.n.Metric(ctx, "restante_spool_batches_total", `stream="mail"`)
			if err != nil {
				return err
			}
			c.row(fmt.Sprintf("bucket on this machine: 1,000 messages, %d sessions", sessions), "",
				fmt.Sprintf("%.0f/s, %.0f mail PUTs", sent.Rate(), after-before), "")
		}
		return nil
	})
}

// idle counts the requests of a node that has nothing to do, its primary being up, and what a month of them costs at S3's
// prices. It watches for as long as the rarest of them takes to come round.
func (c *comparison) idle(ctx context.Context) error {
	const settle, watch = 2 * time.Minute, 10 * time.Minute
	wait := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return c.onBucket(ctx, func(s *restanteMX) error {
		primary := sink.New(sink.Options{Addr: s.p.addr})
		if err := primary.Start(); err != nil {
			return err
		}
		defer primary.Stop()
		if err := wait(settle); err != nil {
			return err
		}
		bill := func() (b blob.Bill) {
			for _, op := range []struct {
				name string
				to   *int64
			}{{"put", &b.Puts}, {"list", &b.Lists}, {"prefixes", &b.Lists}, {"get", &b.Gets}} {
				n, err := s.n.Metric(ctx, "restante_store_calls_total", fmt.Sprintf("op=%q", op.name))
				if err != nil {
					n = 0 // none yet
				}
				*op.to += int64(n)
			}
			return b
		}
		first := bill()
		if err := wait(watch); err != nil {
			return err
		}
		spent := bill().Sub(first)
		month := spent.Dollars() * float64(30*24*time.Hour/watch)
		c.row("bucket, idle", "", fmt.Sprintf("%v in %v", spent, watch), fmt.Sprintf("$%.3f a month", month))
		return nil
	})
}

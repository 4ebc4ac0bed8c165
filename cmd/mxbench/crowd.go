package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
)

// idlers is how many clients connect and say nothing while mail flows.
const idlers = 10_000

// crowd measures how mail fares while 10,000 other clients hold connections open: with the sessions of the default
// configuration, of which there are fewer, and with so many that all can stay.
func (c *comparison) crowd(ctx context.Context) error {
	for _, sessions := range []int{2000, idlers + 2000} {
		var all []crowded
		for range c.runs {
			one, err := c.amongIdlers(ctx, sessions)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		slices.SortFunc(all, func(a, b crowded) int { return cmp.Compare(a.ratio(), b.ratio()) })
		m := all[len(all)/2]
		c.row(fmt.Sprintf("%d idle clients, %d sessions", idlers, sessions), "",
			fmt.Sprintf("p99 %.1f ms, without them %.1f ms; tried again %d; %d sent away; %d MiB", ms(m.among), ms(m.alone), m.again, m.away, m.rss>>20), fmt.Sprintf("%.1fx", m.ratio()))
	}
	return nil
}

// crowded is what one run has shown.
type crowded struct {
	alone, among time.Duration // 99th percentile of how long a message takes, without and with the crowd
	again        int           // messages that were put off at first
	away         int64         // idle clients sent away
	rss          int64
}

func (m crowded) ratio() float64 { return m.among.Seconds() / m.alone.Seconds() }

func (c *comparison) amongIdlers(ctx context.Context, sessions int) (m crowded, err error) {
	s, err := startRestante(ctx, c, node.Options{SMTP: fmt.Sprintf("max_sessions = %d\n", sessions)})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	if m.alone, _, err = c.latency(ctx, s); err != nil {
		return m, err
	}
	crowd := &load.Crowd{Addr: s.addr(), Clients: idlers, First: netip.MustParseAddr("127.10.0.1"), Again: 30 * time.Second}
	inside, stop := context.WithCancel(ctx)
	full, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- crowd.Run(inside, func() { close(full) }) }()
	defer func() { stop(); err = errors.Join(err, <-done) }()
	select {
	case <-full:
	case <-ctx.Done():
		return m, ctx.Err()
	}
	if m.among, m.again, err = c.latency(ctx, s); err != nil {
		return m, err
	}
	_, m.away = crowd.Counts()
	m.rss, err = s.n.PeakRSS()
	return m, err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// latency sends messages on 10 connections, a new one for each, and returns the 99th percentile of how long they took from connecting to the
// last reply, and how many had to be tried again.
func (c *comparison) latency(ctx context.Context, s system) (p99 time.Duration, again int, err error) {
	o := c.load(s.addr(), c.messages/5, 10, false)
	var mu sync.Mutex
	var took []time.Duration
	o.Record = func(a load.Attempt) {
		mu.Lock()
		defer mu.Unlock()
		if a.Code == 250 {
			took = append(took, a.Took)
		} else {
			again++
		}
	}
	if sent := load.Send(ctx, o); int(sent.Accepted) != o.Messages {
		return 0, 0, fmt.Errorf("of %d messages: %v", o.Messages, sent)
	}
	slices.Sort(took)
	return took[len(took)*99/100], again, nil
}

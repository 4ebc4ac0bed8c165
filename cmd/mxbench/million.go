package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
)

// million keeps very many messages, kills and starts the node, and brings the primary back: memory, and how long people wait.
func (c *comparison) million(ctx context.Context) (err error) {
	s, err := startRestante(ctx, c, node.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	sent := load.Send(ctx, load.SendOptions{Addr: s.addr(), Run: "million", Messages: c.kept, Size: 1024, Sessions: 50, Reuse: true, Retry: time.Second})
	if int(sent.Accepted) != c.kept {
		return fmt.Errorf("of %d messages: %v", c.kept, sent)
	}
	what := fmt.Sprintf("%d messages of 1 KB kept", c.kept)
	c.row(what, "", fmt.Sprintf("%.0f/s, slowest reply %v", sent.Rate(), sent.Slowest.Round(time.Millisecond)), "")
	patient, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	began := time.Now()
	if _, err := s.n.WaitStatus(patient, func(d node.Domain) bool { return d.Pending == int64(c.kept) }); err != nil {
		return err
	}
	c.row(what+": index caught up after", "", time.Since(began).Round(100*time.Millisecond).String(), "")
	keeping, err := s.n.PeakRSS()
	if err != nil {
		return err
	}
	if err := s.n.Kill(); err != nil {
		return err
	}
	began = time.Now()
	if err := s.n.Start(patient); err != nil {
		return err
	}
	c.row(what+": SMTP answers after kill and start in", "", time.Since(began).Round(time.Millisecond).String(), "")
	if _, err := s.n.WaitStatus(patient, func(d node.Domain) bool { return d.State == "down" && d.Pending == int64(c.kept) }); err != nil {
		return err
	}
	began = time.Now()
	drained, err := s.p.back(ctx, min(c.kept, 50_000), 0, s.flush)
	if err != nil {
		return err
	}
	c.row(what+": the first 50,000 handed over", "", fmt.Sprintf("%.0f/s", drained), "")
	s.p.mu.Lock()
	first := s.p.first.Sub(began)
	s.p.mu.Unlock()
	c.row(what+": first message at the primary after its return in (probe interval 1 s)", "", first.Round(time.Millisecond).String(), "")
	rss, err := s.n.PeakRSS()
	if err != nil {
		return err
	}
	c.row(what+": peak memory", "", fmt.Sprintf("%d MiB", max(keeping, rss)>>20), "")
	return nil
}

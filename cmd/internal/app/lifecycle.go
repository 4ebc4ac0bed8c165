package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// lifecycle stops what was started, last in first out. A stop is registered the moment a thing exists.
type lifecycle struct {
	log    *slog.Logger
	failed chan error

	mu    sync.Mutex
	stops []stop
}

type stop struct {
	name string
	f    func(context.Context) error
}

// add registers a stop.
func (l *lifecycle) add(name string, f func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stops = append(l.stops, stop{name, f})
}

// run runs f in the background until it is stopped. When f ends by itself with an error, the app has failed.
func (l *lifecycle) run(name string, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			select {
			case l.failed <- fmt.Errorf("%s: %w", name, err):
			default: // one failure is enough to stop
				l.log.Error("failed too", "part", name, "err", err)
			}
		}
	}()
	l.add(name, func(ctx context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
		}
		// The time was used up by others: this part has only just been told to end, and what it uses is closed next.
		grace := time.NewTimer(stopGrace)
		defer grace.Stop()
		select {
		case <-done:
			return nil
		case <-grace.C:
			return ctx.Err()
		}
	})
}

// stopGrace is what each part gets to end when the time for the whole stop is over.
const stopGrace = time.Second

// stop stops everything, also after an error, and joins the errors by name.
func (l *lifecycle) stop(ctx context.Context) error {
	l.mu.Lock()
	stops := l.stops
	l.stops = nil
	l.mu.Unlock()
	var all []error
	for i := len(stops) - 1; i >= 0; i-- {
		start := time.Now()
		err := stops[i].f(ctx)
		l.log.Debug("stopped", "part", stops[i].name, "took_ms", time.Since(start).Milliseconds(), "err", err)
		if err != nil {
			all = append(all, fmt.Errorf("stopping %s: %w", stops[i].name, err))
		}
	}
	return errors.Join(all...)
}

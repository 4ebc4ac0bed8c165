package app

import (
	"context"
	"fmt"
	"time"

	"restante/cmd/internal/notify"
	"restante/spool"
)

// strandedEvery is the time between two looks for mail that nobody would deliver.
const strandedEvery = time.Minute

// strandedLoop tells people of mail that is kept for domains that aren't in the configuration: a reload refuses to remove
// a domain with pending mail, but a transaction that began before it may still keep some.
func (a *App) strandedLoop(ctx context.Context) error {
	if err := a.spool.CaughtUp(ctx); err != nil {
		return nil //nolint:nilerr // the node stops
	}
	t := time.NewTicker(strandedEvery)
	defer t.Stop()
	told := map[string]bool{}
	for {
		if err := a.tellStranded(ctx, told); err != nil && ctx.Err() == nil {
			a.log.Warn("the index doesn't say whether mail is kept for domains that aren't configured", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// tellStranded tells once of each such domain.
func (a *App) tellStranded(ctx context.Context, told map[string]bool) error {
	c := a.cfg.Load()
	names, err := a.index.Domains(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := c.Domain(name); ok || name == spool.Smarthost { // relay/submit gives up on that by itself
			delete(told, name)
			continue
		}
		s, err := a.index.Summary(ctx, name)
		if err != nil {
			return err
		}
		if s.All.Pending == 0 {
			delete(told, name)
			continue
		}
		if told[name] {
			continue
		}
		told[name] = true
		text := fmt.Sprintf("Mail is kept for %s (%d pending), which is not in the configuration, so nobody delivers it. Put the domain back and reload, or remove it: restante queue list --domain %s", name, s.All.Pending, name)
		a.log.Warn(text)
		a.notifier.Send(notify.Notice{Kind: notify.Stranded, Domain: name, Text: text, Data: map[string]any{"pending": s.All.Pending}})
	}
	return nil
}

package replay

import (
	"context"
	"time"

	"restante/spool"
)

// dataStarted marks the events of a manual domain that an admin has started: it goes on after a restart, and on the
// other nodes.
const dataStarted = "started"

func startedData(started bool) map[string]any {
	if !started {
		return nil
	}
	return map[string]any{dataStarted: true}
}

// adoptStarts lets manual domains go on that an admin started before this process began, or on another node.
func (e *Engine) adoptStarts(ctx context.Context) {
	e.mu.Lock()
	var names []string
	for name, d := range e.domains {
		if d.Manual && !d.started {
			names = append(names, name)
		}
	}
	e.mu.Unlock()
	for _, name := range names {
		at, err := e.startedAt(ctx, name)
		if err != nil {
			e.log.Warn("the index doesn't say whether the replay of a manual domain was started", "domain", name, "error", err)
			continue
		}
		if at.IsZero() {
			continue
		}
		e.mu.Lock()
		d := e.domains[name]
		if d != nil && d.Manual && !d.started && at.After(d.pauseAt) && at.After(d.run.ended) {
			e.log.Info("replay of a manual domain goes on: it was started before", "domain", name, "started", at)
			d.started = true
			if d.group != nil {
				d.group.wakeFeeder()
			}
		}
		e.mu.Unlock()
	}
}

// startedAt returns when a manual domain was last known to be started, zero if it has had nothing pending since. A
// pair in its first round that was received before has been pending ever since, and no other kind proves it.
func (e *Engine) startedAt(ctx context.Context, domain string) (time.Time, error) {
	ev, ok, err := e.o.Index.Resumed(ctx, domain)
	if err == nil && !ok {
		ev, ok, err = e.o.Index.Paused(ctx, domain)
		ok = ok && ev.By == by // a pause of our own doesn't end what an admin started
	}
	if err != nil || !ok || ev.Data[dataStarted] != true {
		return time.Time{}, err
	}
	pairs, _, err := e.o.Index.Pending(ctx, domain, "", pageSize)
	if err != nil {
		return time.Time{}, err
	}
	for i := range pairs {
		if p := &pairs[i]; p.Round == 0 && p.State == spool.StatePending && p.Received.Before(ev.Time) {
			return ev.Time, nil
		}
	}
	return time.Time{}, nil
}

package app

import (
	"context"
	"fmt"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/notify"
	"restante/spool"
	"restante/spool/index"
)

// quarantined tells people of a message that waits for their release. It must not block.
func (a *App) quarantined(domains []string, e *spool.Entry) {
	for _, d := range domains {
		if !a.watch.mayTell(about{d, notify.Quarantined}, time.Now()) {
			continue
		}
		a.notifier.Send(notify.Notice{Kind: notify.Quarantined, Domain: d, Data: map[string]any{"entry": e.ID, "reason": e.Quarantine},
			Text: fmt.Sprintf("A message to %s is in quarantine: %s. See: restante queue show %s", d, admin.Brief(e.Quarantine), e.ID)})
	}
}

// quarantineStatus fills in how much of a domain's mail waits for a release.
func (b *backend) quarantineStatus(ctx context.Context, out *admin.DomainStatus) error {
	n, oldest, err := b.index.Quarantined(ctx, out.Name, "")
	if err != nil {
		return fmt.Errorf("quarantine of %s: %w", out.Name, err)
	}
	out.Quarantined, out.QuarantinedOldest = n, timeOrNil(oldest)
	return nil
}

// filterTroubles names the content filters that fail.
func (a *App) filterTroubles() []string {
	var list []string
	for _, s := range a.scan.Status() {
		if s.Up {
			continue
		}
		follows := "mail is taken without it, marked as not scanned"
		if s.Closed {
			follows = "mail is deferred"
		}
		list = append(list, fmt.Sprintf("%s at %s fails since %s, %s: %s", s.Name, s.Address, s.Since.Local().Format("2 Jan 15:04"), follows, admin.Brief(s.Failure)))
	}
	return list
}

// unreleased reports how many pairs of an outage are in quarantine: staff are told nothing of those.
func (p *picture) unreleased(ctx context.Context, o *index.Outage) (int64, error) {
	n, _, err := p.app.index.Quarantined(ctx, o.Domain, o.ID)
	return n, err
}

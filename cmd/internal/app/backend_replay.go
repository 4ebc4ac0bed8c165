package app

import (
	"context"
	"errors"
	"fmt"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/replay"
	"restante/spool"
	"restante/spool/index"
)

// hosted normalises a domain and checks that it is ours.
func (b *backend) hosted(domain string) (string, error) {
	name, err := config.ParseDomain(domain)
	if err != nil {
		return "", admin.Errorf(admin.KindUsage, "write for example --domain example.com", "%w", err)
	}
	return name, b.isHosted(name)
}

// ReplayStatus implements admin.Backend.
func (b *backend) ReplayStatus(ctx context.Context, domain string) ([]admin.Replay, error) {
	var names []string
	if domain != "" {
		name, err := b.hosted(domain)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	} else {
		c := b.cfg.Load()
		for i := range c.Domains {
			names = append(names, c.Domains[i].Name)
		}
	}
	list, reading := []admin.Replay{}, b.reading(ctx)
	for _, n := range names {
		s, err := b.engine.Status(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("replay of %s: %w", n, err)
		}
		r := admin.Replay{
			Domain: n, State: string(s.State), Reason: s.Reason, Done: s.Done, Total: s.Total, Delivered: s.Delivered, Pending: s.Pending,
			Parked: s.Parked, Deferred: s.Deferred, Lost: s.Lost, Unknown: s.Unknown, Rate: s.Rate, Connections: s.Connections,
			Left: s.Left.Seconds(), Next: s.Next, LastReply: s.LastReply, By: s.By, Reading: reading,
		}
		for _, p := range s.Recent {
			r.Recent = append(r.Recent, spool.Pair{Entry: p.Entry, Address: p.Address, Domain: n, State: spool.StateParked, Reply: p.Reply, Reason: p.Reason, Changed: p.Time})
		}
		list = append(list, r)
	}
	return list, nil
}

// ReplayStart implements admin.Backend.
func (b *backend) ReplayStart(ctx context.Context, by, domain string) error {
	name, err := b.hosted(domain)
	if err != nil {
		return err
	}
	return b.engine.Start(ctx, name, replay.StartOptions{By: by})
}

// ReplayPause implements admin.Backend.
func (b *backend) ReplayPause(ctx context.Context, by, domain, reason string) error {
	name, err := b.hosted(domain)
	if err != nil {
		return err
	}
	return b.engine.Pause(ctx, name, by, reason)
}

// ReplayResume implements admin.Backend.
func (b *backend) ReplayResume(ctx context.Context, by, domain string) error {
	name, err := b.hosted(domain)
	if err != nil {
		return err
	}
	return b.engine.Resume(ctx, name, by, "")
}

// ReplayRun implements admin.Backend.
func (b *backend) ReplayRun(ctx context.Context, by string, s admin.Selection, progress func(admin.Progress)) (*admin.RunResult, error) {
	sel := replay.Selection{
		Rcpt: s.Rcpt, Since: s.Since, Until: s.Until, IDs: s.IDs, Again: s.Again,
		Rate: float64(s.Rate), To: s.To, DryRun: s.DryRun, By: by,
	}
	if s.Domain != "" {
		name, err := b.hosted(s.Domain)
		if err != nil {
			return nil, err
		}
		sel.Domain = name
	}
	if s.To != "" { // its messages can be read there
		if err := b.mayRead(); err != nil {
			return nil, err
		}
	}
	out := &admin.RunResult{DryRun: s.DryRun}
	sum, err := b.engine.RunOnce(ctx, sel, func(p replay.Progress) {
		if s.DryRun && p.Entry != "" && len(out.Pairs) < mostListed {
			out.Pairs = append(out.Pairs, b.pair(ctx, p.Entry, p.Address))
		}
		if p.Outcome == "deferred" || p.Outcome == "lost" {
			out.Problem = p.Reply
		}
		progress(admin.Progress{Done: p.Delivered + p.Parked, Total: p.Selected, Parked: p.Parked, Note: p.Outcome})
	})
	switch {
	case errors.Is(err, index.ErrNotFound):
		return nil, admin.Errorf(admin.KindNotFound, "see `restante queue list --state all`", "%w", err)
	case err != nil:
		return nil, admin.Errorf(admin.KindFailed, "mend that and run it again: what was not delivered is still kept, see `restante queue list`", "%w", err)
	}
	out.Selected, out.Delivered, out.Parked, out.Deferred = sum.Selected, sum.Delivered, sum.Parked, sum.Deferred+sum.Lost
	out.Skipped, out.Octets = sum.Skipped, sum.Octets
	return out, nil
}

// pair is what the index knows of one pair; only its names when it doesn't.
func (b *backend) pair(ctx context.Context, entry, address string) spool.Pair {
	if v, err := b.index.Entry(ctx, entry); err == nil {
		for _, p := range v.Pairs {
			if p.Address == address {
				b.veil(&p)
				return p
			}
		}
	}
	return spool.Pair{Entry: entry, Address: address}
}

package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"restante/spool"
	"restante/spool/index"
	"restante/webmail/accounts"
	"restante/webmail/handover"
)

// When people get their hand-over mail is [webmail] handover_after; how often that is looked at, and after how long nobody is told
// any more.
const (
	handoverEvery = 5 * time.Second
	handoverLate  = 24 * time.Hour
)

// openedLate is how much later than its first message an outage may begin: it is opened once that is kept.
const openedLate = 10 * time.Second

// handovers mails each person, once after each outage, what was done in the webmail. Which node does it is settled by a claim
// for each mail, so that a node that is killed leaves at most one unwritten.
func (a *App) handovers(ctx context.Context) error {
	if a.web.accounts == nil {
		return nil
	}
	if _, err := a.keys.wait(ctx); err != nil {
		return nil //nolint:nilerr // the node stops
	}
	if err := a.spool.CaughtUp(ctx); err != nil {
		return nil //nolint:nilerr // as above
	}
	done := map[string]bool{} // outages whose mails are written; claims of mails that aren't
	t := time.NewTicker(handoverEvery)
	defer t.Stop()
	for {
		c := a.cfg.Load()
		for i := range c.Domains {
			if err := a.handOver(ctx, c.Domains[i].Name, done); err != nil && ctx.Err() == nil {
				a.log.Warn("hand-over mails aren't written yet", "domain", c.Domains[i].Name, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// handOver writes the mails of a domain's outages of which it is time. A short one may follow a long one within minutes.
func (a *App) handOver(ctx context.Context, domain string, done map[string]bool) error {
	wait := a.cfg.Load().Webmail.HandoverAfter.Std()
	if b := a.web.mail.Behind(); !b.Since.IsZero() {
		return nil // what was done isn't all known yet; the status says so
	}
	if s := a.picture.Domain(domain); !s.Up || s.Until.IsZero() || time.Since(s.Until) > handoverLate {
		return nil
	}
	list, err := a.index.Outages(ctx, domain)
	if err != nil {
		return err
	}
	var failed []error
	for i := len(list) - 1; i >= 0; i-- {
		o := &list[i]
		if ago := time.Since(o.Closed); o.Closed.IsZero() || done[o.ID] || ago < wait || ago > handoverLate {
			continue
		}
		var next time.Time
		if i > 0 {
			next = list[i-1].Opened.Add(-openedLate)
		}
		if err := a.abreast(ctx); err != nil {
			return errors.Join(append(failed, err)...)
		}
		failed = append(failed, a.handOverOutage(ctx, domain, o, next, done))
		done[o.ID] = failed[len(failed)-1] == nil
	}
	return errors.Join(failed...)
}

// abreast waits a moment until the webmail's database has what the index has: what people did until the end of the outage, and that
// they have an account.
func (a *App) abreast(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handoverEvery)
	defer cancel()
	if err := a.spool.Abreast(ctx); err != nil {
		return fmt.Errorf("the webmail's database is still being filled: %w", err)
	}
	return nil
}

// handOverOutage writes the mails of one outage. One that can't be written keeps nobody else's back.
func (a *App) handOverOutage(ctx context.Context, domain string, o *index.Outage, next time.Time, done map[string]bool) error {
	count := 0
	var failed []error
	for _, p := range a.web.accounts.All() {
		if p.Domain() != domain || p.Disabled || ctx.Err() != nil {
			continue
		}
		told, err := a.handOverTo(ctx, p, o, next, done)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.Address, err))
		}
		if told {
			count++
		}
	}
	if count > 0 {
		a.log.Info("hand-over mails are on their way", "outage", o.ID, "people", count)
	}
	return errors.Join(append(failed, ctx.Err())...)
}

// handOverTo writes one person's mail, unless that was done already or there is nothing to tell. What it has claimed and could not
// write yet stands in done.
func (a *App) handOverTo(ctx context.Context, p accounts.Account, o *index.Outage, next time.Time, done map[string]bool) (bool, error) {
	own, shared := a.web.accounts.Boxes(p.Address)
	r, err := handover.Collect(ctx, a.web.mail, p, own, shared, handover.Outage{
		Since: o.Opened.Add(-openedLate), Until: o.Closed, Next: next, ReadingUntil: o.Closed.Add(a.cfg.Load().Webmail.ReadingAfter.Std()), URL: a.addrs.Webmail,
		From: "postmaster@" + o.Domain, Now: time.Now(),
	})
	if err != nil || !r.Worth() {
		return false, err
	}
	raw, err := r.Build()
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256([]byte(o.ID + "\x00" + p.Address))
	name := "handover-" + hex.EncodeToString(sum[:16])
	if !done[name] {
		if first, err := a.spool.Claim(ctx, name); err != nil || !first {
			return false, err
		}
	}
	_, err = a.submit.Tell(ctx, p.Address, raw)
	done[name] = errors.Is(err, spool.ErrVoid) // it is ours, and nothing was kept
	return err == nil, err
}

package submit

import (
	"context"
	"time"

	"restante/relay/replay"
	"restante/spool"
	"restante/spool/index"
)

const (
	// expireEvery is the time between two looks for what waits for too long.
	expireEvery = 10 * time.Minute
	// expireLease is how long the lease is waited for: whoever holds it is delivering.
	expireLease = 20 * time.Second
	// tooLong begins the Reason of what could not be sent for Config.GiveUp, which follows.
	tooLong = "not delivered for "
)

// expire gives back what has waited for the smarthost for GiveUp while it could not be reached. What it puts off is given
// up by the engine. While an admin has stopped sending, nothing is given up.
func (s *Service) expire(ctx context.Context) error {
	if s.smarthostDown(ctx) == "" {
		return nil
	}
	if _, stopped, err := s.stopped(ctx, ""); stopped || err != nil {
		return err
	}
	giveUp := s.config().GiveUp
	old, err := s.tooOld(ctx, giveUp)
	if err != nil || len(old) == 0 {
		return err
	}
	lctx, cancel := context.WithTimeout(ctx, expireLease)
	defer cancel()
	lease, err := replay.FromSpool(s.o.Spool).Lease(lctx, replay.LeaseName(spool.Smarthost))
	if err != nil {
		s.log.Debug("what waits for too long is left to whoever delivers", "error", err)
		return nil
	}
	defer func() {
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			s.log.Info("a lease couldn't be given back; it ends by itself", "error", err)
		}
	}()
	if old, err = s.tooOld(ctx, giveUp); err != nil { // again, now that nobody else delivers
		return err
	}
	for len(old) > 0 {
		n := 1
		for n < len(old) && old[n].Pair.Entry == old[0].Pair.Entry {
			n++
		}
		if !lease.Valid() {
			return nil
		}
		if err := s.giveUp(ctx, old[:n], lease.Generation()); err != nil {
			return err
		}
		old = old[n:]
	}
	return nil
}

// giveUp bounces pairs of one entry.
func (s *Service) giveUp(ctx context.Context, us []replay.Undelivered, generation int64) error {
	bounced, err := s.bounce(ctx, us)
	if err != nil {
		return err
	}
	outcome := spool.Bounced
	if !bounced {
		outcome = spool.Parked
	}
	for _, u := range us {
		if err := s.o.Spool.Settle(spool.Event{Type: outcome, By: "submit", Entry: u.Pair.Entry, Rcpt: u.Pair.Rcpt, Round: u.Pair.Round,
			Reply: u.Reply, Reason: u.Reason, Generation: generation}); err != nil {
			return err
		}
	}
	return nil
}

// tooOld lists the pairs that have waited for the smarthost for giveUp, since they were kept or an admin tried them again.
func (s *Service) tooOld(ctx context.Context, giveUp time.Duration) ([]replay.Undelivered, error) {
	var list []replay.Undelivered
	now := time.Now()
	var after index.Cursor
	for {
		ps, next, err := s.o.Index.Pending(ctx, spool.Smarthost, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, p := range ps {
			since := p.Received
			if p.Round > 0 && p.Changed.After(since) {
				since = p.Changed
			}
			if now.Sub(since) >= giveUp {
				list = append(list, replay.Undelivered{Pair: p, Reply: p.Reply, Host: p.Host, Reason: tooLong + spell(giveUp)})
			}
		}
		if next == "" {
			return list, nil
		}
		after = next
	}
}

// spell is a duration as people say it, in its largest unit.
func spell(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return plural(int(d/(24*time.Hour)), "day")
	case d >= 2*time.Hour:
		return plural(int(d/time.Hour), "hour")
	case d >= 2*time.Minute:
		return plural(int(d/time.Minute), "minute")
	}
	return plural(int(d/time.Second), "second")
}

package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"restante/cmd/internal/admin"
	"restante/spool"
	"restante/spool/index"
)

const (
	mostListed = 1000             // pairs that a report lists though they weren't delivered
	readingFor = 5 * time.Second  // a report waits so long for an index that is still reading the store
	syncFor    = 10 * time.Second // and so long for what other nodes have just written
)

// Report implements admin.Backend. What was accepted is what the batches named; each state is counted from
// the pairs themselves, so unaccounted is 0 only when nothing is missing.
func (b *backend) Report(ctx context.Context, id string) (*admin.Report, error) {
	r, err := b.report(ctx, id)
	if err != nil || r.Unaccounted == 0 {
		return r, err
	}
	// An event of another node may have been read before the batch that it is about.
	again, cancel := context.WithTimeout(ctx, syncFor)
	defer cancel()
	if err := b.spool.Sync(again); err != nil {
		b.log.Warn("a report with something unaccounted could not be made anew", "outage", id, "err", err)
		return r, nil
	}
	return b.report(ctx, id)
}

func (b *backend) report(ctx context.Context, id string) (*admin.Report, error) {
	o, err := b.index.Outage(ctx, id)
	if errors.Is(err, index.ErrNotFound) {
		if err := b.hasRead(ctx); err != nil {
			return nil, err
		}
		return nil, admin.Errorf(admin.KindNotFound, "see `restante outage list`", "there is no outage %q", id)
	}
	if err != nil {
		return nil, fmt.Errorf("outage %s: %w", id, err)
	}
	r := &admin.Report{Outage: *o, NotDelivered: []spool.Pair{}, Chain: admin.ChainState{Head: headOf(o.Heads)}}
	end := o.Closed
	if end.IsZero() {
		end = time.Now()
	}
	r.Seconds = end.Sub(o.Opened).Seconds()
	following := b.watch.followErr()
	if following == nil {
		if err := b.hasRead(ctx); err != nil {
			if following = b.spool.Available(); following == nil {
				return nil, err
			}
		}
	}
	t, err := b.index.Tally(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("outage %s: %w", id, err)
	}
	r.Counts, r.Accepted, r.Unaccounted, r.Missing = t.Counts, t.Accepted(), t.Unaccounted, t.Missing
	r.Deleted, r.Recipients, r.Chain.Broken = t.Deleted, t.Recipients, t.Chain
	r.Chain.Verified = len(t.Chain) == 0 && following == nil
	if following != nil {
		r.Chain.Problem = following.Error()
	}
	b.unread(r)
	if r.Sent, err = b.submit.Tally(ctx, r.Domain, o.Opened, o.Closed); err != nil {
		return nil, fmt.Errorf("what was sent: %w", err)
	}
	if b.web.mail != nil {
		t, err := b.web.mail.Totals(ctx, r.Domain, o.Opened.Add(-openedLate), o.Closed)
		if err != nil {
			return nil, fmt.Errorf("what was read: %w", err)
		}
		r.Read, r.Readers = t.Read, t.Readers
	}
	return r, b.notDelivered(ctx, r)
}

// unread adds what can't be read for now: nobody knows whether it belongs to the outage.
func (b *backend) unread(r *admin.Report) {
	for _, t := range b.spool.Trouble() {
		why := "it can't be read for now: " + t.Err.Error()
		r.Chain.Verified = false
		r.Chain.Broken = append(r.Chain.Broken, index.Break{Key: t.Key, Why: why, Ledger: t.Ledger})
		if !t.Ledger {
			r.Missing = append(r.Missing, index.Missing{Key: t.Key, Why: why})
			r.Unaccounted = max(r.Unaccounted, 1)
			r.Accepted = r.Counts.Accepted() + r.Unaccounted
		}
	}
}

// hasRead refuses while the index still reads the store for the first time: what it hasn't read yet would look lost.
func (b *backend) hasRead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readingFor)
	defer cancel()
	if b.spool.CaughtUp(ctx) == nil {
		return nil
	}
	n, _ := b.index.Lag()
	return admin.Errorf(admin.KindFailed, "try again in a moment; `restante status` shows how far it is", "the index is still reading the store, %d batches are left: a report would not be whole", n)
}

// notDelivered lists the pairs that have not been delivered, those that want somebody first.
func (b *backend) notDelivered(ctx context.Context, r *admin.Report) error {
	for _, state := range []spool.PairState{spool.StateParked, spool.StateBounced, spool.StateExpired, spool.StateRemoved, spool.StatePending} {
		n := r.Counts.Of(state)
		if n == 0 {
			continue
		}
		room := mostListed - len(r.NotDelivered)
		if room == 0 {
			r.More = true
			return nil
		}
		pairs, next, err := b.index.List(ctx, index.Filter{Domain: r.Domain, Outage: r.ID, State: state, Limit: room})
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
		for i := range pairs {
			b.veil(&pairs[i])
		}
		r.NotDelivered = append(r.NotDelivered, pairs...)
		r.More = r.More || next != "" && n > int64(len(pairs))
	}
	return nil
}

// headOf is one hash over the heads of all streams, in their order.
func headOf(heads []index.Head) string {
	h := sha256.New()
	for _, x := range heads {
		fmt.Fprintf(h, "%t %s %d %s\n", x.Stream.Ledger, x.Stream.Name, x.Seq, x.Hash)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ReportPairs implements admin.Backend.
func (b *backend) ReportPairs(ctx context.Context, id string, f func(spool.Pair) error) error {
	return b.each(ctx, index.Filter{Outage: id}, func(p spool.Pair) error {
		b.veil(&p)
		return f(p)
	})
}

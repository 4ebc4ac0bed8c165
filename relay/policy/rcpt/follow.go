package rcpt

import (
	"context"
	"sync"
	"time"

	"restante/spool/index"
)

// How the memory is kept in step with the index.
const (
	followPause = time.Second      // between two looks
	listsPause  = 30 * time.Second // between two looks at lists when no address has changed
)

// Run follows the index and asks the primaries (call-ahead) until ctx ends.
func (d *Directory) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	if d.o.Primaries != nil {
		tasks.Go(func() { d.ahead(ctx) })
	}
	if d.o.Index == nil {
		<-ctx.Done()
		return nil
	}
	end := make(chan struct{}) // of the ledger
	tasks.Go(func() {
		if d.reading.Load() && d.o.CaughtUp(ctx) == nil {
			close(end)
		}
	})
	failing := false
	for {
		changed := d.o.Index.Changed()
		read := closed(end)
		err := d.follow(ctx)
		switch {
		case err == nil && read:
			d.reading.Store(false)
			end = nil
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			d.log.Warn("what changed of recipients can't be read from the index; what was known before counts", "error", err)
		}
		failing = err != nil
		wake := end
		if failing {
			wake = nil
		}
		timer := time.NewTimer(followPause)
		select {
		case <-timer.C:
		case <-wake:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		if failing {
			continue
		}
		timer.Reset(listsPause)
		select {
		case <-changed:
		case <-end:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// follow takes in what has changed in the index, page by page.
func (d *Directory) follow(ctx context.Context) error {
	if d.o.Index == nil {
		return nil
	}
	now, changed := d.now(), false
	for {
		before := d.mark
		if err := d.page(ctx, now); err != nil {
			return err
		}
		if d.mark == before {
			break
		}
		changed = true
	}
	if !changed && !d.listsAt.IsZero() && now.Sub(d.listsAt) < listsPause {
		return nil
	}
	lists, err := d.o.Index.RecipientLists(ctx)
	if err != nil {
		return err
	}
	d.listsAt = now
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range lists {
		d.listedLocked(l)
	}
	d.measureLocked()
	return nil
}

// page takes in the next of what has changed.
func (d *Directory) page(ctx context.Context, now time.Time) error {
	var changed []index.Recipient
	next, err := d.o.Index.Recipients(ctx, d.mark, func(r index.Recipient) error {
		changed = append(changed, r)
		return nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if next.Reset != d.mark.Reset {
		d.forgetLocked()
	}
	for i := range changed {
		d.changedLocked(&changed[i], now)
	}
	d.mark = next
	return nil
}

// forgetLocked drops what was read from an index that was emptied. What the configuration says stays.
func (d *Directory) forgetLocked() {
	for _, b := range d.books {
		for l, p := range b.people {
			for _, s := range b.names(p.in &^ bitConfig) {
				d.setLocked(b, l, s, false, "")
			}
		}
		clear(b.lists)
		clear(b.bad)
		clear(b.left)
	}
}

// changedLocked takes in one row of the index.
func (d *Directory) changedLocked(r *index.Recipient, now time.Time) {
	b := d.bookLocked(r.Domain)
	l, err := local(r.Domain, r.Address)
	if err != nil {
		return // of an address that was known before it is one that can't be taken any more
	}
	switch {
	case r.Source == "":
		d.setLocked(b, l, SourcePrimary, true, "")
	case r.Source != SourcePrimary:
		if !d.setLocked(b, l, r.Source, !r.Gone, r.Kind) {
			d.log.Warn("recipients of a source are passed over: there are too many sources", "domain", r.Domain, "source", r.Source)
		}
		b.lost(l, r.Gone, r.Kind, r.Time, now)
	case !r.Gone:
		delete(b.bad, l)
	case now.Sub(r.Time) < BadFor && (b.bad[l] == nil || b.bad[l].at.Before(r.Time)):
		b.bad[l] = &bad{at: r.Time, written: r.Time}
	}
}

// listedLocked takes in that a full list was taken in, here or by another node.
func (d *Directory) listedLocked(r index.RecipientList) {
	b := d.bookLocked(r.Domain)
	old, had := b.lists[r.Source]
	if had && !old.written.Before(r.Time) {
		return
	}
	next := list{count: r.Count, at: r.Taken, written: r.Time}
	if old.at.After(next.at) && old.count == next.count {
		next.at = old.at
	}
	b.lists[r.Source] = next
}

// measureLocked shows how many recipients are known, and how old lists are.
func (d *Directory) measureLocked() {
	for name, one := range d.domains {
		d.o.Metrics.known(name, len(one.people), len(one.bad))
		for source, l := range one.lists {
			if one.counted(source) {
				d.o.Metrics.listed(name, source, l.count, l.at)
			}
		}
	}
}

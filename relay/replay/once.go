package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/relay/replay/pace"
	"restante/spool"
	"restante/spool/batch"
	"restante/spool/blob"
	"restante/spool/index"
)

// once is one RunOnce: a group of its own, fed from a selection. Guarded by Engine.mu, but for what
// says so.
type once struct {
	e        *Engine
	g        *group
	sel      Selection
	ctx      context.Context // of the workers
	workers  sync.WaitGroup
	sum      Summary
	open     int // jobs that are ready or under way
	refusals refusals
	failures int // connections that could not be made in a row
	err      error
	ended    bool
	began    time.Time
	leased   map[*domain]bool // by the caller's goroutine alone

	telling  sync.Mutex // one call of progress at a time
	progress func(Progress)
}

func refusesError(text string) error {
	return fmt.Errorf("the server refuses everything: %s; nothing of that was parked, all of it stays pending", text)
}

// RunOnce sends the pairs of a selection, each once, whatever backs off or is paused, and whether or
// not the primary counts as reachable: an admin asked for it. progress may be nil. It shares claims and
// leases with the engine's own work, so that nothing is sent twice; Run must be running. When ctx ends no
// further message is begun.
func (e *Engine) RunOnce(ctx context.Context, sel Selection, progress func(Progress)) (Summary, error) {
	if sel.To != "" && e.o.DialTo == nil {
		return Summary{}, errors.New("replay: no way to send to another host was given")
	}
	e.mu.Lock()
	running := e.running
	cfg := e.cfg
	e.mu.Unlock()
	if running == nil && !sel.DryRun {
		return Summary{}, errors.New("replay isn't running")
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	if sel.By == "" {
		sel.By = by
	}
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	o := &once{e: e, sel: sel, ctx: hard, progress: progress, began: time.Now(), leased: make(map[*domain]bool)}
	connections, limit := cfg.Connections, cfg.Rate
	if sel.Connections > 0 {
		connections = sel.Connections
	}
	if sel.Rate > 0 {
		limit = sel.Rate
	}
	o.g = &group{
		e: e, key: "run", once: o, wake: make(chan struct{}, 1), losers: make(map[ulid.ULID]*loser),
		pace: pace.New(paceConfig(cfg, connections, limit)),
	}
	err := o.run(ctx, cancel)
	e.mu.Lock()
	sum := o.summary()
	e.mu.Unlock()
	o.telling.Lock()
	progress(Progress{Summary: sum})
	o.telling.Unlock()
	return sum, err
}

func (o *once) run(ctx context.Context, cancel context.CancelFunc) error {
	e := o.e
	defer o.unlease()
	err := o.each(ctx, func(pairs []spool.Pair) error { return o.page(ctx, pairs) })
	if err == nil {
		err = o.drain(ctx, func() bool { return o.open == 0 })
	}
	e.mu.Lock()
	if o.err == nil {
		o.err = err
	}
	o.ended = true
	o.g.stop()
	e.mu.Unlock()
	ended := make(chan struct{})
	go func() { o.workers.Wait(); close(ended) }()
	timer := time.NewTimer(StopWait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		cancel()
		<-ended
	}
	return errors.Join(o.err, o.atEnd())
}

// atEnd ends the refusals that nothing else decided: they are parked when something was accepted, else
// they stay pending.
func (o *once) atEnd() error {
	e := o.e
	e.mu.Lock()
	waiting, proven := o.refusals.waiting, o.refusals.proven
	o.refusals.waiting = nil
	e.mu.Unlock()
	var park, again []refusal
	for _, f := range waiting {
		if f.pair.State != spool.StateDelivered && (proven || f.pair.Attempts+1 >= RefusedTimes) {
			park = append(park, f)
		} else { // also what stays delivered
			again = append(again, f)
		}
	}
	e.mu.Lock()
	o.sum.Parked += int64(len(park))
	o.sum.Deferred += int64(len(again))
	e.mu.Unlock()
	return e.resolve(park, again, time.Now())
}

// over reports that nothing more is to be sent.
func (o *once) over() bool { return o.err != nil || o.ended || o.ctx.Err() != nil }

func (o *once) abort(err error) {
	if o.err == nil {
		o.err = err
	}
	o.g.wakeFeeder()
}

// dialFailed counts connections that could not be made; after three in a row the run ends.
func (o *once) dialFailed(err error) {
	o.failures++
	if o.failures >= pace.LostRow {
		o.abort(fmt.Errorf("no connection, %d times in a row: %w", o.failures, err))
	}
}

func (o *once) skipped(n int) { o.sum.Skipped += int64(n) }

func (o *once) summary() Summary {
	s := o.sum
	s.Rate = float64(s.Delivered+s.Parked+s.Deferred) / max(time.Since(o.began).Seconds(), 0.001)
	s.Connections = o.g.pace.Connections()
	return s
}

// report counts the verdicts on a job and tells the caller.
func (o *once) report(j *job, vs []verdict) {
	e := o.e
	for i, v := range vs {
		e.mu.Lock()
		switch v.fate {
		case fateDelivered:
			o.sum.Delivered++
			o.failures = 0
		case fateDeferred:
			o.sum.Deferred++
		case fateLost, fateUnknown:
			o.sum.Lost++
		}
		p := Progress{Summary: o.summary(), Entry: j.pairs[i].Entry, Address: j.pairs[i].Address, Outcome: v.fate.String(), Reply: spool.Printable(v.reply.String())}
		e.mu.Unlock()
		if v.fate != fateAgain && v.fate != fateUnsent && v.fate != fateTurned {
			o.telling.Lock()
			o.progress(p)
			o.telling.Unlock()
		}
	}
}

// each calls f with the selected pairs, page by page, all pairs of an entry in the same page.
func (o *once) each(ctx context.Context, f func([]spool.Pair) error) error {
	if len(o.sel.IDs) > 0 {
		seen := make(map[string]bool)
		for _, id := range o.sel.IDs {
			v, err := o.e.o.Index.Entry(ctx, id)
			if err != nil {
				return fmt.Errorf("entry %s: %w", id, err)
			}
			if len(v.Pairs) == 0 || seen[v.Pairs[0].Entry] {
				continue
			}
			seen[v.Pairs[0].Entry] = true
			if err := f(v.Pairs); err != nil {
				return err
			}
		}
		return nil
	}
	filter := index.Filter{Domain: o.sel.Domain, Rcpt: o.sel.Rcpt, Since: o.sel.Since, Until: o.sel.Until, State: spool.StatePending, Limit: pageSize}
	if o.sel.Again {
		filter.State = "" // in one pass: else what the first delivered would be in the second
	}
	var buf []spool.Pair
	for {
		page, next, err := o.e.o.Index.List(ctx, filter)
		if err != nil {
			return err
		}
		buf = append(buf, page...)
		n := len(buf)
		if next != "" {
			// The last entry may go on in the next page.
			for n > 0 && buf[n-1].Entry == buf[len(buf)-1].Entry {
				n--
			}
		}
		if n > 0 {
			if err := f(buf[:n]); err != nil {
				return err
			}
			buf = slices.Clone(buf[n:])
		}
		if next == "" {
			return nil
		}
		filter.After = next
	}
}

// wants reports that a pair fits the selection.
func (o *once) wants(p *spool.Pair) bool {
	s := &o.sel
	switch {
	case p.State != spool.StatePending && !(s.Again && p.State == spool.StateDelivered),
		s.Domain != "" && p.Domain != s.Domain,
		s.Rcpt != "" && !strings.EqualFold(p.Address, s.Rcpt),
		!s.Since.IsZero() && p.Received.Before(s.Since),
		!s.Until.IsZero() && !p.Received.Before(s.Until):
		return false
	}
	return true
}

// page claims and sends one page of selected pairs.
func (o *once) page(ctx context.Context, pairs []spool.Pair) error {
	pairs = slices.DeleteFunc(slices.Clone(pairs), func(p spool.Pair) bool { return !o.wants(&p) })
	if o.sel.DryRun {
		return o.dry(pairs)
	}
	const chunk = 200
	for len(pairs) > 0 {
		n := min(chunk, len(pairs))
		for n < len(pairs) && pairs[n].Entry == pairs[n-1].Entry {
			n++
		}
		jobs, err := o.claim(ctx, pairs[:n])
		if err != nil {
			return err
		}
		for i, j := range jobs {
			if err := o.send(ctx, j); err != nil {
				o.e.mu.Lock()
				for _, j := range jobs[i:] {
					o.g.giveUp(j)
				}
				o.e.mu.Unlock()
				return err
			}
		}
		pairs = pairs[n:]
	}
	return nil
}

func (o *once) dry(pairs []spool.Pair) error {
	last := ""
	for _, p := range pairs {
		o.e.mu.Lock()
		if p.Address == "" { // it was erased
			o.sum.Skipped++
			o.e.mu.Unlock()
			continue
		}
		o.sum.Selected++
		if p.Entry != last {
			o.sum.Octets += p.Size
		}
		last = p.Entry
		sum := o.sum
		o.e.mu.Unlock()
		o.telling.Lock()
		o.progress(Progress{Summary: sum, Entry: p.Entry, Address: p.Address, Outcome: "selected"})
		o.telling.Unlock()
	}
	return nil
}

// claim makes jobs of pairs: claimed first and then looked up again, so that whatever the engine itself
// did meanwhile is seen. Pairs that were delivered before get their new round: for the primary it is recorded at once,
// and they are pending in it until it has them. Elsewhere only the outcome is recorded, so that whatever happens to
// this run they never become the primary's business again; until then they stay StateDelivered, see job.
func (o *once) claim(ctx context.Context, pairs []spool.Pair) (jobs []*job, err error) {
	e := o.e
	defer func() {
		if err != nil {
			e.mu.Lock()
			for _, j := range jobs {
				o.g.giveUp(j)
			}
			e.mu.Unlock()
			jobs = nil
		}
	}()
	var retried []spool.Event
	for len(pairs) > 0 {
		n := 1
		for n < len(pairs) && pairs[n].Entry == pairs[0].Entry && pairs[n].Domain == pairs[0].Domain {
			n++
		}
		j, evs, err := o.claimEntry(ctx, pairs[:n])
		if err != nil {
			return jobs, err
		}
		if j != nil {
			jobs, retried = append(jobs, j), append(retried, evs...)
		}
		pairs = pairs[n:]
	}
	if len(retried) > 0 {
		if err := e.o.Spool.Record(ctx, retried...); err != nil {
			return jobs, fmt.Errorf("the new round could not be recorded: %w", err)
		}
		if err := o.folded(ctx, retried[0], retried[len(retried)-1]); err != nil {
			return jobs, err
		}
	}
	return jobs, nil
}

// folded waits until the index knows of new rounds. Else it might show one as pending after its outcome
// was recorded, and after a scan in between had shown nothing, so that the claim was forgotten.
func (o *once) folded(ctx context.Context, evs ...spool.Event) error {
	for _, ev := range evs {
		for {
			changed := o.e.o.Index.Changed()
			v, err := o.e.o.Index.Entry(ctx, ev.Entry)
			if err != nil {
				return fmt.Errorf("entry %s: %w", ev.Entry, err)
			}
			if slices.ContainsFunc(v.Pairs, func(p spool.Pair) bool { return p.Rcpt == ev.Rcpt && p.Round >= ev.Round }) {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// lockEnded returns with e.mu held, or an error: when the index knows of what has just ended among the pairs of an entry,
// if such may be sent again. pairs get what it says by then.
func (o *once) lockEnded(ctx context.Context, d *domain, pairs []spool.Pair) error {
	e := o.e
	for {
		changed := e.o.Index.Changed()
		e.mu.Lock()
		if !o.sel.Again || !slices.ContainsFunc(pairs, func(p spool.Pair) bool {
			k, ok := keyOf(&p)
			return ok && d.claims.isSettled(k, p.Round) && (p.State == spool.StatePending || d.claims.m[k].round > int32(p.Round))
		}) {
			return nil
		}
		failed := e.failed
		e.mu.Unlock()
		if failed != nil {
			return errors.Join(errStopped, failed)
		}
		v, err := e.o.Index.Entry(ctx, pairs[0].Entry)
		if err != nil {
			return fmt.Errorf("entry %s: %w", pairs[0].Entry, err)
		}
		fresh := false
		for i, p := range pairs {
			if at := slices.IndexFunc(v.Pairs, func(q spool.Pair) bool { return q.Rcpt == p.Rcpt }); at >= 0 {
				fresh = fresh || v.Pairs[at].State != p.State || v.Pairs[at].Round != p.Round
				pairs[i] = v.Pairs[at]
			}
		}
		if fresh {
			continue
		}
		select {
		case <-changed:
		case <-time.After(time.Second): // e.failed wakes nobody here
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *once) claimEntry(ctx context.Context, pairs []spool.Pair) (*job, []spool.Event, error) {
	e := o.e
	d, lease, err := o.lease(ctx, pairs[0].Domain)
	if err != nil {
		return nil, nil, err
	}
	j := &job{d: d, lease: lease}
	if err := o.lockEnded(ctx, d, pairs); err != nil {
		return nil, nil, err
	}
	for _, p := range pairs {
		k, ok := keyOf(&p)
		if !ok || d.claims.isSettled(k, p.Round) && !o.sel.Again || !d.claims.force(k) {
			o.sum.Skipped++
			continue
		}
		j.pairs, j.keys = append(j.pairs, p), append(j.keys, k)
	}
	if len(j.pairs) == 0 {
		e.mu.Unlock()
		return nil, nil, nil
	}
	o.g.begun(d)
	e.mu.Unlock()
	v, err := e.o.Index.Entry(ctx, j.pairs[0].Entry)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		o.g.giveUp(j)
		return nil, nil, err
	}
	j.read = time.Now()
	var evs []spool.Event
	was, keys := j.pairs, j.keys
	j.pairs, j.keys = nil, nil
	for i, p := range was {
		at := slices.IndexFunc(v.Pairs, func(q spool.Pair) bool { return q.Rcpt == p.Rcpt })
		if at < 0 || v.Erased || !o.wants(&v.Pairs[at]) {
			d.claims.forget(keys[i])
			if at >= 0 && v.Pairs[at].State != spool.StatePending {
				d.claims.settle(keys[i], v.Pairs[at].Round, d.scan.no) // an older page may still show it
			}
			o.sum.Skipped++
			continue
		}
		p = v.Pairs[at]
		if p.State == spool.StateDelivered {
			p.Round++
			if o.sel.To == "" {
				p.State = spool.StatePending
				// without "again" a delivery of the round before would still win
				evs = append(evs, spool.Event{Type: spool.Retried, By: o.sel.By, Entry: p.Entry, Rcpt: p.Rcpt, Round: p.Round, Data: map[string]any{"again": true}})
			}
		}
		j.pairs, j.keys = append(j.pairs, p), append(j.keys, keys[i])
		o.sum.Selected++
	}
	if len(j.pairs) == 0 {
		j.keys = keys[:1]
		o.g.ended(j)
		return nil, nil, nil
	}
	return j, evs, nil
}

// lease waits for the lease of a domain and keeps it for the run.
func (o *once) lease(ctx context.Context, name string) (*domain, Lease, error) {
	e := o.e
	for {
		e.mu.Lock()
		d, err := e.domain(name)
		if err != nil {
			e.mu.Unlock()
			return nil, nil, err
		}
		if !o.leased[d] {
			o.leased[d] = true
			d.leaseUsers++
		}
		if e.failed != nil {
			err = errors.Join(errStopped, e.failed)
		} else if o.err != nil {
			err = o.err
		}
		if err == nil && e.hasLease(d) {
			l := d.lease
			e.mu.Unlock()
			return d, l, nil
		}
		e.mu.Unlock()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, nil, err
		}
		sleep(ctx, 20*time.Millisecond) // a lease takes a round trip to the store at least
	}
}

func (o *once) unlease() {
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	for d := range o.leased {
		d.leaseUsers--
		if d.gone {
			o.e.letGo(d)
			continue
		}
		if d.group != nil {
			d.rewind()
			d.group.wakeFeeder()
		}
	}
}

// send fetches a job's message and puts it into the ready queue, waiting for room.
func (o *once) send(ctx context.Context, j *job) error {
	e := o.e
	if err := o.drain(ctx, func() bool { return !o.g.full() }); err != nil {
		return err
	}
	due, err := e.ready(ctx, j)
	extra := slices.ContainsFunc(j.pairs, func(p spool.Pair) bool { return p.State == spool.StateDelivered })
	if errors.Is(err, spool.ErrDamaged) && !extra {
		e.mu.Lock()
		o.sum.Parked += int64(len(j.pairs))
		e.mu.Unlock()
		if !e.parkDamaged(o.g, j, err) {
			return errStopped
		}
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(err, blob.ErrNotExist) || errors.Is(err, batch.ErrNewer) || errors.Is(err, spool.ErrDamaged) {
		e.log.Error("a message can't be read in the store; it stays what it is. Run `restante fsck`", "domain", j.d.name, "id", j.pairs[0].Entry, "error", err)
		o.skipped(len(j.pairs))
		o.g.giveUp(j)
		return nil
	}
	if err != nil {
		return fmt.Errorf("message %s: %w", j.pairs[0].Entry, err)
	}
	if !due.IsZero() || len(j.pairs) == 0 {
		o.skipped(len(j.pairs))
		o.g.giveUp(j)
		return nil
	}
	o.g.push(j, false)
	o.g.dispatch()
	return nil
}

// drain waits until ok, which is asked with Engine.mu held, or the run ends.
func (o *once) drain(ctx context.Context, ok func() bool) error {
	e := o.e
	for {
		e.mu.Lock()
		err := o.err
		if e.failed != nil {
			err = errors.Join(errStopped, e.failed)
		}
		done := ok()
		if !done {
			o.g.filling = true
		}
		e.mu.Unlock()
		if err != nil {
			return err
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-o.g.wake:
		case <-time.After(time.Second): // e.failed wakes nobody here
		}
	}
}

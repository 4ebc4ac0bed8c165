package replay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/index"
)

// domain is what is known of one domain beyond the index. Guarded by Engine.mu, but for what says so.
type domain struct {
	Domain
	name  string
	group *group
	gone  bool // no longer configured

	claims   claims
	released time.Time // what was deferred before needn't wait
	scan     scan
	jobs     int    // ready or under way
	missing  int    // messages in a row that the store doesn't have or doesn't give
	unread   string // why the last of them couldn't be read
	refusals refusals

	started bool // by an admin, for a manual domain
	start   StartOptions
	paused  *pause
	pauseAt time.Time // when that last changed here

	lease      Lease
	leasing    context.CancelFunc // not nil: being asked for
	leaseAsked time.Time          // when that began
	leaseUsers int                // runs of RunOnce that need it
	lastWork   time.Time
	waitingFor string // another node, or the store: why there is no lease

	run  run
	base int64 // what the index counted as delivered or parked before the run
	rate rate
}

// pause is why a domain isn't replayed.
type pause struct {
	by, reason string
	self       bool          // by replay itself: ends by itself
	retryAt    time.Time     // self: one message is tried then
	retryWait  time.Duration // self: doubles
	trial      bool          // self: that message is under way
	unrecorded bool          // the index will never hear of it
}

// run counts what was done since something was pending after nothing was. In pairs.
type run struct {
	since                                      time.Time
	delivered, parked, deferred, lost, unknown int64
	lastReply                                  string
	recent                                     []Parked
	ended                                      time.Time // nothing was pending any more
}

// over reports that no run is under way.
func (r *run) over() bool { return r.since.IsZero() || !r.ended.IsZero() }

// scan is where reading a domain's pending pairs has got to: forward, page by page, and again from
// the oldest pair now and then, since pairs come back and entries of other nodes come late.
type scan struct {
	no      uint32 // counted from 1
	restart bool   // begin again
	began   time.Time
	settles uint64          // claims.settles at that time
	seen    <-chan struct{} // the index's state that it is of

	cursor     index.Cursor // of the next page
	tail       index.Cursor // of the last page: new mail comes there
	tailOnly   bool         // it began at tail, not at the oldest pair
	tailed     time.Time    // when it last did
	tailCost   time.Duration
	pagesEnded bool
	ended      bool         // all was looked at
	buf        []spool.Pair // of the last page, not yet looked at
	read       time.Time    // when that page was asked for
	last       ulid.ULID    // the last entry looked at

	wanted bool          // something of the last page could be taken
	cost   time.Duration // spent on pages of which nothing could, from the oldest pair on
	took   int           // messages taken
	left   int           // pairs that are pending and couldn't be taken now
	own    int           // of those: written here, which is no trial during a pause
	next   time.Time     // when the first of them can
}

func newDomain(name string) *domain {
	return &domain{name: name, claims: newClaims()}
}

// rewind has the feeder read again from the oldest pair.
func (d *domain) rewind() { d.scan.restart = true }

// LeaseName is the name of the domain's lease: lease names are of [a-z0-9._-].
func LeaseName(domain string) string {
	var b strings.Builder
	b.WriteString("replay.")
	for _, c := range []byte(strings.ToLower(domain)) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '-':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// hasLease reports that the domain's lease is held; without one it is asked for in the background.
// Callers hold e.mu.
func (e *Engine) hasLease(d *domain) bool {
	if d.lease != nil {
		if d.lease.Valid() {
			return true
		}
		e.log.Warn("lease of a domain lost", "domain", d.name)
		e.dropLease(d)
	}
	if d.leasing != nil || e.feeding == nil || e.feeding.Err() != nil {
		return false
	}
	ctx, cancel := context.WithCancel(e.feeding)
	d.leasing, d.leaseAsked = cancel, time.Now()
	e.tasks.Go(func() {
		defer cancel()
		l, err := e.o.Spool.Lease(ctx, LeaseName(d.name))
		var ev spool.Event
		var paused bool
		if err == nil {
			// A pause may have been recorded by another node.
			ev, paused, err = e.o.Index.Paused(ctx, d.name)
			if err != nil {
				e.giveBack(l, d.name)
			}
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("can't get the lease to replay a domain; trying again", "domain", d.name, "error", err)
			sleep(ctx, 5*time.Second)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		d.leasing = nil
		d.waitingFor = ""
		if err != nil {
			d.waitingFor = err.Error()
		} else {
			d.lease, d.lastWork = l, time.Now()
			d.adoptPause(ev, paused, time.Now(), e.cfg.PauseRetry)
			d.rewind()
			if d.gone {
				e.letGo(d)
			}
		}
		if d.group != nil {
			d.group.wakeFeeder()
		}
	})
	return false
}

// idleLease gives the lease back when it hasn't been of use for LeaseIdle, or at once, and says when to
// look again. Callers hold e.mu.
func (e *Engine) idleLease(d *domain, now time.Time, atOnce bool) (again time.Time) {
	if d.jobs > 0 || d.leaseUsers > 0 || len(d.refusals.waiting) > 0 {
		d.lastWork = now
		return time.Time{}
	}
	if d.lease != nil {
		if until := d.lastWork.Add(LeaseIdle); !atOnce && now.Before(until) {
			return until
		}
		e.dropLease(d)
	}
	if d.leasing != nil {
		d.leasing()
	}
	return time.Time{}
}

// letGo gives back what a domain holds that isn't configured any more, as soon as nothing of it is under way: no
// feeder looks at it again, and a lease that is kept would keep it from ever being replayed again, should it
// come back. Callers hold e.mu.
func (e *Engine) letGo(d *domain) {
	if g := d.group; g != nil {
		g.rest(d)
	} else {
		e.idleLease(d, time.Now(), true)
	}
}

func (e *Engine) dropLease(d *domain) {
	l := d.lease
	d.lease = nil
	e.tasks.Go(func() { e.giveBack(l, d.name) })
}

func (e *Engine) giveBack(l Lease, domain string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.Release(ctx); err != nil {
		e.log.Info("a lease couldn't be given back; it ends by itself", "domain", domain, "error", err)
	}
}

// releaseAll gives all leases back, at the end of Run.
func (e *Engine) releaseAll(context.Context) {
	e.mu.Lock()
	for _, d := range e.domains {
		if d.lease != nil {
			e.dropLease(d)
		}
		d.group = nil
	}
	e.mu.Unlock()
	e.tasks.Wait()
}

// adoptPause takes over what the index says of a pause, unless something newer was said here.
func (d *domain) adoptPause(ev spool.Event, paused bool, now time.Time, retry time.Duration) {
	const lag = 2 * time.Minute // by then the index knows what was said here
	switch {
	case paused && ev.Time.After(d.pauseAt) && d.paused == nil:
		d.paused = &pause{by: ev.By, reason: ev.Reason}
		if ev.By == by {
			d.paused.self, d.paused.retryAt, d.paused.retryWait = true, now, retry
		}
		d.pauseAt = ev.Time
	case !paused && d.paused != nil && now.Sub(d.pauseAt) > lag && !d.paused.trial && !d.paused.unrecorded:
		d.paused = nil
	}
}

// adoptResumes ends the pauses that were ended elsewhere: by another node, or by another engine.
func (e *Engine) adoptResumes(ctx context.Context) {
	waits := func(d *domain) bool { return d != nil && d.lease == nil && d.paused != nil && !d.paused.self }
	e.mu.Lock()
	var names []string
	for name, d := range e.domains {
		if waits(d) {
			names = append(names, name)
		}
	}
	e.mu.Unlock()
	for _, name := range names {
		ev, paused, err := e.o.Index.Paused(ctx, name)
		if err != nil {
			e.log.Warn("the index doesn't say whether replay is paused", "domain", name, "error", err)
			continue
		}
		e.mu.Lock()
		if d := e.domains[name]; waits(d) {
			if d.adoptPause(ev, paused, time.Now(), e.cfg.PauseRetry); d.paused == nil {
				e.hasten(d)
			}
		}
		e.mu.Unlock()
	}
}

// by is who events of replay itself are by.
const by = "replay"

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// rate counts events of the last ten seconds.
type rate struct {
	slots [10]int64
	at    [10]int64 // the second that a slot is of
}

func (r *rate) add(now time.Time, n int64) {
	s := now.Unix()
	i := s % int64(len(r.slots))
	if r.at[i] != s {
		r.at[i], r.slots[i] = s, 0
	}
	r.slots[i] += n
}

// perSecond is the mean over the seconds since began, ten at most.
func (r *rate) perSecond(now, began time.Time) float64 {
	var sum int64
	for i, at := range r.at {
		if now.Unix()-at < int64(len(r.slots)) {
			sum += r.slots[i]
		}
	}
	over := min(now.Sub(began), time.Duration(len(r.slots))*time.Second)
	return float64(sum) / max(over.Seconds(), 1)
}

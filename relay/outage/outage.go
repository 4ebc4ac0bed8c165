// Package outage keeps the outages of the hosted domains: it opens one when a domain's primary counts as
// down or an entry is kept for it, and closes it when the primary is up, or the domain no longer hosted, and nothing is
// pending. Parked pairs stay listed in the outage they came in; they don't hold it open.
// What was written here opens none, and holds one open for writtenWait at most: it may wait for a server of its own, or for an
// admin who has stopped a sender, long after all is as it was.
//
// An outage is two events in the ledger; what belongs to it is for the index to say. Its id is the day it
// began on, in UTC, and the domain, "2026-11-21-example.com", with "-2" and so on for further ones of that day.
//
// A primary may be up for one node and down for another. An outage is therefore closed by the node that opened it, which
// says every renewEvery that it is still there, and by others only when that has been silent for goneAfter.
//
// The Keeper also records the declarations of admins and brings those of other nodes into force here.
package outage

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"restante/relay/health"
	"restante/spool"
	"restante/spool/index"
)

// Ledger records events. *spool.Spool is one.
type Ledger interface {
	Record(ctx context.Context, evs ...spool.Event) error
	Note(evs ...spool.Event)
}

// Index knows outages and what is pending. *index.Index is one.
type Index interface {
	OutageOpen(domain string) (id string, ok bool)
	OpenOutages() map[string]string // id by domain
	Outages(ctx context.Context, domain string) ([]index.Outage, error)
	Summary(ctx context.Context, domain string) (index.Summary, error)
	FromOutside(ctx context.Context, domain string) (pending bool, err error) // some that is pending wasn't written here
	// Stray is when the oldest mail was received that is in no outage though it should: it is pending, or was received after that time.
	// since is set where an outage may begin then.
	Stray(ctx context.Context, domain string, after time.Time) (received, since time.Time, err error)
	OutageOpened(ctx context.Context, domain string) (spool.Event, bool, error) // the last such event
	Declarations(ctx context.Context) ([]spool.Event, error)
	Changed() <-chan struct{} // closed at the next change
	// Lag is how many batches are known of and not yet folded, and since when the oldest waits; zero when
	// there are none, (0, not zero) before the first look.
	Lag() (batches int, since time.Time)
}

// Health knows how the primaries are. *health.Monitor is one.
type Health interface {
	Domains() []string
	State(domain string) health.Record
	Declare(d health.Declaration)
	End(target string) bool
	Declarations() []health.Declaration
	Subscribe(f func(health.Change))
}

// Times of the Keeper.
const (
	// Linger is how long after the last kept entry an outage stays open at least, so that an entry of which
	// the index doesn't know yet isn't left out.
	Linger = 2 * time.Second
	// checkEvery is the time between two looks at the open outages whose primary is up.
	checkEvery = time.Second
	// sweepEvery is the time between two looks for pending pairs that are in no outage: what a killed
	// process kept and didn't tell.
	sweepEvery = 30 * time.Second
	// renewEvery is the time between two words of a node that an outage that it opened is still open: about 140
	// events a day, which go with the next batch.
	renewEvery = 10 * time.Minute
	// goneAfter is how long after the last such word the node counts as gone.
	goneAfter = 35 * time.Minute
	// writtenWait is how long after its primary is up an outage stays open for mail that was written here and is pending still.
	writtenWait = 15 * time.Minute
	// MaxDeclared is the longest that a declaration may last.
	MaxDeclared = 31 * 24 * time.Hour
	// recordTime bounds one attempt to record an outage.
	recordTime = 30 * time.Second
)

// Options say what a Keeper works with. Ledger, Index and Health are required.
type Options struct {
	Ledger Ledger
	Index  Index
	Health Health
	// Node names this node among those that share the ledger. "": there are no others.
	Node string
	// Linger says how long after the last kept entry the outage of a domain stays open; longer than the
	// default makes sense where everything is kept (when_up = "spool"). nil, or 0 from it: Linger.
	Linger func(domain string) time.Duration
	// Notify is called after an outage was opened or closed, with the event. It must not block. May be nil.
	Notify func(ev spool.Event)
	Log    *slog.Logger
}

// Keeper keeps outages. Its methods may be called from any goroutine.
type Keeper struct {
	o    Options
	log  *slog.Logger
	wake chan struct{} // cap 1

	mu       sync.Mutex
	want     map[string]string    // domains whose outage is to be opened, with the reason
	opened   map[string]string    // id by domain: recorded, perhaps not folded yet
	closed   map[string]string    // likewise
	ours     map[string]string    // id by domain: opened by this process
	renewed  map[string]time.Time // by domain: when we last said that it is open
	kept     map[string]time.Time // when an entry was last kept
	followed map[string]bool      // targets of declarations in force that the index has shown
	touched  map[string]time.Time // when a target was last declared or ended here
}

// New returns a Keeper that listens to o.Health. Nothing is recorded before Run.
func New(o Options) (*Keeper, error) {
	if o.Ledger == nil || o.Index == nil || o.Health == nil {
		return nil, errors.New("outage: Ledger, Index and Health are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{
		o: o, log: o.Log, wake: make(chan struct{}, 1),
		want: make(map[string]string), opened: make(map[string]string), closed: make(map[string]string),
		kept: make(map[string]time.Time), followed: make(map[string]bool),
		touched: make(map[string]time.Time), ours: make(map[string]string), renewed: make(map[string]time.Time),
	}
	o.Health.Subscribe(func(c health.Change) {
		if c.After.State == health.Down {
			k.Open(c.Domain, c.After.Reason)
		} else {
			k.poke()
		}
	})
	return k, nil
}

// Open asks for the outage of a domain to be opened, if it isn't. It never blocks.
func (k *Keeper) Open(domain, reason string) {
	k.mu.Lock()
	if _, ok := k.want[domain]; !ok {
		k.want[domain] = reason
	}
	k.mu.Unlock()
	k.poke()
}

// Kept tells that an entry was kept for recipients of these domains. It never blocks.
func (k *Keeper) Kept(domains []string, reason string) {
	now := time.Now()
	k.mu.Lock()
	news := false
	for _, d := range domains {
		k.kept[d] = now
		if _, open := k.idLocked(d); open {
			continue
		}
		if _, ok := k.want[d]; !ok {
			k.want[d] = reason
			news = true
		}
	}
	k.mu.Unlock()
	if news {
		k.poke()
	}
}

func (k *Keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Outage returns the id of the open outage of a domain.
func (k *Keeper) Outage(domain string) (id string, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.idLocked(domain)
}

// idLocked joins what the index shows with what was recorded since.
func (k *Keeper) idLocked(domain string) (string, bool) {
	id, ok := k.o.Index.OutageOpen(domain)
	if ok && k.closed[domain] != id {
		delete(k.opened, domain)
		delete(k.closed, domain)
		return id, true
	}
	if !ok {
		delete(k.closed, domain)
	}
	id, ok = k.opened[domain]
	return id, ok
}

// Run opens and closes outages until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	var swept time.Time
	changed := k.o.Index.Changed()
	unread := true // the index may show declarations that we haven't seen
	for {
		if unread {
			err := k.followDeclarations(ctx)
			unread = err != nil
			k.report(ctx, "declarations can't be read from the index", err)
		}
		disowned, err := k.disown(ctx)
		k.report(ctx, "outages can't be read from the index", err)
		if disowned || time.Since(swept) >= sweepEvery {
			swept = time.Now()
			k.report(ctx, "looking for kept mail outside of outages failed", k.sweep(ctx))
			k.report(ctx, "an outage could not be renewed", k.renew(ctx))
		}
		k.report(ctx, "outage can't be recorded, trying again", k.openWanted(ctx))
		k.report(ctx, "outage can't be closed, trying again", k.closeEnded(ctx))
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-check.C:
			// The index is looked at no oftener than this: under load it changes all the time.
			select {
			case <-changed:
				changed, unread = k.o.Index.Changed(), true
			default:
			}
		}
	}
}

// report tells what failed and is tried again with the next turn.
func (k *Keeper) report(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		k.log.Warn(what, "error", err)
	}
}

// disown forgets outages opened here that turn out to be closed already: the index didn't know yet that one
// of that id was there before, since it was being made anew or another node was quicker. What was kept since
// needs another one, with another id. It reports whether it forgot any.
func (k *Keeper) disown(ctx context.Context) (any bool, err error) {
	k.mu.Lock()
	opened := maps.Clone(k.opened)
	k.mu.Unlock()
	for d, id := range opened {
		outages, err := k.o.Index.Outages(ctx, d)
		if err != nil {
			return any, err
		}
		i := slices.IndexFunc(outages, func(o index.Outage) bool { return o.ID == id && !o.Closed.IsZero() })
		if i < 0 {
			continue
		}
		k.mu.Lock()
		if k.opened[d] == id {
			any = true
			delete(k.opened, d)
			if _, ok := k.want[d]; !ok && k.kept[d].After(outages[i].Closed) {
				k.want[d] = "mail was kept after the outage before was closed"
			}
		}
		k.mu.Unlock()
	}
	return any, nil
}

// sweep asks for the outages that should be open although nobody said so in this process.
func (k *Keeper) sweep(ctx context.Context) error {
	for _, d := range k.o.Health.Domains() {
		if _, open := k.Outage(d); open {
			continue
		}
		r := k.o.Health.State(d)
		if r.State == health.Down {
			k.Open(d, r.Reason)
			continue
		}
		// What an admin releases from an outage of before is delivered at once and belongs there.
		stray, since, err := k.stray(ctx, d)
		pending := !stray.IsZero()
		if err == nil && !pending && !r.Passes() {
			pending, err = k.o.Index.FromOutside(ctx, d)
		}
		switch {
		case err != nil:
			return err
		case !since.IsZero():
			k.Open(d, "mail was kept")
		case pending:
			k.Open(d, "mail is pending")
		}
	}
	return nil
}

// stray returns when the oldest mail was received that is in no outage: it waits, or this node kept it while another closed the outage that
// it seemed to belong to, and it was delivered since. Then since, when an outage for it begins, is set too.
func (k *Keeper) stray(ctx context.Context, domain string) (received, since time.Time, err error) {
	return k.o.Index.Stray(ctx, domain, time.Now().Add(-spool.MaxOutageSince))
}

// openWanted opens what was asked for.
func (k *Keeper) openWanted(ctx context.Context) error {
	k.mu.Lock()
	var evs []spool.Event
	for d, reason := range k.want {
		if _, open := k.idLocked(d); open {
			delete(k.want, d)
			continue
		}
		evs = append(evs, spool.Event{Type: spool.OutageOpened, By: "health", Domain: d, Reason: spool.Printable(reason), Data: k.nodeData()})
	}
	k.mu.Unlock()
	if len(evs) == 0 {
		return nil
	}
	slices.SortFunc(evs, func(a, b spool.Event) int { return strings.Compare(a.Domain, b.Domain) })
	for i := range evs {
		id, err := k.newID(ctx, evs[i].Domain, time.Now())
		if err != nil {
			return err
		}
		evs[i].Outage = id
		if _, since, err := k.stray(ctx, evs[i].Domain); err != nil {
			return err
		} else if !since.IsZero() {
			if evs[i].Data == nil {
				evs[i].Data = map[string]any{}
			}
			evs[i].Data[spool.OutageSince] = since.Format(time.RFC3339Nano)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	if err := k.o.Ledger.Record(ctx, evs...); err != nil {
		return err
	}
	k.mu.Lock()
	for _, ev := range evs {
		k.opened[ev.Domain], k.ours[ev.Domain], k.renewed[ev.Domain] = ev.Outage, ev.Outage, time.Now()
		delete(k.want, ev.Domain)
	}
	k.mu.Unlock()
	k.tell(evs)
	return nil
}

func (k *Keeper) tell(evs []spool.Event) {
	for _, ev := range evs {
		k.log.Info(string(ev.Type), "outage", ev.Outage, "domain", ev.Domain, "reason", ev.Reason)
		if k.o.Notify != nil {
			k.o.Notify(ev)
		}
	}
}

// newID returns an id that no outage of the domain has.
func (k *Keeper) newID(ctx context.Context, domain string, now time.Time) (string, error) {
	outages, err := k.o.Index.Outages(ctx, domain)
	if err != nil {
		return "", err
	}
	used := make(map[string]bool, len(outages))
	for _, o := range outages {
		used[o.ID] = true
	}
	k.mu.Lock()
	used[k.closed[domain]] = true // perhaps not folded yet
	k.mu.Unlock()
	base := now.UTC().Format("2006-01-02") + "-" + domain
	id := base
	for n := 2; used[id]; n++ {
		id = base + "-" + strconv.Itoa(n)
	}
	return id, nil
}

// mayEnd returns the domains whose outage may be over: their primary is up, or they aren't hosted any more.
func (k *Keeper) mayEnd() []string {
	var list []string
	hosted := k.o.Health.Domains()
	for _, d := range hosted {
		if k.o.Health.State(d).Passes() {
			list = append(list, d)
		}
	}
	for d := range k.o.Index.OpenOutages() {
		if !slices.Contains(hosted, d) {
			list = append(list, d)
		}
	}
	slices.Sort(list)
	return list
}

// closeEnded closes the outages of those domains for which nothing is pending.
func (k *Keeper) closeEnded(ctx context.Context) error {
	begun := time.Now()
	var evs []spool.Event
	for _, d := range k.mayEnd() {
		k.mu.Lock()
		id, open := k.idLocked(d)
		_, wanted := k.want[d]
		last := k.kept[d]
		_, unfolded := k.opened[d]
		k.mu.Unlock()
		if !open || wanted || unfolded || time.Since(last) < k.linger(d) || !k.caughtUp(last) {
			continue
		}
		if pending, err := k.pending(ctx, d); err != nil {
			return err
		} else if pending {
			continue
		}
		if mine, last, err := k.mine(ctx, d, id); err != nil {
			return err
		} else if !mine && time.Since(last) < goneAfter {
			continue // another node may see the primary as down
		}
		evs = append(evs, spool.Event{Type: spool.OutageClosed, By: "health", Domain: d, Outage: id})
	}
	if len(evs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	if err := k.o.Ledger.Record(ctx, evs...); err != nil {
		return err
	}
	k.mu.Lock()
	for _, ev := range evs {
		k.closed[ev.Domain] = ev.Outage
		if _, wanted := k.want[ev.Domain]; !wanted && k.kept[ev.Domain].After(begun) {
			k.want[ev.Domain] = "mail was kept as the outage before was closed"
		}
	}
	k.mu.Unlock()
	k.tell(evs)
	return nil
}

// pending reports that mail is pending that an outage is kept open for: all for writtenWait after the primary is up, then only what
// came from outside.
func (k *Keeper) pending(ctx context.Context, domain string) (bool, error) {
	s, err := k.o.Index.Summary(ctx, domain)
	if err != nil || s.All.Pending == 0 {
		return false, err
	}
	if time.Since(k.o.Health.State(domain).Since) < writtenWait {
		return true, nil
	}
	return k.o.Index.FromOutside(ctx, domain)
}

// caughtUp reports that the index knows of all that was kept up to a time here, and up to a moment ago
// elsewhere.
func (k *Keeper) caughtUp(last time.Time) bool {
	batches, since := k.o.Index.Lag()
	return since.IsZero() || batches > 0 && since.After(last) && time.Since(since) < 5*time.Second
}

func (k *Keeper) linger(domain string) time.Duration {
	if k.o.Linger != nil {
		if d := k.o.Linger(domain); d > 0 {
			return d
		}
	}
	return Linger
}

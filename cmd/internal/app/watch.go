package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/notify"
	"restante/relay/health"
	"restante/relay/replay"
	"restante/spool"
	"restante/spool/blob"
	"restante/spool/index"
	"restante/spool/room"
)

// How often the store and the disks are looked at. A bucket is asked once a minute while it is well: at
// S3's prices ($0.0004 per 1,000) that is $0.02 a month.
const (
	watchEvery  = time.Second
	bucketEvery = time.Minute
	diskEvery   = time.Minute
)

// diskFull and diskOK are the shares of a disk at which people are told.
const (
	diskFull = 0.80
	diskOK   = 0.78
)

// watch holds the listeners and looks at what nobody else looks at: store, disks, what EHLO offers.
type watch struct {
	app     *App
	smtp    []net.Listener
	http    net.Listener
	admin   net.Listener
	serving atomic.Bool

	mu    sync.Mutex
	store error           // of the last look
	lost  error           // why the index can't follow the store
	told  map[string]bool // what people have been told and not been told the end of
	held  map[about]held  // parked and quarantined messages that people are told of together

	passes sync.Map // domain -> *atomic.Int64: messages passed since the start
	states sync.Map // domain -> health.State that people were told last
}

// parkedEvery is the least time between two notices of parked messages of one domain; a primary that refuses
// a thousand messages pages nobody a thousand times.
const parkedEvery = time.Minute

// about is what a notice is about.
type about struct {
	domain string
	kind   notify.Kind
}

// held counts the messages that nobody was told of yet.
type held struct {
	last time.Time // when people were told
	more int
}

// ready reports that mail is taken and can be kept.
func (a *App) ready() bool { return a.watch != nil && len(a.watch.unready()) == 0 }

// unready says why not.
func (w *watch) unready() []string {
	var list []string
	if !w.serving.Load() {
		return []string{"SMTP is not being served"}
	}
	w.look(w.app.spool.Believed())
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.store != nil {
		list = append(list, storeWord(w.store))
	}
	return list
}

// storeWord says what is wrong with the store.
func storeWord(err error) string {
	if errors.Is(err, spool.ErrNoSpace) {
		return "mail can't be kept, no room is left: " + err.Error()
	}
	return "mail can't be kept, the store is failing: " + admin.Brief(err.Error())
}

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	bucket := strings.HasPrefix(w.app.cfg.Load().Store.URL, "s3:")
	var lastStore, lastDisk time.Time
	for {
		w.app.smtp.SetOffers(w.app.pass.Offers())
		look := w.app.spool.Believed
		if now := time.Now(); !bucket || now.Sub(lastStore) >= bucketEvery {
			lastStore, look = now, w.app.spool.Available
		}
		w.look(look())
		w.tellHeld(time.Now())
		if now := time.Now(); now.Sub(lastDisk) >= diskEvery {
			lastDisk = now
			w.disks(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (w *watch) storeErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.store
}

// look notes whether mail can be kept, and tells when that has changed.
func (w *watch) look(err error) {
	w.mu.Lock()
	before := w.store
	w.store = err
	w.mu.Unlock()
	switch {
	case err != nil && before == nil:
		w.app.log.Error("mail can't be kept", "store", w.app.store.String(), "err", err)
		w.app.notifier.Send(notify.Notice{Kind: notify.StoreFailing, Text: storeWord(err) + ". Senders are told to come back; mail is still passed to primaries that are up."})
	case err == nil && before != nil:
		w.app.log.Info("mail can be kept again", "store", w.app.store.String())
		w.app.notifier.Send(notify.Notice{Kind: notify.StoreOK, Text: "Mail can be kept again."})
	}
}

// disks tells once when a disk is 80 % full, and again only after it was below 78 %.
func (w *watch) disks(ctx context.Context) {
	if free, total, err := blob.Space(ctx, w.app.store); err == nil {
		w.disk("the store "+w.app.store.String(), free, total)
	}
	dir := w.app.cfg.Load().DataDir
	if free, total, err := room.Free(dir); err == nil {
		w.disk("data_dir "+dir, free, total)
	}
}

func (w *watch) disk(what string, free, total int64) {
	if total <= 0 {
		return
	}
	used := 1 - float64(free)/float64(total)
	w.mu.Lock()
	told := w.told[what]
	if w.told == nil {
		w.told = map[string]bool{}
	}
	if used >= diskFull {
		w.told[what] = true
	} else if used < diskOK {
		delete(w.told, what)
	}
	w.mu.Unlock()
	if used >= diskFull && !told {
		text := fmt.Sprintf("The disk of %s is %.0f %% full.", what, used*100)
		w.app.log.Warn(text)
		w.app.notifier.Send(notify.Notice{Kind: notify.DiskFilling, Text: text, Data: map[string]any{"free": free, "total": total}})
	}
}

// healthChange tells people about primaries. Suspect, recovering and isolated are no news: the first two
// pass, and the last is about us.
func (a *App) healthChange(c health.Change) {
	var kind notify.Kind
	var text string
	switch c.After.State {
	case health.Down:
		kind, text = notify.Down, fmt.Sprintf("The primary of %s is down: %s. Mail is kept.", c.Domain, c.After.Reason)
	case health.RefusesUs:
		kind, text = notify.RefusesUs, fmt.Sprintf("The primary of %s refuses us: %s. Senders are told to come back; allow this host on it.", c.Domain, c.After.Reason)
	case health.Up:
		kind, text = notify.Up, fmt.Sprintf("The primary of %s is up again.", c.Domain)
	default:
		return
	}
	before, told := a.watch.states.Swap(c.Domain, c.After.State)
	if told && before == c.After.State || !told && c.After.State == health.Up {
		return
	}
	a.notifier.Send(notify.Notice{Kind: kind, Domain: c.Domain, Text: text, Data: map[string]any{"since": c.After.Since, "reason": c.After.Reason, "reply": c.After.Reply, "host": c.After.Host}})
}

// replayNotice tells people about replay.
func (a *App) replayNotice(n replay.Notice) {
	kinds := map[replay.NoticeKind]notify.Kind{
		replay.NoticeParked: notify.Parked, replay.NoticeFinished: notify.ReplayFinished, replay.NoticePaused: notify.ReplayPaused,
		replay.NoticeResumed: notify.ReplayResumed, replay.NoticeStopped: notify.ReplayPaused, replay.NoticeGoesOn: notify.ReplayResumed,
	}
	data := map[string]any{"notice": n}
	var text string
	switch n.Kind {
	case replay.NoticeParked:
		if !a.watch.mayTell(about{n.Domain, notify.Parked}, time.Now()) {
			return
		}
		text = fmt.Sprintf("A message to %s was parked: %s. See: restante queue show %s", n.Address, because(n), n.Entry)
	case replay.NoticeFinished:
		text = fmt.Sprintf("All mail kept for %s is handed over: %d delivered, %d parked.", n.Domain, n.Delivered, n.Parked)
		held, err := a.index.Held(context.Background(), n.Domain)
		if err != nil {
			a.log.Warn("the index doesn't say what is held", "domain", n.Domain, "err", err)
		}
		if held > 0 {
			data["held"] = held
			text = fmt.Sprintf("All mail kept for %s is handed over, but for what is held: %d delivered, %d parked, %d held. See: restante queue list --domain %s --state held",
				n.Domain, n.Delivered, n.Parked, held, n.Domain)
		}
	case replay.NoticePaused:
		text = fmt.Sprintf("The replay of %s is paused: %s", n.Domain, because(n))
		if n.Domain == spool.Smarthost {
			text = "Sending to the outside is paused: " + because(n) + ". See: restante sending status"
		}
	case replay.NoticeStopped:
		text = "All replay has stopped, since outcomes can't be recorded: " + n.Reason
	default:
		text = "Replay goes on."
	}
	a.notifier.Send(notify.Notice{Kind: kinds[n.Kind], Time: n.Time, Domain: n.Domain, Text: strings.TrimSpace(text), Data: data})
}

// because is the reason of a notice with the reply behind it, unless the reason has it already.
func because(n replay.Notice) string {
	switch {
	case n.Reason == "":
		return n.Reply
	case strings.Contains(n.Reason, n.Reply):
		return n.Reason
	default:
		return n.Reason + ": " + n.Reply
	}
}

// mayTell reports that a message may be told of now; else it is counted.
func (w *watch) mayTell(what about, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = map[about]held{}
	}
	h := w.held[what]
	if now.Sub(h.last) < parkedEvery {
		h.more++
		w.held[what] = h
		return false
	}
	w.held[what] = held{last: now, more: h.more}
	return true
}

// tellHeld tells of the messages that were counted, when it is time.
func (w *watch) tellHeld(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for what, h := range w.held {
		if now.Sub(h.last) < parkedEvery {
			continue
		}
		if h.more == 0 {
			delete(w.held, what)
			continue
		}
		w.held[what] = held{last: now}
		w.app.notifier.Send(notify.Notice{Kind: what.kind, Domain: what.domain, Data: map[string]any{"count": h.more},
			Text: fmt.Sprintf("%d more messages to %s were %s. See: restante queue list --domain %s --state %s", h.more, what.domain, what.kind, what.domain, what.kind)})
	}
}

// outageEvent sends the sums of an outage, and the chain's heads, out of the house when it has ended.
func (a *App) outageEvent(ev spool.Event) {
	if ev.Type != spool.OutageClosed {
		return
	}
	go a.sendReport(ev)
}

// sendReport waits for the index to have read the end of the outage.
func (a *App) sendReport(ev spool.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	o, err := a.closedOutage(ctx, ev.Outage)
	if err != nil {
		a.log.Warn("the report of an outage was not sent", "outage", ev.Outage, "err", err)
		return
	}
	r, err := (&backend{a}).Report(ctx, o.ID)
	if err != nil {
		a.log.Warn("the report of an outage was not sent", "outage", ev.Outage, "err", err)
		return
	}
	a.notifier.Send(notify.Notice{Kind: notify.Report, Domain: ev.Domain, Text: reportText(r),
		Data: map[string]any{"outage": r.Outage, "head": r.Chain.Head, "accepted": r.Accepted, "unaccounted": r.Unaccounted, "chain_verified": r.Chain.Verified}})
}

// reportText is a report in a sentence or two.
func reportText(r *admin.Report) string {
	text := fmt.Sprintf("The outage %s has ended: %d accepted, %d delivered, %d parked, %d pending.", r.ID, r.Accepted, r.Counts.Delivered, r.Counts.Parked, r.Counts.Pending)
	if r.Unaccounted != 0 || !r.Chain.Verified {
		text += fmt.Sprintf(" %d unaccounted, chain verified: %t. See: restante outage report %s", r.Unaccounted, r.Chain.Verified, r.ID)
	}
	return text
}

func (a *App) closedOutage(ctx context.Context, id string) (*index.Outage, error) {
	for {
		changed := a.index.Changed()
		o, err := a.index.Outage(ctx, id)
		if err == nil && !o.Closed.IsZero() {
			return o, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-changed:
		}
	}
}

// followAgain is the pause after the index could not follow the store.
const followAgain = 5 * time.Second

// follow keeps the index following. What stops it doesn't stop the node: mail is taken and kept without it.
func (w *watch) follow(ctx context.Context) error {
	for {
		err := w.app.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		w.mu.Lock()
		w.lost = err
		w.mu.Unlock()
		w.app.log.Error("the index can't follow the store; mail is kept all the same, replay waits", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followAgain):
		}
		w.mu.Lock()
		w.lost = nil
		w.mu.Unlock()
	}
}

func (w *watch) followErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// countPassed counts a message that was passed through.
func (w *watch) countPassed(domain string) {
	n, ok := w.passes.Load(domain)
	if !ok {
		n, _ = w.passes.LoadOrStore(domain, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1) //nolint:forcetypeassert // only these are in it
}

func (w *watch) passed(domain string) int64 {
	if n, ok := w.passes.Load(domain); ok {
		return n.(*atomic.Int64).Load() //nolint:forcetypeassert // only these are in it
	}
	return 0
}

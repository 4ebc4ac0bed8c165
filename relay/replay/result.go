package replay

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"restante/relay/health"
	"restante/relay/replay/pace"
	"restante/relay/smtpc"
	"restante/spool"
)

var errLostRow = errors.New("the connection was lost three times in a row, with nothing accepted between")

// park is a pair that is about to be parked.
type park struct {
	d      *domain
	pair   spool.Pair
	key    key
	lease  Lease
	reply  string
	host   string
	reason string
	quiet  bool // nobody needs to be told
}

// result takes in what became of a job. What was delivered is recorded first: when this returns, the
// next final dot may go out.
func (w *worker) result(ctx context.Context, j *job, res *smtpc.Result) error {
	e, g := w.e, w.g
	reused := w.read > 0 && j.unsent < 2
	if !res.Mail.IsZero() {
		w.read++
	}
	vs := judge(res, j.count(), reused)
	host := spool.Printable(w.conn.Remote())
	parts := j.parts()
	shares := make([]share, len(parts))
	var failed error
	for i, p := range parts {
		s := share{j: p, vs: vs[:len(p.pairs):len(p.pairs)]}
		vs = vs[len(p.pairs):]
		if err := w.settleDelivered(p, s.vs, host); err != nil {
			failed = err // it stands in unsaved, and is written before anything is sent again
		}
		shares[i] = s
	}
	w.hear(shares)
	for i := range shares {
		s := &shares[i]
		s.refused, s.envelope = w.refused(ctx, s.j, s.vs, host)
		s.old = w.tooOld(ctx, s.j, s.vs)
	}
	a := w.apply(j, res, shares, host)
	for _, s := range shares {
		e.o.Metrics.attempts(s.vs)
		e.logResult(s.j, res, s.vs, host)
	}
	if len(a.notes) > 0 {
		e.o.Spool.Note(a.notes...)
	}
	if len(a.parks) > 0 && failed == nil {
		failed = e.park(a.parks)
	}
	for _, n := range a.notices {
		e.o.Notify(n)
	}
	if g.once == nil || g.once.sel.To == "" {
		for _, k := range a.seen {
			e.observe(j.d.name, k, host, a.reply, a.reason)
		}
	}
	if g.once != nil {
		g.once.report(j, shares[0].vs)
	}
	return failed
}

// share is what a result means for one part of a job.
type share struct {
	j        *job
	vs       []verdict
	refused  []refusal
	envelope bool
	old      map[int]bool
}

// hear passes on what the primary said of recipients. What it says of a message is about that alone, unless it takes it.
func (w *worker) hear(shares []share) {
	if w.e.o.Heard == nil || w.g.once != nil && w.g.once.sel.To != "" {
		return
	}
	for _, s := range shares {
		for i, v := range s.vs {
			if v.fate == fateDelivered || v.fate == fateRefused && !v.dot {
				w.e.o.Heard(s.j.pairs[i].Address, v.reply)
			}
		}
	}
}

// settleDelivered records the deliveries of one part of a job.
func (w *worker) settleDelivered(j *job, vs []verdict, host string) error {
	var failed error
	for i, v := range vs {
		if v.fate != fateDelivered {
			continue
		}
		err := w.e.settle(spool.Event{
			Type: spool.Delivered, By: by, Entry: j.pairs[i].Entry, Rcpt: j.pairs[i].Rcpt, Round: j.pairs[i].Round,
			Reply: spool.Printable(v.reply.String()), Host: host, Generation: j.lease.Generation(),
			Data: map[string]any{"tls": w.conn.Offers().Protection()},
		})
		if err != nil {
			failed = err
		}
	}
	return failed
}

// refused gathers the pairs that were refused with 5xx. envelope: one of them, of a recipient known
// good, in answer to MAIL or RCPT. When the index can't be asked, nothing is known.
func (w *worker) refused(ctx context.Context, j *job, vs []verdict, host string) (rs []refusal, envelope bool) {
	for i, v := range vs {
		if v.fate != fateRefused {
			continue
		}
		known, err := w.e.o.Index.Known(ctx, j.pairs[i].Address)
		if err != nil {
			w.e.log.Warn("the index doesn't say whether a recipient is known", "error", err)
			known = true // the careful way
		}
		own := j.d.own(&j.pairs[i])
		rs = append(rs, refusal{d: j.d, pair: j.pairs[i], key: j.keys[i], reply: v.reply, host: host, known: known, own: own, lease: j.lease})
		client := w.conn.Named() && health.AboutClient(v.reply) // what it has against a client tells nothing of the recipients
		envelope = envelope || known && !v.dot && !own && !client
	}
	return rs, envelope
}

// tooOld finds the deferred pairs that have been getting 4xx for GiveUp. Only the events tell since
// when: a message may be older than that because its primary was away for a week.
func (w *worker) tooOld(ctx context.Context, j *job, vs []verdict) map[int]bool {
	var old map[int]bool
	now := time.Now()
	w.e.mu.Lock()
	giveUp := w.e.cfg.GiveUp
	w.e.mu.Unlock()
	for i, v := range vs {
		p := j.pairs[i]
		if v.fate != fateDeferred || p.Attempts == 0 || now.Sub(p.Received) < giveUp {
			continue
		}
		view, err := w.e.o.Index.Entry(ctx, p.Entry)
		if err != nil {
			w.e.log.Warn("the index doesn't say since when a message is deferred", "id", p.Entry, "error", err)
			continue // asked again at the next attempt
		}
		for _, ev := range view.Events {
			if ev.Type == spool.Deferred && ev.Rcpt == p.Rcpt && ev.Round == p.Round {
				if now.Sub(ev.Time) >= giveUp {
					if old == nil {
						old = make(map[int]bool)
					}
					old[i] = true
				}
				break // they are by time
			}
		}
	}
	return old
}

// after is what apply leaves to be done without the lock.
type after struct {
	parks         []park
	notes         []spool.Event
	notices       []Notice
	seen          []health.Kind
	reply, reason string
}

// apply brings claims, pace and counters up to date with the verdicts on a job, which ends here.
func (w *worker) apply(j *job, res *smtpc.Result, shares []share, host string) after {
	e, g, now := w.e, w.g, time.Now()
	var a after
	var all []verdict
	for _, s := range shares {
		all = append(all, s.vs...)
	}
	o := outcome(all)
	var took time.Time // by pass-through, perhaps
	if o == pace.Lost {
		took = e.o.Health.State(j.d.name).LastTook
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	g.owed = time.Time{}
	if o == pace.Lost {
		g.lostRow++
		if g.lostRow > 1 {
			// One loss may be the message's fault. Another one with nothing accepted between is not.
			a.seen, a.reason = append(a.seen, health.Lost), "connection lost at replay"
		}
	}
	blame := o == pace.Lost && all[0].fate != fateTurned && g.lose(j, now, took)
	var again []*job
	for _, s := range shares {
		if r := a.share(w, s, res.Err, host, blame, now); r != nil {
			again = append(again, r)
		}
	}
	if o == pace.Accepted {
		g.accepted++
		g.lostRow = 0
		delete(g.losers, j.id())
		a.seen = append(a.seen, health.Took)
		for _, s := range shares {
			if outcome(s.vs) == pace.Accepted {
				a.accepted(g, s.j.d, now)
			}
		}
	}
	g.pace.Ended(now, o)
	if o == pace.Deferred && g.pace.Phase() == pace.Canary {
		a.systemic(all)
	}
	if d := j.d; j.trial && o != pace.Accepted && len(again) == 0 && d.paused != nil && !now.Before(d.paused.retryAt) {
		d.paused.retryAt = now.Add(d.paused.retryWait) // neither accepted nor refused
	}
	if len(again) > 0 {
		g.repeat(j, again, o == pace.Unsent)
	}
	if g.once != nil {
		a.parks = slices.DeleteFunc(a.parks, func(p park) bool {
			if p.pair.State == spool.StatePending { // else another host refuses what stays delivered
				return false
			}
			a.notes = append(a.notes, e.putOff(p.d, p.pair, p.key, cmp.Or(p.reply, p.reason), p.host, now))
			g.once.sum.Deferred++
			return true
		})
		g.once.sum.Parked += int64(len(a.parks))
		if g.lostRow >= pace.LostRow {
			g.once.abort(errLostRow)
		}
	}
	for _, s := range shares {
		g.ended(s.j)
	}
	g.dispatch()
	return a
}

// share takes in the verdicts on one part of a job, and returns what of it is to be sent again at once. Callers hold e.mu.
func (a *after) share(w *worker, s share, broken error, host string, blame bool, now time.Time) *job {
	j := s.j
	again := *j
	again.pairs, again.keys, again.with, again.body = nil, nil, nil, nil
	for i, v := range s.vs {
		if v.fate == fateAgain || v.fate == fateUnsent || v.fate == fateTurned {
			again.pairs, again.keys = append(again.pairs, j.pairs[i]), append(again.keys, j.keys[i])
		}
		a.pair(w.e, j, i, v, broken, host, blame, s.old[i], now)
	}
	a.handleRefusals(w, j, s.refused, s.envelope, s.vs, now)
	if len(again.pairs) == 0 {
		return nil
	}
	return &again
}

// pair takes in the verdict on one pair of a job. Callers hold e.mu.
func (a *after) pair(e *Engine, j *job, i int, v verdict, broken error, host string, blame, old bool, now time.Time) {
	d, p, k := j.d, j.pairs[i], j.keys[i]
	text := spool.Printable(v.reply.String())
	if v.fate != fateDelivered && text != "" {
		d.run.lastReply = text
	}
	to := park{d: d, pair: p, key: k, lease: j.lease, host: host}
	switch v.fate {
	case fateDelivered:
		d.claims.settle(k, p.Round, d.scan.no)
		if p.State == spool.StatePending { // else it was none of this hand-over
			d.run.delivered++
			d.rate.add(now, 1)
		}
	case fateUnfit:
		to.reason = "doesn't fit the primary: " + text
		a.parks = append(a.parks, to)
	case fateDeferred:
		d.run.deferred++
		if text == "" && broken != nil {
			text = spool.Printable(broken.Error())
		}
		if old && p.State == spool.StatePending {
			to.reply, to.reason = text, "still refused for the time being, after "+spool.ExactSpan(e.cfg.GiveUp)
			a.parks = append(a.parks, to)
			return
		}
		a.notes = append(a.notes, e.putOff(d, p, k, text, host, now))
	case fateLost, fateUnknown:
		d.run.lost++
		if v.fate == fateUnknown {
			d.run.unknown++
		}
		why := lossText(broken, v.fate)
		d.run.lastReply = why
		if blame && p.State == spool.StatePending {
			to.reason = "lost the connection three times while others passed; last: " + why
			a.parks = append(a.parks, to)
			return
		}
		a.notes = append(a.notes, e.putOff(d, p, k, why, host, now))
	}
}

// repeat puts parts of j, with the pairs that are left of them, at the front of the queue: nothing is wrong with them.
func (g *group) repeat(j *job, again []*job, unsent bool) {
	next := join(again)
	next.body, next.size, next.known = j.body, j.size, j.known
	next.unsent = j.unsent
	if unsent {
		next.unsent++
	}
	j.body, j.trial = nil, false // they go on with it
	for _, p := range again {
		g.begun(p.d)
	}
	g.push(next, true)
}

// putBack is putOff for a pair that was refused with 5xx. Callers hold e.mu.
func (e *Engine) putBack(f refusal, now time.Time) spool.Event {
	ev := e.putOff(f.d, f.pair, f.key, spool.Printable(f.reply.String()), f.host, now)
	f.d.claims.refuse(f.key)
	return ev
}

// putOff puts a pair back until its backoff ends, and returns the event for the ledger. Callers hold e.mu.
func (e *Engine) putOff(d *domain, p spool.Pair, k key, why, host string, now time.Time) spool.Event {
	ev := spool.Event{Type: spool.Deferred, By: by, Entry: p.Entry, Rcpt: p.Rcpt, Round: p.Round, Reply: why, Host: host}
	if p.State == spool.StateDelivered {
		d.claims.giveBack(&p, k, d.scan.no)
		return ev
	}
	due := now.Add(e.cfg.backoff(k.id, p.Attempts+1))
	d.claims.putOff(k, due, p.Attempts+1)
	if d.scan.next.IsZero() || due.Before(d.scan.next) {
		d.scan.next = due
		if d.group != nil {
			d.group.wakeFeeder()
		}
	}
	return ev
}

// systemic adds what health must know of a canary that got 4xx: 4.3.x and 421 are of the host, not of
// the message.
func (a *after) systemic(vs []verdict) {
	for _, v := range vs {
		if v.fate == fateDeferred && (v.reply.Enhanced[1] == 3 || v.reply.Code == 421) {
			a.seen, a.reply, a.reason = append(a.seen, health.Lost), spool.Printable(v.reply.String()), "refuses mail for the time being"
			return
		}
	}
}

// handleRefusals takes in 5xx replies: as a suspicion, or, when they are too many in a row, as a
// reason to pause. Callers hold e.mu.
func (a *after) handleRefusals(w *worker, j *job, rs []refusal, envelope bool, vs []verdict, now time.Time) {
	if len(rs) == 0 {
		return
	}
	e, g, d := w.e, w.g, j.d
	last := rs[len(rs)-1]
	text := spool.Printable(last.reply.String())
	for _, v := range vs {
		if v.fate == fateRefused && !v.dot && envelope {
			a.reply, a.reason = text, "refuses recipients known good"
			a.seen = append(a.seen, health.Refusal)
			break
		}
	}
	r := g.refusals(d)
	if r.proven {
		// It has just taken something else: an unknown mailbox is what it says.
		rs = slices.DeleteFunc(rs, func(f refusal) bool {
			if f.quiet() {
				a.parks = append(a.parks, f.park())
			}
			return f.quiet()
		})
		if len(rs) == 0 {
			return
		}
	}
	tooMany := r.add(rs, envelope)
	if !tooMany && !j.trial {
		return
	}
	back := r.takeAll()
	for _, f := range back {
		a.notes = append(a.notes, e.putBack(f, now))
	}
	switch {
	case g.once != nil:
		g.once.sum.Deferred += int64(len(back))
		g.once.abort(refusesError(text))
	case j.trial && d.paused != nil:
		d.paused.retryWait = min(2*d.paused.retryWait, pauseRetryMax)
		d.paused.retryAt = now.Add(d.paused.retryWait)
		g.wakeFeeder()
	case d.paused == nil:
		reason := "the primary refuses everything: " + text
		if envelope {
			reason = "the primary refuses recipients that it used to have: " + text
		}
		d.paused = &pause{by: by, reason: reason, self: true, retryWait: e.cfg.PauseRetry, retryAt: now.Add(e.cfg.PauseRetry)}
		d.pauseAt = now
		g.drop(d)
		g.wakeFeeder()
		e.log.Warn("replay of a domain pauses", "domain", d.name, "reason", reason, "next_trial", d.paused.retryAt)
		a.notes = append(a.notes, spool.Event{Type: spool.ReplayPaused, By: by, Domain: d.name, Reason: reason, Data: startedData(d.Manual && d.started)})
		a.notices = append(a.notices, Notice{Kind: NoticePaused, Time: now, Domain: d.name, Entry: last.pair.Entry, Address: last.pair.Address, Reply: text, Reason: reason})
	}
}

// accepted draws the conclusions from an accepted message: refusals before it were the messages' own
// fault, and a pause of ours is over. Callers hold e.mu.
func (a *after) accepted(g *group, d *domain, now time.Time) {
	e, r := g.e, g.refusals(d)
	for _, f := range r.accepted() {
		a.parks = append(a.parks, f.park())
	}
	if g.once != nil || d.paused == nil || !d.paused.self {
		return
	}
	ev, notice := e.goOn(d, now, "a message was accepted")
	a.notes, a.notices = append(a.notes, ev), append(a.notices, notice)
}

// goOn ends a pause of our own. Callers hold e.mu.
func (e *Engine) goOn(d *domain, now time.Time, reason string) (spool.Event, Notice) {
	d.paused, d.pauseAt = nil, now
	d.claims.release(now, true)
	d.released = now
	d.rewind()
	e.log.Info("replay of a domain goes on: "+reason, "domain", d.name)
	return spool.Event{Type: spool.ReplayResumed, By: by, Domain: d.name, Reason: reason, Data: startedData(d.Manual && d.started)},
		Notice{Kind: NoticeResumed, Time: now, Domain: d.name, Reason: reason}
}

// park records that pairs are parked, and tells people; or that they are given back to their writer.
func (e *Engine) park(parks []park) error {
	for len(parks) > 0 {
		n := 1
		for n < len(parks) && parks[n].pair.Entry == parks[0].pair.Entry {
			n++
		}
		outcome, err := e.comeBack(parks[:n])
		if err != nil {
			e.tryAgain(parks[:n], err)
		} else {
			for _, p := range parks[:n] {
				if err := e.endPair(p, outcome); err != nil {
					return err
				}
			}
		}
		parks = parks[n:]
	}
	return nil
}

// endPair records that a pair is parked or bounced.
func (e *Engine) endPair(p park, outcome spool.EventType) error {
	d := p.d
	err := e.settle(spool.Event{
		Type: outcome, By: by, Entry: p.pair.Entry, Rcpt: p.pair.Rcpt, Round: p.pair.Round,
		Reply: p.reply, Host: p.host, Reason: p.reason, Generation: p.lease.Generation(),
	})
	now := time.Now()
	e.mu.Lock()
	// Also after an error: the event is in unsaved.
	d.claims.settle(p.key, p.pair.Round, d.scan.no)
	d.run.parked++
	d.rate.add(now, 1)
	d.run.recent = append([]Parked{{Time: now, Entry: p.pair.Entry, Address: p.pair.Address, Reply: p.reply, Reason: p.reason}}, d.run.recent[:min(len(d.run.recent), 9)]...)
	if d.group != nil {
		d.group.wakeFeeder()
	}
	e.mu.Unlock()
	e.o.Metrics.parked()
	e.log.Info(string(outcome), "id", p.pair.Entry, "domain", d.name, "rcpt", p.pair.Address, "reply", p.reply, "reason", p.reason)
	if err == nil && !p.quiet && outcome == spool.Parked {
		e.o.Notify(Notice{Kind: NoticeParked, Time: now, Domain: d.name, Entry: p.pair.Entry, Address: p.pair.Address, Reply: p.reply, Reason: p.reason})
	}
	return err
}

// resolve ends the refusals that are left when nothing else is to be sent.
func (e *Engine) resolve(parked, again []refusal, now time.Time) error {
	var notes []spool.Event
	e.mu.Lock()
	for _, f := range again {
		notes = append(notes, e.putBack(f, now))
		f.d.run.deferred++
	}
	e.mu.Unlock()
	if len(notes) > 0 {
		e.o.Spool.Note(notes...)
	}
	parks := make([]park, len(parked))
	for i, f := range parked {
		parks[i] = f.park()
	}
	return e.park(parks)
}

func (f *refusal) park() park {
	return park{
		d: f.d, pair: f.pair, key: f.key, lease: f.lease, reply: spool.Printable(f.reply.String()), host: f.host,
		reason: "refused by the primary",
		quiet:  f.quiet(),
	}
}

func lossText(err error, f fate) string {
	what := "connection lost"
	if f == fateUnknown {
		what = "connection lost after the final dot, before the reply"
	}
	if err != nil {
		what += ": " + spool.Printable(err.Error())
	}
	return what
}

// logResult writes one line for each transaction.
func (e *Engine) logResult(j *job, res *smtpc.Result, vs []verdict, host string) {
	if !e.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	counts := make(map[fate]int)
	reply := ""
	for _, v := range vs {
		counts[v.fate]++
		if t := v.reply.String(); t != "" {
			reply = t
		}
	}
	args := []any{"id", j.pairs[0].Entry, "domain", j.d.name, "host", host, "from", j.entry.From, "reply", spool.Printable(reply)}
	for f := fateDelivered; f <= fateTurned; f++ {
		if counts[f] > 0 {
			args = append(args, f.String(), counts[f])
		}
	}
	if res.Err != nil {
		args = append(args, "error", res.Err)
	}
	e.log.Info("replay", args...)
}

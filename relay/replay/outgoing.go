package replay

import (
	"context"
	"slices"
	"time"

	"restante/spool"
)

// Mail that was written here differs from held mail in two ways: it may be taken back until its NotBefore, and what can't be
// delivered outside comes back to its writer rather than to an admin.

// UndoSlack is how long after Entry.NotBefore a message is left alone still, so that the clocks of two nodes may differ
// by that much and an undo be under way for that long.
const UndoSlack = time.Second

// Undelivered is a pair that can't be delivered, and why.
type Undelivered struct {
	Pair   spool.Pair
	Reply  string // the server's last word, Printable; "" when there is none
	Reason string
	Host   string // that said so
}

// ready fetches a job's message. due is when it may go, if not now; a job without pairs was taken back.
func (e *Engine) ready(ctx context.Context, j *job) (due time.Time, err error) {
	if err := e.fetch(ctx, j); err != nil {
		return time.Time{}, err
	}
	return e.mayGo(ctx, j)
}

// mayGo looks whether a fetched job may go out now, or from when on it may. It takes those pairs out that
// were taken back in the last moment, on whichever node: the ledger was read up to its end after NotBefore.
func (e *Engine) mayGo(ctx context.Context, j *job) (due time.Time, err error) {
	now := time.Now()
	if e.o.Hold != nil {
		if due := e.o.Hold(j.entry); due.After(now) {
			return due, nil
		}
	}
	if j.entry.NotBefore.IsZero() {
		return time.Time{}, nil
	}
	from := j.entry.NotBefore.Add(UndoSlack)
	if now.Before(from) {
		return from, nil
	}
	synced, due := e.sync(ctx, from)
	if !due.IsZero() {
		return due, nil
	}
	if j.read.After(synced) {
		return time.Time{}, nil
	}
	v, err := e.o.Index.Entry(ctx, j.pairs[0].Entry)
	if err != nil {
		return time.Time{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	was, keys := j.pairs, j.keys
	j.pairs, j.keys, j.read = nil, nil, now
	for i, p := range was {
		if slices.ContainsFunc(v.Pairs, func(q spool.Pair) bool {
			return q.Rcpt == p.Rcpt && q.State == p.State && (q.Round == p.Round || p.State == spool.StateDelivered)
		}) {
			j.pairs, j.keys = append(j.pairs, p), append(j.keys, keys[i])
			continue
		}
		j.d.claims.giveBack(&p, keys[i], j.d.scan.no)
	}
	return time.Time{}, nil
}

// syncWait bounds how long the ledger is waited for: mail that nobody can take back any more must not stand behind it. It is
// the pause after a failure, too.
const syncWait = 5 * time.Second

// sync makes sure that the ledger was read up to its end after a time that has passed. It returns when that was, or when to
// ask again.
func (e *Engine) sync(ctx context.Context, after time.Time) (synced, due time.Time) {
	e.mu.Lock()
	synced, failed := e.synced, e.syncFailed
	e.mu.Unlock()
	now := time.Now()
	if !synced.Before(after) {
		return synced, time.Time{}
	}
	if again := failed.Add(syncWait); now.Before(again) {
		return synced, again
	}
	sctx, cancel := context.WithTimeout(ctx, syncWait)
	defer cancel()
	err := e.o.Spool.Sync(sctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.syncFailed = time.Now()
		if ctx.Err() == nil {
			e.log.Warn("the ledger can't be read to its end, so mail that may have been taken back waits", "error", err)
		}
		return synced, e.syncFailed.Add(syncWait)
	}
	if e.synced.Before(now) {
		e.synced = now
	}
	return now, time.Time{}
}

// leave puts a job back until due, and ends it. Callers hold e.mu.
func (g *group) leave(j *job, due time.Time) {
	d := j.d
	for i, k := range j.keys {
		d.claims.putOff(k, due, j.pairs[i].Attempts)
		d.scan.left++
		d.scan.next = earliest(d.scan.next, due)
	}
	g.ended(j)
}

// comeBack asks whether pairs of one entry that are about to be parked are given back to their writer instead.
// After an error they are to be tried again.
func (e *Engine) comeBack(parks []park) (spool.EventType, error) {
	if e.o.Undelivered == nil {
		return spool.Parked, nil
	}
	us := make([]Undelivered, len(parks))
	for i, p := range parks {
		us[i] = Undelivered{Pair: p.pair, Reply: p.reply, Reason: p.reason, Host: p.host}
	}
	bounced, err := e.o.Undelivered(us)
	switch {
	case err != nil:
		return "", err
	case bounced:
		return spool.Bounced, nil
	}
	return spool.Parked, nil
}

// tryAgain puts pairs off that could not be given back to their writer.
func (e *Engine) tryAgain(parks []park, why error) {
	e.log.Error("a message could not be given back to its writer; it stays pending", "id", parks[0].pair.Entry, "error", why)
	now := time.Now()
	var notes []spool.Event
	e.mu.Lock()
	for _, p := range parks {
		notes = append(notes, e.putOff(p.d, p.pair, p.key, p.reply, p.host, now))
	}
	e.mu.Unlock()
	e.o.Spool.Note(notes...)
}

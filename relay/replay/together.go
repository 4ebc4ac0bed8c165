package replay

import (
	"context"
	"slices"
	"time"

	"restante/relay/replay/pace"
	"restante/spool"
)

// An entry's recipients may lie in several domains behind one set of primary hosts. They go in one transaction: the job of
// the domain that comes to it first takes those of the others with it, if they may be sent too. Each part has its own
// domain, with its claims, lease and sums; where a domain is paused, manual, without its lease or declared down, its part
// stays behind and goes alone later.

// leaseWait is how long a domain's message waits for the lease of another domain that it has recipients in.
const leaseWait = 2 * time.Second

// parts are the job and those that go with it, in the order of their recipients in the transaction.
func (j *job) parts() []*job {
	if len(j.with) == 0 {
		return []*job{j}
	}
	return append([]*job{j}, j.with...)
}

// count is the number of pairs of all parts.
func (j *job) count() int {
	n := 0
	for _, p := range j.parts() {
		n += len(p.pairs)
	}
	return n
}

// join makes one job of parts, nil of none.
func join(parts []*job) *job {
	if len(parts) == 0 {
		return nil
	}
	parts[0].with = parts[1:]
	return parts[0]
}

// gather adds to a fetched job the parts of other domains. wait: one of them has just asked for its lease.
func (g *group) gather(ctx context.Context, j *job) (wait bool, err error) {
	e := g.e
	e.mu.Lock()
	var others []*domain
	for _, d := range g.doms {
		if d != j.d && slices.ContainsFunc(j.entry.Rcpts, func(r spool.Recipient) bool { return r.Domain == d.name }) {
			others = append(others, d)
		}
	}
	e.mu.Unlock()
	if len(others) == 0 || j.trial {
		return false, nil
	}
	v, err := e.o.Index.Entry(ctx, j.pairs[0].Entry)
	if err != nil {
		return false, err
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range others {
		pairs := slices.DeleteFunc(slices.Clone(v.Pairs), func(p spool.Pair) bool {
			return p.Domain != d.name || p.State != spool.StatePending || p.Rcpt >= len(j.entry.Rcpts)
		})
		ok, _ := g.eligible(d, now)
		if len(pairs) == 0 || d.group != g || d.paused != nil || !ok {
			continue
		}
		if !e.hasLease(d) {
			wait = wait || now.Sub(d.leaseAsked) < leaseWait
			continue
		}
		if p := g.part(d, j, pairs, now); p != nil {
			j.with = append(j.with, p)
		}
	}
	return wait, nil
}

// part claims what may be sent of the pairs of another domain. Callers hold e.mu.
func (g *group) part(d *domain, j *job, pairs []spool.Pair, now time.Time) *job {
	e := g.e
	p := &job{d: d, lease: d.lease, entry: j.entry, read: j.read}
	for _, pair := range pairs {
		k, ok := keyOf(&pair)
		if _, held := e.o.Health.Declared(pair.Address); !ok || held {
			continue
		}
		if ok, _ := d.claims.take(&pair, k, d.scan.no, now, d.released, &e.cfg); ok {
			p.pairs, p.keys = append(p.pairs, pair), append(p.keys, k)
		}
	}
	if len(p.pairs) == 0 {
		return nil
	}
	g.begun(d)
	d.beginRun(now)
	return p
}

// leaveBehind gives back the parts of a job that may not be sent any more. Callers hold e.mu.
func (g *group) leaveBehind(j *job) {
	j.with = slices.DeleteFunc(j.with, func(p *job) bool {
		if g.maySend(p) {
			return false
		}
		g.giveUp(p)
		p.d.rewind()
		return true
	})
}

// still leaves of a job the pairs that the index shows as they were; nil when none is left. Callers hold e.mu.
func (w *worker) still(j *job, pairs []spool.Pair, now time.Time) *job {
	var left, none []*job
	gone := 0
	for _, p := range j.parts() {
		keys := p.keys
		was := p.pairs
		p.pairs, p.keys, p.read = nil, nil, now
		for i, pair := range was {
			if slices.ContainsFunc(pairs, func(q spool.Pair) bool {
				return q.Rcpt == pair.Rcpt && q.State == pair.State && (q.Round == pair.Round || pair.State == spool.StateDelivered)
			}) {
				p.pairs, p.keys = append(p.pairs, pair), append(p.keys, keys[i])
				continue
			}
			p.d.claims.giveBack(&pair, keys[i], p.d.scan.no)
			gone++
		}
		if len(p.pairs) > 0 {
			left = append(left, p)
			continue
		}
		p.keys = keys[:1]
		none = append(none, p)
	}
	body := j.body
	j.body, j.with = nil, nil
	next := join(left)
	if next == nil {
		j.body = body // closed with it
		w.g.pace.Ended(now, pace.Unsent)
		if w.g.once != nil {
			w.g.once.skipped(gone)
		}
	} else {
		next.body, next.size, next.unsent = body, j.size, j.unsent
	}
	for _, p := range none {
		w.g.ended(p)
	}
	return next
}

package replay

import (
	"hash/fnv"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
)

// key names a pair. It is an array of octets, not the id's string, since up to hundreds of thousands
// of them are held.
type key struct {
	id   ulid.ULID
	rcpt int32
}

func keyOf(p *spool.Pair) (key, bool) {
	id, err := ulid.ParseStrict(p.Entry)
	return key{id, int32(p.Rcpt)}, err == nil
}

type claimState uint8

const (
	underway claimState = iota // read from the index, and not ended yet
	settled                    // its outcome is recorded, the index may not have it yet
	later                      // backing off, the index may not know of the attempt yet
)

type claim struct {
	due      int64  // later: not before, in ns since 1970
	scan     uint32 // settled: the last scan that showed it, or may have
	round    int32  // settled: in this round or an earlier one
	attempts int32  // later: with those that the index may not know of
	state    claimState
	unread   uint8 // times in a row that the message couldn't be read
	refused  bool  // later: with 5xx
}

// claims are the pairs of one domain of which we know more than the index does. They are guarded by
// Engine.mu.
type claims struct {
	m       map[key]claim
	settled int
	settles uint64 // settled pairs, ever
	later   int
	unread  int   // of later: because their messages can't be read
	tooLong int64 // when claims in state later were last swept, ns since 1970
}

func newClaims() claims { return claims{m: make(map[key]claim)} }

// take claims a pair that the index shows as pending, or says why not: not now but at due (zero: it is
// under way, or has ended). scan is the number of the scan that read the pair; released says that what
// was deferred before then needn't wait any longer. On success p.Attempts counts all attempts.
func (c *claims) take(p *spool.Pair, k key, scan uint32, now, released time.Time, cfg *Config) (ok bool, due time.Time) {
	cl, found := c.m[k]
	if found {
		switch cl.state {
		case underway:
			return false, time.Time{}
		case settled:
			if int32(p.Round) <= cl.round {
				cl.scan = scan
				c.m[k] = cl
				return false, time.Time{}
			}
			c.uncount(cl) // a retry opened another round
		case later:
			due := time.Unix(0, cl.due)
			if now.Before(due) {
				return false, due
			}
			c.uncount(cl)
			p.Attempts = max(p.Attempts, int(cl.attempts))
		}
	} else if p.Attempts > 0 && p.Changed.After(released) {
		if due := p.Changed.Add(cfg.backoff(k.id, p.Attempts)); now.Before(due) {
			return false, due
		}
	}
	c.m[k] = claim{state: underway, unread: cl.unread}
	return true, time.Time{}
}

// force claims a pair whatever its backoff, for a run that an admin asked for.
func (c *claims) force(k key) bool {
	cl, found := c.m[k]
	if found && cl.state == underway {
		return false
	}
	c.forget(k)
	c.m[k] = claim{state: underway}
	return true
}

// isSettled reports that the pair has ended in its round, whatever the index shows.
func (c *claims) isSettled(k key, round int) bool {
	cl, found := c.m[k]
	return found && cl.state == settled && int32(round) <= cl.round
}

// settle says that the outcome of a pair is recorded. scan is the domain's current scan: a page of it
// may have been read before the index knows.
func (c *claims) settle(k key, round int, scan uint32) {
	c.forget(k)
	c.m[k] = claim{state: settled, round: int32(round), scan: scan}
	c.settled++
	c.settles++
}

// putOff puts a pair back until due.
func (c *claims) putOff(k key, due time.Time, attempts int) {
	c.forget(k)
	c.m[k] = claim{state: later, due: due.UnixNano(), attempts: int32(attempts)}
	c.later++
}

// unreadable puts back a pair whose message can't be read: for pause, doubling to most each time in a row.
func (c *claims) unreadable(k key, now time.Time, pause, most time.Duration, attempts int) (due time.Time) {
	times := c.m[k].unread
	for range min(times, 20) {
		pause *= 2
	}
	due = now.Add(min(pause, most))
	c.putOff(k, due, attempts)
	cl := c.m[k]
	cl.unread = min(times, 254) + 1
	c.m[k] = cl
	c.unread++
	return due
}

// forget gives a pair back to the index's word.
func (c *claims) forget(k key) {
	if cl, found := c.m[k]; found {
		c.uncount(cl)
		delete(c.m, k)
	}
}

// giveBack ends the claim of a pair that wasn't sent. The index has the word on it, unless it was delivered before: then
// a page that was read before the index knew of that may still show it as pending.
func (c *claims) giveBack(p *spool.Pair, k key, scan uint32) {
	if p.State == spool.StateDelivered {
		c.settle(k, p.Round-1, scan)
		return
	}
	c.forget(k)
}

// uncount takes a claim out of the sums.
func (c *claims) uncount(cl claim) {
	switch cl.state {
	case settled:
		c.settled--
	case later:
		c.later--
		if cl.unread > 0 {
			c.unread--
		}
	}
}

// confirm forgets the settled pairs that scan, which has read everything up to and including the
// entry last, would have shown if the index still had them as pending. It returns how many.
func (c *claims) confirm(scan uint32, last ulid.ULID, all bool) int {
	n := 0
	for k, cl := range c.m {
		if cl.state == settled && cl.scan < scan && (all || k.id.Compare(last) < 0) {
			delete(c.m, k)
			n++
		}
	}
	c.settled -= n
	return n
}

// refuse says of a pair that was put back that it was refused with 5xx.
func (c *claims) refuse(k key) {
	if cl := c.m[k]; cl.state == later {
		cl.refused = true
		c.m[k] = cl
	}
}

// release lets what backs off be tried at once, refused pairs if that is asked for: the primary was the cause, not the entries.
func (c *claims) release(now time.Time, refused bool) {
	for k, cl := range c.m {
		if cl.state == later && cl.due > now.UnixNano() && (refused || !cl.refused) {
			cl.due = now.UnixNano()
			c.m[k] = cl
		}
	}
}

// expire forgets backoffs that ended long ago: the pair was held or removed meanwhile, or the index
// knows the attempt by now.
func (c *claims) expire(now time.Time) {
	const every, keep = time.Minute, 10 * time.Minute
	if now.UnixNano()-c.tooLong < int64(every) {
		return
	}
	c.tooLong = now.UnixNano()
	for k, cl := range c.m {
		if cl.state == later && now.UnixNano()-cl.due > int64(keep) {
			c.forget(k)
		}
	}
}

// backoff is the time to wait after the given number of attempts in a row that got 4xx: BackoffMin
// doubling to BackoffMax, less up to a fifth by chance. The chance is drawn from the entry's id, so
// that a restart finds the same times in the index's count of attempts.
func (c *Config) backoff(id ulid.ULID, attempts int) time.Duration {
	d := c.BackoffMin
	for i := 1; i < attempts && d < c.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, c.BackoffMax)
	h := fnv.New32a()
	h.Write(id[:])
	h.Write([]byte{byte(attempts)})
	return d - time.Duration(h.Sum32()%1000)*d/5000
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if c.Connections <= 0 {
		c.Connections = 20
	}
	if c.Start <= 0 {
		c.Start = 5
	}
	def(&c.BackoffMin, 15*time.Second)
	def(&c.BackoffMax, 15*time.Minute)
	def(&c.GiveUp, 5*24*time.Hour)
	def(&c.PauseRetry, 5*time.Minute)
	return c
}

// Package pace decides how fast a primary that has just come back is fed: how many connections, and
// when the next message may be started. It is pure: no clock, no randomness, no goroutines; the caller
// says what time it is and what happened, and asks what may be done. It is not safe for concurrent use.
//
// It starts with the canary: one connection, one message. When that is accepted, Start connections
// are allowed, and from there each accepted message adds 1/N to the window of N connections and each
// lost one takes 1/N away (Postfix's SCHEDULER_README, "less-than-1 feedback": at equal shares of
// success and failure the window stays where it is, and a single failure never throws it far back).
// An acceptance counts only while the window is really used, so that a window cannot grow on
// connections that were never opened.
//
// A connection that is refused while others work (421 above five connections) says where the limit
// is: the window goes back to what is open, and stays there for a hold time that doubles with each
// further refusal, so that a limit is asked for again, but not at each message.
//
// A lost connection makes all wait together; what is already under way goes on. The first success,
// of any of them, releases all together. If nothing was under way, one trial goes out after a wait
// that doubles. LostRow trials lost in a row, or DeferredRow messages in a row answered 4xx (a full
// disk), take everything back to the canary.
package pace

import (
	"math"
	"time"
)

// Config bounds the pace. Zero fields get the defaults.
type Config struct {
	Start int     // connections after the canary; default 5
	Cap   int     // connections at most; default 20
	Rate  float64 // messages a second at most; 0: no limit

	WaitMin time.Duration // after the first lost connection or canary answered 4xx; default 1 s
	WaitMax time.Duration // the wait doubles up to this; default 1 min
	HoldMin time.Duration // before a refused connection is tried again while others work; default 2 s
	HoldMax time.Duration // the hold doubles up to this; default 1 min
}

const (
	// LostRow is the number of trials lost in a row after which the canary goes first again.
	LostRow = 3
	// DeferredRow is the number of messages answered 4xx in a row, with none accepted or refused for
	// good between them, after which the canary goes first again.
	DeferredRow = 10
)

func (c Config) withDefaults() Config {
	if c.Cap <= 0 {
		c.Cap = 20
	}
	if c.Start <= 0 {
		c.Start = 5
	}
	c.Start = min(c.Start, c.Cap)
	if c.WaitMin <= 0 {
		c.WaitMin = time.Second
	}
	if c.WaitMax <= 0 {
		c.WaitMax = time.Minute
	}
	if c.HoldMin <= 0 {
		c.HoldMin = 2 * time.Second
	}
	if c.HoldMax <= 0 {
		c.HoldMax = time.Minute
	}
	return c
}

// Outcome is how a started message ended.
type Outcome int

// The outcomes.
const (
	Accepted Outcome = iota // 2xx to the dot, for one recipient at least
	Deferred                // 4xx, and nobody accepted
	Refused                 // 5xx: the primary lives, but that is no success
	Lost                    // the connection broke while this message was under way
	Unsent                  // put back through no fault of its own
)

// Phase is what the pace is doing.
type Phase string

// The phases.
const (
	Canary  Phase = "canary"  // one message at a time until one is accepted
	Open    Phase = "open"    // up to Limit connections
	Waiting Phase = "waiting" // a connection was lost: all wait for the first success
)

// Pace is the state for one set of primary hosts.
type Pace struct {
	cfg    Config
	phase  Phase
	resume Phase // what Waiting goes back to: Canary or Open

	window   float64 // connections allowed in Open
	conns    int     // open, or being opened
	opening  int     // of those, being opened
	inflight int     // messages started and not ended
	trial    bool    // in Waiting: the message under way is the trial

	until time.Time     // Canary and Waiting: nothing is started before
	wait  time.Duration // the last wait, 0 after a success

	holdUntil time.Time
	hold      time.Duration
	ceiling   int // connections that worked when one more was refused

	lostRow, deferredRow int

	tokens  float64
	tokenAt time.Time
}

// New returns a Pace that begins with the canary.
func New(c Config) *Pace {
	c = c.withDefaults()
	return &Pace{cfg: c, phase: Canary, resume: Canary, window: float64(c.Start), tokens: 1}
}

// SetConfig changes the bounds; the window is cut to the new cap.
func (p *Pace) SetConfig(c Config) {
	p.cfg = c.withDefaults()
	p.window = min(p.window, float64(p.cfg.Cap))
}

// Phase says what the pace is doing.
func (p *Pace) Phase() Phase { return p.phase }

// Connections returns the connections that are open or being opened.
func (p *Pace) Connections() int { return p.conns }

// Started returns the messages that are under way.
func (p *Pace) Started() int { return p.inflight }

// Limit is the number of connections that may be open now.
func (p *Pace) Limit() int {
	if p.phase != Open {
		return 1
	}
	return max(1, int(math.Floor(p.window+1e-9)))
}

// Excess reports that a connection should be closed once its messages have ended: the window shrank.
// While waiting, and for the canary, open connections are kept for the release.
func (p *Pace) Excess() bool { return p.phase == Open && p.conns > p.Limit() }

// Connect asks for one more connection. When ok, the caller says Opened and then Closed, or Failed. When not,
// wait is how long until it is worth asking again; 0 means after the next event.
func (p *Pace) Connect(now time.Time) (ok bool, wait time.Duration) {
	if p.phase != Open {
		if now.Before(p.until) {
			return false, p.until.Sub(now)
		}
		if p.inflight > 0 {
			return false, 0 // what is under way decides first
		}
	}
	if p.conns >= p.Limit() {
		return false, 0
	}
	p.conns++
	p.opening++
	return true, 0
}

// Opened says that a connection asked for by Connect has come to a session.
func (p *Pace) Opened() { p.opening-- }

// Closed says that a connection ended in good order, or after its last message was accounted for.
func (p *Pace) Closed() { p.conns-- }

// Failed says that a connection asked for by Connect did not come to a usable session: refused, 421,
// timed out. While others work it sets the ceiling; alone it counts as a lost connection.
func (p *Pace) Failed(now time.Time) {
	p.conns--
	p.opening--
	if p.conns > p.opening && p.phase == Open {
		p.ceiling = p.conns
		p.window = min(p.window, float64(p.conns))
		if !now.Before(p.holdUntil) { // several refused at once are one refusal
			p.hold = double(p.hold, p.cfg.HoldMin, p.cfg.HoldMax)
			p.holdUntil = now.Add(p.hold)
		}
		return
	}
	if p.phase == Open || !now.Before(p.until) {
		p.lost(now)
	}
}

// Start asks to start one message on an open connection. When ok, it counts as under way until Ended.
// When not, wait is how long until it is worth asking again; 0 means after the next event.
func (p *Pace) Start(now time.Time) (ok bool, wait time.Duration) {
	if p.phase != Open {
		if now.Before(p.until) {
			return false, p.until.Sub(now)
		}
		if p.inflight > 0 {
			return false, 0
		}
	}
	if wait := p.token(now); wait > 0 {
		return false, wait
	}
	p.inflight++
	p.trial = p.phase == Waiting
	return true, 0
}

// token takes one message from the bucket of the rate limit, or says when there will be one. The
// bucket holds a tenth of a second's worth: bursts stay small, and timers needn't be exact.
func (p *Pace) token(now time.Time) time.Duration {
	if p.cfg.Rate <= 0 {
		return 0
	}
	if d := now.Sub(p.tokenAt); d > 0 {
		if !p.tokenAt.IsZero() {
			p.tokens += d.Seconds() * p.cfg.Rate
		}
		p.tokenAt = now
	}
	p.tokens = min(p.tokens, max(1, p.cfg.Rate/10))
	const slack = 1e-6 // less than a rounding error of the clock must not cost a timer
	if p.tokens < 1-slack {
		return max(time.Microsecond, time.Duration((1-p.tokens)/p.cfg.Rate*float64(time.Second)))
	}
	p.tokens--
	return 0
}

// Ended says how a message that Start allowed has ended. A connection that was lost with it is
// reported by Closed besides.
func (p *Pace) Ended(now time.Time, o Outcome) {
	p.inflight--
	trial := p.trial
	p.trial = false
	switch o {
	case Accepted:
		p.accepted(now)
	case Deferred:
		p.deferred(now)
	case Refused:
		p.deferredRow = 0
	case Lost:
		// Many connections break at once when a server restarts: that is one loss, not many.
		if p.phase != Waiting || trial {
			p.lost(now)
		}
	}
}

func (p *Pace) accepted(now time.Time) {
	p.lostRow, p.deferredRow, p.wait, p.until = 0, 0, 0, time.Time{}
	switch {
	case p.phase == Waiting && p.resume == Open:
		p.phase = Open // released together, at the window they had
	case p.phase != Open:
		p.phase, p.resume = Open, Open
		p.window = float64(p.cfg.Start)
	case p.conns-p.opening >= p.Limit() && !now.Before(p.holdUntil):
		p.window = min(p.window+1/p.window, float64(p.cfg.Cap))
		if p.conns-p.opening > p.ceiling {
			p.hold, p.ceiling = 0, 0 // the limit has gone
		}
	}
}

func (p *Pace) deferred(now time.Time) {
	p.deferredRow++
	if p.deferredRow < DeferredRow {
		return // mailboxes may be full, or it asks to come back; the next one goes at once
	}
	if p.phase == Open {
		p.phase, p.resume = Canary, Canary
	}
	if now.Before(p.until) {
		return // others of the same burst: one wait for all
	}
	p.pause(now)
}

func (p *Pace) lost(now time.Time) {
	p.window = max(1, p.window-1/p.window)
	p.lostRow++
	if p.phase != Waiting {
		p.resume = p.phase
	}
	p.phase = Waiting
	if p.lostRow >= LostRow || p.resume == Canary {
		p.phase, p.resume = Canary, Canary
	}
	p.pause(now)
}

func (p *Pace) pause(now time.Time) {
	p.wait = double(p.wait, p.cfg.WaitMin, p.cfg.WaitMax)
	p.until = now.Add(p.wait)
}

// Nudge ends a wait: a probe has just shown that the primary answers.
func (p *Pace) Nudge() { p.until, p.wait = time.Time{}, 0 }

// Reset goes back to the canary: the primary was down, or everything was handed over and the next
// burst shall not begin with the window of the last.
func (p *Pace) Reset() {
	p.phase, p.resume = Canary, Canary
	p.window = float64(p.cfg.Start)
	p.until, p.wait = time.Time{}, 0
	p.hold, p.ceiling, p.holdUntil = 0, 0, time.Time{}
	p.lostRow, p.deferredRow = 0, 0
}

func double(d, lo, hi time.Duration) time.Duration { return min(max(2*d, lo), hi) }

package pass

import (
	"context"
	"errors"
	"sync"
	"time"

	"restante/relay/reply"
	"restante/relay/smtpc"
)

// errBusy says that all the connections that we may have to a primary are in use.
var errBusy = errors.New("all connections to the primary are in use")

// tidyTime bounds the RSET that makes an unfinished session fit for reuse.
const tidyTime = 5 * time.Second

// pool keeps sessions to primaries open between transactions, for each set of primary hosts. The session
// given back last is taken first, so that after a burst the rest close.
type pool struct {
	max   int
	idle  time.Duration
	wait  time.Duration
	tasks sync.WaitGroup

	mu     sync.Mutex
	sets   map[string]*poolSet
	closed bool
}

type poolSet struct {
	idle    []*link
	slots   chan struct{} // one for each connection in use
	version int           // counts drop: sessions older than it aren't taken back
}

// sourMax is how many refusals and unfinished transactions a session may have had since its last message for being used
// again. Servers slow down or hang up on clients that do little else (Postfix: smtpd_soft_error_limit 10,
// smtpd_junk_command_limit 100), and what one sender brought about would be paid by the next.
const sourMax = 5

// link is one session to a primary. It is used by one transaction at a time.
type link struct {
	*smtpc.Conn
	key     string
	domain  string // that it was last used for
	version int
	timer   *time.Timer
	reused  bool
	sour    int // refusals and unfinished transactions since the last message that was taken
}

// heard counts what the primary's reply to a recipient or a message says about the session.
func (l *link) heard(rep reply.Reply, message bool) {
	switch {
	case !rep.Positive():
		l.sour++
	case message:
		l.sour = 0
	}
}

func newPool(max int, idle, wait time.Duration) *pool {
	return &pool{max: max, idle: idle, wait: wait, sets: make(map[string]*poolSet)}
}

func (p *pool) setLocked(key string) *poolSet {
	s := p.sets[key]
	if s == nil {
		s = &poolSet{slots: make(chan struct{}, p.max)}
		p.sets[key] = s
	}
	return s
}

// acquire takes the right to one connection to a set; release gives it back. It waits a moment when all are taken.
func (p *pool) acquire(ctx context.Context, key string) (release func(), err error) {
	p.mu.Lock()
	slots := p.setLocked(key).slots
	p.mu.Unlock()
	release = sync.OnceFunc(func() { <-slots })
	select {
	case slots <- struct{}{}:
		return release, nil
	default:
	}
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case slots <- struct{}{}:
		return release, nil
	case <-timer.C:
		return nil, errBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// others reports that a set has more connections than the one whose slot the caller holds.
func (p *pool) others(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.setLocked(key)
	return len(s.slots) > 1 || len(s.idle) > 0
}

// get returns an idle session, nil if there is none that still lives.
func (p *pool) get(key string) *link {
	for {
		p.mu.Lock()
		s := p.setLocked(key)
		n := len(s.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		l := s.idle[n-1]
		s.idle[n-1] = nil
		s.idle = s.idle[:n-1]
		p.mu.Unlock()
		if l.timer.Stop() && l.Alive() {
			l.reused = true
			return l
		}
		l.Close()
	}
}

// fresh makes a link of a connection just opened.
func (p *pool) fresh(key string, c *smtpc.Conn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &link{Conn: c, key: key, version: p.setLocked(key).version}
}

// put takes a session back that is outside of a transaction.
func (p *pool) put(l *link) {
	p.mu.Lock()
	s := p.setLocked(l.key)
	if p.closed || l.version != s.version || len(s.idle) >= p.max || l.sour >= sourMax || l.Spent() {
		p.mu.Unlock()
		p.quit(l)
		return
	}
	defer p.mu.Unlock()
	l.timer = time.AfterFunc(p.idle, func() { p.expire(l) })
	s.idle = append(s.idle, l)
}

func (p *pool) expire(l *link) {
	p.mu.Lock()
	s := p.setLocked(l.key)
	for i, x := range s.idle {
		if x == l {
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
			p.mu.Unlock()
			p.quit(l)
			return
		}
	}
	p.mu.Unlock() // somebody took it at the same moment, saw that the timer had fired, and closed it
}

// tidy takes a session back that may be inside a transaction.
func (p *pool) tidy(l *link) {
	l.sour++
	p.spawn(l, func() {
		ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
		defer cancel()
		if err := l.Reset(ctx); err != nil {
			l.Close()
			return
		}
		p.put(l)
	})
}

// quit ends a session politely, in the background.
func (p *pool) quit(l *link) { p.spawn(l, l.Quit) }

func (p *pool) spawn(l *link, f func()) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		l.Close()
		return
	}
	p.tasks.Go(f)
	p.mu.Unlock()
}

// drop closes the idle sessions of a set whose primary is in trouble, and takes back none that is in use.
func (p *pool) drop(key string) {
	p.mu.Lock()
	s := p.setLocked(key)
	idle := s.idle
	s.idle = nil
	s.version++
	p.mu.Unlock()
	for _, l := range idle {
		l.timer.Stop()
		l.Close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var idle []*link
	for _, s := range p.sets {
		idle = append(idle, s.idle...)
		s.idle = nil
	}
	p.mu.Unlock()
	for _, l := range idle {
		l.timer.Stop()
		l.Close()
	}
	p.tasks.Wait()
}

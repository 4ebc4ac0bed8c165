package dns

import (
	"context"
	"slices"
	"sync"
	"time"
)

// How a server that doesn't answer is found out, and that it is back. The one question that is asked for this, the root's SOA, is one that
// no stranger's zone can keep from being answered: silence to others may be a stranger's doing.
const (
	silentAfter = 3                      // questions in a row without an answer, then the known question is asked
	hasty       = 500 * time.Millisecond // how long such a server is waited for, after the others
	probeTime   = time.Second            // for the answer to the known question; without one the server is dead, and not asked any more
	probeEvery  = time.Second            // how often a dead server is asked it, at most: only when there is something to ask
	probeWait   = 30 * time.Millisecond  // how long what there is to ask waits for that, if no other server is left
)

// Health knows which servers don't answer. Resolvers that ask the same servers may share one. The zero value is ready, and safe for concurrent
// use.
type Health struct {
	mu      sync.Mutex
	servers map[string]silence // "address:port" of those that owe us an answer
	changed chan struct{}      // closed at the next change; nil while nobody waits
}

// silence is that of one server; the zero value is that of one that answers. Its methods are pure.
type silence struct {
	row    int       // questions in a row without an answer, the known one not among them
	since  time.Time // the first of them was asked
	dead   bool      // the known question had no answer either
	probed time.Time // when it was asked last
	asking bool      // it is under way
}

// missed is the silence after one more question, asked at a time, had no answer.
func (s silence) missed(asked time.Time) silence {
	if s.row++; s.row == 1 {
		s.since = asked
	}
	return s
}

// doubtful servers are asked last, and not waited for long.
func (s silence) doubtful() bool { return s.row >= silentAfter }

// due reports that the known question is to be asked.
func (s silence) due(now time.Time) bool {
	return s.doubtful() && !s.asking && now.Sub(s.probed) >= probeEvery
}

// waits is how long a question for a dead server may wait for the known one, which is under way.
func (s silence) waits(now time.Time) time.Duration {
	if !s.dead || !s.asking {
		return 0
	}
	return max(0, s.probed.Add(probeWait).Sub(now))
}

// plan says which of the servers to ask, best first, which are due, and how long to wait for these if there is no other.
func (h *Health) plan(servers []string, now time.Time) (usable, due []string, wait time.Duration, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var doubtful []string
	for _, name := range servers {
		s := h.servers[name]
		if s.due(now) {
			due = append(due, name)
			s.asking, s.probed = true, now
			h.servers[name] = s
		}
		switch {
		case s.dead:
			wait = max(wait, s.waits(now))
		case s.doubtful():
			doubtful = append(doubtful, name)
		default:
			usable = append(usable, name)
		}
	}
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return append(usable, doubtful...), due, wait, h.changed
}

// patience is how long a server is waited for.
func (h *Health) patience(server string, usual time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.servers[server].doubtful() {
		return min(usual, hasty)
	}
	return usual
}

// heard notes an answer, whatever it says, and returns the silence that it ends.
func (h *Health) heard(server string) (was silence) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, ok := h.servers[server]
	if ok {
		delete(h.servers, server)
		h.wake()
	}
	return was
}

// missed notes that a question had no answer.
func (h *Health) missed(server string, asked time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.servers == nil {
		h.servers = map[string]silence{}
	}
	h.servers[server] = h.servers[server].missed(asked)
}

// probed notes what became of the known question, and returns the silence before and after. An answer to it shows that the server lives, but not
// that it is of use: one that only hands questions on may have kept it.
func (h *Health) probed(server string, answered bool) (before, after silence) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, ok := h.servers[server]
	if !ok { // it has answered something else meanwhile
		return before, before
	}
	after = before
	after.asking, after.dead = false, !answered
	h.servers[server] = after
	h.wake()
	return before, after
}

// wake ends the waiting of all. The caller holds mu.
func (h *Health) wake() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// Silent is a server that doesn't answer, and isn't asked while others do.
type Silent struct {
	Server string    // "address:port"
	Since  time.Time // the first question that it left unanswered
}

// Silent returns those of the resolver's servers that don't answer, and whether these are all. Those that may be back are looked at first: nobody
// may have asked anything since.
func (r *Resolver) Silent() (list []Silent, all bool) {
	ctx, cancel := context.WithTimeout(context.Background(), probeWait)
	defer cancel()
	servers := r.servers()
	_, due, _, _ := r.health.plan(servers, time.Now())
	looked := make(chan struct{}, len(due))
	for _, s := range due {
		go func() {
			r.probe(s)
			looked <- struct{}{}
		}()
	}
	for range due {
		select {
		case <-looked:
		case <-ctx.Done():
		}
	}
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	for _, name := range servers {
		if s := r.health.servers[name]; s.dead {
			list = append(list, Silent{name, s.since})
		}
	}
	slices.SortStableFunc(list, func(a, b Silent) int { return a.Since.Compare(b.Since) })
	return list, len(list) > 0 && len(list) == len(servers)
}

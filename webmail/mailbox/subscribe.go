package mailbox

import (
	"sync"
	"time"
)

// subscribers are those who look at boxes and addresses.
type subscribers struct {
	mu     sync.Mutex
	all    map[string]map[chan struct{}]bool
	timers map[*time.Timer]bool
	over   bool
}

// visibleMost bounds the timers for what shows later; what is beyond shows with the next change.
const visibleMost = 1000

// Subscribe returns a channel that gets a value when something in one of the boxes, by ID, or for one of the addresses has
// changed; values that nobody takes are one. The function ends it.
func (s *Store) Subscribe(names ...string) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	u := &s.subs
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[string]map[chan struct{}]bool{}
	}
	for _, name := range names {
		name = canonical(name)
		if u.all[name] == nil {
			u.all[name] = map[chan struct{}]bool{}
		}
		u.all[name][c] = true
	}
	return c, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, name := range names {
			name = canonical(name)
			delete(u.all[name], c)
			if len(u.all[name]) == 0 {
				delete(u.all, name)
			}
		}
	}
}

// tell tells those who look at what the ops have changed, and again when what isn't to be seen yet shows.
func (u *subscribers) tell(ops []op, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range ops {
		o := &ops[i]
		if o.name == "" {
			continue
		}
		u.wake(o.name)
		if later := time.Duration(o.row.visible - now.UnixNano()); o.what == opAdd && o.row.visible != 0 && later > 0 && len(u.timers) < visibleMost {
			u.later(o.name, later)
		}
	}
}

func (u *subscribers) wake(name string) {
	for c := range u.all[name] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (u *subscribers) later(name string, d time.Duration) {
	if u.over {
		return
	}
	if u.timers == nil {
		u.timers = map[*time.Timer]bool{}
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.timers, t)
		u.wake(name)
	})
	u.timers[t] = true
}

// end stops what is to come.
func (u *subscribers) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
	for t := range u.timers {
		t.Stop()
	}
	clear(u.timers)
}

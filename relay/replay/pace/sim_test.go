package pace

import (
	"container/heap"
	"testing"
	"time"
)

// sim is a primary and our workers in simulated time: what the pace leads to in the end.
type sim struct {
	p       *Pace
	now     time.Time
	events  events
	idle    int // open connections without a message
	open    int
	latency time.Duration
	limit   int              // connections that the primary takes
	fault   func(n int) bool // the n-th message breaks its connection
	down    func(at time.Duration) bool

	sent, refused, lost, most int
	sumOpen, samples          int
	asked                     time.Time
}

type event struct {
	at time.Time
	do func()
}
type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	o := *e
	x := o[len(o)-1]
	*e = o[:len(o)-1]
	return x
}

func (s *sim) in(d time.Duration, f func()) { heap.Push(&s.events, event{s.now.Add(d), f}) }

// dispatch does what Engine does: idle connections first, then new ones.
func (s *sim) dispatch() {
	for s.idle > 0 {
		if s.p.Excess() {
			s.idle--
			s.open--
			s.p.Closed()
			continue
		}
		ok, wait := s.p.Start(s.now)
		if !ok {
			s.ask(wait)
			return
		}
		s.idle--
		s.sent++
		n := s.sent
		s.in(s.latency, func() { s.reply(n) })
	}
	for {
		ok, wait := s.p.Connect(s.now)
		if !ok {
			s.ask(wait)
			return
		}
		s.in(s.latency, s.connected)
	}
}

func (s *sim) ask(wait time.Duration) {
	if at := s.now.Add(wait); wait > 0 && (!s.asked.After(s.now) || at.Before(s.asked)) {
		s.asked = at
		s.in(wait, func() { s.dispatch() })
	}
}

func (s *sim) connected() {
	if s.limit > 0 && s.open >= s.limit || s.down != nil && s.down(s.now.Sub(t0)) {
		s.refused++
		s.p.Failed(s.now)
	} else {
		s.open++
		s.p.Opened()
		s.most = max(s.most, s.open)
		s.idle++
	}
	s.dispatch()
}

func (s *sim) reply(n int) {
	if s.fault != nil && s.fault(n) || s.down != nil && s.down(s.now.Sub(t0)) {
		s.lost++
		s.open--
		s.p.Ended(s.now, Lost)
		s.p.Closed()
	} else {
		s.p.Ended(s.now, Accepted)
		s.idle++
	}
	s.sumOpen += s.open
	s.samples++
	s.dispatch()
}

func (s *sim) run(d time.Duration) {
	s.now = t0
	s.dispatch()
	for s.events.Len() > 0 && s.events[0].at.Before(t0.Add(d)) {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
}

func TestSimulateLimitOfFive(t *testing.T) {
	s := &sim{p: New(Config{}), latency: 5 * time.Millisecond, limit: 5}
	s.run(time.Minute)
	mean := float64(s.sumOpen) / float64(s.samples)
	t.Logf("%d sent, %d connections refused, %.2f open", s.sent, s.refused, mean)
	if mean < 4.8 || mean > 5 {
		t.Errorf("%.2f connections open, want near 5", mean)
	}
	if s.sent < 59*1000*9/10 { // five at a time, 200 each a second
		t.Errorf("starved: %d messages in a minute", s.sent)
	}
	if s.refused > 12 || s.refused < 3 {
		t.Errorf("%d connections refused: it shall ask again, and not at each message", s.refused)
	}
}

func TestSimulateLimitOfOne(t *testing.T) {
	s := &sim{p: New(Config{}), latency: 5 * time.Millisecond, limit: 1}
	s.run(time.Minute)
	t.Logf("%d sent, %d connections refused", s.sent, s.refused)
	if s.sent < 10_000 || s.refused > 20 {
		t.Errorf("%d sent, %d connections refused", s.sent, s.refused)
	}
}

func TestSimulateFiftyMilliseconds(t *testing.T) {
	s := &sim{p: New(Config{Cap: 20}), latency: 50 * time.Millisecond}
	s.run(time.Minute)
	t.Logf("%d sent, %d connections at most", s.sent, s.most)
	if s.most != 20 {
		t.Errorf("%d connections, want the cap of 20", s.most)
	}
	if s.sent < 60*400*9/10 {
		t.Errorf("%d messages in a minute, want near 400 a second", s.sent)
	}
}

func TestSimulateMessagesThatBreakTheirConnection(t *testing.T) {
	s := &sim{p: New(Config{}), latency: 10 * time.Millisecond, fault: func(n int) bool { return n%100 == 1 }}
	s.run(time.Minute)
	t.Logf("%d sent, %d lost, %.1f open", s.sent, s.lost, float64(s.sumOpen)/float64(s.samples))
	if s.sent < 30_000 {
		t.Errorf("%d messages in a minute: one lost in a hundred must not hold up the rest", s.sent)
	}
}

func TestSimulateRestart(t *testing.T) {
	s := &sim{p: New(Config{}), latency: 10 * time.Millisecond}
	s.down = func(at time.Duration) bool { return at > 10*time.Second && at < 40*time.Second }
	s.run(40*time.Second + 20*time.Second)
	t.Logf("%d sent, %d lost, %d refused", s.sent, s.lost, s.refused)
	if s.refused > 10 {
		t.Errorf("%d connections tried in 30 s while it was down", s.refused)
	}
	if s.sent < 20_000+1000 {
		t.Errorf("%d sent: it didn't come back", s.sent)
	}
}

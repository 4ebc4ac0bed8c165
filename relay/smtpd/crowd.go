package smtpd

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"restante/dns"
	"restante/relay/policy/rate"
	"restante/relay/reply"
	"restante/spool"
)

// What happens when sessions run short. From stressAt percent of Limits.Sessions on, nobody may be idle for longer than
// stressIdle, and messages have to come at stressRate: a place can't be held for hours at a few octets a second. When all are taken, who comes takes the place of somebody idle: first of who has said nothing yet, then of who has brought no
// message yet, then of the rest, of each kind those who have waited longest; but of nobody who has waited for less than patience, so that a
// flood can't push out who is on the way. For who has yet to say hello that is silence, which is a round trip or two.
const (
	stressAt   = 80
	stressIdle = 10 * time.Second
	stressRate = 2000 // octets a second that a message has to come with then
	patience   = 2 * time.Second
	silence    = 200 * time.Millisecond
	crowdShare = 20                    // one of so many sessions is sent away at once, so that one look at all of them serves many newcomers
	crowdRest  = 50 * time.Millisecond // until all are looked at again when nobody could be sent away
)

// admit counts a session, or says why not; written is false if the log has enough lines about such as this.
func (s *Server) admit(w *wire) (r reply.Reply, written bool) {
	addr := w.remote.Addr()
	over := s.o.Rates.Connect(addr)
	named := s.o.Rates.Named(addr) || s.isProxy(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := rate.Address(addr)
	switch {
	case s.stopping:
		return reply.New(421, reply.Enhanced{4, 3, 2}, "%s is being restarted, come back in a moment", s.o.Hostname), false
	case !over.IsZero():
		written = w.limited(connectionRefused, "rate_"+over.Kind)
		return w.over(421, over), written
	case s.from[key] >= w.limits.SessionsPerAddress && !named && !s.hides(addr):
		written = w.limited(connectionRefused, "sessions_per_address")
		return w.refuse(421, reply.Enhanced{4, 7, 0}, "%s has too many connections from you", s.o.Hostname), written
	case len(s.wires)-s.going >= w.limits.Sessions && !s.makeRoom(w.limits.Sessions):
		written = w.limited(connectionRefused, "sessions")
		return w.refuse(421, reply.Enhanced{4, 3, 2}, "%s has too many connections, come back later", s.o.Hostname), written
	}
	s.from[key]++
	s.wires[w] = struct{}{}
	s.stressed.Store(len(s.wires)*100 >= w.limits.Sessions*stressAt)
	s.meet(addr, named)
	s.wg.Add(1)
	return reply.Reply{}, false
}

// remove forgets a session.
func (s *Server) remove(w *wire) {
	s.mu.Lock()
	delete(s.wires, w)
	if w.going {
		s.going--
	}
	s.stressed.Store(len(s.wires)*100 >= s.limits.Load().Sessions*stressAt)
	key := rate.Address(w.remote.Addr())
	if s.from[key]--; s.from[key] <= 0 {
		delete(s.from, key)
	}
	s.mu.Unlock()
	s.o.Metrics.session(-1)
	s.wg.Done()
}

// makeRoom sends away who has waited longest, and reports that there is room now. The caller holds mu.
func (s *Server) makeRoom(limit int) bool {
	now := time.Now()
	if now.Before(s.crowded) {
		return false
	}
	type idler struct {
		w     *wire
		since time.Time
		worth worth
	}
	var idle []idler
	for w := range s.wires {
		since, worth, ok := w.idleSince()
		if ok && (now.Sub(since) >= patience || worth == silent && now.Sub(since) >= silence) {
			idle = append(idle, idler{w, since, worth})
		}
	}
	slices.SortFunc(idle, func(a, b idler) int {
		return cmp.Or(cmp.Compare(a.worth, b.worth), a.since.Compare(b.since))
	})
	sent := 0
	for _, i := range idle {
		if sent > limit/crowdShare {
			break
		}
		if i.w.sendAway(errCrowd) {
			i.w.going = true
			s.going++
			sent++
		}
	}
	if sent == 0 {
		s.crowded = now.Add(crowdRest)
	}
	return sent > 0
}

// hiddenAfter is how many sessions in a row have to come from one private address before it counts as one that hides who
// really connects.
const hiddenAfter = 200

// meet notes from where a session comes. The caller holds mu.
func (s *Server) meet(a netip.Addr, named bool) {
	if a != s.lately {
		s.lately, s.inRow = a, 0
	}
	s.inRow++
	if s.inRow == hiddenAfter && s.hides(a) && !named {
		s.o.Log.Warn("all clients come from one private address: something before this machine hides who connects, so rates, SPF and lists of addresses can't work. "+
			"Let it keep the client's address (no source NAT), or speak the PROXY protocol and name it in [smtp] proxies; if it is yours, name it in [rates] exempt", "address", a.String())
	}
}

// hides reports an address that stands for many clients, as far as one can see. The caller holds mu.
func (s *Server) hides(a netip.Addr) bool {
	return a == s.lately && s.inRow >= hiddenAfter && !dns.Public(a)
}

// HiddenBehind returns the private address from which all sessions of late have come, or the zero Addr: then something before this
// machine, a NAT or a proxy, hides who connects, and nothing that is judged by address can work. Named networks are meant to.
func (s *Server) HiddenBehind() netip.Addr {
	s.mu.Lock()
	a := s.lately
	hides := s.hides(a)
	s.mu.Unlock()
	if !hides || s.o.Rates.Named(a) || s.isProxy(a) {
		return netip.Addr{}
	}
	return a
}

// idle is how long this peer may be silent now.
func (w *wire) idle() time.Duration {
	if w.srv.stressed.Load() {
		return min(w.limits.Idle, stressIdle)
	}
	return w.limits.Idle
}

// rateGrace is how long a message may come slowly now.
func (w *wire) rateGrace() time.Duration {
	if w.srv.stressed.Load() {
		return min(w.limits.RateGrace, stressIdle)
	}
	return w.limits.RateGrace
}

// worth is what a session has come to so far.
type worth int

const (
	silent worth = iota // not a command yet
	spoken
	useful // a message was accepted
)

// minRate is how fast a message has to come now.
func (w *wire) minRate() int64 {
	if w.srv.stressed.Load() {
		return max(w.limits.MinRate, stressRate)
	}
	return w.limits.MinRate
}

// shake notes that a TLS handshake begins or ends: who doesn't go on with it is idle too.
func (w *wire) shake(begins bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shaking, w.since = begins, time.Now()
}

// idleSince says since when the peer owes us a command, and what it has come to. ok is false while it doesn't, or is being
// sent away. It may be called by any goroutine.
func (w *wire) idleSince() (since time.Time, worth worth, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since, w.worth, (w.waiting || w.shaking) && w.leaving == nil
}

// rises notes what a session has come to.
func (w *wire) rises(to worth) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.worth = max(w.worth, to)
}

// refuse makes a reply that names the session, as Client.Refuse does.
func (w *wire) refuse(code int, e reply.Enhanced, format string, args ...any) reply.Reply {
	return (&Client{Session: w.id}).Refuse(code, e, format, args...)
}

// over is the reply to who does something too often.
func (w *wire) over(code int, over rate.Over) reply.Reply {
	what := "Too many " + over.Kind + " from " + over.Name()
	if over.Kind == rate.Banned || over.Kind == rate.Refused {
		what = "Too many recipients that don't exist from " + over.Name()
	}
	return w.refuse(code, reply.Enhanced{4, 7, 1}, "%s, come back in %s", what, spool.ExactSpan(max(over.Again, time.Second))).With(over)
}

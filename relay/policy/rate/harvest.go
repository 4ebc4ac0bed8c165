package rate

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// A harvester is told from a large sender by three things. Who guesses asks for ever new names, where a sender that got 450 asks for the same
// again and again, from this address of its network or that: each unknown recipient counts once for a network, as long as it is asked for. Who
// guesses rarely hits, where a sender's recipients are there as a rule: each that was accepted makes up for one that wasn't, once in an hour.
// And an address is banned before its network, which it takes many addresses to have banned.
const (
	// networkHosts is how many addresses it takes to have their network banned: one adds at most this part of what the network may be refused.
	networkHosts = 10
	askedFor     = 12 * time.Hour // an unknown recipient is the same again if it was asked for within that time
	takenFor     = time.Hour      // how often a recipient that is accepted makes up for one that isn't
	// maxSeen is how many recipients of each sort are remembered, twice: with more, the oldest half is forgotten. All take 20 MB at most.
	maxSeen = 100_000
)

// Refused counts a recipient that was refused because there is nobody of that name. Who is over is banned from now on.
func (t *Table) Refused(a netip.Addr, rcpt string) Over {
	a = a.Unmap().WithZone("")
	if t == nil {
		return Over{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := t.limits.Refused
	if t.exempt(a) || limit == (Pair{}) {
		return Over{}
	}
	now, who := t.now(), both(a)
	if over := t.banned(who, now); !over.IsZero() {
		return over
	}
	if t.asked.again(t.key(who[1], rcpt), now) {
		return Over{}
	}
	address := t.get(who[0], now)
	if over := t.refuse(address, who[0], limit.Address, now); !over.IsZero() || limit.Network <= 0 {
		return over
	}
	share, over := one(address.share, now, time.Hour, max(1, limit.Network/networkHosts))
	if over > 0 {
		return Over{}
	}
	address.share = share
	return t.refuse(t.get(who[1], now), who[1], limit.Network, now)
}

// refuse counts an unknown recipient for an address or network, and bans it if that is one too many. The caller holds mu.
func (t *Table) refuse(c *count, p netip.Prefix, limit int, now time.Time) Over {
	if limit <= 0 {
		return Over{}
	}
	next, over := one(c.refused, now, time.Hour, limit)
	if over <= 0 {
		c.refused = next
		return Over{}
	}
	if t.limits.Ban > 0 {
		c.banned, over = now.Add(t.limits.Ban), t.limits.Ban
	}
	return Over{Kind: Refused, Who: p, Limit: limit, Again: over}
}

// Accepted tells of a recipient that was accepted. It costs little for who has had none refused.
func (t *Table) Accepted(a netip.Addr, rcpt string) {
	a = a.Unmap().WithZone("")
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now, who := t.now(), both(a)
	address, network := t.counts[who[0]], t.counts[who[1]]
	owes := func(c *count) bool { return c != nil && c.refused.After(now) }
	if !owes(address) && !owes(network) || t.taken.again(t.key(who[0], rcpt), now) {
		return
	}
	if limit := t.limits.Refused.Address; limit > 0 && owes(address) {
		address.refused = address.refused.Add(-time.Hour / time.Duration(limit))
	}
	if limit := t.limits.Refused.Network; limit > 0 && owes(network) {
		network.refused = network.refused.Add(-time.Hour / time.Duration(limit))
	}
}

// key stands for a recipient of an address or network.
func (t *Table) key(p netip.Prefix, rcpt string) uint64 {
	return maphash.Comparable(t.seed, struct {
		p netip.Prefix
		s string
	}{p, rcpt})
}

// seen remembers keys for a time, and for up to twice that.
type seen struct {
	keep  time.Duration
	renew bool // a key that is seen again is remembered for longer
	max   int  // of recent, and of older

	since         time.Time // when recent was empty
	recent, older map[uint64]struct{}
}

// again reports that a key has been seen, and notes it.
func (s *seen) again(key uint64, now time.Time) bool {
	if age := now.Sub(s.since); age >= s.keep || len(s.recent) >= s.max {
		s.older, s.recent, s.since = s.recent, map[uint64]struct{}{}, now
		if age >= 2*s.keep {
			s.older = nil
		}
	}
	if _, ok := s.recent[key]; ok {
		return true
	}
	_, ok := s.older[key]
	if !ok || s.renew {
		s.recent[key] = struct{}{}
	}
	return ok
}

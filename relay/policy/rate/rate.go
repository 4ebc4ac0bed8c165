// Package rate bounds how often one client may connect, send and ask for people who aren't there.
//
// Each thing is counted twice: for the address (an IPv4 address, an IPv6 /64, which is one host's as a rule) and for the network
// around it (/24, /48), which may do some times more. A count is a bucket that leaks evenly (GCRA): as much as is allowed in
// the period may come at once, then it goes on at that rate. Whoever asks for too many people who aren't there is
// harvesting addresses, and is banned for some minutes; harvest.go says how that is told from a large sender.
//
// Private and loopback addresses, and those of named networks, aren't counted: no stranger has one, unless something
// hides the strangers behind it, and then all of them would be counted as one.
//
// What is counted is this node's alone, in memory, and bounded: with more than maxCounted clients at a time the counts
// of some are forgotten, bans last.
package rate

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"restante/dns"
	"restante/spool"
)

// maxCounted is how many addresses and networks are counted at a time; each takes about 200 octets.
const maxCounted = 200_000

// Pair is a limit of an address and of a network.
type Pair struct{ Address, Network int } // 0: none

// Limits are the rates; the zero Limits allow everything.
type Limits struct {
	Connections Pair          // a minute
	Messages    Pair          // a minute: transactions begun
	Refused     Pair          // an hour: unknown recipients, each once, less those that were accepted
	Ban         time.Duration // for who has too many recipients refused
	Exempt      []netip.Prefix
}

// DefaultLimits are generous: a busy sender's servers and a newsletter stay far below.
func DefaultLimits() Limits {
	return Limits{
		Connections: Pair{Address: 300, Network: 1500},
		Messages:    Pair{Address: 600, Network: 3000},
		Refused:     Pair{Address: 100, Network: 500},
		Ban:         15 * time.Minute,
	}
}

// Kinds of what is counted, as they stand in metrics.
const (
	Connections = "connections"
	Messages    = "messages"
	Refused     = "refused_recipients"
	Banned      = "banned"
)

// Over says that a client has done something too often. The zero Over means that it hasn't.
type Over struct {
	Kind  string       // Connections, Messages, Refused, Banned
	Who   netip.Prefix // the address or network
	Limit int          // what it may do
	Again time.Duration
}

// IsZero reports that nothing is over.
func (o Over) IsZero() bool { return o.Kind == "" }

// Name is the address or network as people write it: an address stands alone.
func (o Over) Name() string {
	if o.Who.IsSingleIP() {
		return o.Who.Addr().String()
	}
	return o.Who.String()
}

// Error makes an Over the cause of a reply, for the log.
func (o Over) Error() string {
	switch o.Kind {
	case Banned:
		return fmt.Sprintf("%s is banned for %s: it asked for too many recipients that don't exist", o.Name(), spool.ExactSpan(o.Again))
	case Refused:
		return fmt.Sprintf("%s asked for more than %d recipients in an hour that don't exist", o.Name(), o.Limit)
	}
	return fmt.Sprintf("%s has more than %d %s a minute", o.Name(), o.Limit, o.Kind)
}

// Table counts. Safe for concurrent use; a nil Table allows everything.
type Table struct {
	now  func() time.Time
	seed maphash.Seed

	mu     sync.Mutex
	limits Limits
	counts map[netip.Prefix]*count
	max    int  // of counts
	asked  seen // unknown recipients, of a network
	taken  seen // accepted ones, of an address
}

// count is what one address or network has done: for each kind the time at which its bucket is empty again.
type count struct {
	connections, messages, refused time.Time
	share                          time.Time // of an address in what is refused to its network
	banned                         time.Time
}

// New returns a table. now is the clock; nil: the machine's.
func New(l Limits, now func() time.Time) *Table {
	if now == nil {
		now = time.Now
	}
	return &Table{
		now: now, seed: maphash.MakeSeed(), limits: l, counts: map[netip.Prefix]*count{}, max: maxCounted,
		asked: seen{keep: askedFor, renew: true, max: maxSeen}, taken: seen{keep: takenFor, max: maxSeen},
	}
}

// SetLimits changes the limits. What was counted stays.
func (t *Table) SetLimits(l Limits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limits = l
}

// Exempt reports that a client isn't counted.
func (t *Table) Exempt(a netip.Addr) bool {
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.exempt(a.Unmap().WithZone(""))
}

// Named reports that a client's network is named as exempt.
func (t *Table) Named(a netip.Addr) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.named(a.Unmap().WithZone(""))
}

func (t *Table) exempt(a netip.Addr) bool {
	return dns.Internal(a) || t.named(a)
}

func (t *Table) named(a netip.Addr) bool {
	for _, p := range t.limits.Exempt {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Connect counts a connection. One that is over isn't counted: who comes at ten times the rate gets in at the rate.
func (t *Table) Connect(a netip.Addr) Over {
	return t.count(a, Connections, func(l *Limits) Pair { return l.Connections }, func(c *count) *time.Time { return &c.connections })
}

// Message counts a transaction.
func (t *Table) Message(a netip.Addr) Over {
	return t.count(a, Messages, func(l *Limits) Pair { return l.Messages }, func(c *count) *time.Time { return &c.messages })
}

// count looks whether a client is banned, and then counts what it does once in a minute.
func (t *Table) count(a netip.Addr, kind string, limit func(*Limits) Pair, bucket func(*count) *time.Time) Over {
	a = a.Unmap().WithZone("")
	if t == nil {
		return Over{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.exempt(a) {
		return Over{}
	}
	now, who := t.now(), both(a)
	if over := t.banned(who, now); !over.IsZero() {
		return over
	}
	pair := limit(&t.limits)
	limits := [2]int{pair.Address, pair.Network}
	var next [2]time.Time // of the buckets, if nothing is over
	for i, p := range who {
		if limits[i] <= 0 {
			continue
		}
		var at time.Time
		if c := t.counts[p]; c != nil {
			at = *bucket(c)
		}
		var over time.Duration
		if next[i], over = one(at, now, time.Minute, limits[i]); over > 0 {
			return Over{Kind: kind, Who: p, Limit: limits[i], Again: over}
		}
	}
	for i, p := range who {
		if limits[i] > 0 {
			*bucket(t.get(p, now)) = next[i]
		}
	}
	return Over{}
}

// one puts one more into a bucket that is empty at a time and takes as many as limit says in a period. It is empty at next then;
// over says for how long it hasn't had room for it yet.
func one(empty, now time.Time, period time.Duration, limit int) (next time.Time, over time.Duration) {
	if empty.Before(now) {
		empty = now
	}
	next = empty.Add(period / time.Duration(limit))
	return next, next.Sub(now) - period
}

// banned says whether a client is banned. The caller holds mu.
func (t *Table) banned(who [2]netip.Prefix, now time.Time) Over {
	for _, p := range who {
		if c := t.counts[p]; c != nil && now.Before(c.banned) {
			return Over{Kind: Banned, Who: p, Again: c.banned.Sub(now)}
		}
	}
	return Over{}
}

// get returns the count of an address or network, making room for it if need be. The caller holds mu.
func (t *Table) get(p netip.Prefix, now time.Time) *count {
	if c := t.counts[p]; c != nil {
		return c
	}
	if len(t.counts) >= t.max {
		t.sweep(now)
	}
	c := &count{}
	t.counts[p] = c
	return c
}

// sweep forgets what counts nothing any more, and some of the rest if that isn't enough: a tenth, so that this comes seldom.
// Bans go last, and only when nothing else is left.
func (t *Table) sweep(now time.Time) {
	for p, c := range t.counts {
		if !c.connections.After(now) && !c.messages.After(now) && !c.refused.After(now) && !c.share.After(now) && !c.banned.After(now) {
			delete(t.counts, p)
		}
	}
	for _, bans := range []bool{false, true} {
		for p, c := range t.counts { // in no order
			if len(t.counts) <= t.max*9/10 {
				return
			}
			if bans || !c.banned.After(now) {
				delete(t.counts, p)
			}
		}
	}
}

// Address is what counts as one address: an IPv4 address, or an IPv6 /64, which belongs to one host as a rule. What is no
// address is the zero Prefix.
func Address(a netip.Addr) netip.Prefix { return prefix(a, 32, 64) }

// Network is what counts as the network of an address.
func Network(a netip.Addr) netip.Prefix { return prefix(a, 24, 48) }

// both are the address and the network of a client, in this order.
func both(a netip.Addr) [2]netip.Prefix { return [2]netip.Prefix{Address(a), Network(a)} }

func prefix(a netip.Addr, four, six int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := four
	if a.Is6() {
		bits = six
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no IP address at all: all of those are one
	}
	return p
}

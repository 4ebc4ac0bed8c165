package session

import (
	"net/netip"
	"sync"
	"time"
)

// Network returns what an address counts as for limits: an IPv4 address itself, an IPv6 address's /64. It is
// "" for what is no IP address.
func Network(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return ""
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return ""
	}
	return p.String()
}

// wide returns what a customer may have of IPv6 at most, in networks that count by themselves: the /48 of an address
// (RFC 6177). "" for IPv4.
func wide(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Unmap().Is4() {
		return ""
	}
	p, err := a.WithZone("").Prefix(48)
	if err != nil {
		return ""
	}
	return p.String()
}

// Rate is a bucket of failures: Burst of them at once, then one more each Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// LimiterLimits say how many failed sign-ins are suffered. Good ones cost nothing.
type LimiterLimits struct {
	Account Rate // guesses at one account from where it has never signed in
	Known   Rate // guesses at one account from one network or browser that it is known from
	Network Rate // all guesses from one network
	Wide    Rate // all guesses from one /48 of IPv6, which holds 65,536 networks
	Keys    int  // buckets that are kept; the fullest stay, so that a flood of addresses can't empty those of its targets
}

// DefaultLimiterLimits allow about 500 guesses a day at one account from all of the world together, and a
// person ten slips a minute apart from where they are known.
func DefaultLimiterLimits() LimiterLimits {
	return LimiterLimits{
		Account: Rate{10, 3 * time.Minute},
		Known:   Rate{10, time.Minute},
		Network: Rate{40, 30 * time.Second},
		Wide:    Rate{400, 3 * time.Second},
		Keys:    100000,
	}
}

// Attempt is one try to sign in.
type Attempt struct {
	Account string // as typed, lower case; also one that doesn't exist
	Addr    string // IP address
	Browser string // id of the known-browser cookie when it names the account, "" otherwise
	Known   bool   // the account has signed in from this network of late (Sessions.Known)
	Guess   bool   // a password, which people choose badly; false for what can't be guessed (codes, links, passkeys)
}

// Limiter counts failed sign-ins on this node, in memory. A flood of guesses from elsewhere never keeps out
// a person whom a session, a browser or a network makes known, nor whoever holds a code, a link or a passkey.
type Limiter struct {
	l       LimiterLimits
	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket is full at zero time; each failure moves full ahead by Every.
type bucket struct{ full time.Time }

// NewLimiter returns a limiter; zero fields of limits are taken from DefaultLimiterLimits.
func NewLimiter(l LimiterLimits) *Limiter {
	d := DefaultLimiterLimits()
	for _, f := range []struct{ have, def *Rate }{{&l.Account, &d.Account}, {&l.Known, &d.Known}, {&l.Network, &d.Network}, {&l.Wide, &d.Wide}} {
		if f.have.Burst == 0 || f.have.Every == 0 {
			*f.have = *f.def
		}
	}
	if l.Keys == 0 {
		l.Keys = d.Keys
	}
	return &Limiter{l: l, buckets: map[string]bucket{}}
}

type charge struct {
	key  string
	rate Rate
}

// charges returns the buckets that a failure of the attempt counts in.
func (l *Limiter) charges(a Attempt) []charge {
	network := Network(a.Addr)
	switch {
	case a.Browser != "":
		return []charge{{"browser " + a.Account + " " + a.Browser, l.l.Known}}
	case a.Known:
		return []charge{{"known " + a.Account + " " + network, l.l.Known}}
	}
	all := []charge{{"network " + network, l.l.Network}}
	if w := wide(a.Addr); w != "" {
		all = append(all, charge{"wide " + w, l.l.Wide})
	}
	if a.Guess {
		all = append(all, charge{"account " + a.Account, l.l.Account})
	}
	return all
}

// Begin takes one try out of the attempt's buckets before anything is compared, so that tries at the same moment
// count too. When one is empty it returns how long to wait, and takes nothing. done must be called with the result: a
// good try is put back.
func (l *Limiter) Begin(a Attempt) (done func(good bool), wait time.Duration) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.charges(a)
	for _, c := range all {
		// The bucket has room for one more while its debt is at most Burst-1 tries.
		debt := l.buckets[c.key].full.Sub(now)
		if over := debt - time.Duration(c.rate.Burst-1)*c.rate.Every; debt > 0 && over > 0 {
			wait = max(wait, over)
		}
	}
	if wait > 0 {
		return func(bool) {}, wait
	}
	for _, c := range all {
		l.move(c, c.rate.Every, now)
	}
	l.shrink(now)
	var once sync.Once
	return func(good bool) {
		if good {
			once.Do(func() { l.putBack(all) })
		}
	}, 0
}

func (l *Limiter) putBack(all []charge) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, c := range all {
		l.move(c, -c.rate.Every, now)
	}
}

// move adds to a bucket's debt. The lock is held.
func (l *Limiter) move(c charge, by time.Duration, now time.Time) {
	full := l.buckets[c.key].full
	if full.Before(now) {
		full = now
	}
	if full = full.Add(by); full.After(now) {
		l.buckets[c.key] = bucket{full}
	} else {
		delete(l.buckets, c.key)
	}
}

// shrink keeps the number of buckets bounded: those without debt go first, then those with least. The lock is held.
func (l *Limiter) shrink(now time.Time) {
	if len(l.buckets) <= l.l.Keys {
		return
	}
	var sum time.Duration
	for k, b := range l.buckets {
		if !b.full.After(now) {
			delete(l.buckets, k)
			continue
		}
		sum += b.full.Sub(now) / time.Duration(l.l.Keys)
	}
	for k, b := range l.buckets {
		if len(l.buckets) <= l.l.Keys*3/4 {
			return
		}
		if b.full.Sub(now) <= sum {
			delete(l.buckets, k)
		}
	}
}

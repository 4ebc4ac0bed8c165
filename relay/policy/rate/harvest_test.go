package rate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// guess asks for another recipient each time.
func guess(t *Table) func(netip.Addr) Over {
	n := 0
	return func(a netip.Addr) Over {
		n++
		return t.Refused(a, fmt.Sprintf("%s-%d@example.com", a, n))
	}
}

// A harvester is banned for a while, and his neighbours aren't.
func TestBan(t *testing.T) {
	tab, clock := table(Limits{Connections: Pair{1000, 0}, Refused: Pair{Address: 5}, Ban: 10 * time.Minute})
	bad, good := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	times(guess(tab), bad.String(), 6)
	for _, over := range []Over{tab.Connect(bad), tab.Message(bad), tab.Refused(bad, "again")} {
		if over.Kind != Banned || over.Again != 10*time.Minute || !strings.Contains(over.Error(), "192.0.2.1 is banned for 10 min: it asked") {
			t.Errorf("%+v", over)
		}
	}
	if over := tab.Connect(good); !over.IsZero() {
		t.Errorf("%+v", over)
	}
	tab.SetLimits(Limits{Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}})
	if over := tab.Connect(bad); !over.IsZero() {
		t.Errorf("named as exempt: %+v", over)
	}
	tab.SetLimits(DefaultLimits())
	if tab.Connect(bad).Kind != Banned {
		t.Error("forgotten by a reload")
	}
	clock.Time = clock.Add(10 * time.Minute)
	if over := tab.Connect(bad); !over.IsZero() {
		t.Errorf("after the ban: %+v", over)
	}
}

// What counts for an address and for its network: other recipients, not the same again; more than were accepted; and no
// address has its neighbours banned.
func TestRefused(t *testing.T) {
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	tab, clock := table(Limits{Refused: Pair{Address: 10, Network: 50}, Ban: time.Minute})
	for range 100 { // an hour each
		for i := range 8 {
			for _, a := range []netip.Addr{one, two} {
				if over := tab.Refused(a, fmt.Sprintf("gone%d@example.com", i)); !over.IsZero() {
					t.Fatalf("who asks for the same again: %+v", over)
				}
			}
		}
		clock.Time = clock.Add(time.Hour)
	}

	clock.Time = clock.Add(24 * time.Hour)
	do := guess(tab)
	for i := range 100 {
		if over := do(one); !over.IsZero() {
			t.Fatalf("who is right each second time, after %d: %+v", i, over)
		}
		tab.Accepted(one, fmt.Sprintf("good%d@example.com", i))
	}
	n := 0
	for over := (Over{}); over.IsZero(); n++ { // who knows one recipient doesn't get far with it
		tab.Accepted(one, "good@example.com")
		over = do(one)
	}
	if n > 12 {
		t.Errorf("who says the same good recipient again and again is banned after %d", n)
	}

	tab, _ = table(Limits{Refused: Pair{Network: 50}, Ban: time.Minute})
	do = guess(tab)
	if n, over := times(do, "192.0.2.1", 10_000); n != 10_000 {
		t.Errorf("one address alone has its network banned after %d: %+v", n, over)
	}
	banned := 0
	for i := 2; i < 250 && banned == 0; i++ {
		if n, over := times(do, fmt.Sprintf("192.0.2.%d", i), 10); n < 10 {
			if banned = i; over.Who.String() != "192.0.2.0/24" {
				t.Errorf("%+v", over)
			}
		}
	}
	if banned != networkHosts+1 {
		t.Errorf("a network is banned for %d of its addresses", banned)
	}
	if over := tab.Connect(netip.MustParseAddr("192.0.2.255")); over.Kind != Banned {
		t.Errorf("%+v", over)
	}

	tab, clock = table(Limits{Refused: Pair{Network: 50}, Ban: time.Minute})
	do = guess(tab)
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 20)})
		if over := do(a); !over.IsZero() {
			t.Fatalf("a network that is right each second time, after %d: %+v", i, over)
		}
		tab.Accepted(a, fmt.Sprintf("good%d@example.com", i))
	}
	if tab.sweep(clock.now()); len(tab.counts) != 20 {
		t.Errorf("the shares of %d addresses are remembered", len(tab.counts))
	}
}

// What is seen is remembered for a time, be it the first or, where that is wanted, the last; and no more of it than there is room for.
func TestSeen(t *testing.T) {
	begin := time.Now()
	for _, renew := range []bool{false, true} {
		s := seen{keep: time.Hour, renew: renew, max: 10}
		if s.again(1, begin) || !s.again(1, begin.Add(50*time.Minute)) || !s.again(1, begin.Add(70*time.Minute)) {
			t.Error("what was seen is forgotten")
		}
		if s.again(1, begin.Add(140*time.Minute)) != renew {
			t.Errorf("with %v it is remembered for longer, or not", renew)
		}
		if s.again(1, begin.Add(10*time.Hour)) {
			t.Error("it is remembered for ever")
		}
		for key := range uint64(100) {
			s.again(key, begin.Add(10*time.Hour))
			if n := len(s.recent) + len(s.older); n > 2*s.max {
				t.Fatalf("%d are remembered", n)
			}
		}
		if !s.again(90, begin.Add(10*time.Hour)) || s.again(50, begin.Add(10*time.Hour)) {
			t.Error("not the last are remembered")
		}
	}
}

// provider is a network that sends much, and tries again what was put off.
type provider struct {
	hosts  int
	rate   int                   // recipients an hour
	wrong  float64               // part of them that isn't there
	waits  map[time.Time][]retry // by when
	tried  int                   // again
	banned int
}

type retry struct {
	rcpt string
	wait time.Duration
}

// run lets it send for a time, to a domain of some thousand people.
func (p *provider) run(tab *Table, clock *clock, d time.Duration) {
	rng := rand.New(rand.NewPCG(1, 2))
	host := func() netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + rng.IntN(p.hosts))}) }
	send := func(good bool, rcpt string) {
		a := host()
		if good {
			tab.Accepted(a, rcpt)
		} else if over := tab.Refused(a, rcpt); !over.IsZero() {
			p.banned++
		}
	}
	gone := 0
	for end := clock.Add(d); clock.Before(end); clock.Time = clock.Add(time.Minute) {
		for range p.rate / 60 {
			if rng.Float64() >= p.wrong {
				send(true, fmt.Sprintf("person%d@example.com", rng.IntN(3000)))
				continue
			}
			gone++
			rcpt := fmt.Sprintf("gone%d@example.com", gone)
			send(false, rcpt)
			p.later(clock.Time, rcpt, 5*time.Minute)
		}
		for _, r := range p.waits[clock.Time] {
			p.tried++
			send(false, r.rcpt)
			p.later(clock.Time, r.rcpt, min(2*r.wait, 4*time.Hour))
		}
		delete(p.waits, clock.Time)
	}
}

func (p *provider) later(now time.Time, rcpt string, wait time.Duration) {
	p.waits[now.Add(wait)] = append(p.waits[now.Add(wait)], retry{rcpt, wait})
}

// In an outage of three days a provider that asks for some who aren't there, each time others, and tries all of them again and again, is
// never banned, be it one address or many; who guesses is, after as many as the limit says.
func TestOutage(t *testing.T) {
	for _, p := range []provider{{hosts: 1, rate: 600, wrong: 0.05}, {hosts: 1, rate: 1200, wrong: 0.05}, {hosts: 40, rate: 2400, wrong: 0.05}, {hosts: 5, rate: 600, wrong: 0.3}} {
		tab, clock := table(DefaultLimits())
		p.waits = map[time.Time][]retry{}
		p.run(tab, clock, 3*24*time.Hour)
		if p.banned > 0 || p.tried < p.rate {
			t.Errorf("%d hosts, %d an hour, %v wrong: refused %d times, tried again %d times", p.hosts, p.rate, p.wrong, p.banned, p.tried)
		}
	}
	limits := DefaultLimits()
	tab, clock := table(limits)
	for i := range 5 { // five of one network
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		do, n := guess(tab), 0
		for over := (Over{}); over.IsZero(); n++ {
			if n%20 == 0 {
				tab.Accepted(a, fmt.Sprintf("person%d@example.com", n))
			}
			clock.Time = clock.Add(time.Second)
			over = do(a)
		}
		if n < limits.Refused.Address || n > 5*limits.Refused.Address/4 {
			t.Errorf("banned after %d", n)
		}
	}
	if over := tab.Connect(netip.MustParseAddr("192.0.2.99")); !over.IsZero() {
		t.Errorf("their neighbour: %+v", over)
	}
}

// Ten thousand harvesters cost bounded memory.
func TestHarvestMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tab, _ := table(DefaultLimits())
	do := guess(tab)
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{100, 128 + byte(i>>8), byte(i), 1})
		for range 12 {
			do(a)
			tab.Accepted(a, "good@example.com")
		}
	}
	if n := len(tab.asked.recent) + len(tab.asked.older); n > 2*maxSeen || n < maxSeen {
		t.Errorf("%d recipients remembered", n)
	}
	if n := len(tab.taken.recent) + len(tab.taken.older); n > 2*maxSeen {
		t.Errorf("%d accepted ones remembered", n)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 40<<20 {
		t.Errorf("%d MB", used>>20)
	} else {
		t.Logf("%d KB", used>>10)
	}
	runtime.KeepAlive(tab)
}

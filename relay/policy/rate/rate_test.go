package rate

import (
	"net/netip"
	"testing"
	"time"
)

type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func table(l Limits) (*Table, *clock) {
	c := &clock{time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)}
	return New(l, c.now), c
}

// times says how often something is allowed until it is over.
func times(do func(netip.Addr) Over, a string, most int) (n int, over Over) {
	for n = range most {
		if over = do(netip.MustParseAddr(a)); !over.IsZero() {
			return n, over
		}
	}
	return most, Over{}
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		name string
		pair func(*Limits) *Pair
		do   func(*Table) func(netip.Addr) Over
	}{
		{Connections, func(l *Limits) *Pair { return &l.Connections }, func(t *Table) func(netip.Addr) Over { return t.Connect }},
		{Messages, func(l *Limits) *Pair { return &l.Messages }, func(t *Table) func(netip.Addr) Over { return t.Message }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l Limits
			*c.pair(&l) = Pair{Address: 10, Network: 25}
			tab, clock := table(l)
			do := c.do(tab)
			// As much as is allowed may come at once; the same address by another spelling is the same.
			if n, over := times(do, "192.0.2.1", 100); n != 10 || over.Kind != c.name || over.Who.String() != "192.0.2.1/32" || over.Limit != 10 {
				t.Errorf("%d, %+v", n, over)
			}
			if n, _ := times(do, "::ffff:192.0.2.1", 100); n != 0 {
				t.Errorf("IPv4-mapped: %d", n)
			}
			if n, _ := times(do, "192.0.2.2", 100); n != 10 {
				t.Errorf("another address: %d", n)
			}
			if n, over := times(do, "192.0.2.3", 100); n != 5 || over.Who.String() != "192.0.2.0/24" {
				t.Errorf("the network: %d %+v", n, over)
			}
			if n, _ := times(do, "198.51.100.1", 100); n != 10 {
				t.Errorf("another network: %d", n)
			}
			// A /64 is one address, a /48 one network.
			if n, _ := times(do, "2001:db8::1", 100); n != 10 {
				t.Error(n)
			}
			if n, over := times(do, "2001:db8::ffff:2", 100); n != 0 || over.Who.String() != "2001:db8::/64" {
				t.Errorf("%d %+v", n, over)
			}
			if n, _ := times(do, "2001:db8:0:1::1", 100); n != 10 {
				t.Error(n)
			}
			if n, over := times(do, "2001:db8:0:2::1", 100); n != 5 || over.Who.String() != "2001:db8::/48" {
				t.Errorf("%d %+v", n, over)
			}
			// Half a minute gives back half of it.
			clock.Time = clock.Add(time.Minute / 2)
			if n, over := times(do, "198.51.100.1", 100); n != 5 || over.Again > time.Minute/10 {
				t.Errorf("after half of the period: %d, again in %v", n, over.Again)
			}
		})
	}
}

// Who isn't counted: private addresses, named networks; nobody where no limit is set, or without a table.
func TestExempt(t *testing.T) {
	one := Limits{Connections: Pair{1, 1}, Refused: Pair{1, 1}, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/25"), netip.MustParsePrefix("2001:db8::/32")}}
	for a, exempt := range map[string]bool{
		"127.0.0.1": true, "10.1.2.3": true, "192.168.1.1": true, "172.17.0.1": true, "169.254.1.1": true, "::1": true, "fe80::1%eth0": true,
		"fd00::1": true, "198.51.100.1": true, "2001:db8:1::1": true, "::ffff:198.51.100.1": true, "198.51.100.129": false, "2001:db9::1": false,
	} {
		tab, _ := table(one)
		n, _ := times(tab.Connect, a, 10)
		if got := n == 10; got != exempt || tab.Exempt(netip.MustParseAddr(a)) != exempt {
			t.Errorf("%s: %d", a, n)
		}
		if n, _ := times(guess(tab), a, 10); (n == 10) != exempt {
			t.Errorf("%s: %d refused", a, n)
		}
	}
	tab, _ := table(Limits{})
	if n, over := times(tab.Connect, "192.0.2.1", 10000); n != 10000 {
		t.Errorf("%+v", over)
	}
	tab = nil
	if !tab.Connect(netip.MustParseAddr("192.0.2.1")).IsZero() || !tab.Exempt(netip.Addr{}) {
		t.Error("a nil table counts")
	}
	tab, _ = table(one)
	if !tab.Connect(netip.Addr{}).IsZero() {
		t.Error("no address at all was counted")
	}
}

// Any number of addresses takes bounded memory; bans outlive counts.
func TestBounded(t *testing.T) {
	tab, clock := table(Limits{Connections: Pair{Address: 10}, Refused: Pair{Address: 1}, Ban: time.Hour})
	tab.max = 1000
	bad := netip.MustParseAddr("192.0.2.1")
	times(guess(tab), bad.String(), 3)
	for i := range 5000 {
		tab.Connect(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}))
		if len(tab.counts) > tab.max {
			t.Fatalf("%d counted", len(tab.counts))
		}
	}
	if tab.Connect(bad).Kind != Banned {
		t.Error("the ban was forgotten")
	}
	clock.Time = clock.Add(2 * time.Hour)
	tab.sweep(clock.now())
	if len(tab.counts) != 0 {
		t.Errorf("%d left", len(tab.counts))
	}
	for i := range 5000 { // nothing but bans
		times(guess(tab), netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}).String(), 2)
	}
	if len(tab.counts) > tab.max {
		t.Errorf("%d bans", len(tab.counts))
	}
}

func BenchmarkConnect(b *testing.B) {
	tab := New(DefaultLimits(), nil)
	a := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		tab.Connect(a)
	}
}

package dnsbl

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/dns"
	"restante/dns/dnstest"
)

// zone has lists of all sorts: bl and dead ones; wl is one of good senders.
const zone = `
2.0.0.127.bl.test.   A 127.0.0.2
2.0.0.127.bl.test.   A 127.0.0.4
9.2.0.192.bl.test.   A 127.0.0.2
9.2.0.192.bl.test.   TXT "see https://bl.test/192.0.2.9\010\128"
8.2.0.192.bl.test.   A 127.0.0.30
7.2.0.192.bl.test.   A 127.255.255.254
6.2.0.192.bl.test.   A 127.0.0.4
2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.test. A 127.0.0.2
9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test. A 127.0.0.3

2.0.0.127.second.test. A 127.0.0.2
9.2.0.192.second.test. A 127.0.0.9
5.2.0.192.second.test. A 127.0.0.9

2.0.0.127.wl.test.   A 127.0.0.2
9.2.0.192.wl.test.   A 127.0.3.2
5.2.0.192.wl.test.   A 127.0.3.0

*.everybody.test.    A 127.0.0.2
2.0.0.127.everybody.test. A 127.0.0.2
1.0.0.127.everybody.test. A 127.0.0.2
2.0.0.127.sold.test. A 198.51.100.7
1.0.0.127.sold.test. A 198.51.100.7
2.0.0.127.public.test. A 127.255.255.254
1.0.0.127.public.test. A 127.255.255.254
2.0.0.127.key.secret.test. A 127.0.0.2
9.2.0.192.key.secret.test. A 127.0.0.2
9.2.0.192.key.secret.test. TXT "you asked key.secret.test"
`

func code(t testing.TB, s string) Code {
	t.Helper()
	c, err := ParseCode(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t testing.TB, zone string, weight int, codes ...string) List {
	l := List{Zone: zone, Weight: weight}
	for _, c := range codes {
		l.Codes = append(l.Codes, code(t, c))
	}
	return l
}

// rig returns a tested set over a DNS server in memory.
func rig(t testing.TB, threshold int, lists ...List) (*Set, *dnstest.Server, *prometheus.Registry) {
	t.Helper()
	server := dnstest.New(t, zone)
	r, err := dns.New(dns.Options{Servers: []string{"192.0.2.53"}, Exchange: server.Exchange, Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	s, err := New(Options{Resolver: r, Lists: lists, Threshold: threshold, Metrics: NewMetrics(reg)})
	if err != nil {
		t.Fatal(err)
	}
	s.Test(t.Context())
	return s, server, reg
}

// metric returns the value of a metric with these labels; -1 if there is none.
func metric(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(got, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// What lists say, and what comes of it.
func TestScore(t *testing.T) {
	for _, c := range []struct {
		client string
		score  int
		refuse bool
		reason string
	}{
		{"192.0.2.9", 2 + 1 - 1, true, "bl.test (127.0.0.2), second.test (127.0.0.9), wl.test (127.0.3.2)"},
		{"192.0.2.8", 0, false, ""},                        // a code that isn't documented
		{"192.0.2.7", 0, false, ""},                        // the list says that it doesn't answer
		{"192.0.2.6", 2, true, "bl.test (127.0.0.4)"},      // of a range
		{"192.0.2.5", 1, false, "second.test (127.0.0.9)"}, // below the threshold; the good list's code isn't one that counts
		{"192.0.2.1", 0, false, ""},
		{"::ffff:192.0.2.6", 2, true, "bl.test (127.0.0.4)"},
		{"2001:db8::9", 2, true, "bl.test (127.0.0.3)"},
		{"2001:db8::8", 0, false, ""},
		{"10.0.0.9", 0, false, ""}, // private
		{"127.0.0.2", 0, false, ""},
		{"::1", 0, false, ""},
		{"fe80::9%eth0", 0, false, ""},
	} {
		t.Run(c.client, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, _ := rig(t, 2, list(t, "bl.test", 2, "127.0.0.2-7"), list(t, "second.test", 1, "127.0.0.9"), list(t, "wl.test", -1, "127.0.0-255.1-3"))
				if f := s.Faults(); len(f) > 0 {
					t.Fatalf("faults %v", f)
				}
				r := s.Look(t.Context(), netip.MustParseAddr(c.client))
				if r.Score != c.score || r.Refuse != c.refuse || r.Reason() != c.reason {
					t.Errorf("score %d, refuse %v, %q; want %d, %v, %q", r.Score, r.Refuse, r.Reason(), c.score, c.refuse, c.reason)
				}
			})
		})
	}
}

func TestText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hidden := list(t, "key.secret.test", 1, "127.0.0.2")
		hidden.Name = "secret.test"
		s, _, _ := rig(t, 1, list(t, "bl.test", 1, "127.0.0.2"), hidden)
		r := s.Look(t.Context(), netip.MustParseAddr("192.0.2.9"))
		// The second list's text would tell the key in its zone.
		if want := "listed by bl.test: see https://bl.test/192.0.2.9; listed by secret.test"; r.Text() != want {
			t.Errorf("%q, want %q", r.Text(), want)
		}
	})
	if got := printable(strings.Repeat("x", 500)); len(got) != maxText {
		t.Errorf("%d octets", len(got))
	}
}

// A list that isn't what it should be is left out, and says why.
func TestBadLists(t *testing.T) {
	for _, c := range []struct {
		zone  string
		fail  dnstest.Fault
		fault string
	}{
		{"everybody.test", dnstest.None, "lists 127.0.0.1"},
		{"sold.test", dnstest.None, "outside of 127.0.0.0/8"},
		{"public.test", dnstest.None, "refuses to answer this resolver (127.255.255.254)"},
		{"nothing.test", dnstest.None, "doesn't list 127.0.0.2"},
		{"bl.test", dnstest.Servfail, "no answer: "},
		{"bl.test", dnstest.Refused, "no answer: "},
		{"bl.test", dnstest.Silent, "no answer in time"},
	} {
		t.Run(c.zone+c.fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, server, reg := rig(t, 1, list(t, c.zone, 1, "127.0.0.0-255"))
				if c.fail != dnstest.None {
					time.Sleep(time.Hour) // what was asked for is forgotten
					server.Fail("", c.fail)
					s.Test(t.Context())
				}
				f := s.Faults()
				if len(f) != 1 || f[0].List != c.zone || !strings.Contains(f[0].Text, c.fault) || strings.Contains(f[0].Text, "127.in-addr") {
					t.Fatalf("faults %+v, want %q", f, c.fault)
				}
				if r := s.Look(t.Context(), netip.MustParseAddr("192.0.2.9")); r.Refuse || r.Score != 0 || len(r.Listed) > 0 {
					t.Errorf("%+v", r)
				}
				if all, used := s.Lists(); all != 1 || used != 0 {
					t.Errorf("%d of %d in use", used, all)
				}
				time.Sleep(time.Minute) // until the resolver has given up
				if n := metric(t, reg, "restante_dnsbl_in_use", c.zone); n != 0 {
					t.Errorf("in use by its metric: %v", n)
				}
			})
		})
	}
}

// A list that fails while it is asked about clients refuses nobody, even those whom it listed a moment ago, and rests after some
// failures in a row, until its test has passed.
func TestListFailsInUse(t *testing.T) {
	for _, fault := range []dnstest.Fault{dnstest.Servfail, dnstest.Silent} {
		synctest.Test(t, func(t *testing.T) {
			s, server, _ := rig(t, 1, list(t, "bl.test", 1, "127.0.0.2"))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ran := make(chan error, 1)
			go func() { ran <- s.Run(ctx) }()
			bad := netip.MustParseAddr("192.0.2.9")
			if r := s.Look(ctx, bad); !r.Refuse {
				t.Fatalf("%+v", r)
			}
			time.Sleep(10 * time.Minute)    // beyond the TTL
			fail := func(f dnstest.Fault) { // of this list alone, other names have answers
				for _, n := range []string{"9.2.0.192", "10.2.0.192", "11.2.0.192", "2.0.0.127"} {
					server.Fail(n+".bl.test", f)
				}
			}
			fail(fault)
			for i := range failsToRest {
				if len(s.Faults()) > 0 {
					t.Fatalf("a fault after %d failures", i)
				}
				begun := time.Now()
				if r := s.Look(ctx, netip.AddrFrom4([4]byte{192, 0, 2, byte(9 + i)})); r.Refuse || time.Since(begun) > lookTime {
					t.Errorf("%+v after %v", r, time.Since(begun))
				}
			}
			if len(s.Faults()) != 1 {
				t.Error("no fault")
			}
			asked := server.Asked("50.2.0.192.bl.test")
			begun := time.Now()
			if s.Look(ctx, netip.MustParseAddr("192.0.2.50")); server.Asked("50.2.0.192.bl.test") != asked || time.Since(begun) > 0 {
				t.Error("asked while it rests")
			}
			fail(dnstest.None)
			time.Sleep(10 * time.Second)
			if f := s.Faults(); len(f) > 0 {
				t.Errorf("still %v", f)
			}
			if r := s.Look(ctx, bad); !r.Refuse {
				t.Errorf("%+v", r)
			}
			cancel()
			if err := <-ran; err != nil {
				t.Error(err)
			}
		})
	}
}

// A list of which only the test has an answer, since that is in a cache, is rested for ever longer: clients don't wait for it again and again.
func TestOnlyTestsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, server, _ := rig(t, 1, list(t, "bl.test", 1, "127.0.0.2"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ran := make(chan error, 1)
		go func() { ran <- s.Run(ctx) }()
		const clients = 600
		for i := range clients {
			server.Fail(fmt.Sprintf("%d.%d.0.192.bl.test", i%250, i/250), dnstest.Silent)
		}
		var waited []int
		for i := range clients { // one a second
			begun := time.Now()
			if s.Look(ctx, netip.AddrFrom4([4]byte{192, 0, byte(i / 250), byte(i % 250)})); time.Since(begun) > 0 {
				waited = append(waited, i)
			}
			time.Sleep(time.Second - time.Since(begun)%time.Second)
		}
		if n := len(waited); n < 2*failsToRest || n > 50 {
			t.Errorf("%d of %d clients waited: %v", n, clients, waited)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // timers end
	})
}

// When a list is left out, and for how long: failures count in a row, each once; and what is our fault doesn't.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := rig(t, 1, list(t, "bl.test", 1, "127.0.0.2"))
		st := s.lists[0]
		fail := func(n int, err error) {
			for range n {
				s.failed(st, judge(nil, err))
			}
		}
		late := &net.DNSError{IsTimeout: true}
		for i, c := range []struct {
			do   func()
			used bool
			next time.Duration // until the test
		}{
			{func() {}, true, testEvery},
			{func() {
				fail(10, &net.DNSError{UnwrapErr: dns.ErrBusy})
				fail(10, &net.DNSError{UnwrapErr: dns.ErrSilent})
			}, true, testEvery},
			{func() { fail(failsToRest-1, late); s.worked(st); fail(failsToRest-1, late) }, true, testEvery},
			{func() { fail(1, late) }, false, retrySoon},
			{func() { fail(10, late) }, false, retrySoon}, // they were under way
			{func() { s.Test(t.Context()) }, true, testEvery},
			{func() { fail(failsToRest, late) }, false, 2 * retrySoon},
			{func() { s.Test(t.Context()); fail(failsToRest, late) }, false, 4 * retrySoon},
			{func() { s.Test(t.Context()); s.worked(st); fail(failsToRest, late) }, false, retrySoon},
			{func() { s.Test(t.Context()); s.failed(st, errHijacked) }, false, retryEvery},
		} {
			c.do()
			if next := time.Until(st.next); st.usable != c.used || next < c.next || next > c.next*11/10 {
				t.Errorf("%d: in use %v, tested in %v, want %v %v", i, st.usable, next, c.used, c.next)
			}
		}
	})
}

// While no resolver answers nobody waits for the lists, nobody is refused, and no list is blamed; when one is back, the lists count again within
// seconds, for those who were seen meanwhile too.
func TestNoResolverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, server, _ := rig(t, 1, list(t, "bl.test", 1, "127.0.0.2"), list(t, "second.test", 1, "127.0.0.9"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ran := make(chan error, 1)
		go func() { ran <- s.Run(ctx) }()
		time.Sleep(10*time.Minute + time.Second)
		bad := netip.MustParseAddr("192.0.2.9")
		server.Fail("", dnstest.Silent)
		begun := time.Now()
		for i := range 30 {
			s.Look(ctx, netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}))
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Error("30 looks took", took)
		}
		time.Sleep(2 * time.Hour)
		begun = time.Now()
		for i := range 30 {
			if r := s.Look(ctx, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})); len(r.Listed) > 0 {
				t.Errorf("%+v", r)
			}
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Error("30 looks took", took)
		}
		for _, f := range s.Faults() {
			if f.Text != errOurs.Error() {
				t.Errorf("%+v", f)
			}
		}
		server.Fail("", dnstest.None)
		time.Sleep(2*retrySoon + time.Second)
		if r := s.Look(ctx, bad); !r.Refuse || r.Score != 2 || len(s.Faults()) > 0 {
			t.Errorf("%+v, %v", r, s.Faults())
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // timers end
	})
}

// A list that begins to answer with 127.255.255.x is left out at once.
func TestOverQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := rig(t, 1, list(t, "bl.test", 1, "127.0.0.2"))
		s.Look(t.Context(), netip.MustParseAddr("192.0.2.7"))
		if f := s.Faults(); len(f) != 1 || !strings.Contains(f[0].Text, "127.255.255.254") {
			t.Errorf("%v", f)
		}
	})
}

// A list without IPv6 is none for IPv6 clients, which is no fault.
func TestNoIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, server, _ := rig(t, 1, list(t, "second.test", 1, "127.0.0.2"))
		if r := s.Look(t.Context(), netip.MustParseAddr("2001:db8::9")); r.Score != 0 || len(s.Faults()) != 0 {
			t.Errorf("%+v %v", r, s.Faults())
		}
		if n := server.Asked("9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.second.test"); n != 0 {
			t.Errorf("asked %d times", n)
		}
	})
}

// A client is asked for once a minute, however many ask, and what is remembered is bounded.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, server, reg := rig(t, 1, list(t, "bl.test", 1, "127.0.0.2"))
		a := netip.MustParseAddr("192.0.2.9")
		s.Begin(a)
		for range 5 {
			if r := s.Look(t.Context(), a); !r.Refuse {
				t.Errorf("%+v", r)
			}
		}
		if n := server.Asked("9.2.0.192.bl.test"); n != 2 { // A and TXT
			t.Errorf("asked %d times", n)
		}
		s.order = nil // as if it were full of others
		for i := range keepAtMost {
			b := netip.AddrFrom4([4]byte{100, 0, byte(i >> 8), byte(i)})
			s.kept[b], s.order = &look{until: time.Now().Add(keepFor)}, append(s.order, b)
		}
		s.Look(t.Context(), netip.MustParseAddr("192.0.2.1"))
		if len(s.order) != keepAtMost {
			t.Errorf("%d kept", len(s.order))
		}
		time.Sleep(2 * time.Minute)
		s.Look(t.Context(), netip.MustParseAddr("192.0.2.1"))
		if len(s.order) != 1 || len(s.kept) != 2 { // a, whose place in order the test took
			t.Errorf("%d, %d kept", len(s.order), len(s.kept))
		}
		server.Fail("", dnstest.Silent)
		for i := range lookAtMost + 10 {
			s.Begin(netip.AddrFrom4([4]byte{100, 1, byte(i >> 8), byte(i)}))
		}
		if n := metric(t, reg, "restante_dnsbl_lookups_total", "", "skipped"); n != 10 {
			t.Errorf("%v skipped", n)
		}
		time.Sleep(time.Minute)
	})
}

// A reload keeps what is known of lists that stay.
func TestSetConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := rig(t, 1, list(t, "bl.test", 1, "127.0.0.2"))
		if err := s.SetConfig([]List{list(t, "bl.test", 3, "127.0.0.2"), list(t, "second.test", 1, "127.0.0.9")}, 4); err != nil {
			t.Fatal(err)
		}
		a := netip.MustParseAddr("192.0.2.9")
		if r := s.Look(t.Context(), a); r.Score != 3 || r.Refuse { // the second isn't tested yet
			t.Errorf("%+v", r)
		}
		s.Test(t.Context())
		time.Sleep(keepFor)
		if r := s.Look(t.Context(), a); r.Score != 4 || !r.Refuse {
			t.Errorf("%+v", r)
		}
		if err := s.SetConfig([]List{{Zone: "bl.test"}}, 1); err == nil {
			t.Error("a list without codes was taken")
		}
		if err := s.SetConfig(nil, 0); err != nil {
			t.Error(err)
		}
		if r := s.Look(t.Context(), a); len(r.Listed) > 0 {
			t.Errorf("%+v", r)
		}
	})
	var none *Set
	none.Begin(netip.MustParseAddr("192.0.2.9"))
	if r := none.Look(t.Context(), netip.MustParseAddr("192.0.2.9")); r.Refuse || none.Faults() != nil {
		t.Error("a nil set knows somebody")
	}
}

func TestParseCode(t *testing.T) {
	for _, s := range []string{"", "127.0.0", "127.0.0.256", "127.0.0.7-4", "128.0.0.2", "126-127.0.0.1", "127.0.0.x", "127.0-255.0-255.0-255", "127.255.255.254", "::1", "127.0.0.-"} {
		if c, err := ParseCode(s); err == nil {
			t.Errorf("%q was taken as %+v", s, c)
		}
	}
	c := code(t, "127.0.0-255.1-3")
	for s, want := range map[string]bool{"127.0.0.1": true, "127.0.10.3": true, "127.0.10.0": false, "127.1.0.1": false, "::1": false} {
		if c.Has(netip.MustParseAddr(s)) != want {
			t.Errorf("%s: %v", s, !want)
		}
	}
}

// What a client costs whose result is there.
func BenchmarkLookKept(b *testing.B) {
	s, _, _ := rig(b, 1, list(b, "bl.test", 1, "127.0.0.2"))
	a := netip.MustParseAddr("192.0.2.1")
	s.Look(b.Context(), a)
	b.ReportAllocs()
	for b.Loop() {
		s.Look(b.Context(), a)
	}
}

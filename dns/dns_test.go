package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"restante/dns/dnstest"
)

const zone = `
example.test.      MX 10 mx1.example.test.
example.test.      MX 20 mx2.example.test.
mx1.example.test.  60 A 192.0.2.1
mx1.example.test.  AAAA 2001:db8::1
mx2.example.test.  A 192.0.2.2
plain.test.        A 192.0.2.9
null.test.         MX 0 .
odd.test.          MX 0 .
odd.test.          MX 10 mx1.example.test.
alias.test.        CNAME alias2.test.
alias2.test.       30 CNAME mx1.example.test.
loop.test.         CNAME loop.test.
only.test.         MX 10 mx2.example.test.
equal.test.        MX 10 mx2.example.test.
equal.test.        MX 10 mx1.example.test.
1.2.0.192.in-addr.arpa. PTR bad\000name.test.
1.2.0.192.in-addr.arpa. PTR plain.test.
1.2.0.192.in-addr.arpa. PTR MX1.example.test.
9.2.0.192.in-addr.arpa. PTR mx1.example.test.
`

// network is a resolver on a server on the network.
func network(t *testing.T) (*Resolver, *dnstest.Server) {
	t.Helper()
	s := dnstest.Start(t, zone)
	return resolver(t, Options{Servers: []string{s.Addr()}, Timeout: 200 * time.Millisecond}), s
}

// memory is a resolver on a server in memory, for fake time.
func memory(t *testing.T) (*Resolver, *dnstest.Server) {
	t.Helper()
	s := dnstest.New(t, zone)
	return resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: s.Exchange}), s
}

func resolver(t *testing.T, o Options) *Resolver {
	t.Helper()
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func host(r interface {
	LookupHost(context.Context, string) ([]string, error)
}, name string) string {
	a, err := r.LookupHost(context.Background(), name)
	if err != nil {
		return describe(err)
	}
	return strings.Join(a, " ")
}

func describe(err error) string {
	var e *net.DNSError
	switch {
	case errors.Is(err, ErrNoDomain) && IsNotFound(err):
		return "no domain"
	case errors.Is(err, ErrNoRecord) && IsNotFound(err):
		return "no record"
	case errors.As(err, &e) && e.IsTimeout && e.IsTemporary && !e.IsNotFound:
		return "timeout"
	case errors.As(err, &e) && e.IsTemporary && !e.IsNotFound:
		return "temporary"
	}
	return err.Error()
}

func TestLookups(t *testing.T) {
	r, s := network(t)
	s.Fail("broken.test", dnstest.Servfail)
	s.Fail("refused.test", dnstest.Refused)
	s.Fail("silent.test", dnstest.Silent)
	for name, want := range map[string]string{
		"mx1.example.test":        "192.0.2.1 2001:db8::1",
		"MX1.Example.TEST.":       "192.0.2.1 2001:db8::1",
		"mx2.example.test":        "192.0.2.2",
		"alias.test":              "192.0.2.1 2001:db8::1",
		"example.test":            "no record",
		"loop.test":               "no record",
		"nothing.test":            "no domain",
		"":                        "no domain",
		"a\\b.test":               "no domain",
		"a b.test":                "no domain",
		strings.Repeat("a", 64):   "no domain",
		strings.Repeat("a.", 150): "no domain",
		"broken.test":             "temporary",
		"refused.test":            "temporary",
		"silent.test":             "timeout",
		"192.0.2.77":              "192.0.2.77",
		"2001:db8::77":            "2001:db8::77",
	} {
		if got := host(r, name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	for range 2 { // the second answer is from the cache and must not have been touched by the first
		mx, err := r.LookupMX(t.Context(), "example.test")
		if err != nil || len(mx) != 2 || mx[0].Pref != 10 || mx[1].Host != "mx2.example.test." {
			t.Error(mx, err)
		}
	}
}

func TestTXT(t *testing.T) {
	r, s := network(t)
	s.Set(t, `long.test. TXT "v=spf1 ip4:192.0.2.1 " "-all"
odd.test. TXT "a \"quoted\" \\ back\195\164slash"
two.test. TXT "one"
two.test. TXT "two"
a.test. A 192.0.2.1
`)
	for name, want := range map[string]string{
		"long.test": "v=spf1 ip4:192.0.2.1 -all",
		"odd.test":  `a "quoted" \ backäslash`,
		"two.test":  "one|two",
	} {
		txt, err := r.LookupTXT(t.Context(), name)
		slices.Sort(txt)
		if got := strings.Join(txt, "|"); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"a.test", "nothing.test"} {
		if txt, err := r.LookupTXT(t.Context(), name); !IsNotFound(err) {
			t.Errorf("%s: %q, %v", name, txt, err)
		}
	}
	if a, err := r.LookupIPAddr(t.Context(), "a.test"); err != nil || len(a) != 1 || a[0].String() != "192.0.2.1" {
		t.Error(a, err)
	}
}

func TestWire(t *testing.T) {
	r, s := network(t)
	for name, f := range map[string]dnstest.Fault{"mx1.example.test": dnstest.Cut, "mx2.example.test": dnstest.NoEDNS, "plain.test": dnstest.Forged} {
		s.Fail(name, f)
		if got := host(r, name); !strings.Contains(got, "192.0.2") {
			t.Errorf("%s: %s", name, got)
		}
	}
	long := "long.test. MX 10 " + strings.Repeat("x", 60) + ".test.\n"
	for i := range 60 {
		long += fmt.Sprintf("long.test. MX 20 %s%d.test.\n", strings.Repeat("x", 50), i)
	}
	s.Set(t, long)
	if mx, err := r.LookupMX(t.Context(), "long.test"); err != nil || len(mx) != 61 {
		t.Error(len(mx), err)
	}
}

func TestServers(t *testing.T) {
	bad, good := dnstest.Start(t, zone), dnstest.Start(t, zone)
	bad.Fail("", dnstest.Servfail)
	r := resolver(t, Options{Servers: []string{bad.Addr(), good.Addr()}, Timeout: 200 * time.Millisecond})
	if got := host(r, "plain.test"); got != "192.0.2.9" {
		t.Error(got)
	}
	if !r.Up(t.Context()) {
		t.Error("one resolver answers, and none is said to")
	}
	good.Fail("", dnstest.Silent)
	if r.Up(t.Context()) {
		t.Error("no resolver gives an answer, and one is said to be up")
	}
	if got := host(r, "mx1.example.test"); got != "temporary" { // what one said tells more than the other's silence
		t.Error(got)
	}
	if _, err := New(Options{Servers: []string{"dns.test"}}); err == nil {
		t.Error("a name passes for a resolver's address")
	}
}

func TestHostsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte("# x\n192.0.2.5 Primary.test primary # y\nnonsense\n::1 primary.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := dnstest.New(t, zone)
	r := resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: s.Exchange, HostsFile: file})
	if got := host(r, "primary.TEST."); got != "192.0.2.5 ::1" {
		t.Error(got)
	}
	if got := host(r, "primary"); got != "192.0.2.5" {
		t.Error(got)
	}
	if got := host(r, "plain.test"); got != "192.0.2.9" {
		t.Error(got)
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := memory(t)
		expect := func(name, want string, asked int) {
			t.Helper()
			if got := host(r, name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
			if got := s.Asked(name); got != asked {
				t.Errorf("%s: asked %d times, want %d", name, got, asked)
			}
		}
		expect("mx1.example.test", "192.0.2.1 2001:db8::1", 2) // A and AAAA
		time.Sleep(59 * time.Second)
		expect("mx1.example.test", "192.0.2.1 2001:db8::1", 2)
		time.Sleep(2 * time.Second)
		expect("mx1.example.test", "192.0.2.1 2001:db8::1", 3) // A had 60 s, AAAA 300 s
		// An alias is as old as its shortest link.
		expect("alias.test", "192.0.2.1 2001:db8::1", 2)
		time.Sleep(31 * time.Second)
		expect("alias.test", "192.0.2.1 2001:db8::1", 4)
		// Denials hold for what their SOA says, and not at all without.
		expect("nothing.test", "no domain", 2)
		time.Sleep(59 * time.Second)
		expect("nothing.test", "no domain", 2)
		time.Sleep(2 * time.Second)
		s.NegativeTTL(0)
		expect("nothing.test", "no domain", 4)
		time.Sleep(time.Millisecond)
		expect("nothing.test", "no domain", 6)
		// Failures hold for a second; each is asked for twice.
		s.Fail("broken.test", dnstest.Servfail)
		expect("broken.test", "temporary", 4)
		time.Sleep(900 * time.Millisecond)
		expect("broken.test", "temporary", 4)
		time.Sleep(200 * time.Millisecond)
		s.Fail("broken.test", dnstest.None)
		expect("broken.test", "no domain", 6)
	})
}

func TestAnswersOutliveFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := memory(t)
		want := "192.0.2.9"
		if got := host(r, "plain.test"); got != want {
			t.Fatal(got)
		}
		time.Sleep(time.Hour)
		s.Fail("", dnstest.Silent)
		begin := time.Now()
		if got := host(r, "plain.test"); got != want || time.Since(begin) > 2*time.Second {
			t.Error(got, time.Since(begin))
		}
		time.Sleep(10 * time.Second) // the query has failed by now
		begin = time.Now()
		if got := host(r, "plain.test"); got != want || time.Since(begin) != 0 {
			t.Error(got, time.Since(begin))
		}
		time.Sleep(time.Hour)
		s.Fail("", dnstest.Servfail)
		if got := host(r, "plain.test"); got != want {
			t.Error(got)
		}
		// A denial is an answer, but not to a lasting view.
		s.Fail("", dnstest.None)
		s.Set(t, "other.test. A 192.0.2.1")
		time.Sleep(time.Hour)
		if got := host(r, "plain.test"); got != "no domain" {
			t.Error(got)
		}
		if got := host(r.Lasting(), "plain.test"); got != want {
			t.Error(got)
		}
		time.Sleep(time.Hour)
		s.Fail("", dnstest.Servfail)
		if got := host(r, "plain.test"); got != "temporary" {
			t.Error(got)
		}
		time.Sleep(13 * 24 * time.Hour)
		if got := host(r.Lasting(), "plain.test"); got != want {
			t.Error(got)
		}
		time.Sleep(2 * 24 * time.Hour)
		if got := host(r.Lasting(), "plain.test"); got != "temporary" {
			t.Error(got)
		}
		time.Sleep(time.Minute) // timers end
	})
}

// TestStale: how long an answer outlives its time while the resolvers fail is configured.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dnstest.New(t, zone)
		r := resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: s.Exchange, Stale: 24 * time.Hour})
		const want = "192.0.2.9"
		host(r, "plain.test")
		s.Fail("", dnstest.Servfail)
		time.Sleep(24 * time.Hour)
		if got := host(r, "plain.test"); got != want {
			t.Error(got)
		}
		time.Sleep(time.Hour)
		if got := host(r, "plain.test"); got != "temporary" {
			t.Error(got)
		}
		time.Sleep(time.Minute) // timers end
	})
}

func TestOneKindOfAddressIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := memory(t)
		s.Fail("mx1.example.test", dnstest.OnlyIPv4)
		begin := time.Now()
		if got := host(r, "mx1.example.test"); got != "192.0.2.1" || time.Since(begin) > time.Second {
			t.Error(got, time.Since(begin))
		}
		time.Sleep(time.Minute) // timers end
	})
}

func TestOneQueryForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := memory(t)
		s.Fail("plain.test", dnstest.Silent)
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.LookupMX(impatient, "plain.test"); describe(err) != "timeout" || !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		for range 50 {
			wg.Go(func() {
				if _, err := r.LookupMX(t.Context(), "plain.test"); describe(err) != "no record" {
					t.Error(err)
				}
			})
		}
		time.Sleep(1500 * time.Millisecond)
		s.Fail("plain.test", dnstest.None)
		wg.Wait()
		if n := s.Asked("plain.test"); n != 2 { // one that was lost, one again
			t.Errorf("asked %d times", n)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.LookupHost(canceled, "mx1.example.test"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	s := dnstest.New(t, zone)
	r := resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: s.Exchange, CacheSize: 10})
	for i := range 100 {
		r.LookupMX(t.Context(), fmt.Sprintf("n%d.test", i))
		r.LookupMX(t.Context(), "example.test")
	}
	if len(r.entries) != 10 || r.used.Len() != 10 || len(r.flights) != 0 {
		t.Error(len(r.entries), r.used.Len(), len(r.flights))
	}
	if s.Asked("example.test") != 1 || s.Asked("n0.test") != 1 {
		t.Error(s.Asked("example.test"))
	}
}

// TestLargeAnswersAreNotKept: a zone made for it doesn't fill the memory with 64 KB for each name; what others publish is small.
func TestLargeAnswersAreNotKept(t *testing.T) {
	long := strings.Repeat(" "+strings.Repeat("x", 250), 250)
	s := dnstest.New(t, "large.test. TXT"+long+"\nsmall.test. TXT"+long[:12*251]+"\n")
	r := resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: s.Exchange})
	for _, c := range []struct {
		name         string
		length, asks int
	}{{"large.test", 250 * 250, 3}, {"small.test", 12 * 250, 1}} {
		for range 3 {
			if txt, err := r.LookupTXT(t.Context(), c.name); err != nil || len(txt) != 1 || len(txt[0]) != c.length {
				t.Fatalf("%s: %d texts, %v", c.name, len(txt), err)
			}
		}
		if got := s.Asked(c.name); got != c.asks {
			t.Errorf("%s: asked %d times", c.name, got)
		}
	}
}

// TestCacheIsBoundedInOctets: many answers, each just small enough to be kept, don't add up to more than is set aside for them.
func TestCacheIsBoundedInOctets(t *testing.T) {
	r := resolver(t, Options{Servers: []string{"192.0.2.53"}, CacheSize: 20_000})
	txt := slices.Repeat([]string{strings.Repeat("x", 250)}, 16)
	for i := range maxOctets / 4000 * 5 / 4 {
		name := fmt.Sprintf("n%d.test", i%5000)
		for _, n := range []int{1, 16 - i%3} { // what it was before doesn't count
			r.keep(key{name, dns.TypeTXT}, &answer{records: []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name + "."}, Txt: txt[:n]}}})
		}
	}
	sum := 0
	for _, el := range r.entries {
		sum += el.Value.(*entry).size()
	}
	if sum != r.octets || sum > maxOctets || sum < maxOctets*9/10 || len(r.entries) != r.used.Len() {
		t.Errorf("%d octets in %d entries, counted as %d", sum, len(r.entries), r.octets)
	}
}

// TestCutAnswer: an answer that is cut over TCP too isn't taken for a whole one.
func TestCutAnswer(t *testing.T) {
	s := dnstest.New(t, zone)
	r := resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
		a, err := s.Exchange(ctx, q, server)
		a.Truncated = true
		return a, err
	}})
	if mx, err := r.LookupMX(t.Context(), "example.test"); describe(err) != "temporary" {
		t.Error(mx, err)
	}
}

func TestMXHosts(t *testing.T) {
	r, s := memory(t)
	addr := netip.MustParseAddr
	for _, tc := range []struct {
		domain string
		names  []string
		addrs  []netip.Addr
		want   string
	}{
		{"example.test", nil, nil, "mx1.example.test mx2.example.test"},
		{"example.test", []string{"MX2.example.test."}, nil, "mx1.example.test"},
		{"example.test", []string{"mx1.example.test"}, nil, ErrOnlyUs.Error()},
		{"example.test", nil, []netip.Addr{addr("192.0.2.2")}, "mx1.example.test"},
		{"example.test", nil, []netip.Addr{addr("2001:db8::1")}, ErrOnlyUs.Error()},
		{"only.test", []string{"mx2.example.test"}, nil, ErrOnlyUs.Error()},
		{"equal.test", []string{"mx2.example.test"}, nil, ErrOnlyUs.Error()},
		{"plain.test", nil, nil, "plain.test"},
		{"plain.test", nil, []netip.Addr{addr("192.0.2.9")}, ErrOnlyUs.Error()},
		{"null.test", nil, nil, ErrNullMX.Error()},
		{"odd.test", nil, nil, "mx1.example.test"},
		{"nothing.test", nil, nil, "no domain"},
		{"in-addr.arpa", nil, nil, "no record"},
	} {
		for range 5 { // equal preferences come in any order
			hosts, err := MXHosts(t.Context(), r, tc.domain, tc.names, tc.addrs)
			got := strings.Join(hosts, " ")
			if err != nil {
				got = describe(err)
			}
			if got != tc.want {
				t.Errorf("%s less %v %v: %s, want %s", tc.domain, tc.names, tc.addrs, got, tc.want)
			}
		}
	}
	orders := map[string]bool{}
	for range 200 {
		hosts, err := MXHosts(t.Context(), r, "equal.test", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		orders[strings.Join(hosts, " ")] = true
	}
	if len(orders) != 2 {
		t.Error("hosts of one preference keep their order", orders)
	}
	s.Fail("late.test", dnstest.Servfail)
	if _, err := MXHosts(t.Context(), r, "late.test", nil, nil); describe(err) != "temporary" {
		t.Error(err)
	}
}

func TestVerifiedName(t *testing.T) {
	r, s := memory(t)
	for ip, want := range map[string]string{"192.0.2.1": "mx1.example.test", "::ffff:192.0.2.1": "mx1.example.test", "192.0.2.9": "", "192.0.2.2": "", "2001:db8::1": ""} {
		if got, err := r.VerifiedName(t.Context(), netip.MustParseAddr(ip)); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", ip, got, err, want)
		}
	}
	s.Fail("5.2.0.192.in-addr.arpa", dnstest.Servfail)
	if got, err := r.VerifiedName(t.Context(), netip.MustParseAddr("192.0.2.5")); err == nil {
		t.Errorf("%q", got)
	}
	names, err := r.LookupAddr(t.Context(), "192.0.2.9")
	if err != nil || !slices.Equal(names, []string{"mx1.example.test."}) {
		t.Error(names, err)
	}
}

package dns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"restante/dns/dnstest"
)

// TestSilence goes through what the health of servers says step by step: each is a server, what it did, and the plan for all.
func TestSilence(t *testing.T) {
	var h Health
	begin := time.Now()
	for i, c := range []struct {
		at             float64 // seconds
		server, did    string
		usable, due    string
		wait, patience time.Duration // for a question, for server
	}{
		{0, "a", "missed", "a b", "", 0, 2 * time.Second},
		{0, "a", "missed", "a b", "", 0, 2 * time.Second},
		{0, "a", "heard", "a b", "", 0, 2 * time.Second}, // in a row, or it doesn't count
		{1, "a", "missed", "a b", "", 0, 2 * time.Second},
		{1, "a", "missed", "a b", "", 0, 2 * time.Second},
		{2, "a", "missed", "b a", "a", 0, hasty},
		{2.5, "a", "missed", "b a", "", 0, hasty}, // it has been asked the known question, which has no answer yet
		{3, "a", "known missed", "b", "a", 0, hasty},
		{3.5, "b", "missed", "b", "", 0, 2 * time.Second},
		{3.5, "b", "missed", "b", "", 0, 2 * time.Second},
		{3.5, "b", "missed", "b", "b", 0, hasty},
		{3.99, "b", "known missed", "", "", 0, hasty}, // that for a began too long ago
		{4.5, "a", "known missed", "", "a b", 0, hasty},
		{4.51, "", "", "", "", probeWait - 10*time.Millisecond, 2 * time.Second},
		{4.55, "", "", "", "", 0, 2 * time.Second}, // who comes later doesn't wait
		{4.6, "a", "known", "a", "", 0, hasty},     // it may have kept the answer
		{4.7, "a", "heard", "a", "", 0, 2 * time.Second},
		{5, "b", "known missed", "a", "", 0, hasty},
		{5.5, "b", "", "a", "b", 0, hasty}, // a dead one is looked at while others answer, too
		{5.6, "b", "heard", "a b", "", 0, 2 * time.Second},
		{5.7, "b", "known missed", "a b", "", 0, 2 * time.Second}, // too late to count
	} {
		now := begin.Add(time.Duration(c.at * float64(time.Second)))
		switch c.did {
		case "missed":
			h.missed(c.server, now)
		case "heard":
			h.heard(c.server)
		case "known missed", "known":
			h.probed(c.server, c.did == "known")
		}
		usable, due, wait, _ := h.plan([]string{"a", "b"}, now)
		if strings.Join(usable, " ") != c.usable || strings.Join(due, " ") != c.due || h.patience(c.server, 2*time.Second) != c.patience {
			t.Errorf("%d: %v %v, %v, want %q %q %v", i, usable, due, h.patience(c.server, 2*time.Second), c.usable, c.due, c.patience)
		}
		if c.wait != wait.Round(time.Millisecond) && len(due) == 0 {
			t.Errorf("%d: wait %v, want %v", i, wait, c.wait)
		}
	}
	if len(h.servers) != 0 {
		t.Error("servers that answer are kept", h.servers)
	}
}

// TestDeadServersCostNothing: with all servers silent the first questions wait, and no other does; one packet a second finds out that they
// are back, and then the next question has its answer.
func TestDeadServersCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dnstest.New(t, zone)
		health := new(Health)
		o := Options{Servers: []string{"192.0.2.53", "192.0.2.54"}, Exchange: s.Exchange, Health: health}
		r, other := resolver(t, o), resolver(t, o)
		if got := host(r, "plain.test"); got != "192.0.2.9" {
			t.Fatal(got)
		}
		time.Sleep(time.Hour)
		s.Fail("", dnstest.Silent)
		begin := time.Now()
		for i := range 2 {
			host(other, fmt.Sprintf("first%d.test", i))
		}
		time.Sleep(2 * time.Second)
		if took := time.Since(begin); took > 20*time.Second {
			t.Error("the first questions took", took)
		}
		silent, all := r.Silent()
		if len(silent) != 2 || !all || silent[0].Since.Before(begin) || silent[0].Since.After(begin.Add(5*time.Second)) || silent[0].Server != "192.0.2.53:53" {
			t.Error(silent, all)
		}
		// Many at once, of two resolvers that share what is known: none waits, and none is asked.
		before := s.Asked(".")
		begin = time.Now()
		var wg sync.WaitGroup
		for i := range 500 {
			for _, r := range []*Resolver{r, other} {
				wg.Go(func() {
					if _, err := r.LookupTXT(t.Context(), fmt.Sprintf("n%d.test", i)); describe(err) != "timeout" || !errors.Is(err, ErrSilent) {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if took := time.Since(begin); took > probeWait || s.Asked("n1.test") != 0 || len(r.flights) != 0 {
			t.Errorf("%v, asked %d times, %d failures are held", took, s.Asked("n1.test"), len(r.flights))
		}
		if got := host(r, "plain.test"); got != "192.0.2.9" { // what was known goes on
			t.Error(got)
		}
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			host(r, "later.test")
		}
		if n := s.Asked(".") - before; n < 2 || n > 6 {
			t.Errorf("%d probes of two servers in a second", n)
		}
		time.Sleep(time.Hour) // nobody asks, so nothing is found out: the next question does
		s.Fail("", dnstest.None)
		if got := host(r, "mx2.example.test"); got != "192.0.2.2" {
			t.Error(got)
		}
		synctest.Wait()
		if list, all := other.Silent(); len(list) != 0 || all {
			t.Error(list, all)
		}
		if got := host(r, "later.test"); got != "no domain" { // a failure for which nobody was asked isn't held
			t.Error(got)
		}
		time.Sleep(time.Minute) // timers end
	})
}

// TestRecovery: under load, a second after the servers are back every question is answered.
func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := memory(t)
		s.Fail("", dnstest.Silent)
		ask := func(i int) string {
			_, err := r.LookupTXT(t.Context(), fmt.Sprintf("n%d.test", i))
			return describe(err)
		}
		for i := range 3 {
			ask(i)
		}
		time.Sleep(2 * time.Second)
		for i := range 20 {
			if got := ask(100 + i); got != "timeout" {
				t.Error(got)
			}
			time.Sleep(10 * time.Millisecond)
		}
		s.Fail("", dnstest.None)
		begin := time.Now()
		for i := 200; ask(i) != "no domain"; i++ {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(begin); took > probeTime+probeWait {
			t.Error("it took", took)
		}
		time.Sleep(time.Minute) // timers end
	})
}

// TestSlowZonesSilenceNobody: a stranger whose zones never answer can't have a resolver that works left alone, nor hurried.
func TestSlowZonesSilenceNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dnstest.New(t, zone)
		r := resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
			if strings.HasSuffix(q.Question[0].Name, "example.test.") {
				time.Sleep(400 * time.Millisecond)
			}
			return s.Exchange(ctx, q, server)
		}})
		var wg sync.WaitGroup
		for i := range 50 {
			s.Fail(fmt.Sprintf("slow%d.test", i), dnstest.Silent)
			wg.Go(func() {
				if got := host(r, fmt.Sprintf("slow%d.test", i)); got != "timeout" {
					t.Error(got)
				}
			})
		}
		for range 40 {
			time.Sleep(300 * time.Millisecond)
			if list, _ := r.Silent(); len(list) > 0 {
				t.Fatal(list)
			}
		}
		if got := host(r, "mx1.example.test"); got != "192.0.2.1 2001:db8::1" {
			t.Error(got)
		}
		wg.Wait()
		time.Sleep(time.Minute) // timers end
	})
}

// TestOneOfTwoIsDead: the other is asked at once, and nobody waits for the dead one.
func TestOneOfTwoIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dnstest.New(t, zone)
		var dead atomic.Bool
		dead.Store(true)
		r := resolver(t, Options{Servers: []string{"192.0.2.53", "192.0.2.54"}, Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
			if server == "192.0.2.53:53" && dead.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return s.Exchange(ctx, q, server)
		}})
		for range 2 * silentAfter {
			r.Up(t.Context())
		}
		synctest.Wait()
		if len(r.health.servers) > 0 {
			t.Error("it counts that nobody waited for the other", r.health.servers)
		}
		for i := range 5 {
			host(r, fmt.Sprintf("n%d.test", i))
		}
		time.Sleep(2 * time.Second)
		begin := time.Now()
		for i := range 20 {
			if got := host(r, fmt.Sprintf("m%d.test", i)); got != "no domain" {
				t.Error(got)
			}
		}
		if took := time.Since(begin); took > 0 {
			t.Error(took)
		}
		if list, all := r.Silent(); len(list) != 1 || list[0].Server != "192.0.2.53:53" || all || !r.Up(t.Context()) {
			t.Error(list, all)
		}
		dead.Store(false)
		time.Sleep(probeEvery + probeTime)         // one may be under way
		if list, _ := r.Silent(); len(list) != 0 { // nobody asked for anything
			t.Error(list)
		}
		time.Sleep(time.Minute) // timers end
	})
}

// TestQuestionsAreBounded: however many ask, so many sockets are open and no more; who comes then is told at once.
func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open, most atomic.Int64
		r := resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: func(ctx context.Context, _ *dns.Msg, _ string) (*dns.Msg, error) {
			n := open.Add(1)
			defer open.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		var wg sync.WaitGroup
		var busy atomic.Int64
		for i := range maxAsking + 100 {
			wg.Go(func() {
				if _, err := r.LookupTXT(t.Context(), fmt.Sprintf("n%d.test", i)); errors.Is(err, ErrBusy) && describe(err) == "temporary" {
					busy.Add(1)
				}
			})
		}
		wg.Wait()
		if busy.Load() != 100 || most.Load() > maxAsking+1 || r.asking != 0 {
			t.Error(busy.Load(), most.Load(), r.asking)
		}
		time.Sleep(time.Minute) // timers end
	})
}

package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "": "", "nonsense": "",
	} {
		if got := Network(addr); got != want {
			t.Errorf("Network(%q) = %q, want %q", addr, got, want)
		}
	}
}

// try makes one attempt; it reports whether it was let through.
func try(l *Limiter, a Attempt, good bool) bool {
	done, wait := l.Begin(a)
	if wait > 0 {
		return false
	}
	done(good)
	return true
}

func TestGuessesFromEverywhereAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterLimits{})
		let := 0
		for i := range 24 * 60 * 60 {
			if try(l, Attempt{Account: anna, Addr: fmt.Sprintf("198.51.%d.%d", i/250%250, i%250), Guess: true}, false) {
				let++
			}
			time.Sleep(time.Second)
		}
		if let < 480 || let > 495 {
			t.Errorf("%d guesses at one account in a day, want about 490", let)
		}
	})
}

// TestNetworksOfOneCustomer: who has a /48 of IPv6 can't guess at codes from each of its networks anew.
func TestNetworksOfOneCustomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterLimits{})
		let := 0
		for i := range 24 * 60 * 60 {
			if try(l, Attempt{Account: anna, Addr: fmt.Sprintf("2001:db8:1:%x::1", i%65536)}, false) {
				let++
			}
			time.Sleep(time.Second)
		}
		if let > 400+24*60*60/3 {
			t.Errorf("%d guesses in a day from one customer", let)
		}
		if !try(l, Attempt{Account: anna, Addr: "2001:db8:2::1"}, true) {
			t.Error("a neighbour is kept out")
		}
	})
}

func TestRealPeopleAreNotLockedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterLimits{})
		for i := range 5000 { // a flood of guesses at anna's account
			try(l, Attempt{Account: anna, Addr: fmt.Sprintf("198.51.%d.%d", i/250, i%250), Guess: true}, false)
		}
		stranger := Attempt{Account: anna, Addr: "203.0.113.1", Guess: true}
		if _, wait := l.Begin(stranger); wait <= 0 || wait > DefaultLimiterLimits().Account.Every {
			t.Errorf("from elsewhere: wait %v", wait)
		}
		for name, a := range map[string]Attempt{
			"from her network":    {Account: anna, Addr: "203.0.113.1", Known: true, Guess: true},
			"in her browser":      {Account: anna, Addr: "203.0.113.2", Browser: "b1", Guess: true},
			"with a code":         {Account: anna, Addr: "203.0.113.3"},
			"somebody else there": {Account: max_, Addr: "203.0.113.1", Guess: true},
		} {
			if !try(l, a, true) {
				t.Errorf("%s: locked out", name)
			}
		}
	})
}

func TestGoodSignInsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterLimits{})
		for i := range 1000 { // everybody at the office, behind one address
			if !try(l, Attempt{Account: fmt.Sprintf("p%d@example.com", i), Addr: "192.0.2.1", Guess: true}, true) {
				t.Fatalf("sign-in %d was refused", i)
			}
		}
		if len(l.buckets) != 0 {
			t.Errorf("%d buckets", len(l.buckets))
		}
	})
}

func TestOneNetworkGuessingAtMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterLimits{})
		let := 0
		for i := range 1000 {
			if try(l, Attempt{Account: fmt.Sprintf("p%d@example.com", i), Addr: fmt.Sprintf("2001:db8::%x", i), Guess: true}, false) {
				let++
			}
		}
		if want := DefaultLimiterLimits().Network.Burst; let != want {
			t.Errorf("%d let through from one /64, want %d", let, want)
		}
		time.Sleep(DefaultLimiterLimits().Network.Every)
		if !try(l, Attempt{Account: "x@example.com", Addr: "2001:db8::1"}, false) {
			t.Error("still refused after the wait")
		}
	})
}

// Tries at the same moment count before any of them is answered.
func TestTriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterLimits{})
		let := 0
		for range 100 {
			if _, wait := l.Begin(Attempt{Account: anna, Browser: "b", Guess: true}); wait == 0 {
				let++
			}
		}
		if want := DefaultLimiterLimits().Known.Burst; let != want {
			t.Errorf("%d at once, want %d", let, want)
		}
	})
}

func TestBucketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterLimits{Keys: 1000})
		for range 50 {
			try(l, Attempt{Account: anna, Addr: "192.0.2.1", Guess: true}, false)
		}
		for i := range 20000 {
			try(l, Attempt{Account: fmt.Sprintf("p%d@example.com", i), Addr: fmt.Sprintf("10.%d.%d.1", i/250, i%250), Guess: true}, false)
			if len(l.buckets) > 1001 {
				t.Fatalf("%d buckets", len(l.buckets))
			}
		}
		if try(l, Attempt{Account: anna, Addr: "203.0.113.9", Guess: true}, false) {
			t.Error("a flood of other names has emptied the bucket of its target")
		}
	})
}

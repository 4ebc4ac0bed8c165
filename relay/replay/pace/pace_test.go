package pace

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// opened returns a Pace after its canary, with n connections and no message under way.
func opened(t *testing.T, c Config, n int) *Pace {
	t.Helper()
	p := New(c)
	must(t, p.Connect, t0)
	p.Opened()
	must(t, p.Start, t0)
	p.Ended(t0, Accepted)
	for p.Connections() < n {
		must(t, p.Connect, t0)
		p.Opened()
	}
	return p
}

func must(t *testing.T, ask func(time.Time) (bool, time.Duration), now time.Time) {
	t.Helper()
	if ok, wait := ask(now); !ok {
		t.Fatalf("refused, wait %v", wait)
	}
}

func mustNot(t *testing.T, ask func(time.Time) (bool, time.Duration), now time.Time, want time.Duration) {
	t.Helper()
	if ok, wait := ask(now); ok || wait != want {
		t.Fatalf("got %v, wait %v; want false, wait %v", ok, wait, want)
	}
}

func TestCanaryGoesAlone(t *testing.T) {
	p := New(Config{})
	must(t, p.Connect, t0)
	mustNot(t, p.Connect, t0, 0)
	must(t, p.Start, t0)
	mustNot(t, p.Start, t0, 0)
	p.Ended(t0, Accepted)
	if p.Phase() != Open || p.Limit() != 5 {
		t.Fatalf("after the canary: %s, limit %d", p.Phase(), p.Limit())
	}
	must(t, p.Connect, t0)
}

func TestOutcomesOfTheCanary(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     []Outcome
		phase Phase
		wait  time.Duration
	}{
		{"accepted", []Outcome{Accepted}, Open, 0},
		{"refused for good: the next goes at once", []Outcome{Refused}, Canary, 0},
		{"4xx: the next goes at once", []Outcome{Deferred}, Canary, 0},
		{"4xx, then accepted", []Outcome{Deferred, Deferred, Accepted}, Open, 0},
		{"lost", []Outcome{Lost}, Canary, time.Second},
		{"lost twice", []Outcome{Lost, Lost}, Canary, 2 * time.Second},
		{"lost, put back", []Outcome{Lost, Unsent}, Canary, 0},
		{"ten 4xx in a row", []Outcome{Deferred, Deferred, Deferred, Deferred, Deferred, Deferred, Deferred, Deferred, Deferred, Deferred}, Canary, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, now := New(Config{}), t0
			for _, o := range c.o {
				_, wait := p.Start(now)
				if wait > 0 {
					now = now.Add(wait)
					must(t, p.Start, now)
				}
				p.Ended(now, o)
			}
			if p.Phase() != c.phase {
				t.Errorf("phase %s, want %s", p.Phase(), c.phase)
			}
			if ok, wait := p.Start(now); wait != c.wait || ok != (c.wait == 0) {
				t.Errorf("next: %v after %v, want after %v", ok, wait, c.wait)
			}
		})
	}
}

func TestWindowGrowsByOneForEachWindowOfSuccesses(t *testing.T) {
	p := opened(t, Config{Cap: 8}, 5)
	for i := range 5 {
		if p.Limit() != 5 {
			t.Fatalf("limit %d after %d successes", p.Limit(), i)
		}
		must(t, p.Start, t0)
		p.Ended(t0, Accepted)
	}
	p.Ended(t0, Accepted) // 5 * 1/5.x is a little less than 1
	if p.Limit() != 6 {
		t.Fatalf("limit %d after six successes", p.Limit())
	}
	for range 100 {
		if ok, _ := p.Connect(t0); ok {
			p.Opened()
		} else if p.Connections() == 8 {
			break
		}
		p.Ended(t0, Accepted)
	}
	for range 100 {
		p.Ended(t0, Accepted)
	}
	if p.Limit() != 8 {
		t.Errorf("limit %d over the cap of 8", p.Limit())
	}
}

func TestUnusedWindowDoesNotGrow(t *testing.T) {
	p := opened(t, Config{}, 3)
	for range 1000 {
		p.Ended(t0, Accepted)
	}
	if p.Limit() != 5 {
		t.Errorf("limit %d, though only 3 connections were open", p.Limit())
	}
}

func TestLossHoldsAllAndFirstSuccessReleasesAll(t *testing.T) {
	p := opened(t, Config{}, 5)
	for range 3 {
		must(t, p.Start, t0)
	}
	p.Ended(t0, Lost)
	p.Closed()
	if p.Phase() != Waiting {
		t.Fatalf("phase %s", p.Phase())
	}
	mustNot(t, p.Start, t0, time.Second)
	mustNot(t, p.Connect, t0, time.Second)
	if p.Excess() {
		t.Error("idle connections are to be kept for the release")
	}
	p.Ended(t0, Accepted) // was under way
	if p.Phase() != Open || p.Limit() != 4 {
		t.Fatalf("phase %s, limit %d; want open and 5 less 1/5", p.Phase(), p.Limit())
	}
	must(t, p.Start, t0)
}

func TestLossOfAllIsOneLoss(t *testing.T) {
	p := opened(t, Config{}, 5)
	for range 5 {
		must(t, p.Start, t0)
	}
	for range 5 {
		p.Ended(t0, Lost)
		p.Closed()
	}
	mustNot(t, p.Connect, t0, time.Second)
	now := t0.Add(time.Second)
	must(t, p.Connect, now)
	mustNot(t, p.Connect, now, 0)
	must(t, p.Start, now)
	mustNot(t, p.Start, now, 0)
	p.Ended(now, Lost) // the trial
	p.Closed()
	mustNot(t, p.Connect, now, 2*time.Second)
	now = now.Add(2 * time.Second)
	must(t, p.Connect, now)
	p.Failed(now) // refused
	if p.Phase() != Canary {
		t.Fatalf("phase %s after %d losses in a row", p.Phase(), LostRow)
	}
	mustNot(t, p.Connect, now, 4*time.Second)
	p.Nudge() // a probe was answered
	must(t, p.Connect, now)
	must(t, p.Start, now)
	p.Ended(now, Accepted)
	if p.Limit() != 5 {
		t.Errorf("limit %d after the canary", p.Limit())
	}
}

func TestManyDeferredGoBackToTheCanary(t *testing.T) {
	p := opened(t, Config{}, 5)
	for range DeferredRow - 1 {
		must(t, p.Start, t0)
		p.Ended(t0, Deferred)
	}
	must(t, p.Start, t0)
	p.Ended(t0, Accepted)
	for i := range DeferredRow {
		if p.Phase() != Open {
			t.Fatalf("phase %s after %d", p.Phase(), i)
		}
		must(t, p.Start, t0)
		p.Ended(t0, Deferred)
	}
	if p.Phase() != Canary {
		t.Fatalf("phase %s after %d", p.Phase(), DeferredRow)
	}
	mustNot(t, p.Start, t0, time.Second)
}

func TestRefusedConnectionSetsTheCeiling(t *testing.T) {
	p := opened(t, Config{Start: 6}, 5)
	must(t, p.Connect, t0)
	p.Failed(t0)
	if p.Limit() != 5 || p.Phase() != Open {
		t.Fatalf("limit %d, phase %s", p.Limit(), p.Phase())
	}
	for range 100 {
		p.Ended(t0.Add(time.Second), Accepted)
	}
	if p.Limit() != 5 {
		t.Error("grew while held")
	}
	for range 6 {
		p.Ended(t0.Add(2*time.Second), Accepted)
	}
	if p.Limit() != 6 {
		t.Errorf("limit %d after the hold", p.Limit())
	}
	must(t, p.Connect, t0.Add(2*time.Second))
	p.Ended(t0.Add(2*time.Second), Accepted) // of the five; the sixth is still being opened
	p.Failed(t0.Add(2 * time.Second))
	for range 100 {
		p.Ended(t0.Add(5*time.Second), Accepted)
	}
	if p.Limit() != 5 {
		t.Error("the hold did not double")
	}
}

func TestRate(t *testing.T) {
	p := opened(t, Config{Rate: 100}, 5)
	now, sent := t0, 0
	for now.Before(t0.Add(10 * time.Second)) {
		ok, wait := p.Start(now)
		if ok {
			sent++
			p.Ended(now, Accepted)
			continue
		}
		if wait <= 0 {
			t.Fatal("no wait")
		}
		now = now.Add(wait)
	}
	if sent < 990 || sent > 1012 {
		t.Errorf("%d messages in 10 s at 100/s", sent)
	}
}

func TestRateBelowOne(t *testing.T) {
	p := opened(t, Config{Rate: 0.1}, 1)
	p.Start(t0)
	_, wait := p.Start(t0.Add(time.Second))
	if wait < 8*time.Second || wait > 10*time.Second {
		t.Errorf("wait %v at one message in 10 s", wait)
	}
}

func TestResetAndSetConfig(t *testing.T) {
	p := opened(t, Config{}, 5)
	p.SetConfig(Config{Cap: 3})
	if p.Limit() != 3 || !p.Excess() {
		t.Errorf("limit %d, excess %v", p.Limit(), p.Excess())
	}
	p.Reset()
	if p.Phase() != Canary || p.Limit() != 1 {
		t.Errorf("phase %s, limit %d", p.Phase(), p.Limit())
	}
}

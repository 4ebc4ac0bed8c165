package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/cmd/internal/postfix"
)

// kills is how often the loop kills; RESTANTE_TEST_KILLS asks for another number.
func kills(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("RESTANTE_TEST_KILLS"))
	if err != nil {
		return 200
	}
	return n
}

// Under load restante is killed with kill -9 again and again, about a hundred messages apart, while its Postfix primary goes
// up and down. Every message answered 250 must be at the primary unaltered in the end, and none that was refused.
func TestKillLoop(t *testing.T) {
	needs(t)
	primary := startPrimary(t, nil)
	n := newNode(t, node.Options{
		Primary: primary.Listen,
		Extra:   "probe_interval = \"1s\"\nrecipients = [\"@\"]\n",
		SMTP:    "max_sessions_per_address = 1000",
	})
	var told ledger
	rounds := kills(t)
	down := false
	for i := range rounds {
		if i%20 == 10 { // ten rounds with a primary, ten without
			if err := primary.Stop(); err != nil {
				t.Fatal(err)
			}
			down = true
		} else if i%20 == 0 && down {
			if err := primary.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			down = false
		}
		start(t, n)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			load.Send(ctx, load.SendOptions{Addr: n.SMTP, Run: "kill", First: i * 1000, Messages: 1000, Size: 2000,
				Sessions: 10, Reuse: true, Record: told.record, Timeout: 30 * time.Second})
		}()
		before := told.count()
		for until := time.Now().Add(10 * time.Second); told.count() < before+100 && time.Now().Before(until); {
			select {
			case <-time.After(time.Millisecond):
			case <-done:
			}
		}
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done
	}
	if down {
		if err := primary.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start(t, n)
	wait(t, n, 2*time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 })
	waitQueue(t, primary)
	a := told.compare(t, arrivals(t, primary))
	t.Logf("%d kills: %v", rounds, a)
	if a.accepted < rounds*20 {
		t.Errorf("only %d messages were accepted: the loop tested little", a.accepted)
	}
	// Each kill may cut off one transaction on each of at most 20 connections to the primary.
	if a.duplicates > rounds*20 {
		t.Errorf("%d duplicates are more than what the kills explain", a.duplicates)
	}
	report(t, n)
}

// waitQueue waits until Postfix has nothing queued any more.
func waitQueue(t *testing.T, i *postfix.Instance) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; {
		queued, err := i.Queued()
		if err != nil {
			t.Fatal(err)
		}
		if queued == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("Postfix still has %d messages queued", queued)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A real Postfix sends through all of it, kills included: it retries what wasn't answered, and nothing is lost.
func TestPostfixSendsThroughKills(t *testing.T) {
	needs(t)
	primary := startPrimary(t, nil)
	n := newNode(t, node.Options{Primary: primary.Listen, Extra: "probe_interval = \"1s\"\nrecipients = [\"@\"]\n"})
	start(t, n)
	sender := startPostfix(t, postfix.Options{Next: bracketed(n.SMTP), Main: map[string]string{
		"minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "queue_run_delay": "1s",
	}})
	if err := primary.Stop(); err != nil {
		t.Fatal(err)
	}
	const messages = 200
	for i := range messages {
		to := fmt.Sprintf("user%d@example.test", i)
		if err := sender.Sendmail(t.Context(), "a@sender.test", []string{to}, load.Message("postfix", i, 1500)); err != nil {
			t.Fatal(err)
		}
		if i%20 == 19 {
			if err := n.Kill(); err != nil {
				t.Fatal(err)
			}
			start(t, n)
		}
		if i == messages/2 {
			if err := primary.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitQueue(t, sender)
	wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 })
	waitQueue(t, primary)
	got := arrivals(t, primary)
	duplicates := 0
	for i := range messages {
		if got[i] == 0 {
			t.Errorf("message %d is lost", i)
		}
		duplicates += max(0, got[i]-1)
	}
	t.Logf("%d messages, %d duplicates after %d kills", messages, duplicates, messages/20)
	report(t, n)
}

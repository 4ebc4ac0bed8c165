package smtpd

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/relay/policy/rate"
	"restante/relay/reply"
)

// rcpts are n RCPT commands.
func rcpts(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "RCPT TO:<"+format+">\r\n", i)
	}
	return b.String()
}

// Who asks for people who aren't there is slowed down, then sent away, and stays away; who knows the address of one that is wrong isn't.
func TestHarvest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := rate.Limits{Refused: rate.Pair{Address: 15}, Ban: 10 * time.Minute}
		s := testServer(t, Options{Handler: &scripted{}, Rates: rate.New(limits, nil)})
		begun := time.Now()
		p := connect(t, s, "198.51.100.1:1")
		p.say("EHLO c.example\r\nMAIL FROM:<a@c.example>\r\n" + rcpts("nouser%d@example.test", 20))
		took, last := p.over(begun)
		within(t, "sent away", took, 7*time.Second, 7*time.Second) // from the tenth on a second each
		if !strings.HasPrefix(last, "421 4.7.1 Too many recipients that don't exist from 198.51.100.1, come back in 10 min (") {
			t.Errorf("%q", last)
		}
		for range 2 {
			p = connect(t, s, "198.51.100.1:2")
			if all := <-p.heard; !strings.HasPrefix(all, "421 4.7.1 Too many recipients that don't exist from 198.51.100.1, come back in 9 min 59 s (") {
				t.Errorf("%q", all)
			}
		}
		time.Sleep(10 * time.Minute)
		p = connect(t, s, "198.51.100.1:3")
		p.say("QUIT\r\n")
		if all := <-p.heard; !strings.HasPrefix(all, "220 ") {
			t.Errorf("%q", all)
		}
		s.wg.Wait()
	})
}

// Which refusals count as asking for people who aren't there.
func TestUnknown(t *testing.T) {
	for r, want := range map[string]bool{
		"550 5.1.1": true, "450 4.1.1": true, "550 5.1.10": true, "551 5.1.6": true, "550": true, "550 5.4.1": true, // Microsoft 365
		"550 5.7.1": false, "550 5.7.23": false, "554 5.7.1": false, "552 5.3.4": false, "552 5.2.2": false, "450 4.2.0": false, "451 4.3.0": false,
		"450 4.1.8": false, "550 5.1.8": false, "553 5.1.7": false, // the sender's
		"450": false, "452 4.5.3": false, "450 4.7.1": false, "550 5.1.2": false, "553": false,
	} {
		var one reply.Reply
		if _, err := fmt.Sscanf(r, "%d %d.%d.%d", &one.Code, &one.Enhanced[0], &one.Enhanced[1], &one.Enhanced[2]); err != nil && one.Code == 0 {
			t.Fatal(err)
		}
		if unknown(one) != want {
			t.Error(r)
		}
	}
}

// What isn't guessing bans nobody: the same again and again, policy, quotas, others' domains. Who asks for others' domains in one session is slowed
// down and sent away all the same, whose recipients are there as a rule isn't.
func TestHarvestFair(t *testing.T) {
	const hello = "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\n"
	for name, c := range map[string]struct {
		say  string
		took time.Duration
		last string
	}{
		"the same":   {strings.Repeat("RCPT TO:<nouser@example.test>\r\n", 20), 11 * time.Second, "221 2.0.0 Bye"},
		"later":      {rcpts("later%d@example.test", 20), 0, "221 2.0.0 Bye"},
		"foreign":    {rcpts("nouser%d@elsewhere.test", 40), 21 * time.Second, "421 4.7.0 Too many refused recipients ("},
		"mixed":      {strings.Repeat("RCPT TO:<b@example.test>\r\n"+"RCPT TO:<nouser@example.test>\r\n", 100), 0, "221 2.0.0 Bye"},
		"some wrong": {rcpts("nouser%d@example.test", 8) + rcpts("good%d@example.test", 8) + rcpts("nouser1%d@example.test", 8), 0, "221 2.0.0 Bye"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := rate.Limits{Refused: rate.Pair{Address: 12, Network: 12}, Ban: 10 * time.Minute}
				s := testServer(t, Options{Handler: &scripted{}, Rates: rate.New(limits, nil), Limits: Limits{RefusedRecipients: 30}})
				begun := time.Now()
				p := connect(t, s, "198.51.100.1:1")
				p.say(hello + c.say + "QUIT\r\n")
				took, last := p.over(begun)
				within(t, "over", took, c.took, c.took)
				if !strings.HasPrefix(last, c.last) {
					t.Errorf("%q", last)
				}
				p = connect(t, s, "198.51.100.1:2")
				p.say("QUIT\r\n")
				if all := <-p.heard; !strings.HasPrefix(all, "220 ") {
					t.Errorf("he comes again: %q", all)
				}
				s.wg.Wait()
			})
		})
	}
}

// Who is named as exempt isn't slowed down.
func TestHarvestExempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := rate.Limits{Refused: rate.Pair{Address: 5}, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
		s := testServer(t, Options{Handler: &scripted{}, Rates: rate.New(limits, nil)})
		begun := time.Now()
		p := connect(t, s, "198.51.100.1:1")
		p.say("EHLO c.example\r\nMAIL FROM:<a@c.example>\r\n" + rcpts("nouser%d@example.test", 20) + "QUIT\r\n")
		took, last := p.over(begun)
		within(t, "over", took, 0, 0)
		if !strings.HasPrefix(last, "221 ") {
			t.Errorf("%q", last)
		}
		s.wg.Wait()
	})
}

// With places running short who would be slowed down goes at once: so a few harvesters can't hold all places.
func TestHarvestStressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, Options{Handler: &scripted{}, Rates: rate.New(rate.Limits{}, nil), Limits: Limits{Sessions: 1}})
		begun := time.Now()
		p := connect(t, s, "198.51.100.1:1")
		p.say("EHLO c.example\r\nMAIL FROM:<a@c.example>\r\n" + rcpts("nouser%d@example.test", 20))
		took, last := p.over(begun)
		within(t, "sent away", took, 0, 0)
		if !strings.HasPrefix(last, "421 4.7.0 Too many refused recipients (") {
			t.Errorf("%q", last)
		}
		s.wg.Wait()
	})
}

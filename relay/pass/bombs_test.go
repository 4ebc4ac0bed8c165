package pass

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"restante/relay/health"
)

// bombBound is what a message made to be slow may cost, in processor time from its final dot to the reply.
const bombBound = 50 * time.Millisecond

// spent is the processor time of this process so far: others may have the machine for a while.
func spent(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestHeaderBombs sends messages whose headers were made to be slow. What isn't verified for its cost is said to be so, and
// is no reason to refuse.
func TestHeaderBombs(t *testing.T) {
	f := newFront(t, dmarcZone, nil)
	sig := strings.TrimSuffix(signed(t, plain), plain)
	for _, c := range []struct{ name, head, reply string }{
		{"80,000 continuation lines", "X: a" + strings.Repeat("\r\n ", 80_000) + "\r\n" + sig, "250"},
		{"80,000 of them in a signature", strings.TrimSuffix(sig, "\r\n") + strings.Repeat("\r\n ", 80_000) + "\r\n", "250"},
		{"80,000 of them in From", "From: a@example.com" + strings.Repeat("\r\n ", 80_000) + "\r\n", "550"},
		{"5,000 names in h=", strings.Replace(sig, "h=from:", "h=from:"+strings.Repeat("a:", 5_000), 1), "250"},
		{"1,000 signatures", strings.Repeat(sig, 1_000), "250"},
		{"10,000 fields", strings.Repeat("X: a\r\n", 10_000) + sig, "250"},
		{"10,000 signatures of two octets", strings.Repeat("DKIM-Signature: a\r\n", 10_000), "250"},
		{"5,000 fields of ours, forged", strings.Repeat("Authentication-Results: mx2.test; x\r\n", 5_000), "550"},
		{"60,000 comments before our name", "Authentication-Results: " + strings.Repeat("()", 60_000) + "mx2.test; x\r\n", "550"},
		{"10,000 authors", "From: " + strings.Repeat("a@b.test,", 10_000) + "a@b.test\r\n", "550"},
		{"100,000 angle brackets", "From: " + strings.Repeat("<", 100_000) + "\r\n", "550"},
		{"a domain of 60,000 labels", "From: a@" + strings.Repeat("a.", 60_000) + "test\r\n", "550"},
		{"a header that is too large", strings.Repeat("X: a\r\n", 60_000), "554"},
	} {
		best := time.Hour
		for range 3 {
			s := f.dial("203.0.113.9", "mail.test")
			for _, line := range []string{"MAIL FROM:<x@sender.test>", "RCPT TO:<info@a.example>", "DATA"} {
				s.do(line)
			}
			if _, err := fmt.Fprint(s, c.head+plain); err != nil {
				t.Fatal(err)
			}
			begun := spent(t)
			got := s.do(".")
			best = min(best, spent(t)-begun)
			s.Close()
			if !strings.HasPrefix(got, c.reply) {
				t.Errorf("%s: %s", c.name, got)
				break
			}
		}
		t.Logf("%s: %v", c.name, best)
		if best > bombBound && !testing.Short() { // short is the race pass, which is slow
			t.Errorf("%s: %v, more than %v", c.name, best, bombBound)
		}
	}
}

// BenchmarkBorder is the cost of one signed message of 4 KB in a session that stays, with cached DNS; "unjudged" is the same
// way without a border.
func BenchmarkBorder(b *testing.B) {
	msg := signed(b, plain[:len(plain)-2]+strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 115))
	for _, name := range []string{"judged", "unjudged"} {
		b.Run(name, func(b *testing.B) {
			f := newFront(b, dmarcZone, nil)
			if name == "unjudged" {
				f.Handler.o.Border = nil
			}
			f.prim.set(domA, health.Down, true)
			s := f.dial("198.51.100.1", "mail.sender.test")
			if err := s.SetDeadline(time.Now().Add(time.Hour)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if got := s.transaction(sent{from: "anna@example.com", msg: msg}); got[0] != '2' {
					b.Fatal(got)
				}
				f.spool.entries, f.spool.bodies = nil, nil // it is asked by nobody else
			}
		})
	}
}

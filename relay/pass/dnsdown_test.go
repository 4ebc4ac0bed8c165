package pass

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/dns"
	"restante/dns/dnstest"
	"restante/relay/policy"
	"restante/relay/policy/msgauth"
)

// TestNoResolverAnswers: with DNS gone the first messages wait for it, no other does; all are taken and say that they couldn't be judged, unless the
// domain wants them to come again; and when DNS is back the next are judged.
func TestNoResolverAnswers(t *testing.T) {
	server := dnstest.New(t, dmarcZone)
	resolver, err := dns.New(dns.Options{Servers: []string{"192.0.2.53"}, Exchange: server.Exchange, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(t, "", func(o *policy.Options) {
		o.Auth = msgauth.New(msgauth.Options{Resolver: resolver, AuthservID: "mx2.test"})
	})
	n := 0
	send := func(to string) (string, time.Duration) { // each from other names, of which nothing is known yet
		n++
		from := fmt.Sprintf("n%d.example.com", n)
		begun := time.Now()
		reply := f.submit(sent{client: "198.51.100.1", helo: "mail." + from, from: "anna@" + from, rcpts: []string{to}, msg: strings.Replace(signed(t, plain), "anna@example.com", "anna@"+from, 1)})
		return reply, time.Since(begun)
	}
	server.Fail("", dnstest.Silent)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() { _, _ = resolver.LookupTXT(t.Context(), fmt.Sprintf("first%d.test", i)) }) // there is no answer
	}
	wg.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, all := resolver.Silent(); all {
			break
		}
		if time.Now().After(end) {
			t.Fatal("silence isn't noticed")
		}
	}
	for _, to := range []string{"info@a.example", "info@b.example"} { // kept, and passed through
		fastest := time.Hour
		for range 5 {
			reply, took := send(to)
			if !strings.HasPrefix(reply, "250") {
				t.Errorf("%s: %s", to, reply)
			}
			fastest = min(fastest, took)
		}
		if fastest > 100*time.Millisecond {
			t.Errorf("%s: with no resolver a message takes %v at least", to, fastest)
		}
	}
	e, text := f.entry()
	if got := verdicts(e, "spf", "spf.helo", "dkim", "dmarc"); got != "dkim=temperror dmarc=temperror spf=temperror spf.helo=temperror" ||
		!strings.Contains(text, "mark=dns\r\n") || strings.Contains(text, "192.0.2.53") {
		t.Errorf("%s\n%s", got, text)
	}
	if n := server.Asked("n3.example.com"); n != 0 {
		t.Errorf("asked %d times", n)
	}
	f.border.SetConfig([]policy.Domain{{Name: domA, DNSError: policy.Reject}})
	if reply, took := send("info@a.example"); !strings.HasPrefix(reply, "451 4.4.3 ") || took > 10*time.Second {
		t.Error(reply, took)
	}
	server.Fail("", dnstest.None)
	var reply string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && !strings.HasPrefix(reply, "550 5.7.1 DMARC"); {
		reply, _ = send("info@a.example")
	}
	if !strings.HasPrefix(reply, "550 5.7.1 DMARC") { // np=reject
		t.Error("with DNS back: ", reply)
	}
}

package smtpd

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/relay/policy/rate"
	"restante/relay/tlscert"
)

// When all sessions are taken, who comes gets the place of who has waited longest and come to least; who is within a message, or was
// heard just now, stays.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &witness{}
		s := testServer(t, Options{Handler: h, Limits: Limits{Sessions: 5, SessionsPerAddress: 5}})
		message, useful := connect(t, s, "198.51.100.1:1"), connect(t, s, "198.51.100.1:2")
		message.say(toDATA)
		message.say("one\r\n")
		useful.say(toDATA)
		useful.say("two\r\n.\r\n")
		time.Sleep(time.Second)
		first := connect(t, s, "198.51.100.2:1")
		time.Sleep(time.Second)
		second := connect(t, s, "198.51.100.3:1")
		second.say("EHLO c.example\r\nMAIL FROM:<a@c.example>\r\n")
		time.Sleep(time.Second)
		third := connect(t, s, "198.51.100.4:1")
		synctest.Wait()
		if s.Sessions() != 5 {
			t.Fatalf("%d sessions", s.Sessions())
		}

		// At first third has come just now; then it is the one that has said nothing.
		for i, gone := range []*peer{first, third, second, useful} {
			next := connect(t, s, fmt.Sprintf("203.0.113.%d:1", i))
			next.say("EHLO next.example\r\n")
			if all := <-gone.heard; !strings.Contains(all, "\r\n421 4.3.2 mx2.example.test has too many connections and you were idle, come back later (") {
				t.Errorf("%d: %q", i, all)
			}
			if i == 0 {
				time.Sleep(time.Second)
			}
			synctest.Wait()
		}
		none := connect(t, s, "203.0.113.10:1")
		if all := <-none.heard; !strings.HasPrefix(all, "421 4.3.2 mx2.example.test has too many connections, come back later (") {
			t.Errorf("%q", all)
		}
		message.say(".\r\nQUIT\r\n")
		if all := <-message.heard; !strings.HasSuffix(all, "221 2.0.0 Bye\r\n") {
			t.Errorf("%q", all)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if len(h.messages) != 2 || s.going != 0 || s.Sessions() != 0 {
			t.Errorf("%d messages, %d going, %d sessions", len(h.messages), s.going, s.Sessions())
		}
	})
}

// Who doesn't go on with a TLS handshake, or drips a message, holds no place for long.
func TestCrowdHandshake(t *testing.T) {
	certs, err := tlscert.New(tlscert.Options{Dir: t.TempDir(), Hostname: "mx2.example.test"})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, Options{Certificates: certs, Limits: Limits{Sessions: 2, SessionsPerAddress: 2}})
		shaking, dripping := connect(t, s, "198.51.100.1:1"), connect(t, s, "198.51.100.1:2")
		shaking.say("EHLO c.example\r\n")
		shaking.say("STARTTLS\r\n")
		dripping.say(toDATA)
		begun := time.Now()
		dripped := make(chan struct{})
		go func() {
			defer close(dripped)
			for { // 1,000 octets a second
				if _, err := io.WriteString(dripping.Conn, strings.Repeat("x", 98)+"\r\n"); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		time.Sleep(patience)
		next := connect(t, s, "203.0.113.1:1")
		next.say("QUIT\r\n")
		if all := <-next.heard; !strings.HasSuffix(all, "221 2.0.0 Bye\r\n") {
			t.Errorf("%q", all)
		}
		<-shaking.heard
		more := []*peer{connect(t, s, "203.0.113.1:2")} // crowded still
		took, last := dripping.over(begun)
		within(t, "closed", took, stressIdle, stressIdle+time.Second)
		if !strings.HasPrefix(last, "421 4.4.2 ") {
			t.Errorf("%q", last)
		}
		<-dripped
		for _, p := range more {
			p.Close()
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// With few places left nobody may idle for long, neither between commands nor within a message.
func TestStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, Options{Limits: Limits{Sessions: 10, SessionsPerAddress: 10}})
		var crowd []*peer
		for i := range 8 {
			crowd = append(crowd, connect(t, s, fmt.Sprintf("198.51.100.1:%d", i+1)))
			synctest.Wait() // until it waits
		}
		begun := time.Now()
		crowd[0].say("EHLO c.example\r\n")
		crowd[1].say(toDATA)
		for _, p := range crowd[:2] {
			took, last := p.over(begun)
			within(t, "closed", took, stressIdle, stressIdle)
			if !strings.HasPrefix(last, "421 4.4.2 ") {
				t.Errorf("%q", last)
			}
		}
		crowd[2].say("EHLO c.example\r\n") // there is room again
		took, _ := crowd[2].over(begun)
		within(t, "closed", took, stressIdle+5*time.Minute, stressIdle+5*time.Minute)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A flood of connections that say nothing doesn't keep a sender out.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &witness{}
		s := testServer(t, Options{Handler: h, Limits: Limits{Sessions: 100, SessionsPerAddress: 50}})
		shut := 0
		for i := range 3000 { // 20 a second, which is less than 100 places in 2 s
			p := connect(t, s, fmt.Sprintf("100.64.%d.%d:1", i/250, i%250))
			if i%100 == 99 {
				sender := connect(t, s, "198.51.100.1:25")
				go func() {
					time.Sleep(time.Second)
					_, _ = io.WriteString(sender, toDATA)
					_, _ = io.WriteString(sender, "x\r\n.\r\nQUIT\r\n")
				}()
				if all := <-sender.heard; !strings.HasSuffix(all, "221 2.0.0 Bye\r\n") {
					shut++
				}
			}
			_ = p
			time.Sleep(50 * time.Millisecond)
		}
		if len(h.messages) != 30 || shut != 0 {
			t.Errorf("%d messages, %d shut out", len(h.messages), shut)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Rates are refused with what, how long, and the session's id, all of which the log has too.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log locked
		limits := rate.Limits{Connections: rate.Pair{Address: 3}, Messages: rate.Pair{Address: 4}}
		s := testServer(t, Options{Rates: rate.New(limits, nil), Log: slog.New(slog.NewTextHandler(&log, nil))})
		const mail = "MAIL FROM:<a@c.example>\r\nRSET\r\n"
		p := connect(t, s, "198.51.100.1:1")
		p.say("EHLO c.example\r\n" + strings.Repeat(mail, 6) + "QUIT\r\n")
		all := <-p.heard
		if n := strings.Count(all, "450 4.7.1 Too many messages from 198.51.100.1, come back in 15 s ("); n != 2 {
			t.Errorf("%d refused: %s", n, all)
		}
		for range 2 {
			p = connect(t, s, "198.51.100.1:1")
			p.say("QUIT\r\n")
			<-p.heard
		}
		p = connect(t, s, "198.51.100.1:1")
		last := <-p.heard
		text, id, ok := strings.Cut(strings.TrimSuffix(last, ")\r\n"), " (")
		if !ok || text != "421 4.7.1 Too many connections from 198.51.100.1, come back in 20 s" || len(id) != 8 {
			t.Errorf("%q", last)
		}
		if line := fmt.Sprintf("msg=\"connection refused\" session=%s client=198.51.100.1 reply=\"421 4.7.1 ", id); !strings.Contains(log.b.String(), line) || !strings.Contains(log.b.String(), `cause="198.51.100.1 has more than 3 connections a minute"`) {
			t.Errorf("log: %s", log.b.String())
		}
		time.Sleep(20 * time.Second)
		p = connect(t, s, "198.51.100.1:1")
		p.say("QUIT\r\n")
		if all := <-p.heard; !strings.HasPrefix(all, "220 ") {
			t.Errorf("%q", all)
		}
		s.wg.Wait()
	})
}

// One private address from which everybody comes is seen, and isn't limited as if it were one client.
func TestHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log locked
		s := testServer(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Limits: Limits{SessionsPerAddress: 1}, Rates: rate.New(rate.Limits{Exempt: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}, nil)})
		come := func(from string, n int) {
			for range n {
				p := connect(t, s, from)
				p.say("QUIT\r\n")
				<-p.heard
				synctest.Wait()
			}
		}
		come("172.17.0.1:1", hiddenAfter-1)
		if a := s.HiddenBehind(); a.IsValid() {
			t.Errorf("already %v", a)
		}
		come("172.17.0.1:1", 2)
		if a := s.HiddenBehind(); a.String() != "172.17.0.1" || strings.Count(log.b.String(), "all clients come from one private address") != 1 {
			t.Errorf("%v: %s", a, log.b.String())
		}
		p := connect(t, s, "172.17.0.1:1")
		come("172.17.0.1:2", 1) // two at a time
		p.say("QUIT\r\n")
		if all := <-p.heard; !strings.HasPrefix(all, "220 ") {
			t.Errorf("%q", all)
		}
		come("198.51.100.1:1", 1)
		if a := s.HiddenBehind(); a.IsValid() {
			t.Errorf("still %v", a)
		}
		for _, from := range []string{"198.51.100.1:1", "10.0.0.7:1"} { // a stranger, and one that is named
			come(from, hiddenAfter+1)
			if a := s.HiddenBehind(); a.IsValid() {
				t.Errorf("%v hides", a)
			}
		}
		s.wg.Wait()
	})
}

// balancer is the address of the load balancer in TestProxy.
const balancer = "10.0.0.1:4000"

func TestProxy(t *testing.T) {
	v2 := func(command byte, family byte, block ...byte) string {
		return string(append([]byte{'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n', 0x20 | command, family, 0, byte(len(block))}, block...))
	}
	four := []byte{192, 0, 2, 7, 192, 0, 2, 25, 0x10, 0x01, 0, 25}
	six := append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::25").AsSlice()...), 0x10, 0x01, 0, 25)
	for _, c := range []struct {
		name, from, says string
		client           string // "": no session
	}{
		{"version 1", balancer, "PROXY TCP4 192.0.2.7 192.0.2.25 4097 25\r\n", "192.0.2.7"},
		{"version 1, IPv6", balancer, "PROXY TCP6 2001:db8::7 2001:db8::25 4097 25\r\n", "2001:db8::7"},
		{"version 1, unknown", balancer, "PROXY UNKNOWN\r\n", "10.0.0.1"},
		{"version 2", balancer, v2(1, 0x11, four...), "192.0.2.7"},
		{"version 2, IPv6", balancer, v2(1, 0x21, six...), "2001:db8::7"},
		{"version 2 with more", balancer, v2(1, 0x11, append(append([]byte{}, four...), 4, 0, 2, 'x', 'y')...), "192.0.2.7"},
		{"local", balancer, v2(0, 0), "10.0.0.1"},
		{"local with addresses", balancer, v2(0, 0x11, four...), "10.0.0.1"},
		{"mapped", balancer, "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.25 4097 25\r\n", "192.0.2.7"},
		{"no header", balancer, "EHLO c.example\r\n", ""},
		{"garbage", balancer, "PROXY TCP4 nonsense\r\n", ""},
		{"cut", balancer, v2(1, 0x11, four...)[:20], ""},
		{"endless", balancer, "PROXY TCP4 " + strings.Repeat("1", 9000), ""},
		{"too long", balancer, strings.Replace(v2(1, 0x11, four...), "\x00\x0c", "\xff\xff", 1) + strings.Repeat("x", 9000), ""},
		{"a health check", balancer, "", ""},
		{"a stranger", "198.51.100.1:1", "PROXY TCP4 192.0.2.7 192.0.2.25 4097 25\r\n", "198.51.100.1"},
		{"a stranger, version 2", "198.51.100.1:1", v2(1, 0x11, four...), ""}, // a bare LF ends the session
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log locked
				client := ""
				s := testServer(t, Options{
					Handler: seer(func(c *Client) { client = c.Addr }), Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")},
					Log: slog.New(slog.NewTextHandler(&log, nil)),
				})
				ours, theirs := net.Pipe()
				s.accept(tcp{theirs, c.from})
				heard := make(chan string, 1)
				go func() {
					b, _ := io.ReadAll(ours)
					heard <- string(b)
				}()
				_, _ = io.WriteString(ours, c.says)
				if c.client == "" {
					synctest.Wait()
					ours.Close()
				} else {
					// Octets that came with the header aren't lost.
					_, _ = io.WriteString(ours, "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nQUIT\r\n")
				}
				all := <-heard
				s.wg.Wait()
				if client != c.client || c.client != "" && !strings.HasSuffix(all, "221 2.0.0 Bye\r\n") {
					t.Errorf("client %q, want %q: %q", client, c.client, all)
				}
				if strings.HasPrefix(c.from, "198") && c.client != "" && !strings.Contains(all, "\r\n500 5.5.2 Command not recognized\r\n") {
					t.Errorf("%q", all)
				}
				if warned := strings.Contains(log.b.String(), "didn't say for whom it connects"); warned != (c.from == balancer && c.client == "" && c.says != "") {
					t.Errorf("log: %s", log.b.String())
				}
			})
		})
	}
}

// A load balancer that says nothing is left after some seconds, and at a stop at once; its header and what follows may come in one piece.
func TestProxySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, Options{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}})
		begun := time.Now()
		ours, theirs := net.Pipe()
		s.accept(tcp{theirs, balancer})
		if _, err := io.ReadAll(ours); err != nil {
			t.Error(err)
		}
		within(t, "left", time.Since(begun), headerTime, headerTime)

		ours, theirs = net.Pipe()
		s.accept(tcp{theirs, balancer})
		heard := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(ours)
			heard <- string(b)
		}()
		_, _ = io.WriteString(ours, "PROXY TCP4 192.0.2.7 192.0.2.25 4097 25\r\nEHLO c.example\r\nQUIT\r\n")
		if all := <-heard; !strings.HasSuffix(all, "221 2.0.0 Bye\r\n") {
			t.Errorf("%q", all)
		}
		s.SetProxies(nil)
		p := connect(t, s, balancer)
		p.say("QUIT\r\n")
		if all := <-p.heard; !strings.HasPrefix(all, "220 ") {
			t.Errorf("%q", all)
		}

		s.SetProxies([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")})
		_, theirs = net.Pipe()
		s.accept(tcp{theirs, balancer})
		begun = time.Now()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		within(t, "stopped", time.Since(begun), 0, 0)
	})
}

// Who comes is told of at once.
func TestArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen bytes.Buffer
		s := testServer(t, Options{Arrived: func(a netip.Addr) { seen.WriteString(a.String() + " ") }, Limits: Limits{SessionsPerAddress: 1, Sessions: 5}})
		for _, from := range []string{"192.0.2.1:1", "192.0.2.1:2", "[2001:db8::1]:1"} { // the second is refused
			p := connect(t, s, from)
			defer p.Close()
		}
		if seen.String() != "192.0.2.1 2001:db8::1 " {
			t.Errorf("%q", seen.String())
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

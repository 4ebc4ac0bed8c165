package smtpd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/relay/reply"
	"restante/spool"
)

// peer is the other side of a session over an in-memory pipe, for tests with fake time.
type peer struct {
	t *testing.T
	net.Conn
	heard chan string // all replies, once the server has closed
}

// tcp is a pipe with addresses.
type tcp struct {
	net.Conn
	remote string
}

func (c tcp) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.remote)) }
func (c tcp) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.25:25"))
}

// connect begins a session and reads its replies in the background.
func connect(t *testing.T, s *Server, remote string) *peer {
	ours, theirs := net.Pipe()
	p := &peer{t: t, Conn: ours, heard: make(chan string, 1)}
	go func() {
		b, _ := io.ReadAll(ours) // what is missing will be missed
		p.heard <- string(b)
	}()
	s.serve(tcp{theirs, remote})
	return p
}

func (p *peer) say(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Fatalf("saying %q: %v", s, err)
	}
}

// over says how long it took until the server closed, and its last reply.
func (p *peer) over(since time.Time) (time.Duration, string) {
	all := strings.Split(strings.TrimSuffix(<-p.heard, "\r\n"), "\r\n")
	return time.Since(since), all[len(all)-1]
}

const toDATA = "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n"

func testServer(t *testing.T, o Options) *Server {
	t.Helper()
	o.Hostname = "mx2.example.test"
	if o.Handler == nil {
		o.Handler = &witness{}
	}
	s, err := newServer(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func within(t *testing.T, what string, got, from, to time.Duration) {
	t.Helper()
	if got < from || got > to {
		t.Errorf("%s after %v, want between %v and %v", what, got, from, to)
	}
}

// Time-outs and rates: each line says what the peer does, and when and how it must end.
func TestSlowPeers(t *testing.T) {
	drip := func(p *peer, s string, every time.Duration) {
		for { // until the server has enough
			for i := range len(s) {
				time.Sleep(every)
				if _, err := io.WriteString(p.Conn, s[i:i+1]); err != nil {
					return
				}
			}
		}
	}
	for _, c := range []struct {
		name     string
		does     func(*peer)
		from, to time.Duration
		reply    string
	}{
		{"says nothing", func(*peer) {}, 5 * time.Minute, 5 * time.Minute, "421 4.4.2 "},
		{"idles after EHLO", func(p *peer) { p.say("EHLO c\r\n") }, 5 * time.Minute, 5 * time.Minute, "421 4.4.2 "},
		// The time of a command doesn't begin anew with each octet.
		{"drips a command", func(p *peer) { drip(p, "NOOP xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", time.Minute) }, 5 * time.Minute, 5*time.Minute + time.Second, "421 4.4.2 "},
		{"stops in DATA", func(p *peer) { p.say(toDATA); p.say("text") }, 5 * time.Minute, 5 * time.Minute, "421 4.4.2 "},
		{"drips a message", func(p *peer) { p.say(toDATA); drip(p, "x", 10*time.Second) }, time.Minute, 80 * time.Second, "421 4.4.2 "},
		// 100 octets a second, while 200 are wanted.
		{"drips lines", func(p *peer) { p.say(toDATA); drip(p, strings.Repeat("x", 70)+"\r\n", 10*time.Millisecond) }, time.Minute, 62 * time.Second, "421 4.4.2 "},
		{"drips a chunk", func(p *peer) {
			p.say(strings.Replace(toDATA, "DATA", "BDAT 10000 LAST", 1))
			drip(p, "x", 10*time.Second)
		}, time.Minute, 80 * time.Second, "421 4.4.2 "},
		{"stops in a chunk", func(p *peer) { p.say(strings.Replace(toDATA, "DATA", "BDAT 10 LAST", 1)); p.say("x") }, 5 * time.Minute, 5 * time.Minute, "421 4.4.2 "},
		{"idles between chunks", func(p *peer) { p.say(strings.Replace(toDATA, "DATA", "BDAT 1", 1)); p.say("x") }, 5 * time.Minute, 5 * time.Minute, "421 4.4.2 "},
		{"drips a chunk nobody wants", func(p *peer) { p.say("BDAT 10000\r\n"); drip(p, "x", 10*time.Second) }, time.Minute, 80 * time.Second, "421 4.4.2 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &witness{}
				s := testServer(t, Options{Handler: h})
				begun := time.Now()
				p := connect(t, s, "198.51.100.1:1025")
				done := make(chan struct{})
				go func() {
					c.does(p)
					close(done)
				}()
				took, last := p.over(begun)
				<-done
				within(t, "closed", took, c.from, c.to)
				if !strings.HasPrefix(last, c.reply) {
					t.Errorf("last reply %q, want %q", last, c.reply)
				}
				s.wg.Wait()
				if len(h.messages) > 0 || h.open != 0 || s.Sessions() != 0 {
					t.Errorf("messages %q, %d transactions, %d sessions", h.messages, h.open, s.Sessions())
				}
			})
		})
	}
}

// Hazard 2: a message that comes after the time-out is no commands.
func TestSlowMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &witness{}
		s := testServer(t, Options{Handler: h})
		p := connect(t, s, "198.51.100.1:1025")
		p.say(toDATA)
		p.say("text\r\n")
		time.Sleep(6 * time.Minute)
		if _, err := io.WriteString(p.Conn, ".\r\nMAIL FROM:<evil@c.example>\r\nRCPT TO:<b@example.test>\r\nBDAT 4 LAST\r\nevil"); err == nil {
			t.Error("the connection is still read")
		}
		s.wg.Wait()
		if len(h.messages) > 0 {
			t.Errorf("got %q", h.messages)
		}
	})
}

// A fair message may take as long as it is large.
func TestSteadyMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &witness{}
		s := testServer(t, Options{Handler: h})
		p := connect(t, s, "198.51.100.1:1025")
		p.say(toDATA)
		p.say("\r\n")
		for range 3600 { // an hour at 300 octets a second
			time.Sleep(time.Second)
			p.say(strings.Repeat("x", 298) + "\r\n")
		}
		p.say(".\r\nQUIT\r\n")
		<-p.heard
		s.wg.Wait()
		if len(h.messages) != 1 || len(h.messages[0]) != 2+300*3600 {
			t.Errorf("%d messages", len(h.messages))
		}
	})
}

// A peer that takes no replies is left after Limits.Write.
func TestDeafPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, Options{})
		ours, theirs := net.Pipe()
		begun := time.Now()
		s.serve(tcp{theirs, "198.51.100.1:1025"})
		s.wg.Wait()
		within(t, "left", time.Since(begun), time.Minute, time.Minute)
		ours.Close()
	})
}

// Time that the Handler takes isn't the peer's.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &gate{witness: &witness{}, open: make(chan struct{})}
		s := testServer(t, Options{Handler: h})
		p := connect(t, s, "198.51.100.1:1025")
		p.say(toDATA)
		p.say("x\r\n.\r\n")
		time.Sleep(10 * time.Minute)
		close(h.open)
		p.say("QUIT\r\n")
		if all := <-p.heard; !strings.Contains(all, "\r\n250 2.0.0 00") || !strings.HasSuffix(all, "221 2.0.0 Bye\r\n") {
			t.Errorf("%s", all)
		}
		s.wg.Wait()
	})
}

// gate is a Handler that waits with its reply to a message, until it is let or told to stop.
type gate struct {
	*witness
	open chan struct{}
}

func (g *gate) Begin(ctx context.Context, c *Client, m Mail) (Transaction, reply.Reply) {
	tx, r := g.witness.Begin(ctx, c, m)
	return gated{tx, g}, r
}

type gated struct {
	Transaction
	g *gate
}

func (t gated) Data(ctx context.Context, id string, body *spool.Body) reply.Reply {
	select {
	case <-t.g.open:
		return t.Transaction.Data(ctx, id, body)
	case <-ctx.Done():
		return reply.Reply{}
	}
}

func TestShutdownSendsIdlePeersAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, Options{})
		peers := []*peer{
			connect(t, s, "198.51.100.1:1"), connect(t, s, "198.51.100.1:2"),
			connect(t, s, "198.51.100.1:3"), connect(t, s, "198.51.100.1:4"),
		}
		peers[1].say("EHLO c\r\n")
		peers[2].say("EHLO c\r\nMAIL FROM:<a@c.example>\r\n")
		peers[3].say("EHLO c\r\nNO")
		synctest.Wait()
		begun := time.Now()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		within(t, "stopped", time.Since(begun), 0, 0)
		for i, p := range peers {
			if all := <-p.heard; !strings.Contains(all, "\r\n421 4.3.2 mx2.example.test ") {
				t.Errorf("peer %d: %s", i, all)
			}
		}
	})
}

func TestShutdownLetsMessagesFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &gate{witness: &witness{}, open: make(chan struct{})}
		s := testServer(t, Options{Handler: h})
		data, chunks, handled := connect(t, s, "198.51.100.1:1"), connect(t, s, "198.51.100.1:2"), connect(t, s, "198.51.100.1:3")
		data.say(toDATA)
		data.say("one\r\n")
		chunks.say(strings.Replace(toDATA, "DATA\r\n", "BDAT 2\r\ntw", 1))
		handled.say(toDATA)
		handled.say("three\r\n.\r\n")
		synctest.Wait()
		stopped := make(chan error)
		go func() { stopped <- s.Shutdown(t.Context()) }()
		time.Sleep(time.Second)
		late := connect(t, s, "198.51.100.1:4")
		if all := <-late.heard; !strings.HasPrefix(all, "421 4.3.2 ") {
			t.Errorf("late: %s", all)
		}
		data.say(".\r\n")
		chunks.say("BDAT 3 LAST\r\no\r\n")
		time.Sleep(time.Second)
		close(h.open)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		for _, p := range []*peer{data, chunks, handled} {
			all := <-p.heard
			lines := strings.Split(strings.TrimSuffix(all, "\r\n"), "\r\n")
			n := len(lines)
			if !strings.HasPrefix(lines[n-2], "250 2.0.0 00") || !strings.HasPrefix(lines[n-1], "421 4.3.2 ") {
				t.Errorf("%s", all)
			}
		}
		if len(h.messages) != 3 {
			t.Errorf("%q", h.messages)
		}
	})
}

func TestShutdownCutsAtTheEndOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &gate{witness: &witness{}, open: make(chan struct{})}
		s := testServer(t, Options{Handler: h})
		data, handled := connect(t, s, "198.51.100.1:1"), connect(t, s, "198.51.100.1:2")
		data.say(toDATA)
		data.say("one\r\n")
		handled.say(toDATA)
		handled.say("two\r\n.\r\n")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		begun := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		within(t, "cut", time.Since(begun), 30*time.Second, 30*time.Second)
		for _, p := range []*peer{data, handled} {
			if all := <-p.heard; !strings.HasSuffix(all, "354 Go on, end with <CR><LF>.<CR><LF>\r\n") {
				t.Errorf("a reply after the cut: %s", all)
			}
		}
		if len(h.messages) > 0 || h.witness.open != 0 {
			t.Errorf("%q, %d open", h.messages, h.witness.open)
		}
	})
}

func TestSessionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, Options{Limits: Limits{Sessions: 4, SessionsPerAddress: 2}})
		type step struct{ remote, want string }
		var open []*peer
		for _, c := range []step{
			{"198.51.100.1:1", ""}, {"198.51.100.1:2", ""}, {"198.51.100.1:3", "421 4.7.0 "},
			{"[2001:db8::1]:1", ""}, {"[2001:db8::ffff:2]:1", ""},
			{"[2001:db8:0:1::3]:1", "421 4.3.2 "}, {"203.0.113.1:1", "421 4.3.2 "},
		} {
			p := connect(t, s, c.remote)
			if c.want == "" {
				open = append(open, p)
				p.say("NOOP\r\n") // it is served
			} else if all := <-p.heard; !strings.HasPrefix(all, c.want) {
				t.Errorf("%s: %q, want %q", c.remote, all, c.want)
			}
		}
		open[0].say("QUIT\r\n")
		<-open[0].heard
		synctest.Wait()
		p := connect(t, s, "[2001:db8::4]:1") // its /64 has two
		if all := <-p.heard; !strings.HasPrefix(all, "421 4.7.0 ") {
			t.Errorf("%q", all)
		}
		again := connect(t, s, "[::ffff:198.51.100.1]:4") // the place that was given up, by another spelling
		again.say("QUIT\r\n")
		if all := <-again.heard; !strings.Contains(all, "221 ") {
			t.Errorf("%q", all)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if len(s.from) != 0 || s.Sessions() != 0 {
			t.Errorf("%v left", s.from)
		}
	})
}

package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"restante/relay/reply"
	"restante/spool"
)

// null is a Handler that takes everything and does nothing.
type null struct{}

func (null) Begin(context.Context, *Client, Mail) (Transaction, reply.Reply) {
	return null{}, reply.Reply{}
}
func (null) Rcpt(context.Context, Rcpt) reply.Reply { return reply.Reply{} }
func (null) Expect()                                {}
func (null) Reset()                                 {}
func (null) Data(context.Context, string, *spool.Body) reply.Reply {
	return reply.New(250, reply.Enhanced{2, 0, 0}, "Kept")
}

// text is a message of about n octets in lines of 76.
func text(n int) string {
	line := strings.Repeat("x", 76) + "\r\n"
	return "From: <a@c.example>\r\nSubject: bench\r\n\r\n" + strings.Repeat(line, n/len(line))
}

func bench(b *testing.B) (*Server, string) {
	b.Helper()
	s, err := New(Options{Hostname: "mx2.example.test", Handler: null{}, TempDir: b.TempDir(), Offers: Offers{SMTPUTF8: true, DSN: true},
		Limits: Limits{Sessions: 20000, SessionsPerAddress: 20000}})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		if err := s.Serve(l); err != nil {
			b.Error(err)
		}
	}()
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			b.Error(err)
		}
	})
	return s, l.Addr().String()
}

// BenchmarkMemory is the receive path without a network: one session, messages of 4 KB, the peer's side
// as cheap as it can be. Its CPU time is that of smtpd and go-smtp.
func BenchmarkMemory(b *testing.B) {
	for _, way := range []string{"data", "bdat"} {
		b.Run(way, func(b *testing.B) {
			s, _ := bench(b)
			body := text(4000)
			envelope := "MAIL FROM:<a@c.example> SIZE=4000\r\nRCPT TO:<b@example.test>\r\n"
			parts := []string{envelope + "DATA\r\n", body + ".\r\n"}
			replies := 4
			if way == "bdat" {
				parts = []string{envelope + fmt.Sprintf("BDAT %d LAST\r\n", len(body)) + body}
				replies = 3
			}
			nc := &mouth{parts: parts, first: "EHLO c.example\r\n", left: b.N, done: make(chan struct{})}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			before := cpu()
			b.ResetTimer()
			s.serve(nc)
			<-nc.done
			b.StopTimer()
			b.ReportMetric(float64(cpu()-before)/float64(b.N)/1000, "cpu-us/op")
			if want := 1 + 9 + replies*b.N; nc.lines != want {
				b.Fatalf("%d lines of replies, want %d", nc.lines, want)
			}
		})
	}
}

// BenchmarkNew is one message a connection, without a network.
func BenchmarkNew(b *testing.B) {
	s, _ := bench(b)
	parts := []string{"EHLO c.example\r\n", "MAIL FROM:<a@c.example> SIZE=4000\r\nRCPT TO:<b@example.test>\r\nDATA\r\n", text(4000) + ".\r\nQUIT\r\n"}
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		nc := &mouth{parts: parts, left: 1, done: make(chan struct{})}
		s.serve(nc)
		<-nc.done
		if nc.lines != 1+9+4+1 {
			b.Fatalf("%d lines of replies", nc.lines)
		}
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N)/1000, "cpu-us/op")
}

// mouth is a connection that says the parts again and again.
type mouth struct {
	first string
	parts []string
	at    int
	left  int // messages
	rest  string
	lines int
	done  chan struct{}
}

func (m *mouth) Read(p []byte) (int, error) {
	if m.rest == "" {
		switch {
		case m.first != "":
			m.rest, m.first = m.first, ""
		case m.left == 0:
			return 0, io.EOF
		default:
			m.rest = m.parts[m.at]
			if m.at++; m.at == len(m.parts) {
				m.at = 0
				m.left--
			}
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func (m *mouth) Write(p []byte) (int, error) {
	for _, c := range p {
		if c == '\n' {
			m.lines++
		}
	}
	return len(p), nil
}
func (m *mouth) Close() error                     { close(m.done); return nil }
func (m *mouth) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }
func (m *mouth) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9} }
func (m *mouth) SetDeadline(time.Time) error      { return nil }
func (m *mouth) SetReadDeadline(time.Time) error  { return nil }
func (m *mouth) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkSessions is 50 sessions over TCP, each on its connection, with the client's work within.
func BenchmarkSessions(b *testing.B) {
	const sessions = 50
	_, addr := bench(b)
	body := text(4000)
	work := make(chan struct{}, sessions)
	errs := make(chan error, sessions)
	for range sessions {
		go func() { errs <- client(addr, body, work) }()
	}
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	for range sessions {
		if err := <-errs; err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N)/1000, "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func client(addr, body string, work <-chan struct{}) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	say := func(s string, lines int) error {
		if _, err := io.WriteString(nc, s); err != nil {
			return err
		}
		for range lines {
			if _, err := r.ReadSlice('\n'); err != nil {
				return err
			}
		}
		return nil
	}
	if err := say("EHLO c.example\r\n", 10); err != nil {
		return err
	}
	for range work {
		if err := say("MAIL FROM:<a@c.example> SIZE=4000\r\nRCPT TO:<b@example.test>\r\nDATA\r\n", 3); err != nil {
			return err
		}
		if err := say(body+".\r\n", 1); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkIdle says how much memory an idle session takes, the client's side (very little) within.
func BenchmarkIdle(b *testing.B) {
	const sessions = 5000
	for range b.N {
		s, addr := bench(b)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		conns := make([]net.Conn, 0, sessions)
		buf := make([]byte, 512)
		for range sessions {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			conns = append(conns, nc)
			if _, err := nc.Read(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.WriteString(nc, "EHLO c.example\r\n"); err != nil {
				b.Fatal(err)
			}
			if _, err := nc.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		used := after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse
		b.ReportMetric(float64(used)/sessions, "B/session")
		if s.Sessions() != sessions {
			b.Errorf("%d sessions", s.Sessions())
		}
		for _, nc := range conns {
			nc.Close()
		}
	}
}

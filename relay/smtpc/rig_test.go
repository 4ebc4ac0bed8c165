package smtpc

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"restante/relay/sink"
)

func startSink(t *testing.T, o sink.Options) *sink.Server {
	t.Helper()
	o.Keep, o.Strict = true, true
	s := sink.New(o)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		for _, v := range s.Violations() {
			t.Error("protocol violation: ", v)
		}
	})
	return s
}

func target(addr string) Target {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		panic(err)
	}
	return Target{Name: "primary", Host: host, Port: n}
}

func dial(t *testing.T, tg Target) *Conn {
	t.Helper()
	c, err := (&Dialer{Hostname: "mx2.test"}).Dial(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// plain offers everything but TLS.
func plain() sink.Offers {
	o := sink.DefaultOffers()
	o.StartTLS = false
	return o
}

// script serves one connection after another: each string is sent, after reading a line for it if it isn't the first; "<n"
// in front reads n lines instead; "!" alone closes.
func script(t *testing.T, conns ...[]string) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-ended })
	go func() {
		defer close(ended)
		for _, lines := range conns {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			play(nc, lines)
		}
	}()
	return target(l.Addr().String())
}

func play(nc net.Conn, lines []string) {
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(nc)
	for i, l := range lines {
		reads := min(i, 1)
		if strings.HasPrefix(l, "<") {
			n, rest, _ := strings.Cut(l[1:], " ")
			reads, _ = strconv.Atoi(n)
			l = rest
		}
		for range reads {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
		}
		if l == "!" {
			return
		}
		if _, err := io.WriteString(nc, l); err != nil {
			return
		}
	}
	io.Copy(io.Discard, r)
}

package smtpd

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/relay/policy/rate"
)

// told is the id at the end of a reply.
func told(t *testing.T, reply string) string {
	t.Helper()
	m := regexp.MustCompile(`\((\w{8})\)\r\n$`).FindStringSubmatch(reply)
	if m == nil {
		t.Fatalf("no id: %q", reply)
	}
	return m[1]
}

var more = regexp.MustCompile(` more=(\d+)`)

// logged counts the lines with a message, and the refusals that they stand for.
func logged(t *testing.T, log, what string) (lines, refusals int) {
	t.Helper()
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "msg=\""+what+"\"") {
			continue
		}
		lines++
		n := 1
		if m := more.FindStringSubmatch(line); m != nil {
			var err error
			if n, err = strconv.Atoi(m[1]); err != nil {
				t.Fatal(err)
			}
		}
		refusals += n
	}
	return lines, refusals
}

// A flood of connections from any number of networks writes a bounded number of lines, which stand for all of them; whatever id a sender was
// told is on a line with the reason.
func TestFloodLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log locked
		limits := rate.Limits{Connections: rate.Pair{Address: 1}}
		s := testServer(t, Options{Rates: rate.New(limits, nil), Log: slog.New(slog.NewTextHandler(&log, nil))})
		const networks = linesNetworks + 50
		ids, refused := map[string]bool{}, 0
		for range 1 + 20 {
			for n := range networks {
				p := connect(t, s, fmt.Sprintf("100.64.%d.1:1", n))
				_, _ = io.WriteString(p.Conn, "QUIT\r\n") // who is refused doesn't hear it
				if all := <-p.heard; strings.HasPrefix(all, "421 4.7.1 Too many connections from ") {
					ids[told(t, all)] = true
					refused++
				}
			}
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		text := log.String()
		lines, stand := logged(t, text, connectionRefused)
		if lines > (linesNetworks+1)*(linesInFull+1) || stand != refused || refused != 20*networks {
			t.Errorf("%d lines stand for %d of %d refusals", lines, stand, refused)
		}
		for id := range ids {
			if !strings.Contains(text, fmt.Sprintf("msg=%q session=%s client=", connectionRefused, id)) {
				t.Fatalf("%s isn't in the log", id)
			}
		}
		for _, line := range []string{"network=100.64.0.0/24 reason=rate_connections more=15\n", "network=others reason=rate_connections more=995\n"} {
			if !strings.Contains(text, line) {
				t.Errorf("no %q", line)
			}
		}
	})
}

// Each minute begins anew, and its end tells what wasn't written.
func TestFloodLogMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log locked
		s := testServer(t, Options{Rates: rate.New(rate.Limits{Connections: rate.Pair{Address: 1}}, nil), Log: slog.New(slog.NewTextHandler(&log, nil))})
		come := func(n int) {
			for range n {
				p := connect(t, s, "198.51.100.1:1")
				_, _ = io.WriteString(p.Conn, "QUIT\r\n")
				<-p.heard
			}
		}
		for minute := range 3 {
			come(1 + 9) // the first is allowed
			if lines, refusals := logged(t, log.String(), connectionRefused); lines != 6*minute+5 || refusals != 9*minute+5 {
				t.Errorf("minute %d: %d lines, %d refusals", minute, lines, refusals)
			}
			time.Sleep(linesEvery)
			synctest.Wait()
			if lines, refusals := logged(t, log.String(), connectionRefused); lines != 6*(minute+1) || refusals != 9*(minute+1) {
				t.Errorf("after minute %d: %d lines, %d refusals", minute, lines, refusals)
			}
		}
		s.wg.Wait()
	})
}

// A session that collects refusals is in the log with the first of them, with as many as there is room for, and with a count of the rest.
func TestRefusalsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log locked
		s := testServer(t, Options{Handler: &scripted{}, Log: slog.New(slog.NewTextHandler(&log, nil)), Limits: Limits{Commands: 10_000}})
		const sessions, each = 4, 200
		for range sessions {
			p := connect(t, s, "198.51.100.1:1")
			p.say("EHLO c.example\r\nMAIL FROM:<down@c.example>\r\nMAIL FROM:<a@c.example>\r\n" + rcpts("later%d@example.test", each-1) + "QUIT\r\n")
			<-p.heard
		}
		s.wg.Wait()
		time.Sleep(linesEvery)
		synctest.Wait()
		text := log.String()
		at, _ := logged(t, text, "refused at MAIL")
		lines, _ := logged(t, text, "recipient refused")
		rest, counted := logged(t, text, "more refused in this session")
		if at != sessions || at+lines != linesOfSessions+2 || rest != 3 || at+lines+counted != sessions*each {
			t.Errorf("%d senders, %d recipients, %d lines that count %d\n%s", at, lines, rest, counted, text[len(text)-500:])
		}
		if strings.Contains(text, "msg=refused ") {
			t.Errorf("what was written one by one is told again\n%s", text[len(text)-500:])
		}
		if !strings.Contains(text, `more=199 last="450 4.2.1 Come back later"`) {
			t.Errorf("%s", text[len(text)-500:])
		}
	})
}

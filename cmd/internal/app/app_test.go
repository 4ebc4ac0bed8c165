package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/cmd/internal/notify"
	"restante/relay/replay"
)

// node starts a node on free ports, with the stand-in primary, and stops it at the end of the test.
func node(t *testing.T, dir string) *App {
	t.Helper()
	return nodeOn(t, dir, "")
}

// nodeOn starts a node like node, with mail kept in the store.
func nodeOn(t *testing.T, dir, store string) *App {
	t.Helper()
	c, err := config.LoadDev(config.Flags{DataDir: dir, Store: store, SMTPListen: []string{"127.0.0.1:0"}, HTTPListen: "127.0.0.1:0", WebmailListen: []string{"127.0.0.1:0"}, Socket: filepath.Join(t.TempDir(), "s")}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startWith(t, c)
}

// plain is the configuration of a node without a stand-in and without a webmail.
func plain(t testing.TB, primary string) *config.Config {
	t.Helper()
	c, err := config.Load("", config.Flags{Hostname: "mx2.example.test", DataDir: t.TempDir(), SMTPListen: []string{"127.0.0.1:0"}, HTTPListen: "off",
		Socket: filepath.Join(t.TempDir(), "s"), Domains: []string{"example.test"}, Primary: []string{primary}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startWith starts a node that is stopped with the test, if not before. Its log is the test's; a benchmark has none.
func startWith(t testing.TB, c *config.Config) *App {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if t, ok := t.(*testing.T); ok {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	a, err := New(Options{Config: c, Log: log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { halt(t, a) })
	return a
}

// halt stops a node; a second time does nothing.
func halt(t testing.TB, a *App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// until waits for something that happens by itself.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func send(addr, to, text string) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Mail("a@kunde.example"), c.Rcpt(to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return errors.Join(w.Close(), c.Quit())
}

func status(t *testing.T, a *App) admin.DomainStatus {
	t.Helper()
	s, err := (&backend{a}).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Domains[0]
}

// TestLife: kept, then the whole node is stopped and started again over the same folder, then handed
// over; the report adds up, and nothing is left running.
func TestLife(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	a := node(t, dir)
	until(t, "up", func() bool { return status(t, a).State == "up" })
	if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: passed\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	const n = 25
	for i := range n {
		if err := send(a.Addrs().SMTP[0], "you@example.test", fmt.Sprintf("Subject: %d\r\n\r\nkept\r\n", i)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "kept", func() bool { return status(t, a).Pending == n })
	halt(t, a)

	a = node(t, dir)
	until(t, "handed over", func() bool { d := status(t, a); return d.Delivered == n && d.Pending == 0 })
	id := status(t, a).Outage
	b := &backend{a}
	until(t, "closed", func() bool { r, err := b.Report(t.Context(), id); return err == nil && !r.Closed.IsZero() })
	r, err := b.Report(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if r.Accepted != n || r.Counts.Delivered != n || r.Unaccounted != 0 || r.Messages != n || r.Recipients != 1 || len(r.NotDelivered) != 0 || !r.Chain.Verified {
		t.Errorf("%+v", r)
	}
	list, err := a.primary.do("list")
	if err != nil || list.Count != n+1 {
		t.Errorf("%+v, %v", list, err)
	}
	halt(t, a)
}

// TestManualReplayLetsMailPass: while kept mail waits for an admin the primary counts as up again, and new mail passes
// through; status says what to do. What is declared down stays so.
func TestManualReplayLetsMailPass(t *testing.T) {
	c, err := config.LoadDev(config.Flags{DataDir: t.TempDir(), SMTPListen: []string{"127.0.0.1:0"}, HTTPListen: "127.0.0.1:0", WebmailListen: []string{"127.0.0.1:0"}, Socket: filepath.Join(t.TempDir(), "s")}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Domains[0].Replay = "manual"
	a := startWith(t, c)
	until(t, "up", func() bool { return status(t, a).State == "up" })
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: kept\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "down", func() bool { d := status(t, a); return d.State == "down" && d.Pending == 1 })
	if _, err := a.primary.do("start"); err != nil {
		t.Fatal(err)
	}
	until(t, "up with mail kept", func() bool { d := status(t, a); return d.State == "up" && d.Pending == 1 })
	d := status(t, a)
	if want := "1 kept, start it with `restante replay start --domain example.test`"; d.Replay != "manual" || d.ReplayReason != want {
		t.Errorf("replay: %s (%s), want %s", d.Replay, d.ReplayReason, want)
	}
	if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: passed\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if list, err := a.primary.do("list"); err != nil || list.Count != 1 {
		t.Errorf("the primary has %+v, %v", list, err)
	}
	b := &backend{a}
	if _, err := b.Declare(t.Context(), "admin root", admin.Declaration{Domain: "example.test", For: "1h"}); err != nil {
		t.Fatal(err)
	}
	again, err := b.Declare(t.Context(), "admin anna", admin.Declaration{Domain: "example.test", For: "2h", Reason: "still"})
	if err != nil || again.Replaced == nil || again.Replaced.By != "admin root" || !again.Replaced.Until.Before(again.Until) {
		t.Errorf("declared again: %+v, %v", again, err)
	}
	if d := status(t, a); d.State != "down" {
		t.Errorf("declared down, and %s", d.State)
	}
	if err := b.EndDeclaration(t.Context(), "admin root", admin.Declaration{Domain: "example.test"}); err != nil {
		t.Fatal(err)
	}
	if err := b.ReplayStart(t.Context(), "admin root", "example.test"); err != nil {
		t.Fatal(err)
	}
	until(t, "handed over", func() bool { d := status(t, a); return d.Delivered == 1 && d.Pending == 0 && d.State == "up" })
}

// TestStopFinishesMessagesInFlight: a message whose octets are on the way is answered; an idle peer gets 421.
func TestStopFinishesMessagesInFlight(t *testing.T) {
	a := node(t, t.TempDir())
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	dial := func() *textproto.Conn {
		c, err := textproto.Dial("tcp", a.Addrs().SMTP[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	say := func(c *textproto.Conn, code int, line string) {
		t.Helper()
		if line != "" {
			if err := c.PrintfLine("%s", line); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := c.ReadResponse(code); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	busy, idle := dial(), dial()
	say(idle, 220, "")
	say(busy, 220, "")
	say(busy, 250, "EHLO kunde.example")
	say(busy, 250, "MAIL FROM:<a@kunde.example>")
	say(busy, 250, "RCPT TO:<you@example.test>")
	say(busy, 354, "DATA")
	if err := busy.PrintfLine("Subject: half"); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); halt(t, a) }()
	if _, _, err := idle.ReadResponse(421); err != nil {
		t.Error(err)
	}
	select {
	case <-stopped:
		t.Fatal("it stopped over a message in flight")
	default:
	}
	say(busy, 250, "\r\nthe rest\r\n.")
	<-stopped
}

// TestStartLeavesNothingWhenItFails: what was started before the failing part is stopped again.
func TestStartLeavesNothingWhenItFails(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	socket := filepath.Join(t.TempDir(), "s")
	load := func(primary string) *config.Config {
		c, err := config.LoadDev(config.Flags{DataDir: dir, SMTPListen: []string{"127.0.0.1:0"}, HTTPListen: "127.0.0.1:0", WebmailListen: []string{"127.0.0.1:0"}, Socket: socket}, primary)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a, err := New(Options{Config: load(l.Addr().String()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err == nil || !strings.Contains(admin.AsError(err).Mend, "--dev-primary-listen") {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if a, err = New(Options{Config: load("127.0.0.1:0"), Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil { // store and data_dir were given free
		t.Fatal(err)
	}
	halt(t, a)
}

func TestHTTP(t *testing.T) {
	a := node(t, t.TempDir())
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get("http://" + a.Addrs().HTTP + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	defer http.DefaultClient.CloseIdleConnections()
	if code, text := get("/healthz"); code != 200 || text != "ok\n" {
		t.Error(code, text)
	}
	if code, text := get("/readyz"); code != 200 || text != "ready; recipients of example.test: any address\n" {
		t.Error(code, text)
	}
	until(t, "up", func() bool { return status(t, a).State == "up" })
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "pending", func() bool { return status(t, a).Pending == 1 })
	var code int
	var text string
	until(t, "all read, the outage that was opened too", func() bool {
		code, text = get("/metrics")
		return strings.Contains(text, "restante_index_behind_batches 0")
	})
	for _, name := range []string{
		`restante_accepted_messages_total{way="kept"} 1`, "restante_spool_commit_seconds_count", "restante_spool_batch_items_count", "restante_store_calls_total{",
		`restante_pending_pairs{domain="example.test"} 1`, `restante_parked_pairs{domain="example.test"} 0`,
		"restante_oldest_pending_seconds{", `restante_primary_state{primary="` + a.Addrs().Primary + `",state="up"}`, "restante_ready 1", "go_goroutines",
	} {
		if !strings.Contains(text, name) {
			t.Errorf("%d: no %s", code, name)
		}
	}
	if code != 200 {
		t.Fatal(text)
	}
	if !strings.Contains(text, "restante_replay") {
		t.Error("nothing about replay")
	}
}

// TestTeardownOrder: last in, first out, and an error does not stop the rest.
func TestTeardownOrder(t *testing.T) {
	l := &lifecycle{log: slog.New(slog.DiscardHandler), failed: make(chan error, 1)}
	var order []string
	for _, name := range []string{"store", "index", "smtp"} {
		l.add(name, func(context.Context) error {
			order = append(order, name)
			if name == "index" {
				return errors.New("stuck")
			}
			return nil
		})
	}
	err := l.stop(t.Context())
	if !slices.Equal(order, []string{"smtp", "index", "store"}) || err == nil || err.Error() != "stopping index: stuck" {
		t.Errorf("%v, %v", order, err)
	}
	l.run("part", func(context.Context) error { return errors.New("broke") })
	if err := <-l.failed; err.Error() != "part: broke" {
		t.Error(err)
	}
}

// TestListenErrorsMend: what looks.md promises.
func TestListenErrorsMend(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for addr, want := range map[string]string{taken.Addr().String(): "ss -ltnp", "192.0.2.1:2525": "ip address"} {
		_, err := listen(t.Context(), addr, "--smtp-listen")
		if e := admin.AsError(err); err == nil || !strings.Contains(e.Mend, want) || !strings.Contains(e.Text, "can't listen on "+addr) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	_, err = listen(t.Context(), taken.Addr().String(), "--http-listen")
	if mend := admin.AsError(err).Mend; strings.Contains(mend, "postfix") || !strings.Contains(mend, "--http-listen 127.0.0.1:8081") {
		t.Errorf("HTTP: %q", mend)
	}
}

// TestBecause: a notice tells reason and reply apart, and nothing twice.
func TestBecause(t *testing.T) {
	for want, n := range map[string]replay.Notice{
		"refused by the primary: 550 5.7.1 never":         {Reason: "refused by the primary", Reply: "550 5.7.1 never"},
		"the primary refuses everything: 550 5.7.1 never": {Reason: "the primary refuses everything: 550 5.7.1 never", Reply: "550 5.7.1 never"},
		"restoring from tape":                             {Reason: "restoring from tape"},
		"550 5.7.1 never":                                 {Reply: "550 5.7.1 never"},
	} {
		if got := because(n); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestParkedIsToldTogether: a thousand parked messages are two notices, not a thousand.
func TestParkedIsToldTogether(t *testing.T) {
	a := node(t, t.TempDir())
	w := &watch{app: a}
	now := time.Now()
	told := 0
	for i := range 1000 {
		if w.mayTell(about{"example.test", notify.Parked}, now.Add(time.Duration(i)*time.Millisecond)) {
			told++
		}
	}
	if told != 1 || w.held[about{"example.test", notify.Parked}].more != 999 {
		t.Errorf("%d told at once, %+v", told, w.held)
	}
	w.tellHeld(now.Add(parkedEvery))
	if h := w.held[about{"example.test", notify.Parked}]; h.more != 0 {
		t.Errorf("not told: %+v", h)
	}
	w.tellHeld(now.Add(3 * parkedEvery))
	if len(w.held) != 0 {
		t.Errorf("kept for ever: %+v", w.held)
	}
}

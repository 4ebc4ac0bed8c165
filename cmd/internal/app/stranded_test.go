package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"testing"

	"restante/cmd/internal/config"
	"restante/cmd/internal/notify"
	"restante/spool"
	"restante/spool/index"
)

// TestStrandedMailIsTold: a transaction that began before a reload removed its domain keeps a message for it. People are
// told, once, and the outage ends when the message is removed.
func TestStrandedMailIsTold(t *testing.T) {
	notices := make(chan notify.Notice, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var n notify.Notice
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		notices <- n
	}))
	defer hook.Close()
	a := node(t, t.TempDir())
	until(t, "up", func() bool { return status(t, a).State == "up" })
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	name := a.cfg.Load().Domains[0].Name
	a.o.Load = func() (*config.Config, error) {
		next := *a.cfg.Load()
		next.Domains = append([]config.Domain(nil), next.Domains...)
		next.Domains[0].Name = "other.test"
		next.Notify.URL = config.Secret(hook.URL)
		return &next, nil
	}
	c, err := textproto.Dial("tcp", a.Addrs().SMTP[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say := func(code int, line string) {
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
	say(220, "")
	say(250, "EHLO kunde.example")
	say(250, "MAIL FROM:<a@kunde.example>")
	say(250, "RCPT TO:<you@"+name+">")
	say(354, "DATA")
	if _, err := a.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	say(250, "Subject: late\r\n\r\nx\r\n.")
	pending := func() []spool.Pair {
		pairs, _, err := a.index.List(t.Context(), index.Filter{Domain: name, State: spool.StatePending, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return pairs
	}
	until(t, "kept", func() bool { return len(pending()) == 1 })
	told := map[string]bool{}
	for range 3 {
		if err := a.tellStranded(t.Context(), told); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	until(t, "told", func() bool {
		select {
		case n := <-notices:
			if n.Kind == notify.Stranded && n.Domain == name {
				seen++
			}
		default:
		}
		return seen > 0
	})
	open := func() bool { _, ok := a.index.OpenOutages()[name]; return ok }
	until(t, "its outage is open", open)
	if ev, ok, err := a.index.OutageOpened(t.Context(), name); err != nil || !ok || ev.Data["node"] != a.spool.Node() {
		t.Errorf("opened by %v, %v, %v; want it to name this node", ev.Data, ok, err)
	}
	p := pending()[0]
	if err := a.spool.Record(t.Context(), spool.Event{Type: spool.Removed, Entry: p.Entry, Rcpt: p.Rcpt, Round: p.Round, By: "admin root"}); err != nil {
		t.Fatal(err)
	}
	until(t, "its outage is closed", func() bool { return !open() })
	if err := a.tellStranded(t.Context(), told); err != nil || len(told) != 0 {
		t.Errorf("%v, %v", told, err)
	}
	for len(notices) > 0 {
		if n := <-notices; n.Kind == notify.Stranded {
			t.Errorf("told again: %+v", n)
		}
	}
}

package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/policy/rcpt"
	"restante/spool"
	"restante/spool/index"
)

func env() (*Env, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &Env{In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(string) string { return "" }}, &out, &errs
}

// TestEveryCommandHelps: each command has examples that begin with its own name, says in short what it
// does, and takes --json.
func TestEveryCommandHelps(t *testing.T) {
	e, _, _ := env()
	var walk func(c *cobra.Command)
	count := 0
	walk = func(c *cobra.Command) {
		count++
		if c.Example == "" || !strings.Contains(c.Example, "restante") {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if len(line) > 130 || !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: example %q is too long or not indented", c.CommandPath(), line)
			}
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short text %q", c.CommandPath(), c.Short)
		}
		if c.RunE == nil {
			t.Errorf("%s does nothing", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	root := newRoot(e)
	walk(root)
	if count < 35 {
		t.Errorf("only %d commands", count)
	}
	if root.PersistentFlags().Lookup("json") == nil {
		t.Error("no --json")
	}
	for _, word := range []string{"0 fine", "1 failed", "2 wrong", "3 no node", "4 fine", "5 no such"} {
		if !strings.Contains(root.Long, word) {
			t.Errorf("the help does not explain exit code %q", word)
		}
	}
}

// TestErrorsSayWhatToDo: the ends of all errors that are made here.
func TestErrorsSayWhatToDo(t *testing.T) {
	for _, args := range [][]string{
		{"status"}, {"nonsense"}, {"status", "extra"}, {"queue", "show"}, {"queue", "hold"}, {"completion"}, {"--nonsense"},
		{"store", "copy", "one"}, {"store", "check", "ftp://x"}, {"fsck", "--store", "/nonexistent/folder"}, {"config", "check", "/nonexistent"},
		{"export"}, {"outage", "end"}, {"serve", "--domain", "x"}, {"serve", "--domain", "a.example", "--primary", "b", "--smtp-listen", "25"},
	} {
		e, _, errs := env()
		code := Run(context.Background(), e, append([]string{"--socket", "/nonexistent/sock"}, args...))
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if code == exitOK || len(lines) < 2 && !strings.Contains(lines[0], "; ") {
			t.Errorf("%v: exit code %d\n%s", args, code, errs)
		}
	}
}

func TestNumbers(t *testing.T) {
	for in, want := range map[int64]string{0: "0", 999: "999", 1902: "1,902", 1234567: "1,234,567", -1902: "-1,902"} {
		if got := thousands(in); got != want {
			t.Errorf("thousands(%d) = %s", in, got)
		}
	}
	for in, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 KB", 31_400_000: "31.4 MB", 999_999: "999.9 KB", 991_300: "991.3 KB", 999_999_999: "999.9 MB", 1_200_000_000: "1.2 GB"} {
		if got := octets(in); got != want {
			t.Errorf("octets(%d) = %s", in, got)
		}
	}
	if got := bar(1, 3, 9); got != "███░░░░░░" {
		t.Error(got)
	}
	if got := admin.Brief("127.0.0.1:1: connect: dial tcp 127.0.0.1:1: connect: connection refused"); got != "connection refused" {
		t.Error(got)
	}
	if got := admin.Brief("banner: 421 go away"); got != "banner: 421 go away" {
		t.Error(got)
	}
	if got := clean("a\x1b[31mb\u202ec\n"); got != "a?[31mb?c?" {
		t.Error(got)
	}
}

func TestWhen(t *testing.T) {
	now := time.Date(2026, 11, 21, 18, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"2h": now.Add(-2 * time.Hour), "3d": now.Add(-72 * time.Hour), "09:12": time.Date(2026, 11, 21, 9, 12, 0, 0, time.UTC),
		"2026-11-20": time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), "2026-11-20T09:12": time.Date(2026, 11, 20, 9, 12, 0, 0, time.UTC), "": {},
	} {
		if got, err := parseWhen(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

// TestStatusLooks is the sketch of how status looks, to the letter.
func TestStatusLooks(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 59, 0, 0, time.Local)
	at := func(d time.Duration) *time.Time { v := now.Add(-d); return &v }
	s := &admin.Status{
		Hostname: "mx2.example.net", Now: now, Started: now.Add(-72 * time.Hour), Ready: true,
		Domains: []admin.DomainStatus{
			{Name: "example.com", State: "down", Since: at(47 * time.Minute), Accepted: 214, Pending: 214, Oldest: at(46 * time.Minute), Primary: []string{"mail.example.com:25"},
				Cause: "mail.example.com:25: connect: dial tcp 192.0.2.1:25: connect: connection refused", LastTried: at(4 * time.Second), Replay: "automatic", Recipients: "listed", RcptCount: 412,
				Lists: rcpt.Freshness{Complete: true, Known: 412, At: now.Add(-2 * time.Hour), Sources: []rcpt.SourceState{{Name: "ldap", Count: 412, At: now.Add(-2 * time.Hour)}}}},
			{Name: "example.org", State: "up", Since: at(time.Hour), Primary: []string{"mail.example.org:25"}, Latency: 23, TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", Verified: "dane", Passed: 1902, Recipients: "any", Replay: "automatic"},
		},
		Store: admin.StoreState{URL: "s3://mail-spool", State: "ok", PutMS: 31},
		SMTP:  admin.SMTPState{Listen: []string{"0.0.0.0:25"}, Sessions: 1},
	}
	want := `example.com  DOWN   since 09:12 (47 min)   mail.example.com:25  connection refused, last tried 4 s ago
  kept 214   delivered 0   parked 0   pending 214   oldest 46 min   recipients 412 known (2 h old)   replay: automatic
example.org  up     mail.example.org:25  23 ms  TLS by DANE   passed through 1,902
store        ok     s3://mail-spool   put 31.0 ms
node         ready  mx2.example.net   SMTP on 0.0.0.0:25   1 session   running for 3 days
`
	e, out, _ := env()
	e.printStatus(out, s)
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if !needsAttention(s) {
		t.Error("a domain is down and nobody needs to look")
	}
	e, out, _ = env()
	e.Color = true
	e.printStatus(out, s)
	if !strings.Contains(out.String(), "\x1b[31mDOWN\x1b[0m") {
		t.Error("no colour")
	}
}

func TestWhyNoServer(t *testing.T) {
	for reason, want := range map[string]string{
		"smtp.example.net:587: connect: dial tcp 192.0.2.1:587: connect: connection refused": "connection refused",
		"auth: 535 5.7.8 Authentication credentials invalid":                                 "auth: 535 5.7.8 Authentication credentials invalid -> mend its user and password in the configuration, then restante reload",
	} {
		if got := whyNoServer(reason); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestWatchFitsTheTerminal: lines are broken between their parts, none is wider than the terminal, and drawing
// again goes up by as many lines as are there.
func TestWatchFitsTheTerminal(t *testing.T) {
	now := time.Date(2026, 11, 21, 19, 16, 0, 0, time.UTC)
	since := now.Add(-time.Minute)
	s := &admin.Status{Hostname: "mx2.example.net", Now: now, Started: since, Ready: true,
		SMTP:  admin.SMTPState{Listen: []string{"0.0.0.0:25", "[::]:25"}},
		Store: admin.StoreState{State: "ok", URL: "file:///var/lib/restante/spool", PutMS: 1.9, Free: 80e9, Total: 270e9}}
	for range 4 {
		s.Domains = append(s.Domains, admin.DomainStatus{Name: "second.example", State: "down", Since: &since, Primary: []string{"127.0.0.1:2726"},
			Cause: "connection refused", LastTried: &since, Accepted: 4, Pending: 4, Oldest: &since, Recipients: "any (no list)", Replay: "automatic"})
	}
	e, out, _ := env()
	e.Terminal, e.Color, e.Width, e.Height = true, true, 80, 24
	e.printStatus(out, s)
	text := out.String()
	for line := range strings.Lines(text) {
		if w := onScreen(strings.TrimSuffix(line, "\n")); w > e.Width {
			t.Errorf("%d columns: %q", w, line)
		}
	}
	for _, want := range []string{"connection refused, last tried 1 min ago", "80.0 GB free of 270.0 GB", "replay: automatic"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	rounds := 0
	out.Reset()
	if err := e.watch(t.Context(), time.Millisecond, func(_ context.Context, w io.Writer) (bool, error) {
		rounds++
		e.printStatus(w, s)
		return rounds == 2, nil
	}); err != nil {
		t.Fatal(err)
	}
	if up := fmt.Sprintf("\x1b[%dA", strings.Count(text, "\n")); !strings.Contains(out.String(), up) {
		t.Errorf("does not go up %q", up)
	}
	e.Height = 10
	if page, lines := e.onePage(text); lines > 9 || strings.Count(page, "\n") != lines || !strings.Contains(page, "more than fits") {
		t.Errorf("%d lines of 10:\n%s", lines, page)
	}
	if _, lines := e.onePage(strings.Repeat("x", 161) + "\n"); lines != 3 {
		t.Errorf("161 columns take %d lines of 80", lines)
	}
}

// TestReportLooks is the sketch of how a report looks, to the letter.
func TestReportLooks(t *testing.T) {
	day := func(h, m, s int) time.Time { return time.Date(2026, 11, 21, h, m, s, 0, time.Local) }
	r := &admin.Report{
		Outage: index.Outage{ID: "2026-11-21-example.com", Domain: "example.com", Opened: day(9, 12, 4), Closed: day(10, 3, 41), Messages: 214, Octets: 31_400_000,
			Counts: index.Counts{Delivered: 213, Parked: 1}, FirstDelivered: day(10, 3, 43), LastDelivered: day(10, 3, 49)},
		Accepted: 214, Recipients: 98, Chain: admin.ChainState{Verified: true, Head: "9f2c"},
		NotDelivered: []spool.Pair{{Entry: "01J9Z6", Address: "info@example.com", State: spool.StateParked, Reply: "550 5.1.1 no such user"}},
	}
	want := `Outage 2026-11-21-example.com, 21 Nov 2026 09:12:04 to 10:03:41 ` + day(10, 3, 41).Format("MST") + ` (51 min 37 s)
  accepted      214 messages for 98 recipients, 31.4 MB
  = delivered   213   first 10:03:43, last 10:03:49, primary's replies recorded
  + parked        1   01J9Z6 to info@example.com  550 5.1.1 no such user
  + pending       0
  unaccounted     0
  chain verified  sha256:9f2c
`
	e, out, _ := env()
	e.printReport(r)
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	r.Opened, r.Closed = r.Opened.Add(200*time.Millisecond), r.Closed.Add(900*time.Millisecond)
	r.Counts, r.Accepted, r.Deleted, r.Unaccounted = index.Counts{Delivered: 1_234_560, Parked: 3, Expired: 1}, 1_234_567, 1000, 3
	r.NotDelivered = append(r.NotDelivered, spool.Pair{Entry: "01J9Z7", State: spool.StateParked, Reason: "damaged"})
	r.Missing = []index.Missing{{Key: "mail/a/0/1.tar.zst", Why: "it is missing"}}
	r.Chain = admin.ChainState{Broken: []index.Break{{Key: "mail/a/0/1.tar.zst", Why: "it is missing"}}}
	want = `Outage 2026-11-21-example.com, 21 Nov 2026 09:12:04 to 10:03:41 ` + day(10, 3, 41).Format("MST") + ` (51 min 37 s)
  accepted          214 messages, 31.4 MB
              1,234,567 pairs of message and recipient, counted below
  = delivered 1,234,560   first 10:03:43, last 10:03:49, primary's replies recorded
  + parked            3   01J9Z6 to info@example.com  550 5.1.1 no such user
                          01J9Z7 to (erased)  damaged
                          and 1 more -> restante queue list --state parked --outage 2026-11-21-example.com
  + expired           1
  + pending           0
  unaccounted         3   at least, from:
                          mail/a/0/1.tar.zst: it is missing
  retention       1,000 pairs of these deleted since; their sums stand in the ledger
  chain BROKEN at mail/a/0/1.tar.zst: it is missing -> restante fsck
`
	out.Reset()
	e.printReport(r)
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	r.FirstDelivered, r.LastDelivered = day(34, 0, 0), day(34, 0, 1)
	if got := deliveredWhen(r); !strings.HasPrefix(got, "first 22 Nov 2026 10:00:00, last 10:00:01,") {
		t.Errorf("the day after: %s", got)
	}
}

// TestStacked: a table that a terminal has no room for takes two lines a row, neither wider than the terminal.
func TestStacked(t *testing.T) {
	e, out, _ := env()
	row := []cell{col("01M7ZRK89987K0RHVW987Q9866"), col("pending"), {text: "under 1 s", right: true}, {text: "407 B", right: true},
		col("anna.maria@kunde.example"), col("you@example.com"), col("Rechnung Nr. 1 äöü, und noch viel mehr davon")}
	head := []string{"ENTRY", "STATE", "AGE", "SIZE", "FROM", "TO", "SUBJECT / WHY"}
	for width, lines := range map[int]int{80: 4, 160: 2} {
		out.Reset()
		e.Terminal, e.Width = true, width
		tab := table{env: e, stack: 4, head: head}
		tab.add(row...)
		tab.print(out)
		if n := strings.Count(out.String(), "\n"); n != lines {
			t.Errorf("%d columns: %d lines\n%s", width, n, out)
		}
		for line := range strings.Lines(out.String()) {
			if w := onScreen(strings.TrimSuffix(line, "\n")); w > width {
				t.Errorf("%d columns of %d: %q", w, width, line)
			}
		}
	}
}

// TestConfirm: what destroys asks on a terminal and is refused without one.
func TestConfirm(t *testing.T) {
	for answer, ok := range map[string]bool{"y\n": true, "yes\n": true, "n\n": false, "\n": false, "": false} {
		e, _, _ := env()
		e.InTerminal, e.In = true, strings.NewReader(answer)
		c := &command{Env: e, common: &common{}}
		if err := c.confirm(false, "this removes it"); (err == nil) != ok {
			t.Errorf("%q: %v", answer, err)
		}
	}
	e, _, _ := env()
	if err := (&command{Env: e}).confirm(false, "this removes it"); err == nil {
		t.Error("nobody was asked")
	}
	if err := (&command{Env: e}).confirm(true, "this removes it"); err != nil {
		t.Error(err)
	}
}

// TestPairsOut: the forms for other programs are whole, and no field of mail becomes a formula in a spreadsheet.
func TestPairsOut(t *testing.T) {
	for _, s := range []string{"=1+1", "+1", "-1", "@x", "\tx", " =1", "\n=1", "\u00a0+1", "＝1"} {
		if tame(s) != "'"+s {
			t.Errorf("%q stays %q", s, tame(s))
		}
	}
	if tame("550 5.1.1 no") != "550 5.1.1 no" {
		t.Error("an ordinary field was changed")
	}
	pairs := []spool.Pair{
		{Entry: "01J9Z6", Outage: "o", Address: "a@example.com", From: "=cmd|'/c calc'!A0@evil.example", State: spool.StateDelivered, Reply: "250 2.0.0 \"Ok\", queued"},
		{Entry: "01J9Z7", Outage: "o", Address: "<&>@example.com", State: spool.StateParked, Reply: "550 no\nmore"},
	}
	for n := range 3 {
		each := func(f func(spool.Pair) error) error {
			for _, p := range pairs[:n] {
				if err := f(p); err != nil {
					return err
				}
			}
			return nil
		}
		e, out, _ := env()
		c := &command{Env: e, common: &common{}}
		if err := c.reportCSV(each); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
		if err != nil || len(rows) != n+1 || n > 0 && (rows[1][3] != "'"+pairs[0].From || rows[1][9] != pairs[0].Reply) {
			t.Errorf("%v %v", rows, err)
		}
		out.Reset()
		if err := c.reportJSON(&admin.Report{Accepted: int64(n)}, true, each); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Accepted int
			Pairs    []spool.Pair
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Accepted != n || got.Pairs == nil || !slices.EqualFunc(got.Pairs, pairs[:n], func(a, b spool.Pair) bool { return a == b }) {
			t.Errorf("%v\n%s", err, out)
		}
		out.Reset()
		if err := e.printPairs(each); err != nil || strings.Count(out.String(), "\n") != n+min(n, 1) {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestDefaultConfigPath(t *testing.T) {
	e, _, _ := env()
	c := &command{Env: e, common: &common{}}
	if p, explicit := c.configPath(); p != config.DefaultPath || explicit {
		t.Error(p, explicit)
	}
}

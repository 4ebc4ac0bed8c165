package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/setup"
	"restante/dns/dnstest"
	"restante/spool/need"
)

// TestSetupLooks is how the table looks, to the letter.
func TestSetupLooks(t *testing.T) {
	r := &setup.Report{Hostname: "mx2.example.net", Rows: []setup.Row{
		{Check: "name", Result: setup.OK, Found: "mx2.example.net is 192.0.2.25"},
		{Check: "reverse name", Result: setup.Warn, Found: "192.0.2.25 has none", Mend: "set it at your provider",
			Records: []setup.Record{{Name: "25.2.0.192.in-addr.arpa", Type: "PTR", Value: "mx2.example.net."}}},
		{Domain: "example.com", Check: "MX", Result: setup.Fail, Found: "10 mail.example.com", Mend: "add this machine",
			Records: []setup.Record{{Name: "example.com", Type: "MX", Value: "20 mx2.example.net."}}},
		{Domain: "example.com", Check: "MTA-STS", Result: setup.Note, Found: "evil \x1b[31m", Mend: "one\ntwo"},
		{Domain: "example.org", Check: "MTA-STS", Result: setup.Note, Found: "none", Mend: "one\ntwo"},
	}}
	want := `this machine, mx2.example.net
  ok    name          mx2.example.net is 192.0.2.25
  warn  reverse name  192.0.2.25 has none
        -> set it at your provider

example.com
  FAIL  MX            10 mail.example.com
        -> add this machine
  note  MTA-STS       evil ?[31m
        -> one
           two

example.org
  note  MTA-STS       none
        -> as above, at example.com

to publish, at your DNS provider
  25.2.0.192.in-addr.arpa. PTR mx2.example.net.
  example.com. MX 20 mx2.example.net.

1 FAIL, 1 warn, 2 note, 1 ok
`
	e, out, _ := env()
	e.printSetup(out, r)
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	e, out, _ = env()
	e.Terminal, e.Color, e.Width = true, true, 50
	e.printSetup(out, r)
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "in-addr") || strings.Contains(line, "MX 20") {
			continue // a line to copy is never broken
		}
		if n := onScreen(strings.TrimSuffix(line, "\n")); n > 50 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if !strings.Contains(out.String(), "\x1b[31mFAIL\x1b[0m") {
		t.Error("no colour")
	}
}

// setupFiles writes a configuration whose resolver answers from the zone.
func setupFiles(t *testing.T, zone string) (file, smtp string) {
	t.Helper()
	smtp = need.Addr(t)
	dir := t.TempDir()
	file = filepath.Join(dir, "restante.toml")
	text := fmt.Sprintf("hostname = \"mx2.example.net\"\ndata_dir = %q\n[smtp]\nlisten = [%q]\n[store]\nmin_free = \"1MB\"\n[http]\nlisten = \"\"\n[dns]\nservers = [%q]\n"+
		"[[domain]]\nname = \"example.com\"\nprimary = [\"127.0.0.9:9\"]\n", dir, smtp, dnstest.Start(t, zone).Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, smtp
}

func runSetup(t *testing.T, args ...string) (code int, report setup.Report, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, out, errs := env()
	code = Run(ctx, e, append([]string{"setup", "--json"}, args...))
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatal(err, out)
		}
	}
	return code, report, out.String() + errs.String()
}

func findRow(r setup.Report, check string) string {
	for _, row := range r.Rows {
		if row.Check == check {
			return string(row.Result) + " " + row.Found + " " + row.Mend
		}
	}
	return ""
}

// TestSetupBeforeAndBesideTheNode: from the configuration alone, then beside the node that was started with it.
func TestSetupBeforeAndBesideTheNode(t *testing.T) {
	file, smtp := setupFiles(t, "mx2.example.net. A 127.0.0.25\nexample.com. MX 10 mail.example.com.\nmail.example.com. A 127.0.0.9\n")
	code, report, text := runSetup(t, "-c", file, "example.com")
	if code != exitAttention || report.Hostname != "mx2.example.net" || report.Running {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	for check, want := range map[string]string{"name": "FAIL mx2.example.net is 127.0.0.25, which nobody", "node": "warn none answers", "MX": "FAIL 10 mail.example.com", "primary": "FAIL 127.0.0.9:9: connection refused", "DKIM": "note the running node", "recipients": "warn there is no list"} {
		if got := findRow(report, check); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", check, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	var log bytes.Buffer
	go func() {
		e, _, _ := env()
		e.Err = &log
		done <- Run(ctx, e, []string{"serve", "-c", file})
	}()
	defer func() {
		cancel()
		if code := <-done; code != exitOK {
			t.Errorf("serve ended with %d\n%s", code, log.String())
		}
	}()
	tick, late := time.NewTicker(50*time.Millisecond), time.After(15*time.Second)
	defer tick.Stop()
	for e, _, _ := env(); Run(ctx, e, []string{"health", "-c", file}) != exitOK; e, _, _ = env() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("the node doesn't start")
		}
	}
	_, report, text = runSetup(t, "-c", file)
	for check, want := range map[string]string{"node": "ok runs, and listens on " + smtp, "certificate": "note self-signed", "store": "ok file://", "DKIM": "note no keys"} {
		if got := findRow(report, check); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q\n%s", check, got, want, text)
		}
	}
	if !report.Running {
		t.Error("the node wasn't heard")
	}
}

// TestSetupSaysWhatIsMissing: each wrong call ends with what to do.
func TestSetupSaysWhatIsMissing(t *testing.T) {
	file, _ := setupFiles(t, "")
	for _, tc := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"-c", file, "other.example"}, exitNotFound, "add --primary"},
		{[]string{"-c", file, "anna@example.com"}, exitUsage, "not a domain"},
		{[]string{"-c", file, "example.com", "--primary", "a b"}, exitUsage, "mail.example.com"},
		{[]string{"-c", "/nonexistent", "example.com"}, exitUsage, "config init"},
		{[]string{"--socket", "/nonexistent", "-c", file}, exitUnreachable, "restante serve"},
	} {
		if code, _, text := runSetup(t, tc.args...); code != tc.code || !strings.Contains(text, tc.text) {
			t.Errorf("%v: exit code %d, %s", tc.args, code, text)
		}
	}
	if code, _, text := runSetup(t, "-c", file, "--resolver", "nobody"); code != exitUsage || !strings.Contains(text, "--resolver 9.9.9.9") {
		t.Errorf("exit code %d, %s", code, text)
	}
	other := dnstest.Start(t, "example.com. MX 7 elsewhere.example.\nelsewhere.example. A 127.0.0.9\n").Addr()
	if _, report, text := runSetup(t, "-c", file, "--resolver", other); !strings.Contains(findRow(report, "MX"), "7 elsewhere.example") {
		t.Error(text)
	}
	code, report, text := runSetup(t, "-c", file, "other.example", "--primary", "127.0.0.9:9", "--hostname", "MX9.example.net.")
	if code != exitAttention || report.Hostname != "mx9.example.net" || !strings.Contains(findRow(report, "primary"), "127.0.0.9:9") {
		t.Errorf("exit code %d\n%s", code, text)
	}
}

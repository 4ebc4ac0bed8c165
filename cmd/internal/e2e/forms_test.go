package e2e

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/cmd/internal/postfix"
	"restante/relay/sink"
)

// form is one kind of mail that must come through as it was sent.
type form struct {
	name, from string
	to         []string
	message    []byte // LF line ends, as sendmail(1) takes it
}

func forms() []form {
	header := func(name string) string {
		return "From: a@sender.test\nTo: b@example.test\nDate: Sat, 21 Nov 2026 09:00:00 +0000\nMessage-ID: <" + name + "@sender.test>\nSubject: " + name + "\n"
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("user%d@example.test", i)
	}
	b := []string{"b@example.test"}
	big := append([]byte(header("big")+"\n"), bytes.ReplaceAll(load.Message("big", 1, 49_000_000), []byte("\r\n"), []byte("\n"))...)
	return []form{
		{"eight-bit", "a@sender.test", b, []byte(header("eight-bit") + "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\ngr\xfc\xdfe \x80\xff\n")},
		{"utf8", "ä@sender.test", []string{"ü@example.test"}, []byte(header("utf8") + "\nΓειά σου\n")},
		{"empty-body", "a@sender.test", b, []byte(header("empty-body") + "\n")},
		{"null-sender", "", b, []byte(header("null-sender") + "\nreport\n")},
		{"dots", "a@sender.test", b, []byte(header("dots") + "\n.\n..\n.a\n\n.\n")},
		{"recipients", "a@sender.test", many, []byte(header("recipients") + "\nto all\n")},
		{"big", "a@sender.test", b, big},
	}
}

// A real Postfix sends every form of mail over TLS, first while the primary is down, then while it is up; the primary, a
// Postfix that insists on TLS with a pinned certificate, gets each unaltered both times.
func TestEveryFormOfMail(t *testing.T) {
	needs(t)
	cert, key, fingerprint := certificate(t)
	primary := startPrimary(t, map[string]string{
		"smtpd_tls_security_level": "encrypt", "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key,
	})
	n := newNode(t, node.Options{
		Primary: primary.Listen,
		SMTP:    "max_recipients = 2000",
		Extra:   fmt.Sprintf("probe_interval = \"1s\"\nrecipients = [\"@\"]\ntls = \"required\"\ntls_fingerprints = [%q]\n", fingerprint),
	})
	start(t, n)
	sender := startPostfix(t, postfix.Options{Next: bracketed(n.SMTP), Main: map[string]string{
		"smtp_tls_security_level": "encrypt", "smtp_destination_recipient_limit": "1000",
		"minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "queue_run_delay": "1s",
	}})
	if err := primary.Stop(); err != nil {
		t.Fatal(err)
	}
	waitState(t, n, "down")
	sendForms(t, sender)
	pairs := 0
	for _, f := range forms() {
		pairs += len(f.to)
	}
	if d, err := n.Status(t.Context()); err != nil || d.Accepted != int64(pairs) || d.Pending != int64(pairs) {
		t.Fatalf("kept: %+v %v, want %d pairs", d, err, pairs)
	}
	if err := primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, n, 2*time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 })
	waitQueue(t, primary)
	judgeForms(t, primary, 1)
	report(t, n)

	sendForms(t, sender)
	waitQueue(t, primary)
	judgeForms(t, primary, 2)
	if passed, err := n.Metric(t.Context(), "restante_accepted_messages_total", `"passed"`); err != nil || int(passed) != len(forms()) {
		t.Errorf("passed through %v messages, want %d (%v)", passed, len(forms()), err)
	}
}

func sendForms(t *testing.T, sender *postfix.Instance) {
	t.Helper()
	for _, f := range forms() {
		if err := sender.Sendmail(t.Context(), f.from, f.to, f.message); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
	}
	waitQueue(t, sender)
}

// judgeForms expects each form the given number of times at each recipient.
func judgeForms(t *testing.T, primary *postfix.Instance, times int) {
	t.Helper()
	got := map[string]int{}
	list := forms()
	err := primary.Maildir(func(name string, m []byte) error {
		for _, f := range list {
			if !bytes.Contains(m, []byte("\nSubject: "+f.name+"\n")) {
				continue
			}
			got[f.name]++
			if !bytes.HasSuffix(m, f.message) {
				t.Errorf("%s was altered: %.600q", f.name, m)
			}
			head, _, _ := bytes.Cut(m, []byte("\n\n"))
			if !bytes.Contains(head, []byte("by mx2.example.test")) {
				t.Errorf("%s has no Received field of ours: %s", f.name, head)
			}
			if want := "Return-Path: <" + f.from + ">"; !bytes.HasPrefix(m, []byte(want)) {
				t.Errorf("%s: reverse-path is %.80q, want %q", f.name, m, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if got[f.name] != times*len(f.to) {
			t.Errorf("%s arrived %d times, want %d", f.name, got[f.name], times*len(f.to))
		}
	}
}

// certificate writes a self-signed certificate and returns its files and SHA-256 fingerprint.
func certificate(t *testing.T) (cert, key, fingerprint string) {
	t.Helper()
	c, err := sink.SelfSigned("primary.example.test")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, octets []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: octets}), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	sum := sha256.Sum256(c.Certificate[0])
	return write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", der), hex.EncodeToString(sum[:])
}

// All strings up to length 5 over the octets that matter, put where a message may seem to end: with a real Postfix behind
// us there is never a message more than those that we accepted, and what was accepted arrives once.
func TestEndOfDataIsNeverMistaken(t *testing.T) {
	needs(t)
	// Postfix slows down RCPT when many transactions come to nothing, as most of these do.
	primary := startPrimary(t, map[string]string{"in_flow_delay": "0"})
	n := newNode(t, node.Options{Primary: primary.Listen, SMTP: "max_errors = 10000",
		Extra: "probe_interval = \"1s\"\nrecipients = [\"@\"]\n"})
	start(t, n)
	waitState(t, n, "up")
	// What would be a second message, if a string were taken for the end of the first.
	const inner = "MAIL FROM:<evil@sender.test>\r\nRCPT TO:<victim@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"
	const alphabet = "\r\n.\x00"
	var strs []string
	for level := []string{""}; len(level[0]) < 5; {
		var next []string
		for _, s := range level {
			for _, c := range alphabet {
				next = append(next, s+string(c))
			}
		}
		strs = append(strs, next...)
		level = next
	}
	var (
		mu       sync.Mutex
		accepted = map[string]bool{}
		work     = make(chan int, len(strs))
		wg       sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			for i := range work {
				for _, bdat := range []bool{false, true} {
					name := fmt.Sprintf("probe-%d-%t", i, bdat)
					if tryEnd(t, n.SMTP, "Subject: "+name+"\r\n\r\nbefore"+strs[i]+inner, bdat) {
						mu.Lock()
						accepted[name] = true
						mu.Unlock()
					}
				}
			}
		})
	}
	for i := range strs {
		work <- i
	}
	close(work)
	wg.Wait()
	// Some may have been kept: each session of ours that the primary ends makes it suspect for a moment.
	wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 })
	waitQueue(t, primary)
	got := map[string]int{}
	err := primary.Maildir(func(_ string, m []byte) error {
		_, rest, _ := bytes.Cut(m, []byte("\nSubject: "))
		name, _, _ := bytes.Cut(rest, []byte("\n"))
		got[string(name)]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, times := range got {
		if !accepted[name] || times != 1 {
			t.Errorf("%d messages %q at the primary, accepted: %v", times, name, accepted[name])
		}
	}
	if len(got) != len(accepted) || len(accepted) < 20 {
		t.Errorf("%d different messages arrived, %d were accepted", len(got), len(accepted))
	}
	t.Logf("%d strings, %d messages accepted", len(strs), len(accepted))
}

// tryEnd sends one message in a session of its own and reports that it was accepted. Where restante takes s for
// the end of data, as RFC 5321 says for CRLF.CRLF alone, what follows is commands to it: those are ours to
// send, so the dialogue leaves out the ones that would make a second message by right.
func tryEnd(t *testing.T, addr, message string, bdat bool) bool {
	t.Helper()
	if !bdat {
		if i := strings.Index(message, "\r\n.\r\n"); i >= 0 {
			message = message[:i]
		}
	}
	d := speak(t, addr)
	defer d.c.Close()
	d.say("MAIL FROM:<a@sender.test>", "250")
	d.say("RCPT TO:<b@example.test>", "250")
	if bdat {
		d.raw(fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), message))
	} else {
		d.say("DATA", "354")
		d.raw(message + "\r\n.\r\n")
	}
	return strings.HasPrefix(d.read(), "250")
}

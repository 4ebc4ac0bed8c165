package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/node"
	"restante/spool/need"
)

// SIGHUP takes a domain in without dropping the session that is open, and refuses a bad file as a whole.
func TestReloadDropsNoSession(t *testing.T) {
	needs(t)
	primary := startPrimary(t, nil)
	n := newNode(t, node.Options{Primary: primary.Listen, Extra: "probe_interval = \"1s\"\nrecipients = [\"@\"]\n"})
	start(t, n)
	d := speak(t, n.SMTP)
	d.say("MAIL FROM:<a@sender.test>", "250")
	d.say("RCPT TO:<b@second.test>", "55")
	config := filepath.Join(n.Dir, "restante.toml")
	before, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(more string) {
		t.Helper()
		if err := os.WriteFile(config, append(bytes.Clone(before), more...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := n.Hangup(); err != nil {
			t.Fatal(err)
		}
	}
	good := "[[domain]]\nname = \"second.test\"\nprimary = [\"127.0.0.1:1\"]\nrecipients = [\"@\"]\n"
	reload(good)
	takes := func() bool {
		d := speak(t, n.SMTP)
		defer d.c.Close()
		d.say("MAIL FROM:<a@sender.test>", "250")
		d.raw("RCPT TO:<b@second.test>\r\n")
		return strings.HasPrefix(d.read(), "250")
	}
	for until := time.Now().Add(10 * time.Second); !takes(); {
		if time.Now().After(until) {
			t.Fatal("the new domain is never taken")
		}
	}
	d.say("RCPT TO:<b@example.test>", "250") // the session that was open goes on
	d.say("DATA", "354")
	d.raw("Subject: reload\r\n\r\nbody\r\n.\r\n")
	d.want("250")

	reload("[[domain]]\nname = \"third.test\"\nprimry = [\"127.0.0.1:1\"]\n")
	for until := time.Now().Add(10 * time.Second); ; {
		log, err := os.ReadFile(n.Log())
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(log, []byte("primry")) {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the log never names the unknown key")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !takes() {
		t.Error("a bad file took a domain away")
	}
}

// swaks, the tool that admins try a mail server with, over TLS with pipelining; the message is seen in the queue as it was sent.
func TestSwaks(t *testing.T) {
	needs(t)
	swaks, err := exec.LookPath("swaks")
	need.This(t, err)
	n := newNode(t, node.Options{Primary: freeAddr(t), Extra: "probe_interval = \"1s\"\nrecipients = [\"@\"]\n"})
	start(t, n)
	waitState(t, n, "down")
	out, err := exec.Command(swaks, "--server", n.SMTP, "--tls", "--pipeline", "--helo", "client.sender.test",
		"--from", "a@sender.test", "--to", "b@example.test", "--h-Subject", "try this", "--body", "hello\n.dot").CombinedOutput()
	if err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	wait(t, n, 10*time.Second, func(d node.Domain) bool { return d.Pending == 1 })
	list, err := n.CLI(t.Context(), "queue", "list", "--json")
	if err != nil {
		t.Fatal(err)
	}
	_, id, _ := strings.Cut(string(list), `"entry":"`)
	id, _, _ = strings.Cut(id, `"`)
	raw, err := n.CLI(t.Context(), "queue", "show", id, "--raw")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte("\r\nSubject: try this\r\n")) || !bytes.Contains(raw, []byte("hello\r\n.dot")) {
		t.Errorf("kept: %s", raw)
	}
	about, err := n.CLI(t.Context(), "queue", "show", id)
	if err != nil || !bytes.Contains(about, []byte("ESMTPS")) {
		t.Errorf("queue show tells nothing of TLS: %s %v", about, err)
	}
}

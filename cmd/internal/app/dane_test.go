package app

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"restante/dns/dnstest"
	"restante/relay/sink"
	"restante/spool"
)

// requiring sends a message with REQUIRETLS over STARTTLS and returns the reply to it, or to what came to nothing before.
func requiring(addr, to string) (string, error) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		return "", err
	}
	var said string
	for _, line := range []string{"MAIL FROM:<a@kunde.example> REQUIRETLS", "RCPT TO:<" + to + ">", "DATA", "Subject: secret\r\n\r\nx\r\n."} {
		id, err := c.Text.Cmd("%s", line)
		if err != nil {
			return "", err
		}
		c.Text.StartResponse(id)
		code, text, err := c.Text.ReadResponse(0)
		c.Text.EndResponse(id)
		if _, ok := err.(*textproto.Error); err != nil && !ok {
			return "", err
		}
		if said = fmt.Sprint(code, " ", text); code >= 400 {
			break
		}
	}
	return said, nil
}

// TestDANE is a primary that its zone vouches for: mail goes to nobody else, waits while the certificate is another, and REQUIRETLS is kept
// in pass-through and replay.
func TestDANE(t *testing.T) {
	cert, err := sink.SelfSigned("mail.example.com")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("%x", sha256.Sum256(leaf.RawSubjectPublicKeyInfo))
	offers := sink.DefaultOffers()
	offers.RequireTLS = true
	primary := sink.New(sink.Options{Keep: true, Strict: true, Offers: offers, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	defer primary.Stop()
	_, port, err := net.SplitHostPort(primary.Addr())
	if err != nil {
		t.Fatal(err)
	}
	zone := func(key string) string {
		return "mail.example.com. 1 A 127.0.0.1\n_" + port + "._tcp.mail.example.com. 1 TLSA 3 1 1 " + key + "\n"
	}
	names := dnstest.Start(t, zone(key))
	names.Sign("example.com")

	dir := t.TempDir()
	path := filepath.Join(dir, "restante.toml")
	text := fmt.Sprintf("hostname = \"mx2.example.net\"\ndata_dir = %q\n[smtp]\nlisten = [\"127.0.0.1:0\"]\n[http]\nlisten = \"\"\n[dns]\nservers = [%q]\n"+
		"[[domain]]\nname = \"example.com\"\nprimary = [\"mail.example.com:%s\"]\nprobe_interval = \"1s\"\n", filepath.Join(dir, "data"), names.Addr(), port)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startConfig(t, path)
	defer halt(t, a)
	state := func() string {
		s, err := (&backend{a}).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(s.Domains[0].State + " " + s.Domains[0].Verified + " " + s.Domains[0].Cause)
	}
	until(t, "the primary is up, by DANE", func() bool { return state() == "up dane" })
	var said string
	until(t, "REQUIRETLS is offered, and passed on", func() bool {
		said, err = requiring(a.Addrs().SMTP[0], "anna@example.com")
		if err != nil {
			t.Fatal(err)
		}
		return strings.HasPrefix(said, "250")
	})
	if m := primary.Messages(); len(m) != 1 || !m[0].TLS || !slices.Contains(m[0].MailParams, "REQUIRETLS") {
		t.Fatalf("%+v after %s", m, said)
	}

	names.Set(t, zone(strings.Repeat("00", 32)))
	until(t, "a certificate that isn't named is nobody's", func() bool { return strings.HasPrefix(state(), "down ") })
	if got := state(); !strings.Contains(got, "TLSA 3 1 1 "+key) {
		t.Errorf("status doesn't say what would mend it: %s", got)
	}
	if err := send(a.Addrs().SMTP[0], "anna@example.com", "Subject: plain\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	said, err = requiring(a.Addrs().SMTP[0], "anna@example.com")
	_, id, kept := strings.Cut(said, "Kept as ")
	if err != nil || !kept {
		t.Fatal(said, err)
	}
	if n := len(primary.Messages()); n != 1 {
		t.Fatalf("%d messages went to a server that isn't the one", n)
	}

	names.Set(t, zone(key))
	until(t, "what was kept is handed over", func() bool { return len(primary.Messages()) == 3 })
	for _, m := range primary.Messages()[1:] {
		if secret := strings.Contains(string(m.Data), "Subject: secret"); secret != slices.Contains(m.MailParams, "REQUIRETLS") || !m.TLS {
			t.Errorf("%v: %s", m.MailParams, m.Data)
		}
	}
	until(t, "the delivery is on record, with how it was protected", func() bool {
		v, err := a.index.Entry(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(v.Events, func(e spool.Event) bool { return e.Type == spool.Delivered })
		if i < 0 {
			return false
		}
		if how, _ := v.Events[i].Data["tls"].(string); !strings.HasSuffix(how, ", verified by dane") || !v.Entry.Params.RequireTLS {
			t.Errorf("%q, %+v", how, v.Entry.Params)
		}
		return true
	})
	for _, v := range primary.Violations() {
		t.Error(v)
	}
}

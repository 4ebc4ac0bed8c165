package postfix

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool/need"
)

// Our SMTP client against a real Postfix, which passes on to our sink what it took. Each way of speaking is a client address
// of its own, from which Postfix withholds extensions.
func TestSMTPC(t *testing.T) {
	t.Parallel()
	need.This(t, Missing())
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	behind := sink.New(sink.Options{Keep: true, Strict: true})
	if err := behind.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(behind.Stop)
	host, port, err := net.SplitHostPort(behind.Addr())
	if err != nil {
		t.Fatal(err)
	}
	addr := need.Addr(t)
	cert := certificate(t)
	p, err := Start(ctx, Options{Listen: addr, Next: "[" + host + "]:" + port, Main: map[string]string{
		"smtpd_tls_security_level":                "may",
		"smtpd_tls_chain_files":                   cert,
		"smtpd_authorized_xclient_hosts":          "127.0.0.6",
		"smtpd_authorized_xforward_hosts":         "127.0.0.7",
		"smtpd_discard_ehlo_keyword_address_maps": "inline:{ {127.0.0.2 = chunking}, {127.0.0.3 = pipelining, chunking}, {127.0.0.4 = pipelining}, {127.0.0.5 = starttls} }",
		"smtpd_recipient_restrictions":            "check_recipient_access inline:{ {unknown@d.test = 550 5.1.1 nobody} {later@d.test = 451 4.7.1 later} }, permit",
		"relay_domains":                           "d.test", // whoever the client says it relays for
		"relay_transport":                         "smtp:[" + host + "]:" + port,
		"smtpd_recipient_limit":                   "60",
		"smtpd_error_sleep_time":                  "0",
		"smtpd_soft_error_limit":                  "1000",
		"smtpd_hard_error_limit":                  "2000",
		"smtp_send_xforward_command":              "no",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	for from, name := range map[string]string{
		"127.0.0.2": "data", "127.0.0.3": "step", "127.0.0.4": "bdat step", "127.0.0.5": "bdat plain", "127.0.0.6": "xclient", "127.0.0.7": "xforward",
	} {
		t.Run(name, func(t *testing.T) { converse(ctx, t, addr, from, name, behind) })
	}
	for _, v := range behind.Violations() {
		t.Log("Postfix as our sink saw it: ", v)
	}
}

// certificate writes a self-signed certificate with its key and returns the file.
func certificate(t *testing.T) string {
	t.Helper()
	c, err := sink.SelfSigned("postfix.example.test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	b := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})...)
	file := filepath.Join(t.TempDir(), "tls.pem")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// ends are all strings up to a length over {CR, LF, '.', NUL}.
func ends(n int) []string {
	out := []string{""}
	for from := 0; n > 0; n-- {
		to := len(out)
		for _, s := range out[from:to] {
			for _, c := range []string{"\r", "\n", ".", "\x00"} {
				out = append(out, s+c)
			}
		}
		from = to
	}
	return out
}

// converse sends what Postfix must take and what it must refuse over one connection after another, and compares with what came out behind it.
func converse(ctx context.Context, t *testing.T, addr, from, name string, behind *sink.Server) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	d := &smtpc.Dialer{Hostname: "mx2.example.test", NetDial: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext}
	target := smtpc.Target{Host: tcp.IP.String(), Port: tcp.Port, XClient: true, XForward: true}
	bdat := !strings.Contains(name, "data") && name != "step"
	var all []*smtpc.Transaction
	bodies := map[string]string{} // by recipient
	add := func(body string, rcpts ...string) *smtpc.Transaction {
		id := fmt.Sprintf("%s-%d@d.test", strings.ReplaceAll(name, " ", "-"), len(all))
		body = "Subject: " + id + "\r\n\r\n" + body
		bodies[id] = body
		tr := &smtpc.Transaction{Size: int64(len(body)), Mail: smtpc.Mail{From: "a@b.test", Body: "8BITMIME"}, Tag: id,
			Body:   func() (io.Reader, error) { return strings.NewReader(body), nil },
			Origin: &smtpc.Origin{Addr: origin(id), Name: "client.test", Helo: "client.test", Protocol: "ESMTPS"}}
		for _, r := range append(rcpts, id) {
			tr.Rcpts = append(tr.Rcpts, smtpc.Rcpt{Address: r})
		}
		all = append(all, tr)
		return tr
	}
	long := 3
	if name == "xclient" {
		long = 2 // each message takes a connection of its own
	}
	for _, e := range ends(long) {
		if crlf := strings.Count(e, "\r\n"); !bdat && len(e) == 3 && (crlf != strings.Count(e, "\r") || crlf != strings.Count(e, "\n")) {
			continue // refused by us; each costs a new connection, and the shorter ones show it
		}
		add("x"+e, "unknown@d.test")
		add(e+"\r\n", "later@d.test")
	}
	add("\xff\xfe\r\n..\r\n.\r\n")
	add(strings.Repeat(strings.Repeat(".", 70)+"\r\n", 30000))
	many := add("many\r\n")
	many.Rcpts = nil
	for i := range 100 {
		many.Rcpts = append(many.Rcpts, smtpc.Rcpt{Address: fmt.Sprintf("m%d@d.test", i)})
	}
	taken := map[string]bool{}
	seen := 0
	next := func() *smtpc.Transaction {
		if len(all) == 0 {
			return nil
		}
		tr := all[0]
		all = all[1:]
		return tr
	}
	done := func(tr *smtpc.Transaction, r *smtpc.Result) error {
		if errors.Is(r.Err, smtpc.ErrUnused) {
			all = append([]*smtpc.Transaction{tr}, all...)
			return nil
		}
		seen++
		body := bodies[tr.Tag.(string)]
		crlf := strings.Count(body, "\r\n")
		sendable := bdat || crlf == strings.Count(body, "\r") && crlf == strings.Count(body, "\n")
		if r.Dot.Positive() != sendable || (r.Err != nil) == sendable || (!sendable && !errors.Is(r.Err, smtpc.ErrSource)) {
			t.Errorf("%q: %+v", body[:min(len(body), 60)], r)
		}
		taken[tr.Tag.(string)] = r.Dot.Positive()
		if code := r.Rcpts[0].Code; len(tr.Rcpts) == 2 && code != 550 && code != 451 {
			t.Errorf("%v", r.Rcpts)
		}
		if rest := r.Rest(); tr == many && (len(rest) != 40 || rest[0] != 60) {
			t.Errorf("rest %v: %v", rest, r.Rcpts[60])
		}
		return nil
	}
	total := len(all)
	for seen < total {
		c, err := d.Dial(ctx, target)
		if err != nil {
			t.Fatal(err)
		}
		o := c.Offers()
		if o.Chunking != bdat || o.Pipelining == strings.Contains(name, "step") || (o.TLS == "") != (name == "bdat plain") || (len(o.XClient) > 0) != (name == "xclient") {
			t.Fatalf("%s is offered %+v", name, o)
		}
		if err := c.Run(ctx, next, nil, done); err != nil && !errors.Is(err, smtpc.ErrSource) {
			t.Fatal(err)
		}
		c.Quit()
	}
	arrived(ctx, t, behind, strings.ReplaceAll(name, " ", "-"), bodies, taken)
}

// origin is a client for each message, by its id.
func origin(id string) netip.Addr {
	local, _, _ := strings.Cut(id, "@")
	n, err := strconv.Atoi(local[strings.LastIndexByte(local, '-')+1:])
	if err != nil {
		panic(err)
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(n%250 + 1)})
}

// arrived waits for what was taken to come out behind Postfix, each message once, and nothing else.
func arrived(ctx context.Context, t *testing.T, behind *sink.Server, prefix string, bodies map[string]string, taken map[string]bool) {
	want := 0
	for _, ok := range taken {
		if ok {
			want++
		}
	}
	var got map[string][]byte
	for {
		got = map[string][]byte{}
		for _, m := range behind.Messages() {
			_, id, _ := bytes.Cut(m.Data, []byte("\r\nSubject: "))
			id, _, _ = bytes.Cut(id, []byte("\r\n"))
			if !strings.HasPrefix(string(id), prefix+"-") {
				continue
			}
			if !taken[string(id)] {
				t.Errorf("%s came out, though nobody said 250 to it", id)
			}
			got[string(id)] = m.Data
		}
		if len(got) >= want {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d of %d came out", len(got), want)
		case <-time.After(20 * time.Millisecond):
		}
	}
	for id, data := range got {
		if want := "[" + origin(id).String() + "]"; prefix == "xclient" && !bytes.Contains(data, []byte("(client.test "+want)) {
			t.Errorf("%s isn't from %s: %.300q", id, want, data)
		}
		body := bodies[id]
		crlf := strings.Count(body, "\r\n")
		if crlf != strings.Count(body, "\r") || crlf != strings.Count(body, "\n") {
			continue // Postfix makes lines of it; that it stays one message is what counts
		}
		if !strings.HasSuffix(body, "\r\n") {
			body += "\r\n"
		}
		if !bytes.HasSuffix(data, []byte("\r\n"+body)) {
			t.Errorf("%s: %.300q came out, want %.60q at the end", id, data, body)
		}
	}
}

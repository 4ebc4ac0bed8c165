package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/config"
	"restante/cmd/internal/pebble"
	"restante/relay/sink"
	"restante/spool/need"
	"restante/webmail/accounts"
)

// browser is a plain one: cookies, no scripts.
func browser(t *testing.T, roots *x509.CertPool, addr string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	if addr != "" { // whatever the name, there it is
		tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: tr, Timeout: 30 * time.Second}
}

func fetch(t *testing.T, c *http.Client, address string, form url.Values) (*http.Response, string) {
	t.Helper()
	var resp *http.Response
	var err error
	if form == nil {
		resp, err = c.Get(address)
	} else {
		resp, err = c.PostForm(address, form)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// TestReadingInAnOutage: the primary is stopped, mail arrives, somebody signs in and reads it; the line on top says how things stand all
// along, and after the hand-over it says so.
func TestReadingInAnOutage(t *testing.T) {
	a := node(t, t.TempDir())
	until(t, "there are people", func() bool { return len(a.web.accounts.All()) == len(DevPeople()) })
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	if err := send(a.Addrs().SMTP[0], "you@example.test", "From: Anna <anna@kunde.example>\r\nSubject: About Thursday\r\n\r\nWe come at nine.\r\n"); err != nil {
		t.Fatal(err)
	}
	c, base := browser(t, nil, ""), a.Addrs().Webmail
	if resp, text := fetch(t, c, base+"/m/me/inbox", nil); resp.Request.URL.Path != "/signin" || strings.Contains(text, "Thursday") {
		t.Fatalf("without signing in: %s", resp.Request.URL)
	}
	form := url.Values{"address": {"you@example.test"}, "password": {"wrong horse"}}
	if resp, _ := fetch(t, c, base+"/signin/password", form); resp.StatusCode == http.StatusOK && resp.Request.URL.Path != "/signin/password" {
		t.Fatalf("with a wrong password: %d %s", resp.StatusCode, resp.Request.URL)
	}
	form.Set("password", DevPassword)
	until(t, "the mail can be read", func() bool {
		fetch(t, c, base+"/signin/password", form)
		_, text := fetch(t, c, base+"/m/me/inbox", nil)
		return strings.Contains(text, "About Thursday")
	})
	until(t, "the page says what is going on", func() bool { return a.picture.Domain("example.test").Down })
	_, text := fetch(t, c, base+"/m/me/inbox", nil)
	thread := regexp.MustCompile(`href="(/m/me/inbox/[^"]+)"`).FindStringSubmatch(text)
	if thread == nil {
		t.Fatal("the list links to nothing")
	}
	if _, text := fetch(t, c, base+thread[1], nil); !strings.Contains(text, "We come at nine.") {
		t.Errorf("the message isn't shown: %s", text)
	}
	other := browser(t, nil, "")
	form.Set("address", "max@example.test")
	fetch(t, other, base+"/signin/password", form)
	if resp, text := fetch(t, other, base+"/m/me/inbox", nil); resp.Request.URL.Path != "/m/me/inbox" || strings.Contains(text, "Thursday") {
		t.Errorf("Max sees what isn't his: %s", resp.Request.URL)
	}
	if _, err := a.primary.do("start"); err != nil {
		t.Fatal(err)
	}
	until(t, "everything is handed over", func() bool {
		s := a.picture.Domain("example.test")
		return s.Up && !s.Until.IsZero() && s.Delivered == 1 && s.WritingUntil.Sub(s.Until) == time.Hour && s.ReadingUntil.Sub(s.Until) == 7*24*time.Hour
	})
	until(t, "the hand-over mail is at the primary, and only the one", func() bool {
		if err := a.handOver(t.Context(), "example.test", map[string]bool{}); err != nil {
			t.Fatal(err)
		}
		p, err := a.primary.do("list")
		if err != nil || p.Count > 2 {
			t.Fatalf("%+v %v", p, err)
		}
		return p.Count == 2 && strings.Contains(p.Messages[1].Subject, "while the mail server was down")
	})
	if !a.picture.writing("example.test") || a.picture.writing("elsewhere.test") {
		t.Error("who may write")
	}
}

// TestByHTTPS: with a certificate from files, under its own names alone, and plain http only redirects.
func TestByHTTPS(t *testing.T) {
	dir := t.TempDir()
	made, err := sink.SelfSigned("mail.example.test", "mx2.example.test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: made.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		text := pem.EncodeToMemory(block)
		roots.AppendCertsFromPEM(text)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "restante.toml")
	text := "hostname = \"mx2.example.test\"\ndata_dir = \"" + dir + "/data\"\n[smtp]\nlisten = [\"127.0.0.1:0\"]\n[http]\nlisten = \"\"\n[webmail]\nlisten = [\"127.0.0.1:0\"]\nredirect_listen = [\"127.0.0.1:0\"]\n" +
		"hostnames = [\"mail.example.test\"]\ntls = \"files\"\ntls_cert = \"" + dir + "/cert.pem\"\ntls_key = \"" + dir + "/key.pem\"\n[[domain]]\nname = \"example.test\"\nprimary = [\"127.0.0.1:1\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startConfig(t, path)
	defer halt(t, a)
	if _, err := a.web.accounts.Add(t.Context(), "test", "anna@example.test", accounts.Edit{}); err != nil {
		t.Fatal(err)
	}
	if err := a.web.accounts.SetPassword(t.Context(), "test", "anna@example.test", "correct horse", accounts.SetByAdmin); err != nil {
		t.Fatal(err)
	}
	base, c := a.Addrs().Webmail, browser(t, roots, a.web.listeners[0].Addr().String())
	resp, _ := fetch(t, c, base+"/signin", nil)
	if resp.ProtoMajor != 2 || !strings.Contains(resp.Header.Get("Strict-Transport-Security"), "max-age") {
		t.Errorf("%s %v", resp.Proto, resp.Header)
	}
	resp, _ = fetch(t, c, base+"/signin/password", url.Values{"address": {"anna@example.test"}, "password": {"correct horse"}})
	if resp.Request.URL.Path != "/m/me/inbox" {
		t.Errorf("signed in: %s", resp.Request.URL)
	}
	if resp, _ := fetch(t, c, strings.Replace(base, "mail.", "mx2.", 1)+"/signin", nil); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d", resp.StatusCode)
	}
	plain := browser(t, roots, a.web.redirect[0].Addr().String())
	plain.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if resp, _ := fetch(t, plain, "http://mail.example.test/m/me/inbox", nil); resp.Header.Get("Location") != "https://mail.example.test/m/me/inbox" {
		t.Errorf("plain http: %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
}

// TestCertificatesByACME: a node gets its certificate from a CA, keeps it in the store, and says so while it has none.
func TestCertificatesByACME(t *testing.T) {
	secure, plain := need.Addr(t), need.Addr(t)
	port := func(addr string) int {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return int(ap.Port())
	}
	ca, root := pebble.Start(t, "mail.example.com. A 127.0.0.1\nmx2.example.com. A 127.0.0.1\n", port(plain), port(secure))
	dir := t.TempDir()
	path := filepath.Join(dir, "restante.toml")
	text := fmt.Sprintf("hostname = \"mx2.example.com\"\ndata_dir = %q\n[smtp]\nlisten = [\"127.0.0.1:0\"]\n[http]\nlisten = \"\"\n[webmail]\nlisten = [%q]\nredirect_listen = [%q]\n"+
		"hostnames = [\"mail.example.com\"]\nacme_ca = %q\nacme_ca_root = %q\n[[domain]]\nname = \"example.com\"\nprimary = [\"127.0.0.1:1\"]\n", filepath.Join(dir, "data"), secure, plain, ca, root)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startConfig(t, path)
	defer halt(t, a)
	b := &backend{a}
	until(t, "there is a certificate", func() bool {
		s, err := b.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Webmail.State == "closed" && !strings.Contains(s.Webmail.Why, "mail.example.com") {
			t.Errorf("why: %s", s.Webmail.Why)
		}
		return s.Webmail.State == "open"
	})
	c, err := tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.com"}) // by a CA that nobody knows
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if cert := c.ConnectionState().PeerCertificates[0]; cert.VerifyHostname("mail.example.com") != nil || !strings.HasPrefix(cert.Issuer.CommonName, "Pebble") {
		t.Errorf("%s by %s", cert.DNSNames, cert.Issuer)
	}
	// Port 25 shows what the CA has issued: for the hostname, and to who asks for another of its names, for that.
	for asked, want := range map[string]string{"": "mx2.example.com", "mx2.example.com": "mx2.example.com", "mail.example.com": "mail.example.com", "other.example": "mx2.example.com"} {
		var name, by string
		until(t, "port 25 has the CA's certificate", func() bool {
			var err error
			name, by, err = startTLS(a.Addrs().SMTP[0], asked, 0)
			return err == nil && strings.HasPrefix(by, "Pebble")
		})
		if name != want {
			t.Errorf("asked for %q it shows %s by %s", asked, name, by)
		}
	}
	v, err := a.vault()
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the keys are in the store", func() bool {
		names, err := v.Names(t.Context(), "tls/certificates/")
		return err == nil && len(names) == 6
	})
}

// TestWithoutTheKey: mail is taken and kept, and everybody is told why nobody can sign in.
func TestWithoutTheKey(t *testing.T) {
	dir := t.TempDir()
	first := node(t, dir)
	halt(t, first)
	key := filepath.Join(dir, "cluster.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	a := node(t, dir)
	b := &backend{a}
	until(t, "status says so", func() bool {
		s, err := b.Status(t.Context())
		return err == nil && s.Ready && s.Webmail.State == "closed" && strings.Contains(strings.Join(s.Reasons, " "), "restante recover")
	})
	if resp, _ := fetch(t, browser(t, nil, ""), a.Addrs().Webmail+"/", nil); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the page: %d", resp.StatusCode)
	}
	if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: x\r\n\r\nx\r\n"); err != nil {
		t.Errorf("mail: %v", err)
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("another key was made")
	}
}

func TestDrills(t *testing.T) {
	for reason, want := range map[string]bool{"drill": true, "Fire drill, floor 3": true, "spring practice": true, "drilling through the cable": false, "": false, "mail.example.com is on fire": false} {
		if isDrill(reason) != want {
			t.Errorf("%q: %v", reason, !want)
		}
	}
}

func TestWebmailOff(t *testing.T) {
	c, err := config.LoadDev(config.Flags{DataDir: t.TempDir(), SMTPListen: []string{"127.0.0.1:0"}, HTTPListen: "off", WebmailListen: []string{"off"}, Socket: filepath.Join(t.TempDir(), "s")}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := startWith(t, c)
	defer halt(t, a)
	if a.Addrs().Webmail != "" {
		t.Error(a.Addrs().Webmail)
	}
	if _, err := a.people(); err == nil || !strings.Contains(err.Error(), "no webmail") {
		t.Errorf("%v", err)
	}
	s, err := (&backend{a}).Status(context.Background())
	if err != nil || s.Webmail != nil {
		t.Errorf("%+v %v", s, err)
	}
}

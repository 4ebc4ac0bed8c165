package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
	"github.com/emersion/go-msgauth/dkim"

	"restante/cmd/internal/node"
	"restante/cmd/internal/postfix"
	"restante/relay/sink"
	"restante/webmail/browser"
)

// office is a node with a webmail, its primary and a smarthost, both Postfix.
type office struct {
	t         *testing.T
	node      *node.Node
	primary   *postfix.Instance
	smarthost *postfix.Instance
	url       string
	records   map[string]string // of DKIM keys, by name
	passwords map[string]string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	needs(t)
	o := &office{t: t, records: map[string]string{}, passwords: map[string]string{}}
	o.primary = startPrimary(t, nil)
	o.smarthost = startPostfix(t, postfix.Options{Listen: freeAddr(t), Maildirs: []string{"kunde.test"}})
	dir, addr := t.TempDir(), freeAddr(t)
	cert, key := selfSigned(t, dir)
	host, port, err := net.SplitHostPort(o.smarthost.Listen)
	if err != nil {
		t.Fatal(err)
	}
	o.url = "https://" + addr
	o.node = newNode(t, node.Options{Primary: o.primary.Listen, Extra: fmt.Sprintf(`probe_interval = "1s"
[webmail]
listen = [%q]
hostnames = ["127.0.0.1"]
tls = "files"
tls_cert = %q
tls_key = %q
contact = "IT, extension 100"
[smarthost]
host = %q
port = %s
tls = "none"
`, addr, cert, key, host, port)})
	start(t, o.node)
	var keys []struct{ Name, Record string }
	o.until("there is a cluster key", func() bool {
		out, err := o.node.CLI(t.Context(), "dkim", "keygen", "example.test", "--json")
		return err == nil && json.Unmarshal(out, &keys) == nil && len(keys) == 2
	})
	for _, k := range keys {
		o.records[strings.TrimSuffix(k.Name, ".")] = k.Record
	}
	for _, who := range []string{"anna", "max"} {
		o.cli("user", "add", who+"@example.test", "--name", strings.ToUpper(who[:1])+who[1:])
		var made struct{ Password string }
		if err := json.Unmarshal(o.cli("user", "passwd", who+"@example.test", "--generate", "--json"), &made); err != nil || made.Password == "" {
			t.Fatalf("no password: %v", err)
		}
		o.passwords[who] = made.Password
	}
	return o
}

func selfSigned(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	made, err := sink.SelfSigned("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: made.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func (o *office) cli(args ...string) []byte {
	o.t.Helper()
	out, err := o.node.CLI(o.t.Context(), args...)
	if err != nil {
		o.t.Fatal(err)
	}
	return out
}

// find is the first thing in the output of a command that fits.
func (o *office) find(pattern string, args ...string) string {
	o.t.Helper()
	out := o.cli(args...)
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		o.t.Fatalf("no %s in %s", pattern, out)
	}
	return string(m[1])
}

func (o *office) until(what string, ok func() bool) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			o.t.Fatalf("never: %s", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// receive sends the node a message as another server would.
func (o *office) receive(to, subject, text string) {
	o.t.Helper()
	message := "From: Clara Kunde <clara@kunde.test>\r\nTo: " + to + "\r\nSubject: " + subject + "\r\nMessage-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@kunde.test>\r\n\r\n" + text + "\r\n"
	c, err := smtp.Dial(o.node.SMTP)
	if err != nil {
		o.t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Mail("clara@kunde.test"), c.Rcpt(to)); err != nil {
		o.t.Fatal(err)
	}
	body, err := c.Data()
	if err != nil {
		o.t.Fatal(err)
	}
	_, err = io.WriteString(body, message)
	if err = errors.Join(err, body.Close(), c.Quit()); err != nil {
		o.t.Fatal(err)
	}
}

// at waits for a message at a Postfix that has a text in it, and returns it.
func (o *office) at(i *postfix.Instance, text string) []byte {
	o.t.Helper()
	var found []byte
	o.until(text+" arrives", func() bool {
		err := i.Maildir(func(_ string, message []byte) error {
			if bytes.Contains(message, []byte(text)) {
				found = message
			}
			return nil
		})
		if err != nil {
			o.t.Fatal(err)
		}
		return found != nil
	})
	return found
}

// page opens a tab that takes our certificate.
func (o *office) page(b *browser.Browser, v browser.View, path string) *browser.Page {
	o.t.Helper()
	p := b.Page(o.t, v)
	p.Do("taking our certificate", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
		return chromedp.Void{}, err
	})
	p.Open(o.url + path)
	return p
}

// signIn signs in by a password, as a person does.
func (o *office) signIn(p *browser.Page, who string) {
	o.t.Helper()
	p.Type("#address", who+"@example.test")
	p.ClickThrough("form[action='/signin'] button")
	p.Type("#password", o.passwords[who])
	p.ClickThrough("form[action='/signin/password'] button")
	o.inside(p)
}

// inside waits for the inbox.
func (o *office) inside(p *browser.Page) {
	o.t.Helper()
	p.Until(`location.pathname === "/m/me/inbox"`)
}

// verify checks the signatures of a message as its receiver would. Postfix has made its line ends bare, as Maildirs have them.
func (o *office) verify(message []byte) {
	o.t.Helper()
	_, own, _ := bytes.Cut(message, []byte("DKIM-Signature:"))
	wire := append([]byte("DKIM-Signature:"), own...)
	wire = bytes.ReplaceAll(bytes.ReplaceAll(wire, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	all, err := dkim.VerifyWithOptions(bytes.NewReader(wire), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if r, ok := o.records[strings.TrimSuffix(name, ".")]; ok {
			return []string{r}, nil
		}
		return nil, errors.New("no such record: " + name)
	}})
	if err != nil || len(all) == 0 {
		o.t.Fatalf("%d signatures, %v", len(all), err)
	}
	for _, v := range all {
		if v.Err != nil || v.Domain != "example.test" {
			o.t.Errorf("signature of %s: %v", v.Domain, v.Err)
		}
	}
}

// TestAnOutageInTheBrowser is the whole thing: the primary dies, mail arrives, people sign in by every way that needs no
// preparation, read, search and answer with an attachment; the answer reaches another server with good signatures; the
// primary comes back and has everything, the copy of what was sent included.
func TestAnOutageInTheBrowser(t *testing.T) {
	o := newOffice(t)
	b := browser.ForTest(t)
	codes := o.find(`"([0-9A-Z]{5}-[0-9A-Z]{5})"`, "user", "code", "anna@example.test", "--json")
	waitState(t, o.node, "up")
	if err := o.primary.Stop(); err != nil {
		t.Fatal(err)
	}
	o.receive("anna@example.test", "Offer for Thursday", "Could you send the offer for 40 chairs?")
	o.receive("max@example.test", "Only for Max", "Nobody else reads this.")
	waitState(t, o.node, "down")

	p := o.page(b, browser.Desktop(), "/")
	o.signIn(p, "anna")
	p.Until(`document.body.innerText.includes("Offer for Thursday")`)
	p.Until(`document.body.innerText.includes("unreachable")`)
	if strings.Contains(p.Text("body"), "Only for Max") {
		t.Error("Anna sees what is for Max")
	}
	p.Screenshot("outage-inbox")
	o.search(p)
	file := filepath.Join(t.TempDir(), "offer.txt")
	if err := os.WriteFile(file, []byte("40 chairs: 4,000.00"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Open(o.url + "/m/me/inbox")
	p.Click(".row .open")
	p.Wait("footer.answer a.primary")
	p.Screenshot("outage-reading")
	p.ClickThrough("footer.answer a.primary")
	p.Type("#text", "Here is the offer that you asked for.")
	p.Upload("#file", file)
	p.Until(`document.querySelector("#files a.name")`)
	p.ClickThrough(".send")
	p.Wait(".toast")
	p.Screenshot("outage-sent")

	// Others come in by other ways.
	o.otherWays(b, codes)

	sent := o.at(o.smarthost, "the offer that you asked for")
	if !bytes.Contains(sent, []byte("offer.txt")) || !bytes.Contains(sent, []byte("To: Clara Kunde <clara@kunde.test>")) {
		t.Errorf("%s", sent)
	}
	o.verify(sent)
	if err := o.primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.at(o.primary, "Offer for Thursday")
	o.at(o.primary, "Only for Max")
	copied := o.at(o.primary, "X-Restante-Copy: sent")
	if !bytes.Contains(copied, []byte("the offer that you asked for")) {
		t.Errorf("the copy is another message: %s", copied)
	}
	o.until("the outage is over", func() bool {
		return strings.Contains(string(o.cli("outage", "list")), "closed")
	})
	if report := string(o.cli("outage", "report")); !strings.Contains(report, "unaccounted     0") || !strings.Contains(report, "1 sent, 1 delivered") {
		t.Errorf("%s", report)
	}
	p.Open(o.url + "/m/me/inbox")
	p.Until(`document.body.innerText.includes("handed over")`)
	p.Screenshot("outage-over")
	if got := b.Escapes(); len(got) > 0 {
		t.Errorf("the pages asked for %v", got)
	}
}

func (o *office) search(p *browser.Page) {
	o.t.Helper()
	for query, want := range map[string]bool{"chairs": true, "from:clara subject:offer": true, "elephants": false} {
		o.until("searching "+query, func() bool { // full text is read in the background
			p.Open(o.url + "/m/me/search?q=" + strings.ReplaceAll(query, " ", "+"))
			return strings.Contains(p.Text("#list"), "Offer for Thursday") == want
		})
	}
}

// otherWays are those without a password: a code from the sheet on a phone, and the admin's link.
func (o *office) otherWays(b *browser.Browser, code string) {
	o.t.Helper()
	p := o.page(b, browser.Phone(), "/signin")
	p.Type("#address", "anna@example.test")
	p.ClickThrough("form[action='/signin'] button")
	p.Type("#code", code)
	p.ClickThrough("form[action='/signin/code'] button")
	o.inside(p)
	p.Screenshot("outage-phone")
	p = o.page(b, browser.Phone(), "/signin")
	p.Type("#address", "anna@example.test")
	p.ClickThrough("form[action='/signin'] button")
	p.Type("#code", code)
	p.ClickThrough("form[action='/signin/code'] button")
	if p.URL() == "/m/me/inbox" {
		o.t.Error("a code was good twice")
	}
	link := o.find(`"url": "https://[^/"]+([^"]+)"`, "user", "link", "max@example.test", "--json")
	p = o.page(b, browser.Phone(), link)
	p.ClickThrough("form.stack button")
	o.inside(p)
	p.Until(`document.body.innerText.includes("Only for Max")`)
	if p = o.page(b, browser.Phone(), link); strings.Contains(p.Text("body"), "Only for Max") {
		o.t.Error("a link was good twice")
	}
}

// TestAnOutageWithoutScripts: with JavaScript off people read and answer, on a phone.
func TestAnOutageWithoutScripts(t *testing.T) {
	o := newOffice(t)
	b := browser.ForTest(t)
	waitState(t, o.node, "up")
	if err := o.primary.Stop(); err != nil {
		t.Fatal(err)
	}
	o.receive("anna@example.test", "A question", "Are you open on Saturday?")
	waitState(t, o.node, "down")
	p := o.page(b, browser.Phone().WithoutScript(), "/")
	o.signIn(p, "anna")
	o.until("it is listed", func() bool {
		p.Open(o.url + "/m/me/inbox")
		return strings.Contains(p.Text("body"), "A question")
	})
	p.ClickThrough(".row .open")
	if got := p.Text("body"); !strings.Contains(got, "Are you open on Saturday?") {
		t.Fatalf("%s", got)
	}
	p.ClickThrough("footer.answer a.primary")
	p.Type("#text", "Yes, from nine to twelve.")
	p.ClickThrough(".send")
	p.Screenshot("noscript-sent")
	o.verify(o.at(o.smarthost, "from nine to twelve"))
}

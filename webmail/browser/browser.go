// Package browser runs Debian's Chromium for tests: pages at the sizes that people have, light and dark, with
// and without JavaScript; their network log, dialogs and errors; screenshots; and axe-core. Only tests import it, those of webmail and of cmd.
//
// Nothing that Chromium asks for outside this machine leaves it: all but loopback goes to a proxy of our own, which answers
// nothing and notes what was wanted (Browser.Escapes).
package browser

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"restante/spool/need"
)

// axe is axe-core 4.14.1 (Mozilla Public License 2.0, see testdata).
//
//go:embed testdata/axe.min.js
var axe string

// Wait bounds every single step: far more than any takes on a busy machine.
const Wait = 60 * time.Second

// Browser is a running Chromium.
type Browser struct {
	ctx    context.Context
	cancel context.CancelFunc
	stop   context.CancelFunc
	proxy  net.Listener
	dir    string

	mu      sync.Mutex
	escapes []string
}

// path finds Chromium.
func path() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", errors.New("no Chromium here: apt-get install chromium")
}

// ForTest starts a browser that ends with the test. Without Chromium the test is skipped, or fails where
// RESTANTE_TEST_REQUIRE=1 asks for it. With -short it is skipped too: the race detector has nothing to say of Chromium.
func ForTest(t testing.TB) *Browser {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes long")
	}
	_, err := path()
	need.This(t, err)
	b, err := Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Start runs Chromium with a profile of its own. Close ends it.
func Start(ctx context.Context) (*Browser, error) {
	exe, err := path()
	if err != nil {
		return nil, err
	}
	b := &Browser{}
	if b.proxy, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go b.note()
	if b.dir, err = os.MkdirTemp("", "restante-chromium-"); err != nil {
		return nil, errors.Join(err, b.proxy.Close())
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(exe), chromedp.UserDataDir(b.dir), chromedp.ProxyServer("http://"+b.proxy.Addr().String()),
		chromedp.Flag("proxy-bypass-list", "127.0.0.1;[::1];localhost"),
		chromedp.Flag("no-sandbox", true), // it runs as root in CI
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-domain-reliability", true), chromedp.Flag("no-pings", true),
		// A frame in a process of its own would keep its requests out of the page's log.
		chromedp.Flag("disable-features", "Translate,OptimizationHints,MediaRouter,IsolateSandboxedIframes,AutofillServerCommunication,CertificateTransparencyComponentUpdater"),
		chromedp.Flag("lang", "en"), chromedp.Flag("hide-scrollbars", true),
	)
	var alloc context.Context
	alloc, b.stop = chromedp.NewExecAllocator(ctx, options...)
	b.ctx, b.cancel = chromedp.NewContext(alloc)
	if err := chromedp.Do(b.ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("browser: Chromium does not start: %w", err)
	}
	return b, nil
}

// Close ends Chromium and deletes its profile.
func (b *Browser) Close() {
	_ = chromedp.Cancel(b.ctx) // it may have ended already
	b.cancel()
	b.stop()
	_ = b.proxy.Close()
	_ = os.RemoveAll(b.dir)
}

// note answers no request and keeps its first line: what was wanted from outside this machine.
func (b *Browser) note() {
	for {
		c, err := b.proxy.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			wanted, err := bufio.NewReader(c).ReadString('\n')
			if err != nil {
				return
			}
			b.mu.Lock()
			b.escapes = append(b.escapes, wanted)
			b.mu.Unlock()
			_, _ = fmt.Fprint(c, "HTTP/1.1 502 Nothing leaves this machine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}()
	}
}

// own are the hosts that Chromium asks by itself (its clock, its updates), whatever its switches say.
func own() []string {
	return []string{".google.com", ".googleapis.com", ".gvt1.com", ".gstatic.com"}
}

// Escapes returns the request lines of all that pages wanted from outside this machine so far; what Chromium
// asks its maker is left out.
func (b *Browser) Escapes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.escapes), func(line string) bool {
		_, target, _ := strings.Cut(strings.TrimSpace(line), " ")
		target, _, _ = strings.Cut(target, " ")
		_, target, _ = strings.Cut("//"+strings.TrimPrefix(target, "http://"), "//")
		host, _, _ := strings.Cut(target, "/")
		host, _, _ = strings.Cut(host, ":")
		return slices.ContainsFunc(own(), func(suffix string) bool { return strings.HasSuffix(host, suffix) })
	})
}

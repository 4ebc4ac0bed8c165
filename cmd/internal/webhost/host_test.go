package webhost

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs a Host and ends it with the test.
func start(t *testing.T, o Options) *Host {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	if o.MaxConnections == 0 {
		o.MaxConnections = 100
	}
	h := New(o)
	h.Start()
	t.Cleanup(func() {
		if err := h.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// certificate is one that httptest has made.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	cert := s.TLS.Certificates[0]
	return TLSFromFiles(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil })
}

func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func get(t *testing.T, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, ": ")
		if k == "Host" {
			r.Host = v
		}
		r.Header.Add(k, v)
	}
	resp, err := client().Do(r)
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

// whoami tells what the webmail would see.
func whoami(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprintf(w, "%s %s %q", r.Proto, host, r.Header["X-Forwarded-For"])
}

func TestByTLS(t *testing.T) {
	l := listener(t)
	h := start(t, Options{Listeners: []net.Listener{l}, TLS: certificate(t)})
	url := "https://" + l.Addr().String() + "/"
	if resp, text := get(t, url); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "not open yet") {
		t.Errorf("before there is a handler: %d %s", resp.StatusCode, text)
	}
	h.SetHandler(http.HandlerFunc(whoami))
	if _, text := get(t, url, "X-Forwarded-For: 192.0.2.1"); text != `HTTP/2.0 127.0.0.1 []` {
		t.Errorf("whoever calls is believed about itself: %s", text)
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func TestRedirect(t *testing.T) {
	l, plain := listener(t), listener(t)
	h := start(t, Options{Listeners: []net.Listener{l}, Redirect: []net.Listener{plain}, TLS: certificate(t), Names: []string{"mx2.example.com", "mail.example.com"},
		Challenge: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
					fmt.Fprint(w, "token")
					return
				}
				next.ServeHTTP(w, r)
			})
		}})
	url := "http://" + plain.Addr().String()
	for host, want := range map[string]string{
		"mail.example.com": "mail.example.com", "MAIL.example.com.:80": "mail.example.com", "evil.example": "mx2.example.com", "[::1]": "mx2.example.com",
		"mail.example.com:8080": "mail.example.com:" + h.port(),
	} {
		resp, _ := get(t, url+"//a/b?c=d", "Host: "+host)
		if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusPermanentRedirect || got != "https://"+want+"//a/b?c=d" {
			t.Errorf("%s: %d %s", host, resp.StatusCode, got)
		}
	}
	if _, text := get(t, url+"/.well-known/acme-challenge/x"); text != "token" {
		t.Errorf("the CA gets %q", text)
	}
	resp, err := client().Post(url, "text/plain", strings.NewReader("password=hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a form in plain text: %d", resp.StatusCode)
	}
}

func TestBehindProxy(t *testing.T) {
	l := listener(t)
	h := start(t, Options{Listeners: []net.Listener{l}, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}})
	h.SetHandler(http.HandlerFunc(whoami))
	url := "http://" + l.Addr().String() + "/"
	for fields, want := range map[string]string{
		"":                           "127.0.0.1",
		"X-Forwarded-For: 192.0.2.1": "192.0.2.1",
		"X-Forwarded-For: 198.51.100.7, 192.0.2.1":                             "192.0.2.1", // the first is what the caller says of itself
		"X-Forwarded-For: 192.0.2.1, 10.1.2.3":                                 "192.0.2.1", // two proxies
		"X-Forwarded-For: [2001:db8::1]:443":                                   "2001:db8::1",
		"X-Forwarded-For: 192.0.2.1\nX-Forwarded-For: 2001:db8::2":             "2001:db8::2",
		"X-Forwarded-For: unknown":                                             "127.0.0.1",
		"X-Forwarded-For: 192.0.2.9, unknown, 10.1.2.3":                        "10.1.2.3",
		"Forwarded: for=192.0.2.1":                                             "127.0.0.1",
		"X-Forwarded-For: " + strings.Repeat("10.0.0.1,", 500) + "10.0.0.1":    "10.0.0.1",
		"X-Forwarded-For: 192.0.2.1" + strings.Repeat(", 10.0.0.1", 500):       "10.0.0.1",
		"X-Forwarded-For: 192.0.2.1, ::ffff:10.0.0.1":                          "192.0.2.1",
		"X-Forwarded-For: 192.0.2.1%eth0\nX-Real-Ip: 192.0.2.2\nX-Other: kept": "127.0.0.1",
	} {
		var list []string
		if fields != "" {
			list = strings.Split(fields, "\n")
		}
		if _, text := get(t, url, list...); !strings.HasPrefix(text, "HTTP/1.1 "+want+" []") {
			t.Errorf("%.60s: %s, want %s", fields, text, want)
		}
	}
	other := listener(t)
	start(t, Options{Listeners: []net.Listener{other}, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}).SetHandler(http.HandlerFunc(whoami))
	if resp, _ := get(t, "http://"+other.Addr().String()+"/", "X-Forwarded-For: 10.0.0.1"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("somebody who is no proxy: %d", resp.StatusCode)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	l := listener(t)
	h := start(t, Options{Listeners: []net.Listener{l}, Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, MaxConnections: 10})
	h.SetHandler(http.HandlerFunc(whoami))
	var open []net.Conn
	// taken reports that the server keeps a connection: it answers rather than closing it.
	taken := func() bool {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err = bufio.NewReader(c).ReadString('\n')
		return err == nil
	}
	for i := range 8 {
		if got := taken(); got != (i < 5) { // half of ten from one address
			t.Errorf("connection %d: %v", i, got)
		}
	}
	for _, c := range open {
		c.Close()
	}
	for h.Connections() > 0 { // ends with the test's own time
		if t.Context().Err() != nil {
			t.Fatal("connections are never given back")
		}
		runtime.Gosched()
	}
	if !taken() {
		t.Error("nothing is taken any more")
	}
}

func TestHeaderFieldsAreBounded(t *testing.T) {
	l := listener(t)
	start(t, Options{Listeners: []net.Listener{l}, TLS: certificate(t)}).SetHandler(http.HandlerFunc(whoami))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+l.Addr().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("x", 2*HeaderMax))
	resp, err := client().Do(r)
	if err != nil {
		return // HTTP/2 ends the connection
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d", resp.StatusCode)
	}
}

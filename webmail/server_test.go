package webmail

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/webmail/ui"
)

func TestHeaders(t *testing.T) {
	r := newRig(t)
	id := r.deliver(held{from: "x@outside.example", rcpts: []string{"anna@example.test"}, raw: secretMail("mark")})[0]
	message := "/m/me/message/" + id
	for path, policy := range map[string]string{
		"/": pagePolicy, "/m/me/inbox": pagePolicy, "/m/me/inbox/" + id: pagePolicy, message: pagePolicy, "/nothing/here": pagePolicy, "/signin": pagePolicy,
		message + "/part/1.2": filePolicy, message + "/eml": filePolicy, message + "/zip": filePolicy, "/static/" + r.server.assets.byName["app.css"].hashedName: filePolicy,
	} {
		w := r.ask("anna@example.test", http.MethodGet, path, nil)
		h := w.Header()
		if got := h.Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: policy %q", path, got)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY"} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s: %q", path, name, got)
			}
		}
		if cached := strings.Contains(h.Get("Cache-Control"), "immutable"); cached != strings.HasPrefix(path, "/static/") || !cached && h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, h.Get("Cache-Control"))
		}
		if h.Get("Permissions-Policy") == "" {
			t.Errorf("%s has no Permissions-Policy", path)
		}
	}
	frame := r.ask("anna@example.test", http.MethodGet, message+"/frame", nil).Header()
	if csp := frame.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || !strings.Contains(csp, "; sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox") || !strings.Contains(csp, "frame-ancestors 'self'") {
		t.Errorf("the frame's policy is %q", csp)
	}
	if frame.Get("X-Frame-Options") != "SAMEORIGIN" || frame.Get("Cache-Control") != "no-store" {
		t.Errorf("the frame's headers are %v", frame)
	}
	for _, policy := range []string{pagePolicy, filePolicy, frame.Get("Content-Security-Policy")} {
		if regexp.MustCompile(`unsafe-|\*|https?:|allow-scripts|allow-forms|allow-top`).MatchString(policy) {
			t.Errorf("a policy is too loose: %s", policy)
		}
	}
}

func TestPagesHaveNothingInline(t *testing.T) {
	r := newRig(t)
	ids := r.deliver(sampleMail(time.Now())...)
	for _, path := range []string{"/m/me/inbox", "/m/me/inbox/" + ids[2], "/m/me/inbox/" + ids[3], "/help", "/nothing", "/signin"} {
		page := r.ask("anna@example.test", http.MethodGet, path, nil).Body.String()
		for _, bad := range []string{`<script[^>]*>[^<]`, `<style`, ` style=`, ` on[a-z]+=`, `javascript:`, `hx-on`, `hx-vals`, `ZgotmplZ`, `⟦`, `<no value>`, `(href|src|action)="(https?:)?//`} {
			if m := regexp.MustCompile(bad).FindString(page); m != "" {
				t.Errorf("%s has %q", path, m)
			}
		}
	}
}

func TestSecure(t *testing.T) {
	r := newRig(t)
	o := r.options(slog.New(slog.DiscardHandler))
	o.Secure, o.Names = true, []string{"mail.example.test"}
	s, err := New(o)
	must(t, err)
	ask := func(host string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodGet, "/robots.txt", nil)
		req.Host = host
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		return w
	}
	for host, want := range map[string]int{"mail.example.test": 200, "MAIL.example.test:8443": 200, "mail.example.test.": 200, "evil.example": 421, "127.0.0.1": 421, "": 421, "mail.example.test.evil.example": 421} {
		if got := ask(host); got.Code != want {
			t.Errorf("asked as %q it answers %d", host, got.Code)
		}
	}
	if ask("mail.example.test").Header().Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS behind https")
	}
	if s.cookie("toast") != "__Host-toast" || r.server.cookie("toast") != "toast" {
		t.Error("cookies have the wrong names")
	}
}

func TestNewWantsAll(t *testing.T) {
	r := newRig(t)
	for name, leave := range map[string]func(*Options){
		"Mail": func(o *Options) { o.Mail = nil }, "Accounts": func(o *Options) { o.Accounts = nil }, "Sender": func(o *Options) { o.Sender = nil },
		"Outages": func(o *Options) { o.Outages = nil }, "Log": func(o *Options) { o.Log = nil },
	} {
		o := r.options(slog.New(slog.DiscardHandler))
		leave(&o)
		if _, err := New(o); err == nil {
			t.Errorf("without %s it starts", name)
		}
	}
}

// TestOtherSitesCantAct posts as a page of another site would.
func TestOtherSitesCantAct(t *testing.T) {
	r := newRig(t)
	id := r.deliver(held{from: "x@outside.example", rcpts: []string{"anna@example.test"}, raw: secretMail("mark")})[0]
	c := r.client("anna@example.test")
	form := url.Values{"do": {"trash"}, "e": {id}, "back": {"/m/me/inbox"}}
	for name, headers := range map[string][]string{
		"Sec-Fetch-Site": {"Sec-Fetch-Site", "cross-site"},
		"same site":      {"Sec-Fetch-Site", "same-site"},
		"Origin":         {"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
	} {
		got := c.post("/m/me/act", form, headers...)
		if got.status != http.StatusForbidden || !strings.Contains(got.body, "another page") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if it, err := r.mail.Item(t.Context(), r.box("anna@example.test"), id); err != nil || it.Trashed {
		t.Errorf("it was deleted: %v %v", it.Trashed, err)
	}
}

func TestNothingRedirectsElsewhere(t *testing.T) {
	for p, want := range map[string]string{
		"/m/me/inbox?a=b": "/m/me/inbox?a=b", "//evil.example": "/", "https://evil.example": "/", "/\\evil.example": "/", "": "/", "x": "/", "/a\r\nSet-Cookie: x": "/",
		"/\t/evil.example": "/", "/" + strings.Repeat("a", 3000): "/", "javascript:alert(1)": "/",
	} {
		if got := localPath(p); got != want {
			t.Errorf("localPath(%.40q) = %q", p, got)
		}
	}
}

func TestPanicIsAPage(t *testing.T) {
	r := newRig(t)
	r.log.quiet.Store(true)
	h := r.server.around(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "No mail is lost") || strings.Contains(w.Body.String(), "broken") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if r.log.lines.Load() != 1 {
		t.Errorf("%d lines were logged", r.log.lines.Load())
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("an abort is no page")
		}
	}()
	r.server.around(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

func TestSignInIsAskedFor(t *testing.T) {
	r := newRig(t)
	for path, want := range map[string]string{"/": "/signin", "/m/me/inbox?x=1": "/signin?next=%2Fm%2Fme%2Finbox%3Fx%3D1", "/help": "/signin?next=%2Fhelp"} {
		if w := r.ask("", http.MethodGet, path, nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Location"))
		}
	}
	c := r.client("")
	if got := c.get("/m/me/inbox", "HX-Request", "true", "HX-Target", "main"); got.header.Get("HX-Redirect") == "" || got.body != "" {
		t.Errorf("htmx is told %v", got.header)
	}
	if got := c.get("/events"); got.status != http.StatusNoContent {
		t.Errorf("an event stream answers %d", got.status)
	}
}

// TestFirstLoad adds up what a browser fetches for the inbox with fifty conversations: 80 KB at most, compressed.
func TestFirstLoad(t *testing.T) {
	r := newRig(t)
	var all []held
	for range 7 {
		all = append(all, sampleMail(time.Now())...)
	}
	r.deliver(all...)
	size := func(path string) int {
		req := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil)
		req.AddCookie(&http.Cookie{Name: "who", Value: url.QueryEscape("anna@example.test")})
		req.Header.Set("Accept-Encoding", "gzip, br")
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, req)
		if w.Code != http.StatusOK || w.Header().Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s: %d, %v", path, w.Code, w.Header())
		}
		return w.Body.Len()
	}
	page := r.ask("anna@example.test", http.MethodGet, "/m/me/inbox", nil)
	total := size("/m/me/inbox")
	t.Logf("inbox %d", total)
	for _, m := range regexp.MustCompile(`"(/static/[^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1) {
		n := size(m[1])
		t.Logf("%s %d", m[1], n)
		total += n
	}
	t.Logf("first load: %d octets", total)
	if total > 80_000 {
		t.Errorf("the first load takes %d octets, 80,000 are allowed", total)
	}
}

func TestStaticFiles(t *testing.T) {
	r := newRig(t)
	c := r.client("")
	at, err := r.server.assets.url("app.js")
	must(t, err)
	if got := c.get(at); got.status != 200 || !strings.HasPrefix(got.body, "// What makes") || got.header.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("%d %v", got.status, got.header)
	}
	if got := c.get("/static/app.js"); got.status != 404 {
		t.Errorf("without its hash: %d", got.status)
	}
	if got := c.get("/static/../layout.html"); got.status != 404 {
		t.Errorf("above static: %d", got.status)
	}
	if _, err := r.server.assets.url("none.js"); err == nil {
		t.Error("a file that isn't there has an address")
	}
	for in, want := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "GZIP": true, "gzip;q=0": false, "br": false, "": false, "xgzip": false} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Accept-Encoding", in)
		if acceptsGzip(req) != want {
			t.Errorf("Accept-Encoding: %q", in)
		}
	}
}

func TestIconsAreThere(t *testing.T) {
	used := regexp.MustCompile(`\{\{-? ?icon "([a-z]+)"`)
	n := 0
	err := fs.WalkDir(ui.Files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".html") {
			return err
		}
		raw, err := fs.ReadFile(ui.Files, p)
		for _, m := range used.FindAllStringSubmatch(string(raw), -1) {
			if n++; icon(m[1]) == "" {
				t.Errorf("%s asks for the icon %q, which there isn't", p, m[1])
			}
		}
		return err
	})
	if err != nil || n < 20 {
		t.Errorf("%d icons are used, %v", n, err)
	}
}

// TestZones: the browser's cookie counts until somebody is signed in who has chosen.
func TestZones(t *testing.T) {
	for cookie, want := range map[string]string{"Asia%2FTokyo": "Asia/Tokyo", "Asia/Tokyo": "Asia/Tokyo", "Local": "Local", "../../etc/passwd": "Local", strings.Repeat("x", 100): "Local", "": "UTC"} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Cookie", "tz="+cookie)
		if got := zoneOf(req).String(); got != want {
			t.Errorf("tz=%.20s: %s, want %s", cookie, got, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	o, reg := r.options(slog.New(slog.DiscardHandler)), prometheus.NewRegistry()
	o.Metrics = reg
	s, err := New(o)
	must(t, err)
	for _, path := range []string{"/robots.txt", "/robots.txt", "/help", "/nothing"} {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	all, err := reg.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == "restante_webmail_requests_total" {
				got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if len(got) != 2 || got["/robots.txt 200"] != 2 || got["/help 303"] != 1 {
		t.Errorf("counted %v", got)
	}
	if _, err := New(o); err == nil {
		t.Error("two servers count under the same names")
	}
}

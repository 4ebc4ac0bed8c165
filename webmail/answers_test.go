package webmail

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// TestEveryAnswerIsStrict looks at the headers and the addresses of what every route answers, to people who are signed
// in and to those who aren't: it may load nothing from elsewhere, run nothing inline, be framed by nobody, be kept by
// no cache, and name nobody but us.
func TestEveryAnswerIsStrict(t *testing.T) {
	r := newRig(t)
	r.log.quiet.Store(true)
	all := r.belongings()
	loose := regexp.MustCompile(`unsafe|\*|https?:|blob:|filesystem:|allow-scripts|allow-forms|allow-top|allow-modals|allow-downloads`)
	elsewhere := regexp.MustCompile(`(?i)(src|href|action|srcset|poster|data|content|hx-get|hx-post)="?(https?:)?//[^"> ]*|url\([^)]*\)|@import`)
	assets := map[string]bool{}
	n, pages := 0, 0
	var look func(who, method, path string)
	look = func(who, method, path string) {
		w := r.ask(who, method, path, url.Values{"do": {"seen"}, "e": {all[0].entry}})
		h, body := w.Header(), w.Body.String()
		n++
		bad := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%q %s %s (%d): "+format, append([]any{who, method, path, w.Code}, args...)...)
		}
		policy := h.Get("Content-Security-Policy")
		if loose.MatchString(policy) || !strings.HasPrefix(policy, "default-src 'none'") || !strings.Contains(policy, "base-uri 'none'") ||
			!strings.Contains(policy, "frame-ancestors '") || !strings.Contains(policy, "form-action '") || len(h.Values("Content-Security-Policy")) != 1 {
			bad("policy %q", policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := h.Get(name); got != want {
				bad("%s: %q", name, got)
			}
		}
		if cached := h.Get("Cache-Control"); cached != "no-store" && !strings.HasPrefix(path, "/static/") {
			bad("Cache-Control: %q", cached)
		}
		for name := range h {
			if strings.HasPrefix(name, "Access-Control-") || name == "Server" || name == "X-Powered-By" {
				bad("has %s", name)
			}
		}
		if to := h.Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
			bad("goes to %q", to)
		}
		for _, c := range w.Result().Cookies() {
			if c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode || c.Domain != "" || c.Path != "/" || !c.HttpOnly {
				bad("cookie %v", c)
			}
		}
		if w.Code == http.StatusOK && h.Get("Content-Type") == "" && w.Body.Len() > 0 {
			bad("no Content-Type")
		}
		if !strings.HasPrefix(h.Get("Content-Type"), "text/html") || strings.HasSuffix(path, "/frame") {
			return
		}
		pages++
		for _, m := range elsewhere.FindAllString(body, -1) {
			bad("names another place: %s", m)
		}
		for _, m := range regexp.MustCompile(`"(/static/[^"]+)"`).FindAllStringSubmatch(body, -1) {
			if !assets[m[1]] {
				assets[m[1]] = true
				look(who, http.MethodGet, m[1])
			}
		}
	}
	for _, who := range []string{"", "anna@example.test"} {
		for _, rt := range r.server.routes() {
			if rt.Pattern == "/events" && who != "" {
				continue
			}
			for _, path := range paths(rt.Pattern, []string{"me", "none"}, []string{all[0].entry}, []string{all[0].writing}) {
				look(who, rt.Method, path)
				if rt.Method == http.MethodGet {
					look(who, http.MethodHead, path)
				}
			}
		}
		for _, path := range []string{"/none", "/m/me/none", "/static/none", "/write/none", "/%2e%2e/", "//evil.example/", "/m//inbox", "/m/me/inbox/../../../help"} {
			look(who, http.MethodGet, path)
			look(who, http.MethodPost, path)
			look(who, http.MethodPut, path)
		}
	}
	t.Logf("%d answers, %d of them pages, %d assets", n, pages, len(assets))
	if pages < 60 || len(assets) < 6 {
		t.Errorf("only %d pages and %d assets were seen", pages, len(assets))
	}
}

// TestAssetsNameNobodyElse: neither script nor style has the address of another host.
func TestAssetsNameNobodyElse(t *testing.T) {
	r := newRig(t)
	for name := range r.server.assets.byName {
		at, err := r.server.assets.url(name)
		must(t, err)
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
		for _, m := range regexp.MustCompile(`(https?:)?//[a-z0-9-]+\.[a-z]{2,}[^\s"'`+"`"+`]*`).FindAllString(w.Body.String(), -1) {
			if m != "http://www.w3.org/2000/svg" {
				t.Errorf("%s names %s", name, m)
			}
		}
		if m := regexp.MustCompile(`\beval\(|new Function\(|document\.write\(`).FindString(w.Body.String()); m != "" && name != "htmx.min.js" {
			t.Errorf("%s uses %s", name, m)
		}
	}
}

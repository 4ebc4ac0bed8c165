package webmail

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"

	chrome "restante/webmail/browser"
	"restante/webmail/compose"
	"restante/webmail/render"
	"restante/webmail/render/hostile"
)

// layers are what keeps mail from acting. What is false is taken away by the test, between server and browser: the
// server has no switch for it.
type layers struct {
	sanitiser bool // off: the frame holds the mail's HTML as it came
	policy    bool // off: no Content-Security-Policy on anything
	sandbox   bool // off: neither the frame's attribute nor the policy's directive
}

// hostileMail is a mail of the corpus in anna's inbox.
type hostileMail struct {
	name, id string
	pages    []string // paths of all that can be opened of it, its own page first
	plain    bool     // there is nothing odd about it but its HTML
	raw      render.Frame
}

// hostileRig shows hostile mail to a browser through the real server.
type hostileRig struct {
	*rig
	mails []hostileMail
	byID  map[string]*hostileMail
}

func newHostileRig(t *testing.T) *hostileRig {
	r := &hostileRig{rig: newRig(t), byID: map[string]*hostileMail{}}
	var all []held
	corpus := hostile.Mails()
	now := time.Now()
	for i, m := range corpus {
		all = append(all, held{from: "m@" + hostile.Host, rcpts: []string{"anna@example.test"}, raw: string(m.Raw), at: now.Add(-time.Duration(i) * time.Second)})
	}
	for i, id := range r.deliver(all...) {
		m := hostilePages(t, corpus[i], id)
		m.pages = slices.DeleteFunc(m.pages, func(page string) bool { // to be saved either way
			return strings.HasSuffix(page, "?show=1") && strings.HasPrefix(r.ask("anna@example.test", http.MethodGet, page, nil).Header().Get("Content-Disposition"), "attachment")
		})
		r.mails = append(r.mails, m)
	}
	for i := range r.mails {
		r.byID[r.mails[i].id] = &r.mails[i]
	}
	return r
}

// hostilePages lists what people can open of a mail.
func hostilePages(t *testing.T, mail hostile.Mail, id string) hostileMail {
	t.Helper()
	ctx := context.Background()
	m, err := render.Parse(ctx, bytes.NewReader(mail.Raw), int64(len(mail.Raw)), render.Limits{})
	must(t, err)
	at := "/m/me/message/" + id
	out := hostileMail{name: mail.Name, id: id, pages: []string{at}}
	raw := mail.Raw
	if _, part := m.Body(); part != nil {
		raw, err = io.ReadAll(part.Open(ctx))
		must(t, err)
	}
	out.raw = render.NewFrame(raw, nil, render.HTMLOptions{})
	out.plain = !strings.HasPrefix(mail.Name, "message-") && !strings.HasPrefix(mail.Name, "encoding-")
	if !out.plain || strings.HasSuffix(mail.Name, "-01") {
		out.pages = append(out.pages, at+"/print")
	}
	if strings.HasSuffix(mail.Name, "-01") {
		out.pages = append(out.pages, at+"/eml")
	}
	if strings.HasPrefix(mail.Name, "encoding-") {
		out.pages = append(out.pages, at+"?as=text")
	}
	var parts func(*render.Part)
	parts = func(p *render.Part) {
		if p != m.Root {
			out.pages = append(out.pages, at+"/part/"+p.ID, at+"/part/"+p.ID+"?show=1")
		}
		if p.Message != nil {
			out.pages = append(out.pages, at+"?in="+p.ID, at+"/print?in="+p.ID)
		}
		for _, c := range p.Children {
			parts(c)
		}
	}
	if m.Root != nil && len(m.Attachments) > 0 {
		parts(m.Root)
	}
	return out
}

// hostileServer is the webmail with some layers taken away. It notes what is asked for that no page of ours names.
type hostileServer struct {
	r       *hostileRig
	layers  layers
	url     string
	sandbox string // the attribute of the frames in our pages

	mu    sync.Mutex
	known map[string]bool // paths that pages of ours have
	odd   []string
}

func (r *hostileRig) serve(t *testing.T, l layers) *hostileServer {
	h := &hostileServer{r: r, layers: l, known: map[string]bool{"/favicon.ico": true}}
	for _, m := range r.mails {
		for _, p := range m.pages {
			h.known[p] = true
		}
		h.known["/m/me/message/"+m.id+"/frame"] = true
	}
	h.sandbox = sandboxAttribute.FindString(r.ask("anna@example.test", http.MethodGet, r.mails[0].pages[0], nil).Body.String())
	if !strings.Contains(h.sandbox, "sandbox") || strings.Contains(h.sandbox, "allow-scripts") {
		t.Fatalf("the frame of a page has no good sandbox: %q", h.sandbox)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	h.url = srv.URL
	return h
}

var (
	sandboxAttribute = regexp.MustCompile(` sandbox="[^"]*"`)
	sandboxDirective = regexp.MustCompile(`; sandbox [^;]*`)
	ancestors        = regexp.MustCompile(`; frame-ancestors '[a-z]+'`)
	hostileFrame     = regexp.MustCompile(`^/m/me/message/([0-9A-Z]{26})/frame$`)
)

func (h *hostileServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	at := req.URL.RequestURI()
	switch {
	case req.URL.Path == "/hostile":
		h.batch(w, req)
		return
	case at == "/events":
		w.WriteHeader(http.StatusNoContent) // streams would take all connections of a page of pages
		return
	}
	h.mu.Lock()
	if req.Method != http.MethodGet || !h.known[at] && !strings.HasPrefix(at, "/static/") && !strings.HasPrefix(at, "/m/me/inbox") && !strings.Contains(at, "/frame?in=") {
		h.odd = append(h.odd, req.Method+" "+at)
	}
	h.mu.Unlock()
	req.AddCookie(&http.Cookie{Name: "who", Value: "anna@example.test"})
	req.Header.Del("Accept-Encoding")
	got := httptest.NewRecorder()
	h.r.server.ServeHTTP(got, req)
	body, head := got.Body.Bytes(), got.Header()
	policy := head.Get("Content-Security-Policy")
	if m := hostileFrame.FindStringSubmatch(req.URL.Path); m != nil && !h.layers.sanitiser {
		raw := h.r.byID[m[1]].raw
		body, policy = raw.Document, framePolicy(raw.CSP)
	}
	if !h.layers.sandbox {
		policy, body = sandboxDirective.ReplaceAllString(policy, ""), sandboxAttribute.ReplaceAll(body, nil)
	}
	// The pages stand in a page of pages here, to save a browser's time.
	head.Set("Content-Security-Policy", ancestors.ReplaceAllString(policy, ""))
	head.Del("X-Frame-Options")
	if !h.layers.policy {
		head.Del("Content-Security-Policy")
	}
	head.Del("Content-Length")
	for name, values := range head {
		w.Header()[name] = values
	}
	w.WriteHeader(got.Code)
	_, _ = w.Write(body)
}

// batch is a page that holds others: ?p=<path>, many times. A mail's document is framed as our pages do it.
func (h *hostileServer) batch(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprint(w, `<!doctype html><html lang="en"><title>batch</title><link rel="icon" href="data:,"><body>`)
	for _, p := range req.URL.Query()["p"] {
		attributes := ""
		if hostileFrame.MatchString(p) {
			attributes = ` class="mail"`
			if h.layers.sandbox {
				attributes += h.sandbox
			}
		}
		_, _ = fmt.Fprintf(w, `<iframe src="%s" width="400" height="300"%s></iframe>`, html.EscapeString(p), attributes)
	}
}

// inspect looks at every page of a batch from outside: whether it is still there and has nothing of the mail's. With
// allowed it does what a reader might: it clicks on whatever isn't a plain link, and moves over everything.
const inspect = `allowed => {
  const wrong = [], ours = el => (el.getAttribute("src") || el.getAttribute("href") || "");
  let frames = 0, pokes = 0;
  const look = (doc, at) => {
    for (const el of doc.querySelectorAll("*")) {
      const tag = el.localName;
      if (tag === "script" && !(ours(el).startsWith("/static/") && !el.textContent)) wrong.push(at + ": script " + el.outerHTML.slice(0, 200));
      if (["style", "object", "embed", "base", "applet", "math"].includes(tag) || tag === "meta" && /refresh|policy|type/i.test(el.httpEquiv)) wrong.push(at + ": " + el.outerHTML.slice(0, 200));
      if (tag === "iframe" && !el.matches(".mail")) wrong.push(at + ": iframe " + el.outerHTML.slice(0, 200));
      if (["img", "link", "script", "iframe"].includes(tag) && !/^\/(static|m\/me\/message)\//.test(ours(el))) wrong.push(at + ": " + el.outerHTML.slice(0, 200));
      if ((tag === "a" || tag === "area") && !/^(https?|mailto):$/.test(el.protocol || "https:")) wrong.push(at + ": link " + el.outerHTML.slice(0, 200));
      for (const a of el.attributes) if (/^on/i.test(a.name) || a.name === "srcdoc" || a.name === "style" && tag !== "iframe") wrong.push(at + ": " + a.name + " on " + tag);
    }
  };
  const poke = doc => {
    for (const el of doc.querySelectorAll("*")) {
      for (const kind of ["mouseover", "pointerenter", "focus", "toggle", "animationstart", "load", "error"]) el.dispatchEvent(new Event(kind, {bubbles: false}));
      const plain = /^(https?|mailto):$/.test(el.protocol || "");
      if (el.localName === "form") { try { el.submit() } catch {} pokes++; }
      else if (el.click && !plain && el.matches("a, area, button, input, [onclick], text, summary")) { el.click(); pokes++; }
    }
  };
  for (const f of document.querySelectorAll("iframe")) {
    let doc = null;
    try { doc = f.contentDocument } catch {}
    const at = f.getAttribute("src");
    if (!doc) { wrong.push(at + " left its place"); continue; }
    if (doc.URL === "about:blank") continue; // a file to be saved
    if (doc.URL !== f.src) wrong.push(at + " went to " + doc.URL);
    frames++;
    if (f.matches(".mail")) { if (allowed) poke(doc); continue; }
    if (/^image\//.test(doc.contentType)) continue;
    look(doc, at);
    for (const inner of doc.querySelectorAll("iframe.mail")) {
      const mail = inner.contentDocument;
      if (!mail) { wrong.push(at + ": the frame left its place"); continue; }
      if (mail.URL !== inner.src) wrong.push(at + ": the frame went to " + mail.URL);
      if (mail.defaultView.opener || mail.defaultView.name) wrong.push(at + ": the frame has an opener or a name");
      frames++;
      if (allowed) poke(mail);
    }
  }
  const cookies = document.cookie.split("; ").filter(c => c && !c.startsWith("tz="));
  const kept = [...Object.keys(localStorage), ...Object.keys(sessionStorage)].filter(k => !k.startsWith("htmx-"));
  if (cookies.length || kept.length) wrong.push("something was kept: " + cookies + kept);
  if (document.title !== "batch" || location.pathname !== "/hostile") wrong.push("the outermost page is " + location + " " + document.title);
  return {Wrong: wrong, Frames: frames, Pokes: pokes};
}`

type inspected struct {
	Wrong         []string
	Frames, Pokes int
}

// show opens the pages in batches and adds up what was found; with poke it clicks in the mail.
func (h *hostileServer) show(p *chrome.Page, poke bool, paths []string) inspected {
	var all inspected
	const batch = 40
	for part := range slices.Chunk(paths, batch) {
		p.Open(h.url + "/hostile?" + url.Values{"p": part}.Encode())
		var got inspected
		p.Eval(fmt.Sprintf("(%s)(%v)", inspect, poke), &got)
		all.Wrong, all.Frames, all.Pokes = append(all.Wrong, got.Wrong...), all.Frames+got.Frames, all.Pokes+got.Pokes
	}
	if poke {
		p.Open(h.url + "/hostile") // what was started by the last click has ended
	}
	return all
}

// slow skips what takes a browser long: it runs in make test, and with RESTANTE_TEST_REQUIRE=1.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() || !thorough() {
		t.Skip("takes a browser long: RESTANTE_TEST_REQUIRE=1 runs it")
	}
}

// hostilePage is a tab that saves nothing and prints nothing.
func hostilePage(t *testing.T, b *chrome.Browser) *chrome.Page {
	p := b.Page(t, chrome.Desktop())
	p.Do("refusing downloads", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{Behavior: cdpbrowser.SetDownloadBehaviorBehaviorDeny})
		return chromedp.Void{}, err
	})
	return p
}

// TestHostileMail shows every hostile mail in Chromium through the real server: its row in the list, its page, its
// frame, its print, its files, what is nested in it. Then once more with each layer missing. There is no dialog, no
// request but for our own pages, nothing goes anywhere and nothing is written around the frames.
func TestHostileMail(t *testing.T) {
	slow(t)
	b := chrome.ForTest(t)
	r := newHostileRig(t)
	for _, one := range []struct {
		name   string
		layers layers
	}{
		{"everything on", layers{true, true, true}},
		{"sanitiser off", layers{false, true, true}},
		{"policy off", layers{true, false, true}},
		{"sandbox off", layers{true, true, false}},
	} {
		t.Run(one.name, func(t *testing.T) {
			start := time.Now()
			h, p := r.serve(t, one.layers), hostilePage(t, b)
			var paths []string
			for _, m := range r.mails {
				switch {
				case m.plain && !strings.HasSuffix(m.name, "-01"): // the page around its frame is like that of the first of its kind
					paths = append(paths, m.pages[0]+"/frame")
				case one.name == "everything on":
					paths = append(paths, m.pages...)
				default:
					paths = append(paths, m.pages[0])
					for _, page := range m.pages {
						if strings.HasSuffix(page, "?show=1") {
							paths = append(paths, page)
						}
					}
				}
			}
			got := h.show(p, true, paths)
			for _, w := range got.Wrong {
				t.Error(w)
			}
			for _, d := range p.Dialogs() {
				t.Errorf("a dialog: %s", d)
			}
			for _, e := range b.Escapes() {
				t.Errorf("asked of another host: %s", strings.TrimSpace(e))
			}
			for _, o := range h.odd {
				t.Errorf("asked of us: %s", o)
			}
			for _, q := range p.Requests() {
				// Without the sanitiser the log has what the policy stopped, too; h.odd and Escapes have what was sent.
				if one.layers.sanitiser && !strings.HasPrefix(q.URL, h.url+"/") {
					t.Errorf("asked for %s", q.URL)
				}
			}
			if got.Frames < len(r.mails) {
				t.Errorf("only %d documents were seen for %d mails", got.Frames, len(r.mails))
			}
			t.Logf("%d mails, %d pages, %d documents, %d clicks, %d requests, %v", len(r.mails), len(paths), got.Frames, got.Pokes, len(p.Requests()), time.Since(start).Round(time.Millisecond))
		})
	}
}

// TestHostileLists looks at what else shows something of a mail: the list of them all, page by page, conversations
// beside it, answers and forwards that quote it, the activity that names its files.
func TestHostileLists(t *testing.T) {
	slow(t)
	b := chrome.ForTest(t)
	r := newHostileRig(t)
	h, p := r.serve(t, layers{true, true, true}), hostilePage(t, b)
	next, rows := "/m/me/inbox", 0
	for next != "" && rows < 2*len(r.mails) {
		got := h.show(p, false, []string{next})
		for _, w := range got.Wrong {
			t.Errorf("%s: %s", next, w)
		}
		p.Open(h.url + next)
		var seen struct {
			Rows int
			More string
		}
		p.Eval(`({Rows: document.querySelectorAll(".row").length, More: document.querySelector("#more a")?.getAttribute("href") || ""})`, &seen)
		next, rows = seen.More, rows+seen.Rows
	}
	if rows < 200 {
		t.Errorf("%d rows for %d mails", rows, len(r.mails))
	}
	for i := 0; i < len(r.mails); i += 15 {
		p.Open(h.url + "/m/me/inbox/" + r.mails[i].id)
		p.Wait("#reader[data-open] .message")
	}
	var paths []string
	for _, m := range r.mails {
		if !m.plain {
			paths = append(paths, writePath(compose.ReplyAll, "me", m.id))
			r.ask("anna@example.test", http.MethodGet, m.pages[0]+"/part/1.2", nil) // which is noted
		}
		if strings.HasPrefix(m.name, "message-") || strings.HasSuffix(m.name, "-02") {
			paths = append(paths, writePath(compose.Forward, "me", m.id))
		}
	}
	paths = append(paths, "/activity", "/m/me/search?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/m/me/search?q=%22%20onfocus%3Dalert(1)%20autofocus%20x%3D%22",
		"/write?mailto=mailto:%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E@x.test%3Fsubject%3D%3C%2Fscript%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%26body%3D%3C%2Ftextarea%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E")
	for _, path := range paths {
		h.known[path] = true
	}
	got := h.show(p, false, paths)
	for _, w := range got.Wrong {
		t.Error(w)
	}
	if got.Frames < len(paths) {
		t.Errorf("%d of %d pages were seen", got.Frames, len(paths))
	}
	if d, e := p.Dialogs(), b.Escapes(); len(d)+len(e)+len(h.odd) > 0 {
		t.Errorf("dialogs %q, asked of others %q, of us %q", d, e, h.odd)
	}
}

// TestHostileMailIsSeen proves that the counters count: with all layers gone, mail does act.
func TestHostileMailIsSeen(t *testing.T) {
	slow(t)
	b := chrome.ForTest(t)
	r := newHostileRig(t)
	h, p := r.serve(t, layers{}), hostilePage(t, b)
	var paths []string
	for _, m := range r.mails {
		if slices.Contains([]string{"script-01", "script-02", "event-01", "url-01", "svg-01", "load-01", "load-08", "css-01", "form-02", "frame-02"}, m.name) {
			paths = append(paths, m.pages[0])
		}
	}
	got := h.show(p, false, paths) // a dialog in a window of its own would wait for somebody
	seen, err := json.Marshal(map[string]int{"dialogs": len(p.Dialogs()), "escapes": len(b.Escapes()), "of us": len(h.odd), "wrong": len(got.Wrong)})
	must(t, err)
	t.Logf("%d pages: %s", len(paths), seen)
	if len(p.Dialogs()) < 3 || len(b.Escapes()) < 4 || len(h.odd) == 0 {
		t.Errorf("unprotected mail went unnoticed: %s\n%q\n%q\n%q", seen, p.Dialogs(), b.Escapes(), h.odd)
	}
}

// TestSandboxAlone: with sanitiser and policy both gone mail loads what it likes, but the sandbox still runs nothing,
// sends no form and lets nothing leave its frame.
func TestSandboxAlone(t *testing.T) {
	slow(t)
	b := chrome.ForTest(t)
	r := newHostileRig(t)
	h, p := r.serve(t, layers{sandbox: true}), hostilePage(t, b)
	var paths []string
	for i, m := range r.mails {
		if m.plain && i%2 == 0 {
			paths = append(paths, m.pages[0]+"/frame")
		}
	}
	got := h.show(p, false, paths)
	for _, w := range append(got.Wrong, p.Dialogs()...) {
		t.Error(w)
	}
	for _, q := range p.Requests() {
		if q.Method != http.MethodGet {
			t.Errorf("%s %s", q.Method, q.URL)
		}
	}
	t.Logf("%d documents; %d requests went elsewhere, as they may without a policy", got.Frames, len(b.Escapes()))
}

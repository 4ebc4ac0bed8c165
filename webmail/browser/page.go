package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// View is what a page is looked at with.
type View struct {
	Name          string // of screenshots
	Width, Height int
	Touch         bool
	Dark          bool
	NoScript      bool
	Language      string // Accept-Language; "" means "en"
	Zone          string // IANA name; "" means the machine's
}

// Phone is a small one.
func Phone() View { return View{Name: "phone", Width: 360, Height: 780, Touch: true} }

// Desktop is a laptop's window.
func Desktop() View { return View{Name: "desktop", Width: 1440, Height: 900} }

// InDark is the view with the dark theme.
func (v View) InDark() View { v.Dark, v.Name = true, v.Name+"-dark"; return v }

// WithoutScript is the view with JavaScript off.
func (v View) WithoutScript() View { v.NoScript, v.Name = true, v.Name+"-noscript"; return v }

// Views are phone and desktop, light and dark.
func Views() []View {
	return []View{Phone(), Phone().InDark(), Desktop(), Desktop().InDark()}
}

// Request is one line of the network log.
type Request struct {
	Method, URL, Type string
}

// Page is one tab with cookies of its own. Its methods fail the test when something goes wrong.
type Page struct {
	t    testing.TB
	ctx  context.Context
	view View

	mu       sync.Mutex
	requests []Request
	dialogs  []string
	errors   []string
}

// Page opens a tab that ends with the test.
func (b *Browser) Page(t testing.TB, v View) *Page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &Page{t: t, ctx: ctx, view: v}
	p.must(chromedp.Listen(ctx, p.heard), "opening a tab")
	metrics := emulation.SetDeviceMetricsOverrideParams{Width: int64(v.Width), Height: int64(v.Height), DeviceScaleFactor: 1, Mobile: v.Touch}
	_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, metrics)
	p.must(err, "setting the size")
	_, err = chromedp.Call(ctx, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: v.Touch})
	p.must(err, "setting touch")
	p.Media("", v.Dark)
	_, err = chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.NoScript})
	p.must(err, "setting scripts")
	if v.Zone != "" {
		_, err = chromedp.Call(ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: v.Zone})
		p.must(err, "setting the time zone")
	}
	language := v.Language
	if language == "" {
		language = "en"
	}
	_, err = chromedp.Call(ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": language}})
	p.must(err, "setting the language")
	return p
}

// Media sets the medium ("print", "" for the screen) and the theme.
func (p *Page) Media(medium string, dark bool) {
	p.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: medium,
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	p.must(err, "setting the theme")
}

func (p *Page) must(err error, doing string, args ...any) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("browser: %s: %v", fmt.Sprintf(doing, args...), err)
	}
}

// heard keeps what the page does; it runs on the goroutine that reads Chromium's messages.
func (p *Page) heard(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, Request{Method: ev.Request.Method, URL: ev.Request.URL, Type: string(ev.Type)})
	case *page.EventJavascriptDialogOpening:
		p.dialogs = append(p.dialogs, ev.Message)
		go func() { // a command can't be sent from here
			_, _ = chromedp.Call(p.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	case *runtime.EventExceptionThrown:
		p.errors = append(p.errors, fmt.Sprintf("exception: %s %s:%d", exception(ev.ExceptionDetails), ev.ExceptionDetails.URL, ev.ExceptionDetails.LineNumber+1))
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError {
			p.errors = append(p.errors, fmt.Sprintf("%s: %s (%s)", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL))
		}
	}
}

// Requests returns all that the page has asked for so far, data: URIs left out.
func (p *Page) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.requests), func(r Request) bool { return strings.HasPrefix(r.URL, "data:") })
}

// Dialogs returns the texts of the alerts, prompts and questions so far; each was answered with yes.
func (p *Page) Dialogs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.dialogs)
}

// Errors returns what the console has complained of so far: exceptions, requests that failed, breaches of the policy.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.errors)
}

// Forget empties the logs.
func (p *Page) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.dialogs, p.errors = nil, nil, nil
}

// Do runs actions of chromedp on the page.
func (p *Page) Do(doing string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Wait)
	defer cancel()
	p.must(chromedp.Do(ctx, steps...), "%s", doing)
}

// Open goes to an address and waits until the page has loaded.
func (p *Page) Open(url string) {
	p.t.Helper()
	p.Do("opening "+url, chromedp.Navigate(url))
}

// Eval runs JavaScript in the page (also with scripts off, and whatever its policy says) and decodes what it
// gives, awaited, into the value that into points to; nil wants nothing.
func (p *Page) Eval(script string, into any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Wait)
	defer cancel()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](script, chromedp.EvalAwaitPromise))
	p.must(err, "running %.80q", script)
	if into != nil {
		p.must(json.Unmarshal(raw, into), "reading what %.80q gives", script)
	}
}

// Until waits until a JavaScript expression is true.
func (p *Page) Until(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Wait)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if ok {
			return
		}
		if ctx.Err() != nil {
			p.Screenshot("failed")
			p.t.Fatalf("browser: waited in vain for %s (last error %v)", expression, err)
		}
	}
}

// Wait waits until an element is there.
func (p *Page) Wait(css string) {
	p.t.Helper()
	p.Until(fmt.Sprintf("document.querySelector(%q)", css))
}

// Click clicks on the first element of a CSS selector, once it can be seen.
func (p *Page) Click(css string) {
	p.t.Helper()
	p.Do("clicking "+css, chromedp.Click(chromedp.CSS(css)))
}

// ClickThrough clicks on what leads to another page and waits until that has loaded.
func (p *Page) ClickThrough(css string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Wait)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(css)))
	p.must(err, "going through %s", css)
}

// Type types into the first element of a CSS selector.
func (p *Page) Type(css, text string) {
	p.t.Helper()
	p.Do("typing into "+css, chromedp.SendKeys(chromedp.CSS(css), text))
}

// Press presses keys, of the element that has the focus.
func (p *Page) Press(keys string) {
	p.t.Helper()
	p.Do("pressing "+keys, chromedp.KeyEvent(keys))
}

// Upload chooses files in a file field.
func (p *Page) Upload(css string, files ...string) {
	p.t.Helper()
	p.Do("choosing files in "+css, chromedp.SetUploadFiles(chromedp.CSS(css), files))
}

// Text returns the text of the first element of a CSS selector as it is shown, "" if there is none.
func (p *Page) Text(css string) string {
	p.t.Helper()
	var s string
	p.Eval(fmt.Sprintf("(document.querySelector(%q) || {innerText: ''}).innerText", css), &s)
	return s
}

// URL returns the path and query of the address.
func (p *Page) URL() string {
	p.t.Helper()
	var s string
	p.Eval("location.pathname + location.search", &s)
	return s
}

// Screenshot writes <folder>/<name>-<view>.png if RESTANTE_SCREENSHOTS names a folder.
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	dir := os.Getenv("RESTANTE_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, Wait)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	p.must(err, "taking a screenshot")
	p.must(os.MkdirAll(dir, 0o755), "making %s", dir)
	p.must(os.WriteFile(filepath.Join(dir, name+"-"+p.view.Name+".png"), png, 0o644), "writing a screenshot")
}

// exception is what was thrown, in words.
func exception(d *runtime.ExceptionDetails) string {
	if d.Exception != nil && d.Exception.Description != "" {
		return d.Exception.Description
	}
	return d.Text
}

// Cookie sets a cookie for an address.
func (p *Page) Cookie(url, name, value string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, network.SetCookie, network.SetCookieParams{URL: url, Name: name, Value: value})
	p.must(err, "setting a cookie")
}

// Wide is how many pixels wide the page is, with what would have to be scrolled to sideways.
func (p *Page) Wide() int {
	p.t.Helper()
	var n int
	p.Eval("document.documentElement.scrollWidth", &n)
	return n
}

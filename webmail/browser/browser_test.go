package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const sample = `<!doctype html><html lang="en"><head><title>t</title></head><body><main><h1>Hello</h1><p id="p"></p>
<img src="http://outside.test/pixel.gif"><button id="b">Go</button><a id="next" href="/next">next</a></main>
<script>document.getElementById("p").textContent = "script ran"; document.getElementById("b").onclick = () => alert("clicked")</script></body></html>`

func TestPageTellsWhatItDoes(t *testing.T) {
	b := ForTest(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, sample)
	}))
	defer web.Close()

	p := b.Page(t, Phone())
	p.Open(web.URL)
	if got := p.Text("#p"); got != "script ran" {
		t.Errorf("with scripts: %q", got)
	}
	var width int
	if p.Eval("innerWidth", &width); width < 360 {
		t.Errorf("the page is %d wide", width)
	}
	p.Click("#b")
	if got := p.Dialogs(); !slices.Equal(got, []string{"clicked"}) {
		t.Errorf("dialogs: %q", got)
	}
	if !slices.ContainsFunc(p.Requests(), func(r Request) bool { return r.URL == "http://outside.test/pixel.gif" && r.Type == "Image" }) {
		t.Errorf("the image isn't in the log: %v", p.Requests())
	}
	if got := b.Escapes(); len(got) != 1 || !strings.Contains(got[0], "outside.test") {
		t.Errorf("the proxy saw %q, not the image alone", got)
	}
	if !slices.ContainsFunc(p.Axe(), func(v Violation) bool { return v.ID == "image-alt" }) {
		t.Errorf("axe-core doesn't see the image without a text: %v", p.Axe())
	}
	if p.ClickThrough("#next"); p.URL() != "/next" {
		t.Errorf("at %s", p.URL())
	}

	quiet := b.Page(t, Desktop().WithoutScript())
	quiet.Open(web.URL)
	if got := quiet.Text("#p"); got != "" {
		t.Errorf("without scripts: %q", got)
	}
	var dark bool
	night := b.Page(t, Desktop().InDark())
	night.Open(web.URL)
	if night.Eval(`matchMedia("(prefers-color-scheme: dark)").matches`, &dark); !dark {
		t.Error("the dark theme isn't on")
	}
}

package webmail

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	chrome "restante/webmail/browser"
	"restante/webmail/compose"
)

// open starts the rig's server and opens a page as somebody.
func (r *writeRig) open(b *chrome.Browser, v chrome.View, who, path string) *chrome.Page {
	r.t.Helper()
	if r.web == nil {
		r.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if r.away.Load() {
				panic(http.ErrAbortHandler) // as a line that is down
			}
			r.server.ServeHTTP(w, req)
		}))
		r.t.Cleanup(func() { r.server.Close(); r.web.Close() })
	}
	p := b.Page(r.t, v)
	p.Cookie(r.web.URL, "who", who)
	p.Open(r.web.URL + path)
	return p
}

// everyView asks for all sizes and themes and for pictures; otherwise a small and dark and a large and light view stand for them.
func everyView() bool {
	return os.Getenv("RESTANTE_TEST_REQUIRE") == "1" || os.Getenv("RESTANTE_SCREENSHOTS") != ""
}

func TestWritingLooks(t *testing.T) {
	b := chrome.ForTest(t)
	r := newWriteRig(t)
	id := r.received(offer, annaAddress, infoAddress)
	if w := r.fill(maxAddress, writePath(compose.Reply, infoAddress, id), "save", form{"text": {"hello"}}); w.Code != http.StatusSeeOther {
		t.Fatal(w.Code)
	}
	draft := r.fill(annaAddress, writePath(compose.ReplyAll, "me", id), "save", form{"cc": {"Buchhaltung <konto@kunde.example>, kein.At"}, "text": {"Hello,\n\nhere is the offer for Thursday.\n\nKind regards\nAnna\n"}},
		upload{"Offer 2026-11.pdf", "application/pdf", strings.Repeat("x", 214000)}, upload{"a very long name of a picture that was taken by a camera somewhere far away.jpeg", "image/jpeg", strings.Repeat("x", 3200000)})
	for i, v := range chrome.Views() {
		if !everyView() && i != 1 && i != 2 {
			continue
		}
		p := r.open(b, v, annaAddress, "/write")
		for _, page := range []struct {
			name, path, click string
			quick             bool
			why               string
		}{
			{"write-new", "/write", "", false, ""},
			{"write-people", "/write", "m", true, ""},
			{"write-draft", draft.Header().Get("Location"), "", true, ""},
			{"write-forward", writePath(compose.Forward, infoAddress, id), "", false, ""},
			{"write-answering", writePath(compose.Reply, infoAddress, id), "", false, ""},
			{"write-warnings", "/write?to=k@kunde.example&body=see+the+attached+file", ".send", false, ""},
			{"write-problems", "/write?to=kunde,+max@exmaple&subject=x&body=y", ".send", true, ""},
			{"write-closed", "/write", "", false, "smarthost-down"},
			{"settings", "/settings", "", true, ""},
		} {
			if !everyView() && !page.quick {
				continue
			}
			r.setWhy(page.why)
			p.Forget()
			p.Open(r.web.URL + page.path)
			switch page.click {
			case "":
			case ".send":
				p.ClickThrough(".send")
			default:
				p.Type("#to", page.click)
				p.Wait(".offers li")
			}
			p.Screenshot(page.name)
			p.NoViolations(page.name)
			if w := p.Wide(); w > v.Width {
				t.Errorf("%s is %d pixels wide on a screen of %d", page.name, w, v.Width)
			}
			if got := p.Errors(); len(got) > 0 && page.click != ".send" {
				t.Errorf("%s: the console says %v", page.name, got)
			}
		}
	}
	if escapes := b.Escapes(); len(escapes) > 0 {
		t.Errorf("pages asked for %v", escapes)
	}
}

func TestWritingInABrowser(t *testing.T) {
	b := chrome.ForTest(t)
	r := newWriteRig(t)
	file := filepath.Join(t.TempDir(), "offer.txt")
	if err := os.WriteFile(file, []byte("my offer"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := r.open(b, chrome.Desktop(), annaAddress, "/write")
	p.Type("#to", "mei")
	p.Wait(".offers li[aria-selected=true]")
	p.Press(kb.Enter)
	p.Type("#to", "Kunde <k@kunde.example>,nonsense ")
	p.Type("#subject", "Offer")
	p.Type("#text", "Here it is.")
	p.Upload("#file", file)
	p.Until(`document.querySelector("#files a.name")`)
	p.Until(`document.querySelector("#saved").textContent.startsWith("Saved")`)
	if got := p.Text(".pills"); !strings.Contains(got, "Max Meier") || !strings.Contains(got, "Kunde") {
		t.Errorf("pills %q", got)
	}
	path := p.URL()
	if !strings.HasPrefix(path, "/write/0") {
		t.Errorf("after keeping it, the address is %s", path)
	}
	// The browser crashes: another one finds all of it.
	p = r.open(b, chrome.Phone(), annaAddress, path)
	if got := p.Text(".pills"); !strings.Contains(got, "nonsense") || !strings.Contains(p.Text("#files"), "offer.txt") {
		t.Errorf("after a crash: %q %q", got, p.Text("#files"))
	}
	// A wrong address is told, mended, and it goes out.
	p.ClickThrough(".send")
	if got := p.Text("#to-errors"); !strings.Contains(got, "nonsense") {
		t.Errorf("problem %q", got)
	}
	p.Click(".pill.bad .drop")
	p.ClickThrough(".send")
	p.Wait(".toast")
	p.Screenshot("write-sent")
	if len(r.sent) != 1 || strings.Join(r.sent[0].Rcpts, " ") != "max@example.com k@kunde.example" || !strings.Contains(string(r.sent[0].Message), "offer.txt") {
		t.Fatalf("sent %+v", r.sent)
	}
	// And is taken back.
	p.Click(".toast .button")
	p.Wait("#write")
	p.Until(`document.querySelector("#text").value.startsWith("Here it is.")`)
	p.Screenshot("write-undone")
	if len(p.Errors()) > 1 { // the 422 of the wrong address
		t.Errorf("the console says %v", p.Errors())
	}
}

func TestWritingOnABadLine(t *testing.T) {
	r := newWriteRig(t)
	p := r.open(chrome.ForTest(t), chrome.Phone(), annaAddress, "/write")
	r.away.Store(true)
	p.Type("#text", "in the tunnel")
	p.Until(`document.querySelector("#trouble").textContent.includes("no connection")`)
	p.Screenshot("write-offline")
	p.Click(".send") // stays, and loses nothing
	r.away.Store(false)
	p.Until(`document.querySelector("#saved").textContent.startsWith("Saved")`)
	if _, err := r.mail.Draft(t.Context(), annaAddress, writingIn(p.URL())); err != nil {
		t.Errorf("not kept: %v", err)
	}
}

func TestWritingWithoutScript(t *testing.T) {
	b := chrome.ForTest(t)
	r := newWriteRig(t)
	id := r.received(offer, annaAddress)
	file := filepath.Join(t.TempDir(), "offer.txt")
	if err := os.WriteFile(file, []byte("my offer"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range []chrome.View{chrome.Phone().WithoutScript(), chrome.Desktop().WithoutScript()} {
		if !everyView() && !v.Touch {
			continue
		}
		r.sent = nil
		p := r.open(b, v, annaAddress, writePath(compose.Reply, "me", id))
		p.Screenshot("write")
		p.Type("#text", "Here it is.")
		p.Upload("#file", file)
		p.ClickThrough(`button[value="attach"]`)
		if got := p.Text("#files"); !strings.Contains(got, "offer.txt") {
			t.Errorf("files %q", got)
		}
		p.Screenshot("write-attached")
		if w := p.Wide(); w > v.Width {
			t.Errorf("%d pixels wide on a screen of %d", w, v.Width)
		}
		p.ClickThrough(".send")
		p.Screenshot("write-sent")
		if len(r.sent) != 1 || !strings.Contains(string(r.sent[0].Message), "Here it is.") {
			t.Fatalf("sent %v", r.sent)
		}
		p.ClickThrough(".toast .button")
		if got := p.Text("h1"); got != "Reply" {
			t.Errorf("taken back to %q", got)
		}
	}
}

package webmail

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"restante/spool"
)

// stuck is a reader of an answer who takes nothing of its body until it is let go.
type stuck struct {
	*httptest.ResponseRecorder
	began chan<- struct{}
	gone  <-chan struct{}
	told  bool
}

func (w *stuck) Write(p []byte) (int, error) {
	if !w.told {
		w.told = true
		w.began <- struct{}{}
		<-w.gone
	}
	return w.ResponseRecorder.Write(p)
}

// TestSlowDownloads: files that go over a bad line for minutes keep nobody from reading, and come whole although
// taking a message apart has a limit of seconds.
func TestSlowDownloads(t *testing.T) {
	r := newRig(t)
	id := r.deliver(held{from: "x@outside.example", rcpts: []string{"anna@example.test"}, raw: "From: x@outside.example\nSubject: slow\n" +
		"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>hello\n--b\nContent-Disposition: attachment; filename=a.txt\n\n" +
		strings.Repeat(strings.Repeat("a", 99)+"\n", 5000) + "--b--\n"})[0]
	r.server.o.Limits.View = 3 * time.Second
	r.server.downloads.each = 1000
	began, gone := make(chan struct{}), make(chan struct{})
	answers := make(chan *httptest.ResponseRecorder)
	paths := []string{"/part/1.2", "/eml", "/zip", "/frame", ""}
	const many = 10 * parallelViews
	for i := range many {
		go func() {
			w := &stuck{ResponseRecorder: httptest.NewRecorder(), began: began, gone: gone}
			req := httptest.NewRequest(http.MethodGet, "/m/me/message/"+id+paths[i%len(paths)], nil)
			req.AddCookie(&http.Cookie{Name: "who", Value: "anna@example.test"})
			r.server.ServeHTTP(w, req)
			answers <- w.ResponseRecorder
		}()
	}
	for range many {
		select {
		case <-began:
		case w := <-answers:
			t.Fatalf("it is all there before it is taken: %d", w.Code)
		}
	}
	if got := r.client("anna@example.test").get("/m/me/message/" + id); got.status != http.StatusOK {
		t.Errorf("reading beside slow downloads: %d", got.status)
	}
	time.AfterFunc(r.server.o.Limits.View+100*time.Millisecond, func() { close(gone) })
	for range many {
		if w := <-answers; w.Code != http.StatusOK || strings.HasSuffix(w.Header().Get("Content-Disposition"), ".txt") && w.Body.Len() < 500_000 {
			t.Errorf("%d %q came with %d octets", w.Code, w.Header().Get("Content-Disposition"), w.Body.Len())
		}
	}
}

// TestDownloadsAreCounted: each file on its way holds what its message was taken apart into.
func TestDownloadsAreCounted(t *testing.T) {
	r := newRig(t)
	id := r.deliver(held{from: "x@outside.example", rcpts: []string{"anna@example.test"}, raw: "Subject: x\n\nhello\n"})[0]
	began, gone, done := make(chan struct{}), make(chan struct{}), make(chan int)
	ask := func(began chan<- struct{}) int {
		w := &stuck{ResponseRecorder: httptest.NewRecorder(), began: began, gone: gone}
		req := httptest.NewRequest(http.MethodGet, "/m/me/message/"+id+"/eml", nil)
		req.AddCookie(&http.Cookie{Name: "who", Value: "anna@example.test"})
		r.server.ServeHTTP(w, req)
		return w.Code
	}
	most := r.server.o.Limits.Downloads
	for range most {
		go func() { done <- ask(began) }()
		<-began
	}
	more := make(chan struct{}, 1)
	go func() { done <- ask(more) }()
	<-more
	close(gone)
	refused := 0
	for range most + 1 {
		if <-done == http.StatusServiceUnavailable {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d of %d downloads were refused, want 1", refused, most+1)
	}
	if code := ask(more); code != http.StatusOK {
		t.Errorf("after they ended: %d", code)
	}
}

// TestKeepingIsBounded: nobody fills the store with drafts and files, whatever is sent of them.
func TestKeepingIsBounded(t *testing.T) {
	r := newRig(t)
	r.server.o.Limits.Kept = 100_000
	save := func() int {
		return r.form("max@example.test", "/write/"+spool.NewID(), "do", "save", "box", "me", "from", "max@example.test", "text", strings.Repeat("much ", 10_000)).Code
	}
	kept := 0
	for range 10 {
		if save() == http.StatusSeeOther {
			kept++
		}
	}
	if kept == 0 || kept > 2 {
		t.Errorf("%d drafts of 68 KB were kept, at most 100 KB may be", kept)
	}
	r.now = time.Now().Add(time.Hour + time.Minute)
	if code := save(); code != http.StatusSeeOther {
		t.Errorf("an hour later: %d", code)
	}
}

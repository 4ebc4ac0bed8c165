package webmail

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	measures "runtime/metrics"
	"strings"
	"testing"
	"time"

	"restante/relay/trace"
	"restante/spool"
	"restante/webmail/mailbox"
)

// repeated reads a head and then one text over and over.
type repeated struct {
	head, unit string
	size, at   int64
}

func (p *repeated) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) && p.at < p.size {
		from := p.head
		off := p.at
		if off >= int64(len(p.head)) {
			from, off = p.unit, (off-int64(len(p.head)))%int64(len(p.unit))
		}
		c := copy(b[n:min(int64(len(b)), int64(n)+p.size-p.at)], from[off:])
		n, p.at = n+c, p.at+int64(c)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// keep puts a message of any size into anna's inbox.
func (r *rig) keep(message io.Reader) (id string) {
	r.t.Helper()
	ctx := context.Background()
	body := spool.NewBody(r.t.TempDir(), 1<<20)
	_, err := io.Copy(body, message)
	must(r.t, err)
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: time.Now(), From: "x@outside.example", Reason: "down",
		Rcpts: []spool.Recipient{{Address: "anna@example.test", Domain: "example.test"}}}
	e.Summary, err = trace.Summarize(body, body.Size())
	must(r.t, err)
	must(r.t, r.spool.Append(ctx, e, nil, body))
	must(r.t, body.Close())
	box := mailbox.Box{ID: "anna@example.test", Addresses: []string{"anna@example.test"}}
	r.until("the mail is folded", box.ID, func() bool { _, err := r.mail.Item(ctx, box, e.ID); return err == nil })
	return e.ID
}

// heap is what is on the heap now, garbage that wasn't collected yet included.
func heap() int64 {
	sample := []measures.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	measures.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// peak runs f and returns by how much the heap grew at its highest.
func peak(f func()) int64 {
	runtime.GC()
	before, stop, highest := heap(), make(chan struct{}), make(chan int64)
	go func() {
		tick, most := time.NewTicker(2*time.Millisecond), int64(0)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, heap()-before)
			case <-stop:
				highest <- most
				return
			}
		}
	}()
	f()
	close(stop)
	return <-highest
}

// discarded is an answer whose body is only counted.
type discarded struct {
	header http.Header
	code   int
	size   int64
}

func (d *discarded) Header() http.Header { return d.header }
func (d *discarded) WriteHeader(code int) {
	if d.code == 0 {
		d.code = code
	}
}
func (d *discarded) Write(p []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	d.size += int64(len(p))
	return len(p), nil
}

// TestBombsThroughTheServer shows messages made to cost much on every page that takes messages apart. What a page costs
// is bounded, and it is a page: people see what the message is, and can save it.
func TestBombsThroughTheServer(t *testing.T) {
	slow(t)
	r := newRig(t)
	r.log.quiet.Store(true)
	var nested strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	head := "From: a@outside.example\r\nSubject: bomb\r\n"
	pages := []string{"", "?as=text", "/frame", "/print", "/zip", "/part/1", "/part/1.1"}
	for _, bomb := range []struct {
		name    string
		message *repeated
		pages   []string
	}{
		{"nested", &repeated{head: head + nested.String(), unit: "x", size: 8 << 20}, pages},
		{"nested messages", &repeated{head: head + strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 100_000), unit: "x", size: 4 << 20}, pages},
		{"million parts", &repeated{head: head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n", unit: "--b\r\n\r\nx\r\n", size: 10_000_000}, pages},
		{"million attachments", &repeated{head: head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n", unit: "--b\r\nContent-Disposition: attachment; filename=a\r\n\r\nx\r\n", size: 50 << 20}, pages},
		{"million recipients", &repeated{head: head + "To: ", unit: "\"a\" <a@b.example>,\r\n ", size: 20 << 20}, pages},
		{"open tags", &repeated{head: head + "Content-Type: text/html\r\n\r\n", unit: "<div><table><td style='color:red'>", size: 16 << 20}, pages},
		{"gigabyte line", &repeated{head: head + "Content-Type: text/plain\r\n\r\n", unit: strings.Repeat("x", 4096), size: 1 << 30}, []string{""}},
	} {
		id := r.keep(bomb.message)
		paths := []string{"/m/me/inbox", "/m/me/inbox/" + id, "/m/me/search?q=bomb", "/write?mode=reply&box=me&id=" + id}
		for _, p := range bomb.pages {
			paths = append(paths, "/m/me/message/"+id+p)
		}
		for _, path := range paths {
			w := &discarded{header: http.Header{}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
			must(t, err)
			req.AddCookie(&http.Cookie{Name: "who", Value: "anna@example.test"})
			start := time.Now()
			memory := peak(func() { r.server.ServeHTTP(w, req) })
			took := time.Since(start)
			name := strings.Replace(path, id, "…", 1)
			t.Logf("%-20s %-24s %d %9v %4d MB heap, %d octets", bomb.name, name, w.code, took.Round(time.Millisecond), memory>>20, w.size)
			if w.code >= 500 && w.code != http.StatusGatewayTimeout {
				t.Errorf("%s %s answers %d", bomb.name, name, w.code)
			}
			if took > 20*time.Second+r.server.o.Limits.View {
				t.Errorf("%s %s took %v", bomb.name, name, took)
			}
			if memory > 128<<20 {
				t.Errorf("%s %s took %d MB", bomb.name, name, memory>>20)
			}
			if strings.HasPrefix(w.header.Get("Content-Type"), "text/html") && w.size > 4<<20 {
				t.Errorf("%s %s is a page of %d octets", bomb.name, name, w.size)
			}
		}
	}
}

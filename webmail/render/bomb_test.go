package render

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// pattern is a message of any size that takes no memory: a head, then one text over and over.
type pattern struct {
	head, unit string
	size       int64
}

func (p pattern) ReadAt(b []byte, at int64) (int, error) {
	n := 0
	for n < len(b) && at < p.size {
		var c int
		if at < int64(len(p.head)) {
			c = copy(b[n:], p.head[at:])
		} else {
			off := int((at - int64(len(p.head))) % int64(len(p.unit)))
			if off == 0 && len(b)-n > len(p.unit) {
				for len(b)-n >= len(p.unit) && at < p.size {
					c := copy(b[n:], p.unit)
					n, at = n+c, at+int64(c)
				}
				continue
			}
			c = copy(b[n:], p.unit[off:])
		}
		c = int(min(int64(c), p.size-at))
		n, at = n+c, at+int64(c)
	}
	n = int(min(int64(n), int64(len(b))))
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// cost runs f and returns its time, and by how much the heap grew meanwhile at its highest.
func cost(f func()) (time.Duration, int64) {
	heap := func() int64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	before := heap()
	stop, highest := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		tick := time.NewTicker(time.Millisecond)
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
	start := time.Now()
	f()
	took := time.Since(start)
	close(stop)
	return took, <-highest
}

// look does all that a reader of a message does.
func look(t testing.TB, r io.ReaderAt, size int64) *Message {
	t.Helper()
	ctx := context.Background()
	m, err := Parse(ctx, r, size, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Text(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.HTML(ctx, HTMLOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Plain(ctx, m, 1<<20); err != nil {
		t.Fatal(err)
	}
	return m
}

func bombs() map[string]pattern {
	nested := func(n int, inner string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String() + inner
	}
	var letters strings.Builder // a domain of which is slow to bring to its ASCII form
	for r := '\u4e00'; r < '\u9e00'; r++ {
		letters.WriteRune(r)
	}
	domain := strings.Repeat(letters.String(), 4)
	rfc822 := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 100_000)
	guess := strings.Repeat("Content-Type: multipart/mixed; boundary=x\r\n\r\n--y\r\n", 20_000)
	html := "Content-Type: text/html\r\n\r\n"
	return map[string]pattern{
		"million parts":    {"Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\n\r\nx\r\n", 10_000_000},
		"nested":           {nested(100_000, ""), "x", 8 << 20},
		"nested messages":  {rfc822, "x", 4 << 20},
		"gigabyte line":    {"Subject: x\r\nContent-Type: text/plain\r\n\r\n", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 1 << 30},
		"gigabyte in part": {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 1 << 30},
		"gigabyte header":  {"Subject: ", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 1 << 30},
		"folded header":    {"Subject: x\r\n", " y\r\n", 64 << 20},
		"dashes":           {"Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--\r\n", 32 << 20},
		"dashes, 50 deep":  {nested(49, "\r\n"), "--b\r\n--c--\r\n", 4 << 20},
		"guesses":          {guess, "--z\r\nContent-Type: text/plain\r\n\r\n", 8 << 20},
		"encoded words":    {"Subject: ", "=?utf-8?q?", 250 << 10},
		"addresses":        {"To: ", "<<a@b>,(((((\"", 250 << 10},
		"endless domain":   {"From: <a@" + domain + ".test>\r\nTo: <b@" + domain + ".test>\r\n\r\n", "x\r\n", 1 << 20},
		"links to such":    {html + "<p>", "<a href='http://" + letters.String()[:6000] + ".test/'>" + letters.String()[:3000] + ".test</a> ", 4 << 20},
		"open tags":        {html, "<div>", 4 << 20},
		"format tags":      {html, "<b><i><a href=x><font color=red>", 4 << 20},
		"table tags":       {html, "<table><tr><td>x<b>", 4 << 20},
		"attributes":       {html + "<p ", "a=b style='color:red' ", 4 << 20},
		"entities":         {html, "&lt;&nGg;&#x41;", 4 << 20},
		"styles":           {html + "<style>", "a b c d,e{color:red;x:y}@media screen{", 4 << 20},
		"classes":          {html, "<p style='width:1px;color:red;margin:0'>x", 4 << 20},
		"comments":         {html, "<!-- ", 4 << 20},
		"angle brackets":   {html, "<", 4 << 20},
		"quotes":           {"Content-Type: text/plain\r\n\r\n", ">>>>>>>>\n", 4 << 20},
		"links":            {"Content-Type: text/plain\r\n\r\n", "http://a.test/((( a@b.c ", 4 << 20},
		"uuencode":         {"Content-Type: text/plain\r\n\r\n", "begin 644 x\r\nM\r\n", 4 << 20},
		"flowed":           {"Content-Type: text/plain; format=flowed\r\n\r\n", "x \n", 4 << 20},
		"base64":           {"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n", "QUFB\r\n", 64 << 20},
		"soft line breaks": {"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", "=\r\n", 4 << 20},
		"one equals sign":  {"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", "=", 64 << 20},
		"nested base64":    {"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n", "Q29udGVudC1UeXBlOiBtZXNzYWdlL3JmYzgyMgoK", 64 << 20},
		"parameters":       {"Content-Type: text/plain", "; a*0*=utf-8''x; a*1=\"y\"", 250 << 10},
	}
}

// TestBombs bounds what a message made to cost much costs to be read, shown and indexed: 1 s and 64 MB at most. The
// bound on time is wide here, since tests run beside others; what it really takes is logged.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("costs seconds where tests run beside others")
	}
	for name, p := range bombs() {
		t.Run(name, func(t *testing.T) {
			var m *Message
			took, memory := cost(func() { m = look(t, p, p.size) })
			t.Logf("%-18s %v, %d MB of memory, %d parts, %d oddities", name, took.Round(time.Millisecond), memory>>20, len(m.parts), len(m.Odd))
			if len(m.parts) > 1000 {
				t.Errorf("%d parts", len(m.parts))
			}
			if memory > 96<<20 { // what wasn't collected yet counts too
				t.Errorf("took %d MB", memory>>20)
			}
			if took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

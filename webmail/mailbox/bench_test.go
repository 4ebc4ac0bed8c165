package mailbox

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/spool"
)

const (
	benchMessages = 100_000
	benchBoxes    = 100
)

// benchStore holds 100,000 messages with full text: half of them in one box, the others in 100.
var benchStore = sync.OnceValues(func() (string, *fakeSpool) {
	f := &fakeSpool{raw: map[string]string{}}
	return "", f
})

type benched struct {
	s    *Store
	f    *fakeSpool
	took time.Duration // folding
	text time.Duration
}

// vocabulary is words whose frequency falls as that of real words does.
func vocabulary() func(r *rand.Rand) string {
	words := make([]string, 20000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range words {
		n := 3 + r.IntN(8)
		b := make([]byte, n)
		for j := range b {
			b[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(b)
	}
	return func(r *rand.Rand) string {
		z := rand.NewZipf(r, 1.1, 2, uint64(len(words)-1))
		return words[z.Uint64()]
	}
}

func fill(tb testing.TB, messages int, text bool) *benched {
	tb.Helper()
	_, f := benchStore()
	b := &benched{f: f, s: openStore(tb, filepath.Join(tb.TempDir(), "webmail.db"), f, func(o *Options) { o.Limits.Share = 1 })}
	m := newMaker()
	r := rand.New(rand.NewPCG(3, 4))
	word := vocabulary()
	var es []*spool.Entry
	start := time.Now()
	for i := range messages {
		rcpt := "big@a.test"
		if i%2 == 0 {
			rcpt = fmt.Sprintf("u%d@a.test", i/2%benchBoxes)
		}
		e := m.held(0, fmt.Sprintf("s%d@x.test", r.IntN(5000)), "About "+word(r)+" "+word(r), rcpt)
		if i%3 == 0 && len(es) > 0 {
			e.Summary.Refs = es[len(es)-1].Summary.MessageID
		}
		es = append(es, e)
		if text {
			var body strings.Builder
			for range 60 {
				body.WriteString(word(r))
				body.WriteByte(' ')
			}
			f.raw[e.ID] = "Subject: x\r\n\r\nhello everybody " + body.String()
		}
		if len(es) == 500 {
			apply(tb, b.s, m.mail(es...))
			es = es[:0]
		}
	}
	b.took = time.Since(start)
	if text {
		start = time.Now()
		for {
			n, err := b.s.readTexts(tb.Context())
			if err != nil {
				tb.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		b.text = time.Since(start)
	}
	return b
}

// BenchmarkWebmail measures what a page costs with 100,000 messages in the spool.
func BenchmarkWebmail(b *testing.B) {
	st := fill(b, benchMessages, true)
	defer closeStore(b, st.s)
	b.Logf("folding took %s, %.0f a second; full text %s, %.0f a second", st.took, benchMessages/st.took.Seconds(), st.text, benchMessages/st.text.Seconds())
	small, big := own("u7@a.test"), own("big@a.test")
	for name, box := range map[string]Box{"box of 500": small, "box of 50000": big} {
		b.Run("first inbox page, "+name, func(b *testing.B) {
			for b.Loop() {
				st.s.views.clear()
				mustList(b, st.s, Query{Box: box, Folder: Inbox})
			}
		})
		b.Run("inbox page, "+name, func(b *testing.B) {
			for b.Loop() {
				mustList(b, st.s, Query{Box: box, Folder: Inbox})
				if _, err := st.s.Counts(b.Context(), box); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, q := range []string{"hello", "about", "abc", `"hello everybody"`, "from:s17@x.test", "has:attachment", "hello -about zzz"} {
			b.Run("search "+q+", "+name, func(b *testing.B) {
				for b.Loop() {
					sr, err := ParseSearch(q, nil)
					if err != nil {
						b.Fatal(err)
					}
					mustList(b, st.s, Query{Box: box, Search: sr})
				}
			})
		}
	}
}

// BenchmarkFold measures the first fold alone.
func BenchmarkFold(b *testing.B) {
	for b.Loop() {
		st := fill(b, 20_000, false)
		b.ReportMetric(20_000/st.took.Seconds(), "messages/s")
		closeStore(b, st.s)
	}
}

package rcpt

import (
	"context"
	"runtime"
	"testing"
	"time"

	"restante/relay/mailaddr"
)

// BenchmarkCheck looks up recipients of a domain with 200,000: one that exists, one with a tag, and one that nobody knows.
func BenchmarkCheck(b *testing.B) {
	d, err := New(Options{Domains: []Domain{{Name: dom, SubAddress: "+", Sources: []string{SourceFile}, CallAhead: true}}})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := d.Replace(context.Background(), dom, SourceFile, people(many(200_000)...), "bench", ReplaceOptions{}); err != nil {
		b.Fatal(err)
	}
	for name, local := range map[string]string{"exists": "user123456", "tag": "user123456+lists", "unknown": "nobody"} {
		a := mailaddr.Address{Local: local, Domain: dom}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d.Check(b.Context(), a)
			}
		})
	}
}

// TestLarge measures a list of 200,000: what it takes to read it, to take it in, to start with it, and to hold it.
func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("it folds 200,000 addresses")
	}
	l := newLedger()
	o := Options{Domains: []Domain{{Name: dom, Sources: []string{SourceFile}}}}
	n := newNode(t, l, o)
	list := many(200_000)
	begun := time.Now()
	n.replace(SourceFile, list...)
	took := time.Since(begun)
	begun = time.Now()
	n.replace(SourceFile, list...)
	same := time.Since(begun)
	begun = time.Now()
	n.fold(len(l.events))
	folded := time.Since(begun)
	if events := len(l.events); events != 201 {
		t.Errorf("%d events", events)
	}
	n.Directory, list = nil, nil
	before := heap()
	begun = time.Now()
	n.open(o)
	started := time.Since(begun)
	octets := heap() - before
	t.Logf("taken in in %v, the same again %v, folded in %v; a start reads it in %v and holds it in %d KiB", took, same, folded, started, octets>>10)
	if octets > 30<<20 || started+took > time.Minute { // the time is for machines that do much else
		t.Errorf("that is too much")
	}
	n.is("exists take", "user199999@example.com")
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

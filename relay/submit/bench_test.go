package submit

import (
	"fmt"
	"testing"

	"restante/relay/sink"
	"restante/spool"
	"restante/spool/blob/local"
)

// BenchmarkSubmit is one person's wait for "sent": checked, looked up, signed twice, three entries durable on this disk, with
// so many messages in the spool already.
func BenchmarkSubmit(b *testing.B) {
	for _, before := range []int{0, 10_000} {
		b.Run(fmt.Sprint(before), func(b *testing.B) {
			r := newRig(b, sink.Options{}, func(o *Options) { o.Config.Limits = Limits{Messages: 1e9, Recipients: 1e9} })
			r.close()
			store, err := local.Open(b.TempDir(), local.Options{})
			if err != nil {
				b.Fatal(err)
			}
			r.store = store
			r.dir = b.TempDir()
			r.open()
			if _, err := r.service.GenerateKey(b.Context(), hosted, "s1", "bench"); err != nil {
				b.Fatal(err)
			}
			r.holdMany(before)
			r.sync()
			for b.Loop() {
				m := r.submission("kunde@example.org", "bob@example.test")
				if _, err := r.service.Submit(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMay is asked for every page on which one can write.
func BenchmarkMay(b *testing.B) {
	r := newRig(b, sink.Options{})
	r.run()
	r.eventually("smarthost up", func() bool { ok, _ := r.service.May(b.Context(), anna, anna); return ok })
	for b.Loop() {
		if ok, why := r.service.May(b.Context(), anna, anna); !ok {
			b.Fatal(why)
		}
	}
}

// BenchmarkDeliver hands prepared messages over to the smarthost over TLS, one recipient each.
func BenchmarkDeliver(b *testing.B) {
	r := newRig(b, sink.Options{}, func(o *Options) { o.Config.Limits = Limits{Messages: 1e9, Recipients: 1e9} })
	const n = 300
	for range n {
		m := r.submission("kunde@example.org")
		m.Writing = spool.NewID()
		if _, err := r.service.Submit(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
	r.sync()
	b.ResetTimer()
	r.run()
	r.eventually("all delivered", func() bool { return len(r.host.Messages()) == n })
	b.ReportMetric(n/b.Elapsed().Seconds(), "messages/s")
}

// holdMany keeps n messages from outside, many at a time.
func (r *rig) holdMany(n int) {
	slots := make(chan struct{}, 200)
	for range n {
		slots <- struct{}{}
		go func() { r.hold(); <-slots }()
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
}

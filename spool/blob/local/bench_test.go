package local

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"restante/spool/blob"
)

// BenchmarkPut is the hot path: one batch, by one stream and by four.
func BenchmarkPut(b *testing.B) {
	for _, kb := range []int{4, 64, 200} {
		for _, streams := range []int{1, 4} {
			b.Run(fmt.Sprintf("%dKB/streams=%d", kb, streams), func(b *testing.B) {
				s, err := Open(b.TempDir(), Options{})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				data := make([]byte, kb<<10)
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				var lanes atomic.Int64
				b.SetParallelism(max(1, streams/2)) // times GOMAXPROCS, which is 2 where this was measured
				put := func(lane int64, n int) {
					key := fmt.Sprintf("mail/node-%d/%03x/%016x.tar.zst", lane, n>>12, n)
					if _, err := s.Put(b.Context(), key, bytes.NewReader(data), blob.Cond{Absent: true}); err != nil {
						b.Error(err)
					}
				}
				if streams == 1 {
					for n := 0; b.Loop(); n++ {
						put(0, n)
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					lane := lanes.Add(1)
					for n := 0; pb.Next(); n++ {
						put(lane, n)
					}
				})
			})
		}
	}
}

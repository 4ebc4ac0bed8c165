package spool

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"restante/spool/blob/local"
)

// BenchmarkAppend keeps messages of 4 KB on the local disk, from 1 and from 50 sessions. The messages/s are to be
// read with the fsyncs/s of the disk in mind: see BenchmarkFsync.
func BenchmarkAppend(b *testing.B) {
	for _, sessions := range []int{1, 2, 10, 50} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			store, err := local.Open(b.TempDir(), local.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			s, err := Open(b.Context(), Options{Store: store, DataDir: b.TempDir(), Limits: Limits{MinFree: -1}})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close(b.Context())
			text := sampleMessage(4096)
			b.SetBytes(int64(len(text)))
			var left atomic.Int64
			left.Store(int64(b.N))
			start := time.Now()
			b.ResetTimer()
			done := make(chan error, sessions)
			for range sessions {
				go func() { done <- appendMany(b, s, text, &left) }()
			}
			for range sessions {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "messages/s")
			_, pos, _ := s.mail.lanes[0].position()
			b.ReportMetric(float64(b.N)/float64(pos.Seq), "messages/batch")
		})
	}
}

func appendMany(b *testing.B, s *Spool, text []byte, left *atomic.Int64) error {
	trace := []byte("Received: from client.example.net (client.example.net [192.0.2.1])\r\n\tby mx2.example.org (Restante) with ESMTP id 01JD;\r\n\tSat, 21 Nov 2026 18:00:00 +0000\r\n")
	for left.Add(-1) >= 0 {
		done := s.Expect()
		body := NewBody("", 1<<20)
		if _, err := body.Write(text); err != nil {
			return err
		}
		err := s.Append(b.Context(), sampleEntry(), trace, body)
		done()
		if err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkFsync is what one session alone can't beat: a file and its folder, each synced.
func BenchmarkFsync(b *testing.B) {
	store, err := local.Open(b.TempDir(), local.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	text := sampleMessage(2048)
	for i := 0; b.Loop(); i++ {
		if _, err := store.Put(b.Context(), fmt.Sprintf("a/%d", i), bytes.NewReader(text), absent); err != nil {
			b.Fatal(err)
		}
	}
}

// sampleMessage is text that compresses about as mail does.
func sampleMessage(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	b.WriteString("From: Alice <alice@example.net>\r\nTo: Bob <bob@example.com>\r\nSubject: hello\r\nMessage-ID: <1@example.net>\r\n\r\n")
	for b.Len() < size {
		for range 10 {
			n := 2 + r.IntN(8)
			for range n {
				b.WriteByte(byte('a' + r.IntN(26)))
			}
			b.WriteByte(' ')
		}
		b.WriteString("\r\n")
	}
	return b.Bytes()[:size]
}

func sampleEntry() *Entry {
	return &Entry{ID: NewID(), Kind: Held, Received: time.Now().UTC(), From: "alice@example.net",
		Rcpts:   []Recipient{{Address: "bob@example.com", Domain: "example.com"}},
		Params:  Params{Body: "8BITMIME"},
		Client:  Client{Addr: "192.0.2.1", Port: 12345, Name: "client.example.net", Helo: "client.example.net", Protocol: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"},
		Reason:  "primary is down",
		Summary: Summary{From: "Alice <alice@example.net>", To: "Bob <bob@example.com>", Subject: "hello", MessageID: "<1@example.net>"}}
}

// BenchmarkSettle is what replay pays for each delivery: a line in the journal, and its share of a batch of the ledger.
func BenchmarkSettle(b *testing.B) {
	store, err := local.Open(b.TempDir(), local.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	s, err := Open(b.Context(), Options{Store: store, DataDir: b.TempDir(), Limits: Limits{MinFree: -1}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Settle(Event{Type: Delivered, By: "replay", Entry: NewID(), Reply: "250 2.0.0 Ok: queued as 4F2B1", Host: "mail.example.com[192.0.2.9]:25", Generation: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

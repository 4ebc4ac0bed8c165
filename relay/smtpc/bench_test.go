package smtpc

import (
	"bytes"
	"io"
	"testing"

	"restante/relay/sink"
)

// BenchmarkRun is one connection to a sink in the same process: messages of 4 KB, over BDAT and over DATA.
func BenchmarkRun(b *testing.B) {
	body := bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789ab\r\n"), 4096/74)
	for name, chunking := range map[string]bool{"bdat": true, "data": false} {
		b.Run(name, func(b *testing.B) {
			o := sink.DefaultOffers()
			o.StartTLS, o.Chunking = false, chunking
			s := sink.New(sink.Options{Offers: o})
			if err := s.Start(); err != nil {
				b.Fatal(err)
			}
			defer s.Stop()
			c, err := (&Dialer{Hostname: "mx2.test"}).Dial(b.Context(), target(s.Addr()))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			t := &Transaction{Mail: Mail{From: "a@b.test"}, Rcpts: []Rcpt{{Address: "c@d.test"}}, Size: int64(len(body)),
				Body: func() (io.Reader, error) { return bytes.NewReader(body), nil }}
			n := 0
			err = c.Run(b.Context(), func() *Transaction {
				if n++; n > b.N {
					return nil
				}
				return t
			}, nil, func(_ *Transaction, r *Result) error { return r.Err })
			if err != nil || s.Stats().Messages != int64(b.N) {
				b.Fatal(err, s.Stats())
			}
		})
	}
}

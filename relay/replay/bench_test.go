package replay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool/blob/local"
)

// benchmarkDrain keeps messages of 4 KB in a spool on disk and measures how long they take to the
// primary. through, if not nil, stands between.
func benchmarkDrain(b *testing.B, messages int, limits Config, through func(net.Conn) net.Conn) {
	var done atomic.Int64
	finished := make(chan struct{}, 1)
	r := newRig(b, sink.Options{Deliver: func(*sink.Envelope, []byte) error {
		if done.Add(1) == int64(messages) {
			finished <- struct{}{}
		}
		return nil
	}})
	store, err := local.Open(filepath.Join(r.dir, "store"), local.Options{})
	if err != nil {
		b.Fatal(err)
	}
	r.store = store
	r.stop = append(r.stop, func() { _ = store.Close() })
	r.options.Config = limits
	if through != nil {
		r.health.dialer.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return through(c), nil
		}
	}
	r.open()
	line := "All work and no play makes Jack a dull boy, and this line is of text. 0123456789\r\n"
	body := "Subject: bench\r\n\r\n" + strings.Repeat(line, 4096/len(line))
	b.SetBytes(int64(len(body)))
	total := 0
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		done.Store(0)
		var wg sync.WaitGroup
		slots := make(chan struct{}, 100)
		for i := range messages {
			slots <- struct{}{}
			wg.Go(func() {
				r.keep("sender@elsewhere.test", body, fmt.Sprintf("user%d@%s", i, testDomain))
				<-slots
			})
		}
		wg.Wait()
		total += messages
		r.folded(total)
		b.StartTimer()
		began := time.Now()
		stop := r.run()
		<-finished
		took += time.Since(began)
		b.StopTimer()
		stop()
		r.delivered(total)
		b.StartTimer()
	}
	b.ReportMetric(float64(total)/took.Seconds(), "messages/s")
	b.Logf("connections %d at most, %d opened", r.sink.Stats().MaxCurrent, r.sink.Stats().Connections)
}

func BenchmarkDrain(b *testing.B) { benchmarkDrain(b, 5000, Config{}, nil) }

// BenchmarkDrainFiftyMilliseconds is across a round trip of 50 ms with 20 connections.
func BenchmarkDrainFiftyMilliseconds(b *testing.B) {
	benchmarkDrain(b, 3000, Config{Connections: 20}, func(c net.Conn) net.Conn { return newDelayed(c, 25*time.Millisecond) })
}

// delayed is a connection on which octets take a while each way, in order, as many at once as there are.
type delayed struct {
	net.Conn
	delay time.Duration
	out   chan packet
	r     *io.PipeReader
}

type packet struct {
	at time.Time
	b  []byte
}

func newDelayed(c net.Conn, delay time.Duration) net.Conn {
	r, w := io.Pipe()
	d := &delayed{Conn: c, delay: delay, out: make(chan packet, 4096), r: r}
	in := make(chan packet, 4096)
	go func() {
		for p := range d.out {
			time.Sleep(time.Until(p.at))
			if _, err := c.Write(p.b); err != nil {
				return
			}
		}
	}()
	go func() {
		defer close(in)
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if n > 0 {
				in <- packet{time.Now().Add(delay), bytes.Clone(buf[:n])}
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		for p := range in {
			time.Sleep(time.Until(p.at))
			if _, err := w.Write(p.b); err != nil {
				return
			}
		}
		w.Close()
	}()
	return d
}

func (d *delayed) Read(b []byte) (int, error) { return d.r.Read(b) }
func (d *delayed) Write(b []byte) (int, error) {
	d.out <- packet{time.Now().Add(d.delay), bytes.Clone(b)}
	return len(b), nil
}
func (d *delayed) Close() error                     { d.r.Close(); return d.Conn.Close() }
func (d *delayed) SetDeadline(time.Time) error      { return nil }
func (d *delayed) SetReadDeadline(time.Time) error  { return nil }
func (d *delayed) SetWriteDeadline(time.Time) error { return nil }

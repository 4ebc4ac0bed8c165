package index

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"restante/spool"
)

// maker makes a spool's worth of steps, as a sender of 4 KB messages would.
type maker struct {
	seq  map[spool.StreamID]uint64
	n    uint64
	base time.Time
}

func newMaker() *maker {
	return &maker{seq: map[spool.StreamID]uint64{}, base: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)}
}

// id returns the n-th id, a fifth of a millisecond after the one before.
func (m *maker) id() (string, time.Time) {
	m.n++
	at := m.base.Add(time.Duration(m.n) * 200 * time.Microsecond)
	var k key
	if err := k.SetTime(uint64(at.UnixMilli())); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint64(k[8:], m.n)
	return k.String(), at
}

func (m *maker) step(id spool.StreamID) spool.Step {
	m.seq[id]++
	return spool.Step{Stream: id, Position: spool.Position{Seq: m.seq[id], Hash: strings.Repeat("ab", 32)}, Cluster: "c"}
}

func (m *maker) mail(n int) spool.Step {
	s := m.step(spool.StreamID{Name: "n1-01J"})
	for i := range n {
		id, at := m.id()
		e := &spool.Entry{ID: id, Kind: spool.Held, Received: at, From: fmt.Sprintf("sender%d@somewhere.example", m.n%1000),
			Rcpts:     []spool.Recipient{{Address: fmt.Sprintf("user%d@example.test", m.n%500), Domain: "example.test"}},
			Client:    spool.Client{Addr: "192.0.2.17", Port: 40001, Helo: "mail.somewhere.example", Protocol: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"},
			TraceSize: 240, Size: 4336, SHA256: strings.Repeat("0123456789abcdef", 4), Reason: "the primary is down",
			Summary: spool.Summary{From: "Some One <someone@somewhere.example>", To: "user@example.test", Subject: "Message " + strconv.Itoa(i), Date: "Sat, 21 Nov 2026 10:00:00 +0000", MessageID: "<" + id + "@somewhere.example>"}}
		s.Entries = append(s.Entries, spool.Located{Entry: e, Location: spool.Location{Stream: "n1-01J", Seq: m.seq[s.Stream] - 1, Offset: int64(i) * 2000, Length: 1900}})
	}
	return s
}

func (m *maker) delivered(mail spool.Step) spool.Step {
	s := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	for _, l := range mail.Entries {
		id, at := m.id()
		s.Events = append(s.Events, spool.Event{ID: id, Time: at, Type: spool.Delivered, By: "replay", Entry: l.Entry.ID,
			Reply: "250 2.0.0 Ok: queued as 4XyZ0123456", Host: "mail.example.test[192.0.2.25]:25", Generation: 3})
	}
	return s
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rss() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
			return strings.TrimSpace(line)
		}
	}
	return "unknown"
}

// TestMillion folds a spool of RESTANTE_INDEX_PAIRS pairs (default 20,000, so that it takes a second)
// and prints what that costs; the README's figures are of 1,000,000.
func TestMillion(t *testing.T) {
	total := 20000
	if s := os.Getenv("RESTANTE_INDEX_PAIRS"); s != "" {
		var err error
		if total, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "index.db")
	x, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	m := newMaker()
	open := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	id, at := m.id()
	open.Events = []spool.Event{{ID: id, Time: at, Type: spool.OutageOpened, Domain: "example.test", Outage: "2026-11-21-example.test", Reason: "no banner"}}
	apply := func(steps ...spool.Step) {
		t.Helper()
		if err := x.Apply(ctx, steps); err != nil {
			t.Fatal(err)
		}
	}
	apply(open)
	const perBatch, perTx = 50, 20
	var wall, spent time.Duration
	first := m.mail(perBatch)
	apply(first)
	var mails []spool.Step
	for done := perBatch; done < total; {
		var steps []spool.Step
		for range perTx {
			s := m.mail(perBatch)
			steps = append(steps, s)
			done += perBatch
		}
		if len(mails) < 200 {
			mails = append(mails, steps...)
		}
		w, c := time.Now(), cpu()
		apply(steps...)
		wall += time.Since(w)
		spent += cpu() - c
	}
	t.Logf("entries: %d pairs, %.0f pairs/s, %.1f us CPU a pair, %s", total, float64(total)/wall.Seconds(), float64(spent.Microseconds())/float64(total), rss())

	w := time.Now()
	sum, err := x.Summary(ctx, "example.test")
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(w)
	w = time.Now()
	for range 20 {
		if _, err := x.Summary(ctx, "example.test"); err != nil {
			t.Fatal(err)
		}
	}
	often := time.Since(w) / 20
	if sum.Counts.Pending != int64(total/perBatch*perBatch) && total%1000 == 0 && sum.Counts.Pending < int64(total) {
		t.Errorf("pending %d", sum.Counts.Pending)
	}
	w = time.Now()
	page, next, err := x.Pending(ctx, "example.test", "", 500)
	if err != nil || len(page) != 500 {
		t.Fatal(len(page), err)
	}
	t.Logf("Summary %v the first time, then %v; first page of 500 pending %v", took, often, time.Since(w))
	w = time.Now()
	for range 10 {
		if page, next, err = x.Pending(ctx, "example.test", next, 500); err != nil || len(page) != 500 {
			t.Fatal(len(page), err)
		}
	}
	t.Logf("further page of 500 %v", time.Since(w)/10)

	wall, spent = 0, 0
	n := 0
	for i := 0; i < len(mails); i += perTx {
		var steps []spool.Step
		for _, s := range mails[i:min(i+perTx, len(mails))] {
			steps = append(steps, m.delivered(s))
			n += len(s.Entries)
		}
		w, c := time.Now(), cpu()
		apply(steps...)
		wall += time.Since(w)
		spent += cpu() - c
	}
	t.Logf("delivered: %d events, %.0f events/s, %.1f us CPU an event, %s", n, float64(n)/wall.Seconds(), float64(spent.Microseconds())/float64(n), rss())
	if fi, err := os.Stat(path); err == nil {
		t.Logf("%d octets of index a pair", fi.Size()/int64(total))
	}
	o, err := x.Outage(ctx, "2026-11-21-example.test")
	if err != nil || o.Counts.Delivered != int64(n) {
		t.Fatalf("%+v %v", o, err)
	}
	for _, times := range []string{"first", "second"} {
		w = time.Now()
		r, err := x.Tally(ctx, o.ID)
		if err != nil || r.Counts != o.Counts || r.Unaccounted != 0 || len(r.Chain) != 0 {
			t.Fatalf("%+v %v", r, err)
		}
		t.Logf("%s tally %v, %s", times, time.Since(w), rss())
	}
	w = time.Now()
	n = 0
	for f := (Filter{Outage: o.ID, Limit: 1000}); ; {
		page, next, err := x.List(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		if n += len(page); next == "" {
			break
		}
		f.After = next
	}
	t.Logf("all %d pairs listed in %v, %s", n, time.Since(w), rss())
}

package load

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"restante/relay/sink"
)

func TestCheckTellsAlteredMessages(t *testing.T) {
	m := Message("run", 7, 4096)
	if len(m) < 4000 || len(m) > 4300 {
		t.Errorf("size is %d", len(m))
	}
	lf := append([]byte("Received: by us\n"), bytes.ReplaceAll(m, []byte("\r\n"), []byte("\n"))...)
	for name, message := range map[string][]byte{"crlf": m, "lf behind trace": lf} {
		if run, n, err := Check(message); err != nil || run != "run" || n != 7 {
			t.Errorf("%s: %s %d %v", name, run, n, err)
		}
	}
	m[len(m)-10] ^= 1
	if _, _, err := Check(m); err == nil {
		t.Error("an altered message passes")
	}
}

// Every message arrives exactly as made although the server refuses, defers and drops, and the counts tell.
func TestSendRetriesAsAnMTA(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		var mu sync.Mutex
		got := map[int]int{}
		s := sink.New(sink.Options{
			Faults: sink.Faults{Rules: []sink.Rule{
				{Stage: sink.StageRcpt, Reply: "450 4.2.0 later", Count: 3},
				{Stage: sink.StageDot, Drop: sink.DropAfter, Count: 2},
				{Stage: sink.StageDot, Reply: "550 5.7.1 never", Count: 1},
			}},
			Deliver: func(_ *sink.Envelope, data []byte) error {
				_, n, err := Check(data)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got[n]++
				return nil
			},
		})
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		sent := Send(ctx, SendOptions{Addr: s.Addr(), Run: "r", Messages: 50, Size: 2000, Sessions: 4, Reuse: reuse, Retry: 10 * time.Millisecond})
		cancel()
		s.Stop()
		if sent.Accepted != 49 || sent.Refused != 1 || sent.Deferred != 3 || sent.Unanswered != 2 || sent.GaveUp != 0 {
			t.Errorf("reuse %v: %v, gave up %d", reuse, sent, sent.GaveUp)
		}
		twice := 0
		for _, n := range got {
			twice += n - 1
		}
		if len(got) < 49 || twice > 2 {
			t.Errorf("reuse %v: %d messages arrived, %d twice", reuse, len(got), twice)
		}
	}
}

func TestLinkDelaysAndBreaks(t *testing.T) {
	s := sink.New(sink.Options{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	k := &Link{To: s.Addr(), Delay: 25 * time.Millisecond}
	served := make(chan error)
	go func() { served <- k.Serve(ctx, l) }()
	sent := Send(ctx, SendOptions{Addr: l.Addr().String(), Messages: 4, Size: 1000, Sessions: 1, Reuse: true})
	// The handshake, banner and EHLO cross it, then two round trips a message.
	if want := 10 * 50 * time.Millisecond; sent.Accepted != 4 || sent.Elapsed < want {
		t.Errorf("%v, want at least %v", sent, want)
	}
	k.Break()
	if sent := Send(ctx, SendOptions{Addr: l.Addr().String(), Messages: 1, Size: 1000, Sessions: 1}); sent.Unreached != 1 || sent.GaveUp != 1 {
		t.Errorf("broken: %v", sent)
	}
	k.Mend()
	if sent := Send(ctx, SendOptions{Addr: l.Addr().String(), Messages: 1, Size: 1000, Sessions: 1}); sent.Accepted != 1 {
		t.Errorf("mended: %v", sent)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

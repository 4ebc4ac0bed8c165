package postfix

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"restante/spool/need"
)

// A sender relays to a primary, which is killed and started again: what the launcher is for.
func TestSenderToPrimary(t *testing.T) {
	t.Parallel()
	need.This(t, Missing())
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	addr := need.Addr(t)
	start := func(o Options) *Instance {
		t.Helper()
		i, err := Start(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := i.Remove(); err != nil {
				t.Error(err)
			}
		})
		return i
	}
	primary := start(Options{Listen: addr, Maildirs: []string{"example.test"}})
	host, port, _ := net.SplitHostPort(addr)
	sender := start(Options{Next: "[" + host + "]:" + port})
	if err := primary.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := primary.Start(ctx); err != nil {
		t.Fatal(err)
	}
	message := []byte("Subject: hello\n\nbody\n")
	if err := sender.Sendmail(ctx, "a@sender.test", []string{"b@example.test"}, message); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := primary.Delivered()
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not delivered\nsender: %s\nprimary: %s", sender.tail(), primary.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
	err := primary.Maildir(func(name string, b []byte) error {
		if !bytes.HasSuffix(b, []byte("body\n")) || !bytes.Contains(b, []byte("Delivered-To: b@example.test")) {
			t.Errorf("%s: %q", name, b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := sender.Queued(); err != nil || n != 0 {
		t.Errorf("sender still has %d queued, %v", n, err)
	}
}

package replay

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool"
)

// deafSpool can't read the ledger to its end for a while.
type deafSpool struct {
	Spool
	mu    sync.Mutex
	deaf  bool
	syncs int
}

func (d *deafSpool) Sync(ctx context.Context) error {
	d.mu.Lock()
	deaf := d.deaf
	d.syncs++
	d.mu.Unlock()
	if deaf {
		return errors.New("a batch can't be read")
	}
	return d.Spool.Sync(ctx)
}

// write keeps a message that was written here, with its time.
func (r *rig) write(notBefore time.Time) string {
	r.t.Helper()
	body := spool.NewBody("", 1<<20)
	defer body.Close()
	if _, err := body.Write([]byte("Subject: written\r\n\r\nhello\r\n")); err != nil {
		r.t.Fatal(err)
	}
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Local, Received: time.Now().UTC(), From: "a@" + testDomain, NotBefore: notBefore,
		Rcpts: []spool.Recipient{{Address: "b@" + testDomain, Domain: testDomain}}, Mailbox: "a@" + testDomain, Writing: spool.NewID()}
	if err := r.spool.Append(r.t.Context(), e, nil, body); err != nil {
		r.t.Fatal(err)
	}
	return e.ID
}

// What was written waits for its time and, when the ledger can't be read to its end, for that; held mail doesn't wait for
// it. What was taken back meanwhile isn't sent.
func TestNotBefore(t *testing.T) {
	r := newRig(t, sink.Options{Keep: true}).open()
	deaf := &deafSpool{Spool: r.options.Spool, deaf: true}
	r.options.Spool = deaf
	notBefore := time.Now().Add(300 * time.Millisecond)
	back, kept := r.write(notBefore), r.write(notBefore)
	held := r.keep("sender@elsewhere.test", "Subject: x\r\n\r\nhello\r\n", "c@"+testDomain)
	r.run()
	r.until("held mail is delivered", func() bool { return r.state(held) == spool.StateDelivered })
	r.until("the ledger was asked for", func() bool {
		deaf.mu.Lock()
		defer deaf.mu.Unlock()
		return deaf.syncs > 0
	})
	if err := r.spool.Record(t.Context(), spool.Event{Type: spool.Removed, By: "a", Entry: back}); err != nil {
		t.Fatal(err)
	}
	if r.state(kept) != spool.StatePending {
		t.Error("it was sent though the ledger couldn't be read")
	}
	deaf.mu.Lock()
	deaf.deaf = false
	deaf.mu.Unlock()
	r.until("the other is delivered", func() bool { return r.state(kept) == spool.StateDelivered })
	if n := len(r.sink.Messages()); n != 2 || r.state(back) != spool.StateRemoved {
		t.Errorf("%d messages, %s", n, r.state(back))
	}
	for _, m := range r.sink.Messages() {
		if m.Received.Before(notBefore) && m.From == "a@"+testDomain {
			t.Error("it was sent before its time")
		}
	}
}

// An entry that Hold keeps back waits; `replay run` passes over it too.
func TestHold(t *testing.T) {
	r := newRig(t, sink.Options{Keep: true}).open()
	var mu sync.Mutex
	hold := true
	r.options.Hold = func(e *spool.Entry) time.Time {
		mu.Lock()
		defer mu.Unlock()
		if hold && e.Mailbox != "" {
			return time.Now().Add(100 * time.Millisecond)
		}
		return time.Time{}
	}
	id := r.write(time.Time{})
	held := r.keep("sender@elsewhere.test", "Subject: x\r\n\r\nhello\r\n", "c@"+testDomain)
	r.run()
	r.until("held mail is delivered", func() bool { return r.state(held) == spool.StateDelivered })
	sum, err := r.engine.RunOnce(t.Context(), Selection{Domain: testDomain}, nil)
	if err != nil || sum.Delivered != 0 || sum.Skipped == 0 || r.state(id) != spool.StatePending {
		t.Errorf("%+v %v %s", sum, err, r.state(id))
	}
	mu.Lock()
	hold = false
	mu.Unlock()
	r.until("it is delivered", func() bool { return r.state(id) == spool.StateDelivered })
}

// What can't be delivered is bounced where its writer has been told, parked where not, and tried again while that isn't sure.
func TestUndelivered(t *testing.T) {
	r := newRig(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "b@", Reply: "550 5.1.1 no"}, {Stage: sink.StageRcpt, Match: "d@", Reply: "550 5.1.1 no"}}}}).open()
	var mu sync.Mutex
	fails := 2
	r.options.Undelivered = func(us []Undelivered) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if us[0].Pair.Kind == spool.Held {
			return false, nil
		}
		if us[0].Reply != "550 5.1.1 no" || us[0].Host == "" || len(us) != 1 {
			t.Errorf("%+v", us)
		}
		if fails--; fails >= 0 {
			return false, errors.New("the store is away")
		}
		return true, nil
	}
	id := r.write(time.Time{})
	held := r.keep("sender@elsewhere.test", "Subject: x\r\n\r\nhello\r\n", "d@"+testDomain)
	r.run()
	r.until("both have ended", func() bool { return r.state(id) == spool.StateBounced && r.state(held) == spool.StateParked })
	mu.Lock()
	defer mu.Unlock()
	if fails != -1 {
		t.Errorf("asked %d times too often", -1-fails)
	}
}

// state is that of an entry's first pair.
func (r *rig) state(id string) spool.PairState {
	v, err := r.index.Entry(r.t.Context(), id)
	if err != nil || len(v.Pairs) == 0 {
		return ""
	}
	return v.Pairs[0].State
}

package replay

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool"
)

// elsewhere is another host that a run may send to.
func (r *rig) elsewhere(o sink.Options) *sink.Server {
	r.t.Helper()
	o.Keep, o.Strict = true, true
	other := sink.New(o)
	if err := other.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if other.Running() {
			other.Stop()
		}
	})
	r.options.DialTo = func(ctx context.Context, hostport string) (*smtpc.Conn, error) {
		target, err := health.ParsePrimary(hostport)
		if err != nil {
			return nil, err
		}
		target.TLS.Mode = smtpc.TLSNone
		return r.health.dialer.Dial(ctx, target)
	}
	return other
}

// settledDown waits until replay has read all that the index shows, and checks that nothing is pending and that the
// primary has each message once.
func (r *rig) settledDown(n int) {
	r.t.Helper()
	r.until("replay has looked at everything", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		d := r.engine.domains[testDomain]
		return d.jobs == 0 && d.scan.ended && !d.scan.restart && len(d.claims.m) == 0
	})
	if c := r.counts(); c.Delivered != int64(n) || c.Pending != 0 || c.Parked != 0 {
		r.t.Errorf("%+v, want all %d delivered as they were", c, n)
	}
	r.exact(0)
}

// TestAgainElsewhereIsNoneOfThePrimary: what another host is sent again stays delivered whatever that host does, and the
// primary never gets it a second time.
func TestAgainElsewhereIsNoneOfThePrimary(t *testing.T) {
	t.Parallel()
	const n = 30
	for name, faults := range map[string]sink.Faults{
		"nobody there": {},
		"refused":      {Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 no such user"}}},
		"some refused": {Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "<user1@", Reply: "550 5.7.1 no"}}},
		"later":        {Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "450 4.2.1 later", Count: 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sink.Options{Keep: true}).open()
			other := r.elsewhere(sink.Options{})
			other.SetFaults(faults)
			if name == "nobody there" {
				other.Stop()
			}
			r.keepMany(n)
			r.run()
			r.until("delivered", func() bool { return r.sink.Stats().Messages == n })
			// At once: the index may not know yet.
			sum, err := r.engine.RunOnce(t.Context(), Selection{Domain: testDomain, Again: true, To: other.Addr(), By: "admin root"}, nil)
			if (err != nil) != (name == "nobody there" || name == "refused") {
				t.Errorf("%v", err)
			}
			if sum.Parked != 0 || sum.Delivered == sum.Selected || sum.Delivered != int64(len(other.Messages())) {
				t.Errorf("%+v; %d messages there", sum, len(other.Messages()))
			}
			r.settledDown(n)
			// The primary may be given it again after that, on purpose.
			sum, err = r.engine.RunOnce(t.Context(), Selection{Domain: testDomain, Again: true}, nil)
			if err != nil || sum.Delivered != n {
				t.Errorf("on purpose: %+v, %v", sum, err)
			}
			r.until("all is delivered", func() bool { c := r.counts(); return c.Delivered == n && c.Pending == 0 })
			r.exact(n)
		})
	}
}

// TestKilledWhileSendingElsewhere: a process that is killed while it sends elsewhere what was delivered leaves nothing for
// the primary to be given a second time.
func TestKilledWhileSendingElsewhere(t *testing.T) {
	for _, point := range []string{"fetch:after", "settle:before", "settle:after", "note:before", "note:after", "dot:before", "dot:after"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			const n = 20
			k := &killer{left: 3, died: make(chan struct{})}
			if strings.HasPrefix(point, "note") {
				k.left = 0
			}
			image := filepath.Join(t.TempDir(), "image")
			first := newRig(t, sink.Options{Keep: true})
			k.image = func() {
				copyTree(t, image, first.dir)
				for _, suffix := range []string{"", "-wal", "-shm"} {
					_ = os.Remove(filepath.Join(image, "index.db"+suffix))
				}
			}
			openOnDisk(t, first)
			other := first.elsewhere(sink.Options{Deliver: func(*sink.Envelope, []byte) error {
				if err := k.at("dot:before"); err != nil {
					return err
				}
				_ = k.at("dot:after")
				return nil
			}})
			other.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "<user5@", Reply: "450 4.2.1 later", Count: 1}}})
			first.keepMany(n)
			k.Spool = FromSpool(first.spool)
			first.options.Spool = k
			stop := first.run()
			first.delivered(n)
			k.mu.Lock()
			k.point = point
			k.mu.Unlock()
			// A dead process says nothing.
			_, _ = first.engine.RunOnce(t.Context(), Selection{Domain: testDomain, Again: true, To: other.Addr()}, nil)
			select {
			case <-k.died:
			case <-time.After(10 * time.Second):
				t.Fatal("the point was not reached")
			}
			stop()
			first.engine = nil

			second := newRig(t, sink.Options{Keep: true})
			second.dir = image
			openOnDisk(t, second)
			second.folded(n)
			second.run()
			sleep(t.Context(), 200*time.Millisecond)
			second.until("all is folded", func() bool { return second.counts().Delivered == n })
			if c := second.counts(); c.Pending != 0 || len(second.sink.Messages()) != 0 {
				t.Errorf("%+v; the primary was sent %d messages again", c, len(second.sink.Messages()))
			}
			if pairs, _, err := second.index.Pending(t.Context(), testDomain, "", 10); err != nil || len(pairs) > 0 {
				t.Errorf("pending: %+v, %v", pairs, err)
			}
			first.exact(0)
			for id := range first.sent {
				v, err := second.index.Entry(t.Context(), id)
				if err != nil || v.Pairs[0].State != spool.StateDelivered {
					t.Errorf("%s: %+v, %v", id, v, err)
				}
			}
		})
	}
}

// TestDryRunSkipsWhatWasErased: as the run itself does.
func TestDryRunSkipsWhatWasErased(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(3)
	r.run()
	r.delivered(3)
	id := firstID(r)
	if err := r.spool.Erase(t.Context(), r.index, "admin root", "", id); err != nil {
		t.Fatal(err)
	}
	r.until("erased", func() bool { v, err := r.index.Entry(t.Context(), id); return err == nil && v.Erased })
	for _, dry := range []bool{true, false} {
		sum, err := r.engine.RunOnce(t.Context(), Selection{Domain: testDomain, Again: true, DryRun: dry}, nil)
		if err != nil || sum.Selected != 2 || sum.Skipped != 1 {
			t.Errorf("dry %t: %+v, %v", dry, sum, err)
		}
	}
}

package submit

import (
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool"
)

// TestRecoveryPause: when the store is older than the index, what a submission server may have got already waits for an admin, as
// held mail does.
func TestRecoveryPause(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	c := r.options.Config
	c.Submission = map[string]Server{hosted: *c.Smarthost}
	if err := r.service.SetConfig(c); err != nil {
		t.Fatal(err)
	}
	say := func(typ spool.EventType, by string, at time.Time) {
		t.Helper()
		if err := r.spool.Record(t.Context(), spool.Event{Type: typ, Time: at, By: by, Domain: hosted}); err != nil {
			t.Fatal(err)
		}
	}
	say(spool.ReplayPaused, byRecovery, time.Now().Add(-5*time.Minute))
	r.run()
	r.submit(r.submission("bob@example.test", "kunde@example.org"))
	r.state(spool.Outbound, spool.StateDelivered, 1)
	if ps := append(r.pairs(spool.Local), r.pairs(spool.Copy)...); ps[0].State != spool.StatePending || ps[1].State != spool.StatePending {
		t.Errorf("%+v", ps)
	}
	say(spool.ReplayResumed, "admin root", time.Now())
	r.state(spool.Local, spool.StateDelivered, 1)
	r.state(spool.Copy, spool.StateDelivered, 1)
}

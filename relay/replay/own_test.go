package replay

import (
	"fmt"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/spool"
)

// refusesItsOwn is a primary that takes no mail from its own domain from outside.
var refusesItsOwn = sink.Rule{Stage: sink.StageMail, Match: "@" + testDomain, Reply: "550 5.7.1 that is my own domain"}

// A primary that refuses its own domain from outside: mail from elsewhere isn't held up by what was written here, which is
// parked in the end, and the primary isn't blamed.
func TestOwnDomainRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{refusesItsOwn}}}).open()
	r.learn("b@"+testDomain, "c@"+testDomain)
	const written = AnyRow + 5
	for range written {
		r.write(time.Time{})
	}
	r.folded(written)
	r.run()
	r.until("what was written here is tried", func() bool { return r.status().Deferred > KnownRow })
	for i := range 3 {
		id := r.keep("sender@elsewhere.test", fmt.Sprintf("Subject: %d\r\n\r\nhello\r\n", i), "c@"+testDomain)
		r.until("mail from elsewhere is delivered", func() bool { return r.state(id) == spool.StateDelivered })
	}
	r.until("what was written here is parked", func() bool { c := r.counts(); return c.Parked == written && c.Pending == 0 })
	if n := r.noticed(NoticePaused); len(n) != 0 {
		t.Errorf("it paused: %+v", n)
	}
	if n := r.health.count(health.Refusal); n != 0 {
		t.Errorf("%d refusals count against the primary's health", n)
	}
}

// During a pause what was written here is no trial; when nothing else is left the pause is over.
func TestOwnDomainDuringAPause(t *testing.T) {
	t.Parallel()
	refusesAll := sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 no such user"}}}
	r := newRig(t, sink.Options{Keep: true, Faults: refusesAll}).open()
	r.learn("c@" + testDomain)
	const held = KnownRow + 1
	var ids []string
	for i := range held {
		ids = append(ids, r.keep("sender@elsewhere.test", fmt.Sprintf("Subject: %d\r\n\r\nhello\r\n", i), "c@"+testDomain))
	}
	r.folded(held)
	r.run()
	r.until("it pauses", func() bool { return len(r.noticed(NoticePaused)) == 1 })
	for range 3 {
		r.write(time.Time{})
	}
	r.folded(held + 3)
	before := r.sink.Stats().Transactions
	r.until("trials go on", func() bool { return r.sink.Stats().Transactions >= before+2 })
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{refusesItsOwn, refusesAll.Rules[0]}})
	var gone []spool.Event
	for _, id := range ids {
		gone = append(gone, spool.Event{Type: spool.Removed, By: "admin", Entry: id})
	}
	if err := r.spool.Record(t.Context(), gone...); err != nil {
		t.Fatal(err)
	}
	r.until("what was written here has ended", func() bool { c := r.counts(); return c.Parked == 3 && c.Pending == 0 })
	if n := r.noticed(NoticeResumed); len(n) != 1 {
		t.Errorf("notices %+v", n)
	}
}

// A pause that was ended elsewhere is over here too.
func TestResumedElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	say := func(typ spool.EventType, at time.Time) {
		if err := r.spool.Record(t.Context(), spool.Event{Type: typ, Time: at, By: "recovery", Domain: testDomain}); err != nil {
			t.Fatal(err)
		}
	}
	say(spool.ReplayPaused, time.Now().Add(-5*time.Minute))
	id := r.keep("sender@elsewhere.test", "Subject: x\r\n\r\nhello\r\n", "c@"+testDomain)
	r.folded(1)
	r.run()
	paused := func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		d := r.engine.domains[testDomain]
		return d.paused != nil && d.lease == nil
	}
	r.until("it is paused", paused)
	say(spool.ReplayResumed, time.Now())
	r.until("it is delivered", func() bool { return r.state(id) == spool.StateDelivered })
}

// What was written here can be sent again elsewhere by a process that hasn't looked yet whether it was taken back.
func TestWrittenAgainElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	other := r.elsewhere(sink.Options{})
	id := r.write(time.Now().Add(-time.Minute))
	r.folded(1)
	stop := r.run()
	r.until("it is delivered", func() bool { return r.state(id) == spool.StateDelivered })
	stop()
	r.run()
	sum, err := r.engine.RunOnce(t.Context(), Selection{Domain: testDomain, Again: true, To: other.Addr(), By: "admin root"}, nil)
	if err != nil || sum.Delivered != 1 || sum.Skipped != 0 || len(other.Messages()) != 1 {
		t.Errorf("%+v, %v; %d messages there", sum, err, len(other.Messages()))
	}
}

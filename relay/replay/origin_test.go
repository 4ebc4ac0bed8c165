package replay

import (
	"fmt"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/spool"
)

// keepFrom keeps a message that a client brought, "" for what was written here.
func (r *rig) keepFrom(client, rcpt string) {
	r.t.Helper()
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: time.Now(), From: "sender@elsewhere.test", Rcpts: []spool.Recipient{{Address: rcpt, Domain: testDomain}}}
	if client != "" {
		e.Client = spool.Client{Addr: client, Helo: "client.test", Protocol: "ESMTP"}
	}
	b := spool.NewBody(r.dir, 1<<20)
	defer b.Close()
	if _, err := b.Write([]byte("Subject: x\r\n\r\nhello\r\n")); err != nil {
		r.t.Fatal(err)
	}
	if err := r.spool.Append(r.t.Context(), e, nil, b); err != nil {
		r.t.Fatal(err)
	}
}

// TestOrigins: over connections that are used again and again, each message goes out under its own client's name, what has none
// that may be named under ours, and a client that the primary refuses costs nobody else anything.
func TestOrigins(t *testing.T) {
	for name, once := range map[string]bool{"XCLIENT once": true, "XCLIENT again and again": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origins(t, once)
		})
	}
}

func origins(t *testing.T, once bool) {
	o := sink.DefaultOffers()
	o.XClientOnce = once
	o.XClient = []string{"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"}
	refuse := sink.Rule{Stage: sink.StageXClient, Match: "203.0.113.66", Reply: "450 4.7.1 Client host rejected for now"}
	r := newRig(t, sink.Options{Keep: true, Offers: o, Faults: sink.Faults{Rules: []sink.Rule{refuse}}}).open()
	r.health.mu.Lock()
	r.health.target.XClient = true
	r.health.mu.Unlock()
	const n = 60
	want := map[string]string{}
	for i := range n {
		rcpt := fmt.Sprintf("user%d@%s", i, testDomain)
		client := fmt.Sprintf("198.51.100.%d", i+1)
		want[rcpt] = client
		switch i % 6 {
		case 1:
			client, want[rcpt] = "10.0.0.1", ""
		case 3:
			client, want[rcpt] = "", ""
		case 4:
			client = "203.0.113.66"
			delete(want, rcpt)
		}
		r.keepFrom(client, rcpt)
	}
	r.folded(n)
	r.run()
	r.until("all that can be is delivered", func() bool { return len(r.sink.Messages()) == len(want) })
	for _, m := range r.sink.Messages() {
		addr := want[m.Rcpts[0]]
		if m.XClient["ADDR"] != addr || (addr == "") != (m.XClient == nil) || m.XClient["LOGIN"] != "" {
			t.Errorf("%s came from %v, want %q", m.Rcpts[0], m.XClient, addr)
		}
		if helo := map[bool]string{true: "mx2.example.test", false: "client.test"}[addr == ""]; m.Helo != helo {
			t.Errorf("%s: EHLO %s, want %s", m.Rcpts[0], m.Helo, helo)
		}
	}
	if r.health.count(health.Lost) > 0 {
		t.Errorf("health saw %+v", r.health.seen)
	}
	r.sink.SetFaults(sink.Faults{})
	r.until("the rest is, too", func() bool { return len(r.sink.Messages()) == n })
	if c := r.counts(); c.Parked != 0 {
		t.Errorf("%+v", c)
	}
}

// TestRefusedClientsDontPause: a primary that is told of each client may refuse many in a row, whoever they write to.
func TestRefusedClientsDontPause(t *testing.T) {
	t.Parallel()
	o := sink.DefaultOffers()
	o.XClient, o.XClientOnce = []string{"ADDR"}, true
	blocked := sink.Rule{Stage: sink.StageMail, Match: "<sender@", Count: 2 * KnownRow, Reply: "554 5.7.1 Client host blocked using a list"}
	r := newRig(t, sink.Options{Keep: true, Offers: o, Faults: sink.Faults{Rules: []sink.Rule{blocked}}}).open()
	r.health.mu.Lock()
	r.health.target.XClient = true
	r.health.mu.Unlock()
	const n = 2*KnownRow + 5
	for i := range n {
		rcpt := fmt.Sprintf("user%d@%s", i, testDomain)
		r.learn(rcpt)
		r.keepFrom("203.0.113.66", rcpt)
	}
	r.folded(n)
	r.run()
	r.until("what isn't refused is delivered, the rest parked", func() bool {
		return len(r.sink.Messages()) == 5 && r.counts().Parked == 2*KnownRow
	})
	if len(r.noticed(NoticePaused)) > 0 || r.health.count(health.Refusal) > 0 {
		t.Errorf("paused: %v, health saw %+v", r.noticed(NoticePaused), r.health.seen)
	}
}

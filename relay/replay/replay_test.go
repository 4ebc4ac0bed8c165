package replay

import (
	"fmt"
	"strings"
	"testing"

	"restante/relay/sink"
)

func TestHandsOverEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(500)
	r.run()
	r.delivered(500)
	r.exact(0)
	r.finished(500)
	s := r.status()
	if s.State != StateIdle || s.Done != s.Total || s.Delivered != s.Total {
		t.Errorf("status %+v", s)
	}
	v, err := r.index.Entry(t.Context(), firstID(r))
	if err != nil {
		t.Fatal(err)
	}
	p := v.Pairs[0]
	if !strings.HasPrefix(p.Reply, "250 ") || !strings.Contains(p.Host, "127.0.0.1") {
		t.Errorf("reply %q, host %q", p.Reply, p.Host)
	}
}

func firstID(r *rig) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := ""
	for id := range r.sent {
		if first == "" || id < first {
			first = id
		}
	}
	return first
}

func TestOneTransactionForAllRecipients(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	var rcpts []string
	for i := range 30 {
		rcpts = append(rcpts, fmt.Sprintf("u%d@%s", i, testDomain))
	}
	r.keep("", "Subject: x\r\n\r\nx", rcpts...) // no CRLF at its end
	r.folded(30)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "u7@", Reply: "450 4.2.1 come back", Count: 1}}})
	r.run()
	r.delivered(30)
	r.exact(0)
	if n := len(r.sink.Messages()); n != 2 {
		t.Errorf("%d transactions, want one and one for the recipient that had 4xx", n)
	}
}

func TestTooManyRecipientsFollowAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Config.BackoffMin = 1 << 40 // a backoff would never end
	r.sink.SetFaults(sink.Faults{MaxRcpts: 10})
	var rcpts []string
	for i := range 35 {
		rcpts = append(rcpts, fmt.Sprintf("u%d@%s", i, testDomain))
	}
	r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", rcpts...)
	r.folded(35)
	r.run()
	r.delivered(35)
	r.exact(0)
	if n := len(r.sink.Messages()); n != 4 {
		t.Errorf("%d transactions, want 4", n)
	}
}

func TestForgedResultsAreLeftOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	forged := "Authentication-Results: mx2.example.test; spf=pass\r\n\tsmtp.mailfrom=x\r\n"
	other := "Authentication-Results: other.test; spf=fail\r\n"
	id := r.keep("a@b.test", other+forged+"Subject: x\r\n\r\nAuthentication-Results: mx2.example.test; not a field\r\n", "u@"+testDomain)
	r.sent[id] = []byte(strings.Replace(string(r.sent[id]), forged, "", 1))
	r.folded(1)
	r.run()
	r.delivered(1)
	r.exact(0)
}

func TestNewMailWhileUpGoesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.run()
	for i := range 20 {
		r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "u@"+testDomain)
		r.delivered(i + 1)
	}
	r.exact(0)
}

package submit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"restante/relay/policy/scan"
	"restante/relay/reply"
	"restante/relay/sink"
	"restante/spool"
)

// TestScan: what content filters object to isn't kept, and the writer is told why; the filter sees what goes out.
func TestScan(t *testing.T) {
	var says scan.Result
	var asked scan.Message
	var seen []byte
	r := newRig(t, sink.Options{}, func(o *Options) {
		o.Scan = func(_ context.Context, m scan.Message) scan.Result {
			asked = m
			seen, _ = io.ReadAll(io.NewSectionReader(m.Body, 0, m.Size)) // it is in memory
			return says
		}
	})
	kept := func() int {
		r.sync()
		return len(r.pairs(spool.Outbound, spool.Local, spool.Copy))
	}
	m := r.submission("out@elsewhere.test", "max@example.test")
	says = scan.Result{Action: scan.Refuse, Virus: "Eicar", Reason: "clamd: found Eicar", Reply: reply.New(550, reply.Enhanced{5, 7, 1}, "no")}
	var found *Found
	if _, err := r.service.Submit(t.Context(), m); !errors.As(err, &found) || !errors.Is(err, ErrRefused) || found.Virus != "Eicar" {
		t.Fatalf("a virus: %v", err)
	}
	if !asked.Outgoing || asked.Account != anna || asked.From != anna || strings.Join(asked.Rcpts, " ") != "out@elsewhere.test max@example.test" || !bytes.Equal(seen, m.Message) {
		t.Errorf("the filter was asked about %+v", asked)
	}
	says = scan.Result{Action: scan.Quarantine, Reason: "rspamd: quarantine"}
	if _, err := r.service.Submit(t.Context(), m); !errors.As(err, &found) || found.Virus != "" {
		t.Errorf("spam: %v", err)
	}
	says = scan.Result{Action: scan.Refuse, Reason: "clamd: too big", Reply: reply.New(552, reply.Enhanced{5, 3, 4}, "too big")}
	if _, err := r.service.Submit(t.Context(), m); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "more than can be checked") {
		t.Errorf("too big: %v", err)
	}
	says = scan.Result{Action: scan.Defer, Reason: "clamd: not scanned", Reply: reply.New(451, reply.Enhanced{4, 3, 0}, "later")}
	var not *NotNow
	if _, err := r.service.Submit(t.Context(), m); !errors.As(err, &not) || not.Why != WhyUnchecked {
		t.Errorf("unchecked: %v", err)
	}
	if n := kept(); n != 0 {
		t.Errorf("%d pairs are kept of what was refused", n)
	}
	says = scan.Result{}
	if _, err := r.service.Submit(t.Context(), m); err != nil {
		t.Error(err)
	}
	if n := kept(); n != 3 {
		t.Errorf("%d pairs are kept", n)
	}
}

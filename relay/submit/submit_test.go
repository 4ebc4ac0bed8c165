package submit

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool"
)

func TestSubmitAndDeliver(t *testing.T) {
	t.Parallel()
	for _, implicit := range []bool{false, true} {
		r := newRig(t, sink.Options{Implicit: implicit})
		r.run()
		m := r.submission("kunde@example.org", "bob@other.test", "KUNDE@EXAMPLE.org", "zwei@example.com")
		res := r.submit(m)
		if len(res.Entries) != 3 || res.Again || !res.NotBefore.IsZero() {
			t.Fatalf("%+v", res)
		}
		ps := r.state(spool.Outbound, spool.StateDelivered, 2)
		if ps[0].Domain != spool.Smarthost || !strings.HasPrefix(ps[0].Reply, "250") || ps[0].Entry != res.Entries[0] {
			t.Errorf("%+v", ps[0])
		}
		got := r.host.Messages()
		if len(got) != 1 || got[0].User != "relay" || !got[0].TLS || got[0].From != anna || !slices.Equal(got[0].Rcpts, []string{"kunde@example.org", "zwei@example.com"}) {
			t.Fatalf("%+v", got)
		}
		entry, stored := r.octets(res.Entries[0])
		if !bytes.Equal(got[0].Data, stored) || !bytes.Equal(stored[entry.TraceSize:], m.Message) {
			t.Errorf("what went out isn't what was written:\n%s", got[0].Data)
		}
		if entry.Mailbox != anna || entry.Writing != m.Writing || entry.Summary.Subject != "An offer" || entry.Params.Body != "7BIT" {
			t.Errorf("%+v", entry)
		}
		local, copied := r.state(spool.Local, spool.StatePending, 1), r.state(spool.Copy, spool.StatePending, 1)
		if local[0].Domain != "other.test" || copied[0].Address != anna || copied[0].Entry != res.Copy {
			t.Errorf("%+v %+v", local, copied)
		}
		if _, b := r.octets(res.Copy); !bytes.HasPrefix(b, []byte(CopyField)) || bytes.Contains(got[0].Data, []byte(CopyField)) {
			t.Errorf("the copy isn't marked, or all are:\n%s", b)
		}
		if v := r.host.Violations(); len(v) > 0 {
			t.Error(v)
		}
		r.close()
	}
}

// A shared mailbox keeps the copy of what was sent from it.
func TestCopyForSharedMailbox(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	m := r.submission("kunde@example.org")
	m.Box, m.From, m.Message = "info@example.test", "info@example.test", message("info@example.test", "kunde@example.org", "x")
	res := r.submit(m)
	e, _ := r.octets(res.Copy)
	if e.Mailbox != "info@example.test" || e.Rcpts[0].Address != "info@example.test" || e.From != "info@example.test" {
		t.Errorf("%+v", e)
	}
	if e, _ := r.octets(res.Entries[0]); e.Mailbox != anna {
		t.Errorf("%+v", e)
	}
}

// The same writing is sent once, however often and however concurrently it is submitted, also by a process that has forgotten.
func TestOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	m := r.submission("kunde@example.org", "bob@other.test")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := r.service.Submit(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first := r.submit(m)
	if !first.Again {
		t.Errorf("%+v", first)
	}
	r.close()
	r.open()
	again := r.submit(m)
	if !again.Again || again.Copy != first.Copy || !slices.Equal(again.Entries, first.Entries) {
		t.Errorf("%+v, before %+v", again, first)
	}
	r.sync()
	if ps := r.pairs(spool.Outbound, spool.Local, spool.Copy); len(ps) != 3 {
		t.Errorf("%+v", ps)
	}
}

func TestUndo(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	r.run()
	m := r.submission("kunde@example.org", "bob@other.test")
	m.Delay = 2 * time.Second
	if err := r.service.Undo(t.Context(), anna, m.Writing); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	res := r.submit(m)
	if d := time.Until(res.NotBefore); d <= 0 || d > m.Delay {
		t.Errorf("not before %v", d)
	}
	if err := r.service.Undo(t.Context(), "bob@other.test", m.Writing); !errors.Is(err, ErrUnknown) {
		t.Errorf("another account: %v", err)
	}
	for range 2 { // the second time it is done already
		if err := r.service.Undo(t.Context(), anna, m.Writing); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []spool.Kind{spool.Outbound, spool.Local, spool.Copy} {
		r.state(kind, spool.StateRemoved, 1)
	}
	// It is written on and sent after all.
	m.Delay, m.Message = 0, message(anna, "kunde@example.org", "Second thoughts")
	second := r.submit(m)
	if second.Again || second.Copy == res.Copy {
		t.Errorf("%+v", second)
	}
	r.eventually("the second version", func() bool { return r.view(second.Entries[0]).Pairs[0].State == spool.StateDelivered })
	if err := r.service.Undo(t.Context(), anna, m.Writing); !errors.Is(err, ErrTooLate) {
		t.Error(err)
	}
	if ms := r.host.Messages(); len(ms) != 1 || !bytes.Contains(ms[0].Data, []byte("Second thoughts")) {
		t.Errorf("%d messages went out", len(ms))
	}
}

// What is not taken back goes out once its time has come, and not before.
func TestDelay(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	r.run()
	m := r.submission("kunde@example.org")
	m.Delay = 500 * time.Millisecond
	res := r.submit(m)
	r.state(spool.Outbound, spool.StateDelivered, 1)
	if got := r.host.Messages()[0].Received; got.Before(res.NotBefore) {
		t.Errorf("it went out %v too early", res.NotBefore.Sub(got))
	}
	if err := r.service.Undo(t.Context(), anna, m.Writing); !errors.Is(err, ErrTooLate) {
		t.Error(err)
	}
}

// An undo holds for a process that has forgotten the writing.
func TestUndoAfterRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	m := r.submission("kunde@example.org")
	m.Delay = 20 * time.Second
	r.submit(m)
	r.close()
	r.open()
	if err := r.service.Undo(t.Context(), anna, m.Writing); err != nil {
		t.Fatal(err)
	}
	r.sync()
	r.state(spool.Outbound, spool.StateRemoved, 1)
}

func TestRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{}, func(o *Options) { o.Config.Limits = Limits{PerMessage: 3, Size: 4000} })
	base := "From: anna@example.test\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n"
	tests := []struct {
		name   string
		change func(*Submission)
		want   string
	}{
		{"no recipients", func(s *Submission) { s.Rcpts = nil }, "no recipients"},
		{"too many", func(s *Submission) { s.Rcpts = []string{"a@a.test", "b@a.test", "c@a.test", "d@a.test"} }, "4 recipients; 3"},
		{"no address", func(s *Submission) { s.Rcpts = []string{"kunde"} }, "not an e-mail address"},
		{"injection", func(s *Submission) { s.Rcpts = []string{"a@example.org>\r\nRCPT TO:<b@example.org"} }, "not an e-mail address"},
		{"null path", func(s *Submission) { s.Rcpts = []string{""} }, "not an e-mail address"},
		{"literal", func(s *Submission) { s.Rcpts = []string{"a@[192.0.2.1]"} }, "not to a number"},
		{"foreign sender", func(s *Submission) { s.From = "anna@example.org" }, "no address that mail can be sent from"},
		{"too large", func(s *Submission) { s.Message = append(s.Message, bytes.Repeat([]byte("x\r\n"), 2000)...) }, "0.0 MB are possible"},
		{"no writing", func(s *Submission) { s.Writing = "" }, "no writing"},
		{"other From", func(s *Submission) { s.Message = message("bob@example.test", "x@example.org", "x") }, "From field says bob@example.test"},
		{"two From", func(s *Submission) { s.Message = []byte(base + "From: bob@example.test\r\n\r\nx\r\n") }, "field from 2 times"},
		{"two people in From", func(s *Submission) {
			s.Message = []byte(strings.Replace(base, "From: ", "From: bob@example.test, ", 1) + "\r\nx\r\n")
		}, "several people"},
		{"no Date", func(s *Submission) { s.Message = []byte("From: anna@example.test\r\nMessage-ID: <1@x>\r\n\r\nx\r\n") }, "field date 0 times"},
		{"no Message-ID", func(s *Submission) { s.Message = []byte("From: anna@example.test\r\nDate: x\r\n\r\nx\r\n") }, "field message-id 0 times"},
		{"Bcc", func(s *Submission) { s.Message = []byte(base + "Bcc: c@example.org\r\n\r\nx\r\n") }, "a field bcc"},
		{"its own mark", func(s *Submission) { s.Message = []byte(base + CopyField + "\r\nx\r\n") }, "a field x-restante-copy"},
		{"attachment by name", func(s *Submission) { s.Message = []byte(base + "X-Restante-Attachment: 1\r\n\r\nx\r\n") }, "a field x-restante-attachment"},
		{"a line that is no field", func(s *Submission) { s.Message = []byte(base + "hello\r\n\r\nx\r\n") }, "no field"},
		{"bare LF", func(s *Submission) { s.Message = []byte(base + "\r\nx\ny\r\n") }, "bare CR or LF"},
		{"bare CR", func(s *Submission) { s.Message = []byte(base + "\r\nx\ry\r\n") }, "bare CR or LF"},
		{"ends in CR", func(s *Submission) { s.Message = []byte(base + "\r\nx\r") }, "bare CR or LF"},
		{"no end", func(s *Submission) { s.Message = []byte(base + "\r\nx") }, "line end"},
		{"NUL", func(s *Submission) { s.Message = []byte(base + "\r\nx\x00\r\n") }, "NUL"},
		{"long line", func(s *Submission) { s.Message = []byte(base + "\r\n" + strings.Repeat("x", 999) + "\r\n") }, "999 octets"},
		{"no header end", func(s *Submission) { s.Message = []byte(base) }, "header has no end"},
	}
	for _, tt := range tests {
		s := r.submission("kunde@example.org")
		tt.change(&s)
		_, err := r.service.Submit(t.Context(), s)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if ps := r.pairs(spool.Outbound, spool.Local, spool.Copy); len(ps) > 0 {
		t.Errorf("%+v", ps)
	}
	s := r.submission("kunde@example.org")
	s.Message = []byte(base + "\r\n" + strings.Repeat("x", 998) + "\r\n\xc3\xbc\r\n")
	e, _ := r.octets(r.submit(s).Entries[0])
	if e.Params.Body != "8BITMIME" || e.Params.SMTPUTF8 {
		t.Errorf("%+v", e.Params)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{}, func(o *Options) { o.Config.Limits = Limits{Messages: 3, Recipients: 5} })
	for _, rcpts := range [][]string{{"a@example.org", "b@other.test"}, {"c@example.org", "d@example.org"}} {
		r.submit(r.submission(rcpts...))
	}
	var not *NotNow
	if _, err := r.service.Submit(t.Context(), r.submission("e@example.org", "f@example.org")); !errors.As(err, &not) || not.Why != WhyLimit {
		t.Errorf("six recipients: %v", err)
	}
	// What was sent before a restart counts.
	r.sync()
	r.close()
	r.open()
	if err := r.service.recount(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.submit(r.submission("e@example.org"))
	if _, err := r.service.Submit(t.Context(), r.submission("f@example.org")); !errors.As(err, &not) || not.Why != WhyLimit {
		t.Errorf("four messages: %v", err)
	}
	bob := r.submission("f@example.org")
	bob.Account, bob.From, bob.Message = "bob@example.test", "bob@example.test", message("bob@example.test", "f@example.org", "x")
	r.submit(bob) // limits are for each account
	now := time.Now()
	if r.service.limits.full(anna, Limits{Messages: 3, Recipients: 5}, now.Add(window)) {
		t.Error("limits outlast the hour")
	}
}

func TestMayAndStop(t *testing.T) {
	t.Parallel()
	open := true
	var mu sync.Mutex
	r := newRig(t, sink.Options{}, func(o *Options) {
		o.Open = func(string) bool { mu.Lock(); defer mu.Unlock(); return open }
	})
	may := func(want string) {
		t.Helper()
		ok, why := r.service.May(t.Context(), anna, anna)
		if why != want || ok != (want == "") {
			t.Errorf("may %v %q, want %q", ok, why, want)
		}
	}
	refused := func(want string) {
		t.Helper()
		var not *NotNow
		if _, err := r.service.Submit(t.Context(), r.submission("kunde@example.org")); !errors.As(err, &not) || not.Why != want || !errors.Is(err, ErrNotNow) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	may(WhySmarthostDown) // not probed yet
	r.run()
	r.eventually("smarthost up", func() bool { ok, _ := r.service.May(t.Context(), anna, anna); return ok })

	if err := r.service.Stop(t.Context(), "Anna@example.test", "admin root", "phished"); err != nil {
		t.Fatal(err)
	}
	may(WhyStopped)
	refused(WhyStopped)
	if err := r.service.Stop(t.Context(), "", "admin root", ""); err != nil {
		t.Fatal(err)
	}
	st, err := r.service.Status(t.Context())
	if err != nil || len(st.Stopped) != 2 || st.Stopped[0].Account != "" || st.Stopped[1].Account != anna || st.Stopped[1].Reason != "phished" || st.Stopped[1].By != "admin root" {
		t.Errorf("%+v, %v", st.Stopped, err)
	}
	if err := r.service.Allow(t.Context(), anna, "admin root"); err != nil {
		t.Fatal(err)
	}
	may(WhyStopped) // everybody is
	if err := r.service.Allow(t.Context(), "", "admin root"); err != nil {
		t.Fatal(err)
	}
	may("")
	mu.Lock()
	open = false
	mu.Unlock()
	may(WhyClosed)
	refused(WhyClosed)
	mu.Lock()
	open = true
	mu.Unlock()
	if err := r.service.SetConfig(Config{}); err != nil {
		t.Fatal(err)
	}
	may(WhyNoSmarthost)
	refused(WhyNoSmarthost)
	// Colleagues can be written to without one.
	m := r.submission("bob@other.test")
	if res := r.submit(m); len(res.Entries) != 2 {
		t.Errorf("%+v", res)
	}
}

// Stopping keeps back what was kept and not sent yet.
func TestStopHoldsBack(t *testing.T) {
	t.Parallel()
	for _, account := range []string{"", anna} {
		r := newRig(t, sink.Options{})
		m := r.submission("kunde@example.org")
		r.submit(m)
		if err := r.service.Stop(t.Context(), account, "admin root", ""); err != nil {
			t.Fatal(err)
		}
		r.run()
		if account != "" {
			bob := r.submission("zwei@example.org")
			bob.Account, bob.From, bob.Message = "bob@example.test", "bob@example.test", message("bob@example.test", "zwei@example.org", "x")
			r.submit(bob)
			r.eventually("mail of another account", func() bool { return len(r.host.Messages()) == 1 })
		} else {
			r.eventually("smarthost up", func() bool { return r.service.monitor.State(spool.Smarthost).Reachable() })
		}
		if ps := r.pairs(spool.Outbound); ps[0].State != spool.StatePending {
			t.Errorf("stopped for %q: %+v", account, ps[0])
		}
		e, _ := r.octets(r.pairs(spool.Outbound)[0].Entry)
		if r.service.Hold(e).IsZero() {
			t.Errorf("mail isn't held while %q is stopped", account)
		}
		told := *e
		told.Mailbox = ""
		if !r.service.Hold(&told).IsZero() || !r.service.Hold(&spool.Entry{Kind: spool.Held, Mailbox: anna}).IsZero() {
			t.Errorf("what nobody wrote is held while %q is stopped", account)
		}
		if err := r.service.Allow(t.Context(), account, "admin root"); err != nil {
			t.Fatal(err)
		}
		if !r.service.Hold(e).IsZero() {
			t.Error("it is held still")
		}
		n := map[string]int{"": 1, anna: 2}[account]
		r.state(spool.Outbound, spool.StateDelivered, n) // looked at again within seconds
		r.close()
	}
}

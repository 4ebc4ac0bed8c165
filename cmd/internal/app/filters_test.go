package app

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/config"
	"restante/relay/policy/scan/scantest"
	"restante/relay/sink"
	"restante/relay/submit"
	"restante/spool"
	"restante/spool/index"
	"restante/webmail"
)

// TestFilters: rspamd sees all mail on its way through a node. What it refuses is refused with the session's id, what it marks reaches the
// primary with each field once, passed through or kept; the writer of refused mail is told so.
func TestFilters(t *testing.T) {
	rspamd := scantest.Rspamd(t)
	primary := sink.New(sink.Options{Keep: true})
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	defer primary.Stop()
	c := plain(t, primary.Addr())
	c.Rspamd.URL, c.Domains[0].ProbeInterval = "unix:"+rspamd.Socket, config.Duration(time.Second)
	a := startWith(t, c)
	until(t, "up", func() bool { return status(t, a).State == "up" })
	mail := func(subject, text string) error {
		return send(a.Addrs().SMTP[0], "you@example.test", "From: a@kunde.example\r\nX-Spam-Flag: NO\r\nSubject: "+subject+"\r\n\r\n"+text+"\r\n")
	}
	if err := mail("gtube", scantest.GTUBE); err == nil || !strings.Contains(err.Error(), `550 "5.7.1 Gtube pattern (`) {
		t.Errorf("GTUBE: %v", err)
	}
	if err := mail("spam-soft", "x"); err == nil || !strings.Contains(err.Error(), `451 "4.7.1 Come again (`) {
		t.Errorf("soft reject: %v", err)
	}
	for _, subject := range []string{"Hello", "spam-mark"} {
		if err := mail(subject, "x"); err != nil {
			t.Error(err)
		}
	}
	until(t, "passed", func() bool { return len(primary.Messages()) == 2 })
	primary.Stop()
	if err := mail("spam-mark", "kept"); err != nil {
		t.Error(err)
	}
	if pairs, _, err := a.index.List(t.Context(), index.Filter{State: index.StateQuarantined}); err != nil || len(pairs) != 0 {
		t.Errorf("marked mail is in quarantine: %+v, %v", pairs, err)
	}
	written := submit.Submission{Account: "you@example.test", From: "you@example.test", Rcpts: []string{"me@example.test"}, Writing: spool.NewID(),
		Message: []byte("From: you@example.test\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.test>\r\nSubject: spam-reject\r\n\r\nx\r\n")}
	until(t, "what staff send is refused", func() bool { // once writing is open
		_, err := a.submit.Submit(t.Context(), written)
		var no *webmail.Refusal
		return errors.As(refusal(err), &no) && no.Key == "content"
	})
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "handed over", func() bool { return len(primary.Messages()) == 3 })
	for i, m := range primary.Messages() {
		head, _, _ := bytes.Cut(m.Data, []byte("\r\n\r\n"))
		if got, marked := bytes.Count(head, []byte("X-Spam-Flag: YES\r\n")), i > 0; got != map[bool]int{true: 1}[marked] || bytes.Contains(head, []byte("X-Restante-Scan:")) != marked {
			t.Errorf("message %d:\n%s", i, head)
		}
	}
}

package app

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/config"
	"restante/spool"
	"restante/webmail/mailbox"
)

// handedOver is the outage that was closed first.
func (a *App) handedOver(t *testing.T) string {
	t.Helper()
	list, err := a.index.Outages(t.Context(), "example.test")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	return list[1].ID
}

// sayBehind tells the webmail's database that it is behind, until what it is fed next tells it otherwise, and looks for that in the status.
func (a *App) sayBehind(t *testing.T) {
	t.Helper()
	until(t, "the status says that the webmail is behind", func() bool {
		a.web.mail.SetBehind(spool.Behind{Since: time.Now().Add(-time.Hour), Batches: 9})
		return strings.Contains(strings.Join(a.troubles(), "\n"), "9 batches are left")
	})
}

// TestHandOverOfAnEarlierOutage: a short outage right after a long one doesn't take its hand-over mails away.
func TestHandOverOfAnEarlierOutage(t *testing.T) {
	a := node(t, t.TempDir())
	handOverAfter := func(d time.Duration) {
		c := *a.cfg.Load()
		c.Webmail.HandoverAfter = config.Duration(d)
		a.cfg.Store(&c)
	}
	handOverAfter(time.Hour)
	until(t, "there are people", func() bool { return len(a.web.accounts.All()) == len(DevPeople()) })
	a.sayBehind(t)
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: About Thursday\r\n\r\nWe come at nine.\r\n"); err != nil {
		t.Fatal(err)
	}
	box := mailbox.Box{ID: "you@example.test", Addresses: []string{"you@example.test"}}
	until(t, "the mail is read", func() bool {
		page, err := a.web.mail.List(t.Context(), mailbox.Query{Box: box, Folder: mailbox.Inbox})
		if err != nil || len(page.Items) != 1 {
			return false
		}
		seen := true
		return a.web.mail.Flag(t.Context(), box.ID, box, []string{page.Items[0].Entry}, mailbox.Change{Seen: &seen}) == nil
	})
	if why := a.webBehind(); why != "" {
		t.Error("still behind:", why)
	}
	if _, err := a.primary.do("start"); err != nil {
		t.Fatal(err)
	}
	until(t, "the outage is over", func() bool {
		s := a.picture.Domain("example.test")
		return s.Up && !s.Until.IsZero() && s.Delivered == 1
	})
	for _, typ := range []spool.EventType{spool.OutageOpened, spool.OutageClosed} {
		ev := spool.Event{Type: typ, Time: time.Now().Add(time.Minute), Domain: "example.test", Outage: "another"} // its own mails aren't due
		if err := a.spool.Record(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "another outage is over", func() bool {
		sum, err := a.index.Summary(t.Context(), "example.test")
		s := a.picture.Domain("example.test")
		return err == nil && sum.Outage == "another" && !sum.Open && s.Up && s.Total == 0
	})
	// Its claim was made by a try that could not write the mail: that try has to be made again.
	sum := sha256.Sum256([]byte(a.handedOver(t) + "\x00" + box.ID))
	name := "handover-" + hex.EncodeToString(sum[:16])
	if first, err := a.spool.Claim(t.Context(), name); err != nil || !first {
		t.Fatal(first, err)
	}
	handOverAfter(0)
	if err := a.handOver(t.Context(), "example.test", map[string]bool{}); err != nil {
		t.Fatal(err)
	}
	if p, err := a.primary.do("list"); err != nil || p.Count != 1 {
		t.Fatalf("%+v %v: another node has claimed it", p, err)
	}
	done := map[string]bool{name: true}
	if err := a.handOver(t.Context(), "example.test", done); err != nil || done[name] {
		t.Fatal(err, done)
	}
	until(t, "the hand-over mail of the first is at the primary", func() bool {
		p, err := a.primary.do("list")
		return err == nil && p.Count == 2 && strings.Contains(p.Messages[1].Subject, "while the mail server was down")
	})
}

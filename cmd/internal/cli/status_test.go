package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/admin"
	"restante/relay/policy/rcpt"
	"restante/relay/policy/scan"
	"restante/spool/index"
)

// TestTroubleFirst: what needs a person stands above what is well, with the reasons between them.
func TestTroubleFirst(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 59, 0, 0, time.Local)
	since := now.Add(-47 * time.Minute)
	s := &admin.Status{Hostname: "mx2.example.net", Now: now, Started: since, Ready: true, Reasons: []string{"clamd can't be asked"},
		Store: admin.StoreState{State: "ok", URL: "s3://mail-spool"}, SMTP: admin.SMTPState{Listen: []string{"0.0.0.0:25"}},
		Filters: []scan.Status{{Name: "rspamd", Address: "http://127.0.0.1:11333", Up: true}, {Name: "clamd", Address: "127.0.0.1:3310"}}}
	for i := range 20 {
		s.Domains = append(s.Domains, admin.DomainStatus{Name: fmt.Sprintf("d%02d.example", i), State: "up", Primary: []string{"mail.example.com:25"}, Latency: 23,
			Recipients: "listed", Lists: rcpt.Freshness{Complete: true, Known: 12}, Replay: "automatic"})
	}
	s.Domains[3].Parked, s.Domains[3].Accepted, s.Domains[3].Bounced, s.Domains[3].Removed = 1, 4, 1, 2
	s.Domains[7].State, s.Domains[7].Since, s.Domains[7].Cause = "down", &since, "connection refused"
	s.Domains[9].Lists.Sources = []rcpt.SourceState{{Name: "ldap", Err: "no answer"}}
	e, out, _ := env()
	e.printStatus(out, s)
	var first []string
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, " ") {
			first = append(first, strings.Fields(line)[0])
		}
	}
	if got := strings.Join(first[:7], " "); got != "d03.example d07.example d09.example clamd ! d00.example d01.example" {
		t.Errorf("in this order: %s\n%s", got, out)
	}
	if len(first) != 20+5 {
		t.Errorf("%d lines", len(first))
	}
	for _, want := range []string{"parked 1   pending 0   bounced 1   removed 2", "-> restante queue list --state parked --domain d03.example"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	s.Domains, s.Filters = s.Domains[:1], s.Filters[:1]
	if needsAttention(s) {
		t.Error("all is well, and a person is asked for")
	}
}

// TestOutagesAddUp: what is kept is the sum of the columns behind it, and a column that nobody needs isn't there.
func TestOutagesAddUp(t *testing.T) {
	at := time.Date(2020, 11, 21, 9, 12, 0, 0, time.Local)
	list := []index.Outage{
		{ID: "b", Opened: at, Closed: at.Add(time.Hour), Counts: index.Counts{Delivered: 200, Parked: 1}},
		{ID: "a", Opened: at, Closed: at.Add(90 * time.Second), Counts: index.Counts{Delivered: 5}},
	}
	for _, want := range []string{`OUTAGE  BEGAN              LASTED  KEPT  DELIVERED  PARKED  PENDING
b       21 Nov 2020 09:12  60 min   201        200       1        0  closed
a       21 Nov 2020 09:12  1 min      5          5       0        0  closed
`, `OUTAGE  BEGAN              LASTED  KEPT  DELIVERED  PARKED  EXPIRED  REMOVED  PENDING
b       21 Nov 2020 09:12  60 min   203        200       1        2        0        0  closed
a       21 Nov 2020 09:12  1 min      8          5       0        0        3        0  closed
`} {
		e, out, _ := env()
		e.printOutages(list)
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out, want)
		}
		list[0].Counts.Expired, list[1].Counts.Removed = 2, 3
	}
}

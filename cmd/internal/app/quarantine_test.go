package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/policy/scan/scantest"
	"restante/spool"
	"restante/spool/index"
	"restante/webmail/mailbox"
)

// TestQuarantine is the life of a virus at a node that has clamd look at its mail: kept, though the primary is up, shown to admins alone, told of,
// no outage, not tried, and handed over when an admin lets it out. A reload begins it, and what is refused leaves nothing behind.
func TestQuarantine(t *testing.T) {
	clamd := scantest.Clamd(t)
	a := node(t, t.TempDir())
	until(t, "up", func() bool { return status(t, a).State == "up" })
	told := filepath.Join(t.TempDir(), "told")
	found := "quarantine"
	a.o.Load = func() (*config.Config, error) {
		next := *a.cfg.Load()
		next.Clamd.Address, next.Clamd.Found = clamd.Address, found
		next.Notify.Command = []string{"sh", "-c", "cat >> " + told}
		return &next, nil
	}
	reload := func() {
		t.Helper()
		if _, err := a.Reload(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	virus := "From: a@kunde.example\r\nSubject: Invoice\r\n\r\n" + scantest.Virus + "\r\n"
	for _, text := range []string{virus, "From: a@kunde.example\r\nSubject: Hello\r\n\r\nHow are you?\r\n"} {
		if err := send(a.Addrs().SMTP[0], "you@example.test", text); err != nil {
			t.Fatal(err)
		}
	}
	b := &backend{a}
	until(t, "kept", func() bool { return status(t, a).Quarantined == 1 })
	d := status(t, a)
	if d.Pending != 0 || d.OutageOpen || d.Outage != "" || d.Parked+d.EarlierParked != 1 || d.QuarantinedOldest == nil || d.State != "up" {
		t.Errorf("%+v", d)
	}
	pairs, _, err := b.List(t.Context(), index.Filter{State: index.StateQuarantined})
	if err != nil || len(pairs) != 1 {
		t.Fatal(pairs, err)
	}
	id, why := pairs[0].Entry, "clamd: found Restante.Test.UNOFFICIAL"
	if !strings.Contains(pairs[0].Quarantine, why) {
		t.Errorf("%+v", pairs[0])
	}
	v, err := b.Show(t.Context(), id)
	if err != nil || !strings.Contains(v.Entry.Quarantine, why) || v.Entry.Verdicts["clamd"] != "found" {
		t.Errorf("%+v, %v", v.Entry, err)
	}
	box := mailbox.Box{ID: "you@example.test", Addresses: []string{"you@example.test"}}
	shown := func() bool {
		_, err := a.web.mail.Item(t.Context(), box, id)
		return err == nil
	}
	act := func(do string) *admin.ActResult {
		t.Helper()
		r, err := b.Act(t.Context(), "admin root", admin.Action{Do: do, IDs: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := act("retry"); r.Pairs != 0 || len(r.Skipped) != 1 || shown() {
		t.Errorf("a retry: %+v, shown %v", r, shown())
	}
	until(t, "told", func() bool {
		text, err := os.ReadFile(told)
		return err == nil && strings.Contains(string(text), `"kind":"quarantined"`) && strings.Contains(string(text), "restante queue show "+id)
	})
	if list, err := a.primary.do("list"); err != nil || list.Count != 1 {
		t.Errorf("the primary has %+v, %v", list, err)
	}
	outageWithQuarantine(t, a, virus)
	// The filter goes away, and is told of; viruses don't come in meanwhile.
	clamd.Stop()
	if err := send(a.Addrs().SMTP[0], "you@example.test", virus); err == nil || !strings.Contains(err.Error(), "4.3.0 Mail can't be checked") {
		t.Errorf("without clamd: %v", err)
	}
	s, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if reasons := strings.Join(s.Reasons, "\n"); len(s.Filters) != 1 || s.Filters[0].Up || !strings.Contains(reasons, "clamd at "+clamd.Address+" fails since ") || !strings.Contains(reasons, ", mail is deferred") {
		t.Errorf("%+v %v", s.Filters, s.Reasons)
	}
	if r := act("release"); r.Pairs != 1 || len(r.Quarantine) != 1 || !strings.Contains(r.Quarantine[0], why) {
		t.Errorf("%+v", r)
	}
	until(t, "handed over", func() bool {
		v, err := b.Show(t.Context(), id)
		return err == nil && v.Pairs[0].State == spool.StateDelivered && v.Pairs[0].Quarantine == ""
	})
	until(t, "shown", shown)
	if d := status(t, a); d.Quarantined != 1 || d.Parked+d.EarlierParked != 1 {
		t.Errorf("%+v", d)
	}
}

// outageWithQuarantine: what comes into quarantine in an outage is a part of its sums, and doesn't hold it open.
func outageWithQuarantine(t *testing.T, a *App, virus string) {
	t.Helper()
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	if err := send(a.Addrs().SMTP[0], "you@example.test", "From: a@kunde.example\r\nSubject: Hello\r\n\r\nHow are you?\r\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "an outage", func() bool { return status(t, a).OutageOpen })
	if err := send(a.Addrs().SMTP[0], "you@example.test", virus); err != nil {
		t.Fatal(err)
	}
	until(t, "kept", func() bool { d := status(t, a); return d.Pending == 1 && d.Quarantined == 2 })
	if _, err := a.primary.do("start"); err != nil {
		t.Fatal(err)
	}
	until(t, "over", func() bool { d := status(t, a); return d.Delivered == 1 && !d.OutageOpen && d.State == "up" })
	r, err := (&backend{a}).Report(t.Context(), status(t, a).Outage)
	if err != nil || r.Accepted != 2 || r.Counts.Delivered != 1 || r.Counts.Parked != 1 || r.Unaccounted != 0 || len(r.NotDelivered) != 1 || r.NotDelivered[0].Quarantine == "" {
		t.Errorf("%+v, %v", r, err)
	}
	state, err := a.picture.domain(t.Context(), "example.test")
	if err != nil || state.Total != 1 || state.Delivered != 1 || state.Parked != 0 {
		t.Errorf("staff are told %+v, %v", state, err)
	}
}

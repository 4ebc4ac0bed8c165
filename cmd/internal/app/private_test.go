package app

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/admin"
	"restante/spool"
	"restante/spool/index"
)

// TestContentIsHiddenFromAdmins: with read_content = "off" nothing on the admin socket shows a subject or a body; with it on, reading
// stands on the activity page of the person whose mail it is.
func TestContentIsHiddenFromAdmins(t *testing.T) {
	a := node(t, t.TempDir())
	b := &backend{a}
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: salary talks\r\n\r\nthe secret body\r\n"); err != nil {
		t.Fatal(err)
	}
	var id string
	until(t, "it is listed", func() bool {
		pairs, _, err := b.List(t.Context(), index.Filter{})
		if err != nil || len(pairs) == 0 {
			return false
		}
		id = pairs[0].Entry
		return pairs[0].Subject == "salary talks"
	})
	until(t, "you have an account", func() bool { _, ok := a.web.accounts.Account("you@example.test"); return ok })
	var raw bytes.Buffer
	if err := b.Raw(t.Context(), "admin root", id, &raw); err != nil || !strings.Contains(raw.String(), "the secret body") {
		t.Fatalf("%v", err)
	}
	until(t, "the reading is on the activity page", func() bool {
		evs, err := a.web.mail.Activity(t.Context(), "you@example.test", time.Time{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range evs {
			if ev.By == "admin root" && ev.Entry == id && ev.Data["what"] == "opened" {
				return true
			}
		}
		return false
	})

	off := *a.cfg.Load()
	off.Admin.ReadContent = "off"
	a.cfg.Store(&off)
	var shown []any
	pairs, _, err := b.List(t.Context(), index.Filter{})
	shown = append(shown, pairs, err)
	view, err := b.Show(t.Context(), id)
	shown = append(shown, view, err)
	list, err := b.Outages(t.Context(), "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	if err := b.ReportPairs(t.Context(), list[0].ID, func(p spool.Pair) error {
		shown = append(shown, p)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	report, err := b.Report(t.Context(), list[0].ID)
	shown = append(shown, report, err)
	if err != nil || len(report.NotDelivered) == 0 {
		t.Fatalf("%+v %v", report, err)
	}
	run, err := b.ReplayRun(t.Context(), "admin root", admin.Selection{IDs: []string{id}, DryRun: true}, func(p admin.Progress) { shown = append(shown, p) })
	shown = append(shown, run, err)
	text, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "you@example.test") || strings.Contains(string(text), "salary") {
		t.Errorf("%s", text)
	}
	_, _, listed := b.List(t.Context(), index.Filter{Text: "salary"})
	_, acted := b.Act(t.Context(), "admin root", admin.Action{Do: "hold", DryRun: true, Filter: index.Filter{Text: "salary"}})
	for name, err := range map[string]error{
		"list by text": listed, "hold by text": acted, // which subjects there are is told by what is found
		"raw":    b.Raw(t.Context(), "admin root", id, io.Discard),
		"export": b.Export(t.Context(), "admin root", admin.ExportRequest{IDs: []string{id}}, io.Discard),
	} {
		if err == nil || !strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.ReplayRun(t.Context(), "admin root", admin.Selection{IDs: []string{id}, To: "127.0.0.1:1"}, func(admin.Progress) {}); err == nil || !strings.Contains(err.Error(), "hidden") {
		t.Errorf("elsewhere: %v", err)
	}
}

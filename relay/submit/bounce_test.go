package submit

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"restante/relay/replay"
	"restante/relay/sink"
	"restante/spool"
)

// report is a bounce taken apart by others' readers.
type report struct {
	header mail.Header
	text   string
	status string
	about  string
}

func readReport(t *testing.T, raw []byte) report {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v %v", kind, params, err)
	}
	r := report{header: m.Header}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for i := range 3 {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		var src io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			src = quotedprintable.NewReader(p)
		}
		b, err := io.ReadAll(src)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"text/plain", "message/delivery-status", "text/rfc822-headers"}[i]
		if got := p.Header.Get("Content-Type"); !strings.HasPrefix(got, want) {
			t.Errorf("part %d is %s", i, got)
		}
		*[]*string{&r.text, &r.status, &r.about}[i] = string(b)
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Errorf("a fourth part, or %v", err)
	}
	return r
}

func TestBounce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{
		{Stage: sink.StageRcpt, Match: "nobody@", Reply: "550 5.1.1 <nobody@example.org>: no such user here"},
		{Stage: sink.StageRcpt, Match: "full@", Reply: "552 5.2.2 mailbox full"},
	}}})
	r.run()
	m := r.submission("nobody@example.org", "kunde@example.org", "full@example.org")
	m.Message = bytes.Replace(m.Message, []byte("An offer"), []byte("=?utf-8?q?Gr=C3=BC=C3=9Fe?="), 1)
	res := r.submit(m)
	r.eventually("two bounced", func() bool {
		n := map[spool.PairState]int{}
		for _, p := range r.pairs(spool.Outbound) {
			n[p.State]++
		}
		return n[spool.StateBounced] == 2 && n[spool.StateDelivered] == 1
	})
	r.sync()
	bounces := r.pairs(spool.Local)
	if len(bounces) == 0 || len(bounces) > 2 || bounces[0].From != "" || bounces[0].Address != anna || bounces[0].Domain != hosted {
		t.Fatalf("%+v", bounces)
	}
	var texts, statuses string
	for _, b := range bounces {
		e, raw := r.octets(b.Entry)
		rep := readReport(t, raw)
		texts, statuses = texts+rep.text, statuses+rep.status
		if e.Mailbox != "" || e.Writing != "" || !strings.HasPrefix(e.Reason, "bounce of "+res.Entries[0]) {
			t.Errorf("%+v", e)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(rep.header.Get("Subject"))
		if err != nil || subject != "Not delivered: Grüße" || e.Summary.Subject != subject {
			t.Errorf("%q, %q, %v", subject, e.Summary.Subject, err)
		}
		if rep.header.Get("Auto-Submitted") != "auto-replied" || rep.header.Get("In-Reply-To") == "" || !strings.Contains(rep.about, rep.header.Get("References")) {
			t.Errorf("%v", rep.header)
		}
		if !strings.Contains(rep.about, "From: Anna <"+anna+">") || strings.Contains(rep.about, "it works") {
			t.Errorf("returned: %s", rep.about)
		}
	}
	for _, want := range []string{"Grüße", "nobody@example.org\n  There is no such address.", "no such user here", "The mailbox is full.", "Nothing is lost"} {
		if !strings.Contains(strings.ReplaceAll(texts, "\r\n", "\n"), want) {
			t.Errorf("%q isn't in:\n%s", want, texts)
		}
	}
	for _, want := range []string{"Reporting-MTA: dns; mx2.example.test", "Final-Recipient: rfc822; nobody@example.org", "Action: failed", "Status: 5.1.1",
		"Diagnostic-Code: smtp; 550 5.1.1 <nobody@example.org>: no such user here", "Status: 5.2.2"} {
		if !strings.Contains(statuses, want) {
			t.Errorf("%q isn't in:\n%s", want, statuses)
		}
	}
	if strings.Contains(statuses, "kunde@") {
		t.Error("who has it is in the report")
	}
	if tally, err := r.service.Tally(t.Context(), hosted, time.Now().Add(-time.Hour), time.Time{}); err != nil || tally != (Tally{Sent: 1, Bounced: 1}) {
		t.Errorf("%+v %v", tally, err)
	}
}

// Copies, mail for hosted domains and mail without a sender are never bounced: promise 7.
func TestNeverBounced(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	res := r.submit(r.submission("kunde@example.org", "bob@other.test"))
	r.sync()
	for i, id := range res.Entries {
		v := r.view(id)
		told, err := r.service.undelivered([]replay.Undelivered{{Pair: v.Pairs[0], Reply: "550 5.1.1 no"}})
		if err != nil || told != (i == 0) {
			t.Errorf("%s: %v %v", v.Entry.Kind, told, err)
		}
	}
	r.sync()
	ps := r.pairs(spool.Local)
	bounce := ps[len(ps)-1]
	if told, err := r.service.undelivered([]replay.Undelivered{{Pair: bounce, Reply: "550 5.1.1 no"}}); told || err != nil || bounce.From != "" {
		t.Errorf("a bounce of a bounce: %v %v %+v", told, err, bounce)
	}
}

// A pair gets one bounce, also when a crash came between the bounce and the event that ends the pair.
func TestOneBounce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	res := r.submit(r.submission("a@example.org", "b@example.org"))
	v := r.view(res.Entries[0])
	us := []replay.Undelivered{{Pair: v.Pairs[0], Reply: "550 5.1.1 no"}, {Pair: v.Pairs[1], Reply: "550 5.1.1 no"}}
	try := func(want int, us ...replay.Undelivered) {
		t.Helper()
		if told, err := r.service.undelivered(us); !told || err != nil {
			t.Fatal(told, err)
		}
		r.sync()
		if ps := r.pairs(spool.Local); len(ps) != want {
			t.Errorf("%d bounces, want %d", len(ps), want)
		}
	}
	try(1, us[0])
	r.close()
	r.open()
	try(1, us[0])
	try(2, us...) // only the second is new
	try(2, us...)
	us[0].Pair.Round++ // an admin had it tried again
	try(3, us[0])
	_, last := r.octets(r.pairs(spool.Local)[1].Entry)
	if rep := readReport(t, last); strings.Contains(rep.text, "a@example.org") || !strings.Contains(rep.text, "b@example.org") {
		t.Error(rep.text)
	}
}

// What the smarthost doesn't answer for is given back after a while.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{}, func(o *Options) { o.Config.GiveUp = time.Second })
	r.host.Stop()
	r.run()
	res := r.submit(r.submission("kunde@example.org"))
	r.state(spool.Outbound, spool.StateBounced, 1)
	b := r.state(spool.Local, spool.StatePending, 1)
	_, raw := r.octets(b[0].Entry)
	rep := readReport(t, raw)
	if !strings.Contains(rep.text, "could not be reached for 1 second.") || !strings.Contains(rep.status, "Status: 5.4.7") {
		t.Errorf("%s\n%s", rep.text, rep.status)
	}
	if p := r.view(res.Entries[0]).Pairs[0]; p.Reason != "not delivered for 1 second" {
		t.Errorf("%+v", p)
	}
}

// What is put off for too long is given back too.
func TestPutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "slow@", Reply: "451 4.7.1 come back later"}}}},
		func(o *Options) { o.Config.GiveUp = 3 * time.Second })
	r.run()
	r.submit(r.submission("slow@example.org"))
	r.state(spool.Outbound, spool.StateBounced, 1)
	b := r.state(spool.Local, spool.StatePending, 1)
	_, raw := r.octets(b[0].Entry)
	if rep := readReport(t, raw); !strings.Contains(rep.text, "put it off again and again") || !strings.Contains(rep.text, "451 4.7.1 come back later") || !strings.Contains(rep.status, "Status: 5.4.7") {
		t.Errorf("%s\n%s", rep.text, rep.status)
	}
}

// A smarthost that refuses everything pauses sending; nothing is given back for that.
func TestRefusesEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "554 5.7.1 relay access denied"}}}},
		func(o *Options) { o.Config.RetryMin, o.Config.RetryMax = time.Hour, time.Hour })
	for i := range replay.AnyRow + 2 {
		r.submit(r.submission(fmt.Sprintf("k%d@example.org", i)))
	}
	r.run()
	r.eventually("paused", func() bool {
		_, why := r.service.May(t.Context(), anna, anna)
		_, paused, err := r.index.Paused(t.Context(), spool.Smarthost)
		return err == nil && paused && why == WhySmarthostDown
	})
	for _, p := range r.pairs(spool.Outbound) {
		if p.State != spool.StatePending {
			t.Errorf("%+v", p)
		}
	}
	st, err := r.service.Status(t.Context())
	if err != nil || len(st.Stopped) > 0 || !strings.Contains(st.Servers[0].Reason, "relay access denied") {
		t.Errorf("%+v %v", st, err)
	}
}

func TestInternationalBounce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	m := r.submission("grüße@example.org")
	res := r.submit(m)
	v := r.view(res.Entries[0])
	if e, _ := r.octets(res.Entries[0]); !e.Params.SMTPUTF8 {
		t.Errorf("%+v", e.Params)
	}
	if told, err := r.service.undelivered([]replay.Undelivered{{Pair: v.Pairs[0], Reply: "553 5.6.7 no", Reason: "doesn't fit"}}); !told || err != nil {
		t.Fatal(told, err)
	}
	r.sync()
	_, raw := r.octets(r.pairs(spool.Local)[0].Entry)
	for _, want := range []string{"message/global-delivery-status", "Final-Recipient: utf-8; grüße@example.org"} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("%q isn't in\n%s", want, raw)
		}
	}
}

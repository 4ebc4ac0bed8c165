package accounts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool"
)

// TestCodes: a code counts once, in an outage, as people type it, on its own account; a new sheet makes the old one void.
func TestCodes(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	must(t, d, "anna@example.com", "ben@example.com")
	sheets, err := d.MakeCodes(t.Context(), "admin root", "anna@example.com", "ben@example.com")
	if err != nil || len(sheets) != 2 || len(sheets[0].Codes) != 10 {
		t.Fatal(sheets, err)
	}
	codes := sheets[0].Codes
	for _, ev := range l.all() {
		for _, c := range codes {
			if strings.Contains(fmt.Sprint(ev), c) {
				t.Fatal("a code stands in the ledger")
			}
		}
	}
	use := func(d *Directory, address, code string, w error) {
		t.Helper()
		id, err := d.UseCode(t.Context(), address, code)
		want(t, address+" "+code, err, w)
		if (w == nil) != (id == "2026-11-21-example.com") {
			t.Errorf("outage %q", id)
		}
	}
	use(d, "anna@example.com", codes[0], ErrNoOutage)
	l.outages["example.com"] = "2026-11-21-example.com"
	use(d, "anna@example.com", "WRONG-CODE", ErrWrong)
	use(d, "ben@example.com", codes[0], ErrWrong)
	use(d, "nobody@example.com", codes[0], ErrWrong)
	use(d, "anna@example.com", " "+strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(codes[0], "-", " "), "0", "o"), "1", "l")), nil)
	use(d, "anna@example.com", codes[0], ErrUsed)
	use(l.node(t), "anna@example.com", codes[0], ErrUsed)
	use(d, "anna@example.com", codes[9], nil)
	if c, ok := d.Codes("anna@example.com"); !ok || c.Left != 8 || c.Count != 10 || c.Sheet != sheets[0].ID {
		t.Errorf("%+v", c)
	}
	if _, err := d.MakeCodes(t.Context(), "admin root", "anna@example.com"); err != nil {
		t.Fatal(err)
	}
	use(d, "anna@example.com", codes[1], ErrWrong)
	if c, _ := d.Codes("anna@example.com"); c.Left != 10 {
		t.Errorf("%+v", c)
	}
	want(t, "void", d.VoidCodes(t.Context(), "admin root", "ben@example.com"), nil)
	use(d, "ben@example.com", sheets[1].Codes[0], ErrWrong)
	if _, err := d.MakeCodes(t.Context(), "admin root", "nobody@example.com"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestOnceInTheCluster: two nodes that have not read each other's events are asked for the same code and link by many at once.
func TestOnceInTheCluster(t *testing.T) {
	l := newLedger(t)
	l.outages["example.com"] = "o"
	d := l.node(t)
	must(t, d, "anna@example.com")
	sheets, err := d.MakeCodes(t.Context(), "admin root", "anna@example.com")
	if err != nil {
		t.Fatal(err)
	}
	links, err := d.MakeLinks(t.Context(), "admin root", LinkSignIn, 0, "anna@example.com")
	if err != nil {
		t.Fatal(err)
	}
	nodes := []*Directory{l.node(t), l.node(t), l.node(t)}
	var code, link atomic.Int32
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			n := nodes[i%3]
			if _, err := n.UseCode(t.Context(), "anna@example.com", sheets[0].Codes[3]); err == nil {
				code.Add(1)
			} else if !errors.Is(err, ErrUsed) {
				t.Error(err)
			}
			if _, err := n.UseLink(t.Context(), links[0].Token); err == nil {
				link.Add(1)
			} else if !errors.Is(err, ErrUsed) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if code.Load() != 1 || link.Load() != 1 {
		t.Errorf("the code signed in %d times, the link %d times", code.Load(), link.Load())
	}
	l.down = spool.ErrUnsettled
	if _, err := d.UseCode(t.Context(), "anna@example.com", sheets[0].Codes[4]); !errors.Is(err, spool.ErrUnsettled) {
		t.Error("a code counted though nothing could be recorded", err)
	}
}

// TestLinks: a link is looked at without being used up, is used once, ends by itself, and can be taken back.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		d := l.node(t)
		must(t, d, "anna@example.com", "ben@example.com")
		_, err := d.MakeLinks(t.Context(), "x", LinkSignIn, 40*24*time.Hour, "anna@example.com")
		want(t, "for 40 days", err, ErrInvalid)
		_, err = d.MakeLinks(t.Context(), "x", LinkSignIn, 0, "nobody@example.com")
		want(t, "for nobody", err, ErrNotFound)
		links, err := d.MakeLinks(t.Context(), "admin root", LinkPractice, time.Hour, "anna@example.com", "ben@example.com")
		if err != nil {
			t.Fatal(err)
		}
		token := links[0].Token
		if len(token) != 24 || strings.Trim(token, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			t.Errorf("token %q", token)
		}
		if text := fmt.Sprint(l.all()); strings.Contains(text, token) {
			t.Error("the token stands in the ledger")
		}
		for range 3 {
			got, err := d.Link(" " + strings.ToUpper(token))
			want(t, "look", err, nil)
			if got.Account != "anna@example.com" || got.Purpose != LinkPractice || got.By != "admin root" || got.Token != "" {
				t.Errorf("%+v", got)
			}
		}
		_, err = d.Link(token[1:])
		want(t, "a wrong token", err, ErrWrong)
		_, err = d.UseLink(t.Context(), token)
		want(t, "use", err, nil)
		_, err = d.UseLink(t.Context(), token)
		want(t, "use again", err, ErrUsed)
		if n := len(d.Links("anna@example.com")); n != 0 {
			t.Errorf("%d links left", n)
		}
		time.Sleep(time.Hour + time.Second)
		_, err = d.UseLink(t.Context(), links[1].Token)
		want(t, "late", err, ErrExpired)
		links, err = d.MakeLinks(t.Context(), "admin root", LinkSignIn, 0, "anna@example.com", "ben@example.com")
		want(t, "make", err, nil)
		want(t, "void", d.VoidLinks(t.Context(), "x", "anna@example.com"), nil)
		_, err = d.Link(links[0].Token)
		want(t, "taken back", err, ErrWrong)
		yes := true
		if _, err := d.Edit(t.Context(), "x", "ben@example.com", Edit{Disabled: &yes}); err != nil {
			t.Fatal(err)
		}
		_, err = d.UseLink(t.Context(), links[1].Token)
		want(t, "of a disabled account", err, ErrWrong)
		_, err = d.MakeLinks(t.Context(), "x", LinkSignIn, 0, "ben@example.com")
		want(t, "for a disabled account", err, ErrInvalid)
	})
}

// TestPasswords: set, verified, bounded, forgotten; nobody is told what was wrong.
func TestPasswords(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	must(t, d, "anna@example.com", "ben@example.com")
	want(t, "short", d.SetPassword(t.Context(), "x", "anna@example.com", "short", SetBySelf), ErrInvalid)
	want(t, "long", d.SetPassword(t.Context(), "x", "anna@example.com", strings.Repeat("x", PasswordMax+1), SetBySelf), ErrInvalid)
	want(t, "nobody", d.SetPassword(t.Context(), "x", "nobody@example.com", "correct horse", SetBySelf), ErrNotFound)
	want(t, "set", d.SetPassword(t.Context(), "x", "anna@example.com", "correct horse", SetBySelf), nil)
	verify := func(address, password string, w error) {
		t.Helper()
		want(t, address+" "+password, d.VerifyPassword(t.Context(), address, password), w)
	}
	verify("anna@example.com", "correct horse", nil)
	verify("anna@example.com", "correct horse ", ErrWrong)
	verify("anna@example.com", strings.Repeat("x", PasswordMax+1), ErrWrong)
	verify("ben@example.com", "correct horse", ErrWrong)
	verify("nobody@example.com", "correct horse", ErrWrong)
	verify("nobody@example.com", "", ErrWrong)
	want(t, "delete", d.Delete(t.Context(), "x", "anna@example.com"), nil)
	verify("anna@example.com", "correct horse", ErrWrong)
	want(t, "undelete", d.Undelete(t.Context(), "x", "anna@example.com"), nil)
	verify("anna@example.com", "correct horse", nil)
	want(t, "forget", d.ForgetPassword(t.Context(), "x", "anna@example.com"), nil)
	verify("anna@example.com", "correct horse", ErrWrong)
	if ok, err := decoy.fits("anything"); ok || err != nil || !decoy.current() {
		t.Error("the decoy", ok, err)
	}
}

// TestFloodOfPasswords: no more are computed at a time than fits, those who wait too long are told so, and those who leave are let go.
func TestFloodOfPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHashing()
		var free []func()
		for range hashesAtOnce {
			f, err := h.take(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			free = append(free, f)
		}
		start := time.Now()
		_, err := h.take(t.Context(), true)
		want(t, "one too many", err, ErrBusy)
		if time.Since(start) != hashWait {
			t.Error("waited", time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = h.take(ctx, true)
		want(t, "gone", err, context.Canceled)
		f, err := h.take(t.Context(), false)
		want(t, "an imported one meanwhile", err, nil)
		f()
		go func() {
			time.Sleep(time.Second)
			free[0]()
		}()
		if _, err := h.take(t.Context(), true); err != nil {
			t.Error("after a second:", err)
		}
	})
}

// TestReadiness: by what, at this moment and in an outage, and who couldn't.
func TestReadiness(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	must(t, d, "anna@example.com", "ben@example.com", "cleo@example.com", "dora@example.com", "emil@example.com", "fritz@example.com")
	ctx := t.Context()
	want(t, "password", d.SetPassword(ctx, "x", "anna@example.com", "correct horse", SetBySelf), nil)
	sheets, err := d.MakeCodes(ctx, "x", "ben@example.com", "emil@example.com")
	want(t, "codes", err, nil)
	_, err = d.MakeLinks(ctx, "x", LinkSignIn, time.Hour, "cleo@example.com")
	want(t, "link", err, nil)
	_, err = d.MakeLinks(ctx, "x", LinkPractice, time.Hour, "dora@example.com")
	want(t, "practice link", err, nil)
	until := time.Now().Add(time.Hour)
	want(t, "fields of others", d.Record(ctx, "x",
		Change{Account: "anna@example.com", Field: FieldTOTP, Secret: []byte("seed")},
		Change{Account: "anna@example.com", Field: FieldPasskey, Key: "p1", Value: true, Until: until},
		Change{Account: "cleo@example.com", Field: FieldDevice, Key: "d1", Value: true, Until: time.Now().Add(-time.Second)},
		Change{Account: "ben@example.com", Field: FieldPractised, Value: map[string]string{"how": "codes"}}), nil)
	yes := true
	_, err = d.Edit(ctx, "x", "fritz@example.com", Edit{Disabled: &yes})
	want(t, "disable", err, nil)
	line := func() string {
		r := d.Readiness()
		out := fmt.Sprintf("%d of %d, now %d, practised %d, disabled %d:", r.Could, r.Accounts, r.Now, r.Practised, r.Disabled)
		for _, p := range r.People {
			out += fmt.Sprintf(" %s%v%v%s", p.Account.Address[:1], p.Ways, p.Now, p.Why)
		}
		return out
	}
	same(t, "before", line(), "4 of 5, now 2, practised 1, disabled 1: d[][]no password, no codes, no device a[password passkey][password passkey] b[codes][] c[link][link] e[codes][]")
	if a, _ := d.Account("anna@example.com"); !d.Ready(a).Second || !d.Ready(a).Until.IsZero() {
		t.Errorf("%+v", d.Ready(a))
	}
	if c, _ := d.Account("cleo@example.com"); d.Ready(c).Until.IsZero() {
		t.Errorf("a link that ends is all there is: %+v", d.Ready(c))
	}
	l.outages["example.com"] = "o"
	for _, c := range sheets[1].Codes {
		if _, err := d.UseCode(ctx, "emil@example.com", c); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "in an outage", line(), "3 of 5, now 3, practised 1, disabled 1: d[][]no password, no codes, no device e[][]all codes are used a[password passkey][password passkey] b[codes][codes] c[link][link]")
}

package setup

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestSenders(t *testing.T) {
	writes := func(r *rig) {
		r.node.Webmail, r.node.Smarthost = &Webmail{}, &Server{Host: "smtp.test", Port: 587, TLS: "starttls"}
	}
	spf := func(text string) string { return "example.com. TXT \"" + text + "\"\n" }
	keys := func(published string) func(*rig) {
		return func(r *rig) { writes(r); r.node.Domains[0].Keys[0].Published = published }
	}
	none := func(r *rig) { writes(r); r.node.Domains[0].Keys = nil }
	for _, o := range []one{
		{name: "allows us", check: "SPF", result: OK, found: "v=spf1 mx -all"},
		{name: "none", take: "example.com. TXT", check: "SPF", result: Note, record: `example.com. TXT "v=spf1 mx ~all"`},
		{name: "none, people write", take: "example.com. TXT", change: writes, check: "SPF", result: Warn},
		{name: "another TXT", take: "example.com. TXT", zone: spf("v=spf10 -all") + spf("google-site-verification=x"), check: "SPF", result: Note, found: "none"},
		{name: "two", zone: spf("v=spf1 a -all"), check: "SPF", result: Fail, found: "2 records"},
		{name: "broken", take: "example.com. TXT", zone: spf("v=spf1 nonsense:x -all"), check: "SPF", result: Fail, found: "broken"},
		{name: "everybody", take: "example.com. TXT", zone: spf("v=spf1 +all"), check: "SPF", result: Warn, found: "everybody"},
		{name: "not us, nobody writes", take: "example.com. TXT", zone: spf("v=spf1 ip4:192.0.2.1 -all"), check: "SPF", result: OK},
		{name: "not us", take: "example.com. TXT", zone: spf("v=spf1 ip4:192.0.2.1 -all"), change: writes, check: "SPF", result: Warn, record: `example.com. TXT "v=spf1 ip4:192.0.2.1 a:mx2.example.net -all"`},
		{name: "not us, signed in there", take: "example.com. TXT", zone: spf("v=spf1 ip4:192.0.2.1 ip4:192.0.2.9 -all") + "smtp.test. A 192.0.2.9\n",
			change: func(r *rig) { writes(r); r.node.Domains[0].Submission = &Server{Host: "mail.example.com", Port: 587} }, check: "SPF", result: OK},
		{name: "not the smarthost", zone: "smtp.test. A 192.0.2.9\n", change: writes, check: "SPF", result: Note, found: "it doesn't name smtp.test"},

		{name: "signed", check: "DKIM", result: OK, found: "all keys that sign are published (1)"},
		{name: "no keys", change: none, check: "DKIM", result: Warn, mend: "restante dkim keygen example.com"},
		{name: "unpublished", change: keys("no"), check: "DKIM", result: Warn, record: `s1._domainkey.example.com. TXT "v=DKIM1; k=rsa; p=AAAA"`},
		{name: "another", change: keys("other"), check: "DKIM", result: Fail, found: "another key"},
		{name: "unknown", change: keys("unknown"), check: "DKIM", result: Note},
		{name: "no node", change: func(r *rig) { r.node.Domains[0].KeysKnown = false }, check: "DKIM", result: Note, found: "none answers"},

		{name: "policy", check: "DMARC", result: OK, found: "p=reject"},
		{name: "policy above", take: "_dmarc", zone: "_dmarc.com. TXT \"v=DMARC1; p=none\"\n", check: "DMARC", result: OK, found: "(at com)"},
		{name: "no policy", take: "_dmarc", check: "DMARC", result: Note, record: "v=DMARC1; p=none"},
		{name: "two policies", zone: "_dmarc.example.com. TXT \"v=DMARC1; p=none\"\n", check: "DMARC", result: Fail},
		{name: "refused without a signature", change: none, check: "DMARC", result: Warn, found: "may be refused"},
	} {
		t.Run(o.name, o.run)
	}
}

func TestIncluding(t *testing.T) {
	for in, want := range map[string]string{
		"v=spf1 mx -all":              "v=spf1 mx a:x -all",
		"v=spf1 include:a.test ?ALL":  "v=spf1 include:a.test a:x ?ALL",
		"v=spf1 mx redirect=b.test":   "v=spf1 mx a:x redirect=b.test",
		"v=spf1 mx":                   "v=spf1 mx a:x",
		"v=spf1 exp=e.test mx ~all":   "v=spf1 exp=e.test mx a:x ~all",
		"v=spf1 include:all.test all": "v=spf1 include:all.test a:x all",
	} {
		if got := including(in, "a:x"); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := quoted(`a"b\c`); got != `"a\"b\\c"` {
		t.Error(got)
	}
	long := quoted(strings.Repeat("a", 600))
	if strings.Count(long, `"`) != 6 || strings.ReplaceAll(strings.ReplaceAll(long, `"`, ""), " ", "") != strings.Repeat("a", 600) {
		t.Error(long)
	}
}

func TestMachine(t *testing.T) {
	web := func(r *rig) {
		r.node.Webmail = &Webmail{Hostnames: []string{us, "webmail.example.com"}, TLS: "acme", ACMECA: "https://acme-v02.api.letsencrypt.org/directory"}
	}
	opens := func(name string) func(*rig) {
		return func(r *rig) { web(r); r.at["192.0.2.25:443"] = r.web(r.t, name, http.NotFoundHandler()) }
	}
	space := func(free, total int64, err error) func(*rig) {
		return func(r *rig) { r.Space = func(string) (int64, int64, error) { return free, total, err } }
	}
	for _, o := range []one{
		{name: "runs", check: "node", result: OK, found: "127.0.0.1:2525"},
		{name: "doesn't run", change: func(r *rig) { r.node.Running = false }, check: "node", result: Warn, mend: "restante serve"},
		{name: "isn't ready", change: func(r *rig) { r.node.NotReady = []string{"the disk is full"} }, check: "node", result: Fail, found: "the disk is full"},
		{name: "clock", check: "clock", result: OK},
		{name: "clock runs free", change: func(r *rig) { r.Synced = func() (bool, error) { return false, nil } }, check: "clock", result: Warn, mend: "set-ntp"},
		{name: "clock can't be asked", change: func(r *rig) { r.Synced = func() (bool, error) { return false, errors.New("not here") } }, check: "clock", result: Note},
		{name: "room", check: "disk", result: OK, found: "80.0 GB free of 270.0 GB"},
		{name: "no room", change: space(1e8, 1e11, nil), check: "disk", result: Fail, mend: "452"},
		{name: "little room", change: space(15e9, 1e11, nil), check: "disk", result: Warn},
		{name: "room unknown", change: space(0, 0, errors.New("no")), check: "disk", result: Note},
		{name: "store", change: func(r *rig) { r.node.DataDir, r.node.Store.Free, r.node.Store.Total = "", 5e9, 9e9 }, check: "store", result: OK, found: "file:///spool, 5.0 GB free of 9.0 GB"},
		{name: "store fails", change: func(r *rig) { r.node.Store.State, r.node.Store.Error = "failing", "no route" }, check: "store", result: Fail, found: "no route"},
		{name: "bucket, no node", change: func(r *rig) { r.node.Store = Store{URL: "s3://b/p"} }, check: "store", result: Note, mend: "restante store check \"s3://b/p\""},
		{name: "webmail off", check: "webmail", result: Note, found: "off"},
		{name: "webmail", change: opens(us), check: "webmail", result: OK, found: "https://mx2.example.net opens"},
		{name: "webmail, another port", change: func(r *rig) {
			web(r)
			r.node.Webmail.Listen, r.at["192.0.2.25:8443"] = []string{"0.0.0.0:8443"}, r.web(r.t, us, http.NotFoundHandler())
		}, check: "webmail", result: OK, found: "https://mx2.example.net:8443 opens"},
		{name: "webmail, behind a proxy", change: func(r *rig) {
			opens(us)(r)
			r.node.Webmail.Listen, r.node.Webmail.TLS = []string{"127.0.0.1:8025"}, "behind-proxy"
		}, check: "webmail", result: OK, found: "https://mx2.example.net opens"},
		{name: "webmail, no proxy", change: func(r *rig) {
			web(r)
			r.node.Webmail.Listen, r.node.Webmail.TLS = []string{"127.0.0.1:8025"}, "behind-proxy"
		}, check: "webmail", result: Fail, mend: "have the proxy answer there by https and pass it on to 127.0.0.1:8025"},
		{name: "webmail, not here yet", zone: "webmail.example.com. A 192.0.2.80\n", change: opens(us), check: "webmail", result: Note, mend: "on the day, point it here"},
		{name: "webmail, no name", change: opens(us), check: "webmail", result: Fail, record: "webmail.example.com. A 192.0.2.25"},
		{name: "webmail, bad certificate", change: opens("other.test"), check: "webmail", result: Fail, found: "browsers refuse"},
		{name: "webmail, shut", change: web, check: "webmail", result: Fail, mend: "open port 443 or pass it on"},
	} {
		t.Run(o.name, o.run)
	}
}

package msgauth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"

	"restante/dns"
	"restante/dns/dnstest"
	"restante/spool"
)

// key is made from a fixed seed: signatures in failures can be compared.
var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

var zone = `
example.com. TXT "v=spf1 ip4:198.51.100.0/24 -all"
example.com. MX 10 mx.example.com.
mx.example.com. A 198.51.100.1
mx.example.com. TXT "v=spf1 a -all"
_dmarc.example.com. TXT "v=DMARC1; p=reject; sp=quarantine; np=reject"
sub.example.com. A 198.51.100.9
sub.example.com. TXT "v=spf1 a -all"
news.example.com. TXT "v=spf1 ip4:203.0.113.0/24 -all"
strict.example. MX 10 mx.strict.example.
_dmarc.strict.example. TXT "v=DMARC1;p=reject;aspf=s;adkim=s"
a.strict.example. TXT "v=spf1 ip4:198.51.100.0/24 -all"
test.example. MX 10 mx.test.example.
_dmarc.test.example. TXT "v=DMARC1; p=reject; t=y"
none.example. TXT "v=spf1 -all"
two.example. MX 10 mx.two.example.
_dmarc.two.example. TXT "v=DMARC1; p=reject"
_dmarc.two.example. TXT "v=DMARC1; p=none"
_dmarc.bank. TXT "v=DMARC1; p=reject; sp=quarantine; np=reject; psd=y"
shop.bank. MX 10 mx.shop.bank.
mail.shop.bank. TXT "v=spf1 ip4:198.51.100.0/24 -all"
_dmarc.uni.example. TXT "v=DMARC1; p=reject"
_dmarc.dept.uni.example. TXT "v=DMARC1; p=none; psd=n"
dept.uni.example. TXT "v=spf1 ip4:198.51.100.0/24 -all"
uni.example. TXT "v=spf1 ip4:198.51.100.0/24 -all"
s1._domainkey.example.com. TXT "v=DKIM1; k=ed25519; p=KEY"
s1._domainkey.other.example. TXT "v=DKIM1; k=ed25519; p=KEY"
`

func judge(t testing.TB) (*Judge, *dnstest.Server) {
	t.Helper()
	srv := dnstest.New(t, strings.ReplaceAll(zone, "KEY", base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))))
	r, err := dns.New(dns.Options{Servers: []string{"192.0.2.53"}, Exchange: srv.Exchange})
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Resolver: r, AuthservID: "mx2.example.net"}), srv
}

func message(from string) string {
	return "From: " + from + "\r\nTo: info@example.net\r\nSubject: hello\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nHello!\r\n"
}

func sign(t testing.TB, domain, msg string) string {
	t.Helper()
	var out strings.Builder
	if err := dkim.Sign(&out, strings.NewReader(msg), &dkim.SignOptions{Domain: domain, Selector: "s1", Signer: key, HeaderKeys: []string{"From", "Subject"}}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func client(addr string) spool.Client { return spool.Client{Addr: addr, Helo: "mx.example.com"} }

func TestVerdicts(t *testing.T) {
	signed := sign(t, "example.com", message("Anna <anna@example.com>"))
	for _, c := range []struct {
		name, addr, path, msg string
		spf, dkim, dmarc      Result
		policy                string
	}{
		{"all pass", "198.51.100.1", "anna@example.com", signed, Pass, Pass, Pass, "reject"},
		{"nothing passes", "203.0.113.9", "anna@example.com", message("anna@example.com"), Fail, None, Fail, "reject"},
		{"forwarded, signed", "203.0.113.9", "list@lists.example", signed, None, Pass, Pass, "reject"},
		{"changed on the way", "203.0.113.9", "anna@example.com", strings.Replace(signed, "Hello!", "Hallo!", 1), Fail, Fail, Fail, "reject"},
		{"signed by another", "203.0.113.9", "x@other.example", sign(t, "other.example", message("anna@example.com")), None, Pass, Fail, "reject"},
		{"relaxed SPF of a subdomain", "203.0.113.7", "bounce@news.example.com", message("anna@example.com"), Pass, None, Pass, "reject"},
		{"strict SPF of a subdomain", "198.51.100.1", "x@a.strict.example", message("x@strict.example"), Pass, None, Fail, "reject"},
		{"subdomain that exists", "203.0.113.9", "", message("x@sub.example.com"), Fail, None, Fail, "quarantine"},
		{"subdomain that doesn't", "203.0.113.9", "", message("x@ghost.example.com"), Fail, None, Fail, "reject"},
		{"test mode", "203.0.113.9", "", message("x@test.example"), Fail, None, Fail, "quarantine"},
		{"no record", "203.0.113.9", "x@none.example", message("x@none.example"), Fail, None, None, ""},
		{"two records are none", "203.0.113.9", "", message("x@two.example"), Fail, None, None, ""},
		{"below a public suffix that has a policy", "203.0.113.9", "", message("x@shop.bank"), Fail, None, Fail, "quarantine"},
		{"aligned below a public suffix", "198.51.100.2", "x@mail.shop.bank", message("x@shop.bank"), Pass, None, Pass, "quarantine"},
		{"the public suffix doesn't align two shops", "198.51.100.2", "x@mail.shop.bank", message("x@other.bank"), Pass, None, Fail, "reject"},
		{"psd=n ends the organization below it", "198.51.100.2", "x@uni.example", message("x@dept.uni.example"), Pass, None, Fail, "none"},
		{"psd=n itself", "198.51.100.2", "x@dept.uni.example", message("x@dept.uni.example"), Pass, None, Pass, "none"},
		{"the null reverse-path is HELO's", "198.51.100.1", "", message("x@sub.example.com"), None, None, Fail, "quarantine"},
		{"no From", "203.0.113.9", "x@none.example", "Subject: x\r\n\r\n", Fail, None, PermError, ""},
		{"two From fields", "203.0.113.9", "x@none.example", "From: a@none.example\r\n" + message("b@example.com"), Fail, None, Fail, "reject"},
		{"two From fields of a domain that would pass", "198.51.100.1", "x@example.com", "From: a@example.com\r\n" + message("b@example.com"), Pass, None, PermError, ""},
		{"two authors, one wants a refusal", "203.0.113.9", "x@none.example", message("b@none.example, a@example.com"), Fail, None, Fail, "reject"},
		{"two authors, one passes and one doesn't", "198.51.100.1", "x@example.com", message("a@example.com, b@test.example"), Pass, None, Fail, "quarantine"},
		{"more authors than are asked", "203.0.113.9", "x@none.example", message("a@a.test, a@b.test, a@c.test, a@d.test, a@e.test, a@f.test"), Fail, None, PermError, ""},
		{"an address that can't be read beside one that passes", "198.51.100.1", "x@example.com", message("<a@example.com>, <b@>"), Pass, None, PermError, ""},
		{"two authors of one domain", "198.51.100.1", "x@example.com", message("a@example.com, b@example.com"), Pass, None, Pass, "reject"},
		{"a display name that looks like an address", "203.0.113.9", "x@none.example", message(`"ceo@example.com" <x@none.example>`), Fail, None, None, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, _ := judge(t)
			cl := client(c.addr)
			if c.path == "" && c.spf == None {
				cl.Helo = "localhost"
			}
			v := j.Judge(t.Context(), cl, c.path, strings.NewReader(c.msg), int64(len(c.msg)))
			m := v.Map()
			if m["spf"] != string(c.spf) || m["dkim"] != string(c.dkim) || m["dmarc"] != string(c.dmarc) || m["dmarc.policy"] != c.policy {
				t.Errorf("%v, want spf %s dkim %s dmarc %s policy %q\n%+v", m, c.spf, c.dkim, c.dmarc, c.policy, v)
			}
			wellFormed(t, j.Field(&v))
		})
	}
}

// wellFormed reads the field with another's parser and checks what any field must keep to.
func wellFormed(t *testing.T, field []byte) {
	t.Helper()
	name, value, _ := strings.Cut(string(field), ":")
	id, results, err := authres.Parse(strings.ReplaceAll(value, "\r\n", ""))
	if name != "Authentication-Results" || err != nil || id != "mx2.example.net" || len(results) == 0 {
		t.Errorf("%q reads as %q, %d results, %v", field, id, len(results), err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(field), "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") || strings.TrimSpace(line) == "" {
			t.Errorf("a line of the field is %q", line)
		}
	}
}

func TestNothingToJudgeBy(t *testing.T) {
	j, srv := judge(t)
	msg := message("anna@example.com")
	for _, addr := range []string{"127.0.0.1", "10.1.2.3", "::1", "fe80::1", "fd00::1", "::ffff:192.168.1.1", ""} {
		v := j.Judge(t.Context(), client(addr), "anna@example.com", strings.NewReader(msg), int64(len(msg)))
		if v.Judged || v.Map() != nil || j.Field(&v) != nil {
			t.Errorf("%s: %+v", addr, v)
		}
	}
	if n := srv.Asked("_dmarc.example.com"); n != 0 {
		t.Errorf("DNS was asked %d times", n)
	}
	signed := sign(t, "example.com", msg)
	v := j.Judge(t.Context(), client("127.0.0.1"), "", strings.NewReader(signed), int64(len(signed)))
	if m := v.Map(); m["dkim"] != "pass" || m["dmarc"] != "pass" || m["spf"] != "" {
		t.Errorf("signed, from this machine: %v", m)
	}
}

// TestASignatureOfAnother: a field that the verifier counts as a signature and we don't, or the other way round, must not lend its
// result to the next one, which may name any domain.
func TestASignatureOfAnother(t *testing.T) {
	const claim = "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=s1; h=From; bh=x; b=x\r\n"
	for _, name := range []string{" DKIM-Signature", "\tDKIM-Signature", "DKIM-Signature\v", "\vDKIM-Signature", "DKIM-Signature\f", "DKIM-Signature\u00a0", "DKIM-Signature ", "DKIM-Signature"} {
		msg := claim + message("anna@example.com")
		var out strings.Builder
		if err := dkim.Sign(&out, strings.NewReader(msg), &dkim.SignOptions{Domain: "other.example", Selector: "s1", Signer: key, HeaderKeys: []string{"From"},
			HeaderCanonicalization: dkim.CanonicalizationRelaxed}); err != nil {
			t.Fatal(err)
		}
		signed := name + strings.TrimPrefix(out.String(), "DKIM-Signature")
		j, _ := judge(t)
		v := j.Judge(t.Context(), client("203.0.113.9"), "x@other.example", strings.NewReader(signed), int64(len(signed)))
		m := v.Map()
		if m["dmarc"] == "pass" || m["dkim"] == "pass" && m["dkim.domain"] != "other.example" {
			t.Errorf("%q: %v", name, m)
		}
	}
}

func TestSilentDNSIsATemporaryError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, srv := judge(t)
		srv.Fail("", dnstest.Silent)
		msg := sign(t, "example.com", message("anna@example.com"))
		start := time.Now()
		v := j.Judge(context.Background(), client("198.51.100.1"), "anna@example.com", strings.NewReader(msg), int64(len(msg)))
		if took := time.Since(start); took > DefaultTimeout+time.Second {
			t.Errorf("took %v", took)
		}
		if m := v.Map(); m["spf"] != "temperror" || m["dkim"] != "temperror" || m["dmarc"] != "temperror" {
			t.Errorf("%v", m)
		}
		if f := string(j.Field(&v)); strings.Count(f, `reason="DNS gave no answer"`) != 4 || strings.Count(f, "reason=") != 4 {
			t.Errorf("not told alike, or what resolver was asked:\n%s", f)
		}
		synctest.Wait()
		time.Sleep(time.Minute) // the questions on the wire end
	})
}

func TestServfailIsATemporaryError(t *testing.T) {
	j, srv := judge(t)
	srv.Fail("s1._domainkey.example.com", dnstest.Servfail)
	msg := sign(t, "example.com", message("anna@example.com"))
	v := j.Judge(t.Context(), client("203.0.113.9"), "anna@example.com", strings.NewReader(msg), int64(len(msg)))
	if m := v.Map(); m["dkim"] != "temperror" || m["dmarc"] != "temperror" || m["spf"] != "fail" {
		t.Errorf("%v: a key that can't be had now must not make a failure", m)
	}
}

func TestWhatSendersWriteStaysInItsPlace(t *testing.T) {
	j, _ := judge(t)
	evil := "DKIM-Signature: v=1; a=rsa-sha256; d=x\";\r\n dmarc=pass header.from=bank.example; s=a(b); h=from; bh=x; b=y\r\n" + message("x@none.example")
	v := j.Judge(t.Context(), spool.Client{Addr: "203.0.113.9", Helo: "x; dmarc=pass"}, "a;spf=pass@none.example", strings.NewReader(evil), int64(len(evil)))
	field := j.Field(&v)
	wellFormed(t, field)
	_, results, _ := authres.Parse(strings.ReplaceAll(strings.SplitN(string(field), ":", 2)[1], "\r\n", ""))
	for _, r := range results {
		if d, ok := r.(*authres.DMARCResult); ok && d.Value == authres.ResultPass {
			t.Errorf("forged: %s", field)
		}
	}
	if strings.Count(string(field), "dmarc=") != 1 {
		t.Errorf("%s", field)
	}
}

// TestLongNames: what a sender writes into a signature doesn't make our field longer than a header may be.
func TestLongNames(t *testing.T) {
	j, _ := judge(t)
	long := strings.Repeat("a", 10_000)
	msg := "DKIM-Signature: v=1; a=" + long + "; d=" + strings.Repeat("a.", 5_000) + "test; s=" + long + "; h=from; bh=x; b=" + long + "\r\n" + message("x@"+long+".example.com")
	v := j.Judge(t.Context(), spool.Client{Addr: "203.0.113.9", Helo: long + ".test"}, long+"@none.example", strings.NewReader(msg), int64(len(msg)))
	wellFormed(t, j.Field(&v))
	for k, s := range v.Map() {
		if len(s) > 300 {
			t.Errorf("%s has %d octets", k, len(s))
		}
	}
}

// TestLongFrom: a domain that asks to reject is not hidden by what stands behind it.
func TestLongFrom(t *testing.T) {
	j, _ := judge(t)
	msg := message("a@example.com, " + strings.Repeat("a@none.example,\r\n ", 1000) + "a@none.example")
	v := j.Judge(t.Context(), client("203.0.113.9"), "", strings.NewReader(msg), int64(len(msg)))
	if m := v.Map(); m["dmarc"] != "fail" || m["dmarc.policy"] != "reject" {
		t.Errorf("%v", m)
	}
}

// spent is the processor time of this process so far: others may have the machine for a while.
func spent(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Headers made to be slow are not parsed by those that would be.
func TestHeaderBombs(t *testing.T) {
	sig := "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s1; bh=x; b=y; h=from"
	// One that is verified up to its end: the body is right, the names are looked for.
	hash := sha256.Sum256([]byte("Hello!\r\n"))
	lists := "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=s1; b=eHh4eA==; bh=" + base64.StdEncoding.EncodeToString(hash[:]) +
		"; h=from" + strings.Repeat(":a", maxSigned-2)
	var cjk strings.Builder // what is slow to bring to A-labels
	for r := '\u4e00'; r < '\u8e00'; r++ {
		cjk.WriteRune(r)
	}
	for name, msg := range map[string]string{
		"a domain without end":      message("a@" + cjk.String() + ".example"),
		"signatures of such":        strings.Repeat(strings.ReplaceAll(sig, "d=example.com", "d="+cjk.String()[:12_000])+"\r\n", maxSignatures) + message("a@example.com"),
		"domains that are none":     message(strings.Repeat("<a@$"+cjk.String()[:990]+">\r\n ", 250)),
		"domains beside each other": message(strings.Repeat("<@"+strings.Repeat("x", 500)+">\r\n ", 450) + "<a@b.test>" + strings.Repeat(" @b.test\r\n", 450)),
		"80,000 continuation lines": sig + strings.Repeat("\r\n ", 80_000) + "\r\n" + message("a@example.com"),
		"80,000 of them in From":    "From: a@example.com" + strings.Repeat("\r\n ", 80_000) + "\r\n\r\n",
		"5,000 names":               sig + strings.Repeat(":a", 5_000) + "\r\n" + message("a@example.com"),
		"5,000 fields":              strings.Repeat("a: b\r\n", 5_000) + sig + "\r\n" + message("a@example.com"),
		"1,000 signatures":          strings.Repeat(sig+"\r\n", 1000) + message("a@example.com"),
		"50,000 authors":            message(strings.Repeat("a@b.test, ", 50_000) + "a@example.com"),
		"50,000 brackets":           message(strings.Repeat("<", 50_000) + "a@example.com"),
		"comments within comments":  message(strings.Repeat("(", 4000) + strings.Repeat(")", 4000) + "a@example.com"),
		// Just within what is verified:
		"as many lines":  strings.Repeat(lists+"\r\n", maxSignatures) + "a: b" + strings.Repeat("\r\n 01234567890123456789012345678901", maxLines-50) + "\r\n" + message("a@example.com"),
		"as many fields": strings.Repeat(lists+"\r\n", maxSignatures) + strings.Repeat("a: b\r\n", maxFields-maxSignatures-10) + message("a@example.com"),
		"much space":     strings.Repeat(lists+"\r\n", maxSignatures) + "a: " + strings.Repeat(" ", 60_000-maxSignatures*len(lists)) + "\r\n" + message("a@example.com"),
	} {
		j, _ := judge(t)
		took, reason := time.Hour, ""
		for range 7 {
			begun := spent(t)
			v := j.Judge(t.Context(), client("203.0.113.9"), "", strings.NewReader(msg), int64(len(msg)))
			took, reason = min(took, spent(t)-begun), v.best().Reason
		}
		t.Logf("%s: %v, %s", name, took, reason)
		if took > 50*time.Millisecond && !testing.Short() { // short is the race pass, which is slow
			t.Errorf("%s: %v", name, took)
		}
		n := testing.AllocsPerRun(1, func() {
			v := j.Judge(t.Context(), client("203.0.113.9"), "", strings.NewReader(msg), int64(len(msg)))
			if m := v.Map(); m["dkim"] == "pass" || len(v.DKIM) > maxSignatures {
				t.Errorf("%s: %v", name, m)
			}
		})
		if n > 20_000 {
			t.Errorf("%s: %.0f allocations", name, n)
		}
	}
}

func TestTreeWalkAsksEightTimesAtMost(t *testing.T) {
	j, srv := judge(t)
	var labels []string
	for i := range 40 {
		labels = append(labels, fmt.Sprintf("l%d", i))
	}
	name := strings.Join(labels, ".") + ".example.com"
	w := walks{}
	records, err := j.walk(t.Context(), w, name)
	if err != nil || organizational(name, records) != "example.com" {
		t.Errorf("%v, %v", records, err)
	}
	asked, at := 0, name
	for ; at != ""; at = above(at) {
		asked += srv.Asked("_dmarc." + at)
	}
	if asked != 8 {
		t.Errorf("asked %d times", asked)
	}
}

func FuzzAuthor(f *testing.F) {
	for _, s := range []string{"a@b.example", `"a" <a@b.example>`, "<a@b>, <c@d>", "=?utf-8?q?a?= <a@b.example>", "a@b@c.example", "<<a@b>>", "undisclosed:;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := &header{from: []string{s}}
		domains, why := h.authors()
		if len(domains) == 0 && why == "" || len(domains) > maxAuthors || strings.ContainsAny(strings.Join(domains, ""), " \r\n;\"") {
			t.Errorf("%q: domains %q, why %q", s, domains, why)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	j, _ := judge(b)
	msg := sign(b, "example.com", message("anna@example.com")+strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 120))
	r := strings.NewReader(msg)
	for b.Loop() {
		if v := j.Judge(b.Context(), client("198.51.100.1"), "anna@example.com", r, int64(len(msg))); v.DMARC.Result != Pass {
			b.Fatal(v)
		}
	}
}

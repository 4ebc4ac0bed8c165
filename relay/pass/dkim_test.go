package pass

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"restante/dns/dnstest"
)

var (
	key       = ed25519.NewKeyFromSeed([]byte("restante restante restante 1234!"))
	publicKey = base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
)

const plain = "From: Anna <anna@example.com>\r\nTo: info@a.example\r\nSubject: hello\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nHello!\r\n"

// signed puts a signature with the tags before a message: c=relaxed/simple, over the fields that h names, of those that
// stand twice the last first. Tags that are given replace its own, so that a signature may be wrong in any way.
func signed(t testing.TB, msg string, tags ...string) string {
	t.Helper()
	header, body, _ := strings.Cut(msg, "\r\n\r\n")
	hash := sha256.Sum256([]byte(body))
	all := map[string]string{"v": "1", "a": "ed25519-sha256", "c": "relaxed/simple", "d": "example.com", "s": "s1", "h": "from:subject", "bh": base64.StdEncoding.EncodeToString(hash[:])}
	order := []string{"v", "a", "c", "d", "s", "h", "bh"}
	b := ""
	for _, tag := range tags {
		k, v, _ := strings.Cut(tag, "=")
		if k == "b" {
			b = v
			continue
		}
		if _, ok := all[k]; !ok {
			order = append(order, k)
		}
		all[k] = v
	}
	var list []string
	for _, k := range order {
		if all[k] != "-" {
			list = append(list, k+"="+all[k])
		}
	}
	field := "DKIM-Signature: " + strings.Join(list, "; ") + "; b="
	relaxed := func(f string) string {
		name, value, _ := strings.Cut(f, ":")
		return strings.ToLower(strings.TrimSpace(name)) + ":" + strings.Join(strings.Fields(value), " ")
	}
	var data strings.Builder
	fields := strings.Split(header, "\r\n")
	for name := range strings.SplitSeq(all["h"], ":") {
		for i := len(fields) - 1; i >= 0; i-- {
			if strings.EqualFold(strings.TrimSpace(strings.SplitN(fields[i], ":", 2)[0]), strings.TrimSpace(name)) {
				data.WriteString(relaxed(fields[i]) + "\r\n")
				fields[i] = ""
				break
			}
		}
	}
	data.WriteString(relaxed(field))
	sum := sha256.Sum256([]byte(data.String()))
	if b == "" {
		b = base64.StdEncoding.EncodeToString(ed25519.Sign(key, sum[:]))
	}
	return field + b + "\r\n" + msg
}

var dkimZone = strings.ReplaceAll(`
s1._domainkey.example.com. TXT "v=DKIM1; k=ed25519; p=KEY"
s1._domainkey.other.example. TXT "v=DKIM1; k=ed25519; p=KEY"
strict._domainkey.example.com. TXT "v=DKIM1; k=ed25519; t=s; p=KEY"
revoked._domainkey.example.com. TXT "v=DKIM1; k=ed25519; p="
two._domainkey.example.com. TXT "v=DKIM1; k=ed25519; p=KEY"
two._domainkey.example.com. TXT "v=DKIM1; k=ed25519; p=AAAA"
garbage._domainkey.example.com. TXT "v=DKIM1; k=ed25519; p=!!"
web._domainkey.example.com. TXT "v=DKIM1; k=ed25519; s=tlsrpt; p=KEY"
short._domainkey.example.com. TXT "v=DKIM1; k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALRTw0y0gSyFWaYZtu7IOuFPRSIO9Vb9nWxZ+NMXZkVDAAzNKrNzPN0hkzGPyeP1QSFVcvnKqQTuRqdBOgmEfuMCAwEAAQ=="
down._domainkey.example.com. TXT "v=DKIM1; k=ed25519; p=KEY"
brisbane._domainkey.example.com. TXT "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
test._domainkey.football.example.com. TXT "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
brisbane._domainkey.football.example.com. TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
`, "KEY", publicKey)

// TestDKIM sends signed messages, good and bad, through the whole accept path, and looks at the verdict that is kept.
func TestDKIM(t *testing.T) {
	f := newFront(t, dkimZone, nil)
	f.dns.Fail("down._domainkey.example.com", dnstest.Servfail)
	read := func(name string) string {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const added = "From: ceo@example.com\r\n"
	for _, c := range []struct{ name, msg, want, field string }{
		{"the example of RFC 6376", read("rfc6376.eml"), "dkim=pass dkim.domain=example.com", "header.s=brisbane"},
		{"the example of RFC 8463, two algorithms", read("rfc8463.eml"), "dkim=pass dkim.domain=football.example.com", "header.a=ed25519-sha256"},
		{"the same, its body changed", strings.Replace(read("rfc8463.eml"), "lost", "won", 1), "dkim=fail dkim.domain=football.example.com", "body hash"},
		{"ours", signed(t, plain), "dkim=pass dkim.domain=example.com", "header.d=example.com"},
		{"unsigned", plain, "dkim=none", "spf="},
		{"a field changed", strings.Replace(signed(t, plain), "hello", "hullo", 1), "dkim=fail dkim.domain=example.com", "signature did not verify"},
		{"an unsigned field changed", strings.Replace(signed(t, plain), "info@", "sales@", 1), "dkim=pass dkim.domain=example.com", ""},
		{"white space changed", strings.Replace(signed(t, plain), "Subject: hello", "SUBJECT:\r\n  hello ", 1), "dkim=pass dkim.domain=example.com", ""},
		{"octets added behind l=", signed(t, plain, "l=8") + "<h1>more</h1>\r\n", "dkim=policy dkim.domain=example.com", "body length"},
		{"l= of all of it", signed(t, plain, "l=8"), "dkim=policy dkim.domain=example.com", "body length"},
		{"expired", signed(t, plain, "t=1000", "x=2000"), "dkim=fail dkim.domain=example.com", "expired"},
		{"not yet expired", signed(t, plain, "t=1000", "x=9999999999"), "dkim=pass dkim.domain=example.com", ""},
		{"From twice in h=, there once", signed(t, plain, "h=from:from:subject"), "dkim=pass dkim.domain=example.com", ""},
		{"From twice in h=, another added", added + signed(t, plain, "h=from:from:subject"), "dkim=fail dkim.domain=example.com", "did not verify"},
		{"From once in h=, another added", added + signed(t, plain), "dkim=pass dkim.domain=example.com", "more than one From"},
		{"a name in h= many times", signed(t, plain, "h=from:subject"+strings.Repeat(":to", 50)), "dkim=pass dkim.domain=example.com", ""},
		{"more names than are looked for", signed(t, plain, "h=from:subject"+strings.Repeat(":to", 300)), "dkim=policy dkim.domain=example.com", "more fields"},
		{"From isn't in h=", signed(t, plain, "h=subject"), "dkim=permerror dkim.domain=example.com", "From field not signed"},
		{"b= is no base64", signed(t, plain, "b=!!!"), "dkim=permerror dkim.domain=example.com", "malformed signature"},
		{"b= is empty", strings.Replace(signed(t, plain, "b=xx"), "b=xx", "b=", 1), "dkim=fail dkim.domain=example.com", ""},
		{"b= of something else", signed(t, plain, "b="+strings.Repeat("AAAA", 21)+"AA=="), "dkim=fail dkim.domain=example.com", ""},
		{"no bh=", signed(t, plain, "bh=-"), "dkim=permerror dkim.domain=example.com", "required tag"},
		{"another version", signed(t, plain, "v=2"), "dkim=permerror dkim.domain=example.com", "version"},
		{"a tag twice", signed(t, plain, "t=5; t=6"), "dkim=permerror dkim.domain=example.com", "duplicate"},
		{"rsa-sha1", signed(t, plain, "a=rsa-sha1"), "dkim=permerror dkim.domain=example.com", "too weak"},
		{"another algorithm than the key's", signed(t, plain, "a=rsa-sha256"), "dkim=permerror dkim.domain=example.com", "key algorithm"},
		{"a key of 512 bits", signed(t, plain, "a=rsa-sha256", "s=short"), "dkim=permerror dkim.domain=example.com", "too short"},
		{"a key that isn't there", signed(t, plain, "s=none"), "dkim=permerror dkim.domain=example.com", "no key"},
		{"a key that was revoked", signed(t, plain, "s=revoked"), "dkim=permerror dkim.domain=example.com", "revoked"},
		{"a key for something else", signed(t, plain, "s=web"), "dkim=permerror dkim.domain=example.com", "service"},
		{"two keys of one name", signed(t, plain, "s=two"), "dkim=permerror dkim.domain=example.com", "multiple"},
		{"a key that is garbage", signed(t, plain, "s=garbage"), "dkim=permerror dkim.domain=example.com", "syntax"},
		{"a key that can't be had now", signed(t, plain, "s=down"), "dkim=temperror dkim.domain=example.com", `reason="DNS gave no answer"`},
		{"i= below d=", signed(t, plain, "i=x@sub.example.com"), "dkim=pass dkim.domain=example.com", ""},
		{"i= below d=, which the key forbids", signed(t, plain, "i=x@sub.example.com", "s=strict"), "dkim=permerror dkim.domain=example.com", "d= alone"},
		{"i= is d=, as the key wants it", signed(t, plain, "i=x@example.com", "s=strict"), "dkim=pass dkim.domain=example.com", ""},
		{"i= of somebody else", signed(t, plain, "i=x@bank.example"), "dkim=permerror dkim.domain=example.com", "mismatch"},
		{"a bad one above a good one", signed(t, signed(t, plain), "d=other.example", "b=eHg="), "dkim=pass dkim.domain=example.com", "header.d=other.example"},
		{"two good ones, the author's counts", signed(t, signed(t, plain), "d=other.example"), "dkim=pass dkim.domain=example.com", "header.d=other.example"},
		{"seven, five are looked at", repeat(7, plain, func(m string) string { return signed(t, m, "d=other.example") }), "dkim=pass dkim.domain=other.example", ""},
		{"a forged field of ours that was signed isn't delivered, so it isn't there", signed(t, "Authentication-Results: mx2.test; dkim=pass\r\n"+plain, "h=from:authentication-results"), "dkim=fail dkim.domain=example.com", "did not verify"},
		{"a forged field of ours that wasn't", "Authentication-Results: mx2.test; dkim=pass\r\n" + signed(t, plain), "dkim=pass dkim.domain=example.com", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.t = t
			if got := f.submit(sent{client: "203.0.113.9", helo: "mail.sender.test", from: "x@sender.test", msg: c.msg}); got[0] != '2' {
				t.Fatal(got)
			}
			e, body := f.entry()
			if got := verdicts(e, "dkim", "dkim.domain"); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			head := strings.ReplaceAll(body[:e.TraceSize], "\r\n\t", " ")
			if !strings.HasPrefix(head, "Authentication-Results: mx2.test;") || !strings.Contains(head, c.field) || strings.Count(head, "Authentication-Results") != 1 {
				t.Errorf("fields: %s", head)
			}
		})
	}
}

func repeat(n int, s string, f func(string) string) string {
	for range n {
		s = f(s)
	}
	return s
}

package msgauth

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/dns"
	"restante/dns/dnstest"
	"restante/spool"
)

// TestSlowDNSOfAStrangerHidesNothing: who owns a zone can let its answers take as long as they like. That takes no time from what is
// asked of others: a domain that asks to reject what isn't its own is still heard.
func TestSlowDNSOfAStrangerHidesNothing(t *testing.T) {
	forged := message("a@example.com")
	const slowKey = "DKIM-Signature: v=1; a=ed25519-sha256; d=slow.test; s=s1; h=From; bh=x; b=eA==\r\n"
	const badKey = "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=s1; h=From; bh=x; b=eA==\r\n"
	for _, c := range []struct{ name, helo, path, msg string }{
		{"SPF of the greeting", "slow.test", "x@example.com", forged},
		{"SPF of the reverse-path", "mx.example.com", "x@slow.test", forged},
		{"a key", "mx.example.com", "x@example.com", slowKey + badKey + forged},
		{"a key, last", "mx.example.com", "x@example.com", badKey + slowKey + forged},
		{"another author", "mx.example.com", "x@example.com", message("x@slow.test, a@example.com")},
		{"all of them", "slow.test", "x@slow.test", slowKey + badKey + message("x@slow.test, a@example.com")},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, srv := judge(t)
				var err error
				j.o.Resolver, err = dns.New(dns.Options{Servers: []string{"192.0.2.53", "192.0.2.54", "192.0.2.55"}, Exchange: srv.Exchange})
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"slow.test", "s1._domainkey.slow.test", "_dmarc.slow.test"} {
					srv.Fail(name, dnstest.Silent)
				}
				start := time.Now()
				v := j.Judge(context.Background(), spool.Client{Addr: "203.0.113.9", Helo: c.helo}, c.path, strings.NewReader(c.msg), int64(len(c.msg)))
				if took := time.Since(start); took > DefaultTimeout+time.Second {
					t.Errorf("took %v", took)
				}
				if m := v.Map(); m["dmarc"] != "fail" || m["dmarc.policy"] != "reject" || m["dmarc.from"] != "example.com" {
					t.Errorf("%v", m)
				}
				synctest.Wait()
				time.Sleep(time.Minute) // the questions on the wire end
			})
		})
	}
}

// TestFromThatReadersShow: readers show an address that no parser accepts. A domain that asks to reject is heard where there is no other
// author, and a stranger's own address beside it doesn't pass for the author's.
func TestFromThatReadersShow(t *testing.T) {
	for from, want := range map[string]Result{
		`"<x@other.example>" <a@example.com`:              Fail,
		`a@example.com <`:                                 Fail,
		`a@example.com (`:                                 Fail,
		`Anna, [Sales] a@example.com`:                     Fail,
		`<a@example.com`:                                  Fail,
		`a@example.com>`:                                  Fail,
		`"Anna <a@example.com>`:                           Fail,
		`a@example.com <x@other.example>`:                 PermError,
		`<x@other.example> a@example.com`:                 PermError,
		`Shop, Inc. <x@other.example>`:                    Pass,
		`x@other.example <x@other.example>`:               Pass,
		`X@OTHER.example via [us] <x@other.example>`:      Pass,
		`"a@example.com" <x@other.example>`:               Pass,
		strings.Repeat("Anna ", 3000) + `<a@example.com>`: Fail,
		"=?utf-8?q?a=40example.com?=":                     PermError,
		"Undisclosed senders:;":                           PermError,
		"Anna: a@example.com;":                            Fail,
		// What RFC 5322 allows around a domain, and what readers pass over.
		"Anna <a@example.com (office)>":      Fail,
		"Anna <a@(\\)office(s))example.com>": Fail,
		"Anna <a@example . com>":             Fail,
		"Anna <a@\r\n example\r\n .com>":     Fail,
		"Anna <a@example.com.>":              Fail,
		"a@example.com.":                     Fail,
		"Anna <a@example.com\x00>":           Fail,
		"Anna <a@example.com/>":              Fail,
		"Anna <a@..example.com>":             Fail,
		"Anna <a@x$.example.com>":            Fail,
		"Anna <a@ex(a)mple.com>":             PermError, // of another name, which asks for nothing
		"x@other.example.":                   PermError, // nothing passes that isn't one address
	} {
		j, srv := judge(t)
		srv.Set(t, zone+"other.example. TXT \"v=spf1 ip4:203.0.113.0/24 -all\"\n_dmarc.other.example. TXT \"v=DMARC1; p=none\"\n")
		msg := message(from)
		v := j.Judge(t.Context(), client("203.0.113.9"), "x@other.example", strings.NewReader(msg), int64(len(msg)))
		if v.DMARC.Result != want {
			t.Errorf("%.80q: %s %s (%s), want %s", from, v.DMARC.Result, v.DMARC.From, v.DMARC.Reason, want)
		}
	}
}

// TestEmptyLines: the verifier takes time that grows with the square of how many empty lines follow each other. That is no way to have a forged
// signature be no more than not verified yet.
func TestEmptyLines(t *testing.T) {
	const sig = "DKIM-Signature: v=1; a=ed25519-sha256; c=simple/simple; d=example.com; s=s1; h=from; bh=eA==; b=eHh4eA==\r\n"
	msg := strings.Repeat(sig, maxSignatures) + message("a@example.com") + strings.Repeat("\r\n", 5_000_000) + "x\r\n"
	j, _ := judge(t)
	begun := spent(t)
	v := j.Judge(t.Context(), client("203.0.113.9"), "", strings.NewReader(msg), int64(len(msg)))
	if took := spent(t) - begun; took > time.Second && !testing.Short() {
		t.Errorf("took %v", took)
	}
	if m := v.Map(); m["dmarc"] != "fail" || m["dkim"] != "policy" {
		t.Errorf("%v", m)
	}
	signed := sign(t, "example.com", message("anna@example.com")+strings.Repeat("\r\n", maxEmpty/2-1000)+"x\r\n"+strings.Repeat("\r\n", maxEmpty/2-1000))
	if v := j.Judge(t.Context(), client("203.0.113.9"), "", strings.NewReader(signed), int64(len(signed))); v.DMARC.Result != Pass {
		t.Errorf("some: %+v", v)
	}
}

// TestFieldNames: what some reader takes for a From counts.
func TestFieldNames(t *testing.T) {
	for _, name := range []string{"From", "FROM", "from ", "From\t", "From\r\n ", "From \r\n\t"} {
		j, _ := judge(t)
		msg := name + ": a@example.com\r\n" + message("x@none.example")
		v := j.Judge(t.Context(), client("203.0.113.9"), "x@none.example", strings.NewReader(msg), int64(len(msg)))
		if m := v.Map(); m["dmarc"] != "fail" || m["dmarc.policy"] != "reject" {
			t.Errorf("%q: %v", name, m)
		}
	}
}

// TestLargeKeys: whoever owns a zone can publish keys that take seconds to verify with. They aren't used.
func TestLargeKeys(t *testing.T) {
	for bits, reason := range map[int]string{4096: "signature did not verify", 8192: "signature did not verify", 16_384: "larger than is used", 300_000: "larger than is used"} {
		n := bytes.Repeat([]byte{0xff}, bits/8)
		der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 1<<31 - 1})
		if err != nil {
			t.Fatal(err)
		}
		var record strings.Builder // in strings of 255 octets at most
		for part := range slices.Chunk([]byte("v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(der)), 250) {
			fmt.Fprintf(&record, " %q", part)
		}
		hash := sha256.Sum256([]byte("Hello!\r\n"))
		sig := "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=large.test; s=s1; h=from; bh=" + base64.StdEncoding.EncodeToString(hash[:]) +
			"; b=" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0x55}, bits/8)) + "\r\n"
		msg := strings.Repeat(sig, max(1, min(maxSignatures, 60_000/len(sig)))) + message("a@example.com")
		j, srv := judge(t)
		srv.Set(t, zone+"s1._domainkey.large.test. TXT"+record.String()+"\n")
		begun := spent(t)
		v := j.Judge(t.Context(), client("203.0.113.9"), "", strings.NewReader(msg), int64(len(msg)))
		if took := spent(t) - begun; took > 100*time.Millisecond && !testing.Short() {
			t.Errorf("%d bits: took %v", bits, took)
		}
		if !strings.Contains(v.best().Reason, reason) || v.DMARC.Result != Fail {
			t.Errorf("%d bits: %+v", bits, v)
		}
	}
}

// TestLargeSPF: whoever owns a zone can publish records with macros that take seconds to expand. They aren't read.
func TestLargeSPF(t *testing.T) {
	j, srv := judge(t)
	long := "%{d" + strings.Repeat(".", 50_000) + "}"
	records := "small.test. TXT \"v=spf1 ip4:203.0.113.9 " + strings.Repeat("ip4:198.51.100.1 ", 10) + "-all\"\n"
	for i := range 3 {
		text := fmt.Sprintf("v=spf1 a:%s.test include:n%d.test ?all", long, i+1)
		records += fmt.Sprintf("n%d.test. TXT", i)
		for part := range slices.Chunk([]byte(text), 250) {
			records += fmt.Sprintf(" %q", part)
		}
		records += fmt.Sprintf("\nn%d.test.test. A 192.0.2.1\n", i)
	}
	srv.Set(t, records)
	begun := spent(t)
	path, helo := j.Begin(spool.Client{Addr: "203.0.113.9", Helo: "n0.test"}, "a@n0.test").Sender(t.Context())
	if took := spent(t) - begun; took > 100*time.Millisecond && !testing.Short() {
		t.Errorf("took %v", took)
	}
	if path.Result != PermError || helo.Result != PermError || !strings.Contains(path.Reason, "larger than is read") {
		t.Errorf("%+v, %+v", path, helo)
	}
	if path, _ := j.Begin(client("203.0.113.9"), "a@small.test").Sender(t.Context()); path.Result != Pass {
		t.Errorf("%+v", path)
	}
}

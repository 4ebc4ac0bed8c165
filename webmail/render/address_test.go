package render

import (
	"strings"
	"testing"
)

func TestAddressLists(t *testing.T) {
	for in, want := range map[string]string{
		`anna@example.test`:                            `anna@example.test`,
		`Anna Schmidt <Anna@Example.TEST>`:             `Anna Schmidt <Anna@example.test>`,
		`"Schmidt, Anna" <a@x.test>, b@x.test`:         `Schmidt, Anna <a@x.test>; b@x.test`,
		`a@x.test (Anna (the first) Schmidt)`:          `Anna (the first) Schmidt <a@x.test>`,
		`=?utf-8?q?Schmidt=2C_Anna?= <a@x.test>`:       `Schmidt, Anna <a@x.test>`,
		`"=?utf-8?b?QW5uYQ==?=" <a@x.test>`:            `Anna <a@x.test>`,
		`=?utf-8?q?An?= =?utf-8?q?na?= <a@x.test>`:     `Anna <a@x.test>`,
		`=?utf-8?b?5bGx?= =?utf-8?b?55Sw?= <a@x.test>`: `山田 <a@x.test>`,
		`team: a@x.test, B <b@x.test>; c@x.test`:       `a@x.test [team]; B <b@x.test> [team]; c@x.test`,
		`undisclosed-recipients:;`:                     ``,
		`a@x.test; b@x.test`:                           `a@x.test; b@x.test`,
		`<@relay.test:a@x.test>`:                       `a@x.test`,
		`'a@x.test' <a@x.test>`:                        `a@x.test`,
		`"a@x.test" <a@x.test>`:                        `a@x.test`,
		`Anna`:                                         `Anna`,
		`Anna <>`:                                      `Anna`,
		`Anna <anna at x.test>`:                        `Anna <anna at x.test>`,
		`"O'Neil \"Bob\" \\" <a@x.test>`:               `O'Neil "Bob" \ <a@x.test>`,
		`"unclosed <a@x.test>`:                         `unclosed <a@x.test>`,
		`"odd local"@x.test`:                           `"odd local"@x.test`,
		`a@münchen.test`:                               `a@münchen.test`,
		`a@xn--mnchen-3ya.test`:                        `a@münchen.test`,
		"J\xf6rg <j@x.test>":                           `Jörg <j@x.test>`,
		`a@x.test, , ,,b@x.test,`:                      `a@x.test; b@x.test`,
		`mailto:a@x.test`:                              `a@x.test`,
		"Eve\t <e@x.test>\r\n":                         `Eve <e@x.test>`,
	} {
		list, _ := parseAddresses(in, 100)
		var all []string
		for _, a := range list {
			s := a.Display()
			if a.Group != "" {
				s += " [" + a.Group + "]"
			}
			all = append(all, s)
		}
		if got := strings.Join(all, "; "); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestAddressesForAnAnswerAreASCII(t *testing.T) {
	list, _ := parseAddresses("a@MÜNCHEN.test", 1)
	if list[0].Addr != "a@xn--mnchen-3ya.test" {
		t.Errorf("got %q", list[0].Addr)
	}
}

func TestSuspicion(t *testing.T) {
	for in, want := range map[string]string{
		`Anna <anna@kunde.example>`:                           "",
		`"anna@kunde.example" <anna@kunde.example>`:           "",
		`"anna@kunde.example via Lists" <list@kunde.example>`: "",
		`"help@bank.example" <x@mail.bank.example>`:           "",
		`"bank.example@evil.test" <x@example>`:                ReasonName,
		`"ceo@bank.example" <x@evil.test>`:                    ReasonName,
		`"Bank (ceo@bank.example)" <x@evil.test>`:             ReasonName,
		`"ceo＠bank。example" <x@evil.test>`:                    ReasonName,
		`=?utf-8?q?ceo=40bank=2Eexample?= <x@evil.test>`:      ReasonName,
		"\"Anna \u202etset\" <a@x.test>":                      ReasonBidi,
		"=?utf-8?q?An=E2=80=8Bna?= <a@x.test>":                ReasonInvisible,
		"p\u0430ypal <a@x.test>":                              ReasonMixed,
		"a@p\u0430ypal.com":                                   ReasonMixed,
		"a@xn--pypal-4ve.com":                                 ReasonMixed,
		"a@\u0430\u0440\u0440\u04cf\u0435.com":                ReasonLookalike,
		"Иван <ivan@пример.рф>":                               "",
		"山田 Taro <y@x.test>":                                  "",
		"Yamada山田 <y@x.test>":                                 "",
		"Jörg Müller <j@müller.de>":                           "",
		"עברית <h@x.test>":                                    "",
		"An\u200dna <a@x.test>":                               ReasonInvisible, "क\u200dष <a@x.test>": "",
		"A\u0915 <a@x.test>": ReasonMixed,
	} {
		list, _ := parseAddresses(in, 1)
		if len(list) != 1 || list[0].Suspicious != want {
			t.Errorf("%s: got %q, want %q", in, list, want)
		}
	}
}

func TestDisplayHidesNothing(t *testing.T) {
	for _, x := range []struct {
		a    Address
		want string
	}{
		{Address{Name: "An\u200bna", Addr: "a@x.test"}, "An‹U+200B›na <a@x.test>"},
		{Address{Name: "x\u202ey", Addr: "a@x.test"}, "x‹U+202E›y <a@x.test>"},
		{Address{Addr: "a@xn--pypal-4ve.com"}, "a@xn--pypal-4ve.com"},
		{Address{Addr: "a@xn--80ak6aa92e.com"}, "a@xn--80ak6aa92e.com"},
		{Address{Addr: "a@xn--e1afmkfd.xn--p1ai"}, "a@пример.рф"},
		{Address{Name: "only a name"}, "only a name"},
		{Address{}, ""},
	} {
		if got := x.a.Display(); got != x.want {
			t.Errorf("got %q, want %q", got, x.want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	from := func(s string) *Message { return message(t, "From: "+s+"\r\n\r\n") }
	anna := from("Anna <anna@kunde.example>")
	replyTo := message(t, "From: a@kunde.example\r\nReply-To: b@elsewhere.test\r\n\r\n")
	for _, x := range []struct {
		verdicts      string
		m             *Message
		envelope      string
		level, reason string
	}{
		{"", anna, "", Unknown, ReasonNotJudged},
		{"dmarc=pass", anna, "anna@kunde.example", Verified, ReasonDMARC},
		{"dmarc=PASS (p=reject);dkim=fail", anna, "bounce@mailer.test", Verified, ReasonDMARC},
		{"dmarc=fail;spf=pass", anna, "anna@kunde.example", Unverified, ReasonDMARCFail},
		{"dmarc=none;spf=pass;dkim=pass", anna, "x@bounces.kunde.example", Unverified, ReasonDKIM + " " + ReasonSPF},
		{"dmarc=none;spf=pass", anna, "x@mailer.test", Unverified, ReasonSPF + " " + ReasonFromEnvelope},
		{"spf=softfail;dkim=fail", anna, "", Unverified, ReasonSPFFail + " " + ReasonDKIMFail},
		{"spf=none;dkim=none;dmarc=none", anna, "", Unverified, ReasonNothing},
		{"dmarc=pass", from(`"ceo@bank.example" <x@evil.test>`), "", Suspicious, ReasonName + " " + ReasonDMARC},
		{"", from("a@p\u0430ypal.com"), "", Suspicious, ReasonMixed + " " + ReasonNotJudged},
		{"dmarc=pass", from("a@x.test, b@y.test"), "", Unverified, ReasonDMARC + " " + ReasonManySenders},
		{"dmarc=fail", replyTo, "", Suspicious, ReasonReplyTo + " " + ReasonDMARCFail},
		{"dmarc=pass", replyTo, "", Verified, ReasonDMARC},
		{"dmarc=pass", from("nobody"), "", Unverified, ReasonNoSender},
	} {
		verdicts := map[string]string{}
		for _, v := range strings.Split(x.verdicts, ";") {
			k, r, _ := strings.Cut(v, "=")
			verdicts[k] = r
		}
		got := Judge(verdicts, x.m, x.envelope)
		if got.Level != x.level || strings.Join(got.Reasons, " ") != x.reason {
			t.Errorf("%s from %v: got %v, want %s %s", x.verdicts, x.m.From, got, x.level, x.reason)
		}
	}
}

// TestVerifiedIsWhoIsShown: DMARC passed for the domain that the judge read. Where a hostile From field reads otherwise here, that says
// nothing of the sender who is shown.
func TestVerifiedIsWhoIsShown(t *testing.T) {
	for shown, want := range map[string]string{
		"a@attacker.example": Verified, "a@ATTACKER.example": Verified, "boss@bank.example": Unverified, "a@sub.attacker.example": Unverified,
		"a@bücher.example": Unverified, "": Unverified,
	} {
		v := JudgeAddress(map[string]string{"dmarc": "pass", "dmarc.from": "attacker.example"}, Address{Addr: shown}, "")
		if v.Level != want {
			t.Errorf("%q is %s, want %s", shown, v.Level, want)
		}
	}
	if v := JudgeAddress(map[string]string{"dmarc": "pass", "dmarc.from": "xn--bcher-kva.example"}, Address{Addr: "a@bücher.example"}, ""); v.Level != Verified {
		t.Errorf("an international domain is %s", v.Level)
	}
}

package cli

import "testing"

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		v                map[string]string
		sender, atBorder string
	}{
		{nil, "", ""},
		{map[string]string{"spf": "pass", "spf.domain": "a.test", "spf.helo": "none", "dkim": "pass", "dkim.domain": "a.test", "dmarc": "pass", "dmarc.from": "a.test", "dmarc.policy": "reject"},
			"spf pass (a.test), dkim pass (a.test), dmarc pass (a.test)", ""},
		{map[string]string{"spf": "fail", "spf.domain": "a.test", "spf.helo": "fail", "dkim": "none", "dmarc": "fail", "dmarc.from": "b.test", "dmarc.policy": "quarantine", "dnsbl": "bl.test (127.0.0.2)",
			"policy": "mark: DMARC fail, b.test asks to quarantine such mail; SPF fail, a.test doesn't send by 192.0.2.1"},
			"spf fail (a.test), dkim none, dmarc fail (b.test), its domain asks to quarantine such mail, spf of its greeting fail, listed by bl.test (127.0.0.2)",
			"marked: DMARC fail, b.test asks to quarantine such mail; SPF fail, a.test doesn't send by 192.0.2.1"},
		{map[string]string{"clamd": "found", "policy": "quarantine: virus Eicar"}, "", "quarantined: virus Eicar"},
	} {
		if got := verdicts(c.v); got != c.sender {
			t.Errorf("sender is %q, want %q", got, c.sender)
		}
		if got := atBorder(c.v); got != c.atBorder {
			t.Errorf("at the border %q, want %q", got, c.atBorder)
		}
	}
}

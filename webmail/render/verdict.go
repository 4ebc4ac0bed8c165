package render

import (
	"strings"

	"golang.org/x/net/idna"
)

// Judge says what is to be thought of a message's sender. verdicts holds "spf", "dkim" and "dmarc" with result
// words of RFC 8601 2.7, as many as were judged; more words may follow each. envelopeFrom is the reverse-path.
func Judge(verdicts map[string]string, m *Message, envelopeFrom string) Verdict {
	var from Address
	if len(m.From) > 0 {
		from = m.From[0]
	}
	v := JudgeAddress(verdicts, from, envelopeFrom)
	if len(m.From) > 1 {
		v.Reasons = append(v.Reasons, ReasonManySenders)
		if v.Level == Verified {
			v.Level = Unverified
		}
	}
	if len(m.ReplyTo) > 0 && from.Addr != "" && v.Level != Verified && result(verdicts, "dmarc") == "fail" {
		for _, r := range m.ReplyTo {
			if r.Addr != "" && !related(r.Addr, from.Addr) {
				v.Level = Suspicious
				v.Reasons = append([]string{ReasonReplyTo}, v.Reasons...)
				break
			}
		}
	}
	return v
}

// JudgeAddress is Judge for what a list knows of a message.
func JudgeAddress(verdicts map[string]string, from Address, envelopeFrom string) Verdict {
	if from.Addr == "" {
		return Verdict{Unverified, []string{ReasonNoSender}}
	}
	v := checks(verdicts, from)
	if from.Suspicious != "" {
		v.Level = Suspicious
		v.Reasons = append([]string{from.Suspicious}, v.Reasons...)
	}
	if envelopeFrom != "" && v.Level != Verified && !related(envelopeFrom, from.Addr) {
		v.Reasons = append(v.Reasons, ReasonFromEnvelope)
	}
	return v
}

// checks weighs what the three methods found. Only DMARC speaks of the address that people see.
func checks(verdicts map[string]string, from Address) Verdict {
	spf, dkim, dmarc := result(verdicts, "spf"), result(verdicts, "dkim"), result(verdicts, "dmarc")
	if spf == "" && dkim == "" && dmarc == "" {
		return Verdict{Unknown, []string{ReasonNotJudged}}
	}
	switch {
	case dmarc == "pass" && !ofDomain(from.Addr, verdicts["dmarc.from"]):
		return Verdict{Unverified, []string{ReasonNothing}} // it passed for another than who is shown
	case dmarc == "pass":
		return Verdict{Verified, []string{ReasonDMARC}}
	case dmarc == "fail":
		return Verdict{Unverified, []string{ReasonDMARCFail}}
	}
	var reasons []string
	if dkim == "pass" {
		reasons = append(reasons, ReasonDKIM)
	}
	if spf == "pass" {
		reasons = append(reasons, ReasonSPF)
	}
	if spf == "fail" || spf == "softfail" {
		reasons = append(reasons, ReasonSPFFail)
	}
	if dkim == "fail" {
		reasons = append(reasons, ReasonDKIMFail)
	}
	if len(reasons) == 0 {
		reasons = []string{ReasonNothing}
	}
	return Verdict{Unverified, reasons}
}

// ofDomain says whether an address is of a domain, given in A-labels; of "", which isn't known, all are.
func ofDomain(addr, domain string) bool {
	_, own, _ := cutAddr(addr)
	if a, err := idna.Lookup.ToASCII(own); err == nil {
		own = a
	}
	return domain == "" || strings.EqualFold(own, domain)
}

// result returns the first word of a verdict, lower case.
func result(verdicts map[string]string, method string) string {
	fields := strings.FieldsFunc(verdicts[method], func(r rune) bool { return r == ' ' || r == ';' || r == '(' })
	if len(fields) == 0 {
		return ""
	}
	return strings.ToLower(fields[0])
}

// related says whether one domain is the other or beneath it.
func related(a, b string) bool {
	_, da, _ := cutAddr(strings.ToLower(a))
	_, db, _ := cutAddr(strings.ToLower(b))
	return da == db || strings.HasSuffix(da, "."+db) || strings.HasSuffix(db, "."+da)
}

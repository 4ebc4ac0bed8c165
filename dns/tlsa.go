package dns

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/miekg/dns"
)

// TLSA is a record that says which certificate a server has (RFC 6698 2.1).
type TLSA struct {
	Usage    uint8 // 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE
	Selector uint8 // 0 the certificate, 1 its SubjectPublicKeyInfo
	Matching uint8 // 0 the octets themselves, 1 their SHA-256, 2 their SHA-512
	Data     []byte
}

// LookupTLSA returns the TLSA records of a name such as "_25._tcp.mail.example.com". They bind nobody unless secure is true: a resolver that
// may be believed has verified them. A name without any is an error with IsNotFound, for which secure holds as well.
func (r *Resolver) LookupTLSA(ctx context.Context, name string) (records []TLSA, secure bool, err error) {
	a, err := r.lookup(ctx, name, dns.TypeTLSA, false)
	if err != nil {
		return nil, a.secure, err
	}
	for _, rr := range a.records {
		t, ok := rr.(*dns.TLSA)
		if !ok {
			continue
		}
		data, err := hex.DecodeString(t.Certificate)
		if err != nil {
			data = nil // of no use, but it is there
		}
		records = append(records, TLSA{Usage: t.Usage, Selector: t.Selector, Matching: t.MatchingType, Data: data})
	}
	return records, a.secure, nil
}

// CAA is a record that says which CA may issue certificates for a name (RFC 8659 4.1).
type CAA struct {
	Critical bool   // a CA that doesn't know the tag must not issue
	Tag      string // lower case: "issue", "issuewild", "iodef"
	Value    string // for issue: the CA's domain, then parameters behind ";"; ";" alone forbids all
}

// LookupCAA returns the CAA records that count for a name, and where they are: at the name itself or else at the nearest name above it (RFC
// 8659 3). Nothing and no error: any CA may issue.
func (r *Resolver) LookupCAA(ctx context.Context, name string) (records []CAA, at string, err error) {
	for at = strings.TrimSuffix(name, "."); at != ""; _, at, _ = strings.Cut(at, ".") {
		a, err := r.lookup(ctx, at, dns.TypeCAA, false)
		if err != nil && !IsNotFound(err) {
			return nil, at, err
		}
		for _, rr := range a.records {
			if c, ok := rr.(*dns.CAA); ok {
				records = append(records, CAA{Critical: c.Flag&0x80 != 0, Tag: strings.ToLower(c.Tag), Value: unescape(c.Value)})
			}
		}
		if len(records) > 0 {
			return records, at, nil
		}
	}
	return nil, "", nil
}

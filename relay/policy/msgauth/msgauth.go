// Package msgauth judges at receipt who a message is from: SPF (RFC 7208), DKIM (RFC 6376) and DMARC
// (RFC 9989). It judges when the message is kept, since only then is the client's address known; the
// verdicts go into the entry and, as one Authentication-Results field (RFC 8601), before the message.
//
// Nothing is refused here: a verdict is a fact, what follows from it is for others to decide. What can't be
// known (DNS that fails, time that runs out) is temperror and never more than Options.Timeout of a sender's wait.
//
// # What it costs
//
// Parsing DKIM is quadratic in the number of fields, so a header over maxHeader, with more than maxFields fields or with
// a signature over more than maxSigned names is not verified and says so ("policy"). At most maxSignatures
// are looked at. SPF has the limits of RFC 7208 4.6.4, DMARC's tree walk eight questions a domain (RFC 9989 4.10).
//
// # What isn't judged
//
// A client on this machine or in a private network is not the sender's server but something of ours (a proxy, a filter, a
// colleague's machine): SPF says nothing of it and none is asked for. With no signature either, nothing is judged and no
// field is written.
package msgauth

import (
	"context"
	"io"
	"net"
	"net/netip"
	"time"

	"restante/spool"
)

// Limits of what is verified.
const (
	maxHeader     = 64 << 10 // octets
	maxFields     = 500
	maxSignatures = 5
	maxSigned     = 200 // names in h=
)

// DefaultTimeout bounds the judgement of one message.
const DefaultTimeout = 5 * time.Second

// Resolver asks DNS; *dns.Resolver is one. Errors are *net.DNSError.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Options are what New needs.
type Options struct {
	Resolver   Resolver      // required
	AuthservID string        // our name in the field, required
	Timeout    time.Duration // 0: DefaultTimeout
}

// Judge judges messages. Safe for concurrent use.
type Judge struct{ o Options }

// New returns a judge.
func New(o Options) *Judge {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return &Judge{o}
}

// Result is a result word of RFC 8601 2.7: none, pass, fail, softfail, neutral, policy, temperror, permerror.
type Result string

// The results that this package itself gives.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"
	Policy    Result = "policy"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Verdict is what was found of one message.
type Verdict struct {
	Client spool.Client
	From   string      // reverse-path
	SPF    SPF         // of the reverse-path, or of HELO where that is null
	Helo   SPF         // of HELO
	DKIM   []Signature // as they stand in the header, at most maxSignatures
	DMARC  DMARC
	Judged bool // false: there was nothing to judge by
}

// SPF is the outcome of one check (RFC 7208).
type SPF struct {
	Result Result // "" when it wasn't checked
	Domain string
	Reason string // for people
}

// Signature is one DKIM-Signature field.
type Signature struct {
	Result    Result
	Domain    string // d=
	Selector  string // s=
	Algorithm string // a=
	Tag       string // the first octets of b=, which tell signatures apart (RFC 6008)
	Reason    string
}

// DMARC is the outcome for the author's domain (RFC 9989).
type DMARC struct {
	Result Result // "" when it wasn't checked
	From   string // the author's domain
	Policy string // none, quarantine or reject, as it applies to this message; "" without a record
	Record string // the domain whose record it was
	Reason string
}

// Judge judges a message of size octets from a client with a reverse-path (without <>, "" for null). It takes no longer than
// Options.Timeout; what could not be known by then is temperror.
func (j *Judge) Judge(ctx context.Context, c spool.Client, from string, body io.ReaderAt, size int64) Verdict {
	ctx, cancel := context.WithTimeout(ctx, j.o.Timeout)
	defer cancel()
	v := Verdict{Client: c, From: from}
	header := readHeader(body, size)
	ip, err := netip.ParseAddr(c.Addr)
	outside := err == nil && !ours(ip.Unmap())
	if !outside && !header.signed {
		return v
	}
	v.Judged = true
	spf := make(chan struct{})
	go func() {
		defer close(spf)
		if outside {
			v.SPF, v.Helo = j.spf(ctx, ip.Unmap(), c.Helo, from)
		}
	}()
	v.DKIM = j.dkim(ctx, header, body, size)
	<-spf
	v.DMARC = j.dmarc(ctx, header, &v)
	return v
}

// ours reports addresses that no stranger can have: see the package comment.
func ours(ip netip.Addr) bool {
	return !ip.IsGlobalUnicast() || ip.IsPrivate()
}

// Map is the verdict as an entry keeps it: results under "spf", "dkim" and "dmarc", and "dkim.domain", "spf.domain",
// "dmarc.from" and "dmarc.policy" beside them. It is nil when nothing was judged.
func (v *Verdict) Map() map[string]string {
	if !v.Judged {
		return nil
	}
	m := map[string]string{}
	put := func(key string, value string) {
		if value != "" {
			m[key] = spool.Printable(value)
		}
	}
	put("spf", string(v.SPF.Result))
	put("spf.domain", v.SPF.Domain)
	best := v.best()
	put("dkim", string(best.Result))
	put("dkim.domain", best.Domain)
	put("dmarc", string(v.DMARC.Result))
	put("dmarc.from", v.DMARC.From)
	put("dmarc.policy", v.DMARC.Policy)
	return m
}

// best is the signature that says most: one that passes and is aligned, one that passes, or the first.
func (v *Verdict) best() Signature {
	if len(v.DKIM) == 0 {
		return Signature{Result: None}
	}
	best := v.DKIM[0]
	for _, s := range v.DKIM {
		if s.Result != Pass {
			continue
		}
		if best.Result != Pass || s.Domain == v.DMARC.From {
			best = s
		}
	}
	return best
}

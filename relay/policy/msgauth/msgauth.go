// Package msgauth judges at receipt who a message is from: SPF (RFC 7208), DKIM (RFC 6376) and DMARC
// (RFC 9989). It judges inside the session, since only then is the client's address known; the
// verdicts go into the entry and, as one Authentication-Results field (RFC 8601), before the message.
//
// Nothing is refused here: a verdict is a fact, what follows from it is for others to decide (package policy). What can't be
// known (DNS that fails, time that runs out) is temperror; SPF takes Options.Timeout of a sender's wait at most, and
// the message as much again, with a second more, and one for each 8 MiB that have to be hashed. What DNS is asked of one domain takes
// no time from what it is asked of another: a zone may be slow on purpose.
//
// # What it costs
//
// Parsing DKIM is quadratic in the number of fields and of their lines, so a header over maxHeader, with more than maxFields
// fields or maxLines lines, or with a signature over more than maxSigned names is not verified and says so ("policy"); nor is
// a body with more than maxEmpty octets of empty lines in a row. Keys over maxKey aren't used, SPF records over maxSPF are a
// permerror. At most maxSignatures are looked at, and maxAuthors domains of From. SPF has the limits of RFC 7208 4.6.4, DMARC's
// tree walk eight questions a domain (RFC 9989 4.10). Messages made to be slow take a few milliseconds (TestHeaderBombs).
//
// # What isn't judged
//
// A client on this machine or in a private network is not the sender's server but something of ours (a proxy, a filter, a
// colleague's machine): SPF says nothing of it and none is asked for, so that DMARC may pass by a signature, but doesn't fail. With no
// signature either, nothing is judged and no field is written.
package msgauth

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"restante/dns"
	"restante/spool"
)

// Limits of what is verified.
const (
	maxHeader     = 64 << 10 // octets
	maxFields     = 500
	maxLines      = 1000
	maxSignatures = 5
	maxSigned     = 200      // names in h=
	maxSPF        = 8 << 10  // octets of an SPF record: time grows with the square of its macros. RFC 7208 3.4 wants less than 512
	maxTag        = 1020     // octets of a domain in a signature: no name in DNS has more, in whatever letters
	maxKey        = 2000     // octets of a key's record: RSA with 8192 bits, twice what RFC 8301 3.2 wants. Time grows with the square of it
	maxAuthors    = 5        // domains of From
	maxFrom       = 8 << 10  // octets of From that are parsed; of what is longer whatever looks like an address counts
	maxAddresses  = 1000     // in one that can't be parsed
	maxEmpty      = 64 << 10 // octets of CR and LF in a row: the verifier's time grows with the square of it
)

// hashed is how many octets of a message even a busy machine hashes in a second, for all its signatures.
const hashed = 8 << 20

// DefaultTimeout bounds what is asked of DNS for one sender, and for one message.
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
	// Indirect reports fields of a mailing list (RFC 2919, RFC 2369) or of a forwarder that seals what it saw (RFC 8617), or
	// signatures that weren't verified for what they would cost. Such mail may be the author's though nothing shows it. Since
	// anybody can write those fields, they count only where SPF or a signature shows who brought the message: By, a domain.
	Indirect bool
	By       string
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
	From   string // the author's domain; of several that which speaks most against the message
	Policy string // none, quarantine or reject, as it applies to this message; "" without a record
	Record string // the domain whose record it was
	Wanted string // p= of that record
	Reason string
}

// Judge judges a message of size octets from a client with a reverse-path (without <>, "" for null).
func (j *Judge) Judge(ctx context.Context, c spool.Client, from string, body io.ReaderAt, size int64) Verdict {
	check := j.Begin(c, from)
	defer check.Close()
	return check.Message(ctx, body, size)
}

// Check is the judgement of one transaction: first of who the client speaks for, then of what it brought.
type Check struct {
	j       *Judge
	client  spool.Client
	from    string
	ip      netip.Addr
	outside bool

	start  sync.Once
	cancel context.CancelFunc
	done   chan struct{} // path and helo are known
	path   SPF
	helo   SPF
}

// Begin opens the judgement of a client with a reverse-path (without <>, "" for null). DNS isn't asked yet.
func (j *Judge) Begin(c spool.Client, from string) *Check {
	k := &Check{j: j, client: c, from: from, done: make(chan struct{}), cancel: func() {}}
	ip, err := netip.ParseAddr(c.Addr)
	k.ip = ip.Unmap().WithZone("")
	k.outside = err == nil && !dns.Internal(k.ip)
	if !k.outside {
		close(k.done)
	}
	return k
}

// Outside reports that the client may be a stranger's server: see the package comment.
func (k *Check) Outside() bool { return k.outside }

// Start asks for SPF without waiting for it.
func (k *Check) Start() {
	if !k.outside {
		return
	}
	k.start.Do(func() {
		var ctx context.Context
		ctx, k.cancel = context.WithTimeout(context.Background(), k.j.o.Timeout)
		go func() {
			defer close(k.done)
			k.path, k.helo = k.j.spf(ctx, k.ip, k.client.Helo, k.from)
		}()
	})
}

// Sender is SPF of the reverse-path and of HELO; both are empty for a client that isn't outside.
func (k *Check) Sender(ctx context.Context) (path, helo SPF) {
	k.Start()
	select {
	case <-k.done:
		return k.path, k.helo
	case <-ctx.Done(): // the session is gone
		late := SPF{Result: TempError, Reason: "no answer in time"}
		return late, late
	}
}

// Message judges the message, of size octets.
func (k *Check) Message(ctx context.Context, body io.ReaderAt, size int64) Verdict {
	k.Start()
	h := readHeader(body, size)
	v := Verdict{Client: k.client, From: k.from}
	if !k.outside && h.signed == 0 {
		return v
	}
	v.Judged = true
	asking, cancel := context.WithTimeout(ctx, k.j.o.Timeout)
	defer cancel()
	whole, cancel := context.WithTimeout(ctx, k.j.o.Timeout+time.Second+time.Duration(size/hashed)*time.Second)
	defer cancel()
	authors, why := h.authors()
	wishes := k.j.wishes(asking, authors)
	v.DKIM = k.j.dkim(asking, whole, h, body, size)
	v.SPF, v.Helo = k.Sender(whole)
	v.DMARC = k.j.dmarc(whole, wishes, why, &v)
	if !k.outside && v.DMARC.Result == Fail { // SPF, which wasn't asked for, might have passed
		v.DMARC = DMARC{Result: None, From: v.DMARC.From, Reason: "something of ours stands between, and hides who sent it"}
	}
	v.By = v.bearer()
	v.Indirect = v.By != "" && (h.indirect || h.unverified())
	return v
}

// Close ends what is still being asked.
func (k *Check) Close() {
	k.start.Do(func() {}) // nothing starts any more
	k.cancel()
}

// Map is the verdict as an entry keeps it: results under "spf", "dkim" and "dmarc", and "spf.domain", "spf.helo" (a result),
// "dkim.domain", "dmarc.from" and "dmarc.policy" beside them. It is nil when nothing was judged.
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
	if v.From != "" { // else it is the same
		put("spf.helo", string(v.Helo.Result))
	}
	best := v.best()
	put("dkim", string(best.Result))
	put("dkim.domain", best.Domain)
	put("dmarc", string(v.DMARC.Result))
	put("dmarc.from", v.DMARC.From)
	put("dmarc.policy", v.DMARC.Policy)
	return m
}

// bearer is a domain that has shown that the message came by it, "" when none has.
func (v *Verdict) bearer() string {
	if best := v.best(); best.Result == Pass {
		return best.Domain
	}
	for _, s := range []SPF{v.SPF, v.Helo} {
		if s.Result == Pass {
			return s.Domain
		}
	}
	return ""
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

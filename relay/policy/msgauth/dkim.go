package msgauth

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/emersion/go-msgauth/dkim"
)

// tagLength is how much of b= is told, in octets (RFC 6008 4).
const tagLength = 8

// dkim verifies the signatures of a message: keys are asked for until the end of asking, and what was found by then is compared with the
// message until the end of ctx, so that a key that never comes doesn't spoil what others sign.
func (j *Judge) dkim(asking, ctx context.Context, h *header, body io.ReaderAt, size int64) []Signature {
	var out []Signature
	for _, t := range h.tags {
		b := t["b"]
		out = append(out, Signature{
			Result: Policy, Domain: short(aLabels(t["d"])), Selector: short(t["s"]), Algorithm: short(t["a"]),
			Tag: b[:min(len(b), tagLength)], Reason: h.refuse,
		})
	}
	if len(out) == 0 || h.refuse != "" {
		return out
	}
	r := &until{ctx: ctx, r: io.NewSectionReader(body, 0, size)}
	var strict strictKeys
	found, err := dkim.VerifyWithOptions(r, &dkim.VerifyOptions{
		MaxVerifications: maxSignatures,
		LookupTXT: func(name string) ([]string, error) {
			txt, err := j.o.Resolver.LookupTXT(asking, name)
			if e, ok := err.(*net.DNSError); err != nil && (!ok || !e.IsNotFound) {
				return nil, &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true} // or it would count as permanent
			}
			for _, t := range txt {
				if len(t) > maxKey {
					return nil, errors.New("the key is larger than is used")
				}
			}
			strict.note(name, txt)
			return txt, err
		},
	})
	if r.empty.Load() {
		h.refuse = "the message has more empty lines in a row than are verified"
	}
	for i := range out {
		s := &out[i]
		switch {
		case h.refuse != "":
			s.Reason = h.refuse
		case r.cut.Load():
			s.Result, s.Reason = TempError, "not verified in time"
		case i >= len(found):
			s.Result, s.Reason = PermError, "can't be read"
			if err != nil {
				s.Reason = err.Error()
			}
		case found[i].Err == nil && aLabels(found[i].Domain) != s.Domain:
			// The verifier has found other fields than we (white space around a name is enough): its result is of another one.
			s.Result, s.Reason = PermError, "the header can be read in two ways"
		case found[i].Err == nil && strict.refuses(h.tags[i]):
			s.Result, s.Reason = PermError, "the key is for d= alone, and i= is below it"
		case found[i].Err == nil:
			s.Result = Pass
		default:
			s.Result, s.Reason = resultOf(found[i].Err), found[i].Err.Error()
		}
	}
	return out
}

// short cuts what no name in DNS is longer than: it is told, and a line of a header has its limit.
func short(s string) string { return s[:min(len(s), 255)] }

func resultOf(err error) Result {
	switch text := err.Error(); {
	case dkim.IsTempFail(err):
		return TempError
	case strings.Contains(text, "body length"): // what stands behind l= octets is anybody's (RFC 6376 8.2)
		return Policy
	case strings.Contains(text, "expired"):
		return Fail
	case dkim.IsPermFail(err):
		return PermError
	}
	return Fail
}

// strictKeys are the names of keys whose flag "s" wants i= to be of the domain d= itself (RFC 6376 3.6.1), which
// the verifier doesn't look at.
type strictKeys struct{ sync.Map }

func (k *strictKeys) note(name string, txt []string) {
	if len(txt) == 1 && slices.Contains(strings.Split(tagsOf(txt[0])["t"], ":"), "s") {
		k.Store(name, true)
	}
}

func (k *strictKeys) refuses(tags map[string]string) bool {
	_, strict := k.Load(tags["s"] + "._domainkey." + tags["d"])
	i := tags["i"]
	return strict && i != "" && !strings.EqualFold(i[strings.LastIndexByte(i, '@')+1:], tags["d"])
}

// until ends when ctx does, or at what would take too long, without an error: the verifier leaks what waits for an input that fails.
type until struct {
	ctx   context.Context
	r     io.Reader
	cut   atomic.Bool
	run   int         // of CR and LF, up to here
	empty atomic.Bool // it was longer than maxEmpty
}

func (u *until) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		u.cut.Store(true)
		return 0, io.EOF
	}
	if u.empty.Load() {
		return 0, io.EOF
	}
	n, err := u.r.Read(p)
	for _, c := range p[:n] {
		if c != '\r' && c != '\n' {
			u.run = 0
		} else if u.run++; u.run > maxEmpty {
			u.empty.Store(true)
			return 0, io.EOF
		}
	}
	return n, err
}

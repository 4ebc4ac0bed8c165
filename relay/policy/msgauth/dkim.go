package msgauth

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	"github.com/emersion/go-msgauth/dkim"
)

// tagLength is how much of b= is told, in octets (RFC 6008 4).
const tagLength = 8

// dkim verifies the signatures of a message.
func (j *Judge) dkim(ctx context.Context, h *header, body io.ReaderAt, size int64) []Signature {
	var out []Signature
	for _, t := range h.tags {
		b := t["b"]
		out = append(out, Signature{
			Result: Policy, Domain: aLabels(t["d"]), Selector: t["s"], Algorithm: t["a"],
			Tag: b[:min(len(b), tagLength)], Reason: h.refuse,
		})
	}
	if len(out) == 0 || h.refuse != "" {
		return out
	}
	r := &until{ctx: ctx, r: io.NewSectionReader(body, 0, size)}
	found, err := dkim.VerifyWithOptions(r, &dkim.VerifyOptions{
		MaxVerifications: maxSignatures,
		LookupTXT: func(name string) ([]string, error) {
			txt, err := j.o.Resolver.LookupTXT(ctx, name)
			if e, ok := err.(*net.DNSError); err != nil && (!ok || !e.IsNotFound) {
				return nil, &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true} // or it would count as permanent
			}
			return txt, err
		},
	})
	for i := range out {
		s := &out[i]
		switch {
		case r.cut.Load() || ctx.Err() != nil:
			s.Result, s.Reason = TempError, "not verified in time"
		case i >= len(found):
			s.Result, s.Reason = PermError, "can't be read"
			if err != nil {
				s.Reason = err.Error()
			}
		case found[i].Err == nil && aLabels(found[i].Domain) != s.Domain:
			// The verifier has found other fields than we (white space around a name is enough): its result is of another one.
			s.Result, s.Reason = PermError, "the header can be read in two ways"
		case found[i].Err == nil:
			s.Result = Pass
		default:
			s.Result, s.Reason = resultOf(found[i].Err), found[i].Err.Error()
		}
	}
	return out
}

func resultOf(err error) Result {
	switch {
	case dkim.IsTempFail(err):
		return TempError
	case dkim.IsPermFail(err):
		return PermError
	}
	return Fail
}

// until ends when ctx does, without an error: the verifier leaks what waits for an input that fails.
type until struct {
	ctx context.Context
	r   io.Reader
	cut atomic.Bool
}

func (u *until) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		u.cut.Store(true)
		return 0, io.EOF
	}
	return u.r.Read(p)
}

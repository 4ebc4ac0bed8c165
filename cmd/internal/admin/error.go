package admin

import (
	"errors"
	"fmt"
	"strings"
)

// Kind sorts errors by what the caller can do; each has an exit code of the command line.
type Kind string

// The kinds of error.
const (
	KindFailed      Kind = "failed"      // it went wrong: exit code 1
	KindUsage       Kind = "usage"       // what was asked makes no sense: 2
	KindUnreachable Kind = "unreachable" // no node answers: 3
	KindAttention   Kind = "attention"   // it went well, but something needs a person: 4
	KindNotFound    Kind = "not-found"   // there is no such domain, entry or outage: 5
)

// Error is an error for people: what happened, and what to do.
type Error struct {
	Kind Kind   `json:"kind"`
	Text string `json:"text"`
	Mend string `json:"mend,omitempty"`
	Err  error  `json:"-"`
}

// Error is the text with the mend.
func (e *Error) Error() string {
	if e.Mend == "" {
		return e.Text
	}
	return e.Text + "; " + e.Mend
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error.
func Errorf(kind Kind, mend, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Text: err.Error(), Mend: mend, Err: errors.Unwrap(err)}
}

// AsError returns err as an Error; any other error becomes KindFailed.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: KindFailed, Text: err.Error(), Err: err}
}

// Brief is the end of a chain of network errors, for people: "connection refused" of
// "dial tcp ...: connect: connection refused". Other text stays as it is, to the end of its first line.
func Brief(reason string) string {
	reason, _, _ = strings.Cut(reason, "\n")
	if strings.Contains(reason, "i/o timeout") || strings.Contains(reason, "context deadline exceeded") {
		return "timed out"
	}
	for _, cut := range []string{": connect: ", ": read: ", ": write: "} {
		if i := strings.LastIndex(reason, cut); i >= 0 {
			return reason[i+len(cut):]
		}
	}
	return reason
}

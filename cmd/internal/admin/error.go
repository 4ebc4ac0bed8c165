package admin

import (
	"errors"
	"fmt"
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

// Package reply is one SMTP reply as a value (RFC 5321 4.2, RFC 2034, RFC 3463): what goes on the wire
// and, kept apart from it, why.
package reply

import (
	"fmt"
	"strings"
)

// Enhanced is an enhanced status code (RFC 3463), zero when the reply has none.
type Enhanced [3]int

// Reply is an SMTP reply.
type Reply struct {
	Code     int
	Enhanced Enhanced
	Text     string // public; lines are separated by "\n"
	Cause    error  // private: for the log, never for the wire
}

// New returns a reply with a formatted public text.
func New(code int, enhanced Enhanced, format string, args ...any) Reply {
	return Reply{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(format, args...)}
}

// With returns the reply with a private cause.
func (r Reply) With(cause error) Reply {
	r.Cause = cause
	return r
}

// Refuses reports a reply that is there and isn't positive. The zero reply refuses nothing: nobody has objected yet.
func (r Reply) Refuses() bool { return !r.IsZero() && !r.Positive() }

// Positive reports a 2xx.
func (r Reply) Positive() bool { return r.Code >= 200 && r.Code < 300 }

// Intermediate reports a 3xx.
func (r Reply) Intermediate() bool { return r.Code >= 300 && r.Code < 400 }

// Transient reports a 4xx.
func (r Reply) Transient() bool { return r.Code >= 400 && r.Code < 500 }

// Permanent reports a 5xx.
func (r Reply) Permanent() bool { return r.Code >= 500 && r.Code < 600 }

// IsZero reports that there is no reply: nothing was read, or the connection is to be closed without one.
func (r Reply) IsZero() bool { return r.Code == 0 }

// String is the reply on one line, as logs, ledger and reports show it: "550 5.1.1 no such user".
func (r Reply) String() string {
	if r.IsZero() {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d", r.Code)
	if r.Enhanced != (Enhanced{}) {
		fmt.Fprintf(&b, " %d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2])
	}
	if r.Text != "" {
		b.WriteByte(' ')
		b.WriteString(strings.ReplaceAll(r.Text, "\n", " "))
	}
	return b.String()
}

// Error makes a Reply usable as an error.
func (r Reply) Error() string {
	if r.Cause != nil {
		return r.String() + " (" + r.Cause.Error() + ")"
	}
	return r.String()
}

// Unwrap returns the private cause.
func (r Reply) Unwrap() error { return r.Cause }

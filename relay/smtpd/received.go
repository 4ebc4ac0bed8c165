package smtpd

import (
	"time"
)

// Trace is what a Received field says (RFC 5321 4.4).
type Trace struct {
	Hostname string // ours
	Client   *Client
	ID       string
	Rcpts    []string // forward-paths; "for" is written only with exactly one
	Time     time.Time
}

// Received returns the Received field with its CRLF.
func Received(t Trace) []byte { return nil }

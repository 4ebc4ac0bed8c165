// Package scan asks content filters about a message: rspamd (HTTP /checkv2) and ClamAV (clamd's INSTREAM).
package scan

import (
	"context"
	"io"
	"log/slog"
	"time"

	"restante/relay/reply"
	"restante/spool"
)

// Action is what is to become of a message, from the mildest to the strictest.
type Action string

// The actions.
const (
	Take       Action = ""           // nothing is wrong with it
	Mark       Action = "mark"       // it is taken; Fields say what was found
	Quarantine Action = "quarantine" // it is kept from everybody until an admin releases it; not for outgoing mail
	Defer      Action = "defer"      // 4xx: a filter wants it so, or couldn't be asked
	Refuse     Action = "refuse"     // 5xx
)

// Message is what is judged.
type Message struct {
	ID       string       // of the entry
	Client   spool.Client // who brought it; zero for outgoing mail
	From     string       // reverse-path without <>, "" for the null reverse-path
	Rcpts    []string     // addresses
	Domains  []string     // hosted domains of the recipients
	Body     io.ReaderAt  // as received, without our trace fields
	Size     int64        // octets of Body
	Outgoing bool         // written by Account, one of ours
	Account  string       // main address
}

// Result is what the filters say together: the strictest action counts.
type Result struct {
	Action   Action
	Reply    reply.Reply       // with Refuse and Defer: what the sender is told; its Cause is for the log
	Reason   string            // for admins: why it isn't just taken; "" with Take
	Score    float64           // of rspamd; 0 when it wasn't asked
	Symbols  []string          // of rspamd, the weightiest first
	Virus    string            // what clamd found, "" for nothing
	Fields   []byte            // trace fields for the head of the message, each with its CRLF; nil for none
	Verdicts map[string]string // for the entry; nil when nothing was asked
}

// Options are what New needs.
type Options struct {
	Config  Config
	Log     *slog.Logger     // nil: none
	Metrics *Metrics         // nil: none
	Now     func() time.Time // nil: time.Now
}

// Config says which filters there are.
type Config struct{}

// Metrics count what the filters said. A nil *Metrics counts nothing.
type Metrics struct{}

// Set is all filters. Safe for concurrent use; a nil Set takes everything.
type Set struct{}

// New returns a set.
func New(o Options) (*Set, error) { return &Set{}, nil }

// Scan asks all filters at once. It comes to an end by itself, within their time limits.
func (s *Set) Scan(ctx context.Context, m Message) Result { return Result{} }

package webmail

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/webmail/accounts"
	"restante/webmail/mailbox"
)

// Options are what a Server stands on. Mail, Accounts, Outages, Sender and Log are required.
type Options struct {
	Mail     *mailbox.Store
	Accounts *accounts.Directory
	Sender   Sender
	Outages  Outages
	SignIn   SignIn   // without it nobody can sign in
	Names    []string // host names that the webmail answers to, without port; none means any
	Secure   bool     // reached over https; false only on loopback with --dev
	Contact  string   // whom to call, as the admin wrote it ("IT, extension 100"); may be empty
	Limits   Limits
	Now      func() time.Time // nil means time.Now
	Log      *slog.Logger
	Metrics  prometheus.Registerer // nil for none
	Version  string
}

// Limits bound what one reader can cost. Zero values mean the defaults.
type Limits struct {
	Events    int           // open event streams (server-sent events) of one account; default 8
	Streams   int           // open event streams in all; default 5,000
	Downloads int           // files on their way to one account at once; default 16
	View      time.Duration // making one view of a message; default 20 s
	Bulk      int           // entries in one bulk action; default 500
	Form      int64         // octets of a form without files; default 1 MB
	Zip       int64         // octets of all attachments in one zip, decoded; default 200 MB
	Kept      int64         // octets of drafts and attachments that one account may have kept within an hour; default 1 GB
	Message   int64         // octets of a message that is sent, its attachments encoded; default 25 MB
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&l.Events, 8)
	set(&l.Streams, 5000)
	set(&l.Downloads, 16)
	set(&l.Bulk, 500)
	if l.View == 0 {
		l.View = 20 * time.Second
	}
	if l.Form == 0 {
		l.Form = 1 << 20
	}
	if l.Message == 0 {
		l.Message = 25e6
	}
	if l.Kept == 0 {
		l.Kept = 1 << 30
	}
	if l.Zip == 0 {
		l.Zip = 200 << 20
	}
	return l
}

// Outages says how a domain's mail server is. Its methods answer at once, from memory.
type Outages interface {
	// Domain returns the state of a hosted domain, lower case; a zero state for one that isn't.
	Domain(domain string) DomainState
}

// DomainState is what the line on top tells about a domain.
type DomainState struct {
	Hosted     bool // the domain is one of ours
	Up         bool // the primary answers, nothing is pending
	Down       bool // the primary counts as down, or is declared to be
	Recovering bool // the primary is back and is being given what was kept
	Drill      bool // an admin declared the outage for practice

	Since time.Time // of the outage: when it opened; of the last one when Up
	Until time.Time // when the last outage ended, zero during one

	Total     int64 // pairs of the outage (or the last one)
	Delivered int64
	Parked    int64

	Notice       string    // the admin's words for staff, "" for none
	ReadingUntil time.Time // when reading closes after the outage, zero while it isn't known
	WritingUntil time.Time // when writing closes after it, zero while it isn't known
}

// Sender is how what people write goes out; relay/submit stands behind it.
type Sender interface {
	// May says whether the account may send from the address now, and if not, why: "no-smarthost",
	// "smarthost-down", "stopped", "limit" or "closed". It answers at once, from memory.
	May(ctx context.Context, account, from string) (ok bool, why string)
	// Send keeps a message for delivery once Delay has passed. When it returns without an error, the
	// message is kept as safely as mail from outside is. An error whose text is meant for the writer is a *Refusal.
	Send(ctx context.Context, s Submission) (SendResult, error)
	// Undo takes a piece of writing back before its Delay has passed; an error says that it was too late.
	Undo(ctx context.Context, account, writing string) error
}

// Submission is one message to be sent.
type Submission struct {
	Account  string        // who writes, by main address
	From     string        // own or shared address that it is from
	FromName string        // the name shown with it, may be empty
	Rcpts    []string      // all recipients, Bcc included
	Message  []byte        // RFC 5322 with CRLF line ends, attachments included; no Bcc field
	Writing  string        // ULID of the piece of writing
	Delay    time.Duration // how long it can be undone
}

// SendResult says what became of a Submission.
type SendResult struct {
	Entries   []string  // ids of the entries that it became
	NotBefore time.Time // until then it can be undone
}

// Refusal is a reason not to send that the writer is told: Key is of the words "write.refused.<Key>".
type Refusal struct {
	Key  string
	Args []any // name, value pairs for the words
}

func (r *Refusal) Error() string { return "not sent: " + r.Key }

// Package submit is the one way out for what people write: checked, signed, kept, then sent.
//
// [Service.Submit] takes a finished message. It makes up to three entries of it, in one batch of the spool, so that
// all of them are kept or none:
//
//	Outbound  for recipients outside: by the smarthost, after authentication, over TLS
//	Local     for recipients of hosted domains: as held mail is handed over, or by the domain's authenticated submission
//	Copy      for the sender's own mailbox at the primary, marked "X-Restante-Copy: sent"
//
// All have the same message. In front of it, as trace fields, stand DKIM signatures (RFC 6376, RFC 8463) by the
// domain's keys, and one Received field that names nobody. Until Entry.NotBefore nobody is given them; [Service.Undo]
// removes them before that.
//
// Delivery is relay/replay's, by an engine of its own: its leases, journal, pace and claims hold for outgoing mail as they do
// for held mail. What differs: pairs that can't be delivered outside are bounced, by a Local entry in the sender's
// inbox (RFC 3464) that is durable before the pair is; a bounce is never bounced. Local and Copy pairs are never bounced, since a
// primary that was restored by half refuses everybody.
//
// # In the ledger
//
//	secret-kept "dkim/<domain>/<selector>"   value: a key, PKCS #8 in PEM; Data "algorithm" is "rsa" or "ed25519"
//	secret-kept "sending/<account>"          value: JSON {"by","reason"}: the account may not send; absent: it may again
//	replay-paused, replay-resumed            of domain "(smarthost)": nobody may send
//
// Values are encrypted with the cluster key, their name is the purpose.
package submit

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/relay/health"
	"restante/relay/policy/scan"
	"restante/relay/replay"
	"restante/relay/smtpc"
	"restante/spool"
)

// CopyField is the trace field of copies, by which Sieve and transport rules file them.
const CopyField = "X-Restante-Copy: sent\r\n"

// Why nothing may be sent: the keys of what people are told.
const (
	WhyNoSmarthost   = "no-smarthost"   // none is configured
	WhySmarthostDown = "smarthost-down" // it can't be reached, or refuses us
	WhyStopped       = "stopped"        // by an admin, for all or for this account
	WhyLimit         = "limit"          // of the account, for the hour
	WhyClosed        = "closed"         // no outage, and the time after it is over
	WhyStore         = "store"          // what is written can't be kept at the moment
	WhyUnchecked     = "unchecked"      // content filters can't be asked at the moment, or put it off
)

// Errors of Submit and Undo. All say what to do; those of Submit leave nothing behind.
var (
	// ErrRefused: the message can't be sent as it is. The text after it is for the person; of a *Found it is for admins.
	ErrRefused = errors.New("the message can't be sent")
	// ErrNotNow: sending is not possible now; a *NotNow says why.
	ErrNotNow = errors.New("sending is not possible now")
	// ErrUnsettled: nobody knows yet whether it was kept. Submitting the same writing again answers that.
	ErrUnsettled = errors.New("it is not certain yet whether the message was kept; try again in a minute, it is not sent twice")
	// ErrTooLate: it is on its way, or was sent.
	ErrTooLate = errors.New("it has been sent and can't be taken back")
	// ErrUnknown: nothing was sent by that name.
	ErrUnknown = errors.New("nothing was sent from this writing")
)

// NotNow says why sending is not possible now. It is an ErrNotNow.
type NotNow struct {
	Why string // one of the Why constants
	Err error  // more, for the log; may be nil
}

// Error gives the reason.
func (e *NotNow) Error() string {
	if e.Err != nil {
		return ErrNotNow.Error() + " (" + e.Why + "): " + e.Err.Error()
	}
	return ErrNotNow.Error() + " (" + e.Why + ")"
}

// Is makes errors.Is(err, ErrNotNow) true.
func (e *NotNow) Is(target error) bool { return target == ErrNotNow }

// Unwrap returns the cause.
func (e *NotNow) Unwrap() error { return e.Err }

// TLS of a Server.
const (
	TLSStartTLS = "starttls" // STARTTLS with a verified certificate (RFC 3207), or nothing; the default
	TLSImplicit = "implicit" // TLS from the first octet, verified (RFC 8314)
	TLSNone     = "none"     // never TLS; a password is then sent to a loopback address only
)

// Server is a mail server that takes mail from us, as a rule after authentication.
type Server struct {
	Host         string // name or address
	Port         int    // 0: 587, or 465 with TLSImplicit
	TLS          string // TLSStartTLS (also ""), TLSImplicit or TLSNone
	RootCAs      *x509.CertPool
	Fingerprints []string // instead of a CA, see smtpc.TLSPolicy
	ServerName   string   // name to verify; "": Host
	User         string   // "": no AUTH
	Password     string
}

// Limits bound what people send. Zero fields get the defaults.
type Limits struct {
	Messages   int   // an account, in an hour; default 100
	Recipients int   // an account, in an hour, all messages together; default 500
	PerMessage int   // recipients of one message; default 100
	Size       int64 // octets of one message; default 25 MiB
}

// Config is what may change while it runs.
type Config struct {
	Smarthost   *Server           // nil: nobody outside can be written to
	Submission  map[string]Server // by hosted domain, lower case: takes the domain's Local and Copy pairs instead of the primary's port 25
	Limits      Limits
	Connections int           // to one server at most; default 5
	Rate        float64       // messages a second to one server; 0: no limit
	RetryMin    time.Duration // after the first 4xx; default 1 min
	RetryMax    time.Duration // the wait doubles up to this; default 30 min
	GiveUp      time.Duration // 4xx, or no connection, for this long: bounced; default 2 days
	Probe       time.Duration // between two looks at a server that is well: connect, TLS, AUTH, QUIT; default 1 min
}

// Index is what submit needs of the index; *index.Index has it.
type Index interface {
	replay.Index
	Secret(ctx context.Context, name string) (spool.Event, bool, error)
	Secrets(ctx context.Context, prefix string) ([]spool.Event, error)
}

// Secrets encrypts what stands in the ledger; *secret.Keyring does.
type Secrets interface {
	Encrypt(purpose string, plain []byte) (string, error)
	Decrypt(purpose, text string) ([]byte, error)
}

// Options are what a Service works with. Those of the first group are required.
type Options struct {
	Spool    *spool.Spool
	Index    Index
	Secrets  Secrets
	Dialer   *smtpc.Dialer
	Hostname string                   // of this node: Received, bounces
	Hosted   func(domain string) bool // domains are in lower case
	Config   Config

	Open     func(domain string) bool                                    // writing is open to the people of a domain; nil: always
	Declared func(target string) (health.Declaration, bool)              // an admin's word that a domain or address is down; nil: none
	TXT      func(ctx context.Context, name string) ([]string, error)    // to check that DKIM keys are published; nil: not checked
	Reader   func(account string) (language string, zone *time.Location) // of a person, for bounces: "de"; nil: English, UTC
	Scan     func(ctx context.Context, m scan.Message) scan.Result       // content filters; nil: none
	Notify   func(replay.Notice)                                         // must not block; nil: nobody
	Log      *slog.Logger                                                // nil: none
	Metrics  prometheus.Registerer                                       // nil: none
	TempDir  string                                                      // for large messages; "": the system's
}

// Submission is one finished message.
type Submission struct {
	Account string        // who sends it: the account's main address, lower case
	Box     string        // whose Sent folder it is in, and whose mailbox gets the copy: Account ("") or a shared address
	From    string        // reverse-path: an address of a hosted domain that the account may use; the caller has checked that
	Rcpts   []string      // all of them, Bcc too
	Message []byte        // CRLF line ends, complete, without Bcc
	Writing string        // ULID; what is submitted twice is sent once
	Delay   time.Duration // for Undo; at most MaxDelay
}

// MaxDelay bounds Submission.Delay.
const MaxDelay = time.Minute

// Result says what became of a submission. The message is durable.
type Result struct {
	Entries   []string // ids: outbound, local, copy, as far as there are
	Copy      string   // id of the copy, which the Sent folder shows
	NotBefore time.Time
	Again     bool // it was submitted before; nothing new was kept
}

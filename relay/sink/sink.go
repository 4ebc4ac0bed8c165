// Package sink is a lean SMTP server that takes mail and does nothing with it but hand it to a callback. It is the
// stand-in primary of `restante serve --dev`, the receiver of the load tool, and the primary of tests:
// what it offers and how it fails can be changed while it runs, and it can be stopped as if its host had been killed and
// started again on the same port.
//
// It is no mail server: it keeps nothing by itself and believes every client.
package sink

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// Options configure a Server. The zero value is a server on a free port of 127.0.0.1 that offers everything.
type Options struct {
	Addr       string                           // default "127.0.0.1:0"; the port found at the first Start is kept
	Hostname   string                           // default "sink.test"
	Offers     Offers                           // zero: DefaultOffers
	Faults     Faults                           //
	Deliver    func(*Envelope, []byte) error    // called for each message before its 250; an error is answered 451. The octets are the callee's
	Keep       bool                             // keep messages in memory, see Messages
	Strict     bool                             // note what a client does against the protocol, see Violations
	Implicit   bool                             // TLS from the first octet
	TLS        *tls.Config                      // default: a certificate of its own making
	Login      func(user, password string) bool // not nil: AUTH is asked for before MAIL
	PlainLogin bool                             // passwords in plain are no violation
	Log        *slog.Logger                     //
}

// Offers is what EHLO announces. Start from DefaultOffers.
type Offers struct {
	HeloOnly     bool  // 500 to EHLO
	Size         int64 // limit in octets; 0: SIZE without a limit
	NoSize       bool
	Pipelining   bool
	Chunking     bool
	EightBitMIME bool
	SMTPUTF8     bool
	DSN          bool
	StartTLS     bool
	RequireTLS   bool // REQUIRETLS (RFC 8689), within TLS
	XClient      []string
	XClientOnce  bool // as Postfix: a client that was told of may not say XCLIENT itself
	XForward     []string
	Auth         []string // mechanisms, of PLAIN and LOGIN; with Options.Login
}

// DefaultOffers offers all but REQUIRETLS, XCLIENT and XFORWARD.
func DefaultOffers() Offers {
	return Offers{Pipelining: true, Chunking: true, EightBitMIME: true, SMTPUTF8: true, DSN: true, StartTLS: true}
}

// Stage names a point of a session at which a Rule acts.
type Stage string

// The stages. Each but StageConnect and StageBody is the reply to a command.
const (
	StageConnect  Stage = "connect" // accepted, the banner isn't sent yet
	StageEhlo     Stage = "ehlo"    // EHLO and HELO
	StageStartTLS Stage = "starttls"
	StageTLS      Stage = "tls"  // before the handshake, after the 220
	StageAuth     Stage = "auth" // the end of an exchange
	StageXClient  Stage = "xclient"
	StageXForward Stage = "xforward"
	StageMail     Stage = "mail"
	StageRcpt     Stage = "rcpt"
	StageData     Stage = "data" // DATA
	StageBody     Stage = "body" // the first octets of the message have come
	StageBdat     Stage = "bdat" // BDAT that isn't the last
	StageDot      Stage = "dot"  // the end of the message, over DATA or BDAT LAST
	StageRset     Stage = "rset"
	StageNoop     Stage = "noop"
	StageQuit     Stage = "quit"
)

// Drop says when a rule cuts the connection.
type Drop string

// Ways to cut the connection. The peer sees a reset.
const (
	NoDrop     Drop = ""
	DropBefore Drop = "before" // the command has no effect and no reply
	DropAfter  Drop = "after"  // the command has its effect (a message is delivered), no reply
	DropReply  Drop = "reply"  // the command has its effect and its reply, then the connection is closed
)

// Rule is one fault. All the rules of a stage are tried in order; the first that fits acts.
type Rule struct {
	Stage Stage
	Match string        // in the command line, in lower case (for StageDot: in the reverse-path and recipients); "": any
	Rate  float64       // share of the cases, 0 or 1: all
	Skip  int           // cases to let pass first
	Count int           // cases to act on, 0: no end
	Reply string        // in place of the usual reply, lines separated by "\n"; a message so answered isn't delivered unless 2xx
	Raw   string        // octets sent before the reply, as they are
	Delay time.Duration // before the reply
	Drop  Drop          //
	Hang  bool          // no reply, the connection stays open
	Stop  bool          // the whole server stops here, as at Stop; with Drop saying whether before or after the effect
}

// Faults are how a server misbehaves. The zero value: not at all.
type Faults struct {
	Rules          []Rule
	MaxConnections int           // above it 421 at connect, 0: no limit
	MaxRcpts       int           // above it 452 4.5.3, 0: no limit
	Delay          time.Duration // before each group of replies
}

// Envelope is what came with a message.
type Envelope struct {
	Session    int64  // number of the connection
	Client     string // remote address and port
	Helo       string
	TLS        bool
	User       string   // that authenticated, "" for none
	From       string   // without <>
	MailParams []string // as given
	Rcpts      []string // accepted ones, without <>
	RcptParams [][]string
	Bdat       bool
	XClient    map[string]string
	XForward   map[string]string
	Received   time.Time
}

// Message is a kept message.
type Message struct {
	Envelope
	Data []byte
}

// Stats are counters since New.
type Stats struct {
	Connections, Current, MaxCurrent, Transactions, Messages, Octets, Refused, Dropped int64
}

// Package smtpc is one conversation out: an SMTP client (RFC 5321) for pass-through, probes and replay.
//
// A [Dialer] opens a [Conn]: connect, banner, EHLO (HELO where EHLO isn't known), STARTTLS (RFC 3207), EHLO. From
// there, after AUTH where the target has a login (RFC 4954), a conversation goes on step by step (Mail, Rcpt, Data, as pass-through and probes need it), or as a
// whole with [Conn.Run], which sends one transaction after another at one round trip each (RFC 2920, RFC 3030).
//
// What goes out:
//   - The octets of a message are never changed. DATA adds and the receiver removes the dots of RFC 5321 4.5.2; a
//     message that doesn't end in CRLF gets, over DATA alone, the CRLF that the final dot needs. BDAT
//     is used where CHUNKING is offered and carries the octets as they are.
//   - A parameter goes out only where its extension was offered: SIZE, BODY, SMTPUTF8, REQUIRETLS, RET, ENVID, NOTIFY, ORCPT. What can't do
//     without (SMTPUTF8 addresses, a message over the offered SIZE, or one that must stay within verified TLS) isn't sent: the reply is then our own,
//     with [ErrUnsupported] as its cause.
//   - Nothing is sent that would complete a message before all of it was read and counted, so that a
//     source that fails half-way, and a receiver that takes a cut connection for an end, make no cut message.
//
// A certificate is verified by a CA, a fingerprint, or what the server's domain says of it in DNS (DANE, RFC 7672), which is looked
// for before each connection and then binds: such a server gets nothing over a connection that it can't vouch for. The header
// field "TLS-Required: No" (RFC 8689 4.1) changes nothing of that: a primary's TLS is its own admin's business, not the sender's.
//
// What comes in: replies are parsed strictly and within bounds; see [Error] for what ends a conversation. Every error says at
// which stage it happened, and [ErrUnknown] says whether the receiver may have taken the message: true
// from the moment the final dot (or the last octet of BDAT LAST) may have left until its reply was read.
//
// Time limits are those of RFC 5321 4.5.3.2, shortened where somebody waits behind us: see [Dialer].
// When a context ends, the connection is closed at once.
package smtpc

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"restante/relay/reply"
)

// TLS modes, see [TLSPolicy].
const (
	TLSOpportunistic = "opportunistic" // by DANE where the server has TLSA records; else TLS where offered, unverified, and in plain on a new connection when the handshake fails
	TLSDANE          = "dane"          // by DANE, or nothing
	TLSRequired      = "required"      // TLS with a certificate that a CA or a fingerprint verifies, or nothing
	TLSNone          = "none"          // never TLS
)

// What a server's certificate was verified by, for Offers.Verified.
const (
	VerifiedDANE = "dane"   // TLSA records (RFC 7672)
	VerifiedPin  = "pinned" // a fingerprint
	VerifiedCA   = "CA"
)

// TLSPolicy says how a connection is protected.
type TLSPolicy struct {
	Mode         string         // TLSOpportunistic (also ""), TLSDANE, TLSRequired or TLSNone
	RootCAs      *x509.CertPool // for TLSRequired; nil: the system's
	Fingerprints []string       // for TLSRequired, instead of a CA: SHA-256 in hex (colons allowed) of the certificate or of its SubjectPublicKeyInfo
	ServerName   string         // name to verify, and SNI; "": the target's host. Also the name whose TLSA records count

	records tlsa // what Dial has found
}

// Target is where to connect to.
type Target struct {
	Name     string // as configured, for messages; "": host:port
	Host     string // name or IP address, brackets allowed
	Port     int    // 0: 25
	Domain   string // whose MX records named the host; "": it was configured, or what its certificate has to be for was
	TLS      TLSPolicy
	Implicit bool           // TLS from the first octet (RFC 8314 3.3), for TLSRequired
	Login    *Login         // nil: none
	XClient  bool           // send XCLIENT where offered
	XForward bool           // send XFORWARD where offered and XCLIENT isn't
	Trusted  []netip.Prefix // addresses that XCLIENT and XFORWARD never name, beside loopback, private and link-local ones
}

// Offers is what a server announced, after STARTTLS if that was done. It is stored as JSON.
type Offers struct {
	ESMTP               bool     `json:"esmtp"`
	Size                int64    `json:"size,omitempty"` // octets, 0: no limit known
	SizeOffered         bool     `json:"size_offered,omitempty"`
	EightBitMIME        bool     `json:"8bitmime,omitempty"`
	SMTPUTF8            bool     `json:"smtputf8,omitempty"`
	DSN                 bool     `json:"dsn,omitempty"`
	Pipelining          bool     `json:"pipelining,omitempty"`
	Chunking            bool     `json:"chunking,omitempty"`
	StartTLS            bool     `json:"starttls,omitempty"` // offered before TLS was on
	EnhancedStatusCodes bool     `json:"enhancedstatuscodes,omitempty"`
	Auth                []string `json:"auth,omitempty"`       // SASL mechanisms
	XClient             []string `json:"xclient,omitempty"`    // attribute names
	XForward            []string `json:"xforward,omitempty"`   // attribute names
	RequireTLS          bool     `json:"requiretls,omitempty"` // RFC 8689; within TLS only
	TLS                 string   `json:"tls,omitempty"`        // "TLS1.3 TLS_AES_128_GCM_SHA256", "" in plain
	Verified            string   `json:"verified,omitempty"`   // VerifiedDANE, VerifiedPin or VerifiedCA; "": anybody could be at the other end
	Misled              bool     `json:"misled,omitempty"`     // ... for a name that came from MX records which aren't signed
	TLSFailed           string   `json:"tls_failed,omitempty"` // why it is plain although STARTTLS was offered
	Banner              string   `json:"banner,omitempty"`
}

// Same reports that both offer the same to a client; banner and TLS details, which change from one
// connection to the next, don't count.
func (o Offers) Same(p Offers) bool {
	return o.ESMTP == p.ESMTP && o.Size == p.Size && o.SizeOffered == p.SizeOffered && o.EightBitMIME == p.EightBitMIME &&
		o.SMTPUTF8 == p.SMTPUTF8 && o.DSN == p.DSN && o.Pipelining == p.Pipelining && o.Chunking == p.Chunking &&
		o.StartTLS == p.StartTLS && o.RequireTLS == p.RequireTLS && o.Verified == p.Verified && o.Misled == p.Misled && o.EnhancedStatusCodes == p.EnhancedStatusCodes &&
		slices.Equal(o.Auth, p.Auth) && slices.Equal(o.XClient, p.XClient) && slices.Equal(o.XForward, p.XForward)
}

// Protection says in a few words how what goes to the server is protected: "TLS1.3 TLS_AES_128_GCM_SHA256, verified by dane", or "in plain".
func (o Offers) Protection() string {
	switch {
	case o.TLS == "":
		return "in plain"
	case o.Verified == "":
		return o.TLS + ", unverified"
	case o.Misled:
		return o.TLS + ", verified by " + o.Verified + " for a name from MX records that aren't signed"
	case o.Verified == VerifiedPin:
		return o.TLS + ", verified by fingerprint"
	}
	return o.TLS + ", verified by " + o.Verified
}

// KeepsTLS reports that a message with REQUIRETLS may go to the server (RFC 8689 4.2.1): it is the right server, its certificate was
// verified, and it promises to do as we do.
func (o Offers) KeepsTLS() bool { return o.Verified != "" && !o.Misled && o.RequireTLS }

// Mail is the MAIL command.
type Mail struct {
	From       string // wire form without <>, "" for the null reverse-path
	Size       int64  // octets of the message, 0: not known
	Body       string // "", "7BIT" or "8BITMIME"
	SMTPUTF8   bool
	RequireTLS bool   // RFC 8689: refused by ourselves, with ErrUnsupported, unless Offers.KeepsTLS
	Ret        string // RFC 3461, "" when not given
	EnvID      string // RFC 3461, xtext
}

// Rcpt is one RCPT command.
type Rcpt struct {
	Address string // wire form without <>
	Notify  string // RFC 3461, "" when not given
	ORcpt   string // RFC 3461, "" when not given
}

// Origin is who gave us the message, for XCLIENT and XFORWARD. What is zero is sent as [UNAVAILABLE].
type Origin struct {
	Addr     netip.Addr
	Port     int
	Name     string // verified reverse name
	Helo     string
	Protocol string // "SMTP" or "ESMTP"; other values (RFC 3848) are cut down to those
	ID       string // under which we keep the message, "" if we don't
}

// Stage says how far a conversation was.
type Stage string

// The stages.
const (
	StageResolve  Stage = "resolve"
	StageConnect  Stage = "connect"
	StageBanner   Stage = "banner"
	StageEhlo     Stage = "ehlo"
	StageStartTLS Stage = "starttls"
	StageTLSA     Stage = "tlsa" // what DNS says of the certificate can't be known
	StageTLS      Stage = "tls"
	StageAuth     Stage = "auth"
	StageXClient  Stage = "xclient"
	StageXForward Stage = "xforward"
	StageMail     Stage = "mail"
	StageRcpt     Stage = "rcpt"
	StageData     Stage = "data"
	StageMessage  Stage = "message" // octets are going out, the end isn't
	StageDot      Stage = "dot"     // the end of the message has gone out, or may have
	StageRset     Stage = "rset"
	StageQuit     Stage = "quit"
)

// Errors to compare with errors.Is.
var (
	// ErrUnknown says that the final dot may have been seen and no reply to it was: nobody knows whether the message was taken.
	ErrUnknown = errors.New("the reply to the end of the message wasn't seen")
	// ErrClosed says that the server closed the connection.
	ErrClosed = errors.New("the server closed the connection")
	// ErrProtocol says that the server sent what can't be understood as a reply, or isn't one that fits.
	ErrProtocol = errors.New("not a valid SMTP reply")
	// ErrUnasked says that the server sent something that nobody had asked for.
	ErrUnasked = errors.New("the server sent a reply that wasn't asked for")
	// ErrSelf says that the server is this very process: behind a NAT, an alias in DNS or a redirected port.
	ErrSelf = errors.New("this is the machine itself")
	// ErrTimeout says that a time limit passed.
	ErrTimeout = errors.New("timed out")
	// ErrUnsupported is the cause of replies that are our own: the server doesn't offer what the message needs.
	ErrUnsupported = errors.New("not offered by the server")
	// ErrSource says that the message couldn't be read to its end, isn't as long as announced, or can't be sent as it is.
	ErrSource = errors.New("the message can't be sent as it is")
	// ErrAborted says that this side gave up: before() or done() of Run failed.
	ErrAborted = errors.New("given up by this side")
	// ErrUnused says that the connection ended before anything of this transaction was answered, in its predecessor's part.
	ErrUnused = errors.New("the connection ended before this message's turn")
)

// Error ends a conversation: the connection is closed and unusable.
type Error struct {
	Stage Stage
	Host  string      // "name [address]:port"
	Reply reply.Reply // if a reply is why: 421, or one that refuses us at banner, EHLO, STARTTLS, or a client at XCLIENT; else zero
	Err   error       // if no reply is why
}

// Error says host, stage and why.
func (e *Error) Error() string {
	switch {
	case !e.Reply.IsZero() && e.Err != nil:
		return fmt.Sprintf("%s: %s: %v (%v)", e.Host, e.Stage, e.Reply, e.Err)
	case !e.Reply.IsZero():
		return fmt.Sprintf("%s: %s: %v", e.Host, e.Stage, e.Reply)
	default:
		return fmt.Sprintf("%s: %s: %v", e.Host, e.Stage, e.Err)
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrUnknown) true exactly when the end of a message may have been seen and wasn't answered.
func (e *Error) Is(target error) bool { return target == ErrUnknown && e.Unknown() }

// AboutClient reports that the server refuses the client it was told of (see Conn.XClient): that says nothing of the server.
func (e *Error) AboutClient() bool { return e.Stage == StageXClient && !e.Reply.IsZero() }

// Unknown reports that the end of a message may have been seen and wasn't answered.
func (e *Error) Unknown() bool { return e.Stage == StageDot && e.Reply.IsZero() }

// Transaction is one message for Run.
type Transaction struct {
	Mail   Mail // Mail.Size is taken from Size
	Rcpts  []Rcpt
	Body   func() (io.Reader, error) // called at most once; the reader is closed if it can be
	Size   int64                     // octets that the reader gives; anything else is ErrSource
	Origin *Origin                   // for XCLIENT and XFORWARD, where the target wants them; nil: everything unavailable
	Tag    any                       // the caller's own
}

// Result is what became of a transaction. A recipient has the message exactly when its reply in Rcpts
// and Dot are positive.
type Result struct {
	Mail  reply.Reply   // to MAIL, or to XCLIENT where that was refused: Err then says so
	Rcpts []reply.Reply // as many as the transaction has; zero where no reply was read
	Dot   reply.Reply   // to the end of the message, or to DATA or BDAT where that was refused
	Sent  bool          // the end of the message went out, or may have; with a zero Dot nobody knows what became of it
	Err   error         // an *Error when the connection ended in this transaction; replies read before it stand
}

// Rest returns the recipients that were refused only because there were too many (RFC 5321
// 4.5.3.1.10) while others were accepted: they belong into a next transaction at once.
func (r *Result) Rest() []int {
	var rest []int
	accepted := false
	for i, p := range r.Rcpts {
		accepted = accepted || p.Positive()
		tooMany := p.Enhanced[1] == 5 && p.Enhanced[2] == 3
		if (p.Code == 452 && (tooMany || p.Enhanced == reply.Enhanced{})) || (p.Code == 552 && tooMany) {
			rest = append(rest, i)
		}
	}
	if !accepted {
		return nil
	}
	return rest
}

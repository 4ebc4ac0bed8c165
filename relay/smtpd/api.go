package smtpd

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/policy/rate"
	"restante/relay/reply"
	"restante/spool"
)

// Handler decides about transactions. Its methods may be called by many sessions at once.
type Handler interface {
	// Begin is called at MAIL. A zero or 2xx reply accepts the sender and opens the transaction; any
	// other is sent as it is, and the Transaction returned is not used. ctx ends when the session does
	// or when the server is stopped hard.
	Begin(ctx context.Context, c *Client, m Mail) (Transaction, reply.Reply)
}

// Transaction is one MAIL until its end. Its methods are called one at a time.
type Transaction interface {
	// Rcpt is called at RCPT, with an address that is well-formed. A zero or 2xx reply accepts it.
	Rcpt(ctx context.Context, r Rcpt) reply.Reply
	// Expect is called when DATA or the first BDAT was accepted: octets of the message follow.
	Expect()
	// Data is called with the whole message, read and checked. id is what the sender is to be told.
	// The reply is sent as it is; the zero reply closes the connection without one. The body is
	// smtpd's and is closed when Data has returned.
	Data(ctx context.Context, id string, body *spool.Body) reply.Reply
	// Reset is called exactly once when the transaction ends: after Data, at RSET, EHLO, STARTTLS, when the
	// message was refused or the connection is gone.
	Reset()
}

// Client is who speaks to us. It is the same for all transactions of a session, STARTTLS and a new
// EHLO aside, and must not be changed.
type Client struct {
	spool.Client                // as it goes into the entry; TLS is "" in plain text
	Local        netip.AddrPort // the address that was connected to
	Session      string         // short id of the session, as in the log
}

// Refuse makes a reply that refuses this client by our own decision. The session's id stands at its end, so that
// who complains can say which line of the log it was.
func (c *Client) Refuse(code int, e reply.Enhanced, format string, args ...any) reply.Reply {
	return reply.New(code, e, format+" (%s)", append(args, c.Session)...)
}

// Mail is a MAIL command.
type Mail struct {
	From   mailaddr.Address // zero: the null reverse-path
	Raw    string           // the path as it was given, without angle brackets
	Size   int64            // SIZE, 0 when not given (RFC 1870)
	Params spool.Params
}

// Rcpt is a RCPT command.
type Rcpt struct {
	Addr   mailaddr.Address
	Raw    string // the path as it was given, without angle brackets
	Notify string // RFC 3461 4.1, "" when not given
	ORcpt  string // RFC 3461 4.2, as given, "" when not given
}

// Offers is what EHLO offers besides what is always offered. It may be changed while sessions run
// (Server.SetOffers); a session keeps what its last EHLO said.
type Offers struct {
	Size     int64 // greatest message in octets; a larger one is 552
	SMTPUTF8 bool
	DSN      bool
	// RequireTLS offers REQUIRETLS (RFC 8689), within TLS only. Who offers it promises to pass such messages
	// on over verified TLS or not at all.
	RequireTLS bool
}

// Limits bound what a peer may take. Zero fields take the defaults of DefaultLimits.
type Limits struct {
	Sessions           int           // at a time; beyond, 421 to who has waited longest
	SessionsPerAddress int           // at a time, of one IPv4 address or one IPv6 /64; named networks (rate.Limits.Exempt) may have more
	Recipients         int           // of one transaction; beyond, 452 4.5.3 (RFC 5321 4.5.3.1.8 wants 100 at least)
	MessageSize        int64         // octets; Offers.Size can only be less
	CommandLine        int           // octets of a command with its CRLF
	MessageLine        int           // octets of a line of the message with its CRLF
	HeaderSize         int64         // octets of the message's header
	Hops               int           // Received fields; beyond, 554 5.4.6
	Errors             int           // refused commands of a session, refused recipients apart; beyond, 421
	RefusedRecipients  int           // of a session: unknown or foreign, less those accepted; beyond, 421
	Commands           int           // of a session since the last accepted message; beyond, 421
	Idle               time.Duration // for a command to arrive whole, and for the next octets of a message
	Write              time.Duration // for a reply to be taken
	MinRate            int64         // octets a second of a message, on average, after RateGrace
	RateGrace          time.Duration
	Memory             int64 // octets of a message held in memory; beyond, in a file in TempDir
}

// DefaultLimits are the limits that zero fields of Limits take.
func DefaultLimits() Limits {
	return Limits{
		Sessions: 2000, SessionsPerAddress: 100, Recipients: 1000,
		MessageSize: 50_000_000, CommandLine: 2048, MessageLine: 128 << 10, HeaderSize: 256 << 10, Hops: 100,
		Errors: 20, RefusedRecipients: 50, Commands: 2000,
		Idle: 5 * time.Minute, Write: time.Minute, MinRate: 200, RateGrace: time.Minute, Memory: 1 << 20,
	}
}

// Resolver finds the name of a client.
type Resolver interface {
	// LookupAddr returns the verified name of ip: one that leads back to it. "" means that it has none.
	LookupAddr(ctx context.Context, ip netip.Addr) (string, error)
}

// Options is what New needs.
type Options struct {
	Hostname string  // of the banner, EHLO and Received
	Self     string  // a word of the banner by which this process knows itself again (smtpc.Dialer.Self); "": none
	Handler  Handler // required
	Limits   Limits
	Offers   Offers
	// Certificates gives STARTTLS its certificate; nil offers no TLS. See package tlscert.
	Certificates Certificates
	MinTLS       uint16 // the oldest version that is spoken, as in crypto/tls; 0: TLS 1.2
	// PostmasterDomain is where mail for "postmaster" without a domain belongs (RFC 5321 4.5.1); ""
	// refuses such recipients.
	PostmasterDomain string
	TempDir          string   // for messages over Limits.Memory; "" is os.TempDir()
	Resolver         Resolver // nil: no client has a name
	// Arrived is called with the address of each client whose session begins, so that what is asked about it can be
	// under way before it is needed. It mustn't wait. nil: nobody wants to know.
	Arrived func(netip.Addr)
	Rates   *rate.Table    // nil: none
	Proxies []netip.Prefix // load balancers that speak the PROXY protocol; nobody else may
	Log     *slog.Logger
	Metrics *Metrics // nil: none
}

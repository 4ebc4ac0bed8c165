// Package policy is the border: what a stranger and what they bring must pass before mail is passed on or kept.
//
// A [Border] asks its stages where their answer is first needed: at RCPT what the recipient's domain makes of the client
// (lists, SPF), and for the whole message who wrote it (DKIM, DMARC) and what it holds (content filters). It is asked
// alike whether the mail is passed through or kept: only here is the client's address known. Everything is answered inside
// the session; nothing is ever bounced.
//
// What follows from an answer is the recipient's domain's to say: see [Domain]. A message has one reply, so that domains
// which don't say the same can't share a transaction ([Visit.Together]).
//
// postmaster and abuse take mail from listed clients and after an SPF failure too: who is shut out by mistake must be
// able to say so (RFC 5321 4.5.1, RFC 2142).
//
// The stages are packages of their own: msgauth, dnsbl, scan; rcpt says which recipients exist.
package policy

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"restante/relay/mailaddr"
	"restante/relay/policy/dnsbl"
	"restante/relay/policy/msgauth"
	"restante/relay/policy/scan"
	"restante/relay/reply"
	"restante/relay/smtpd"
	"restante/spool"
)

// Lists know addresses. *dnsbl.Set is one.
type Lists interface {
	// Look says what the lists know of a client, within seconds.
	Look(ctx context.Context, addr netip.Addr) dnsbl.Result
}

// Scanner looks into messages. *scan.Set is one.
type Scanner interface {
	// Scan comes to an end by itself.
	Scan(ctx context.Context, m scan.Message) scan.Result
}

// Options are what New needs. Stages that are nil have nothing to say.
type Options struct {
	Auth       *msgauth.Judge
	Lists      Lists
	Scanner    Scanner
	Domains    []Domain
	AuthservID string // ours: fields that forge it are not judged, since they aren't delivered (package trace)
	Log        *slog.Logger
	Metrics    *Metrics
}

// Border judges transactions. Safe for concurrent use; a nil Border lets everything in unjudged.
type Border struct {
	o       Options
	domains atomic.Pointer[map[string]Domain]
}

// New returns a border.
func New(o Options) *Border {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Border{o: o}
	b.SetConfig(o.Domains)
	return b
}

// SetConfig replaces what the domains have said. Transactions under way end as they began.
func (b *Border) SetConfig(list []Domain) {
	m := make(map[string]Domain, len(list))
	for _, d := range list {
		m[d.Name] = d
	}
	b.domains.Store(&m)
}

// Visit is one transaction at the border. Its methods are called one at a time; a nil Visit judges nothing.
type Visit struct {
	b       *Border
	client  *smtpd.Client
	mail    smtpd.Mail
	domains map[string]Domain
}

// Open is asked at MAIL. A reply that is neither zero nor positive refuses the transaction.
func (b *Border) Open(_ context.Context, c *smtpd.Client, m smtpd.Mail) (*Visit, reply.Reply) {
	if b == nil {
		return nil, reply.Reply{}
	}
	return &Visit{b: b, client: c, mail: m, domains: *b.domains.Load()}, reply.Reply{}
}

// Rcpt is asked for each recipient of a hosted domain, before anybody is asked whether it exists. A reply that is
// neither zero nor positive refuses it.
func (v *Visit) Rcpt(context.Context, mailaddr.Address) reply.Reply { return reply.Reply{} }

// Together reports that the message for two domains can be judged as one: otherwise their recipients
// can't share a transaction, since a message has one reply.
func (v *Visit) Together(a, b string) bool { return true }

// Message is what has arrived.
type Message struct {
	ID      string   // that the entry will have
	Domains []string // hosted domains of the recipients, each once
	Rcpts   []string // addresses of the recipients
	Body    *spool.Body
}

// Judgement is what becomes of a message.
type Judgement struct {
	Reply      reply.Reply       // refuses the message; zero: it is taken
	Quarantine string            // it is kept for an admin to look at, for this reason; "": it isn't
	Verdicts   map[string]string // for the entry; nil when nothing was judged
	Fields     []byte            // trace fields for the head of the message, each with its CRLF
}

// Message judges a whole message. It comes to an end by itself, within seconds.
func (v *Visit) Message(ctx context.Context, m Message) Judgement {
	if v == nil || v.b.o.Auth == nil {
		return Judgement{}
	}
	j := v.b.o.Auth
	r := j.Judge(ctx, v.client.Client, v.mail.From.String(), m.Body, m.Body.Size())
	return Judgement{Verdicts: r.Map(), Fields: j.Field(&r)}
}

// Close ends the visit: at the transaction's end.
func (v *Visit) Close() {}

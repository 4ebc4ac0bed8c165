// Package policy is the border: what a stranger and what they bring must pass before mail is passed on or kept.
//
// A [Border] asks its stages where their answer is first needed: at MAIL what is known of the client (lists, rates), at RCPT what
// the recipient's domain makes of it (SPF), and for the whole message who wrote it (DKIM, DMARC) and what it holds
// (content filters). It is asked alike whether the mail is passed through or kept: only here is the client's address
// known. Everything is answered inside the session; nothing is ever bounced.
//
// The stages are packages of their own: msgauth, dnsbl, scan; rcpt says which recipients exist.
package policy

import (
	"context"

	"restante/relay/mailaddr"
	"restante/relay/policy/msgauth"
	"restante/relay/reply"
	"restante/relay/smtpd"
	"restante/spool"
)

// Options are what New needs. Stages that are nil have nothing to say.
type Options struct {
	Auth *msgauth.Judge
}

// Border judges transactions. Safe for concurrent use; a nil Border lets everything in unjudged.
type Border struct{ o Options }

// New returns a border.
func New(o Options) *Border { return &Border{o} }

// Visit is one transaction at the border. Its methods are called one at a time; a nil Visit judges nothing.
type Visit struct {
	b      *Border
	client *smtpd.Client
	mail   smtpd.Mail
}

// Open is asked at MAIL. A reply that is neither zero nor positive refuses the transaction.
func (b *Border) Open(_ context.Context, c *smtpd.Client, m smtpd.Mail) (*Visit, reply.Reply) {
	if b == nil {
		return nil, reply.Reply{}
	}
	return &Visit{b: b, client: c, mail: m}, reply.Reply{}
}

// Rcpt is asked for each recipient of a hosted domain, before anybody is asked whether it exists. A reply that is
// neither zero nor positive refuses it.
func (v *Visit) Rcpt(context.Context, mailaddr.Address) reply.Reply { return reply.Reply{} }

// Together reports that the message for two domains can be judged as one: otherwise their recipients
// can't share a transaction, since a message has one reply.
func (v *Visit) Together(a, b string) bool { return true }

// Judgement is what becomes of a message.
type Judgement struct {
	Reply      reply.Reply       // refuses the message; zero: it is taken
	Quarantine string            // it is kept for an admin to look at, for this reason; "": it isn't
	Verdicts   map[string]string // for the entry; nil when nothing was judged
	Fields     []byte            // trace fields for the head of the message, each with its CRLF
}

// Message judges a whole message for the domains of its recipients. It comes to an end by itself, within seconds.
func (v *Visit) Message(ctx context.Context, _ string, _ []string, body *spool.Body) Judgement {
	if v == nil || v.b.o.Auth == nil {
		return Judgement{}
	}
	j := v.b.o.Auth
	r := j.Judge(ctx, v.client.Client, v.mail.From.String(), body, body.Size())
	return Judgement{Verdicts: r.Map(), Fields: j.Field(&r)}
}

// Close ends the visit: at the transaction's end.
func (v *Visit) Close() {}

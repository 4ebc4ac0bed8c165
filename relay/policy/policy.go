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
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"restante/relay/mailaddr"
	"restante/relay/policy/dnsbl"
	"restante/relay/policy/msgauth"
	"restante/relay/policy/scan"
	"restante/relay/reply"
	"restante/relay/smtpd"
	"restante/relay/trace"
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
		m[d.Name] = d.filled()
	}
	b.domains.Store(&m)
}

// Visit is one transaction at the border. Its methods are called one at a time; a nil Visit judges nothing.
type Visit struct {
	b       *Border
	client  *smtpd.Client
	mail    smtpd.Mail
	domains map[string]Domain
	check   *msgauth.Check // nil without Options.Auth
}

// Open is asked at MAIL. A reply that is neither zero nor positive refuses the transaction. Nothing is asked of DNS yet.
func (b *Border) Open(_ context.Context, c *smtpd.Client, m smtpd.Mail) (*Visit, reply.Reply) {
	if b == nil {
		return nil, reply.Reply{}
	}
	v := &Visit{b: b, client: c, mail: m, domains: *b.domains.Load()}
	if b.o.Auth != nil {
		v.check = b.o.Auth.Begin(c.Client, m.From.String())
	}
	return v, reply.Reply{}
}

// Rcpt is asked for each recipient of a hosted domain, before anybody is asked whether it exists. A reply that is
// neither zero nor positive refuses it.
func (v *Visit) Rcpt(ctx context.Context, a mailaddr.Address) reply.Reply {
	if v == nil {
		return reply.Reply{}
	}
	if reachable(a) {
		return reply.Reply{}
	}
	d := v.domain(a.Domain)
	if d.Listed == Reject {
		if f, ok := listed(d, v.look(ctx)); ok {
			return v.refuse("rcpt", d.Name, f)
		}
	}
	if d.SPFFail == Reject && v.check != nil {
		path, helo := v.check.Sender(ctx)
		if f, ok := spf(d, path, helo, v.client.Addr); ok && f.action == Reject {
			return v.refuse("rcpt", d.Name, f)
		}
	}
	return reply.Reply{}
}

// Accepted is told of each recipient that was accepted: a message may follow, and what DNS has to say of its sender is
// asked meanwhile. Who only tries addresses costs no questions.
func (v *Visit) Accepted() {
	if v != nil && v.check != nil {
		v.check.Start()
	}
}

// reachable reports an address that takes mail from clients which are refused otherwise: see the package comment.
func reachable(a mailaddr.Address) bool {
	return strings.EqualFold(a.Local, "postmaster") || strings.EqualFold(a.Local, "abuse")
}

// domain is what a domain wants for this client.
func (v *Visit) domain(name string) Domain {
	d, ok := v.domains[name]
	switch {
	case !ok:
		return DefaultDomain(name)
	case d.forwards(v.client.Addr):
		return Domain{Name: name, SPFFail: Ignore, DMARCReject: Ignore, DMARCQuarantine: Ignore, DMARCIndirect: Ignore, FromUnclear: Ignore, DNSError: Ignore, Listed: Ignore}
	}
	return d
}

// look is what the lists say of the client.
func (v *Visit) look(ctx context.Context) dnsbl.Result {
	if v.b.o.Lists == nil {
		return dnsbl.Result{}
	}
	ip, err := netip.ParseAddr(v.client.Addr)
	if err != nil {
		return dnsbl.Result{}
	}
	return v.b.o.Lists.Look(ctx, ip)
}

// Together reports that the message for two domains can be judged as one: otherwise their recipients
// can't share a transaction, since a message has one reply.
func (v *Visit) Together(a, b string) bool {
	if v == nil || a == b {
		return true
	}
	x, y := v.domain(a), v.domain(b)
	return x.SPFFail == y.SPFFail && x.DMARCReject == y.DMARCReject && x.DMARCQuarantine == y.DMARCQuarantine &&
		x.DMARCIndirect == y.DMARCIndirect && x.FromUnclear == y.FromUnclear && x.DNSError == y.DNSError && x.Listed == y.Listed
}

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
	if v == nil || len(m.Domains) == 0 {
		return Judgement{}
	}
	d := v.domain(m.Domains[0]) // the others are together with it
	body, size, err := trace.StripAt(m.Body, 0, m.Body.Size(), v.b.o.AuthservID)
	if err != nil {
		return Judgement{Reply: v.client.Refuse(451, reply.Enhanced{4, 3, 0}, "The message can't be read, try again later").With(err)}
	}
	j := Judgement{Verdicts: map[string]string{}}
	var found []finding
	if v.check != nil {
		r := v.check.Message(ctx, body, size)
		v.b.o.Metrics.judged(&r)
		maps.Copy(j.Verdicts, r.Map())
		j.Fields = v.b.o.Auth.Field(&r)
		found = author(d, &r)
	}
	if r := v.look(ctx); len(r.Listed) > 0 {
		j.Verdicts["dnsbl"] = spool.Printable(r.Reason())
		if f, ok := listed(d, r); ok {
			f.action = f.action.spared()
			found = append(found, f)
		}
	}
	var scanned []byte
	if v.b.o.Scanner != nil && strictest(found) != Reject { // what is refused anyway isn't looked into
		r := v.b.o.Scanner.Scan(ctx, scan.Message{ID: m.ID, Client: v.client.Client, From: v.mail.From.String(), Rcpts: m.Rcpts, Domains: m.Domains, Body: body, Size: size})
		maps.Copy(j.Verdicts, r.Verdicts)
		scanned = r.Fields
		if f, ok := content(r); ok {
			found = append(found, f)
		}
	}
	v.decide(&j, d.Name, m.ID, found)
	j.Fields = append(j.Fields, scanned...)
	if len(j.Verdicts) == 0 {
		j.Verdicts = nil
	}
	return j
}

// decide lets the strictest of what was found count.
func (v *Visit) decide(j *Judgement, domain, id string, found []finding) {
	action := strictest(found)
	if action == Reject {
		first := slices.IndexFunc(found, func(f finding) bool { return f.action == Reject })
		j.Reply = v.refuse("message", domain, found[first])
		return
	}
	var texts, reasons, words []string
	for _, f := range found {
		if f.action == Ignore {
			continue
		}
		texts = append(texts, f.text)
		if slices.Contains(reasons, f.reason) {
			continue
		}
		reasons = append(reasons, f.reason)
		if !f.content {
			words = append(words, f.reason)
		}
		v.b.o.Metrics.took(f.action, f.reason)
	}
	if len(texts) == 0 {
		return
	}
	why := spool.Printable(strings.Join(texts, "; "))
	j.Verdicts["policy"] = string(action) + ": " + why
	j.Fields = append(j.Fields, markField(v.b.o.AuthservID, words)...)
	level := slog.LevelDebug
	if action == Quarantine {
		j.Quarantine, level = why, slog.LevelInfo
	}
	v.b.o.Log.Log(context.Background(), level, "taken at the border", "session", v.client.Session, "id", id, "domain", domain, "action", string(action), "reason", why)
}

// refuse counts and words a refusal. Its cause, which smtpd writes into the log beside the reply, begins with the reason.
func (v *Visit) refuse(stage, domain string, f finding) reply.Reply {
	v.b.o.Metrics.refused(stage, f.reason, domain)
	return v.client.Refuse(f.reply.Code, f.reply.Enhanced, "%s", f.reply.Text).With(fmt.Errorf("%s: %s", f.reason, spool.Printable(f.text)))
}

// Close ends the visit: at the transaction's end.
func (v *Visit) Close() {
	if v != nil && v.check != nil {
		v.check.Close()
	}
}

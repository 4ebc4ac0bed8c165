package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// Action is what follows from something that speaks against a message, from the mildest to the strictest.
type Action string

// The actions.
const (
	Ignore     Action = "ignore"     // nothing; it stays in the verdicts
	Mark       Action = "mark"       // the message is taken, with a field that says so (MarkField)
	Quarantine Action = "quarantine" // it is kept from everybody until an admin releases it
	Reject     Action = "reject"     // it is refused inside the session
)

// Domain is what a hosted domain wants to follow from what is found. Empty actions are those of DefaultDomain.
type Domain struct {
	Name string
	// SPFFail: the sender's domain, or else the name of the greeting, says that this client is none of its servers. Reject
	// refuses at RCPT, before DKIM could show that the mail was only forwarded.
	SPFFail Action
	// DMARCReject and DMARCQuarantine: the author's domain is not shown to be right, and asks for the one or the other.
	DMARCReject     Action
	DMARCQuarantine Action
	// DMARCIndirect is the strictest that follows from either for mail that may have come by a list or a forwarder (msgauth.Verdict.Indirect):
	// they break what the author signed, and refusing it takes people off their lists (RFC 9989 7.4).
	DMARCIndirect Action
	// FromUnclear: nobody can be said to be the author; there is no From, or none that can be read as one.
	FromUnclear Action
	// DNSError: DNS doesn't say at the moment what would decide one of these. Reject answers 451; Quarantine isn't possible.
	DNSError Action
	// Listed: the lists of clients say that this one is to be refused.
	Listed Action
	// Forwarders bring others' mail in good faith: nothing of this follows for what they bring. Filters aren't meant.
	Forwarders []netip.Prefix
}

// filled is the domain with the defaults for what it doesn't say.
func (d Domain) filled() Domain {
	def := DefaultDomain(d.Name)
	d.SPFFail, d.DMARCReject, d.DMARCQuarantine = cmp.Or(d.SPFFail, def.SPFFail), cmp.Or(d.DMARCReject, def.DMARCReject), cmp.Or(d.DMARCQuarantine, def.DMARCQuarantine)
	d.DMARCIndirect, d.FromUnclear = cmp.Or(d.DMARCIndirect, def.DMARCIndirect), cmp.Or(d.FromUnclear, def.FromUnclear)
	d.DNSError, d.Listed = cmp.Or(d.DNSError, def.DNSError), cmp.Or(d.Listed, def.Listed)
	return d
}

// forwards reports that a client is a forwarder of the domain.
func (d *Domain) forwards(addr string) bool {
	if len(d.Forwarders) == 0 {
		return false
	}
	ip, err := netip.ParseAddr(addr)
	ip = ip.Unmap().WithZone("")
	return err == nil && slices.ContainsFunc(d.Forwarders, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// DefaultDomain is what a domain wants that says nothing itself. SPF alone breaks with every forwarder, so that its failure
// refuses nothing; a domain that asks to reject has said that it signs its mail.
func DefaultDomain(name string) Domain {
	return Domain{Name: name, SPFFail: Mark, DMARCReject: Reject, DMARCQuarantine: Mark, DMARCIndirect: Mark, FromUnclear: Mark, DNSError: Mark, Listed: Reject}
}

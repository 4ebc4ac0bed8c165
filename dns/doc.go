// Package dns is a caching stub resolver on github.com/miekg/dns. It asks the resolvers of /etc/resolv.conf, or
// those it is given, and answers as *net.Resolver does.
//
// What it adds:
//   - A bounded cache with the TTLs of the records, and of what isn't there (RFC 2308). Failures are held for a second (RFC 9520).
//   - One query on the wire for any number of callers; each caller's context ends its own wait only.
//   - Answers outlive failures (RFC 8767): when the resolvers fail or are slow, the last answer is given on for
//     up to two weeks, while the query goes on. [Resolver.Lasting] goes further: there a name that is denied outright keeps its
//     last addresses too, since a primary's address must outlive its DNS.
//   - A server that answers nothing isn't waited for again and again ([Health]): after three questions without an answer it is asked what any
//     server can answer, and is left alone if that has none either, until it has. While all are silent, questions fail at once ([ErrSilent]).
//     Each second a question has them looked at first, and waits 30 ms for that.
//   - Errors are *net.DNSError: IsNotFound for a name or record that doesn't exist (errors.Is tells [ErrNoDomain] from
//     [ErrNoRecord]), IsTemporary for SERVFAIL and its like, IsTimeout with IsTemporary for silence.
//   - It doesn't verify signatures (DNSSEC) but believes a resolver that does, if nobody can stand between the two: see Options.TrustAD.
//   - UDP with EDNS of 1,232 octets, TCP when an answer is cut (RFC 7766), plain DNS where EDNS is refused.
//
// It also has what mail needs: [MXHosts], [Resolver.VerifiedName], [Resolver.LookupCAA] and [Resolver.LookupTLSA] with [Resolver.DANE].
package dns

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

// Reasons inside a *net.DNSError with IsNotFound.
var (
	ErrNoDomain = errors.New("no such domain") // NXDOMAIN: nothing of any type, nor below it
	ErrNoRecord = errors.New("no such record") // the name may exist, this type of record doesn't
)

// Reasons inside a *net.DNSError with IsTemporary: they are about us, and tell nothing of the name.
var (
	ErrSilent = errors.New("no resolver answers")                 // all of them are left alone, see Health
	ErrBusy   = errors.New("too many questions wait for answers") // maxAsking
)

// Defaults of Options.
const (
	DefaultTimeout   = 2 * time.Second
	DefaultCacheSize = 10000
)

const (
	maxTTL      = 24 * time.Hour          // of what exists, whatever its records say
	maxDenial   = time.Hour               // of what doesn't
	maxStale    = 14 * 24 * time.Hour     // how long an answer outlives its TTL while the resolvers fail
	attempts    = 2                       // rounds over all servers
	patience    = 1800 * time.Millisecond // RFC 8767 5: longer nobody waits who could have an old answer
	recheck     = 30 * time.Second        // RFC 8767 5: with an old answer at hand, how soon failed servers are asked again
	failureHold = time.Second             // RFC 9520 3.2: without one
	maxRecords  = 200                     // of one answer that are looked at
	maxKept     = 4 << 10                 // octets of the records of an answer that is kept: strangers' zones answer what they like
	maxOctets   = 16 << 20                // of the records of all answers that are kept
	maxAsking   = 2000                    // questions on the wire, each with a socket; what is asked beyond fails at once
	ednsSize    = 1232                    // octets: fits any path without fragments
)

// Options configure a Resolver. The zero value is the system's resolvers.
type Options struct {
	Servers   []string      // "address:port" or "address"; default: those of /etc/resolv.conf, read again when it changes
	HostsFile string        // default "/etc/hosts" with the system's resolvers, none with Servers; "none" for none
	Timeout   time.Duration // for one server's answer
	CacheSize int           // names and types kept
	Fresh     bool          // no answer is given on past its time, not even when the resolvers fail
	Stale     time.Duration // how long answers are given on otherwise; 0: two weeks
	Health    *Health       // shared with other resolvers of the same servers; nil: its own
	TrustAD   bool          // believe any server that says an answer was verified (DNSSEC); otherwise those on this machine, and all where resolv.conf says trust-ad
	Log       *slog.Logger
	Exchange  Exchange // how a server is asked; default: UDP and TCP
}

// notFound is the error for what doesn't exist.
func notFound(name string, why error) *net.DNSError {
	return &net.DNSError{UnwrapErr: why, Err: why.Error(), Name: name, IsNotFound: true}
}

// IsNotFound reports that an error says "doesn't exist", not "can't be known now".
func IsNotFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

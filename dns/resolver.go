package dns

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// Resolver answers lookups. Safe for concurrent use.
type Resolver struct {
	o      Options
	ask    Exchange
	log    *slog.Logger
	system system
	health *Health

	mu      sync.Mutex
	entries map[key]*list.Element // of *entry
	used    *list.List            // most recently used first
	octets  int                   // of all entries
	flights map[key]*flight       // and those that failed of late
	asking  int                   // flights that are under way
}

type key struct {
	name  string // lower case, without the last dot
	qtype uint16
}

// entry is what is known about a key.
type entry struct {
	key  key
	last *answer // positive or negative, never nil
	good *answer // the last positive one
	hold time.Time
}

// answer is a positive or negative answer.
type answer struct {
	records []dns.RR // of the type asked for
	owner   string   // the name that has them, behind all aliases; lower case, without the last dot
	secure  bool     // a resolver that may be believed says that all of it was verified (the AD bit, RFC 4035 3.2.3)
	err     error    // ErrNoDomain or ErrNoRecord
	expires time.Time
}

// flight is a query on the wire; its answer is there when done is closed.
type flight struct {
	done   chan struct{}
	answer *answer
	err    error
}

// New returns a resolver. It fails on servers that aren't addresses.
func New(o Options) (*Resolver, error) {
	r := &Resolver{o: o, ask: o.Exchange, log: o.Log, health: o.Health, entries: map[key]*list.Element{}, used: list.New(), flights: map[key]*flight{}}
	if r.ask == nil {
		r.ask = exchange
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.health == nil {
		r.health = new(Health)
	}
	r.system.confFile, r.system.hostsFile = "/etc/resolv.conf", o.HostsFile
	if r.system.hostsFile == "" && len(o.Servers) == 0 {
		r.system.hostsFile = "/etc/hosts"
	}
	if r.system.hostsFile == "none" {
		r.system.hostsFile = ""
	}
	for _, s := range o.Servers {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			host, port = strings.Trim(s, "[]"), "53"
		}
		if net.ParseIP(host) == nil {
			return nil, &net.AddrError{Err: "a resolver is written address or address:port", Addr: s}
		}
		r.system.serversPinned = append(r.system.serversPinned, net.JoinHostPort(host, port))
	}
	return r, nil
}

// Lasting is a Resolver for which a name that once had records always has: where the resolvers now say that it
// doesn't exist, it gives the last ones, as long as they are in the cache and no older than two weeks.
type Lasting struct{ r *Resolver }

// Lasting returns the view of r that is meant for the primaries' names.
func (r *Resolver) Lasting() Lasting { return Lasting{r} }

// normal returns the name as it is asked for, or an error if it can't be a name.
func normal(name string) (string, error) {
	n := strings.TrimSuffix(name, ".")
	if len(n) > 4*maxHostName { // strangers give names (SPF, DKIM), and Punycode's time grows with the square of them
		return "", notFound(name, ErrNoDomain)
	}
	for i := range len(n) {
		if n[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(n)
			if err != nil {
				return "", notFound(name, errors.Join(ErrNoDomain, err))
			}
			n = a
			break
		}
	}
	bad := n == "" || len(n) > 253
	for i := 0; i < len(n) && !bad; i++ {
		bad = n[i] <= 0x20 || n[i] >= 0x7f || n[i] == '\\' || n[i] == '"'
	}
	if _, ok := dns.IsDomainName(n); !ok || bad {
		return "", notFound(name, ErrNoDomain)
	}
	return strings.ToLower(n), nil
}

// lookup returns the records of a type. lasting prefers old records to a denial. With an error that says IsNotFound the answer is there
// too: what isn't may be known for sure.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16, lasting bool) (answer, error) {
	n, err := normal(name)
	if err != nil {
		return answer{}, err
	}
	if err := ctx.Err(); err != nil {
		return answer{}, canceled(name, context.Cause(ctx))
	}
	k := key{n, qtype}
	r.mu.Lock()
	e, now := r.get(k), time.Now()
	stale := r.stale(e, now, lasting)
	if e != nil && now.Before(e.last.expires) {
		last := e.last
		r.mu.Unlock()
		return last.result(name, stale, lasting)
	}
	if stale != nil && now.Before(e.hold) {
		r.mu.Unlock()
		return stale.result(name, nil, false)
	}
	f := r.fly(k)
	r.mu.Unlock()

	var slow <-chan time.Time
	if stale != nil {
		t := time.NewTimer(patience)
		defer t.Stop()
		slow = t.C
	}
	select {
	case <-f.done:
	case <-slow:
		return stale.result(name, nil, false)
	case <-ctx.Done():
		return answer{}, canceled(name, context.Cause(ctx))
	}
	if f.err == nil {
		return f.answer.result(name, stale, lasting)
	}
	if stale != nil {
		level := slog.LevelWarn
		if errors.Is(f.err, ErrSilent) || errors.Is(f.err, ErrBusy) { // which aren't about this name, and would fill the log with all
			level = slog.LevelDebug
		}
		r.log.Log(ctx, level, "the resolvers fail, going on with the last answer", "name", name, "type", dns.TypeToString[qtype], "error", f.err)
		return stale.result(name, nil, false)
	}
	return answer{}, f.err
}

func canceled(name string, cause error) error {
	return &net.DNSError{UnwrapErr: cause, Err: cause.Error(), Name: name, IsTemporary: true, IsTimeout: errors.Is(cause, context.DeadlineExceeded)}
}

// result is an answer as lookup returns it.
func (a *answer) result(name string, stale *answer, lasting bool) (answer, error) {
	if a.err == nil {
		return *a, nil
	}
	if lasting && stale != nil && stale.err == nil {
		return *stale, nil
	}
	return *a, notFound(name, a.err)
}

// stale returns the answer that may be given on while the resolvers fail, or nil. A name that didn't exist isn't one of
// those: mail would be refused for it; but one of TLSA records is, since a server commonly has none, and mail for it would
// wait as long as DNS fails. For lasting lookups it is the last positive answer, if there ever was one.
func (r *Resolver) stale(e *entry, now time.Time, lasting bool) *answer {
	if e == nil || r.o.Fresh {
		return nil
	}
	a := e.last
	if lasting && e.good != nil {
		a = e.good
	}
	if errors.Is(a.err, ErrNoDomain) && e.key.qtype != dns.TypeTLSA || now.After(a.expires.Add(cmp.Or(r.o.Stale, maxStale))) {
		return nil
	}
	return a
}

// get returns the entry of a key and marks it as used. The caller holds mu.
func (r *Resolver) get(k key) *entry {
	el, ok := r.entries[k]
	if !ok {
		return nil
	}
	r.used.MoveToFront(el)
	return el.Value.(*entry)
}

// fly starts the query for a key, or joins the one that is under way. The caller holds mu.
func (r *Resolver) fly(k key) *flight {
	if f, ok := r.flights[k]; ok {
		return f
	}
	f := &flight{done: make(chan struct{})}
	if r.asking >= maxAsking {
		f.err = &net.DNSError{UnwrapErr: ErrBusy, Err: ErrBusy.Error(), Name: k.name, IsTemporary: true}
		close(f.done)
		return f
	}
	r.flights[k] = f
	r.asking++
	// Not the caller's context: others may wait for the same answer. query is bounded by attempts and timeouts.
	go func() {
		msg, secure, err := r.query(context.Background(), k.name, k.qtype)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.flights, k)
		r.asking--
		switch {
		case errors.Is(err, ErrSilent):
			f.err = err // nobody was asked, nor is anybody if it is asked for again
		case err != nil:
			f.err = err
			r.failed(k, f)
		default:
			f.answer = r.read(k, msg, secure)
			if f.answer.size() <= maxKept {
				r.keep(k, f.answer)
			}
		}
		close(f.done)
	}()
	return f
}

// failed notes that the servers failed: an old answer serves for a while, and without one the failure does, for a moment.
func (r *Resolver) failed(k key, f *flight) {
	now := time.Now()
	if e := r.get(k); r.stale(e, now, true) != nil {
		e.hold = now.Add(recheck)
		return
	}
	r.flights[k] = f // joined by everybody who asks meanwhile
	time.AfterFunc(failureHold, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.flights[k] == f {
			delete(r.flights, k)
		}
	})
}

// size is that of the records, in octets on the wire.
func (a *answer) size() (n int) {
	for _, rr := range a.records {
		n += dns.Len(rr)
	}
	return n
}

// keep puts an answer into the cache and the least used ones out, if it is full.
func (r *Resolver) keep(k key, a *answer) {
	e := r.get(k)
	if e == nil {
		e = &entry{key: k}
		r.entries[k] = r.used.PushFront(e)
	}
	r.octets -= e.size()
	e.last, e.hold = a, time.Time{}
	if a.err == nil {
		e.good = a
	}
	r.octets += e.size()
	for r.used.Len() > cmp.Or(r.o.CacheSize, DefaultCacheSize) || r.octets > maxOctets {
		old := r.used.Remove(r.used.Back()).(*entry)
		r.octets -= old.size()
		delete(r.entries, old.key)
	}
}

// size is that of its answers, in octets on the wire.
func (e *entry) size() (n int) {
	for i, a := range []*answer{e.last, e.good} {
		if a != nil && (i == 0 || a != e.last) {
			n += a.size()
		}
	}
	return n
}

// read takes the records asked for out of an answer, following its aliases (RFC 1034 3.6.2), and finds out how long they hold.
func (r *Resolver) read(k key, msg *dns.Msg, secure bool) *answer {
	now := time.Now()
	a := &answer{secure: secure}
	ttl := maxTTL
	owner := dns.Fqdn(k.name)
	answers := msg.Answer[:min(len(msg.Answer), maxRecords)]
	for range 10 { // aliases of aliases
		alias := ""
		for _, rr := range answers {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, owner) {
				continue
			}
			if h.Rrtype == k.qtype {
				a.records = append(a.records, rr)
				ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
			} else if c, ok := rr.(*dns.CNAME); ok {
				alias = c.Target
				ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
			}
		}
		if len(a.records) > 0 || alias == "" {
			break
		}
		owner = alias
	}
	a.owner = strings.ToLower(strings.TrimSuffix(owner, "."))
	if len(a.records) == 0 {
		a.err, ttl = ErrNoRecord, r.negativeTTL(msg)
		if msg.Rcode == dns.RcodeNameError {
			a.err = ErrNoDomain
		}
	}
	a.expires = now.Add(ttl)
	return a
}

// negativeTTL is how long a denial holds (RFC 2308 5): not at all without a SOA record.
func (r *Resolver) negativeTTL(msg *dns.Msg) time.Duration {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(maxDenial, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return 0
}

// Package pass decides the way of each transaction: through to the primary within the sender's own
// session (pass-through), or into the spool. It is the smtpd.Handler of the relay.
//
// At the first RCPT for a domain whose primary is up, a session to the primary is opened or reused, and
// MAIL and RCPT are passed on, so that the primary itself says which recipients it has. The first accepted
// recipient fixes the way for the transaction; recipients that need another get 452 4.5.3 and
// come again. The message is read whole by smtpd before any of it goes out; the primary's reply to it is
// ours. When the primary fails between any two replies, the mail is kept instead. What each reply of the
// primary becomes is one table: see Judge. Where no primary is asked, package rcpt says who exists.
//
// Pass-through never asks the store anything and never waits for it.
package pass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/policy"
	"restante/relay/policy/rcpt"
	"restante/relay/reply"
	"restante/relay/smtpc"
	"restante/relay/smtpd"
	"restante/spool"
)

// Spool keeps entries. *spool.Spool is one.
type Spool interface {
	Available() error
	Expect() (done func())
	Append(ctx context.Context, e *spool.Entry, trace []byte, body *spool.Body) error
}

// Primaries knows how the primaries are and opens sessions to them. *health.Monitor is one.
type Primaries interface {
	State(domain string) health.Record
	Key(domain string) string
	Offers(domain string) (smtpc.Offers, bool)
	Declared(address string) (health.Declaration, bool)
	Dial(ctx context.Context, domain string) (*smtpc.Conn, error)
	Observe(domain string, o health.Observation)
}

// Known knows recipients that the primary has. *index.Index is one. It is asked locally, and only when
// the primary refused a recipient or took mail for one not seen since the start.
type Known interface {
	Known(ctx context.Context, address string) (bool, error)
}

// Ways of a domain while its primary is up.
const (
	WhenUpPass  = "pass"  // through to the primary
	WhenUpSpool = "spool" // keep everything; replay brings it
)

// Domain is a hosted domain.
type Domain struct {
	Name     string
	WhenUp   string // WhenUpPass (also "") or WhenUpSpool
	XClient  bool   // tell the primary the original client, where it offers to hear it
	XForward bool
}

// Options say what a Handler works with. Domains, Spool and Primaries are required.
type Options struct {
	Hostname  string // ours, for the Received field and as authserv-id
	Domains   []Domain
	Spool     Spool
	Primaries Primaries
	Known     Known // nil: nothing is known
	// Recipients says who exists while no primary is asked, and hears what primaries say. nil: everybody exists.
	Recipients *rcpt.Directory
	Kept       func(domains []string, reason string) // an entry was kept; must not block. May be nil
	// Quarantined is told instead of Kept of an entry that waits for an admin. It must not block, nor keep the entry. May be nil.
	Quarantined func(domains []string, e *spool.Entry)
	Passed      func(domain string)      // the primary took a message; must not block. May be nil
	Note        func(evs ...spool.Event) // records Learned events lazily; must not block. May be nil
	// Border judges strangers and what they bring, whichever way it goes. nil: nothing is judged.
	Border  *policy.Border
	MaxSize int64 // octets, of Offers; 0: no limit of our own

	MaxConnections int           // to one set of primary hosts at a time; 0: 50
	MaxWait        time.Duration // for one of them, before the mail is kept instead; 0: 2 s
	IdleTime       time.Duration // a session to a primary is kept open for reuse; 0: 20 s
	DialTime       time.Duration // to reach the primary before the mail is kept; 0: 20 s

	Log     *slog.Logger
	Metrics *Metrics
}

// Handler is the smtpd.Handler of the relay. Its methods may be called from any goroutine.
type Handler struct {
	o    Options
	log  *slog.Logger
	pool *pool

	mu      sync.RWMutex
	domains map[string]*Domain
	learned map[string]struct{}  // addresses that need no Learned event any more
	fresh   map[string]*fresh    // by domain: how many were learned of late
	doubts  map[string]time.Time // known-good addresses that their primary refused, since when

	passing struct {
		sync.Mutex
		at  time.Time
		any bool
	}
}

// believeAfter is how long a primary has to refuse a recipient that it had, while it takes other mail, until
// we believe that the recipient is gone.
const believeAfter = 24 * time.Hour

// maxLearned bounds the memory of which addresses are known already; beyond, it starts anew.
const maxLearned = 100_000

// maxFresh bounds how many addresses of one domain are learned in a day: what is learned stands in the ledger for ever, and a primary that
// takes any address would teach us as many as strangers make up.
const maxFresh = 5000

// New returns a Handler.
func New(o Options) (*Handler, error) {
	if o.Spool == nil || o.Primaries == nil {
		return nil, errors.New("pass: Spool and Primaries are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.MaxConnections = positive(o.MaxConnections, 50)
	o.MaxWait = positive(o.MaxWait, 2*time.Second)
	o.IdleTime = positive(o.IdleTime, 20*time.Second)
	o.DialTime = positive(o.DialTime, 20*time.Second)
	h := &Handler{o: o, log: o.Log, learned: make(map[string]struct{}), fresh: make(map[string]*fresh), doubts: make(map[string]time.Time)}
	h.pool = newPool(o.MaxConnections, o.IdleTime, o.MaxWait)
	if err := h.SetConfig(o.Domains); err != nil {
		return nil, err
	}
	return h, nil
}

func positive[T int | int64 | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// SetConfig replaces the hosted domains, all or nothing. Transactions under way end as they began.
func (h *Handler) SetConfig(ds []Domain) error {
	next := make(map[string]*Domain, len(ds))
	for _, c := range ds {
		name, err := mailaddr.ParseDomain(c.Name)
		if err != nil {
			return fmt.Errorf("domain %q: %w", c.Name, err)
		}
		if c.WhenUp != "" && c.WhenUp != WhenUpPass && c.WhenUp != WhenUpSpool {
			return fmt.Errorf("domain %s: when_up is %q; write %q or %q", name, c.WhenUp, WhenUpPass, WhenUpSpool)
		}
		c.Name = name
		next[name] = &c
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains = next
	return nil
}

// Close ends the idle sessions to primaries and waits for those being tidied up. Transactions under way
// are smtpd's to end first.
func (h *Handler) Close() { h.pool.close() }

// Reserve is how much less than the primary's SIZE we take, in octets: room for trace fields.
const Reserve = 16 << 10

// Offers returns what to announce: what every primary that ever answered offers, and what we take.
func (h *Handler) Offers() smtpd.Offers {
	h.mu.RLock()
	names := slices.Collect(maps.Keys(h.domains))
	h.mu.RUnlock()
	out := smtpd.Offers{Size: h.o.MaxSize, SMTPUTF8: true, DSN: true, RequireTLS: len(names) > 0}
	for _, n := range names {
		p, ok := h.o.Primaries.Offers(n)
		out.RequireTLS = out.RequireTLS && p.KeepsTLS() // of one that isn't known nothing can be promised
		if !ok {
			continue
		}
		out.SMTPUTF8 = out.SMTPUTF8 && p.SMTPUTF8
		out.DSN = out.DSN && p.DSN
	}
	// The greatest size that any primary takes: what is too big for one is refused at its RCPT.
	if m := h.maxSize(names); m > 0 && (out.Size == 0 || m < out.Size) {
		out.Size = m
	}
	return out
}

// maxSize is the greatest size that any of the domains takes, 0 when one has no known limit.
func (h *Handler) maxSize(names []string) int64 {
	var greatest int64
	for _, n := range names {
		limit := h.sizeLimit(n)
		if limit == 0 {
			return 0
		}
		greatest = max(greatest, limit)
	}
	return greatest
}

// sizeLimit is the greatest message that the primary of a domain takes from us, 0 when no limit is known.
func (h *Handler) sizeLimit(domain string) int64 {
	p, ok := h.o.Primaries.Offers(domain)
	if !ok || p.Size <= 0 {
		return 0
	}
	return max(p.Size-Reserve, 1)
}

// Begin opens a transaction: at MAIL nothing is known of where the mail goes, so it is refused only when
// no mail could be taken at all.
func (h *Handler) Begin(ctx context.Context, c *smtpd.Client, m smtpd.Mail) (smtpd.Transaction, reply.Reply) {
	if !h.anyPasses() {
		if err := h.o.Spool.Available(); err != nil {
			h.o.Metrics.refused("store")
			return nil, unavailable(err)
		}
	}
	visit, rep := h.o.Border.Open(ctx, c, m)
	if rep.Refuses() {
		h.o.Metrics.refused("border")
		return nil, rep
	}
	return &transaction{h: h, client: c, mail: m, visit: visit}, reply.Reply{}
}

// unavailable is the reply while the spool keeps nothing.
func unavailable(err error) reply.Reply {
	if errors.Is(err, spool.ErrNoSpace) {
		return reply.New(452, noSpace, "Not enough room to keep mail, try again later").With(err)
	}
	return reply.New(451, later, "Mail can't be kept safely at the moment, try again later").With(err)
}

// anyPasses reports that mail for some domain could be passed. It looks a few times a second only.
func (h *Handler) anyPasses() bool {
	h.passing.Lock()
	defer h.passing.Unlock()
	if time.Since(h.passing.at) < 200*time.Millisecond {
		return h.passing.any
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.passing.any, h.passing.at = false, time.Now()
	for name, d := range h.domains {
		if d.WhenUp != WhenUpSpool && h.o.Primaries.State(name).Passes() {
			h.passing.any = true
			break
		}
	}
	return h.passing.any
}

// way is where mail of a recipient goes.
type way struct {
	primary string // key of the set of primary hosts; "" for the spool
	reason  string // why it is kept
	defer_  bool   // neither: the primary refuses us
	up      bool   // it is kept though nothing is wrong with the primary
	record  health.Record
}

// wayOf says where mail for a recipient goes now.
func (h *Handler) wayOf(d *Domain, a mailaddr.Address) way {
	r := h.o.Primaries.State(d.Name)
	if decl, ok := h.o.Primaries.Declared(a.String()); ok {
		return way{reason: declaredBecause(decl), record: r}
	}
	switch {
	case d.WhenUp == WhenUpSpool:
		return way{reason: "all mail of the domain is kept", record: r}
	case r.State == health.RefusesUs:
		return way{defer_: true, record: r}
	case r.Passes():
		return way{primary: h.o.Primaries.Key(d.Name), record: r}
	}
	return way{reason: cmp.Or(r.Reason, "primary "+string(r.State)), record: r}
}

// declaredBecause is the reason of an outage that an admin's word has begun, as health.Record has it for a domain; of an
// address it names that too.
func declaredBecause(d health.Declaration) string {
	by, text := d.By, "declared"
	if by == "" {
		by = "an admin"
	}
	if strings.Contains(d.Target, "@") {
		text = d.Target + " declared"
	}
	text += " by " + by
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text
}

// hosted returns the domain of an address, nil if it isn't ours. An address that carries a route of its own
// in the local part is nobody's: a next server may act on it.
func (h *Handler) hosted(a mailaddr.Address) *Domain {
	if a.Routed() || a.IsLiteral() {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.domains[a.Domain]
}

func (h *Handler) domainOf(name string) *Domain {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.domains[name]
}

package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"restante/relay/smtpc"
	"restante/spool"
)

// DefaultInterval is the time between two probes of a set that is up, when its domains name none.
const DefaultInterval = 10 * time.Second

// Dialer opens a conversation with one host: connect, banner, EHLO, STARTTLS. *smtpc.Dialer is one.
type Dialer interface {
	Dial(ctx context.Context, t smtpc.Target) (*smtpc.Conn, error)
}

// Domain is what the Monitor must know of a hosted domain.
type Domain struct {
	Name     string
	Primary  []string        // see ParsePrimary, in order of preference; or FromDNS alone
	TLS      smtpc.TLSPolicy // for each of its hosts
	XClient  bool            // tell it the original client, where offered: see smtpc.Target
	XForward bool
	Trusted  []netip.Prefix
	Implicit bool          // TLS from the first octet
	Login    *smtpc.Login  // to authenticate with; domains with different users are in different sets
	CA       string        // names TLS.RootCAs, so that policies can be told apart; e.g. the file it is from
	Interval time.Duration // the longest time between two probes; 0: DefaultInterval
}

// Options say what a Monitor works with. Only Dialer (or Prober) is required.
type Options struct {
	Domains []Domain
	Dialer  Dialer
	Prober  Prober // nil: one that uses Dialer
	Log     *slog.Logger
	Metrics *Metrics

	// MX returns the hosts of a domain whose primary is FromDNS, best first, never ourselves or worse.
	MX func(ctx context.Context, domain string) ([]string, error)
	// Known returns a few recipients of the domain that the primary is known to have, best first.
	Known func(domain string) []string
	// HasPending reports that replay has something to deliver for the domain now. What replay leaves alone,
	// because an address is declared down, an admin has yet to start it or the store is away, must not count, else
	// Recovering lasts as long.
	HasPending func(domain string) bool
	// TookMail reports that the domain's primary has taken mail from us before this process.
	TookMail func(domain string) bool

	// StoreUp reports that the store answers; nil when the store is on this machine and so says nothing
	// about our line.
	StoreUp func() bool
	// ResolverUp reports that any resolver answers; nil when there is none to ask.
	ResolverUp func(ctx context.Context) bool

	// Note records an event lazily: Offered, when what a primary offers has changed.
	Note func(evs ...spool.Event)
	// StateFile keeps over a restart what was last known: addresses, offers, MX hosts, states. It is a
	// cache and may be deleted. "" keeps nothing.
	StateFile string
}

// Change says that the state of a domain changed. The domains of one set change together.
type Change struct {
	Domain string
	Before Record
	After  Record
}

// Monitor watches the primaries. All methods may be called at any time from any goroutine.
type Monitor struct {
	o   Options
	log *slog.Logger

	mu       sync.Mutex
	domains  map[string]*domain
	sets     map[string]*set
	declared map[string]Declaration // by domain or address
	subs     []func(Change)
	queue    []Change
	offered  []string      // domains whose offers changed
	queued   chan struct{} // cap 1: queue isn't empty
	expiry   chan struct{} // cap 1: declarations changed
	mx       chan struct{} // cap 1: there may be domains whose MX hosts aren't known
	running  context.Context
	tasks    sync.WaitGroup
	saved    []byte // content of StateFile
	past     pastState
}

type domain struct {
	Domain
	targets []smtpc.Target // parsed, or from DNS
	set     *set
	mxErr   error
}

// set is a set of primary hosts with the domains behind it.
type set struct {
	key      string
	label    string // in metrics
	targets  []smtpc.Target
	domains  []string // sorted
	interval time.Duration
	rec      Record
	offers   *smtpc.Offers
	best     string            // targetID of the host that answered last
	addrs    map[string]string // host -> last good IP address
	refused  []string          // known recipients that the last probe was refused
	distrust map[string]bool   // known recipients not to be used in probes: refused while others took mail
	kick     chan struct{}     // cap 1: probe now
	stop     context.CancelFunc
}

// New returns a Monitor of o.Domains. Nothing is probed before Run.
func New(o Options) (*Monitor, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Prober == nil {
		if o.Dialer == nil {
			return nil, errors.New("health: neither Dialer nor Prober is set")
		}
		o.Prober = prober{o.Dialer}
	}
	m := &Monitor{
		o: o, log: o.Log,
		domains:  make(map[string]*domain),
		sets:     make(map[string]*set),
		declared: make(map[string]Declaration),
		queued:   make(chan struct{}, 1),
		expiry:   make(chan struct{}, 1),
		mx:       make(chan struct{}, 1),
	}
	m.loadState()
	if err := m.SetConfig(o.Domains); err != nil {
		return nil, err
	}
	return m, nil
}

// Run probes until ctx ends, and returns when every goroutine of the Monitor has ended. Subscribers are
// called from it, one change after another.
func (m *Monitor) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mu.Lock()
	m.running = ctx
	for _, s := range m.sets {
		m.startLocked(s)
	}
	m.mu.Unlock()
	m.tasks.Go(func() { m.expire(ctx) })
	m.tasks.Go(func() { m.followMX(ctx) })
	m.dispatch(ctx)
	m.tasks.Wait()
	m.mu.Lock()
	m.running = nil
	m.mu.Unlock()
}

// Subscribe has f called after each change of a domain's state, in order, from the goroutine of Run. f
// may call the Monitor, and shouldn't block.
func (m *Monitor) Subscribe(f func(Change)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subs = append(m.subs, f)
}

// State returns what is known of the primary of a domain, an admin's word included: under a declaration
// the state is Down and Declaration is set. The zero Record means that the domain isn't hosted.
func (m *Monitor) State(name string) Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stateLocked(normal(name))
}

func (m *Monitor) stateLocked(name string) Record {
	d := m.domains[name]
	if d == nil {
		return Record{}
	}
	r := d.set.rec
	if decl, ok := m.declared[name]; ok && time.Now().Before(decl.Until) {
		r = overlay(r, decl)
	}
	return r
}

func overlay(r Record, d Declaration) Record {
	r.State, r.Declaration = Down, &d
	r.Reason = "declared by " + cmp.Or(d.By, "an admin")
	if d.Reason != "" {
		r.Reason += ": " + d.Reason
	}
	return r
}

// Key names the set of primary hosts of a domain, for whoever keeps connections or a pace for each set.
// It is "" for a domain that isn't hosted, and may change when MX records do.
func (m *Monitor) Key(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.domains[normal(name)]; d != nil {
		return d.set.key
	}
	return ""
}

// Domains returns the hosted domains, sorted.
func (m *Monitor) Domains() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.domains))
	for n := range m.domains {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Offers returns what the primary of the domain last offered; false when it never answered.
func (m *Monitor) Offers(name string) (smtpc.Offers, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.domains[normal(name)]
	if d == nil || d.set.offers == nil {
		return smtpc.Offers{}, false
	}
	return *d.set.offers, true
}

// Targets returns the hosts of a domain's primary in the order in which they should be tried: the one
// that answered last, then by preference.
func (m *Monitor) Targets(name string) []smtpc.Target {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.domains[normal(name)]
	if d == nil {
		return nil
	}
	ts := slices.Clone(d.set.targets)
	if i := slices.IndexFunc(ts, func(t smtpc.Target) bool { return targetID(t) == d.set.best }); i > 0 {
		t := ts[i]
		copy(ts[1:i+1], ts[:i])
		ts[0] = t
	}
	return ts
}

// Dial opens a conversation with the primary of a domain: each host in turn, by name, and where the name
// can't be resolved by the address that was good last. It tells the Monitor what is offered, but
// observes nothing: what a failure means is for the caller to say.
func (m *Monitor) Dial(ctx context.Context, name string) (*smtpc.Conn, error) {
	ts := m.Targets(name)
	if len(ts) == 0 {
		return nil, fmt.Errorf("no host is known for the primary of %s", name)
	}
	var errs []error
	for _, t := range ts {
		c, err := m.o.Dialer.Dial(ctx, t)
		if err != nil && unresolved(err) {
			if last := m.atLast(name, t); last != nil {
				c, err = m.o.Dialer.Dial(ctx, *last)
			}
		}
		if err == nil {
			m.answered(name, t, c.Remote(), c.Offers())
			return c, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// Observe tells the Monitor what was seen of the primary of a domain. Pending and Alone are filled in.
func (m *Monitor) Observe(name string, o Observation) {
	name = normal(name)
	m.mu.Lock()
	d := m.domains[name]
	if d == nil {
		m.mu.Unlock()
		return
	}
	s := d.set
	if o.Kind == Took && s.rec.State == Up && s.rec.TookMail && time.Since(s.rec.LastTook) < time.Second &&
		s.rec.Failures == 0 && s.rec.Refusals == 0 {
		m.mu.Unlock() // nothing new; this is the way of every passed message
		return
	}
	m.mu.Unlock()
	m.observe(s, o)
}

func (m *Monitor) observe(s *set, o Observation) {
	switch o.Kind {
	case Lost:
		o.Alone = o.Probe && m.alone(s)
	case Good, Ended:
		o.Pending = m.pending(s)
	case Empty:
		if m.pending(s) {
			return // of another domain of the set
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := s.rec
	s.rec = Step(before, o, time.Now())
	if o.Kind == Took && len(s.refused) > 0 {
		// The primary takes mail, and yet refused these: they left, it isn't ill.
		if s.distrust == nil {
			s.distrust = make(map[string]bool)
		}
		for _, a := range s.refused {
			s.distrust[a] = true
		}
		s.refused = nil
	}
	m.o.Metrics.observed(s.label, o.Kind)
	m.changedLocked(s, before)
	if before.State != s.rec.State && !o.Probe {
		s.wake()
	}
}

// changedLocked tells subscribers, log, metrics and state file when the state of s isn't what it was.
func (m *Monitor) changedLocked(s *set, before Record) {
	after := s.rec
	if before.State == after.State && before.TookMail == after.TookMail {
		return
	}
	m.saveStateLocked()
	if before.State == after.State {
		return
	}
	m.o.Metrics.state(s.label, after.State)
	m.log.Info("primary changed state", "primary", s.key, "from", before.State, "to", after.State,
		"reason", after.Reason, "reply", after.Reply, "domains", len(s.domains))
	for _, name := range s.domains {
		if _, ok := m.declared[name]; ok {
			continue // the admin's word holds, whatever is seen
		}
		m.queue = append(m.queue, Change{Domain: name, Before: before, After: after})
	}
	notify(m.queued)
}

// dispatch hands changes to the subscribers until ctx ends.
func (m *Monitor) dispatch(ctx context.Context) {
	for {
		m.mu.Lock()
		queue, offered, subs := m.queue, m.offered, slices.Clone(m.subs)
		m.queue, m.offered = nil, nil
		m.mu.Unlock()
		m.tellOffers(offered)
		for _, c := range queue {
			for _, f := range subs {
				f(c)
			}
		}
		if len(queue)+len(offered) > 0 {
			continue
		}
		select {
		case <-m.queued:
		case <-ctx.Done():
			return
		}
	}
}

// pending reports that a kept message waits for one of the set's domains and isn't kept by a declaration.
func (m *Monitor) pending(s *set) bool {
	if m.o.HasPending == nil {
		return false
	}
	m.mu.Lock()
	names := make([]string, 0, len(s.domains))
	for _, n := range s.domains {
		if _, ok := m.declared[n]; !ok {
			names = append(names, n)
		}
	}
	m.mu.Unlock()
	return slices.ContainsFunc(names, m.o.HasPending)
}

// alone reports that everything else is gone too. It takes two witnesses beside the set itself, of
// store, resolver and other primaries, since one of them may well live where the primary does.
func (m *Monitor) alone(s *set) bool {
	witnesses := 0
	if m.o.StoreUp != nil {
		if m.o.StoreUp() {
			return false
		}
		witnesses++
	}
	if m.o.ResolverUp != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if m.o.ResolverUp(ctx) {
			return false
		}
		witnesses++
	}
	if witnesses == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := true
	for _, other := range m.sets {
		if other == s {
			continue
		}
		switch other.rec.State {
		case Up, Recovering, RefusesUs:
			all = false
			other.wake() // it may only not have noticed yet
		default:
			witnesses++
		}
	}
	return all && witnesses >= 2
}

func (s *set) wake() { notify(s.kick) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause returns the time to the next probe of s, jittered so that probes of many nodes and sets spread
// out, and never longer than its interval.
func (s *set) pause() time.Duration {
	d := s.interval
	switch s.rec.State {
	case Up:
	case Down, Isolated, RefusesUs:
		d /= 2
	default:
		d /= 5
	}
	d = min(max(d, time.Second), s.interval)
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// Package dnsbl asks lists of addresses in DNS (RFC 5782) what they know of a client, and adds up what they say.
//
// Each [List] that has the client adds its weight to the score; a list of good senders has a negative one. From the
// threshold on the client is to be refused. Only return codes that the configuration names count: lists answer with
// others for other things, and a domain that was sold answers everything.
//
// A list that doesn't work never refuses anybody. Silence, SERVFAIL and answers in 127.255.255.0/24 ("you ask too much",
// "you ask by an open resolver") count as nothing and are a [Fault]; a list is in use only after its test has passed: it must
// list 127.0.0.2 and must not list 127.0.0.1 (RFC 5782 5), is tested again each hour, and each minute while it has a
// fault; a silent one after 2 s, 4 s and so on up to that minute. While no resolver answers at all it isn't the list's fault, and
// each is in use again 2 s after one does. An IPv6 client is asked for only where ::FFFF:7F00:2 is listed and ::FFFF:7F00:1 isn't.
//
// A look is begun when the client connects ([Set.Begin]) and its result is kept for a minute, so that who asks at MAIL rarely waits.
package dnsbl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"restante/dns"
)

// Limits of what a look may cost.
const (
	lookTime    = 3 * time.Second        // for all lists together; who hasn't answered counts as failed
	textTime    = 500 * time.Millisecond // for the reason, which only a refusal wants
	keepFor     = time.Minute            // how long a result is used again
	keepUnknown = time.Second            // the same where a list gave none
	keepAtMost  = 20_000                 // results; about 300 octets each
	lookAtMost  = 500                    // looks at a time; beyond, clients count as not listed
	maxText     = 200                    // octets of a list's reason
	failsToRest = 3                      // failures in a row after which a list is left out until its next test passes
)

// DefaultThreshold is the score from which a client is refused, and DefaultWeight what one list adds to it.
const (
	DefaultThreshold = 1
	DefaultWeight    = 1
)

// Resolver asks DNS; *dns.Resolver is one. It must not give answers past their time: an old listing would refuse mail.
type Resolver interface {
	// LookupIPv4 returns the A records of a name. What doesn't exist is a *net.DNSError with IsNotFound.
	LookupIPv4(ctx context.Context, name string) ([]netip.Addr, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// List is one list.
type List struct {
	Zone   string // "zen.spamhaus.org"
	Name   string // what people are told; "": Zone, less what looks like a key (Shown)
	Weight int    // added to the score when the client is listed; negative for a list of good senders
	Codes  []Code // answers that count, none other
}

// name is what people are told.
func (l *List) name() string { return cmp.Or(l.Name, Shown(l.Zone)) }

// tells reports that a text gives away a zone that people aren't told.
func (l *List) tells(text string) bool {
	text = strings.ToLower(text)
	key := Key(l.Zone)
	return l.name() != l.Zone && strings.Contains(text, strings.ToLower(l.Zone)) || key != "" && strings.Contains(text, strings.ToLower(key))
}

// Options are what New needs.
type Options struct {
	Resolver  Resolver
	Lists     []List
	Threshold int          // score from which a client is refused; 0: DefaultThreshold
	Log       *slog.Logger // nil: none
	Metrics   *Metrics     // nil: none
}

// Hit is one list that has the client.
type Hit struct {
	Zone string     // the list's name, as people are told it
	Code netip.Addr // what it answered
	Text string     // its reason, printable ASCII; "" unless the client is to be refused and the list has one
}

// Result is what the lists say of a client. The zero Result is that of a client nobody knows.
type Result struct {
	Score  int
	Listed []Hit // in the order of the configuration
	Refuse bool  // Score has reached the threshold
}

// Reason is the result for people: "zen.spamhaus.org (127.0.0.2), bl.example.net (127.0.0.3)"; "" when nothing was listed.
func (r Result) Reason() string {
	var b strings.Builder
	for i, h := range r.Listed {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%s)", h.Zone, h.Code)
	}
	return b.String()
}

// Text is the reason for the sender, to follow "refused: ": the lists with what they say themselves.
func (r Result) Text() string {
	var b strings.Builder
	for i, h := range r.Listed {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString("listed by " + h.Zone)
		if h.Text != "" {
			b.WriteString(": " + h.Text)
		}
	}
	return b.String()
}

// Set asks several lists. Safe for concurrent use; a nil Set knows nobody.
type Set struct {
	o Options

	mu        sync.Mutex
	lists     []*state
	threshold int
	kept      map[netip.Addr]*look
	order     []netip.Addr // of kept, oldest first
	flying    int
	changed   chan struct{} // the lists are others now
}

// look is one question about a client, to all lists.
type look struct {
	done   chan struct{}
	result Result
	until  time.Time // it is used again; the Set's mu guards it
}

// New returns a set. Its lists count nothing until Run, or Test, has tested them.
func New(o Options) (*Set, error) {
	if o.Resolver == nil {
		return nil, errors.New("dnsbl: Resolver is required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Set{o: o, kept: map[netip.Addr]*look{}, changed: make(chan struct{}, 1)}
	return s, s.SetConfig(o.Lists, o.Threshold)
}

// SetConfig changes the lists. One that stays as it was keeps what its last test said.
func (s *Set) SetConfig(lists []List, threshold int) error {
	for i := range lists {
		l := &lists[i]
		if l.Zone == "" || len(l.Codes) == 0 {
			return fmt.Errorf("dnsbl: list %q needs a zone and the return codes that count; its operator's page names them", l.name())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var next []*state
	for _, l := range lists {
		st := &state{list: l}
		if i := slices.IndexFunc(s.lists, func(old *state) bool { return old.list.Zone == l.Zone }); i >= 0 {
			st.health = s.lists[i].health
		}
		next = append(next, st)
	}
	s.lists, s.threshold = next, cmp.Or(threshold, DefaultThreshold)
	s.kept, s.order = map[netip.Addr]*look{}, nil
	s.o.Metrics.reset(next)
	s.wake()
	return nil
}

// Begin starts a look without waiting for it. Who looks for the same client later finds it done, or under way.
func (s *Set) Begin(addr netip.Addr) { s.begin(addr) }

// Look says what the lists know of a client. It takes lookTime at most, or until ctx ends: what isn't known by then counts as
// not listed. Addresses that aren't public are on no list and aren't asked for.
func (s *Set) Look(ctx context.Context, addr netip.Addr) Result {
	l := s.begin(addr)
	if l == nil {
		return Result{}
	}
	select {
	case <-l.done:
		return l.result
	case <-ctx.Done():
		return Result{}
	}
}

// begin returns the look for a client, or nil if none is wanted.
func (s *Set) begin(addr netip.Addr) *look {
	addr = addr.Unmap().WithZone("")
	if s == nil || !dns.Public(addr) {
		return nil
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.kept[addr]; l != nil && now.Before(l.until) {
		return l
	}
	ask := slices.DeleteFunc(slices.Clone(s.lists), func(st *state) bool { return !st.inUse(addr) })
	if len(ask) == 0 {
		return nil
	}
	if s.flying >= lookAtMost {
		s.o.Metrics.looked("", "skipped")
		return nil
	}
	l := &look{done: make(chan struct{}), until: now.Add(keepFor)}
	s.keep(addr, l, now)
	s.flying++
	go s.fly(l, addr, ask, s.threshold)
	return l
}

// keep puts a look where the next one finds it. The caller holds mu.
func (s *Set) keep(addr netip.Addr, l *look, now time.Time) {
	for len(s.order) > 0 {
		oldest := s.kept[s.order[0]]
		if oldest != nil && now.Before(oldest.until) && len(s.order) < keepAtMost {
			break
		}
		delete(s.kept, s.order[0])
		s.order = s.order[1:]
	}
	s.kept[addr] = l
	s.order = append(s.order, addr)
}

// fly asks all lists at once and ends the look. Its time is its own: others may wait for the same.
func (s *Set) fly(l *look, addr netip.Addr, ask []*state, threshold int) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	codes := make([]netip.Addr, len(ask)) // invalid: not listed
	var unknown atomic.Bool
	var wg sync.WaitGroup
	for i, st := range ask {
		wg.Go(func() {
			var ok bool
			if codes[i], ok = s.ask(ctx, st, addr); !ok {
				unknown.Store(true)
			}
		})
	}
	wg.Wait()
	var r Result
	var hit []*state
	for i, code := range codes {
		if code.IsValid() {
			r.Score += ask[i].list.Weight
			r.Listed = append(r.Listed, Hit{Zone: ask[i].list.name(), Code: code})
			hit = append(hit, ask[i])
		}
	}
	r.Refuse = len(r.Listed) > 0 && r.Score >= threshold
	if r.Refuse {
		s.reasons(&r, hit, addr)
	}
	s.mu.Lock()
	s.flying--
	if unknown.Load() {
		l.until = time.Now().Add(keepUnknown)
	}
	s.mu.Unlock()
	l.result = r
	close(l.done)
}

// ask asks one list and returns the code that counts, and whether the list said anything.
func (s *Set) ask(ctx context.Context, st *state, addr netip.Addr) (netip.Addr, bool) {
	name := st.list.name()
	answers, err := s.o.Resolver.LookupIPv4(ctx, query(addr, st.list.Zone))
	if err = judge(answers, err); err != nil {
		s.o.Metrics.looked(name, "failed")
		s.failed(st, err)
		return netip.Addr{}, false
	}
	s.worked(st)
	for _, a := range answers {
		if slices.ContainsFunc(st.list.Codes, func(c Code) bool { return c.Has(a) }) {
			s.o.Metrics.looked(name, "listed")
			return a, true
		}
	}
	s.o.Metrics.looked(name, "clean")
	return netip.Addr{}, true
}

// reasons asks the lists that have a client why. Those that don't say it in time have none.
func (s *Set) reasons(r *Result, hit []*state, addr netip.Addr) {
	ctx, cancel := context.WithTimeout(context.Background(), textTime)
	defer cancel()
	var wg sync.WaitGroup
	for i, st := range hit {
		if st.list.Weight <= 0 {
			continue
		}
		wg.Go(func() {
			txt, err := s.o.Resolver.LookupTXT(ctx, query(addr, st.list.Zone))
			if err == nil && len(txt) > 0 && !st.list.tells(txt[0]) {
				r.Listed[i].Text = printable(txt[0])
			}
		})
	}
	wg.Wait()
}

// printable makes a stranger's text fit for a reply: ASCII on one line, not too long.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return ' '
		}
		return c
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), maxText)]
}

// query is the name that asks a list about an address (RFC 5782 2.1, 2.4).
func query(addr netip.Addr, zone string) string {
	var b strings.Builder
	if addr.Is4() {
		a := addr.As4()
		for i := 3; i >= 0; i-- {
			fmt.Fprintf(&b, "%d.", a[i])
		}
		return b.String() + zone
	}
	const hex = "0123456789abcdef"
	a := addr.As16()
	for i := 15; i >= 0; i-- {
		b.Write([]byte{hex[a[i]&15], '.', hex[a[i]>>4], '.'})
	}
	return b.String() + zone
}

package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"restante/dns"
)

// How often lists are tested.
const (
	testEvery  = time.Hour
	retryEvery = time.Minute     // while one has a fault
	retrySoon  = 2 * time.Second // while one is silent: at first, then twice as long until it has told of a client; and while no resolver answers
)

// The entries that each list has to have, and to lack (RFC 5782 5).
var (
	listed4   = netip.MustParseAddr("127.0.0.2")
	unlisted4 = netip.MustParseAddr("127.0.0.1")
	listed6   = netip.MustParseAddr("::ffff:7f00:2")
	unlisted6 = netip.MustParseAddr("::ffff:7f00:1")
)

// blocked are answers with which a list says that it doesn't answer us.
var blocked = netip.MustParsePrefix("127.255.255.0/24")

// answers are those that a list may give at all (RFC 5782 2.1).
var loopback = netip.MustParsePrefix("127.0.0.0/8")

// state is a list and how it does.
type state struct {
	list List
	health
}

// health is how a list does. The Set's mu guards it.
type health struct {
	usable bool   // its last test, and what came after, was good
	ipv6   bool   // it knows IPv6
	fault  string // what is wrong, "" nothing
	since  time.Time
	fails  int           // in a row
	retry  time.Duration // how long it was last left alone for a fault; 0: it has told of a client since
	next   time.Time     // test
}

// inUse reports that a list is asked about an address. The caller holds mu.
func (st *state) inUse(addr netip.Addr) bool {
	return st.usable && (addr.Is4() || st.ipv6)
}

// Fault is a list that isn't in use, or doesn't answer.
type Fault struct {
	List  string
	Text  string // what is wrong and what to do
	Since time.Time
}

// Faults are the lists with something wrong, in the order of the configuration.
func (s *Set) Faults() []Fault {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Fault
	for _, st := range s.lists {
		if st.fault != "" {
			all = append(all, Fault{List: st.list.name(), Text: st.fault, Since: st.since})
		}
	}
	return all
}

// Lists returns how many lists there are, and how many of them are in use.
func (s *Set) Lists() (all, used int) {
	if s == nil {
		return 0, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.lists {
		if st.usable {
			used++
		}
	}
	return len(s.lists), used
}

// Errors of a question, each with what to do.
var (
	errHijacked = errors.New("it answers with an address outside of 127.0.0.0/8, so the zone is dead or the resolver invents answers; take it out of the configuration, or write other [dns] servers")
	errPositive = errors.New("it lists 127.0.0.1, and so everybody; take it out of the configuration")
	errOurs     = errors.New("no resolver answers, so that it can't be asked; it is tested again by itself")
	errEmpty    = errors.New("it doesn't list 127.0.0.2, so it is dead or its zone is misspelt; mend the zone, or take it out of the configuration")
)

// judge turns what a resolver returned into an error if it tells nothing about the client. No such name isn't one.
func judge(answers []netip.Addr, err error) error {
	var e *net.DNSError
	if errors.As(err, &e) && e.IsNotFound {
		return nil
	}
	if errors.Is(err, dns.ErrSilent) || errors.Is(err, dns.ErrBusy) {
		return errOurs
	}
	if err != nil {
		if e != nil && e.IsTimeout {
			return silence{errors.New("no answer in time; it is asked again by itself")}
		}
		if e != nil { // without the name that was asked for: there may be a key in it
			return silence{fmt.Errorf("no answer: %s; it is asked again by itself", e.Err)}
		}
		return silence{fmt.Errorf("no answer: %w; it is asked again by itself", err)}
	}
	for _, a := range answers {
		switch {
		case blocked.Contains(a):
			return fmt.Errorf("it refuses to answer this resolver (%s): lists don't answer public resolvers, or who asks too much; run a resolver of your own and name it in [dns] servers, or take a key of the list", a)
		case !loopback.Contains(a):
			return errHijacked
		}
	}
	return nil
}

// failed notes that a list gave no answer about a client. A list that says so itself is left out at once, a silent one
// after some failures in a row; both until a test passes.
func (s *Set) failed(st *state, err error) {
	if err == errOurs {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.fails++
	if !st.usable || st.fails < failsToRest && silent(err) { // others asked it at the same time
		return
	}
	s.fault(st, err)
	s.wake()
}

// silence is a fault that may be over in a moment.
type silence struct{ error }

func silent(err error) bool { return errors.As(err, &silence{}) }

// wake has Run look after the lists.
func (s *Set) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// fault takes a list out of use until a test passes. Where only tests are answered, from a cache, these become rare. The caller holds mu.
func (s *Set) fault(st *state, err error) {
	if st.fault == "" {
		st.since = time.Now()
	}
	if st.fault != err.Error() {
		s.o.Log.Warn("list of addresses left out", "list", st.list.name(), "error", err)
	}
	switch {
	case err == errOurs:
		st.retry = retrySoon
	case silent(err):
		st.retry = min(max(retrySoon, 2*st.retry), retryEvery)
	default:
		st.retry = retryEvery
	}
	st.fault, st.usable, st.next = err.Error(), false, in(st.retry)
	s.o.Metrics.inUse(st)
}

// worked notes that a list gave an answer.
func (s *Set) worked(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.fails, st.retry = 0, 0
}

// in is the time after a pause, or a little later.
func in(pause time.Duration) time.Time { return time.Now().Add(pause + rand.N(pause/10)) }

// Run tests the lists at once, and then over and over, until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	s.Test(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.pause()):
			s.Test(ctx)
		case <-s.changed:
		}
	}
}

// pause is how long Run waits before it tests the lists again.
func (s *Set) pause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	pause := testEvery
	for _, st := range s.lists {
		pause = min(pause, time.Until(st.next))
	}
	return pause
}

// Test tests all lists and decides which are in use.
func (s *Set) Test(ctx context.Context) {
	s.mu.Lock()
	lists := slices.Clone(s.lists)
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, st := range lists {
		wg.Go(func() { s.test(ctx, st) })
	}
	wg.Wait()
}

func (s *Set) test(ctx context.Context, st *state) {
	ctx, cancel := context.WithTimeout(ctx, 2*lookTime)
	defer cancel()
	probe := func(a netip.Addr) (listed bool, err error) {
		answers, err := s.o.Resolver.LookupIPv4(ctx, query(a, st.list.Zone))
		err = judge(answers, err)
		return err == nil && len(answers) > 0, err
	}
	good, err := probe(listed4)
	bad := false
	if err == nil {
		bad, err = probe(unlisted4)
	}
	switch {
	case err != nil:
	case bad:
		err = errPositive
	case !good:
		err = errEmpty
	}
	good6, err6 := probe(listed6)
	bad6 := false
	if err6 == nil && good6 {
		bad6, err6 = probe(unlisted6)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err6 == nil {
		st.ipv6 = good6 && !bad6
	}
	if err != nil {
		s.fault(st, err)
		return
	}
	if !st.usable {
		s.o.Log.Info("list of addresses in use", "list", st.list.name(), "ipv6", st.ipv6)
	}
	st.usable, st.fault, st.fails, st.next = true, "", 0, in(testEvery)
	s.o.Metrics.inUse(st)
}

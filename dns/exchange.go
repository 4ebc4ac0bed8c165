package dns

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Exchange asks one server ("address:port") and returns its answer, of any rcode. An error means that there was none.
type Exchange func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error)

// exchange is Exchange over the network: UDP first, TCP if the answer was cut.
func exchange(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	a, err := ask(ctx, q, "udp", server)
	if err != nil || !a.Truncated {
		return a, err
	}
	return ask(ctx, q, "tcp", server)
}

// ask sends q and waits for what answers it. Over UDP other packets are passed over: they may be late or forged.
func ask(ctx context.Context, q *dns.Msg, network, server string) (*dns.Msg, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	// miekg/dns heeds deadlines only, so an end of ctx closes the socket.
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if deadline, ok := ctx.Deadline(); ok {
		if err := nc.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	c := &dns.Conn{Conn: nc, UDPSize: dns.DefaultMsgSize} // some servers send more than they were asked to
	if err := c.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		a, err := c.ReadMsg()
		var ne net.Error
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil && (network == "tcp" || errors.As(err, &ne) || errors.Is(err, net.ErrClosed)):
			return nil, err
		case err == nil && answers(a, q):
			return a, nil
		case network == "tcp":
			return nil, errors.New("the answer is to another question")
		}
	}
}

// answers reports that a is an answer to q.
func answers(a, q *dns.Msg) bool {
	if a.Id != q.Id || !a.Response || len(a.Question) > 1 {
		return false
	}
	if len(a.Question) == 0 { // some servers leave it out when they refuse
		return a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError
	}
	x, y := a.Question[0], q.Question[0]
	return x.Qtype == y.Qtype && x.Qclass == y.Qclass && strings.EqualFold(x.Name, y.Name)
}

// query asks the servers in turn until one answers for good: NOERROR or NXDOMAIN. secure says that one that may be believed has verified it.
func (r *Resolver) query(ctx context.Context, name string, qtype uint16) (a *dns.Msg, secure bool, err error) {
	servers := r.servers()
	if len(servers) == 0 {
		return nil, false, &net.DNSError{Err: "no resolvers are configured", Name: name, IsTemporary: true}
	}
	var last *net.DNSError
	for range attempts {
		for _, s := range r.usable(servers) {
			a, err := r.askOne(ctx, name, qtype, s)
			if err == nil {
				return a, a.AuthenticatedData && r.trusts(s), nil
			}
			if last == nil || last.IsTimeout || !err.IsTimeout { // what a server said tells more than another's silence
				last = err
			}
			if ctx.Err() != nil {
				return nil, false, last
			}
		}
	}
	if last == nil {
		last = &net.DNSError{UnwrapErr: ErrSilent, Err: ErrSilent.Error(), Name: name, IsTimeout: true, IsTemporary: true}
	}
	return nil, false, last
}

// usable returns the servers to ask, best first; none when all are dead. Those that may be back are looked at meanwhile.
func (r *Resolver) usable(servers []string) []string {
	for {
		usable, due, wait, changed := r.health.plan(servers, time.Now())
		for _, s := range due {
			go r.probe(s)
			wait = probeWait
		}
		if len(usable) > 0 || wait == 0 {
			return usable
		}
		t := time.NewTimer(wait)
		select {
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// probe asks a server the known question.
func (r *Resolver) probe(server string) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	_, err := r.ask(ctx, new(dns.Msg).SetQuestion(".", dns.TypeSOA), server)
	before, after := r.health.probed(server, err == nil)
	if after.dead && !before.dead {
		r.log.Warn("a resolver doesn't answer, and isn't asked until it does; is it up, and may it be reached from here?", "server", server, "since", after.since, "error", err)
	}
	if !after.dead {
		r.back(server, before)
	}
}

// back tells that a server answers, if it was dead.
func (r *Resolver) back(server string, before silence) {
	if before.dead {
		r.log.Info("a resolver answers again", "server", server, "silent_since", before.since)
	}
}

// askOne asks one server. How it does is noted.
func (r *Resolver) askOne(ctx context.Context, name string, qtype uint16, server string) (*dns.Msg, *net.DNSError) {
	limited, cancel := context.WithTimeout(ctx, r.health.patience(server, cmp.Or(r.o.Timeout, DefaultTimeout)))
	defer cancel()
	asked := time.Now()
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	q.SetEdns0(ednsSize, false)
	q.AuthenticatedData = r.trusts(server) // RFC 6840 5.7: asks for the bit, without the signatures
	a, err := r.ask(limited, q, server)
	if err == nil && (a.Rcode == dns.RcodeFormatError || a.Rcode == dns.RcodeNotImplemented || a.Rcode == dns.RcodeBadVers) {
		q.Extra, q.Id, q.AuthenticatedData = nil, dns.Id(), false // it may not know EDNS (RFC 6891 7)
		a, err = r.ask(limited, q, server)
	}
	if err == nil {
		r.back(server, r.health.heard(server))
	} else if ctx.Err() == nil { // else it is the caller who didn't wait
		r.health.missed(server, asked)
	}
	var ne net.Error
	switch {
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &ne) && ne.Timeout())):
		return nil, &net.DNSError{UnwrapErr: err, Err: "no answer in time", Name: name, Server: server, IsTimeout: true, IsTemporary: true}
	case err != nil:
		return nil, &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: name, Server: server, IsTemporary: true}
	case a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError:
		return nil, &net.DNSError{Err: fmt.Sprintf("the resolver answered %s", dns.RcodeToString[a.Rcode]), Name: name, Server: server, IsTemporary: true}
	case a.Truncated: // over TCP too: what is missing might be what counts
		return nil, &net.DNSError{Err: "the resolver cut its answer", Name: name, Server: server, IsTemporary: true}
	}
	return a, nil
}

// system is what resolv.conf and the hosts file say, read again when they change.
type system struct {
	mu            sync.Mutex
	checked       time.Time
	conf          *dns.ClientConfig
	trustAD       bool // its option of that name
	confTime      time.Time
	hosts         map[string][]string // lower-case name to addresses
	hostsTime     time.Time
	hostsFile     string
	confFile      string
	serversPinned []string
}

// refresh looks at the files at most every five seconds.
func (s *system) refresh() {
	if now := time.Now(); now.Sub(s.checked) < 5*time.Second {
		return
	} else {
		s.checked = now
	}
	if st, err := os.Stat(s.confFile); err == nil && s.serversPinned == nil && !st.ModTime().Equal(s.confTime) {
		text, err := os.ReadFile(s.confFile)
		conf, bad := dns.ClientConfigFromReader(bytes.NewReader(text))
		if err == nil && bad == nil { // an unreadable one leaves the last in force
			s.conf, s.trustAD, s.confTime = conf, trustAD(string(text)), st.ModTime()
		}
	}
	if s.hostsFile == "" {
		return
	}
	if st, err := os.Stat(s.hostsFile); err == nil && !st.ModTime().Equal(s.hostsTime) {
		if b, err := os.ReadFile(s.hostsFile); err == nil {
			s.hosts, s.hostsTime = parseHosts(string(b)), st.ModTime()
		}
	}
}

func parseHosts(text string) map[string][]string {
	hosts := map[string][]string{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 || net.ParseIP(f[0]) == nil {
			continue
		}
		for _, name := range f[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			hosts[name] = append(hosts[name], f[0])
		}
	}
	return hosts
}

// trustAD reports the option trust-ad of a resolv.conf (resolv.conf(5), glibc 2.31).
func trustAD(text string) bool {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "options" && slices.Contains(f[1:], "trust-ad") {
			return true
		}
	}
	return false
}

// trusts reports that a server ("address:port") may be believed when it says that an answer was verified: it is this machine's own, or
// the configuration or resolv.conf says so. Between any other and us the bit could be set by anybody (RFC 4035 4.9.3).
func (r *Resolver) trusts(server string) bool {
	if r.o.TrustAD {
		return true
	}
	r.system.mu.Lock()
	said := r.system.trustAD && r.system.serversPinned == nil
	r.system.mu.Unlock()
	if said {
		return true
	}
	a, err := netip.ParseAddrPort(server)
	return err == nil && a.Addr().Unmap().IsLoopback() && a.Addr().Unmap() != dockerDNS
}

// dockerDNS is a container's resolver, which verifies nothing and hands on what others say.
var dockerDNS = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// Secure reports that a resolver is asked whose word that an answer was verified (DNSSEC) is believed.
func (r *Resolver) Secure() bool {
	return slices.ContainsFunc(r.servers(), r.trusts)
}

// servers returns the resolvers to ask.
func (r *Resolver) servers() []string {
	s := &r.system
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	if s.serversPinned != nil || s.conf == nil {
		return s.serversPinned
	}
	out := make([]string, 0, len(s.conf.Servers))
	for _, a := range s.conf.Servers {
		out = append(out, net.JoinHostPort(a, s.conf.Port))
	}
	return out
}

// inHosts returns a name's addresses in the hosts file.
func (r *Resolver) inHosts(name string) []string {
	s := &r.system
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return append([]string(nil), s.hosts[strings.ToLower(name)]...)
}

// candidates are the names that a host name may stand for: a single label is searched for as resolv.conf says.
func (r *Resolver) candidates(name string) []string {
	s := &r.system
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(name, ".") || s.conf == nil {
		return []string{name}
	}
	return s.conf.NameList(name)
}

// Up reports that a resolver answers for good, whatever the cache holds; a machine that has none to ask counts as up, since nothing
// can be told from its silence. All are asked, those too that are left alone.
func (r *Resolver) Up(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	servers := r.servers()
	answers := make(chan bool, len(servers))
	for _, s := range servers {
		go func() {
			_, err := r.askOne(ctx, ".", dns.TypeSOA, s)
			answers <- err == nil
		}()
	}
	for range servers {
		if <-answers {
			return true
		}
	}
	return len(servers) == 0
}

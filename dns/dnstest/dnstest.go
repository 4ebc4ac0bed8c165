// Package dnstest is a DNS server for tests: records from zone text, and faults. It serves on the network, and
// as a function for tests with fake time.
package dnstest

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Fault is how a name is answered wrongly.
type Fault int

// The faults.
const (
	None     Fault = iota
	Servfail       // SERVFAIL
	Refused        // REFUSED
	Silent         // no answer
	Cut            // truncated over UDP
	NoEDNS         // FORMERR to a query with EDNS
	Forged         // over UDP an answer with another id first
	OnlyIPv4       // no answer to questions for AAAA
)

// Server answers from records.
type Server struct {
	mu      sync.Mutex
	records map[string][]dns.RR // by lower-case name with a last dot
	faults  map[string]Fault
	secure  map[string]bool // zones whose answers count as verified
	negTTL  uint32
	asked   map[string]int
	addr    string
}

// New returns a server that isn't on the network; use its Exchange.
func New(t testing.TB, zone string) *Server {
	s := &Server{faults: map[string]Fault{}, asked: map[string]int{}, negTTL: 60}
	s.Set(t, zone)
	return s
}

// Start returns a server on UDP and TCP of a port of 127.0.0.1, stopped with the test.
func Start(t testing.TB, zone string) *Server {
	t.Helper()
	s := New(t, zone)
	var pc net.PacketConn
	var l net.Listener
	for range 20 { // the port must be free for both
		var err error
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if l, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		pc.Close()
	}
	if l == nil {
		t.Fatal("dnstest: no port is free on UDP and TCP")
	}
	s.addr = l.Addr().String()
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: handler{s, true}}, {Listener: l, Handler: handler{s, false}}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go srv.ActivateAndServe()
		<-started
		t.Cleanup(func() {
			if err := srv.Shutdown(); err != nil {
				t.Error(err)
			}
		})
	}
	return s
}

// Addr is address:port of a server that was started.
func (s *Server) Addr() string { return s.addr }

// Set replaces the records. The text is that of a master file (RFC 1035 5); the origin is the root, the default TTL 300.
func (s *Server) Set(t testing.TB, zone string) {
	t.Helper()
	records := map[string][]dns.RR{}
	p := dns.NewZoneParser(strings.NewReader("$TTL 300\n"+zone), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := strings.ToLower(rr.Header().Name)
		records[name] = append(records[name], rr)
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = records
}

// Sign makes the server say, to those who ask for it, that answers from these zones were verified (the AD bit). An answer that goes through
// other zones too isn't.
func (s *Server) Sign(zones ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secure = map[string]bool{}
	for _, z := range zones {
		s.secure[strings.ToLower(dns.Fqdn(z))] = true
	}
}

// signed reports that a name is in a zone that was signed.
func (s *Server) signed(name string) bool {
	for {
		if s.secure[name] {
			return true
		}
		i, end := dns.NextLabel(name, 0)
		if end {
			return s.secure["."]
		}
		name = name[i:]
	}
}

// Fail sets the fault of a name; "" is every name.
func (s *Server) Fail(name string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[strings.ToLower(dns.Fqdn(name))] = f
}

// NegativeTTL sets the TTL of denials in seconds; 0: without a SOA record.
func (s *Server) NegativeTTL(seconds uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.negTTL = seconds
}

// Asked returns how many queries came for a name, of any type.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[strings.ToLower(dns.Fqdn(name))]
}

// Exchange answers in memory, as dns.Options.Exchange: a silent server lets time pass until the context ends.
func (s *Server) Exchange(ctx context.Context, q *dns.Msg, _ string) (*dns.Msg, error) {
	a, _ := s.answer(q, false)
	if a == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	wire, err := a.Pack()
	if err != nil {
		return nil, err
	}
	out := new(dns.Msg)
	return out, errors.Join(out.Unpack(wire), ctx.Err())
}

type handler struct {
	s   *Server
	udp bool
}

// ServeDNS answers one query. A reply that can't be written is the client's time-out.
func (h handler) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	a, fault := h.s.answer(q, h.udp)
	if a == nil {
		return
	}
	if fault == Forged && h.udp {
		b := a.Copy()
		b.Id++
		b.Answer = nil
		w.WriteMsg(b)
	}
	w.WriteMsg(a)
}

func (s *Server) answer(q *dns.Msg, udp bool) (*dns.Msg, Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.ToLower(q.Question[0].Name)
	s.asked[name]++
	fault := s.faults[name]
	if fault == None {
		fault = s.faults["."]
	}
	a := new(dns.Msg).SetReply(q)
	a.RecursionAvailable = true
	switch {
	case fault == Servfail:
		a.Rcode = dns.RcodeServerFailure
		return a, fault
	case fault == Refused:
		a.Rcode = dns.RcodeRefused
		return a, fault
	case fault == Silent || (fault == OnlyIPv4 && q.Question[0].Qtype == dns.TypeAAAA):
		return nil, fault
	case fault == Cut && udp:
		a.Truncated = true
		return a, fault
	case fault == NoEDNS && q.IsEdns0() != nil:
		a.Rcode = dns.RcodeFormatError
		return a, fault
	}
	verified := s.fill(a, name, q.Question[0].Qtype)
	o := q.IsEdns0()
	a.AuthenticatedData = verified && (q.AuthenticatedData || o != nil && o.Do()) // RFC 6840 5.8
	if udp {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		a.Truncate(size)
	}
	return a, fault
}

// fill adds the records, following aliases, or the denial. It reports that all of it is from signed zones.
func (s *Server) fill(a *dns.Msg, name string, qtype uint16) (verified bool) {
	verified = true
	for range 10 {
		verified = verified && s.signed(name)
		alias := ""
		for _, rr := range s.records[name] {
			if rr.Header().Rrtype == qtype {
				a.Answer = append(a.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				a.Answer = append(a.Answer, rr)
				alias = strings.ToLower(c.Target)
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	for _, rr := range a.Answer {
		if rr.Header().Rrtype == qtype {
			return verified
		}
	}
	if !s.exists(name) {
		a.Rcode = dns.RcodeNameError
	}
	if s.negTTL > 0 {
		a.Ns = append(a.Ns, &dns.SOA{
			Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: s.negTTL},
			Ns:  "ns.test.", Mbox: "hostmaster.test.", Serial: uint32(time.Now().Unix()), Minttl: s.negTTL,
		})
	}
	return verified
}

// exists reports records at a name or below it.
func (s *Server) exists(name string) bool {
	for n := range s.records {
		if n == name || strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return false
}

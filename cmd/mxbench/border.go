package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
)

// world is what the border asks about senders: a resolver on this machine that knows the domain of the load and a
// blocklist, and the key that the load is signed with.
type world struct {
	key     crypto.Signer
	records map[string][]dns.RR // by lower-case name with its dot
	server  *dns.Server
	addr    string
	clients atomic.Uint32
}

// newWorld starts the resolver.
func newWorld() (*world, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	w := &world{key: key, records: map[string][]dns.RR{}}
	p := base64.StdEncoding.EncodeToString(public)
	zone := "$TTL 3600\n" +
		`sender.test. TXT "v=spf1 ip4:198.18.0.0/15 -all"` + "\n" +
		`load.sender.test. TXT "v=spf1 ip4:198.18.0.0/15 -all"` + "\n" +
		`s1._domainkey.sender.test. TXT "v=DKIM1; k=rsa; p=` + p[:200] + `" "` + p[200:] + `"` + "\n" +
		`_dmarc.sender.test. TXT "v=DMARC1; p=reject"` + "\n" +
		"2.0.0.127.list.test. A 127.0.0.2\n"
	parser := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		w.records[rr.Header().Name] = append(w.records[rr.Header().Name], rr)
	}
	if err := parser.Err(); err != nil {
		return nil, err
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w.addr = pc.LocalAddr().String()
	started := make(chan struct{})
	w.server = &dns.Server{PacketConn: pc, Handler: w, NotifyStartedFunc: func() { close(started) }}
	go w.server.ActivateAndServe()
	<-started
	return w, nil
}

// ServeDNS implements dns.Handler.
func (w *world) ServeDNS(out dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	all := w.records[strings.ToLower(q.Question[0].Name)]
	for _, rr := range all {
		if rr.Header().Rrtype == q.Question[0].Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	if all == nil {
		m.Rcode = dns.RcodeNameError
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 3600},
			Ns: "ns.test.", Mbox: "hostmaster.test.", Minttl: 3600}}
	}
	out.WriteMsg(m) // who asked asks again
}

// client is the address of the next connection: fifty senders take turns, each in a network of its own (RFC 2544).
func (w *world) client() netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(w.clients.Add(1) % 50), 1})
}

// load is the comparison's load, signed, and for Restante from clients with addresses of their own.
func (w *world) load(c *comparison, s system, messages int) (load.SendOptions, error) {
	o := load.SendOptions{Addr: s.addr(), Run: "bench", Messages: messages, Size: c.size, Sessions: 50, Reuse: true}
	var failed error
	o.Sign = func(message []byte) []byte {
		signer, err := dkim.NewSigner(&dkim.SignOptions{Domain: "sender.test", Selector: "s1", Signer: w.key, Hash: crypto.SHA256})
		if err == nil {
			_, err = signer.Write(message)
			err = errors.Join(err, signer.Close())
		}
		if err != nil {
			failed = err
			return nil
		}
		return []byte(signer.Signature())
	}
	if _, ours := s.(*restanteMX); ours {
		o.Client = w.client
	}
	o.Made = o.Make()
	return o, failed
}

// border compares with all that Restante knows about senders switched on, and Postfix asked for nothing of it.
func (c *comparison) border(ctx context.Context) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.server.Shutdown()
	list, err := recipients(c.dir)
	if err != nil {
		return err
	}
	o := node.Options{
		SMTP:  fmt.Sprintf("proxies = [%q]\n", load.Balancer),
		Extra: fmt.Sprintf("recipients_file = %q\n[dns]\nservers = [%q]\n[[dnsbl]]\nzone = \"list.test\"\ncodes = [\"127.0.0.2\"]\n[rates]\nmessages = 1000000\nmessages_network = 1000000\n", list, w.addr),
	}
	restante := func(ctx context.Context, c *comparison) (system, error) { return startRestante(ctx, c, o) }
	return c.beside(ctx, "accepted, 50 sessions; Restante with SPF, DKIM, DMARC, a blocklist and 10,000 recipients", restante,
		func(ctx context.Context, start maker) (rate float64, err error) {
			s, err := start(ctx, c)
			if err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, s.remove()) }()
			o, err := w.load(c, s, c.messages/2)
			if err != nil {
				return 0, err
			}
			sent := load.Send(ctx, o)
			if int(sent.Accepted) != o.Messages {
				return 0, fmt.Errorf("of %d messages: %v", o.Messages, sent)
			}
			return sent.Rate(), nil
		})
}

// recipients writes a list of 10,000 and returns its path.
func recipients(dir string) (string, error) {
	var b strings.Builder
	b.WriteString("user@example.test\n")
	for i := range 9999 {
		fmt.Fprintf(&b, "person%d@example.test\n", i)
	}
	path := filepath.Join(dir, "recipients")
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}

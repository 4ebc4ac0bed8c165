// Package setup checks what the world has to know about a node before it can stand behind a domain: names, addresses
// and policies in DNS, ports, certificates, the primary's welcome, the clock and the room on the disk. What is missing is
// said as the record to publish, or as the line to set.
//
// It asks from where the node is, of DNS and over the network, and changes nothing. Nothing in it needs a running node:
// what only such a one knows (DKIM keys, recipients, the store) is handed in with [Node], and left out without it.
//
// What can't be seen from here is said to be so: whether strangers reach port 25, and what a smarthost's outgoing
// addresses are.
package setup

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/dns"
)

// Result is what came of a check.
type Result string

// The results, worst last.
const (
	OK   Result = "ok"
	Note Result = "note" // nothing is wrong, but it is worth knowing, or can't be told from here
	Warn Result = "warn" // mail flows, with a weakness
	Fail Result = "FAIL" // mail is or will be lost to us, refused or delayed
)

// Row is one check.
type Row struct {
	Domain  string   `json:"domain,omitempty"` // "": it is about this machine
	Check   string   `json:"check"`            // what was looked at, in a word or two
	Result  Result   `json:"result"`
	Found   string   `json:"found"`
	Mend    string   `json:"mend,omitempty"`    // what to do; may have several lines
	Records []Record `json:"publish,omitempty"` // what to publish, that isn't there
}

// Record is a DNS record to publish.
type Record struct {
	Name    string `json:"name"` // without a last dot
	Type    string `json:"type"`
	Value   string `json:"value"`             // as in a zone file, text in quotes
	Instead bool   `json:"instead,omitempty"` // of one that is there
}

// String is the record as a line of a zone file.
func (r Record) String() string {
	line := r.Name + ". " + r.Type + " " + r.Value
	if r.Instead {
		line += " ; instead of the one that is there"
	}
	return line
}

func instead(list ...Record) []Record {
	for i := range list {
		list[i].Instead = true
	}
	return list
}

// Report is all that was checked.
type Report struct {
	Hostname string    `json:"hostname"`
	Time     time.Time `json:"time"`
	Running  bool      `json:"running"` // a node answered
	Rows     []Row     `json:"rows"`
}

// Worst is the worst result of all rows.
func (r *Report) Worst() Result {
	worst := OK
	order := []Result{OK, Note, Warn, Fail}
	for _, row := range r.Rows {
		if slices.Index(order, row.Result) > slices.Index(order, worst) {
			worst = row.Result
		}
	}
	return worst
}

// Count says how many rows have that result.
func (r *Report) Count(what Result) int {
	n := 0
	for _, row := range r.Rows {
		if row.Result == what {
			n++
		}
	}
	return n
}

// Publish is the records of all rows, each once.
func (r *Report) Publish() []Record {
	var list []Record
	for _, row := range r.Rows {
		for _, rec := range row.Records {
			if !slices.Contains(list, rec) {
				list = append(list, rec)
			}
		}
	}
	return list
}

// Node is what is to be set up, as its configuration or the running node has it.
type Node struct {
	Hostname  string
	Listen    []string // "address:port" where it takes mail
	Running   bool     // it answered
	NotReady  []string // running, but it takes no mail: why
	DataDir   string
	MinFree   int64 // octets
	Store     Store
	Cert      string // PEM file of the certificate on port 25; "" where the running node is to be asked
	Webmail   *Webmail
	Smarthost *Server
	Domains   []Domain
}

// Store is where mail is kept.
type Store struct {
	URL         string
	State       string // of a running node: "ok", or what is wrong; "": not known
	Error       string
	Free, Total int64 // octets, 0: not known
}

// Webmail is what people open in a browser.
type Webmail struct {
	Hostnames []string
	Listen    []string
	URL       string // that people are told, "": https:// with the first name
	TLS       string // "acme", "files" or "behind-proxy"
	ACMECA    string // its directory, for "acme"
}

// Server is one that takes mail from us.
type Server struct {
	Host    string
	Port    int
	TLS     string // "starttls", "implicit" or "none"
	Problem string // what the running node has against it, "" for nothing
}

// Domain is one that the node stands behind.
type Domain struct {
	Name       string
	Primaries  []Primary
	Recipients Recipients
	Submission *Server // takes what was written here for the domain's own people; nil: its primary
	Keys       []Key   // of DKIM; those that sign and whether DNS has them
	KeysKnown  bool    // a node has been asked for them
	MustTLS    bool    // mail never goes to the primary in plain text
}

// Primary is one of a domain's mail servers.
type Primary struct {
	Host string // name or address, "" with MX
	Port int
	MX   bool // taken from DNS
}

// Recipients is what is known of a domain's recipients.
type Recipients struct {
	Known    int
	Complete bool   // there is a list of all, or any address is taken by choice
	Text     string // in words, as `restante status` has it; "": not known
	Stale    string // why the list can't be trusted any more; ""
}

// Key is a DKIM key.
type Key struct {
	Name      string // of its record
	Record    string
	Signs     bool
	Published string // "yes", "no", "other", "unknown"
}

// World is what the checks ask.
type World struct {
	DNS    Resolver
	Dial   func(ctx context.Context, network, address string) (net.Conn, error) // to an address, never a name
	Roots  *x509.CertPool                                                       // nil: the system's
	Addrs  []netip.Addr                                                         // of this machine's interfaces
	Now    func() time.Time
	Synced func() (bool, error)                            // is the clock set by others?
	Space  func(dir string) (free, total int64, err error) // in octets, of the disk that a folder is on
}

// Resolver is what is asked of DNS; *dns.Resolver has it.
type Resolver interface {
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupMX(ctx context.Context, domain string) ([]*net.MX, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupIPv4(ctx context.Context, name string) ([]netip.Addr, error)
	LookupAlias(ctx context.Context, name string) (string, error) // the target of a CNAME record
	LookupTLSA(ctx context.Context, name string) (records []dns.TLSA, secure bool, err error)
	LookupCAA(ctx context.Context, name string) (records []dns.CAA, at string, err error)
}

// Limits of a run.
const (
	checkTimeout = 40 * time.Second // for one check: four addresses that are silent, then the other ports
	dialTimeout  = 8 * time.Second  // for one connection
	atOnce       = 16               // checks at a time
)

// check is one piece of work; its rows stand in the report where it stood in the list.
type check func(ctx context.Context) []Row

// Run makes all checks, several at a time.
func Run(ctx context.Context, w World, n Node) *Report {
	s := &run{World: w, node: n, greeted: map[string]func() (*greeting, error){}}
	s.served = sync.OnceValues(func() ([]*x509.Certificate, error) { return s.certs(ctx) })
	checks := s.machine()
	for _, d := range n.Domains {
		checks = append(checks, s.domain(d)...)
	}
	rows := make([][]Row, len(checks))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			rows[i] = c(ctx)
		})
	}
	wg.Wait()
	return &Report{Hostname: n.Hostname, Time: w.Now(), Running: n.Running, Rows: slices.Concat(rows...)}
}

// run is one run of all checks.
type run struct {
	World
	node   Node
	served func() ([]*x509.Certificate, error) // the certificate that senders see, its own first; nil when there is none yet

	mu      sync.Mutex
	greeted map[string]func() (*greeting, error) // by address and name
}

// machine is what is about this machine, in the order in which people mend it.
func (s *run) machine() []check {
	return []check{s.nodeState, s.hostname, s.reverse, s.blocklist, s.portIn, s.certificate, s.tlsa, s.helo, s.webmail, s.caa, s.smarthost, s.clock, s.disk}
}

// domain is what is about one domain.
func (s *run) domain(d Domain) []check {
	return []check{s.mx(d), s.primary(d), s.recipients(d), s.spf(d), s.dkim(d), s.dmarc(d), s.mtasts(d)}
}

// trim is a name without its last dot, in lower case.
func trim(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

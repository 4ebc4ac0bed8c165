package primary

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"restante/relay/smtpc"
)

// Result is what came of one row; the words are those of package setup.
type Result string

// The results, worst last.
const (
	OK   Result = "ok"
	Note Result = "note" // nothing is wrong, but it is worth knowing
	Warn Result = "warn" // mail is handed over, with a weakness
	Fail Result = "FAIL" // mail that is handed over will be refused or put off
)

// Row is one thing that was looked at.
type Row struct {
	Host   string `json:"host"`  // "mail.example.com:25"
	Check  string `json:"check"` // what, in a word or two
	Result Result `json:"result"`
	Found  string `json:"found"`
	Mend   string `json:"mend,omitempty"` // what to do; may have several lines
}

// Report is a whole test.
type Report struct {
	Domain string    `json:"domain"`
	Time   time.Time `json:"time"`
	From   string    `json:"from"` // of the test message
	To     string    `json:"to"`
	Kinds  []string  `json:"kinds"` // of each host, as its banner says: "postfix", "" for unknown
	Rows   []Row     `json:"rows"`
}

// Well reports that no row needs anybody.
func (r *Report) Well() bool {
	for _, row := range r.Rows {
		if row.Result == Warn || row.Result == Fail {
			return false
		}
	}
	return true
}

// Dialer opens a conversation; *smtpc.Dialer does.
type Dialer interface {
	Dial(ctx context.Context, t smtpc.Target) (*smtpc.Conn, error)
}

// Limits of a test.
const (
	hostTime   = 3 * time.Minute // for one host, all together
	burst      = 20              // transactions in a row that ask whether there is a limit
	maxHolding = 50              // connections at a time
)

// Stranger is the client that the test message claims to come from: an address for documentation (RFC 5737).
func Stranger() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

// Test tries the primary of a domain as replay and pass-through use it, and sends it one message that it refuses if it takes us
// for the sender: one from a domain whose SPF record lets nobody send, to postmaster, announced as a test. Recipients are only asked for.
type Test struct {
	Domain      string
	Targets     []smtpc.Target
	Dialer      Dialer
	Hostname    string   // ours
	Ours        []string // our addresses as the primary may see them, for the mends
	From        string   // "": an address of a domain reserved for documentation, which takes no mail and lets nobody send it (SPF -all, null MX)
	To          string   // "": postmaster
	Known       []string // recipients that the primary is known to have
	Connections int      // that replay opens at most
	MaxSize     int64    // of a message that we take, in octets
	Kind        Kind     // Unknown: by its banner
}

// sender is the reverse-path of the test: of one of the two domains that aren't the tested one.
func (t *Test) sender() string {
	if t.From != "" {
		return t.From
	}
	if t.Domain == "example.org" || strings.HasSuffix(t.Domain, ".example.org") {
		return "restante-test@example.net"
	}
	return "restante-test@example.org"
}

// Run tries each host. Its error is that of ctx.
func (t *Test) Run(ctx context.Context) (*Report, error) {
	r := &Report{Domain: t.Domain, Time: time.Now(), From: t.sender(), To: cmp.Or(t.To, "postmaster@"+t.Domain)}
	if len(t.Targets) == 0 {
		r.Rows = append(r.Rows, Row{Check: "connect", Result: Fail, Found: "no host is known for it", Mend: "write [[domain]] primary, or see whether its MX records are found"})
	}
	for _, target := range t.Targets {
		h := &host{Test: t, target: target, report: r, kind: t.Kind}
		one, cancel := context.WithTimeout(ctx, hostTime)
		h.run(one)
		cancel()
		r.Kinds = append(r.Kinds, string(h.kind))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return r, nil
}

// host is the test of one host.
type host struct {
	*Test
	target smtpc.Target
	report *Report
	kind   Kind
	conn   *smtpc.Conn
}

// row adds a row; problem "" is one without a mend.
func (h *host) row(check string, res Result, problem Problem, format string, args ...any) {
	mend := ""
	if problem != "" {
		mend = Mend(h.kind, problem, h.Ours...)
	}
	h.report.Rows = append(h.report.Rows, Row{Host: h.name(), Check: check, Result: res, Found: fmt.Sprintf(format, args...), Mend: mend})
}

func (h *host) name() string {
	name := strings.Trim(h.target.Host, "[]")
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	return fmt.Sprintf("%s:%d", name, cmp.Or(h.target.Port, 25))
}

func (h *host) run(ctx context.Context) {
	begun := time.Now()
	if !h.dial(ctx, "connect") {
		return
	}
	defer func() { h.conn.Quit() }()
	took := time.Since(begun)
	o := h.conn.Offers()
	if h.kind == Unknown {
		h.kind = KindOf(o.Banner)
	}
	what := "kind unknown by its banner; if you know it: --kind"
	if h.kind != Unknown {
		what = h.kind.String()
	}
	h.row("connect", OK, "", "%d ms, %s", took.Milliseconds(), what)
	h.offers(o)
	h.origin(o)
	if h.recipients(ctx) {
		h.message(ctx)
	}
	h.many(ctx)
	h.together(ctx)
}

// dial opens a new connection in place of the one before.
func (h *host) dial(ctx context.Context, check string) bool {
	if h.conn != nil {
		h.conn.Close()
	}
	c, err := h.Dialer.Dial(ctx, h.target)
	if err != nil {
		h.failed(check, AtConnect, err)
		return false
	}
	h.conn = c
	return true
}

// newAddress is one that no mail server can have.
func (h *host) newAddress() string {
	b := make([]byte, 8)
	rand.Read(b) // never fails
	return "restante-test-" + hex.EncodeToString(b) + "@" + h.Domain
}

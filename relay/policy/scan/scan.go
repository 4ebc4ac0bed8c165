// Package scan asks content filters about a message: rspamd (HTTP /checkv2) and ClamAV (clamd's INSTREAM). Each is
// optional, both are asked at once, and the strictest answer counts. They see the octets as they were received, which are
// those that go out.
//
// # When a filter can't be asked
//
// It is down, slow or overrun: [Filter.WhenFailing] says whether the message is taken all the same (open; it is marked as not
// scanned) or deferred with 451 (closed). What is larger than Filter.MaxSize isn't sent to it; Filter.TooBig says what becomes of that.
//
// A message that isn't scanned in time may itself be the cause, and be made to be. So it doesn't have a filter let alone, unless
// nobody is there to take the connection, but only tried with a small harmless message, after slowAfter already; so do the start
// and each half minute in which no message was scanned ([Set.Run]). If that isn't scanned within tryTime and Filter.Timeout, the
// filter fails: nobody waits for it then, and it is tried each tryEvery until it works again. A client has a quarter of the
// connections at most, so that its slow messages don't keep others waiting.
//
// # What is written into a message
//
// At most one field of each name, and none into a message that nothing was found in:
//
//	X-Spam-Flag: YES           rspamd wants it marked
//	X-Virus-Flag: YES          clamd found something, and it is taken or quarantined all the same
//	X-Restante-Scan: <our hostname>; rspamd=add-header score=7.20/15.00 tests=A,B; clamd=clean
//
// Senders can write such fields too: a rule (Sieve, a transport rule) can believe a YES, which harms nobody but its sender, and
// never a NO.
//
// Result.Verdicts has "rspamd" and "clamd" (what they say, "not scanned", "too big to be scanned"), "rspamd.score", "rspamd.tests" and "clamd.virus",
// and of what is marked or quarantined "content": "virus" or "spam", as people are warned of it.
//
// # What staff send
//
// The same filters see it. Nothing of it is quarantined or marked: what would be quarantined is refused, in words for the writer.
package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"restante/relay/reply"
	"restante/spool"
)

// Action is what is to become of a message, from the mildest to the strictest.
type Action string

// The actions.
const (
	Take       Action = ""           // nothing is wrong with it
	Mark       Action = "mark"       // it is taken; Fields say what was found
	Quarantine Action = "quarantine" // it is kept from everybody until an admin releases it; not for outgoing mail
	Defer      Action = "defer"      // 4xx: a filter wants it so, or couldn't be asked
	Refuse     Action = "refuse"     // 5xx
)

// severity orders actions. Refuse is final, so it goes before Defer, which has the sender come again for the same end; a
// Defer goes before Quarantine: what a filter hasn't judged yet may be refused in the end.
func (a Action) severity() int {
	return slices.Index([]Action{Take, Mark, Quarantine, Defer, Refuse}, a)
}

// Message is what is judged.
type Message struct {
	ID       string       // of the entry
	Client   spool.Client // who brought it; zero for outgoing mail
	From     string       // reverse-path without <>, "" for the null reverse-path
	Rcpts    []string     // addresses
	Domains  []string     // hosted domains of the recipients
	Body     io.ReaderAt  // as received, without our trace fields
	Size     int64        // octets of Body
	Outgoing bool         // written by Account, one of ours
	Account  string       // main address
	trial    bool         // see trial
}

// Result is what the filters say together: the strictest action counts.
type Result struct {
	Action   Action
	Reply    reply.Reply       // with Refuse and Defer: what the sender is told; its Cause is for the log
	Reason   string            // for admins: why it isn't just taken; "" with Take
	Score    float64           // of rspamd; 0 when it wasn't asked
	Symbols  []string          // of rspamd, the weightiest first
	Virus    string            // what clamd found, "" for nothing
	Fields   []byte            // trace fields for the head of the message, each with its CRLF; nil for none
	Verdicts map[string]string // for the entry: see package comment; nil when nothing was asked
}

// Options are what New needs.
type Options struct {
	Hostname string // ours, in the field X-Restante-Scan
	Config   Config
	Log      *slog.Logger     // nil: none
	Metrics  *Metrics         // nil: none
	Now      func() time.Time // nil: time.Now
}

// Config says which filters there are.
type Config struct {
	Rspamd Rspamd
	Clamd  Clamd
}

// Filter is what all filters have.
type Filter struct {
	Timeout     time.Duration // for one message, waiting for a free connection included; 0: 10 s
	Connections int           // at a time; 0: 20
	MaxSize     int64         // octets; 0: 10 MB
	TooBig      Action        // what becomes of larger messages: Take (they are marked as not scanned), Quarantine, Refuse
	WhenFailing Action        // Take (open; marked as not scanned) or Defer (closed)
}

// Limits that aren't configured.
const (
	maxAnswer = 32 << 20         // octets of an answer of rspamd, which are read piece by piece: it names all links of a message
	maxLine   = 4 << 10          // octets of an answer of clamd, and of an error of rspamd
	maxRcpts  = 100              // recipients that rspamd is told of
	maxTests  = 20               // symbols that are kept
	maxText   = 200              // octets of a filter's own words in a reply
	slowAfter = 5 * time.Second  // a message is being scanned, and the filter is tried
	tryTime   = 10 * time.Second // for the small message that a filter is tried with
	tryEvery  = 2 * time.Second  // at most, and while it fails
	lookEvery = 30 * time.Second // while all is well, unless a message was scanned meanwhile
	shareOf   = 4                // a client has the fourth part of the connections
)

// finding is what one filter says of a message.
type finding struct {
	action  Action
	reply   reply.Reply
	reason  string // with all actions but Take
	score   float64
	wanted  float64 // the score at which rspamd refuses
	symbols []string
	virus   string
	spam    bool   // mark it as spam
	verdict string // a word or two for people: "clean", "add header", "not scanned"
	err     error  // why it wasn't judged
}

// asker is a filter.
type asker interface {
	ask(ctx context.Context, m *Message) (finding, error)
	look(ctx context.Context) (version string, err error)
	close()
}

// errTooBig is an asker's error for a message that the filter finds too large.
var errTooBig = errors.New("larger than the filter takes")

// Set is all filters. Safe for concurrent use; a nil Set takes everything.
type Set struct {
	o     Options
	log   *slog.Logger
	gates atomic.Pointer[[]*gate]
	poke  chan struct{} // the filters are others now, or a message wasn't scanned
}

// New returns a set.
func New(o Options) (*Set, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Set{o: o, log: o.Log, poke: make(chan struct{}, 1)}
	return s, s.SetConfig(o.Config)
}

// SetConfig replaces the filters, all or nothing. Messages that are being scanned end as they began.
func (s *Set) SetConfig(c Config) error {
	var gates []*gate
	if c.Rspamd.URL != "" {
		r, err := newRspamd(c.Rspamd)
		if err != nil {
			return fmt.Errorf("rspamd: %w", err)
		}
		gates = append(gates, s.newGate("rspamd", c.Rspamd.URL, c.Rspamd.Filter, r))
	}
	if c.Clamd.Address != "" {
		d, err := newClamd(c.Clamd)
		if err != nil {
			return fmt.Errorf("clamd: %w", err)
		}
		gates = append(gates, s.newGate("clamd", c.Clamd.Address, c.Clamd.Filter, d))
	}
	if old := s.gates.Swap(&gates); old != nil {
		for _, g := range *old {
			g.asker.close()
		}
	}
	s.wake()
	return nil
}

// On reports that there is a filter.
func (s *Set) On() bool { return s != nil && len(*s.gates.Load()) > 0 }

// Scan asks all filters at once. It comes to an end by itself, within their time limits.
func (s *Set) Scan(ctx context.Context, m Message) Result {
	if !s.On() {
		return Result{}
	}
	gates := *s.gates.Load()
	found := make([]finding, len(gates))
	var wg sync.WaitGroup
	for i, g := range gates[1:] {
		wg.Go(func() { found[i+1] = g.ask(ctx, &m) })
	}
	found[0] = gates[0].ask(ctx, &m)
	wg.Wait()
	return s.combine(&m, gates, found)
}

// combine makes one result of what the filters say.
func (s *Set) combine(m *Message, gates []*gate, found []finding) Result {
	r := Result{Verdicts: map[string]string{}}
	var reasons []string
	for i, f := range found {
		if m.Outgoing && f.action == Quarantine {
			f.action = Refuse
			f.reply = cmp.Or(f.reply, refusal("Message refused"))
		}
		if m.Outgoing && f.action == Mark {
			f.action = Take
		}
		found[i] = f
		if f.reason != "" {
			reasons = append(reasons, gates[i].name+": "+spool.Printable(f.reason))
		}
		if f.action.severity() > r.Action.severity() {
			r.Action, r.Reply = f.action, f.reply
		}
		s.o.Metrics.found(gates[i].name, f)
		r.note(gates[i].name, f)
	}
	r.Reason = strings.Join(reasons, "; ")
	if r.Action == Take {
		r.Reason = ""
	}
	switch r.Action {
	case Refuse, Defer:
		r.Reply = r.Reply.With(errors.New(r.Reason))
	case Mark, Quarantine:
		r.Reply, r.Fields = reply.Reply{}, fields(s.o.Hostname, gates, found)
		for _, f := range found {
			switch {
			case f.virus != "":
				r.Verdicts["content"] = "virus"
			case f.spam && f.err == nil && r.Verdicts["content"] == "":
				r.Verdicts["content"] = "spam"
			}
		}
	}
	return r
}

// note keeps what one filter says.
func (r *Result) note(name string, f finding) {
	r.Verdicts[name] = spool.Printable(f.verdict)
	if f.virus != "" {
		r.Virus = f.virus
		r.Verdicts[name+".virus"] = spool.Printable(f.virus)
	}
	if name == "rspamd" && f.err == nil && f.wanted != 0 {
		r.Score, r.Symbols = f.score, f.symbols
		r.Verdicts["rspamd.score"] = fmt.Sprintf("%.2f of %.2f", f.score, f.wanted)
		if len(f.symbols) > 0 {
			r.Verdicts["rspamd.tests"] = spool.Printable(strings.Join(f.symbols, ", "))
		}
	}
}

// refusal is a final one, by RFC 3463 5.7.1: "delivery not authorized, message refused".
func refusal(format string, args ...any) reply.Reply {
	return reply.New(550, reply.Enhanced{5, 7, 1}, format, args...)
}

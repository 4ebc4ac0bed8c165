package index

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
)

// key is a ULID as its 16 octets, which sort as the text does; the first six are milliseconds.
type key = ulid.ULID

// Numbers of the states as stored; within a round the higher wins.
const (
	pending = iota
	parked
	expired
	bounced
	removed
	delivered
	states
)

var stateNames = [states]spool.PairState{spool.StatePending, spool.StateParked, spool.StateExpired,
	spool.StateBounced, spool.StateRemoved, spool.StateDelivered}

func stateNumber(s spool.PairState) int {
	for i, n := range stateNames {
		if n == s {
			return i
		}
	}
	return -1
}

// precedence is the state that an event of the type puts a pair into, -1 for those that change none.
func precedence(t spool.EventType) int {
	switch t {
	case spool.Released, spool.Retried:
		return pending
	case spool.Parked, spool.HeldBack:
		return parked
	case spool.Expired:
		return expired
	case spool.Bounced:
		return bounced
	case spool.Removed:
		return removed
	case spool.Delivered:
		return delivered
	}
	return -1
}

// aboutPair reports the events that one pair is folded from.
func aboutPair(t spool.EventType) bool { return t == spool.Deferred || precedence(t) >= 0 }

// standing is what the events of a pair say about it.
type standing struct {
	state    int
	round    int
	attempts int
	changed  int64 // ns; 0: no event yet
	ended    int64 // ns: time of the event that gave the state; 0 while pending
	reply    string
	reason   string
	host     string
	by       string
	// quarantine is why the pair is in quarantine, "" when it isn't, or not any more.
	quarantine string
}

// again reports a Retried that reopens even what was delivered in an earlier round ("replay start
// --again"). It has to be said in the event: a plain retry of a parked pair may cross with a delivery
// of the round before that wasn't known yet, and a delivery is never ignored.
func again(e *spool.Event) bool {
	if e.Type != spool.Retried {
		return false
	}
	yes, ok := e.Data["again"].(bool)
	return ok && yes
}

// fold is the rule of a pair: a function of the set of its events, so their order cannot matter.
// Delivered wins over everything but a later round that was opened with again; else the highest round
// wins, within a round the highest precedence, then the latest event.
func fold(events []spool.Event) standing {
	var s standing
	epoch := math.MinInt
	for i := range events {
		if again(&events[i]) {
			epoch = max(epoch, events[i].Round)
		}
	}
	var win, last *spool.Event
	for i := range events {
		e := &events[i]
		p := precedence(e.Type)
		s.round = max(s.round, e.Round)
		s.changed = max(s.changed, e.Time.UnixNano())
		if e.Type == spool.Deferred || e.Type == spool.Delivered || (e.Type == spool.Parked && (e.Reply != "" || e.Host != "")) {
			s.attempts++
		}
		if e.Reply != "" && (last == nil || later(e, last)) {
			last = e
		}
		if p < 0 || (p == delivered && e.Round < epoch) {
			continue
		}
		if win == nil || beats(e, win) {
			win = e
		}
	}
	if win != nil {
		s.state, s.reason, s.by = precedence(win.Type), win.Reason, win.By
		s.reply, s.host = win.Reply, win.Host
		if s.state != pending {
			s.ended = win.Time.UnixNano()
		}
	}
	if s.reply == "" && last != nil {
		s.reply, s.host = last.Reply, last.Host
	}
	return s
}

// detain keeps a pair of a quarantined entry parked until one of its events is Released: to try it again doesn't let it out.
// It is parked since it was received.
func (s *standing) detain(events []spool.Event, why string, received int64) {
	if why == "" || slices.ContainsFunc(events, func(e spool.Event) bool { return e.Type == spool.Released }) {
		return
	}
	s.quarantine = why
	if s.state == pending {
		s.state, s.reason, s.by, s.ended = parked, why, "", received
	}
}

func beats(a, b *spool.Event) bool {
	pa, pb := precedence(a.Type), precedence(b.Type)
	if (pa == delivered) != (pb == delivered) {
		return pa == delivered
	}
	if a.Round != b.Round {
		return a.Round > b.Round
	}
	if pa != pb {
		return pa > pb
	}
	return later(a, b)
}

func later(a, b *spool.Event) bool {
	if !a.Time.Equal(b.Time) {
		return a.Time.After(b.Time)
	}
	return a.ID > b.ID
}

// outage is one outage in memory. It counts once it is known to have been opened.
type outage struct {
	n              int64
	id             string
	domain         int64
	opened, closed int64 // ns, 0: not (yet)
	reason         string
	messages       int64
	octets         int64
	first, last    int64 // ns, of deliveries
	gfirst, glast  int64 // the same, of what retention has deleted

	dirty   bool // row to be written
	recount bool // first and last to be found anew
}

// timeline is the outages of one domain, by time of opening.
type timeline struct {
	list   []*outage
	closed []int64 // the latest close among list[:i+1]; MaxInt64 when one is open
}

func newTimeline(list []*outage) *timeline {
	sort.Slice(list, func(i, j int) bool {
		if list[i].opened != list[j].opened {
			return list[i].opened < list[j].opened
		}
		return list[i].id < list[j].id
	})
	t := &timeline{list: list}
	var latest int64
	for _, o := range list {
		latest = max(latest, o.end())
		t.closed = append(t.closed, latest)
	}
	return t
}

func (o *outage) end() int64 {
	if o.closed == 0 {
		return math.MaxInt64
	}
	return o.closed
}

// assign says which outage a pair belongs to: the first that wasn't closed before the pair was
// received and that was either open then or found the pair not ended when it opened. It depends on
// facts alone, so outage events, entries and outcomes may be folded in any order.
func (t *timeline) assign(received int64, state int, ended int64) *outage {
	if t == nil {
		return nil
	}
	for i := sort.Search(len(t.closed), func(i int) bool { return t.closed[i] > received }); i < len(t.list); i++ {
		o := t.list[i]
		if o.end() > received && (o.opened <= received || state == pending || ended > o.opened) {
			return o
		}
	}
	return nil
}

// receivedAt is when an entry was received, in ns, as its id says it: what the rows are sorted by.
func receivedAt(k key) int64 { return int64(k.Time()) * int64(time.Millisecond) }

// lowest is the first key of a time.
func lowest(ns int64) key {
	var k key
	ms := max(ns, 0) / int64(time.Millisecond)
	if max(ns, 0)%int64(time.Millisecond) != 0 {
		ms++
	}
	if err := k.SetTime(uint64(ms)); err != nil {
		return highest
	}
	return k
}

var highest = key(bytes.Repeat([]byte{0xff}, 16))

func addressKey(address string) string { return strings.ToLower(address) }

func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

// moreEntry is the part of an entry that has no column of its own, as JSON: the outer fields hide
// the entry's own, and are never set.
type moreEntry struct {
	*spool.Entry
	ID       *int              `json:"id,omitempty"`
	Kind     *int              `json:"kind,omitempty"`
	Received *int              `json:"received,omitempty"`
	From     *int              `json:"from,omitempty"`
	Size     *int              `json:"size,omitempty"`
	Rcpts    []spool.Recipient `json:"rcpts,omitempty"` // only with parameters
}

func encodeEntry(e *spool.Entry) ([]byte, error) {
	m := moreEntry{Entry: e}
	for _, r := range e.Rcpts {
		if r.Notify != "" || r.ORcpt != "" {
			m.Rcpts = make([]spool.Recipient, len(e.Rcpts))
			for i, r := range e.Rcpts {
				m.Rcpts[i] = spool.Recipient{Notify: r.Notify, ORcpt: r.ORcpt}
			}
			break
		}
	}
	return json.Marshal(m)
}

// moreEvent does the same for events.
type moreEvent struct {
	*spool.Event
	ID    *int `json:"id,omitempty"`
	Time  *int `json:"time,omitempty"`
	Type  *int `json:"type,omitempty"`
	Entry *int `json:"entry,omitempty"`
	Rcpt  *int `json:"rcpt,omitempty"`
	Round *int `json:"round,omitempty"`
}

func encodeEvent(e *spool.Event) ([]byte, error) { return json.Marshal(moreEvent{Event: e}) }

package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"restante/spool"
)

// tokenBytes of randomness are in a token; nobody guesses 256 bits.
const tokenBytes = 32

// Sessions is the fold of all nodes' sessions. It is safe for use by several goroutines.
type Sessions struct {
	o  Options
	mu sync.Mutex
	// What is past its term is dropped by sweep; swept is when it last ran.
	live  map[string]*state               // by id
	ended map[string]time.Time            // ids of sessions that were ended, and when that may be forgotten
	all   map[string]map[string]time.Time // by account, by the session that stays: all others begun by then are ended
	known map[string]map[string]stay      // by account, network: where sign-ins succeeded
	swept time.Time
}

type state struct {
	Session
	noted time.Time // Seen as the ledger has it
}

type stay struct{ last time.Time }

// New returns an empty fold: give Apply all events that there are before the first Lookup.
func New(o Options) *Sessions {
	d := DefaultLimits()
	o.Limits.Idle = cmp.Or(o.Limits.Idle, d.Idle)
	o.Limits.Absolute = cmp.Or(o.Limits.Absolute, d.Absolute)
	o.Limits.Each = cmp.Or(o.Limits.Each, d.Each)
	o.Limits.SeenNote = cmp.Or(o.Limits.SeenNote, d.SeenNote)
	return &Sessions{o: o, live: map[string]*state{}, ended: map[string]time.Time{}, all: map[string]map[string]time.Time{}, known: map[string]map[string]stay{}}
}

// Start signs in: it keeps the session (its ID, Started, Seen and Until are set here) and returns the token for
// the cookie. It returns only when the session is durable; an error means that nobody was signed in.
func (s *Sessions) Start(ctx context.Context, n Session) (token string, made Session, err error) {
	var raw [tokenBytes]byte
	rand.Read(raw[:])
	token = base64.RawURLEncoding.EncodeToString(raw[:])
	now := time.Now().UTC()
	n.ID, n.Started, n.Seen = idOf(token), now, now
	n.Until = now.Add(s.o.Limits.Absolute)
	n.Agent = cut(spool.Printable(n.Agent), maxAgent)
	evs := append(s.room(n.Account, now), startEvent(n))
	if err := s.record(ctx, evs...); err != nil {
		return "", Session{}, fmt.Errorf("the sign-in can't be kept: %w", err)
	}
	return token, n, nil
}

// room returns the events that end the least recently used sessions, so that one more fits.
func (s *Sessions) room(account string, now time.Time) []spool.Event {
	open := s.List(account)
	var evs []spool.Event
	for i := s.o.Limits.Each - 1; i < len(open); i++ {
		evs = append(evs, endEvent(account, open[i].ID, "sign-in", "made room for another", now))
	}
	return evs
}

// record makes events durable and applies them here at once.
func (s *Sessions) record(ctx context.Context, evs ...spool.Event) error {
	if err := s.o.Record(ctx, evs...); err != nil {
		return err
	}
	s.Apply(evs)
	return nil
}

// Lookup returns the session of a token, unless it has ended, and counts as a use of it.
func (s *Sessions) Lookup(token string) (Session, bool) {
	id, now := idOf(token), time.Now().UTC()
	s.mu.Lock()
	st := s.live[id]
	if st == nil || !s.good(st, now) {
		s.mu.Unlock()
		return Session{}, false
	}
	st.Seen = now
	note := now.Sub(st.noted) >= s.o.Limits.SeenNote
	if note {
		st.noted = now
	}
	found := st.Session
	s.mu.Unlock()
	if found.Outage && !s.o.Open(found.Account) {
		return Session{}, false // it is good again when the next outage opens within its term
	}
	if note {
		s.o.Note(event(found.Account, "session", now, map[string]any{"change": changeSeen, "session": id}))
	}
	return found, true
}

// Check is Lookup without counting as a use.
func (s *Sessions) Check(token string) (Session, bool) { return s.Peek(idOf(token)) }

// Peek is Lookup without counting as a use, and by id.
func (s *Sessions) Peek(id string) (Session, bool) {
	s.mu.Lock()
	st := s.live[id]
	ok := st != nil && s.good(st, time.Now().UTC())
	var found Session
	if ok {
		found = st.Session
	}
	s.mu.Unlock()
	return found, ok && (!found.Outage || s.o.Open(found.Account))
}

// good says whether a session has neither ended nor run out. The lock is held.
func (s *Sessions) good(st *state, now time.Time) bool {
	if _, gone := s.ended[st.ID]; gone {
		return false
	}
	for except, at := range s.all[st.Account] {
		if !st.Started.After(at) && st.ID != except {
			return false
		}
	}
	return now.Before(st.Until) && now.Sub(st.Seen) < s.o.Limits.Idle
}

// List returns the account's sessions, the last used first. Those that wait for an outage are among them.
func (s *Sessions) List(account string) []Session {
	now := time.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Session
	for _, st := range s.live {
		if st.Account == account && s.good(st, now) {
			all = append(all, st.Session)
		}
	}
	slices.SortFunc(all, func(a, b Session) int { return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.ID, b.ID)) })
	return all
}

// SignedIn returns how many accounts have a session that was used within the term.
func (s *Sessions) SignedIn(within time.Duration) int {
	now := time.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	accounts := map[string]bool{}
	for _, st := range s.live {
		if s.good(st, now) && now.Sub(st.Seen) <= max(within, s.o.Limits.SeenNote) {
			accounts[st.Account] = true
		}
	}
	return len(accounts)
}

// End ends one session of the account. by is who wants it, reason is for the ledger. ErrNotFound when
// it is another account's, unknown, or has ended.
func (s *Sessions) End(ctx context.Context, account, id, by, reason string) error {
	now := time.Now().UTC()
	s.mu.Lock()
	st := s.live[id]
	ok := st != nil && st.Account == account && s.good(st, now)
	s.mu.Unlock()
	if !ok {
		return ErrNotFound
	}
	return s.record(ctx, endEvent(account, id, by, reason, now))
}

// EndAll ends all sessions that the account has now, on every node; except is the id of one that stays, or "".
func (s *Sessions) EndAll(ctx context.Context, account, except, by, reason string) error {
	data := map[string]any{"change": changeAll, "reason": reason}
	if except != "" {
		data["except"] = except
	}
	now := time.Now().UTC()
	evs := []spool.Event{event(account, by, now, data)}
	// Those that are known here are named too: the clock of the node that began one may be ahead.
	for _, one := range s.List(account) {
		if one.ID != except {
			evs = append(evs, endEvent(account, one.ID, by, reason, now))
		}
	}
	return s.record(ctx, evs...)
}

// Known says whether the account has signed in from the network of addr, or is signed in there, within Limits.Absolute.
func (s *Sessions) Known(account, addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.known[account][Network(addr)]
	return ok && time.Since(st.last) < s.o.Limits.Absolute
}

// idOf returns the id of a token's session.
func idOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

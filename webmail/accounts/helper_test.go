package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"restante/spool"
	"restante/spool/secret"
)

// ledger is what several directories share, as nodes share a bucket.
type ledger struct {
	mu      sync.Mutex
	events  []spool.Event
	claimed map[string]bool
	down    error
	outages map[string]string // domain -> id
	keys    *secret.Keyring
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	keys, err := secret.NewKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return &ledger{claimed: map[string]bool{}, outages: map[string]string{}, keys: keys}
}

func (l *ledger) record(_ context.Context, evs ...spool.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		return l.down
	}
	l.events = append(l.events, evs...)
	return nil
}

func (l *ledger) claim(_ context.Context, name string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		return false, l.down
	}
	was := l.claimed[name]
	l.claimed[name] = true
	return !was, nil
}

func (l *ledger) all() []spool.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// node is a directory on the ledger, which knows what was recorded so far.
func (l *ledger) node(t testing.TB) *Directory {
	t.Helper()
	d, err := Open(Options{Record: l.record, Claim: l.claim, Secrets: l.keys,
		Outage: func(domain string) (string, bool) { id, ok := l.outages[domain]; return id, ok },
		Hosted: func(domain string) bool { return strings.HasPrefix(domain, "example.") },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Apply(l.all())
	return d
}

// must adds accounts.
func must(t testing.TB, d *Directory, addresses ...string) {
	t.Helper()
	for _, a := range addresses {
		if _, err := d.Add(t.Context(), "admin root", a, Edit{}); err != nil {
			t.Fatal(err)
		}
	}
}

func want(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func same[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func str(s string) *string { return &s }

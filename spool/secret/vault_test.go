package secret

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"restante/spool"
)

// ledger holds what was recorded; the shelf sees it when it is told to.
type ledger struct {
	all  []spool.Event
	seen int
	fail error
}

func (l *ledger) Record(_ context.Context, evs ...spool.Event) error {
	if l.fail != nil {
		return l.fail
	}
	for _, ev := range evs {
		if ev.Time.IsZero() {
			ev.Time = time.Now()
		}
		l.all = append(l.all, ev)
	}
	return nil
}

func (l *ledger) Secret(_ context.Context, name string) (spool.Event, bool, error) {
	for _, ev := range slices.Backward(l.all[:l.seen]) {
		if ev.Address == name {
			return ev, true, nil
		}
	}
	return spool.Event{}, false, nil
}

func (l *ledger) Secrets(ctx context.Context, prefix string) ([]spool.Event, error) {
	var list []spool.Event
	done := map[string]bool{}
	for _, ev := range slices.Backward(l.all[:l.seen]) {
		if !done[ev.Address] && strings.HasPrefix(ev.Address, prefix) {
			list, done[ev.Address] = append(list, ev), true
		}
	}
	return list, nil
}

func TestVault(t *testing.T) {
	l, r := &ledger{}, ring(t)
	v, other := NewVault(r, l, l), NewVault(r, l, l)
	ctx := t.Context()
	want := func(v *Vault, name, text string) {
		t.Helper()
		got, _, err := v.Get(ctx, name)
		if text == "" && !errors.Is(err, fs.ErrNotExist) || text != "" && (err != nil || string(got) != text) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, text)
		}
	}
	want(v, "tls/a", "")
	if err := v.Keep(ctx, "tls/a", "test", []byte("one")); err != nil {
		t.Fatal(err)
	}
	want(v, "tls/a", "one") // before the index knows
	want(other, "tls/a", "")
	l.seen = len(l.all)
	want(v, "tls/a", "one")
	want(other, "tls/a", "one")
	if err := other.Keep(ctx, "tls/a", "test", []byte("two")); err != nil {
		t.Fatal(err)
	}
	l.seen = len(l.all)
	want(v, "tls/a", "two") // another's later write
	if err := v.Keep(ctx, "tls/b", "test", []byte("b")); err != nil {
		t.Fatal(err)
	}
	if err := v.Forget(ctx, "tls/a", "test"); err != nil {
		t.Fatal(err)
	}
	want(v, "tls/a", "")
	for range 2 { // before the index knows, and after
		if names, err := v.Names(ctx, "tls/"); err != nil || !slices.Equal(names, []string{"tls/b"}) {
			t.Errorf("%v %v", names, err)
		}
		l.seen = len(l.all)
	}
	if names, _ := v.Names(ctx, "dkim/"); len(names) > 0 {
		t.Error(names)
	}
	for _, ev := range l.all {
		if strings.Contains(Value(ev), "one") || ev.Type != spool.SecretKept {
			t.Errorf("%+v", ev)
		}
	}
	l.fail = errors.New("store away")
	if err := v.Keep(ctx, "tls/c", "test", nil); !errors.Is(err, l.fail) {
		t.Error(err)
	}
	want(v, "tls/c", "")
}

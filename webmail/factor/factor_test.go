package factor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"restante/spool"
	"restante/spool/secret"
	"restante/webmail/accounts"
)

const anna, max_ = "anna@example.com", "max@example.com"

// rig is a ledger and the directories that read it.
type rig struct {
	t      *testing.T
	ring   *secret.Keyring
	ledger []spool.Event
	claims map[string]bool // of the whole cluster
}

func newRig(t *testing.T) *rig {
	ring, err := secret.NewKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, ring: ring, claims: map[string]bool{}}
}

func (r *rig) node() *Factors {
	dir, err := accounts.Open(accounts.Options{
		Record: func(_ context.Context, evs ...spool.Event) error { r.ledger = append(r.ledger, evs...); return nil },
		Note:   func(evs ...spool.Event) { r.ledger = append(r.ledger, evs...) },
		Claim: func(_ context.Context, name string) (bool, error) {
			first := !r.claims[name]
			r.claims[name] = true
			return first, nil
		},
		Secrets: r.ring,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	f := New(dir)
	for _, a := range []string{anna, max_} {
		if _, err := dir.Add(r.t.Context(), "admin", a, accounts.Edit{}); err != nil {
			r.t.Fatal(err)
		}
	}
	dir.Apply(r.ledger)
	return f
}

// reread is a node that reads the ledger backwards.
func (r *rig) reread() *Factors {
	evs := slices.Clone(r.ledger)
	slices.Reverse(evs)
	dir, err := accounts.Open(accounts.Options{Record: func(context.Context, ...spool.Event) error { return nil }, Secrets: r.ring})
	if err != nil {
		r.t.Fatal(err)
	}
	dir.Apply(evs)
	return New(dir)
}

func code(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCode(seed, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTOTPOnTwoNodes: a code that was watched while it was typed is no good at another node that hasn't heard of it yet.
func TestTOTPOnTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		f := r.node()
		seed := NewSeed()
		if err := f.ConfirmTOTP(t.Context(), anna, seed, code(t, seed, time.Now())); err != nil {
			t.Fatal(err)
		}
		other := r.node()
		time.Sleep(time.Minute)
		now := code(t, seed, time.Now())
		if err := f.VerifyTOTP(t.Context(), anna, now); err != nil {
			t.Fatal(err)
		}
		if err := other.VerifyTOTP(t.Context(), anna, now); !errors.Is(err, ErrWrong) {
			t.Errorf("the same code at another node: %v", err)
		}
	})
}

func TestTOTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		f := r.node()
		ctx := t.Context()
		seed := NewSeed()
		key, err := otp.NewKeyFromURL(SeedURI(seed, "mail.example.net", anna))
		if err != nil || key.Secret() != seed || key.AccountName() != anna || key.Issuer() != "mail.example.net" {
			t.Fatalf("%v, %v", key, err)
		}
		if err := f.ConfirmTOTP(ctx, anna, seed, "000000"); !errors.Is(err, ErrWrong) || f.TOTP(anna) {
			t.Fatalf("set up by a wrong code: %v", err)
		}
		if err := f.VerifyTOTP(ctx, anna, code(t, seed, time.Now())); !errors.Is(err, ErrWrong) {
			t.Fatalf("verified without being set up: %v", err)
		}
		first := code(t, seed, time.Now())
		if err := f.ConfirmTOTP(ctx, anna, seed, first[:3]+" "+first[3:]); err != nil {
			t.Fatal(err)
		}
		if !f.TOTP(anna) || f.TOTP(max_) || !r.reread().TOTP(anna) {
			t.Fatal("not set up, or for somebody else")
		}
		if err := f.VerifyTOTP(ctx, anna, first); !errors.Is(err, ErrWrong) {
			t.Errorf("the code of the set-up counts twice: %v", err)
		}
		time.Sleep(90 * time.Second)
		late := code(t, seed, time.Now().Add(-30*time.Second))
		if err := f.VerifyTOTP(ctx, anna, late); err != nil {
			t.Errorf("a clock 30 s behind: %v", err)
		}
		if err := r.reread().VerifyTOTP(ctx, anna, late); !errors.Is(err, ErrWrong) {
			t.Errorf("a code counts twice, on another node: %v", err)
		}
		now := code(t, seed, time.Now())
		if err := f.VerifyTOTP(ctx, anna, now); err != nil {
			t.Errorf("now: %v", err)
		}
		for name, c := range map[string]string{"too old": code(t, seed, time.Now().Add(-time.Minute)), "too new": code(t, seed, time.Now().Add(time.Minute)), "empty": "", "short": now[:5], "long": now + "0"} {
			if err := f.VerifyTOTP(ctx, anna, c); !errors.Is(err, ErrWrong) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, ev := range r.ledger {
			if text, _ := ev.Data["secret"].(string); strings.Contains(text, seed) {
				t.Error("the ledger has the seed in clear")
			}
		}
		if err := f.RemoveTOTP(ctx, anna, "admin root"); err != nil || f.TOTP(anna) {
			t.Errorf("remove: %v", err)
		}
	})
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		f := r.node()
		ctx := t.Context()
		token, made, err := f.AddKey(ctx, anna, "Firefox\n on "+strings.Repeat("Ü", 100), "mail.example.net")
		if err != nil {
			t.Fatal(err)
		}
		if len(made.Name) > maxName || strings.Contains(made.Name, "\n") {
			t.Errorf("name %q", made.Name)
		}
		for name, f := range map[string]*Factors{"same": f, "restarted": r.reread()} {
			d, ok := f.FindKey(token)
			if !ok || d.Account != anna || d.ID != made.ID || d.Kind != Key || !d.Until.Equal(made.Until) {
				t.Errorf("%s: %+v, %v", name, d, ok)
			}
			for _, bad := range []string{"", made.ID, made.ID + ".", token + "x", "x" + token, made.ID + ".AAAA"} {
				if _, ok := f.FindKey(bad); ok {
					t.Errorf("%s: %q is taken", name, bad)
				}
			}
		}
		// A use renews the term.
		time.Sleep(Term - time.Hour)
		d, ok := f.FindKey(token)
		if !ok {
			t.Fatal("over before its term")
		}
		if err := f.Used(d); err != nil {
			t.Fatal(err)
		}
		n := len(r.ledger)
		if err := f.Used(d); err != nil || len(r.ledger) != n {
			t.Errorf("a second use on the same day is recorded: %v", err)
		}
		time.Sleep(Term - time.Hour)
		if d, ok := r.reread().FindKey(token); !ok || d.Used.IsZero() {
			t.Error("the term wasn't renewed")
		}
		time.Sleep(2 * time.Hour)
		if _, ok := f.FindKey(token); ok {
			t.Error("good after its term")
		}
	})
}

func TestRemovedStaysRemoved(t *testing.T) {
	r := newRig(t)
	f := r.node()
	other := r.node() // hasn't read of the removal when it renews
	token, d, err := f.AddKey(t.Context(), anna, "phone", "")
	if err != nil {
		t.Fatal(err)
	}
	other.dir.Apply(r.ledger)
	if err := f.Remove(t.Context(), max_, d.ID, max_); !errors.Is(err, ErrWrong) {
		t.Errorf("removed by somebody else: %v", err)
	}
	if err := f.Remove(t.Context(), anna, d.ID, anna); err != nil {
		t.Fatal(err)
	}
	if err := other.Used(d); err != nil {
		t.Fatal(err)
	}
	f.dir.Apply(r.ledger)
	for name, f := range map[string]*Factors{"same": f, "restarted": r.reread()} {
		if _, ok := f.FindKey(token); ok || len(f.Devices(anna)) != 0 {
			t.Errorf("%s: the device came back", name)
		}
	}
}

func TestTooManyDevices(t *testing.T) {
	f := newRig(t).node()
	for range MaxDevices {
		if _, _, err := f.AddKey(t.Context(), anna, "x", ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.AddKey(t.Context(), anna, "x", ""); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if _, _, err := f.BeginPasskey(Site{"localhost", "http://localhost", "x"}, anna); !errors.Is(err, ErrTooMany) {
		t.Errorf("a passkey too many: %v", err)
	}
	if _, _, err := f.AddKey(t.Context(), max_, "x", ""); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}

func TestPasskeyNonsense(t *testing.T) {
	f := newRig(t).node()
	site := Site{"mail.example.net", "https://mail.example.net", "Restante"}
	if _, _, err := f.BeginSignIn(Site{"192.0.2.1", "https://192.0.2.1", ""}); err == nil {
		t.Error("an IP address got passkeys")
	}
	_, state, err := f.BeginSignIn(site)
	if err != nil {
		t.Fatal(err)
	}
	for i, answer := range []string{"", "{}", "null", strings.Repeat("x", maxAnswer+1), `{"id":"AAAA","rawId":"AAAA","type":"public-key","response":{}}`} {
		if _, _, err := f.FinishSignIn(site, state, []byte(answer)); !errors.Is(err, ErrWrong) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := f.FinishPasskey(t.Context(), site, anna, "", []byte("?"), []byte("{}")); !errors.Is(err, ErrWrong) {
		t.Errorf("state: %v", err)
	}
}

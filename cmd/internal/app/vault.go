package app

import (
	"context"
	"net/netip"
	"time"

	"restante/spool/secret"
)

// vault returns what keeps secrets in the ledger, or why there is none yet.
func (a *App) vault() (*secret.Vault, error) {
	if v := a.vaults.Load(); v != nil {
		return v, nil
	}
	ring, err := a.keys.get()
	if err != nil {
		return nil, err
	}
	a.vaults.CompareAndSwap(nil, secret.NewVault(ring, a.spool, a.index))
	return a.vaults.Load(), nil
}

// lateVault is the vault for those who are made before there is a cluster key.
type lateVault struct{ app *App }

// Keep implements webhost.Vault.
func (l lateVault) Keep(ctx context.Context, name, by string, plain []byte) error {
	v, err := l.app.vault()
	if err != nil {
		return err
	}
	return v.Keep(ctx, name, by, plain)
}

// Forget implements webhost.Vault.
func (l lateVault) Forget(ctx context.Context, name, by string) error {
	v, err := l.app.vault()
	if err != nil {
		return err
	}
	return v.Forget(ctx, name, by)
}

// Names implements webhost.Vault.
func (l lateVault) Names(ctx context.Context, prefix string) ([]string, error) {
	v, err := l.app.vault()
	if err != nil {
		return nil, err
	}
	return v.Names(ctx, prefix)
}

// Get implements webhost.Vault.
func (l lateVault) Get(ctx context.Context, name string) ([]byte, time.Time, error) {
	v, err := l.app.vault()
	if err != nil {
		return nil, time.Time{}, err
	}
	return v.Get(ctx, name)
}

// devProxies: with --dev plain http is spoken with this machine itself.
func devProxies() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

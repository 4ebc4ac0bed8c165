package app

import (
	"context"
	"errors"
	"strings"

	"restante/cmd/internal/admin"
	"restante/relay/submit"
	"restante/spool"
	"restante/webmail/accounts"
)

// Sending implements admin.SendingBackend.
func (b *backend) Sending(ctx context.Context) (*submit.Status, error) {
	s, err := b.submit.Status(ctx)
	return &s, err
}

// SendingSwitch implements admin.SendingBackend.
func (b *backend) SendingSwitch(ctx context.Context, by string, s admin.SendingSwitch) (*submit.Status, error) {
	account := ""
	if s.Account != "" {
		var err error
		if account, err = b.writer(s.Account); err != nil {
			return nil, err
		}
	}
	var err error
	if s.Stop {
		err = b.submit.Stop(ctx, account, by, s.Reason)
	} else {
		err = b.submit.Allow(ctx, account, by)
	}
	if err != nil {
		return nil, sendingError(err)
	}
	b.log.Info("sending switched", "stop", s.Stop, "account", account, "by", by, "reason", s.Reason)
	return b.Sending(ctx)
}

// writer is the main address of the person meant. Nobody needs to have an account to be stopped: it may come later.
func (b *backend) writer(address string) (string, error) {
	if d, err := b.people(); err == nil {
		if a, ok := d.ByAddress(address); ok {
			return a.Address, nil
		}
	}
	n, err := accounts.Normal(address)
	if err != nil {
		return "", admin.Errorf(admin.KindUsage, "", "%w", err)
	}
	return n, b.isHosted(n[strings.LastIndexByte(n, '@')+1:])
}

// DKIMKeys implements admin.SendingBackend.
func (b *backend) DKIMKeys(ctx context.Context, domain string) ([]submit.Key, error) {
	if domain != "" {
		if err := b.isHosted(domain); err != nil {
			return nil, err
		}
	}
	keys, err := b.submit.Keys(ctx, domain)
	if keys == nil {
		keys = []submit.Key{}
	}
	return keys, sendingError(err)
}

// DKIMGenerate implements admin.SendingBackend.
func (b *backend) DKIMGenerate(ctx context.Context, by string, k admin.DKIMKey) ([]submit.Key, error) {
	if err := b.isHosted(k.Domain); err != nil {
		return nil, err
	}
	keys, err := b.submit.GenerateKey(ctx, k.Domain, k.Selector, by)
	return keys, sendingError(err)
}

// DKIMRemove implements admin.SendingBackend.
func (b *backend) DKIMRemove(ctx context.Context, by string, k admin.DKIMKey) ([]submit.Key, error) {
	if err := b.isHosted(k.Domain); err != nil {
		return nil, err
	}
	if err := b.submit.RemoveKey(ctx, k.Domain, k.Selector, by); err != nil {
		return nil, sendingError(err)
	}
	return b.DKIMKeys(ctx, k.Domain)
}

func sendingError(err error) error {
	if errors.Is(err, spool.ErrVoid) || errors.Is(err, spool.ErrUnsettled) {
		return admin.Errorf(admin.KindFailed, "see `restante status`; to do it again is harmless", "the store did not take it: %w", err)
	}
	return err
}

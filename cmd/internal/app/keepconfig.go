package app

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"time"

	"restante/cmd/internal/recovery"
)

// How often it is looked whether the configuration, or a file that it names, has changed, and how soon again after a failure.
const (
	keepEvery = time.Hour
	keepAgain = time.Minute
)

// keeper names who wrote it in the ledger.
const configKeeper = "configuration"

// keepConfig keeps the configuration in the store, encrypted, whenever it has changed: with the recovery card it makes
// a bare machine this node again.
func (a *App) keepConfig(ctx context.Context) error {
	if _, err := a.keys.wait(ctx); err != nil {
		return nil //nolint:nilerr // the node stops
	}
	if err := a.spool.CaughtUp(ctx); err != nil {
		return nil //nolint:nilerr // as above
	}
	for {
		wait := keepEvery
		if err := a.keepConfigNow(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("the configuration isn't kept in the store yet", "err", err)
			wait = keepAgain
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-a.reloaded:
			t.Stop()
		case <-t.C:
		}
	}
}

func (a *App) keepConfigNow(ctx context.Context) error {
	c := a.cfg.Load()
	if c.Dev { // there is nothing to make again
		return nil
	}
	s, err := recovery.Take(c)
	if err != nil {
		return err
	}
	text, err := s.Encode()
	if err != nil {
		return err
	}
	v, err := a.vault()
	if err != nil {
		return err
	}
	name := recovery.SecretPrefix + c.Hostname
	switch was, _, err := v.Get(ctx, name); {
	case err == nil && bytes.Equal(was, text):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		a.log.Warn("the configuration kept so far can't be read, it is kept anew", "err", err)
	}
	return v.Keep(ctx, name, configKeeper, text)
}

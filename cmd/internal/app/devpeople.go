package app

import (
	"context"
	"fmt"
	"time"

	"restante/cmd/internal/config"
	"restante/webmail/accounts"
)

// DevPassword is that of the people of `serve --dev`. It is for this machine alone: with --dev everything is on loopback.
const DevPassword = "poste-restante"

// DevPeople are those who may sign in with --dev.
func DevPeople() []string {
	return []string{"you@" + config.DevDomain, "anna@" + config.DevDomain, "max@" + config.DevDomain}
}

// devWait is how long making them may wait for the key and the index.
const devWait = 10 * time.Second

// startDev makes the people of --dev, unless there are people already.
func (a *App) startDev(ctx context.Context) error {
	if !a.cfg.Load().Dev || a.web.accounts == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, devWait)
	defer cancel()
	if _, err := a.keys.wait(ctx); err != nil {
		return nil //nolint:nilerr // a store that is away: there is nobody to sign in then
	}
	if err := a.spool.CaughtUp(ctx); err != nil {
		return nil //nolint:nilerr // as above
	}
	known, err := a.web.mail.Accounts(ctx)
	if err != nil {
		return must("people of --dev", err)
	}
	a.web.accounts.Apply(known)
	if len(a.web.accounts.Ever()) > 0 {
		return nil
	}
	info, sales := "info@"+config.DevDomain, "sales@"+config.DevDomain
	names := []string{"Robin Example", "Anna Schmidt", "Max Bernard"}
	for i, address := range DevPeople() {
		e := accounts.Edit{Name: &names[i], Shared: []string{info}}
		if i == 0 {
			signature := "Robin Example\nExample Ltd, Sales"
			e.Signature, e.Aliases, e.Groups = &signature, []string{"robin@" + config.DevDomain}, []string{sales}
		}
		if i == 1 {
			e.Groups = []string{sales}
		}
		if _, err := a.web.accounts.Add(ctx, "serve --dev", address, e); err != nil {
			return fmt.Errorf("people of --dev: %w", err)
		}
		if err := a.web.accounts.SetPassword(ctx, "serve --dev", address, DevPassword, accounts.SetByAdmin); err != nil {
			return fmt.Errorf("people of --dev: %w", err)
		}
	}
	return nil
}

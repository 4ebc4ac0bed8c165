package app

import (
	"context"
	"fmt"

	"restante/cmd/internal/config"
	"restante/webmail/accounts"
)

// DevPassword is that of the people of `serve --dev`. It is for this machine alone: with --dev everything is on loopback.
const DevPassword = "poste-restante"

// DevPeople are those who may sign in with --dev.
func DevPeople() []string {
	return []string{"you@" + config.DevDomain, "anna@" + config.DevDomain, "max@" + config.DevDomain}
}

// startDev makes the people of --dev in the background, unless there are people already.
func (a *App) startDev(context.Context) error {
	if a.cfg.Load().Dev && a.web.accounts != nil {
		a.life.run("people of --dev", func(ctx context.Context) error {
			if err := a.makePeople(ctx); err != nil && ctx.Err() == nil {
				a.log.Error("nobody can sign in", "err", err)
			}
			return nil
		})
	}
	return nil
}

func (a *App) makePeople(ctx context.Context) error {
	if _, err := a.keys.wait(ctx); err != nil {
		return err
	}
	if err := a.spool.Abreast(ctx); err != nil {
		return err
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

package app

import (
	"restante/cmd/internal/config"
	"restante/relay/policy"
	"restante/relay/policy/msgauth"
)

// border is what strangers must pass.
func (a *App) border(c *config.Config) *policy.Border {
	return policy.New(policy.Options{
		Auth: msgauth.New(msgauth.Options{Resolver: a.resolver, AuthservID: c.Hostname}),
	})
}

package app

import (
	"restante/cmd/internal/config"
	"restante/relay/policy/rcpt"
)

// makeRecipients makes the directory of recipients.
func (a *App) makeRecipients(c *config.Config) error {
	var err error
	a.recipients, err = rcpt.New(rcpt.Options{
		Domains: rcptDomains(c), Index: a.index, Record: a.spool.Record, Note: a.spool.Note, Primaries: a.monitor,
		Log: a.log, Metrics: rcpt.NewMetrics(a.reg),
	})
	if err != nil {
		return must("recipients", err)
	}
	return nil
}

func rcptDomains(c *config.Config) []rcpt.Domain {
	var list []rcpt.Domain
	for i := range c.Domains {
		d := &c.Domains[i]
		list = append(list, rcpt.Domain{
			Name: d.Name, AliasOf: d.AliasOf, List: d.Recipients, Sources: d.RecipientSources(), SubAddress: d.SubAddress, CatchAll: d.TakesAny(),
			Unknown: d.UnknownRecipients, MaxAge: d.RecipientsMaxAge.Std(), CallAhead: d.AsksAhead(),
		})
	}
	return list
}

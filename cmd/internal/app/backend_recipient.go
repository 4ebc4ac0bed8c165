package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/pass"
	"restante/relay/policy/rcpt"
	"restante/relay/policy/rcpt/source"
)

// RecipientImport implements admin.RecipientBackend.
func (b *backend) RecipientImport(ctx context.Context, by string, r admin.RecipientImport) (*rcpt.Change, error) {
	domain, err := b.listedDomain(r.Domain)
	if err != nil {
		return nil, err
	}
	if len(r.Addresses) == 0 && !r.Options.Force {
		return nil, admin.Errorf(admin.KindUsage, "look at the file", "there is nobody on the list")
	}
	c, err := b.recipients.Replace(ctx, domain, rcpt.SourceImport, r.Addresses, by, r.Options)
	switch {
	case r.Options.DryRun && errors.Is(err, rcpt.ErrShrinks): // who would go is what was asked
	case err != nil:
		return nil, recipientError(&c, err)
	case !r.Options.DryRun:
		b.log.Info("recipients imported", "domain", domain, "added", len(c.Added), "removed", len(c.Removed), "addresses", c.After, "by", by)
	}
	return &c, nil
}

// listedDomain is the name of a hosted domain that has lists of its own.
func (b *backend) listedDomain(name string) (string, error) {
	domain, err := config.ParseDomain(name)
	if err != nil {
		return "", admin.Errorf(admin.KindUsage, "write for example --domain example.com", "%w", err)
	}
	return domain, b.isHosted(domain)
}

func recipientError(c *rcpt.Change, err error) error {
	switch {
	case errors.Is(err, rcpt.ErrShrinks):
		return admin.Errorf(admin.KindFailed, "look at the list with --dry-run, and add --force if it is right",
			"nothing was changed: of %d recipients of %s only %d would be left, %d would go and %d come", c.Before, c.Domain, c.After, len(c.Removed), len(c.Added))
	case errors.Is(err, rcpt.ErrNotHosted):
		return admin.Errorf(admin.KindNotFound, "", "%w", err)
	case errors.Is(err, rcpt.ErrTooMany):
		return admin.Errorf(admin.KindUsage, "is it the right file?", "%w", err)
	}
	return err
}

// RecipientSync implements admin.RecipientBackend.
func (b *backend) RecipientSync(ctx context.Context, by string, r admin.RecipientSync) ([]source.Outcome, error) {
	domain := ""
	if r.Domain != "" {
		var err error
		if domain, err = b.listedDomain(r.Domain); err != nil {
			return nil, err
		}
	}
	list := b.lists.Now(ctx, domain, by, r.Options)
	if len(list) == 0 {
		return nil, admin.Errorf(admin.KindUsage, "name recipients_file or [domain.ldap] in the configuration, or use `restante recipient import`", "there is no list to read")
	}
	for i := range list {
		if c := list[i].Change; c != nil && errors.Is(list[i].Err, rcpt.ErrShrinks) {
			list[i].Error = recipientError(c, list[i].Err).Error()
		}
	}
	return list, nil
}

// RecipientList implements admin.RecipientBackend.
func (b *backend) RecipientList(ctx context.Context, r admin.RecipientFilter) ([]rcpt.Recipient, error) {
	domain, err := b.listedDomain(r.Domain)
	if err != nil {
		return nil, err
	}
	list, err := b.recipients.List(ctx, domain, r.Filter)
	if list == nil {
		list = []rcpt.Recipient{}
	}
	return list, err
}

// RecipientEdit implements admin.RecipientBackend.
func (b *backend) RecipientEdit(ctx context.Context, by string, r admin.RecipientEdit) (*admin.RecipientEdited, error) {
	do := b.recipients.Add
	if r.Do == "remove" {
		do = b.recipients.Remove
	}
	var domains []string
	of := map[string][]string{}
	for _, text := range r.Addresses {
		a, err := b.recipient(text)
		if err != nil {
			return nil, err
		}
		if _, ok := of[a.Domain]; !ok {
			domains = append(domains, a.Domain)
		}
		of[a.Domain] = append(of[a.Domain], a.String())
	}
	out := &admin.RecipientEdited{Changed: []string{}}
	for _, d := range domains {
		changed, err := do(ctx, d, of[d], by)
		if err != nil {
			if c := (rcpt.Change{Domain: d}); errors.Is(err, rcpt.ErrNotHosted) {
				return nil, recipientError(&c, err)
			}
			return nil, admin.Errorf(admin.KindFailed, "", "%w", err)
		}
		out.Changed = append(out.Changed, changed...)
		for _, a := range of[d] {
			if !slices.Contains(changed, a) {
				out.Same = append(out.Same, a)
			}
		}
	}
	b.log.Info("recipients edited", "do", r.Do, "addresses", out.Changed, "by", by)
	return out, nil
}

// recipient is an address of a hosted domain.
func (b *backend) recipient(text string) (mailaddr.Address, error) {
	a, err := mailaddr.Parse(text)
	if err != nil || a.IsZero() {
		return a, admin.Errorf(admin.KindUsage, "write it whole, for example anna@example.com", "%q is no address", text)
	}
	if a.Routed() || a.IsLiteral() {
		return a, admin.Errorf(admin.KindUsage, "mail for it is refused always", "%q holds a route of its own, or an IP address", text)
	}
	return a, b.isHosted(a.Domain)
}

// RecipientTest implements admin.RecipientBackend.
func (b *backend) RecipientTest(ctx context.Context, address string) (*admin.RecipientTest, error) {
	a, err := b.recipient(address)
	if err != nil {
		return nil, err
	}
	d, ok := b.cfg.Load().Domain(a.Domain)
	if !ok {
		return nil, b.isHosted(a.Domain)
	}
	r := b.monitor.State(a.Domain)
	out := &admin.RecipientTest{Address: a.String(), Domain: a.Domain, Primary: string(r.State), Known: b.recipients.Check(ctx, a)}
	out.Outage = recipientOutcome(&out.Known)
	out.Now = out.Outage
	decl, declared := b.monitor.Declared(a.String())
	switch {
	case declared:
		out.Now.Why = fmt.Sprintf("declared down by %s until %s; %s", decl.By, decl.Until.Local().Format("2 Jan 15:04"), out.Now.Why)
	case d.WhenUp == pass.WhenUpSpool:
		out.Now.Why = "all mail of the domain is kept; " + out.Now.Why
	case r.State == health.RefusesUs:
		out.Now = admin.RecipientOutcome{Do: string(rcpt.Defer), Code: 451, Why: "the primary refuses mail from here: " + r.Reason}
	case r.Passes():
		out.Now = admin.RecipientOutcome{Do: "pass", Why: "the primary is up and decides by itself"}
	}
	return out, nil
}

// recipientOutcome is what an answer means for the sender.
func recipientOutcome(a *rcpt.Answer) admin.RecipientOutcome {
	codes := map[rcpt.Action]int{rcpt.Take: 250, rcpt.Defer: 450, rcpt.Refuse: 550}
	return admin.RecipientOutcome{Do: string(a.Action), Code: codes[a.Action], Why: a.Why}
}

// Recipients implements admin.RecipientBackend.
func (b *backend) Recipients(ctx context.Context, domain string) ([]admin.RecipientLists, error) {
	if domain != "" {
		name, err := b.listedDomain(domain)
		if err != nil {
			return nil, err
		}
		domain = name
	}
	list := []admin.RecipientLists{}
	c := b.cfg.Load()
	for i := range c.Domains {
		if d := &c.Domains[i]; domain == "" || d.Name == domain {
			list = append(list, admin.RecipientLists{Domain: d.Name, Freshness: b.recipients.Freshness(ctx, d.Name), MaxAge: d.RecipientsMaxAge.Std().Seconds()})
		}
	}
	return list, nil
}

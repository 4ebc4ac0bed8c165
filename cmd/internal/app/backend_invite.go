package app

import (
	"context"
	"fmt"
	"time"

	"restante/cmd/internal/admin"
	"restante/relay/health"
	"restante/webmail/accounts"
	"restante/webmail/invite"
)

// inviteFor is how long a practice link is good.
const inviteFor = 7 * 24 * time.Hour

// inviteMax bounds an invitation in octets.
const inviteMax = 64 << 10

// UserInvite implements admin.UserBackend.
func (b *backend) UserInvite(ctx context.Context, by string, r admin.UserSelect) ([]admin.UserInvited, error) {
	d, err := b.people()
	if err != nil {
		return nil, err
	}
	good := inviteFor
	if r.For != "" {
		if good, err = linkTime(r.For); err != nil {
			return nil, err
		}
	}
	all, err := chosen(d, r, func(a accounts.Account) bool {
		return len(d.Registers(a.Address, accounts.FieldPasskey))+len(d.Registers(a.Address, accounts.FieldDevice)) == 0
	})
	if err != nil {
		return nil, err
	}
	list := []admin.UserInvited{}
	for _, a := range all {
		if err := ctx.Err(); err != nil {
			return list, err
		}
		one := admin.UserInvited{Address: a.Address}
		if err := b.invite(ctx, d, by, a, good); err != nil {
			one.Error = userError(err).Error()
		}
		list = append(list, one)
	}
	return list, nil
}

// invite mails one person a practice link, as long as the person's mail server can take it.
func (b *backend) invite(ctx context.Context, d *accounts.Directory, by string, a accounts.Account, good time.Duration) error {
	if s := b.monitor.State(a.Domain()); s.State != health.Up {
		return fmt.Errorf("the mail server of %s is %s: in an outage `restante user link` signs people in", a.Domain(), s.State)
	}
	links, err := d.MakeLinks(ctx, by, accounts.LinkPractice, good, a.Address)
	if err != nil {
		return err
	}
	m := invite.Message(a, invite.Options{Link: links[0], URL: linkURL(b.addrs.Webmail, links[0]), Contact: b.cfg.Load().Webmail.Contact,
		From: "postmaster@" + a.Domain(), Language: "en", Now: time.Now()})
	raw, err := m.Build(inviteMax)
	if err != nil {
		return fmt.Errorf("the invitation: %w", err)
	}
	_, err = b.submit.Tell(ctx, a.Address, raw)
	return err
}

package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/spool"
	"restante/webmail/accounts"
	"restante/webmail/factor"
)

// userError gives the directory's errors their kind and mend.
func userError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, accounts.ErrNotFound):
		return admin.Errorf(admin.KindNotFound, "see `restante user list`", "%w", err)
	case errors.Is(err, accounts.ErrExists):
		return admin.Errorf(admin.KindUsage, "`restante user set` changes it, `restante user undelete` brings a deleted one back", "%w", err)
	case errors.Is(err, accounts.ErrTaken):
		return admin.Errorf(admin.KindUsage, "see `restante user show`; take it away there with `restante user set --no-alias`", "%w", err)
	case errors.Is(err, accounts.ErrInvalid):
		return admin.Errorf(admin.KindUsage, "", "%s", strings.ReplaceAll(err.Error(), accounts.ErrInvalid.Error()+": ", ""))
	case errors.Is(err, spool.ErrVoid), errors.Is(err, spool.ErrUnsettled):
		return admin.Errorf(admin.KindFailed, "see `restante status`; to do it again is harmless", "the store did not take it: %w", err)
	}
	return err
}

// user is one person as the command line shows it.
func (b *backend) user(d *accounts.Directory, a accounts.Account) admin.User {
	u := admin.User{Account: a, Ready: d.Ready(a)}
	if a.Deleted {
		u.Ready = accounts.Ready{Account: a, Why: "deleted"}
	}
	for _, l := range d.Links(a.Address) {
		u.Links = append(u.Links, admin.UserLink{Address: a.Address, Name: a.Name, Purpose: l.Purpose, Until: l.Until, By: l.By})
	}
	return u
}

// one finds a person by main address or alias, a deleted one too.
func one(d *accounts.Directory, address string) (accounts.Account, error) {
	if a, ok := d.ByAddress(address); ok {
		return a, nil
	}
	n, err := accounts.Normal(address)
	if err != nil {
		return accounts.Account{}, admin.Errorf(admin.KindUsage, "", "%w", err)
	}
	if a, ok := d.Any(n); ok {
		return a, nil
	}
	switch {
	case len(d.SharedBy(n)) > 0:
		return accounts.Account{}, admin.Errorf(admin.KindNotFound, "who reads it: `restante user list --of "+n+"`", "%s is a shared mailbox, not a person", n)
	case len(d.Members(n)) > 0:
		return accounts.Account{}, admin.Errorf(admin.KindNotFound, "who is in it: `restante user list --of "+n+"`", "%s is a group, not a person", n)
	}
	return accounts.Account{}, userError(fmt.Errorf("%s: %w", n, accounts.ErrNotFound))
}

// UserAdd implements admin.UserBackend.
func (b *backend) UserAdd(ctx context.Context, by string, r admin.UserEdit) (*admin.User, error) {
	d, err := b.people()
	if err != nil {
		return nil, err
	}
	if n, err := accounts.Normal(r.Address); err == nil {
		if err := b.isHosted(n[strings.LastIndexByte(n, '@')+1:]); err != nil {
			return nil, err
		}
	}
	a, err := d.Add(ctx, by, r.Address, r.Edit)
	if err != nil {
		return nil, userError(err)
	}
	u := b.user(d, a)
	return &u, nil
}

// UserEdit implements admin.UserBackend.
func (b *backend) UserEdit(ctx context.Context, by string, r admin.UserEdit) (*admin.User, error) {
	d, a, err := b.person(r.Address)
	if err != nil {
		return nil, err
	}
	if a, err = d.Edit(ctx, by, a.Address, r.Edit); err != nil {
		return nil, userError(err)
	}
	u := b.user(d, a)
	return &u, nil
}

func (b *backend) person(address string) (*accounts.Directory, accounts.Account, error) {
	d, err := b.people()
	if err != nil {
		return nil, accounts.Account{}, err
	}
	a, err := one(d, address)
	return d, a, err
}

// Users implements admin.UserBackend.
func (b *backend) Users(context.Context) ([]admin.User, error) {
	d, err := b.people()
	if err != nil {
		return nil, err
	}
	list := []admin.User{}
	for _, a := range d.Ever() {
		list = append(list, b.user(d, a))
	}
	return list, nil
}

// User implements admin.UserBackend.
func (b *backend) User(_ context.Context, address string) (*admin.User, error) {
	d, a, err := b.person(address)
	if err != nil {
		return nil, err
	}
	u := b.user(d, a)
	for _, d := range factor.New(d).Devices(a.Address) {
		u.Devices = append(u.Devices, admin.UserDevice{ID: d.ID, Kind: string(d.Kind), Name: d.Name, Made: d.Made, Used: d.Used, Until: d.Until})
	}
	for _, s := range b.web.sessions.List(a.Address) {
		u.Sessions = append(u.Sessions, admin.UserSession{Method: string(s.Method), Agent: s.Agent, Addr: s.Addr, Started: s.Started, Seen: s.Seen, Until: s.Until})
	}
	return &u, nil
}

// UserState implements admin.UserBackend.
func (b *backend) UserState(ctx context.Context, by string, r admin.UserState) ([]admin.User, error) {
	d, err := b.people()
	if err != nil {
		return nil, err
	}
	all, err := chosen(d, admin.UserSelect{Addresses: r.Addresses}, nil)
	if err != nil {
		return nil, err
	}
	list := []admin.User{}
	for _, a := range all {
		if err := b.userState(ctx, d, by, a.Address, r); err != nil {
			return list, userError(err)
		}
		a, _ = d.Any(a.Address)
		list = append(list, b.user(d, a))
	}
	return list, nil
}

func (b *backend) userState(ctx context.Context, d *accounts.Directory, by, address string, r admin.UserState) error {
	switch r.Do {
	case "disable", "enable":
		off := r.Do == "disable"
		if _, err := d.Edit(ctx, by, address, accounts.Edit{Disabled: &off}); err != nil || !off {
			return err
		}
	case "delete":
		if err := d.Delete(ctx, by, address); err != nil {
			return err
		}
	case "undelete":
		return d.Undelete(ctx, by, address)
	case "sign-out":
		f := factor.New(d)
		if r.Second {
			if err := f.RemoveTOTP(ctx, address, by); err != nil {
				return err
			}
		}
		for _, one := range f.Devices(address) {
			if !r.Devices {
				break
			}
			if err := f.Remove(ctx, address, one.ID, by); err != nil {
				return err
			}
		}
	default:
		return admin.Errorf(admin.KindUsage, "", "%q is nothing that can be done to a user", r.Do)
	}
	return b.web.sessions.EndAll(ctx, address, "", by, r.Do)
}

// UserPassword implements admin.UserBackend.
func (b *backend) UserPassword(ctx context.Context, by string, r admin.UserPassword) (*admin.UserPassword, error) {
	d, a, err := b.person(r.Address)
	if err != nil {
		return nil, err
	}
	out := &admin.UserPassword{Address: a.Address}
	switch {
	case r.Forget:
		err = d.ForgetPassword(ctx, by, a.Address)
	case r.Generate:
		out.Password = newPassword()
		err = d.SetPassword(ctx, by, a.Address, out.Password, accounts.SetByAdmin)
	default:
		err = d.SetPassword(ctx, by, a.Address, r.Password, accounts.SetByAdmin)
	}
	if err == nil { // whoever knew the old one is out
		err = b.web.sessions.EndAll(ctx, a.Address, "", by, "password")
	}
	if err != nil {
		return nil, userError(err)
	}
	return out, nil
}

// newPassword is one that can be told over the telephone: 16 letters and digits in groups of four, 80 bits.
func newPassword() string {
	const letters = "abcdefghjkmnpqrstuvwxyz23456789-"
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	var out strings.Builder
	for i, c := range b {
		if i > 0 && i%4 == 0 {
			out.WriteByte('-')
		}
		out.WriteByte(letters[int(c)%31])
	}
	return out.String()
}

// fewCodes: who has no more than that many left is missing some.
const fewCodes = 3

// UserCodes implements admin.UserBackend.
func (b *backend) UserCodes(ctx context.Context, by string, r admin.UserSelect) (*admin.UserSheets, error) {
	d, err := b.people()
	if err != nil {
		return nil, err
	}
	all, err := chosen(d, r, func(a accounts.Account) bool {
		c, ok := d.Codes(a.Address)
		return !ok || c.Left <= fewCodes
	})
	if err != nil {
		return nil, err
	}
	c := b.cfg.Load()
	out := &admin.UserSheets{Sheets: []accounts.Sheet{}, URL: b.addrs.Webmail, Contact: c.Webmail.Contact}
	var addresses []string
	for _, a := range all {
		if _, ok := d.Codes(a.Address); ok {
			out.Replaced++
		}
		addresses = append(addresses, a.Address)
		if r.DryRun {
			out.Sheets = append(out.Sheets, accounts.Sheet{Account: a})
		}
	}
	switch {
	case r.DryRun:
	case r.Void:
		for _, a := range addresses {
			if err := d.VoidCodes(ctx, by, a); err != nil {
				return nil, userError(err)
			}
		}
	default:
		if out.Sheets, err = d.MakeCodes(ctx, by, addresses...); err != nil {
			return nil, userError(err)
		}
	}
	return out, nil
}

// chosen are the people that are meant, by address. Disabled ones only when they are named.
func chosen(d *accounts.Directory, r admin.UserSelect, missing func(accounts.Account) bool) ([]accounts.Account, error) {
	var list []accounts.Account
	if r.All || r.Missing {
		for _, a := range d.All() {
			if a.Active() && (r.All || missing == nil || missing(a)) {
				list = append(list, a)
			}
		}
		return list, nil
	}
	for _, address := range r.Addresses {
		a, err := one(d, address)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(x, y accounts.Account) int { return cmp.Compare(x.Address, y.Address) })
	return slices.CompactFunc(list, func(x, y accounts.Account) bool { return x.Address == y.Address }), nil
}

// UserLinks implements admin.UserBackend.
func (b *backend) UserLinks(ctx context.Context, by string, r admin.UserSelect) ([]admin.UserLink, error) {
	d, err := b.people()
	if err != nil {
		return nil, err
	}
	url := b.addrs.Webmail
	all, err := chosen(d, r, func(a accounts.Account) bool { return len(d.Ready(a).Now) == 0 })
	if err != nil {
		return nil, err
	}
	list := []admin.UserLink{}
	var addresses []string
	for _, a := range all {
		addresses = append(addresses, a.Address)
		if r.DryRun {
			list = append(list, admin.UserLink{Address: a.Address, Name: a.Name})
		}
		if r.Void {
			if err := d.VoidLinks(ctx, by, a.Address); err != nil {
				return nil, userError(err)
			}
			list = append(list, admin.UserLink{Address: a.Address, Name: a.Name})
		}
	}
	if r.DryRun || r.Void {
		return list, nil
	}
	good, err := linkTime(r.For)
	if err != nil {
		return nil, err
	}
	links, err := d.MakeLinks(ctx, by, accounts.LinkSignIn, good, addresses...)
	if err != nil {
		return nil, userError(err)
	}
	for i, l := range links {
		list = append(list, admin.UserLink{Address: l.Account, Name: all[i].Name, URL: linkURL(url, l), Purpose: l.Purpose, Until: l.Until, By: by})
	}
	return list, nil
}

func linkURL(base string, l accounts.Link) string { return base + "/signin/link/" + l.Token }

func linkTime(text string) (time.Duration, error) {
	if text == "" {
		return accounts.LinkDefault, nil
	}
	v, err := config.ParseDuration(text)
	if err != nil || v <= 0 {
		return 0, admin.Errorf(admin.KindUsage, "write for example --for 2h or --for 3d", "%q is no duration", text)
	}
	return v.Std(), nil
}

// UserImport implements admin.UserBackend.
func (b *backend) UserImport(ctx context.Context, by string, r admin.UserImport) (*accounts.ImportResult, error) {
	d, err := b.people()
	if err != nil {
		return nil, err
	}
	rows, notes, err := accounts.Parse(r.Format, r.File, r.Domain)
	if err != nil {
		return nil, userError(err)
	}
	res, err := d.Import(ctx, by, rows, r.Options)
	if err != nil {
		return nil, userError(err)
	}
	res.Notes = append(notes, res.Notes...)
	slices.SortStableFunc(res.Notes, func(x, y accounts.Note) int { return cmp.Compare(x.Line, y.Line) })
	b.log.Info("people imported", "by", by, "added", len(res.Added), "changed", len(res.Changed), "same", res.Same, "dry_run", r.Options.DryRun)
	return res, nil
}

// UserExport implements admin.UserBackend.
func (b *backend) UserExport(_ context.Context, by string, r admin.UserExport, w io.Writer) error {
	d, err := b.people()
	if err != nil {
		return err
	}
	b.log.Info("people exported", "by", by, "hashes", r.Hashes)
	return d.WriteCSV(w, r.Hashes)
}

// UserReadiness implements admin.UserBackend.
func (b *backend) UserReadiness(ctx context.Context) (*admin.UserReadiness, error) {
	d, err := b.people()
	if err != nil {
		return nil, err
	}
	out := &admin.UserReadiness{Readiness: d.Readiness(), Outages: []string{}}
	c := b.cfg.Load()
	for i := range c.Domains {
		if _, open := b.keeper.Outage(c.Domains[i].Name); open {
			out.Outages = append(out.Outages, c.Domains[i].Name)
		}
	}
	unclaimed, err := b.web.mail.Unclaimed(ctx, d.Claimed)
	if err != nil {
		return nil, err
	}
	for _, u := range unclaimed {
		out.Unclaimed = append(out.Unclaimed, admin.AddressCount{Address: u.Address, Count: u.Messages})
	}
	return out, nil
}

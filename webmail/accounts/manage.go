package accounts

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"restante/webmail/words"
)

// Limits of what an account holds.
const (
	maxName      = 200     // octets
	maxSignature = 8 << 10 // octets
	maxAddresses = 200     // aliases, shared mailboxes and groups, of each kind
)

// Edit is what is to be changed of an account; nil and empty fields stay as they are.
type Edit struct {
	Name      *string  `json:"name,omitempty"`
	Language  *string  `json:"language,omitempty"`
	Zone      *string  `json:"zone,omitempty"`
	Signature *string  `json:"signature,omitempty"`
	Disabled  *bool    `json:"disabled,omitempty"`
	Aliases   []string `json:"aliases,omitempty"` // to add
	Shared    []string `json:"shared,omitempty"`
	Groups    []string `json:"groups,omitempty"`
	NoAliases []string `json:"no_aliases,omitempty"` // to take away
	NoShared  []string `json:"no_shared,omitempty"`
	NoGroups  []string `json:"no_groups,omitempty"`
}

// Add makes an account. Errors: ErrExists (also for one that is deleted: undelete it), ErrTaken, ErrInvalid.
func (d *Directory) Add(ctx context.Context, by, address string, e Edit) (Account, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	address, err := d.normal(address)
	if err != nil {
		return Account{}, err
	}
	if was, ok := d.Any(address); ok {
		if was.Deleted {
			return was, fmt.Errorf("%s: %w, deleted", address, ErrExists)
		}
		return was, fmt.Errorf("%s: %w", address, ErrExists)
	}
	if err := d.free(address, address); err != nil {
		return Account{}, err
	}
	changes, err := d.edit(address, Account{Address: address}, e)
	if err != nil {
		return Account{}, err
	}
	changes = append([]Change{{Account: address, Field: FieldAccount, Value: stateActive}}, changes...)
	if err := d.Record(ctx, by, changes...); err != nil {
		return Account{}, err
	}
	a, _ := d.Account(address)
	return a, nil
}

// Edit changes an account, and returns it as it is then. What is so already is not recorded again. Errors: ErrNotFound, ErrTaken, ErrInvalid.
func (d *Directory) Edit(ctx context.Context, by, address string, e Edit) (Account, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	a, ok := d.Account(address)
	if !ok {
		return Account{}, fmt.Errorf("%s: %w", address, ErrNotFound)
	}
	changes, err := d.edit(address, a, e)
	if err != nil {
		return a, err
	}
	if err := d.Record(ctx, by, changes...); err != nil {
		return a, err
	}
	a, _ = d.Account(address)
	return a, nil
}

// Delete deletes an account; its mail is kept, and so is all that was known of it. Undelete brings it back.
func (d *Directory) Delete(ctx context.Context, by, address string) error {
	return d.state(ctx, by, address, stateDeleted)
}

// Undelete brings a deleted account back. Errors: ErrNotFound, ErrTaken when its address became somebody's alias.
func (d *Directory) Undelete(ctx context.Context, by, address string) error {
	return d.state(ctx, by, address, stateActive)
}

func (d *Directory) state(ctx context.Context, by, address, state string) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	a, ok := d.Any(address)
	if !ok {
		return fmt.Errorf("%s: %w", address, ErrNotFound)
	}
	if a.Deleted == (state == stateDeleted) {
		return nil
	}
	if state == stateActive {
		if err := d.free(address, address); err != nil {
			return err
		}
	}
	return d.Record(ctx, by, Change{Account: address, Field: FieldAccount, Value: state})
}

// normal is Normal of an address that belongs here.
func (d *Directory) normal(address string) (string, error) {
	address, err := Normal(address)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if d.o.Hosted != nil && !d.o.Hosted(domainOf(address)) {
		return "", fmt.Errorf("%w: %s: %s is no domain of this node", ErrInvalid, address, domainOf(address))
	}
	return address, nil
}

// free says whether an address can be given to an account as its own.
func (d *Directory) free(address, account string) error {
	if a, ok := d.exact(address); ok && a != account {
		return fmt.Errorf("%s: %w: %s", address, ErrTaken, a)
	}
	return nil
}

// exact is the account that owns an address, which is normal; tags count.
func (d *Directory) exact(address string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.route().owners[address]
	return a, ok
}

// edit checks an edit and says what it changes.
func (d *Directory) edit(address string, a Account, e Edit) ([]Change, error) {
	var list []Change
	texts := []struct {
		field Field
		to    *string
		was   string
		check func(string) (string, error)
	}{
		{FieldName, e.Name, a.Name, checkName},
		{FieldLanguage, e.Language, a.Language, checkLanguage},
		{FieldZone, e.Zone, a.Zone, checkZone},
		{FieldSignature, e.Signature, a.Signature, checkSignature},
	}
	for _, t := range texts {
		if t.to == nil {
			continue
		}
		to, err := t.check(*t.to)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if to != t.was {
			list = append(list, Change{Account: address, Field: t.field, Value: to})
		}
	}
	if e.Disabled != nil && *e.Disabled != a.Disabled {
		list = append(list, Change{Account: address, Field: FieldDisabled, Value: *e.Disabled})
	}
	sets := []struct {
		field   Field
		was     []string
		add, no []string
	}{{FieldAlias, a.Aliases, e.Aliases, e.NoAliases}, {FieldShared, a.Shared, e.Shared, e.NoShared}, {FieldGroup, a.Groups, e.Groups, e.NoGroups}}
	for _, s := range sets {
		changes, err := d.editSet(address, s.field, s.was, s.add, s.no)
		if err != nil {
			return nil, err
		}
		list = append(list, changes...)
	}
	return list, nil
}

func (d *Directory) editSet(address string, f Field, was, add, no []string) ([]Change, error) {
	var list []Change
	has := slices.Clone(was)
	for _, one := range add {
		one, err := d.normal(one)
		if err != nil {
			return nil, err
		}
		if slices.Contains(has, one) || one == address {
			continue
		}
		if f == FieldAlias {
			if err := d.free(one, address); err != nil {
				return nil, err
			}
		}
		has = append(has, one)
		list = append(list, Change{Account: address, Field: f, Key: one, Value: true})
	}
	if len(has) > maxAddresses {
		return nil, fmt.Errorf("%w: %s has more than %d addresses of one kind", ErrInvalid, address, maxAddresses)
	}
	for _, one := range no {
		one, err := Normal(one)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if slices.Contains(has, one) {
			list = append(list, Change{Account: address, Field: f, Key: one})
		}
	}
	return list, nil
}

func checkName(s string) (string, error) {
	s = strings.Join(strings.Fields(s), " ") // no line breaks: it stands in header fields
	if len(s) > maxName || !utf8.ValidString(s) {
		return "", fmt.Errorf("a name has at most %d octets of UTF-8", maxName)
	}
	return s, nil
}

// checkLanguage takes the languages that the pages speak; a region ("de-AT", as directories have it) makes no difference.
func checkLanguage(s string) (string, error) {
	base, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(s)), "-")
	if base != "" && !slices.Contains(words.Languages(), base) {
		return "", fmt.Errorf("%q is no language of the pages: write %s, or nothing for what the browser wishes", s, strings.Join(words.Languages(), ", "))
	}
	return base, nil
}

func checkZone(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", nil
	}
	if _, err := time.LoadLocation(s); err != nil || strings.EqualFold(s, "local") {
		return "", fmt.Errorf("%q is no time zone: write for example Europe/Berlin", s)
	}
	return s, nil
}

func checkSignature(s string) (string, error) {
	s = strings.ReplaceAll(strings.TrimRight(s, " \r\n\t"), "\r\n", "\n")
	if len(s) > maxSignature || !utf8.ValidString(s) {
		return "", fmt.Errorf("a signature has at most %d octets of UTF-8", maxSignature)
	}
	return s, nil
}

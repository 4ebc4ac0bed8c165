package accounts

import (
	"slices"
	"strings"
	"time"

	"restante/webmail/mailbox"
)

// Account is a person who may sign in, as of now. Its slices are sorted and are not to be changed.
type Account struct {
	Address   string    `json:"address"` // main address; it names the account
	Name      string    `json:"name,omitempty"`
	Aliases   []string  `json:"aliases,omitempty"` // further addresses of the person
	Shared    []string  `json:"shared,omitempty"`  // shared mailboxes that the person reads and may write from
	Groups    []string  `json:"groups,omitempty"`  // groups and lists whose mail the person reads in the own box
	Language  string    `json:"language,omitempty"`
	Zone      string    `json:"zone,omitempty"`
	Signature string    `json:"signature,omitempty"`
	Password  bool      `json:"password"` // has one of its own
	Disabled  bool      `json:"disabled,omitempty"`
	Deleted   bool      `json:"deleted,omitempty"`
	Created   time.Time `json:"created,omitzero"` // or brought back
	Practised time.Time `json:"practised,omitzero"`
}

// Domain is the domain of the main address.
func (a Account) Domain() string { return domainOf(a.Address) }

// Active accounts may sign in.
func (a Account) Active() bool { return a.Address != "" && !a.Disabled && !a.Deleted }

// Senders are the addresses that the person may write from: the main one, aliases, shared ones.
func (a Account) Senders() []string {
	return slices.Concat([]string{a.Address}, a.Aliases, a.Shared)
}

// Label is the name for people, the address where there is none.
func (a Account) Label() string {
	if a.Name != "" {
		return a.Name
	}
	return a.Address
}

// view makes the Account of a person; the lock is held for writing.
func (p *person) account(address string) *Account {
	if p.view != nil {
		return p.view
	}
	state := p.registers[FieldAccount][""]
	text := func(f Field) (s string) {
		if r := p.registers[f][""]; r.Decode(&s) != nil {
			return ""
		}
		return s
	}
	a := &Account{Address: address, Name: text(FieldName), Language: text(FieldLanguage), Zone: text(FieldZone), Signature: text(FieldSignature),
		Aliases: p.set(FieldAlias), Shared: p.set(FieldShared), Groups: p.set(FieldGroup),
		Password: p.registers[FieldPassword][""].HasSecret(), Disabled: string(p.registers[FieldDisabled][""].Value) == "true",
		Deleted: text(FieldAccount) == stateDeleted, Created: state.Time}
	if r := p.registers[FieldPractised][""]; !r.empty() {
		a.Practised = r.Time
	}
	p.view = a
	return a
}

// What the field "account" says.
const (
	stateActive  = "active"
	stateDeleted = "deleted"
)

// exists: active or deleted.
func (p *person) exists() bool { return !p.registers[FieldAccount][""].empty() }

// set is the keys of a field that have content.
func (p *person) set(f Field) []string {
	var list []string
	for key, r := range p.registers[f] {
		if !r.empty() {
			list = append(list, key)
		}
	}
	slices.Sort(list)
	return list
}

// Account returns the account with that main address; false when there is none or it is deleted.
func (d *Directory) Account(address string) (Account, bool) {
	a, ok := d.Any(address)
	return a, ok && !a.Deleted
}

// Any returns the account with that main address, a deleted one too.
func (d *Directory) Any(address string) (Account, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.people[address]
	if p == nil || !p.exists() {
		return Account{}, false
	}
	return *p.account(address), true
}

// All returns the accounts by address, without deleted ones.
func (d *Directory) All() []Account {
	return slices.DeleteFunc(d.Ever(), func(a Account) bool { return a.Deleted })
}

// Ever returns the accounts by address, deleted ones too.
func (d *Directory) Ever() []Account {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Account, 0, len(d.people))
	for address, p := range d.people {
		if p.exists() {
			list = append(list, *p.account(address))
		}
	}
	slices.SortFunc(list, func(a, b Account) int { return strings.Compare(a.Address, b.Address) })
	return list
}

// ByAddress returns the account to which an address belongs as main address or alias, in any case and also with a +tag.
func (d *Directory) ByAddress(address string) (Account, bool) {
	address, err := Normal(address)
	if err != nil {
		return Account{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rt := d.route()
	owner, ok := rt.owners[address]
	if !ok {
		owner, ok = rt.owners[Untagged(address)]
	}
	if !ok {
		return Account{}, false
	}
	return *d.people[owner].account(owner), true
}

// Claimed reports that somebody reads what an address receives: its own, shared or a group's.
func (d *Directory) Claimed(address string) bool {
	address, err := Normal(address)
	if err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rt := d.route()
	for _, one := range []string{address, Untagged(address)} {
		if rt.owners[one] != "" || len(rt.shared[one]) > 0 || len(rt.groups[one]) > 0 {
			return true
		}
	}
	return false
}

// SharedBy returns the accounts that read a shared mailbox.
func (d *Directory) SharedBy(address string) []Account {
	return d.members(address, func(r *routes) map[string][]string { return r.shared })
}

// Members returns the accounts that are in a group.
func (d *Directory) Members(group string) []Account {
	return d.members(group, func(r *routes) map[string][]string { return r.groups })
}

// SharedMailboxes returns the addresses of all shared mailboxes.
func (d *Directory) SharedMailboxes() []string {
	return d.addresses(func(r *routes) map[string][]string { return r.shared })
}

// Groups returns the addresses of all groups.
func (d *Directory) Groups() []string {
	return d.addresses(func(r *routes) map[string][]string { return r.groups })
}

func (d *Directory) members(address string, of func(*routes) map[string][]string) []Account {
	address, err := Normal(address)
	if err != nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []Account
	for _, m := range of(d.route())[address] {
		list = append(list, *d.people[m].account(m))
	}
	return list
}

func (d *Directory) addresses(of func(*routes) map[string][]string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []string
	for a := range of(d.route()) {
		list = append(list, a)
	}
	slices.Sort(list)
	return list
}

// Boxes are the mailboxes that an account sees: its own (all its addresses and those of its groups), and the shared ones by address. A
// disabled or deleted account sees none: own is the zero Box.
func (d *Directory) Boxes(address string) (own mailbox.Box, shared []mailbox.Box) {
	a, ok := d.Account(address)
	if !ok || a.Disabled {
		return mailbox.Box{}, nil
	}
	d.mu.Lock()
	owners := d.route().owners
	d.mu.Unlock()
	own = mailbox.Box{ID: a.Address, Addresses: []string{a.Address}}
	for _, one := range a.Aliases {
		if owners[one] == a.Address { // an alias that two nodes gave to two people at once has one owner
			own.Addresses = append(own.Addresses, one)
		}
	}
	own.Addresses = append(own.Addresses, a.Groups...)
	for _, one := range a.Shared {
		shared = append(shared, mailbox.Box{ID: one, Addresses: []string{one}, Shared: true})
	}
	return own, shared
}

// routes say whose an address is. They are made anew when an account or its addresses change, and never changed.
type routes struct {
	owners map[string]string   // main addresses and aliases -> account
	shared map[string][]string // shared mailbox -> accounts, sorted
	groups map[string][]string // group -> accounts, sorted
}

// route returns the routes; the lock is held for writing.
func (d *Directory) route() *routes {
	if d.routes != nil {
		return d.routes
	}
	r := &routes{owners: map[string]string{}, shared: map[string][]string{}, groups: map[string][]string{}}
	given := map[string]Register{} // aliases, by the event that gave them
	var live []string
	for address, p := range d.people {
		if p.exists() && !p.account(address).Deleted {
			live = append(live, address)
		}
	}
	slices.Sort(live)
	for _, address := range live {
		p := d.people[address]
		for key, alias := range p.registers[FieldAlias] {
			if was, taken := given[key]; !alias.empty() && (!taken || alias.newer(was)) {
				given[key], r.owners[key] = alias, address
			}
		}
		for _, key := range p.set(FieldShared) {
			r.shared[key] = append(r.shared[key], address)
		}
		for _, key := range p.set(FieldGroup) {
			r.groups[key] = append(r.groups[key], address)
		}
	}
	for _, address := range live {
		r.owners[address] = address // a main address wins over an alias
	}
	d.routes = r
	return r
}

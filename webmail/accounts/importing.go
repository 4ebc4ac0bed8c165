package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of an import.
const (
	importMax  = 50_000    // rows
	groupDepth = 20        // groups within groups
	groupWork  = 5_000_000 // members looked at, those of groups within groups each time
)

// Kinds of row.
const (
	RowPerson = "person"
	RowGroup  = "group"  // members read what its address receives, in their own boxes
	RowShared = "shared" // members read and answer it as a mailbox of its own
)

// Row is one line of a file to import: a person, or an address with its members.
type Row struct {
	Line     int
	Kind     string // RowPerson, RowGroup, RowShared
	Address  string
	Name     string
	Aliases  []string
	Shared   []string
	Groups   []string
	Members  []string // of a group or shared mailbox: people, or groups
	Language string
	Zone     string
	Password string // a hash, as ParseHash takes it
	Disabled *bool
}

// Note is something that an import could not do, or did otherwise than it may have been meant.
type Note struct {
	Line    int    `json:"line,omitempty"` // 0: of the file as a whole
	Address string `json:"address,omitempty"`
	Text    string `json:"text"`
	Skipped bool   `json:"skipped,omitempty"` // nothing of the line was taken over
}

// ImportOptions say how to import.
type ImportOptions struct {
	DryRun    bool `json:"dry_run,omitempty"`   // say what would be done
	Exact     bool `json:"exact,omitempty"`     // take away aliases, shared mailboxes and groups that people of the file have and the file doesn't name
	Passwords bool `json:"passwords,omitempty"` // replace passwords that were set here, too
}

// ImportResult says what an import did, by main addresses.
type ImportResult struct {
	Added   []string `json:"added"`
	Changed []string `json:"changed"`
	Same    int      `json:"same"`
	Absent  []string `json:"absent,omitempty"` // have an account and are not in the file; nothing was done to them
	Groups  int      `json:"groups,omitempty"` // rows that are groups or shared mailboxes
	Notes   []Note   `json:"notes"`
	DryRun  bool     `json:"dry_run,omitempty"`
}

// importing is the plan of an import.
type importing struct {
	d       *Directory
	o       ImportOptions
	res     *ImportResult
	people  map[string]*planned
	order   []string
	members map[string]*Row   // groups and shared mailboxes of the file
	aliasOf map[string]string // alias -> person, as the file says
	taken   map[string]string // address -> account, as it will be
	noted   map[Note]bool
	looked  int // members, see groupWork
}

// planned is a person of the file, its rows put together.
type planned struct {
	line int
	row  Row
}

// Import takes over the rows of a file: people that are new are added, others get what the file says of them. What can't be taken over is noted and
// the rest goes on. To import the same file again changes nothing. The error is that of the ledger: then it may have been done in part.
func (d *Directory) Import(ctx context.Context, by string, rows []Row, o ImportOptions) (*ImportResult, error) {
	if len(rows) > importMax {
		return nil, fmt.Errorf("%w: the file has more than %d rows", ErrInvalid, importMax)
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	im := &importing{d: d, o: o, people: map[string]*planned{}, members: map[string]*Row{}, aliasOf: map[string]string{}, noted: map[Note]bool{},
		res: &ImportResult{Added: []string{}, Changed: []string{}, Notes: []Note{}, DryRun: o.DryRun}}
	im.read(rows)
	im.expand()
	im.taken = d.taken()
	for _, address := range im.order { // main addresses before aliases, wherever they stand in the file
		if _, was := im.taken[address]; !was {
			im.taken[address] = address
		}
	}
	var changes []Change
	for _, address := range im.order {
		changes = append(changes, im.person(address)...)
	}
	changes = append(changes, im.strangers()...)
	for _, a := range d.All() {
		if im.people[a.Address] == nil {
			im.res.Absent = append(im.res.Absent, a.Address)
		}
	}
	if o.DryRun {
		return im.res, nil
	}
	return im.res, d.Record(ctx, by, changes...)
}

// taken is a copy of what is whose.
func (d *Directory) taken() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := map[string]string{}
	for address, owner := range d.route().owners {
		list[address] = owner
	}
	return list
}

// note notes something once; a group within several others comes by more often.
func (im *importing) note(row Row, skipped bool, format string, args ...any) {
	n := Note{Line: row.Line, Address: row.Address, Text: fmt.Sprintf(format, args...), Skipped: skipped}
	if !im.noted[n] {
		im.noted[n] = true
		im.res.Notes = append(im.res.Notes, n)
	}
}

// read sorts the rows into people and groups.
func (im *importing) read(rows []Row) {
	for _, row := range rows {
		address, err := im.d.normal(row.Address)
		if err != nil {
			hint := ""
			if row.Address != "" && !strings.Contains(row.Address, "@") {
				hint = "; --domain completes users without one"
			}
			im.note(row, true, "%s%s", reason(err), hint)
			continue
		}
		row.Address = address
		if row.Kind == RowGroup || row.Kind == RowShared {
			if im.members[address] != nil {
				im.note(row, true, "%s stands in line %d already", address, im.members[address].Line)
				continue
			}
			im.members[address] = &row
			im.res.Groups++
			continue
		}
		if was := im.people[address]; was != nil {
			im.note(row, true, "%s stands in line %d already", address, was.line)
			continue
		}
		im.people[address] = &planned{line: row.Line, row: row}
		im.order = append(im.order, address)
		for _, alias := range row.Aliases {
			if n, err := Normal(alias); err == nil && im.aliasOf[n] == "" {
				im.aliasOf[n] = address
			}
		}
	}
}

// expand gives each person of the file the groups and shared mailboxes that it is a member of.
func (im *importing) expand() {
	for _, address := range im.groupsInOrder() {
		row := im.members[address]
		for _, m := range im.expandRow(row, map[string]bool{address: true}, 0) {
			p := im.people[m]
			if p == nil {
				continue // strangers has them
			}
			if row.Kind == RowShared {
				p.row.Shared = append(p.row.Shared, address)
			} else {
				p.row.Groups = append(p.row.Groups, address)
			}
		}
	}
}

func (im *importing) groupsInOrder() []string {
	var list []string
	for address := range im.members {
		list = append(list, address)
	}
	slices.SortFunc(list, func(a, b string) int { return im.members[a].Line - im.members[b].Line })
	return list
}

// expandRow returns the people that a row's members come to, groups within groups opened.
func (im *importing) expandRow(row *Row, seen map[string]bool, depth int) []string {
	var list []string
	for _, m := range row.Members {
		if im.looked++; im.looked > groupWork {
			im.note(Row{}, false, "there are too many groups within groups; members were left out")
			return list
		}
		address, err := Normal(m)
		switch {
		case err != nil:
			im.note(*row, false, "member %s", reason(err))
			continue
		case seen[address]: // a group within itself, or named twice
			continue
		}
		seen[address] = true
		if inner := im.members[address]; inner != nil {
			if depth < groupDepth {
				list = append(list, im.expandRow(inner, seen, depth+1)...)
			}
			continue
		}
		if owner, ok := im.ownerOf(address); ok {
			address = owner
		} else if inner := im.d.Members(address); len(inner) > 0 {
			for _, a := range inner {
				list = append(list, a.Address)
			}
			continue
		} else if im.d.o.Hosted != nil && !im.d.o.Hosted(domainOf(address)) {
			im.note(*row, false, "member %s is elsewhere and reads nothing here", address)
			continue
		}
		list = append(list, address)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// ownerOf finds the main address of a member that is named by an alias, in the file or here.
func (im *importing) ownerOf(address string) (string, bool) {
	if im.people[address] != nil {
		return address, true
	}
	if owner := im.aliasOf[address]; owner != "" {
		return owner, true
	}
	return im.d.exact(address)
}

// strangers are members of the file's groups that are not in the file: they have an account already, or will have one.
func (im *importing) strangers() []Change {
	var changes []Change
	for _, address := range im.groupsInOrder() {
		row, field := im.members[address], FieldGroup
		if row.Kind == RowShared {
			field = FieldShared
		}
		waiting := 0
		for _, m := range im.expandRow(row, map[string]bool{address: true}, 0) {
			if im.people[m] != nil {
				continue
			}
			if _, ok := im.d.Account(m); !ok {
				waiting++
			}
			if _, has := im.d.Register(m, field, address); !has {
				changes = append(changes, Change{Account: m, Field: field, Key: address, Value: true})
			}
		}
		if waiting > 0 {
			im.note(*row, false, "%d of its members have no account yet; they will read it once they have one", waiting)
		}
	}
	return changes
}

// person plans one person.
func (im *importing) person(address string) []Change {
	p := im.people[address]
	row := p.row
	if owner := im.taken[address]; owner != address {
		im.note(row, true, "%s is an alias of %s", address, owner)
		return nil
	}
	a, known := im.d.Any(address)
	if known && a.Deleted {
		im.note(row, true, "%s was deleted here: restante user undelete %s brings it back", address, address)
		return nil
	}
	var changes []Change
	if !known {
		a = Account{Address: address}
		changes = append(changes, Change{Account: address, Field: FieldAccount, Value: stateActive})
	}
	e := Edit{Disabled: row.Disabled, Aliases: im.aliases(row), Shared: im.hosted(row, row.Shared), Groups: im.hosted(row, row.Groups)}
	for to, from := range map[**string]string{&e.Name: row.Name, &e.Language: row.Language, &e.Zone: row.Zone} {
		if from != "" {
			*to = &from
		}
	}
	if im.o.Exact {
		e.NoAliases, e.NoShared, e.NoGroups = without(a.Aliases, e.Aliases), without(a.Shared, e.Shared), without(a.Groups, e.Groups)
	}
	more, err := im.d.edit(address, a, e)
	if err != nil {
		im.note(row, true, "%s", reason(err))
		return nil
	}
	changes = append(append(changes, more...), im.password(row)...)
	switch {
	case !known:
		im.res.Added = append(im.res.Added, address)
	case len(changes) > 0:
		im.res.Changed = append(im.res.Changed, address)
	default:
		im.res.Same++
	}
	return changes
}

// aliases are those of a row that are free.
func (im *importing) aliases(row Row) []string {
	var list []string
	for _, one := range im.hosted(row, row.Aliases) {
		if owner, ok := im.taken[one]; ok && owner != row.Address {
			im.note(row, false, "alias %s belongs to %s", one, owner)
			continue
		}
		if one != row.Address {
			im.taken[one] = row.Address
			list = append(list, one)
		}
	}
	return list
}

// hosted are the addresses that belong here, in their normal form.
func (im *importing) hosted(row Row, addresses []string) []string {
	var list []string
	for _, one := range addresses {
		n, err := im.d.normal(one)
		if err != nil {
			im.note(row, false, "%s", reason(err))
			continue
		}
		list = append(list, n)
	}
	return list
}

// password plans the hash of a row. One that was set here is kept, and one that was imported before is not imported again.
func (im *importing) password(row Row) []Change {
	if row.Password == "" {
		return nil
	}
	h, err := ParseHash(row.Password)
	if err != nil {
		im.note(row, false, "without its password: %s", err)
		return nil
	}
	sum := sha256.Sum256([]byte(h))
	v := passwordValue{Set: setImport, From: hex.EncodeToString(sum[:8])}
	var was passwordValue
	if r, ok := im.d.Register(row.Address, FieldPassword, ""); ok && r.Decode(&was) == nil {
		if was.From == v.From {
			return nil
		}
		if was.Set != setImport && !im.o.Passwords {
			im.note(row, false, "the password that was set here is kept (--passwords replaces it)")
			return nil
		}
	}
	return []Change{{Account: row.Address, Field: FieldPassword, Value: v, Secret: []byte(h)}}
}

// without is what of the list the others don't have.
func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(one string) bool { return slices.Contains(others, one) })
}

// reason is the text of an error without what ErrInvalid says.
func reason(err error) string {
	if errors.Is(err, ErrInvalid) {
		return strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": ")
	}
	return err.Error()
}

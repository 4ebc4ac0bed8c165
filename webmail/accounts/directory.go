package accounts

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/spool"
)

// Secrets encrypts and decrypts with the cluster key; *secret.Keyring is one.
type Secrets interface {
	Encrypt(purpose string, plain []byte) (string, error)
	Decrypt(purpose, text string) ([]byte, error)
}

// Options are what Open needs.
type Options struct {
	// Record puts events into the ledger and returns nil once they are durable (spool.Spool.Record).
	Record func(ctx context.Context, evs ...spool.Event) error
	// Note records them lazily (spool.Spool.Note). nil: Directory.Note only applies.
	Note func(evs ...spool.Event)
	// Claim returns true to the first caller of a name in the whole cluster, for ever (spool.Spool.Claim). nil: the first of this process,
	// for tests.
	Claim func(ctx context.Context, name string) (first bool, err error)
	// Secrets is the cluster key. nil: no secrets can be kept.
	Secrets Secrets
	// Outage names the open outage of a domain, a drill (`restante outage declare`) included. nil: there is none.
	Outage func(domain string) (id string, open bool)
	// Hosted says whether addresses of a domain belong here. nil: all do.
	Hosted func(domain string) bool
	Log    *slog.Logger
}

// Directory is all accounts. Its methods may be called by many goroutines.
type Directory struct {
	o      Options
	log    *slog.Logger
	hashes *hashing

	writing sync.Mutex // held from a check to its event, by what must not cross in this process

	mu     sync.RWMutex
	last   time.Time // latest event time seen
	people map[string]*person
	where  map[ref]string // (field, key) -> account, of the fields that are looked up by key
	routes *routes        // nil: to be made again
	claims map[string]bool
}

// person is all registers of an account.
type person struct {
	registers map[Field]map[string]Register
	view      *Account // nil: to be made again
}

// ref is a register whatever its account.
type ref struct {
	field Field
	key   string
}

// Open returns a directory without accounts: Apply gives it what the ledger knows.
func Open(o Options) (*Directory, error) {
	if o.Record == nil {
		return nil, errors.New("accounts: Record is required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Directory{o: o, log: o.Log, hashes: newHashing(), people: map[string]*person{}, where: map[ref]string{}, claims: map[string]bool{}}, nil
}

// Apply takes in events of the ledger, in any order and however often. Those of other types are passed over.
func (d *Directory) Apply(evs []spool.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ev := range evs {
		if r, ok := fromEvent(ev); ok {
			d.apply(r)
		}
	}
}

// aheadMax is how far another node's clock may be ahead for its times to be adopted, as in package spool.
const aheadMax = 5 * time.Minute

func (d *Directory) apply(r Register) {
	if r.Time.After(d.last) && time.Until(r.Time) <= aheadMax {
		d.last = r.Time
	}
	p := d.people[r.Account]
	if p == nil {
		p = &person{registers: map[Field]map[string]Register{}}
		d.people[r.Account] = p
	}
	keys := p.registers[r.Field]
	if keys == nil {
		keys = map[string]Register{}
		p.registers[r.Field] = keys
	}
	if old, ok := keys[r.Key]; ok && !r.newer(old) {
		return
	}
	keys[r.Key] = r
	switch r.Field {
	case FieldAccount, FieldAlias, FieldShared, FieldGroup:
		d.routes = nil
		p.view = nil
	case FieldDisabled, FieldName, FieldLanguage, FieldZone, FieldSignature, FieldPassword, FieldPractised:
		p.view = nil
	case FieldLink, FieldDevice, FieldPasskey:
		d.where[ref{r.Field, r.Key}] = r.Account
	}
}

// times returns n event times that are later than any seen.
func (d *Directory) times(n int) []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]time.Time, n)
	for i := range list {
		t := time.Now().UTC().Round(0)
		if !t.After(d.last) {
			t = d.last.Add(1)
		}
		d.last, list[i] = t, t
	}
	return list
}

// recordMax bounds the events of one call of Options.Record.
const recordMax = 500

// Record makes changes and returns nil once they are durable; they count from then on. It checks nothing. by is an account, or
// "admin <user>". With many changes an error may leave the first of them made; to make them again is harmless.
func (d *Directory) Record(ctx context.Context, by string, changes ...Change) error {
	evs, err := d.events(by, changes)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(evs, recordMax) {
		if err := d.o.Record(ctx, part...); err != nil {
			return err
		}
		d.Apply(part)
	}
	return nil
}

// Note makes changes lazily: they count here at once, in the cluster within a minute, and a killed process may lose them.
func (d *Directory) Note(by string, changes ...Change) error {
	evs, err := d.events(by, changes)
	if err != nil {
		return err
	}
	if d.o.Note != nil {
		d.o.Note(evs...)
	}
	d.Apply(evs)
	return nil
}

func (d *Directory) events(by string, changes []Change) ([]spool.Event, error) {
	at := d.times(len(changes))
	evs := make([]spool.Event, len(changes))
	for i, c := range changes {
		var err error
		if evs[i], err = d.event(by, c, at[i]); err != nil {
			return nil, err
		}
	}
	return evs, nil
}

// Register returns the content of one register; false when it is empty or its time has passed.
func (d *Directory) Register(account string, f Field, key string) (Register, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.register(account, f, key)
}

func (d *Directory) register(account string, f Field, key string) (Register, bool) {
	p := d.people[account]
	if p == nil {
		return Register{}, false
	}
	r, ok := p.registers[f][key]
	if !ok || r.empty() || r.over(time.Now()) {
		return Register{}, false
	}
	return r, true
}

// Registers returns the registers of a field that have content and time left, by key.
func (d *Directory) Registers(account string, f Field) []Register {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.registers(account, f)
}

func (d *Directory) registers(account string, f Field) []Register {
	p := d.people[account]
	if p == nil {
		return nil
	}
	var list []Register
	now := time.Now()
	for _, r := range p.registers[f] {
		if !r.empty() && !r.over(now) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Register) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// Find returns the register of a field by its key alone, whosever it is: of links, devices and passkeys, whose keys are unique.
func (d *Directory) Find(f Field, key string) (Register, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	account, ok := d.where[ref{f, key}]
	if !ok {
		return Register{}, false
	}
	return d.register(account, f, key)
}

// Reveal decrypts the secret of a register.
func (d *Directory) Reveal(r Register) ([]byte, error) {
	if r.secret == "" {
		return nil, errors.New("no secret")
	}
	if d.o.Secrets == nil {
		return nil, errors.New("no cluster key: secrets can't be read")
	}
	return d.o.Secrets.Decrypt(purpose(r.Account, r.Field, r.Key), r.secret)
}

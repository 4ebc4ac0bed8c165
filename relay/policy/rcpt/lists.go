package rcpt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"restante/spool"
)

// Bounds of what is written at once.
const (
	chunk      = 1000 // addresses in an event
	perRecord  = 20   // events written together
	fewPeople  = 20   // a list with fewer may change by more than half, as long as it doesn't shrink by more
	kindMax    = 40   // octets of a kind; the rest is cut
	maxSingle  = 5000 // addresses that are added or removed at once
	sourceMax  = 60   // octets of the name of a source
	shownNames = 3
)

// States of addresses in spool.RecipientsChanged.
const (
	stateExists = "exists"
	stateGone   = "gone"
	kindRemoved = "removed" // of what is gone: an admin took it out, so that no list has lost it
)

// Replace takes in a full list of a source. by is who did it, for the ledger. What changes is durable when it returns. Addresses must
// be of the domain; several spellings of one count once. A list of nobody, with Force, lets the source's list go. ErrShrinks (the Change then says what it would be), ErrTooMany, ErrNotHosted.
func (d *Directory) Replace(ctx context.Context, domain, source string, list []Address, by string, o ReplaceOptions) (Change, error) {
	if d == nil {
		return Change{}, errNoDirectory
	}
	if source == "" || len(source) > sourceMax || slices.Contains([]string{SourceConfig, SourceAdded, SourcePrimary, SourceAlways}, source) || strings.ContainsAny(source, " \t\r\n") {
		return Change{}, fmt.Errorf("%q is no name for a list", source)
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	p, err := d.plan(domain, source, list)
	if err != nil {
		return Change{}, err
	}
	if p.shrinks() && !o.Force {
		p.change.Shrinks, err = true, p.shrunk()
	}
	if err == nil && !o.DryRun {
		err = d.take(ctx, p, by, o.At)
	}
	return p.change, err
}

// plan is what a new list changes.
type plan struct {
	change Change
	exists map[string][]string // by kind: local parts to be written
	gone   []string
}

func (p *plan) shrinks() bool {
	c := p.change
	if c.Before == 0 {
		return false
	}
	return c.After == 0 || 2*c.After < c.Before || c.Before >= fewPeople && 2*len(c.Removed) > c.Before
}

func (p *plan) shrunk() error {
	c := p.change
	names := strings.Join(c.Removed[:min(shownNames, len(c.Removed))], ", ")
	return fmt.Errorf("%w: the list of %s for %s had %d and would have %d; gone would be %d, such as %s", ErrShrinks, c.Source, c.Domain, c.Before, c.After, len(c.Removed), names)
}

// plan compares a new list with what is known.
func (d *Directory) plan(name, source string, addresses []Address) (*plan, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	one, err := d.hostedLocked(name)
	if err != nil {
		return nil, err
	}
	if len(addresses) > MaxAddresses {
		return nil, fmt.Errorf("%w: %d, the most are %d", ErrTooMany, len(addresses), MaxAddresses)
	}
	bit := one.bit(source)
	if bit == 0 && len(one.sources) == maxSources {
		return nil, fmt.Errorf("%s has lists of %d sources, which are the most; use the name of one of them", one.Name, maxSources)
	}
	_, had := one.lists[source]
	p := &plan{change: Change{Domain: one.Name, Source: source, Before: one.count(source), First: !had}, exists: make(map[string][]string)}
	seen := make(map[string]bool, len(addresses))
	for _, a := range addresses {
		l, err := local(one.Name, a.Address)
		if err != nil {
			return nil, err
		}
		if seen[l] {
			continue
		}
		seen[l] = true
		kind := a.Kind[:min(len(a.Kind), kindMax)]
		old := one.people[l]
		switch {
		case old.in&bit == 0:
			p.change.Added = append(p.change.Added, address(one.Name, l))
			p.exists[kind] = append(p.exists[kind], l)
		case old.in == bit && d.kinds[old.kind] != kind: // of several sources any may have named it
			p.exists[kind] = append(p.exists[kind], l)
		}
	}
	p.change.After = len(seen)
	if p.change.Before > 0 {
		for l, old := range one.people {
			if old.in&bit != 0 && !seen[l] {
				p.gone = append(p.gone, l)
				p.change.Removed = append(p.change.Removed, address(one.Name, l))
			}
		}
	}
	slices.Sort(p.change.Added)
	slices.Sort(p.change.Removed)
	return p, nil
}

// take writes what a new list changes, and then that it was taken in.
func (d *Directory) take(ctx context.Context, p *plan, by string, made time.Time) error {
	c := p.change
	events := changes(c.Domain, c.Source, by, stateGone, "", p.gone)
	for _, kind := range sortedKeys(p.exists) {
		events = append(events, changes(c.Domain, c.Source, by, stateExists, kind, p.exists[kind])...)
	}
	for part := range slices.Chunk(events, perRecord) {
		if err := d.record(ctx, part...); err != nil {
			return fmt.Errorf("the list of %s can't be written to the store, what was written of it counts: %w", c.Source, err)
		}
		d.apply(part)
	}
	at := d.now()
	if !made.IsZero() && made.Before(at) {
		at = made
	}
	return d.listed(ctx, c.Domain, c.Source, by, c.After, at, len(events) > 0)
}

// listed notes that a full list was taken in, and writes it where that is news.
func (d *Directory) listed(ctx context.Context, domain, source, by string, count int, at time.Time, changed bool) error {
	d.mu.Lock()
	b := d.bookLocked(domain)
	old, had := b.lists[source]
	confirm := ConfirmEvery
	if one := d.domains[domain]; one != nil {
		confirm = min(confirm, one.MaxAge/4)
	}
	news := changed || !had || old.count != count
	due := news || at.Sub(old.written) >= confirm
	next := list{count: count, at: at, written: old.written}
	if due {
		next.written = at
	}
	if !news {
		b.lists[source] = next
		delete(b.failed, source)
	}
	d.mu.Unlock()
	ev := spool.Event{Type: spool.RecipientsListed, By: by, Domain: domain, Data: map[string]any{"source": source, "count": count}}
	if d.now().Sub(at) >= time.Second { // else the time of the event says it
		ev.Data["taken"] = at.UTC().Format(time.RFC3339)
	}
	switch {
	case news:
		if err := d.record(ctx, ev); err != nil {
			return fmt.Errorf("that the list of %s was taken in can't be written to the store: %w", source, err)
		}
		d.mu.Lock()
		b.lists[source] = next
		delete(b.failed, source)
		d.mu.Unlock()
	case due:
		d.note(ev)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.measureLocked()
	return nil
}

// changes are the events that write addresses, given by local part, in chunks.
func changes(domain, source, by, state, kind string, locals []string) []spool.Event {
	var events []spool.Event
	slices.Sort(locals)
	for part := range slices.Chunk(locals, chunk) {
		addresses := make([]string, len(part))
		for i, l := range part {
			addresses[i] = address(domain, l)
		}
		data := map[string]any{"source": source, "state": state, "addresses": addresses}
		if kind != "" {
			data["kind"] = kind
		}
		events = append(events, spool.Event{Type: spool.RecipientsChanged, By: by, Domain: domain, Data: data})
	}
	return events
}

// record writes events durably.
func (d *Directory) record(ctx context.Context, evs ...spool.Event) error {
	if d.o.Record == nil {
		return nil
	}
	return d.o.Record(ctx, evs...)
}

// note writes events lazily.
func (d *Directory) note(evs ...spool.Event) {
	if d.o.Note != nil {
		d.o.Note(evs...)
	}
}

// apply brings the memory to events of our own at once, before they come back from the index.
func (d *Directory) apply(events []spool.Event) {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range events {
		ev := &events[i]
		b := d.bookLocked(ev.Domain)
		source, _ := ev.Data["source"].(string)
		kind, _ := ev.Data["kind"].(string)
		addresses, _ := ev.Data["addresses"].([]string)
		for _, a := range addresses {
			if l, err := local(ev.Domain, a); err == nil {
				d.setLocked(b, l, source, ev.Data["state"] == stateExists, kind)
				b.lost(l, ev.Data["state"] == stateGone, kind, now, now)
			}
		}
	}
}

// Add adds single addresses (SourceAdded), local parts or whole ones, and returns those that weren't there.
func (d *Directory) Add(ctx context.Context, domain string, addresses []string, by string) ([]string, error) {
	if d == nil {
		return nil, errNoDirectory
	}
	if len(addresses) > maxSingle {
		return nil, fmt.Errorf("%w to add at once: %d, the most are %d; import a list", ErrTooMany, len(addresses), maxSingle)
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.RLock()
	one, err := d.hostedLocked(domain)
	var fresh []string
	if err == nil {
		fresh, err = one.missing(addresses)
	}
	d.mu.RUnlock()
	if err != nil || len(fresh) == 0 {
		return nil, err
	}
	events := changes(one.Name, SourceAdded, by, stateExists, "", fresh)
	if err := d.record(ctx, events...); err != nil {
		return nil, fmt.Errorf("the addresses can't be written to the store, so they don't count: %w", err)
	}
	d.apply(events)
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.measureLocked()
	return whole(one.Name, fresh), nil
}

// missing are the local parts of addresses that weren't added before.
func (one *domain) missing(addresses []string) ([]string, error) {
	all, err := locals(one.Name, addresses)
	if err != nil {
		return nil, err
	}
	var fresh []string
	for _, l := range sortedKeys(all) {
		if one.people[l].in&bitAdded == 0 {
			fresh = append(fresh, l)
		}
	}
	return fresh, nil
}

// Remove takes addresses out of SourceAdded and SourceImport and returns those that were there. It is an error, and nothing is done,
// when another source has one of them: it would come back with the next sync.
func (d *Directory) Remove(ctx context.Context, domain string, addresses []string, by string) ([]string, error) {
	if d == nil {
		return nil, errNoDirectory
	}
	if len(addresses) > maxSingle {
		return nil, fmt.Errorf("%w to remove at once: %d, the most are %d; import a list without them", ErrTooMany, len(addresses), maxSingle)
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.RLock()
	one, err := d.hostedLocked(domain)
	var added, imported, all []string
	if err == nil {
		added, imported, all, err = one.removable(addresses)
	}
	d.mu.RUnlock()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	events := append(changes(one.Name, SourceAdded, by, stateGone, kindRemoved, added), changes(one.Name, SourceImport, by, stateGone, kindRemoved, imported)...)
	d.mu.RLock()
	l, had := one.lists[SourceImport]
	d.mu.RUnlock()
	if had && len(imported) > 0 {
		l.count = max(0, l.count-len(imported))
		// It is no newer for that.
		events = append(events, spool.Event{Type: spool.RecipientsListed, By: by, Domain: one.Name,
			Data: map[string]any{"source": SourceImport, "count": l.count, "taken": l.at.UTC().Format(time.RFC3339)}})
	}
	if err := d.record(ctx, events...); err != nil {
		return nil, fmt.Errorf("the change can't be written to the store, so nothing is removed: %w", err)
	}
	d.apply(events)
	d.mu.Lock()
	defer d.mu.Unlock()
	if had && len(imported) > 0 {
		one.lists[SourceImport] = l
	}
	d.measureLocked()
	return whole(one.Name, all), nil
}

// removable are the local parts of those addresses that were added, that were imported, and of either.
func (one *domain) removable(addresses []string) (added, imported, all []string, err error) {
	set, err := locals(one.Name, addresses)
	if err != nil {
		return nil, nil, nil, err
	}
	var errs []error
	for _, l := range sortedKeys(set) {
		in := one.people[l].in & one.live
		for i, s := range one.sources {
			if in&(1<<i)&^(bitAdded|bitImport|bitPrimary) != 0 {
				errs = append(errs, fmt.Errorf("%s is known from %s; take it out there", address(one.Name, l), s))
			}
		}
		if in == bitPrimary {
			errs = append(errs, fmt.Errorf("%s is known since the primary has taken mail for it; it is forgotten when the primary refuses it for a day", address(one.Name, l)))
		}
		if in&bitAdded != 0 {
			added = append(added, l)
		}
		if in&bitImport != 0 {
			imported = append(imported, l)
		}
		if in&(bitAdded|bitImport) != 0 {
			all = append(all, l)
		}
	}
	return added, imported, all, errors.Join(errs...)
}

func whole(domain string, locals []string) []string {
	out := make([]string, len(locals))
	for i, l := range locals {
		out[i] = address(domain, l)
	}
	return out
}

// Failed is told that a source couldn't be read; nil says that it could. A Replace says so too.
func (d *Directory) Failed(domain, source string, err error) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	one, herr := d.hostedLocked(domain)
	switch {
	case herr != nil: // the domain was taken out of the configuration meanwhile
	case err == nil:
		delete(one.failed, source)
	default:
		one.failed[source] = err
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

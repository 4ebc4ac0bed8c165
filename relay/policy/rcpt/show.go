package rcpt

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// List returns recipients of a domain, by address. Those of a domain that it is an alias of aren't among them.
func (d *Directory) List(_ context.Context, domain string, f Filter) ([]Recipient, error) {
	if d == nil {
		return nil, errNoDirectory
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	one, err := d.hostedLocked(domain)
	if err != nil {
		return nil, err
	}
	var out []Recipient
	text, now := strings.ToLower(f.Text), d.now()
	add := func(r Recipient) {
		if text == "" || strings.Contains(r.Address, text) {
			out = append(out, r)
		}
	}
	switch f.State {
	case Exists, "":
		want := ^uint32(0)
		if f.Source != "" {
			want = one.bit(f.Source)
		}
		for l, p := range one.people {
			if p.in&one.live&want != 0 && one.has(l, now) != "" {
				add(Recipient{Address: address(one.Name, l), State: Exists, Kind: d.kinds[p.kind], Sources: one.names(p.in & one.live)})
			}
		}
	case Absent:
		for l, b := range one.bad {
			if one.refused(l, now) && one.has(l, now) == "" && (f.Source == "" || f.Source == SourcePrimary) {
				add(Recipient{Address: address(one.Name, l), State: Absent, Sources: []string{SourcePrimary}, At: b.at})
			}
		}
	default:
		return nil, fmt.Errorf("recipients are listed that are %q or %q, not %q", Exists, Absent, f.State)
	}
	slices.SortFunc(out, func(a, b Recipient) int { return strings.Compare(a.Address, b.Address) })
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, nil
}

// names are the sources of bits.
func (b *book) names(in uint32) []string {
	var out []string
	for i, s := range b.sources {
		if in&(1<<i) != 0 {
			out = append(out, s)
		}
	}
	return out
}

// Freshness says how fresh and complete the lists of a domain are; of an alias, those of the domain that it is an alias of.
func (d *Directory) Freshness(_ context.Context, domain string) Freshness {
	if d == nil {
		return Freshness{}
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	one, err := d.hostedLocked(domain)
	if err != nil {
		return Freshness{}
	}
	now := d.now()
	s := d.standing(one, now)
	f := Freshness{Complete: s.complete, Why: cmp.Or(s.why, s.doubt), At: s.at, Stale: s.doubt != "", Wanted: len(one.wanted), Unknown: one.Unknown, AliasOf: one.AliasOf, Reading: d.reading.Load()}
	of := one
	if one.target != nil && !one.hasLists() {
		of = one.target
	}
	for l, p := range of.people {
		if p.in&of.live != 0 && l != "" {
			f.Known++
		}
	}
	_, any := one.find("", now)
	f.CatchAll = any || one.any.takesAny(now)
	f.Sources = of.sourceStates(now)
	return f
}

// sourceStates are the states of the sources that there are or should be.
func (one *domain) sourceStates(now time.Time) []SourceState {
	names := slices.Clone(one.Sources)
	for i, s := range one.sources {
		if (one.counts[i] > 0 || one.lists[s].count > 0) && one.counted(s) && !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	for s := range one.failed {
		if one.counted(s) && !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	slices.Sort(names)
	newest := one.ownStanding(now).at
	out := make([]SourceState, 0, len(names))
	for _, s := range names {
		state := SourceState{Name: s, Count: one.count(s), At: one.lists[s].at}
		state.Stale = !state.At.IsZero() && now.Sub(state.At) > one.MaxAge
		if s == SourceImport && newest.After(state.At) {
			state.Stale = false // what was once imported beside a list that is synced needs no new one
		}
		if err := one.failed[s]; err != nil {
			state.Err = err.Error()
		}
		out = append(out, state)
	}
	return out
}

package health

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// Declare lets a domain, or one address (what contains "@"), count as down until d.Until, whatever
// probes see. A later one for the same target replaces it. It lives in memory only: see relay/outage.
func (m *Monitor) Declare(d Declaration) {
	d.Target = normal(d.Target)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !time.Now().Before(d.Until) {
		return
	}
	before := m.stateLocked(d.Target)
	m.declared[d.Target] = d
	m.declarationChangedLocked(d.Target, before)
	notify(m.expiry)
}

// End ends a declaration before its time, and reports whether there was one. A domain for which mail is
// pending has to take one kept message before mail is passed again.
func (m *Monitor) End(target string) bool { return m.end(normal(target), false) }

func (m *Monitor) end(target string, onlyPast bool) bool {
	m.mu.Lock()
	d, ok := m.declared[target]
	if !ok || onlyPast && time.Now().Before(d.Until) {
		m.mu.Unlock()
		return false
	}
	dom := m.domains[target]
	m.mu.Unlock()
	pending := dom != nil && m.o.HasPending != nil && m.o.HasPending(target)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.declared[target] != d {
		return false // ended or replaced meanwhile
	}
	if dom == nil || m.domains[target] != dom {
		delete(m.declared, target)
		return true
	}
	// Its time may be over, but the domain's subscribers last heard that it is in force.
	s, before := dom.set, overlay(dom.set.rec, d)
	was := s.rec
	s.rec = Step(was, Observation{Kind: Ended, Pending: pending}, time.Now())
	m.changedLocked(s, was) // for the other domains of the set
	delete(m.declared, target)
	m.declarationChangedLocked(target, before)
	s.wake()
	return true
}

func (m *Monitor) declarationChangedLocked(target string, before Record) {
	d := m.domains[target]
	if d == nil {
		return
	}
	m.queue = append(m.queue, Change{Domain: target, Before: before, After: m.stateLocked(target)})
	notify(m.queued)
}

// Declared returns the declaration that holds mail for an address back: one for the address itself or
// for its domain. target may be a domain too.
func (m *Monitor) Declared(target string) (Declaration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.declared) == 0 { // nearly always, and asked for each recipient
		return Declaration{}, false
	}
	target = normal(target)
	if d, ok := m.declared[target]; ok && time.Now().Before(d.Until) {
		return d, true
	}
	if i := strings.LastIndexByte(target, '@'); i >= 0 {
		if d, ok := m.declared[target[i+1:]]; ok && time.Now().Before(d.Until) {
			return d, true
		}
	}
	return Declaration{}, false
}

// Declarations returns all that are in force, by target.
func (m *Monitor) Declarations() []Declaration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ds []Declaration
	for _, t := range slices.Sorted(maps.Keys(m.declared)) {
		if d := m.declared[t]; time.Now().Before(d.Until) {
			ds = append(ds, d)
		}
	}
	return ds
}

// expire ends declarations when their time has come.
func (m *Monitor) expire(ctx context.Context) {
	for {
		m.mu.Lock()
		var next time.Time
		var past []string
		for t, d := range m.declared {
			if !time.Now().Before(d.Until) {
				past = append(past, t)
			} else if next.IsZero() || d.Until.Before(next) {
				next = d.Until
			}
		}
		m.mu.Unlock()
		slices.Sort(past)
		for _, t := range past {
			m.end(t, true)
		}
		if len(past) > 0 {
			continue
		}
		wait := time.Hour // only a guard: Declare wakes us
		if !next.IsZero() {
			wait = time.Until(next)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-m.expiry:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

package rcpt

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"restante/relay/mailaddr"
	"restante/spool"
)

// Check says whether a recipient of a hosted domain exists, and what to do with it while its primary isn't asked. It takes microseconds.
func (d *Directory) Check(_ context.Context, a mailaddr.Address) Answer {
	if d == nil {
		return Answer{State: Unsure, Action: Take, Why: errNoDirectory.Error()}
	}
	answer := d.check(a)
	d.o.Metrics.checked(answer)
	return answer
}

func (d *Directory) check(a mailaddr.Address) Answer {
	if always(a) {
		return Answer{State: Exists, Action: Take, Why: "every domain has it", Source: SourceAlways}
	}
	now := d.now()
	d.mu.RLock()
	defer d.mu.RUnlock()
	one := d.domains[a.Domain]
	switch {
	case a.Routed():
		return Answer{State: Unsure, Action: Refuse, Why: "the address holds a route of its own"}
	case one == nil: // who asks knows the domain, so a reload is under way
		return Answer{State: Unsure, Action: Defer, Why: "the domain isn't hosted here"}
	}
	local := key(a)
	if found, ok := one.find(local, now); ok {
		return found
	}
	s := d.standing(one, now)
	refused := one.refused(local, now)
	switch {
	case !s.complete && refused:
		return Answer{State: Absent, Action: Defer, Why: "the primary refused it not long ago", Source: SourcePrimary}
	case !s.complete:
		return Answer{State: Unsure, Action: Take, Why: s.why + ", so all are kept"}
	}
	answer := Answer{State: Absent, Why: "no list has it"}
	switch {
	case one.Unknown == UnknownAccept:
		answer.Action, answer.Why = Take, answer.Why+", and unknown recipients are accepted"
	case one.Unknown == UnknownRefuse && s.doubt == "" && one.leftLately(local, now):
		answer.Action, answer.Why = Defer, "a list has lost it within a day, so it isn't refused yet"
	case one.Unknown == UnknownRefuse && s.doubt == "":
		answer.Action = Refuse
	default:
		answer.Action = Defer
		if one.Unknown == UnknownRefuse {
			answer.State, answer.Why = Unsure, answer.Why+", but nobody is refused by it: "+s.doubt
		}
	}
	return answer
}

// always reports the addresses that every domain has (RFC 5321 4.5.1, RFC 2142 4 and 5).
func always(a mailaddr.Address) bool {
	return strings.EqualFold(a.Local, "postmaster") || strings.EqualFold(a.Local, "abuse")
}

// Has reports that a source has the very address, be it without its tag: a primary that refuses it is to be doubted. That any address
// exists says nothing of this one.
func (d *Directory) Has(a mailaddr.Address) bool {
	if d == nil {
		return false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	one := d.domains[a.Domain]
	if one == nil || a.Routed() {
		return false
	}
	_, ok := one.named(key(a), d.now())
	return ok
}

// Sure is Has by lists that can be believed: complete, not too old, and none of them failing.
func (d *Directory) Sure(a mailaddr.Address) bool {
	if !d.Has(a) {
		return false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	one := d.domains[a.Domain]
	if one == nil {
		return false
	}
	s := d.standing(one, d.now())
	return s.complete && s.doubt == ""
}

// both are the domain and the one that it is an alias of.
func (one *domain) both() []*domain {
	if one.target == nil {
		return []*domain{one}
	}
	return []*domain{one, one.target}
}

// find looks for an address in what is known of the domain and of the one that it is an alias of: as it stands first,
// then without its tag, then for any.
func (one *domain) find(local string, now time.Time) (Answer, bool) {
	if found, ok := one.named(local, now); ok {
		return found, true
	}
	for _, o := range one.both() {
		if o.CatchAll {
			return o.found(one, SourceConfig, "any address exists"), true
		}
		if src := o.has("", now); src != "" {
			return o.found(one, src, "any address exists"), true
		}
	}
	return Answer{}, false
}

// named looks for an address as it stands, and without its tag.
func (one *domain) named(local string, now time.Time) (Answer, bool) {
	both := one.both()
	for _, o := range both {
		if src := o.has(local, now); src != "" {
			return o.found(one, src, ""), true
		}
	}
	for _, o := range both {
		// The longest name first: mary-ann+x is mary-ann's before it is mary's.
		for i := strings.LastIndexAny(local, o.SubAddress); i > 0 && o.SubAddress != ""; i = strings.LastIndexAny(local[:i], o.SubAddress) {
			src := o.has(local[:i], now)
			if src == "" && always(mailaddr.Address{Local: local[:i]}) {
				src = SourceAlways
			}
			if src != "" {
				return o.found(one, src, "as "+address(o.Name, local[:i])), true
			}
		}
	}
	return Answer{}, false
}

func (one *domain) found(asked *domain, source, how string) Answer {
	parts := []string{"known from " + source}
	if source == SourcePrimary {
		parts[0] = "the primary has taken it"
	}
	if how != "" {
		parts = append(parts, how)
	}
	if one != asked {
		parts = append(parts, "in "+one.Name+", which this domain is an alias of")
	}
	return Answer{State: Exists, Action: Take, Why: strings.Join(parts, ", "), Source: source}
}

// has names the best source that has a local part, "" if none does.
func (one *domain) has(local string, now time.Time) string {
	in := one.people[local].in & one.live
	if in == bitPrimary && one.refused(local, now) {
		return "" // it had, and doesn't any more
	}
	if in&^bitPrimary != 0 {
		in &^= bitPrimary // a list says more
	}
	for i, s := range one.sources {
		if in&(1<<i) != 0 {
			return s
		}
	}
	return ""
}

// leftLately reports that a list had an address, be it without its tag, not long ago.
func (one *domain) leftLately(local string, now time.Time) bool {
	for _, o := range one.both() {
		for i := len(local); i > 0; i = strings.LastIndexAny(local[:i], o.SubAddress) {
			if at, ok := o.left[local[:i]]; ok && within(now, at, LeftFor) {
				return true
			}
		}
	}
	return false
}

// refused reports that the primary refused an address not long ago.
func (one *domain) refused(local string, now time.Time) bool {
	b := one.bad[local]
	return b != nil && within(now, b.at, BadFor)
}

// clockSlack is how far a time may lie ahead of our clock, as that of another node does, before it counts for nothing: a clock has jumped.
const clockSlack = time.Hour

// within reports that at was less than d ago.
func within(now, at time.Time, d time.Duration) bool {
	ago := now.Sub(at)
	return ago < d && ago > -clockSlack
}

// standing is how far the lists of a domain can be believed.
type standing struct {
	complete bool
	why      string    // why they aren't
	at       time.Time // of the newest full list that was taken in
	doubt    string    // why nobody may be refused by them all the same, "" if they may
}

// standing says how far the lists of a domain can be believed now.
func (d *Directory) standing(one *domain, now time.Time) standing {
	s := one.standing(now)
	if d.reading.Load() {
		s.complete, s.why = false, "what the ledger says of recipients is still being read"
	}
	return s
}

// standing says how far the lists of the domain can be believed, those of the domain that it is an alias of included.
func (one *domain) standing(now time.Time) standing {
	s := one.ownStanding(now)
	if one.target == nil {
		return s
	}
	t := one.target.ownStanding(now)
	if !one.hasLists() {
		return t
	}
	t.complete = t.complete && s.complete
	if !s.complete {
		t.why = s.why
	}
	if t.doubt == "" {
		t.doubt = s.doubt
	}
	return t
}

// hasLists reports that the domain has, or is to have, full lists. A list of nobody was let go: there is none.
func (one *domain) hasLists() bool {
	if len(one.Sources) > 0 || one.counts[0] > 0 {
		return true
	}
	for _, l := range one.lists {
		if l.count > 0 {
			return true
		}
	}
	return false
}

func (one *domain) ownStanding(now time.Time) standing {
	var s standing
	missing := ""
	for _, name := range one.Sources {
		if _, ok := one.lists[name]; !ok {
			missing = "the list of " + name + " was never taken in"
		}
	}
	full := 0
	for name, l := range one.lists {
		if !one.counted(name) || l.count == 0 {
			continue
		}
		if one.count(name) < l.count { // the ledger isn't read to its end
			missing = "the list of " + name + " is known in part only"
		}
		full++
		if l.at.After(s.at) {
			s.at = l.at
		}
	}
	configured := one.counts[0] > 0 // the admin's word, as long as it stands there
	if configured {
		full++
	}
	switch {
	case missing != "":
		s.why = missing
	case full == 0:
		s.why = "recipients were never imported"
	default:
		s.complete = true
	}
	switch age := now.Sub(s.at); {
	case full == 0 || configured:
	case age > one.MaxAge:
		s.doubt = fmt.Sprintf("the newest list is %s old", spool.Span(age))
	case age < -clockSlack:
		s.doubt = fmt.Sprintf("the newest list is of a time to come, %s: a clock was wrong", s.at.UTC().Format(time.RFC3339))
	}
	for name, err := range one.failed {
		if one.counted(name) {
			s.doubt = fmt.Sprintf("%s can't be read: %v", name, err)
		}
	}
	return s
}

// counted reports that lists of a source count, see Domain.Sources.
func (one *domain) counted(source string) bool {
	return slices.Contains(fixedSources, source) || slices.Contains(one.Sources, source)
}

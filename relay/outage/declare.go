package outage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/spool"
)

// Target reads what a declaration may be for: a domain, or one address.
func Target(s string) (target, domain string, err error) {
	if strings.Contains(s, "@") {
		a, err := mailaddr.Parse(s)
		if err != nil {
			return "", "", fmt.Errorf("address %q: %w", s, err)
		}
		return a.Key(), a.Domain, nil
	}
	d, err := mailaddr.ParseDomain(s)
	if err != nil {
		return "", "", fmt.Errorf("domain %q: %w", s, err)
	}
	return d, d, nil
}

// ErrNotRecorded says that a declaration, or its end, is in force on this node but isn't in the ledger
// yet; it is written with the next batch.
var ErrNotRecorded = errors.New("in force on this node, but the store can't record it now")

// ErrNotHosted says that a domain isn't ours.
var ErrNotHosted = errors.New("not a hosted domain")

// Declare lets a domain, or one address, count as down until a time. The error may be ErrNotHosted or
// ErrNotRecorded.
func (k *Keeper) Declare(ctx context.Context, d health.Declaration) error {
	target, domain, err := Target(d.Target)
	if err != nil {
		return err
	}
	if !slices.Contains(k.o.Health.Domains(), domain) {
		return fmt.Errorf("%s: %w", domain, ErrNotHosted)
	}
	switch left := time.Until(d.Until); {
	case left <= 0:
		return fmt.Errorf("a declaration has to end in the future, not at %s", d.Until.Format(time.RFC3339))
	case left > MaxDeclared:
		return errors.New("a declaration lasts 31 days at most")
	}
	d.Target = target
	k.touch(target)
	k.o.Health.Declare(d)
	return k.record(ctx, event(spool.Declared, target, d))
}

// End ends a declaration before its time, and reports whether there was one.
func (k *Keeper) End(ctx context.Context, target, by string) (bool, error) {
	target, _, err := Target(target)
	if err != nil {
		return false, err
	}
	k.touch(target)
	if !k.o.Health.End(target) {
		return false, nil
	}
	return true, k.record(ctx, event(spool.DeclareEnded, target, health.Declaration{By: by}))
}

func event(t spool.EventType, target string, d health.Declaration) spool.Event {
	ev := spool.Event{Type: t, By: d.By, Until: d.Until, Reason: spool.Printable(d.Reason)}
	if strings.Contains(target, "@") {
		ev.Address = target
	} else {
		ev.Domain = target
	}
	return ev
}

func (k *Keeper) record(ctx context.Context, ev spool.Event) error {
	k.outdo(ctx, &ev)
	if err := k.o.Ledger.Record(ctx, ev); err != nil {
		k.o.Ledger.Note(ev)
		return fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	return nil
}

// outdo dates an event behind the declaration that the index shows of the same target, if that is of a clock that
// was ahead: it would outlive all that is said before its time.
func (k *Keeper) outdo(ctx context.Context, ev *spool.Event) {
	evs, err := k.o.Index.Declarations(ctx)
	k.report(ctx, "declarations can't be read from the index; this one is dated by our clock", err)
	now := time.Now()
	for _, was := range evs {
		if was.Domain != ev.Domain || was.Address != ev.Address || was.Time.Before(now) {
			continue
		}
		ev.Time = was.Time.Add(1)
		k.mu.Lock()
		k.touched[ev.Domain+ev.Address] = was.Time
		k.mu.Unlock()
	}
}

// touch says that what the index shows of a target is older than what was said here just now.
func (k *Keeper) touch(target string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.followed, target)
	k.touched[target] = time.Now()
}

// followDeclarations brings into force what was declared on other nodes, or before a restart, and ends
// what was ended there.
func (k *Keeper) followDeclarations(ctx context.Context) error {
	evs, err := k.o.Index.Declarations(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	inForce := make(map[string]health.Declaration)
	for _, d := range k.o.Health.Declarations() {
		inForce[d.Target] = d
	}
	shown := make(map[string]bool)
	var declare []health.Declaration
	var end []string
	k.mu.Lock()
	for _, ev := range evs {
		target, _, err := Target(ev.Domain + ev.Address)
		if err != nil || !now.Before(ev.Until) {
			continue
		}
		shown[target] = true
		if ours, ok := inForce[target]; ok && ours.Until.Equal(ev.Until) {
			k.followed[target] = true
			continue
		}
		if !ev.Time.After(k.touched[target]) {
			continue
		}
		k.followed[target] = true
		declare = append(declare, health.Declaration{Target: target, Until: ev.Until, Reason: ev.Reason, By: ev.By})
	}
	for target := range k.followed {
		if !shown[target] {
			delete(k.followed, target)
			if _, ok := inForce[target]; ok {
				end = append(end, target)
			}
		}
	}
	k.mu.Unlock()
	for _, d := range declare {
		k.o.Health.Declare(d)
	}
	for _, t := range end {
		k.o.Health.End(t)
	}
	return nil
}

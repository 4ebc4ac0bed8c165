package app

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"restante/cmd/internal/config"
	"restante/relay/health"
	"restante/webmail"
)

// How often it is looked whether the picture has to be drawn anew, and how often it is drawn in any case: notices end by the clock.
const (
	pictureEvery = time.Second
	pictureAnew  = 15 * time.Second
)

// picture is how the domains do, as the webmail tells it: looked up by every page, and so kept in memory.
type picture struct {
	app     *App
	domains atomic.Pointer[map[string]webmail.DomainState]
}

func newPicture(a *App) *picture {
	p := &picture{app: a}
	p.domains.Store(&map[string]webmail.DomainState{})
	return p
}

// Domain implements webmail.Outages.
func (p *picture) Domain(name string) webmail.DomainState { return (*p.domains.Load())[name] }

// writing says whether the people of a domain may write: in an outage, and for a while after it.
func (p *picture) writing(name string) bool {
	s := p.Domain(name)
	return s.Hosted && (s.Down || s.Recovering || time.Now().Before(s.WritingUntil))
}

// run draws until ctx ends, when a primary or the index has changed.
func (p *picture) run(ctx context.Context) error {
	t := time.NewTicker(pictureEvery)
	defer t.Stop()
	var drawn time.Time
	var seen []health.Record
	var cfg *config.Config
	changed := p.app.index.Changed()
	for {
		now, records := time.Now(), p.records()
		old := p.app.cfg.Load() != cfg || now.Sub(drawn) >= pictureAnew || !reflect.DeepEqual(records, seen)
		select {
		case <-changed:
			old = true
		default:
		}
		if old {
			changed = p.app.index.Changed() // before it is read
			cfg = p.app.cfg.Load()
			if err := p.draw(ctx); err == nil {
				drawn, seen = now, records
			} else if ctx.Err() == nil {
				p.app.log.Debug("how outages stand isn't known", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// records are the states of all primaries, less what changes with every probe.
func (p *picture) records() []health.Record {
	c := p.app.cfg.Load()
	list := make([]health.Record, len(c.Domains))
	for i := range c.Domains {
		r := p.app.monitor.State(c.Domains[i].Name)
		list[i] = health.Record{State: r.State, Since: r.Since, DownSince: r.DownSince, Declaration: r.Declaration}
	}
	return list
}

func (p *picture) draw(ctx context.Context) error {
	c := p.app.cfg.Load()
	notices, err := p.notices(ctx)
	if err != nil {
		return err
	}
	next := map[string]webmail.DomainState{}
	for i := range c.Domains {
		name := c.Domains[i].Name
		s, err := p.domain(ctx, name)
		if err != nil {
			return err
		}
		s.Notice = notices[""]
		if own := notices[name]; own != "" {
			s.Notice = own
		}
		next[name] = s
	}
	p.domains.Store(&next)
	return nil
}

// notices are the admin's words in force, by domain; "" is for all.
func (p *picture) notices(ctx context.Context) (map[string]string, error) {
	evs, err := p.app.index.Notices(ctx)
	if err != nil {
		return nil, err
	}
	in := map[string]string{}
	for _, ev := range evs {
		if ev.Until.IsZero() || time.Now().Before(ev.Until) {
			in[ev.Domain] = ev.Reason
		}
	}
	return in, nil
}

func (p *picture) domain(ctx context.Context, name string) (webmail.DomainState, error) {
	c := p.app.cfg.Load()
	rec := p.app.monitor.State(name)
	s := webmail.DomainState{Hosted: true, Up: true}
	if d := rec.Declaration; d != nil {
		s.Drill = isDrill(d.Reason)
	}
	down := rec.State == health.Down || rec.State == health.RefusesUs || rec.Declaration != nil
	sum, err := p.app.index.Summary(ctx, name)
	if err != nil {
		return s, err
	}
	_, open := p.app.keeper.Outage(name)
	switch {
	case down:
		s.Up, s.Down = false, true
	case open && rec.State == health.Suspect:
		s.Up, s.Down = false, true
	case open && sum.All.Pending > 0:
		s.Up, s.Recovering = false, true
	}
	if sum.Outage == "" {
		if s.Down {
			s.Since = firstOf(rec.DownSince, rec.Since)
		}
		return s, nil
	}
	o, err := p.app.index.Outage(ctx, sum.Outage)
	if err != nil {
		return s, err
	}
	if s.Down && !open { // the last one is over, and this one isn't open yet
		s.Since = firstOf(rec.DownSince, rec.Since)
		return s, nil
	}
	in, err := p.unreleased(ctx, o)
	if err != nil {
		return s, err
	}
	s.Since, s.Total, s.Delivered, s.Parked = o.Opened, o.Counts.Accepted()-in, o.Counts.Delivered, o.Counts.Parked-in
	if s.Up && !o.Closed.IsZero() {
		s.Until = o.Closed
		s.ReadingUntil, s.WritingUntil = o.Closed.Add(c.Webmail.ReadingAfter.Std()), o.Closed.Add(c.Webmail.WritingAfter.Std())
	}
	return s, nil
}

func firstOf(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// isDrill says whether an outage was declared for practice: its reason says so.
func isDrill(reason string) bool {
	words := strings.FieldsFunc(strings.ToLower(reason), func(r rune) bool { return r < 'a' || r > 'z' })
	return slices.Contains(words, "drill") || slices.Contains(words, "practice") || slices.Contains(words, "exercise")
}

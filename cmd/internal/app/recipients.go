package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/cmd/internal/config"
	"restante/relay/mailaddr"
	"restante/relay/policy/rcpt"
	"restante/relay/policy/rcpt/source"
	"restante/relay/reply"
	"restante/spool"
	"restante/spool/index"
)

// makeRecipients makes what knows the recipients, and what keeps their lists in step.
func (a *App) makeRecipients(c *config.Config) error {
	var err error
	a.recipients, err = rcpt.New(rcpt.Options{
		Domains: rcptDomains(c), Index: a.index, Record: a.spool.Record, Note: a.spool.Note, CaughtUp: a.spool.CaughtUp, Primaries: a.monitor,
		Log: a.log, Metrics: rcpt.NewMetrics(a.reg),
	})
	if err != nil {
		return must("recipients", err)
	}
	a.lists = source.NewSync(source.Options{Domains: listDomains(c), Directory: a.recipients, Log: a.log, Metrics: source.NewMetrics(a.reg)})
	return nil
}

// heard tells the directory what a primary said of a recipient at replay.
func (a *App) heard(address string, r reply.Reply) {
	if to, err := mailaddr.Parse(address); err == nil {
		a.recipients.Heard(context.Background(), to, r, time.Now())
	}
}

// listed is an index to which those on a list that can be believed are known good too: a primary that was restored by half refuses them all
// the same. By an old list replay would pause for people who have left.
type listed struct {
	*index.Index
	recipients *rcpt.Directory
}

// Known implements replay.Index.
func (l listed) Known(ctx context.Context, address string) (bool, error) {
	if to, err := mailaddr.Parse(address); err == nil && l.recipients.Sure(to) {
		return true, nil
	}
	return l.Index.Known(ctx, address)
}

// syncRecipients reads lists once the index knows what was read before: else each start would write them all anew.
func (a *App) syncRecipients(ctx context.Context) error {
	if err := a.spool.CaughtUp(ctx); err != nil {
		return nil //nolint:nilerr // the node stops
	}
	return a.lists.Run(ctx)
}

// rcptDomains says which recipients the domains have.
func rcptDomains(c *config.Config) []rcpt.Domain {
	list := make([]rcpt.Domain, 0, len(c.Domains))
	for i := range c.Domains {
		d := &c.Domains[i]
		list = append(list, rcpt.Domain{
			Name: d.Name, AliasOf: d.AliasOf, List: d.Recipients, Sources: d.SyncedRecipients(), SubAddress: d.SubAddress, CatchAll: d.TakesAny(),
			Unknown: d.UnknownRecipients, MaxAge: d.RecipientsMaxAge.Std(), CallAhead: d.AsksAhead(),
		})
	}
	return list
}

// listDomains says where lists are read from.
func listDomains(c *config.Config) []source.Domain {
	var list []source.Domain
	for i := range c.Domains {
		d := &c.Domains[i]
		one := source.Domain{Name: d.Name}
		if d.RecipientsFile != "" {
			one.File = &source.File{Path: d.RecipientsFile, Format: d.RecipientsFormat}
		}
		if l := &d.LDAP; l.On() {
			one.LDAPEvery = l.Interval.Std()
			one.LDAP = &source.LDAP{
				URLs: l.URL, TLS: l.TLS, CAFile: l.TLSCA, BindDN: l.BindDN, Password: l.Password.Reveal(), PasswordFile: l.PasswordFile,
				Base: l.Base, Filter: l.Filter, Attributes: l.Attributes,
			}
		}
		list = append(list, one)
	}
	return list
}

// listTroubles names lists of recipients that are missing, too old or can't be read. Mail is taken all the same.
func (a *App) listTroubles(ctx context.Context) []string {
	if a.recipients == nil {
		return nil
	}
	var list []string
	now := time.Now()
	c := a.cfg.Load()
	for i := range c.Domains {
		f := a.recipients.Freshness(ctx, c.Domains[i].Name)
		if f.AliasOf != "" { // said of the other
			continue
		}
		for _, s := range f.Sources {
			if t := listTrouble(c.Domains[i].Name, &s, now); t != "" {
				list = append(list, t)
			}
		}
	}
	return list
}

// listTrouble is what is wrong with one list, "" if nothing.
func listTrouble(domain string, s *rcpt.SourceState, now time.Time) string {
	switch {
	case s.Err != "" && s.At.IsZero():
		return fmt.Sprintf("recipients of %s: %s can't be read, and never was: %s", domain, s.Name, s.Err)
	case s.Err != "":
		return fmt.Sprintf("recipients of %s: %s can't be read, the list of %s ago stays in force and nobody is refused by it: %s", domain, s.Name, spool.Span(now.Sub(s.At)), s.Err)
	case s.Stale:
		return fmt.Sprintf("recipients of %s: the list from %s is %s old, more than recipients_max_age, so that nobody is refused by it: bring a new one", domain, s.Name, spool.Span(now.Sub(s.At)))
	}
	return ""
}

// listsReady says for each domain how fresh and complete its lists are, for /readyz.
func (a *App) listsReady(ctx context.Context) []string {
	var list []string
	now := time.Now()
	c := a.cfg.Load()
	for i := range c.Domains {
		f := a.recipients.Freshness(ctx, c.Domains[i].Name)
		list = append(list, fmt.Sprintf("recipients of %s: %s", c.Domains[i].Name, listWord(&f, now)))
	}
	return list
}

// listWord says how fresh and complete the lists of a domain are.
func listWord(f *rcpt.Freshness, now time.Time) string {
	var parts []string
	switch {
	case f.CatchAll:
		parts = append(parts, "any address")
	case f.AliasOf != "":
		parts = append(parts, "those of "+f.AliasOf)
	case f.Complete && f.At.IsZero():
		parts = append(parts, fmt.Sprintf("%d known", f.Known))
	case f.Complete:
		parts = append(parts, fmt.Sprintf("%d known (%s old)", f.Known, spool.Span(now.Sub(f.At))))
	case f.Reading:
		parts = append(parts, fmt.Sprintf("%d known, the ledger is still being read, keeping all", f.Known))
	case slices.ContainsFunc(f.Sources, func(s rcpt.SourceState) bool { return !s.At.IsZero() }):
		parts = append(parts, fmt.Sprintf("%d known, not complete, keeping all", f.Known))
	default:
		parts = append(parts, "never imported, keeping all")
	}
	if f.Stale {
		parts = append(parts, "stale")
	}
	for _, s := range f.Sources {
		switch {
		case s.Err != "":
			parts = append(parts, s.Name+" can't be read")
		case s.Stale:
			parts = append(parts, s.Name+" is too old")
		}
	}
	return strings.Join(parts, ", ")
}

// collectLists gives the state of the lists as metrics.
func (c *pairCollector) collectLists(ctx context.Context, domain string, out chan<- prometheus.Metric) {
	if c.app.recipients == nil {
		return
	}
	f := c.app.recipients.Freshness(ctx, domain)
	flag := func(name, help string, v bool) {
		n := 0.0
		if v {
			n = 1
		}
		out <- prometheus.MustNewConstMetric(description(name, help, "domain"), prometheus.GaugeValue, n, domain)
	}
	flag("restante_recipients_complete", "1 when every list of recipients that the domain is to have was taken in; else all are kept.", f.Complete)
	flag("restante_recipients_stale", "1 when the lists are too old, or one can't be read, so that nobody is refused by them.", f.Stale)
}

package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/health"
	"restante/relay/outage"
	"restante/relay/replay"
	"restante/spool"
	"restante/spool/blob"
	"restante/spool/index"
)

// backend is what the admin socket does. Its answers may be some milliseconds behind the ledger.
type backend struct{ *App }

// Status implements admin.Backend.
func (b *backend) Status(ctx context.Context) (*admin.Status, error) {
	c := b.cfg.Load()
	b.watch.look(b.spool.Available()) // people ask seldom: the store may be asked for them
	s := &admin.Status{
		Hostname: c.Hostname, Node: b.spool.Node(), Cluster: b.spool.Cluster(), Version: b.o.Version,
		Started: b.started, Now: time.Now(), Reasons: b.watch.unready(), Dev: c.Dev, Config: c.Files,
		Domains: []admin.DomainStatus{}, Store: b.storeState(ctx),
		SMTP: admin.SMTPState{Listen: b.addrs.SMTP, Sessions: b.smtp.Sessions()},
	}
	s.Ready = len(s.Reasons) == 0
	s.Webmail = b.webmailState(ctx)
	s.Index.Reading = b.reading(ctx) // before the counts are taken
	var since time.Time
	if s.Index.Behind, since = b.index.Lag(); !since.IsZero() {
		s.Index.Since = &since
	}
	if c.Smarthost.Host != "" || len(b.submit.Submissions()) > 0 {
		var err error
		if s.Sending, err = b.Sending(ctx); err != nil {
			return nil, fmt.Errorf("sending: %w", err)
		}
	}
	for i := range c.Domains {
		d, err := b.domainStatus(ctx, &c.Domains[i])
		if err != nil {
			return nil, err
		}
		s.Domains = append(s.Domains, *d)
	}
	slices.SortStableFunc(s.Domains, func(x, y admin.DomainStatus) int { return rank(x) - rank(y) })
	if s.Index.Reading {
		s.Reasons = append(s.Reasons, admin.StillReading)
	}
	s.Reasons = slices.Concat(s.Reasons, b.strangers(ctx, c), b.troubles(), b.listTroubles(ctx))
	if s.Reasons == nil {
		s.Reasons = []string{}
	}
	s.Filters = b.scan.Status()
	return s, nil
}

// readingAsked is how long reading waits for its answer.
const readingAsked = 20 * time.Millisecond

// reading reports that the index has not read the store to its end since it began to follow it: what is kept there may
// be more than it counts. Mail is taken and kept all the same.
func (a *App) reading(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, readingAsked)
	defer cancel()
	return a.spool.CaughtUp(ctx) != nil
}

// rank sorts what isn't up to the front.
func rank(d admin.DomainStatus) int {
	switch {
	case d.State == string(health.Up) && d.Parked+d.EarlierParked == 0:
		return 2
	case d.State == string(health.Up):
		return 1
	default:
		return 0
	}
}

// strangers names domains that have pending mail and aren't in the configuration.
func (b *backend) strangers(ctx context.Context, c *config.Config) []string {
	names, err := b.index.Domains(ctx)
	if err != nil {
		return []string{"the index doesn't answer: " + err.Error()}
	}
	var list []string
	for _, n := range names {
		if _, ok := c.Domain(n); ok || n == spool.Smarthost { // what waits for that is in sending
			continue
		}
		if s, err := b.index.Summary(ctx, n); err == nil && s.All.Pending > 0 {
			list = append(list, fmt.Sprintf("%s has %d pending pairs but is not in the configuration: put it back to have them delivered", n, s.All.Pending))
		}
	}
	if err := b.watch.followErr(); err != nil {
		list = append(list, "the index can't follow the store: "+err.Error())
	}
	return list
}

// troubles names what is wrong with the webmail, with DNS and with lists of addresses, who hides clients, and objects of the store that can't be read. Mail is
// taken all the same.
func (a *App) troubles() []string {
	var list []string
	for _, why := range []string{a.keyTrouble(), a.webTrouble(), a.webBehind(), a.certs.trouble(a.cfg.Load(), time.Now())} {
		if why != "" {
			list = append(list, why)
		}
	}
	list = slices.Concat(list, a.dnsTroubles(), a.abuseTroubles(), a.filterTroubles())
	for _, t := range a.spool.Trouble() {
		what := "mail of its stream is late"
		if t.Ledger {
			what = "replay waits for it, since deliveries may stand in it"
		}
		list = append(list, fmt.Sprintf("%s can't be read since %s, %s: %s", t.Key, t.Since.UTC().Format(time.RFC3339), what, admin.Brief(t.Err.Error())))
	}
	return list
}

func (b *backend) domainStatus(ctx context.Context, d *config.Domain) (*admin.DomainStatus, error) {
	sum, err := b.index.Summary(ctx, d.Name)
	if err != nil {
		return nil, fmt.Errorf("summary of %s: %w", d.Name, err)
	}
	r := b.monitor.State(d.Name)
	out := &admin.DomainStatus{
		Name: d.Name, State: string(r.State), Since: timeOrNil(r.Since), Oldest: timeOrNil(sum.Oldest),
		Accepted: sum.Counts.Accepted(), Delivered: sum.Counts.Delivered, Parked: sum.Counts.Parked, Pending: sum.Counts.Pending,
		Bounced: sum.Counts.Bounced, Expired: sum.Counts.Expired, Removed: sum.Counts.Removed,
		EarlierParked: sum.All.Parked - sum.Counts.Parked, EarlierPending: sum.All.Pending - sum.Counts.Pending,
		Outage: sum.Outage, OutageOpen: sum.Open, Primary: d.Primary, WhenUp: d.WhenUp,
		Passed: b.watch.passed(d.Name), Latency: b.latency(),
	}
	if err := b.quarantineStatus(ctx, out); err != nil {
		return nil, err
	}
	if o, ok := b.monitor.Offers(d.Name); ok {
		out.TLS, out.Verified = o.TLS, o.Verified
	}
	if r.State != health.Up {
		out.Cause, out.LastTried = r.Reason, timeOrNil(r.LastBad)
	}
	out.Lists = b.recipients.Freshness(ctx, d.Name)
	switch {
	case out.Lists.CatchAll:
		out.Recipients = "any"
	case out.Lists.Complete:
		out.Recipients, out.RcptCount = "listed", out.Lists.Known
	default:
		out.Recipients, out.RcptCount = "any (no list)", out.Lists.Known
	}
	out.Replay = "automatic"
	if d.Replay == "manual" {
		out.Replay = "manual"
	}
	if st, err := b.engine.Status(ctx, d.Name); err == nil {
		switch st.State {
		case replay.StatePaused, replay.StateStopped, replay.StateRunning, replay.StateCanary:
			out.Replay, out.ReplayReason = string(st.State), st.Reason
		case replay.StateManual:
			out.ReplayReason = fmt.Sprintf("%d kept, start it with `restante replay start --domain %s`", st.Pending, d.Name)
		}
	}
	for _, dec := range b.declarations() {
		if dec.Domain == d.Name {
			out.Declared = append(out.Declared, dec)
		}
	}
	return out, nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// storeState is how the store did when it was last looked at.
func (b *backend) storeState(ctx context.Context) admin.StoreState {
	s := admin.StoreState{URL: b.store.String(), State: "ok"}
	if err := b.watch.storeErr(); err != nil {
		s.State, s.Error = "failing", err.Error()
		if errors.Is(err, spool.ErrNoSpace) {
			s.State = "full"
		}
	}
	if free, total, err := blob.Space(ctx, b.store); err == nil {
		s.Free, s.Total = free, total
	}
	s.PutMS = b.mean("restante_store_call_seconds", "op", "put")
	return s
}

// latency is the mean of good probes in milliseconds, as long as there is one set of primaries and so no doubt of which.
func (b *backend) latency() float64 {
	key, c := "", b.cfg.Load()
	for i := range c.Domains {
		k := b.monitor.Key(c.Domains[i].Name)
		if key != "" && k != key {
			return 0
		}
		key = k
	}
	return b.mean("restante_primary_probe_seconds", "result", string(health.Good))
}

// mean is the mean of a histogram of our own in milliseconds, over the series that have the labels (name, value, ...);
// 0 when nothing was measured.
func (a *App) mean(name string, labels ...string) float64 {
	families, err := a.reg.Gather()
	if err != nil {
		a.log.Debug("metrics", "err", err)
	}
	var sum float64
	var count uint64
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if has(m, labels) {
				sum += m.GetHistogram().GetSampleSum()
				count += m.GetHistogram().GetSampleCount()
			}
		}
	}
	if count == 0 {
		return 0
	}
	return sum / float64(count) * 1000
}

func has(m *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
			return false
		}
	}
	return true
}

// Reload implements admin.Backend.
func (b *backend) Reload(ctx context.Context, by string) (*admin.Reloaded, error) {
	return b.App.Reload(ctx, by)
}

// NotifyTest implements admin.Backend.
func (b *backend) NotifyTest(ctx context.Context, by string) ([]admin.Sent, error) {
	list := []admin.Sent{}
	for _, o := range b.notifier.Test(ctx, by) {
		s := admin.Sent{Way: o.Way}
		if o.Err != nil {
			s.Error = o.Err.Error()
		}
		list = append(list, s)
	}
	return list, nil
}

// StoreCheck implements admin.Backend.
func (b *backend) StoreCheck(ctx context.Context) (*admin.StoreState, error) {
	start := time.Now()
	if err := blob.Prove(ctx, b.store); err != nil {
		return &admin.StoreState{URL: b.store.String(), State: "failing", Error: err.Error()}, nil
	}
	s := b.storeState(ctx)
	s.State, s.Error, s.PutMS = "ok", "", float64(time.Since(start).Microseconds())/1000
	return &s, nil
}

// Primary implements admin.Backend.
func (b *backend) Primary(_ context.Context, do string) (*admin.DevPrimary, error) {
	if b.primary == nil {
		return nil, admin.Errorf(admin.KindUsage, "only `restante serve --dev` has one; a real primary is stopped on its own host", "this node has no stand-in primary")
	}
	return b.primary.do(do)
}

// Outages implements admin.Backend.
func (b *backend) Outages(ctx context.Context, domain string) ([]index.Outage, error) {
	if domain != "" {
		name, err := config.ParseDomain(domain)
		if err != nil {
			return nil, admin.Errorf(admin.KindUsage, "write for example --domain example.com", "%w", err)
		}
		domain = name
	}
	return b.index.Outages(ctx, domain)
}

// each calls f for each pair that fits, oldest first.
func (b *backend) each(ctx context.Context, f index.Filter, do func(spool.Pair) error) error {
	if err := b.maySearch(f); err != nil {
		return err
	}
	for f.Limit = 1000; ; {
		pairs, next, err := b.index.List(ctx, f)
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
		for _, p := range pairs {
			if err := do(p); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		f.After = next
	}
}

// Declare implements admin.Backend.
func (b *backend) Declare(ctx context.Context, by string, d admin.Declaration) (*admin.Declaration, error) {
	length, err := config.ParseDuration(d.For)
	if err != nil || length <= 0 {
		return nil, admin.Errorf(admin.KindUsage, "write for example --for 15m, --for 2h or --for 1d", "%q is no duration", d.For)
	}
	target, domain, err := outage.Target(d.Domain + d.Address)
	if err != nil {
		return nil, admin.Errorf(admin.KindUsage, "write --domain example.com or --rcpt me@example.com", "%w", err)
	}
	if err := b.isHosted(domain); err != nil {
		return nil, err
	}
	until := time.Now().Add(length.Std())
	out := &admin.Declaration{Domain: domain, Until: until, Reason: d.Reason, By: by}
	if d.Address != "" {
		out.Address = target
	}
	for _, was := range b.declarations() {
		if was.Domain == out.Domain && was.Address == out.Address {
			out.Replaced = &was
		}
	}
	err = b.keeper.Declare(ctx, health.Declaration{Target: target, Until: until, Reason: d.Reason, By: by})
	if err != nil && !errors.Is(err, outage.ErrNotRecorded) { // in force all the same, and written later
		return nil, admin.Errorf(admin.KindUsage, "write for example --for 15m, --for 2h or --for 1d", "%w", err)
	}
	b.log.Info("declared down", "target", target, "until", until, "by", by, "reason", d.Reason)
	return out, nil
}

// EndDeclaration implements admin.Backend.
func (b *backend) EndDeclaration(ctx context.Context, by string, d admin.Declaration) error {
	target, domain, err := outage.Target(d.Domain + d.Address)
	if err != nil {
		return admin.Errorf(admin.KindUsage, "write --domain example.com or --rcpt me@example.com", "%w", err)
	}
	if err := b.isHosted(domain); err != nil {
		return err
	}
	was, err := b.keeper.End(ctx, target, by)
	if err != nil && !errors.Is(err, outage.ErrNotRecorded) {
		return err
	}
	if !was {
		return admin.Errorf(admin.KindNotFound, "see `restante outage list`; what probes see as down ends by itself", "%s is not declared down", target)
	}
	b.log.Info("declaration ended", "target", target, "by", by)
	return nil
}

// Declarations implements admin.Backend.
func (b *backend) Declarations(context.Context) ([]admin.Declaration, error) {
	return b.declarations(), nil
}

func (a *App) declarations() []admin.Declaration {
	list := []admin.Declaration{}
	for _, d := range a.monitor.Declarations() {
		target, domain, err := outage.Target(d.Target)
		if err != nil {
			continue // it came from outage.Target
		}
		one := admin.Declaration{Domain: domain, Until: d.Until, Reason: d.Reason, By: d.By}
		if strings.Contains(target, "@") {
			one.Address = target
		}
		list = append(list, one)
	}
	return list
}

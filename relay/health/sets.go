package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/smtpc"
)

// mxEvery is the time between two look-ups of the MX records of domains whose primary is FromDNS; the
// resolver's cache answers most of them.
const mxEvery = time.Minute

// SetConfig replaces the hosted domains, all or nothing. Sets of hosts that stay keep all that is known
// of them; new ones are probed at once.
func (m *Monitor) SetConfig(ds []Domain) error {
	next := make(map[string]*domain, len(ds))
	for _, c := range ds {
		c.Name = normal(c.Name)
		if c.Interval <= 0 {
			c.Interval = DefaultInterval
		}
		if next[c.Name] != nil {
			return fmt.Errorf("domain %s is there twice", c.Name)
		}
		d := &domain{Domain: c}
		if !fromDNS(c.Primary) {
			var err error
			if d.targets, err = parseAll(c); err != nil {
				return fmt.Errorf("domain %s: %w", c.Name, err)
			}
		}
		next[c.Name] = d
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, d := range next {
		old := m.domains[name]
		if old != nil {
			d.set = old.set
		}
		if fromDNS(d.Primary) {
			if old != nil && fromDNS(old.Primary) {
				d.targets, d.mxErr = old.targets, old.mxErr
			} else {
				d.targets = hostTargets(m.past.MX[name], d.Domain)
			}
		}
	}
	m.domains = next
	m.regroupLocked()
	notify(m.mx)
	return nil
}

func fromDNS(primary []string) bool {
	return len(primary) == 1 && strings.EqualFold(strings.TrimSpace(primary[0]), FromDNS)
}

func parseAll(c Domain) ([]smtpc.Target, error) {
	if len(c.Primary) == 0 {
		return nil, errors.New("no primary: write host, host:port, or \"mx\"")
	}
	ts := make([]smtpc.Target, 0, len(c.Primary))
	for _, p := range c.Primary {
		t, err := ParsePrimary(p)
		if err != nil {
			return nil, err
		}
		ts = append(ts, c.dress(t))
	}
	return ts, nil
}

// dress gives a target what the domain says of all its hosts.
func (c Domain) dress(t smtpc.Target) smtpc.Target {
	t.TLS, t.XClient, t.XForward, t.Trusted = c.TLS, c.XClient, c.XForward, c.Trusted
	t.Implicit, t.Login = c.Implicit, c.Login
	return t
}

func hostTargets(hosts []string, c Domain) []smtpc.Target {
	ts := make([]smtpc.Target, 0, len(hosts))
	for _, h := range hosts {
		h = strings.ToLower(strings.TrimSuffix(h, "."))
		t := c.dress(smtpc.Target{Host: h, Port: 25, Name: h})
		if t.TLS.ServerName == "" { // else the configuration names the server, whatever DNS says
			t.Domain = c.Name
		}
		ts = append(ts, t)
	}
	return ts
}

// regroupLocked puts each domain into the set of its hosts, makes sets that are new and stops those that
// have no domain any more.
func (m *Monitor) regroupLocked() {
	now := time.Now()
	sets := make(map[string]*set)
	for _, name := range slices.Sorted(maps.Keys(m.domains)) {
		d := m.domains[name]
		key := setKey(d.targets)
		if key == "" {
			key = FromDNS + ":" + name
		}
		if d.CA != "" {
			key += "/" + d.CA
		}
		s := sets[key]
		if s == nil {
			if s = m.sets[key]; s == nil {
				s = m.newSetLocked(key, d, now)
			}
			s.domains, s.interval = nil, d.Interval
			s.targets = d.targets // the same hosts; the certificates to trust may be new
			sets[key] = s
		}
		s.domains = append(s.domains, name)
		s.interval = min(s.interval, d.Interval)
		d.set = s
	}
	for key, s := range m.sets {
		if sets[key] != s {
			if s.stop != nil {
				s.stop()
			}
			m.o.Metrics.forget(s.label)
		}
	}
	m.sets = sets
	labels := make(map[string]bool, len(sets))
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		s := sets[key]
		if before := s.label; s.setLabel(labels) != before && before != "" {
			m.o.Metrics.forget(before)
		}
	}
	for _, s := range sets {
		m.o.Metrics.state(s.label, s.rec.State)
		if m.running != nil && s.stop == nil {
			m.startLocked(s)
		}
	}
}

// setLabel names the set in metrics: by its hosts, or by its key where another set with the same hosts is named so.
func (s *set) setLabel(taken map[string]bool) string {
	s.label = Hosts(s.key)
	if taken[s.label] {
		s.label = s.key
	}
	taken[s.label] = true
	return s.label
}

// newSetLocked makes a set with what is known of it from before: from the state file, or from the set
// that its first domain was in.
func (m *Monitor) newSetLocked(key string, d *domain, now time.Time) *set {
	s := &set{key: key, addrs: make(map[string]string), kick: make(chan struct{}, 1)}
	took := m.o.TookMail != nil && m.o.TookMail(d.Name)
	s.rec = NewRecord(now, took)
	old, known := m.past.Sets[key]
	switch {
	case known:
		maps.Copy(s.addrs, old.Addrs)
		s.offers, s.best = old.Offers, old.Best
		s.rec.TookMail = took || old.Record.TookMail
		if st := old.Record.State; st == Down || st == Recovering {
			s.rec = old.Record // the outage goes on over a restart of ours
			s.rec.TookMail = took || old.Record.TookMail
		}
	case d.set != nil:
		maps.Copy(s.addrs, d.set.addrs)
		s.rec.TookMail = took
	}
	return s
}

func (m *Monitor) startLocked(s *set) {
	ctx, cancel := context.WithCancel(m.running)
	s.stop = cancel
	m.tasks.Go(func() { m.watch(ctx, s) })
}

// followMX keeps the hosts of domains whose primary is FromDNS. What was last good outlives failures.
func (m *Monitor) followMX(ctx context.Context) {
	if m.o.MX == nil {
		return
	}
	for {
		m.mu.Lock()
		var names []string
		for name, d := range m.domains {
			if fromDNS(d.Primary) {
				names = append(names, name)
			}
		}
		m.mu.Unlock()
		slices.Sort(names)
		wait := mxEvery
		for _, name := range names {
			hosts, err := m.o.MX(ctx, name)
			if err == nil && len(hosts) == 0 {
				err = errors.New("DNS names no host before ourselves")
			}
			if err != nil {
				wait = 5 * time.Second
			}
			m.resolved(name, hosts, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-m.mx:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (m *Monitor) resolved(name string, hosts []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.domains[name]
	if d == nil || !fromDNS(d.Primary) {
		return
	}
	d.mxErr = err
	if err != nil {
		return
	}
	ts := hostTargets(hosts, d.Domain)
	if setKey(ts) == setKey(d.targets) {
		return
	}
	d.targets = ts
	before := d.set
	m.regroupLocked()
	m.log.Info("MX hosts changed", "domain", name, "hosts", hosts)
	if d.set != before && d.set.rec.State != before.rec.State {
		m.queue = append(m.queue, Change{Domain: name, Before: before.rec, After: d.set.rec})
		notify(m.queued)
	}
	m.saveStateLocked()
}

// answered keeps what a host that answered told.
func (m *Monitor) answered(name string, t smtpc.Target, remote string, offers smtpc.Offers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.domains[normal(name)]; d != nil {
		m.answeredLocked(d.set, t, remote, offers)
	}
}

func (m *Monitor) answeredLocked(s *set, t smtpc.Target, remote string, offers smtpc.Offers) {
	changed := false
	if ip := hostOf(remote); ip != "" && !isAddr(t.Host) && s.addrs[t.Host] != ip {
		s.addrs[t.Host] = ip
		changed = true
	}
	if id := targetID(t); s.best != id {
		s.best, changed = id, true
	}
	if s.offers == nil || !s.offers.Same(offers) {
		changed = true
		m.offered = append(m.offered, s.domains...)
		notify(m.queued)
	}
	s.offers = &offers
	if changed {
		m.saveStateLocked()
	}
}

func (m *Monitor) atLast(name string, t smtpc.Target) *smtpc.Target {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.domains[normal(name)]; d != nil {
		return d.set.atLast(t)
	}
	return nil
}

// atLast returns a host to be reached at its last good address, while TLS still asks for its name; nil if none is known. A server that
// DNS vouched for (DANE) isn't taken at less because DNS fails.
func (s *set) atLast(t smtpc.Target) *smtpc.Target {
	ip := s.addrs[t.Host]
	if ip == "" {
		return nil
	}
	t.TLS.ServerName = cmp.Or(t.TLS.ServerName, t.Host)
	if s.offers != nil && s.offers.Verified == smtpc.VerifiedDANE {
		t.TLS.Mode = smtpc.TLSDANE
	}
	t.Host = ip
	return &t
}

// unresolved reports that a host's name could not be resolved.
func unresolved(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d)
}

// hostOf returns the IP address of what smtpc.Conn.Remote says, "host [address]:port" or
// "address:port", "" if there is none.
func hostOf(remote string) string {
	if _, rest, ok := strings.Cut(remote, "["); ok {
		if in, _, ok := strings.Cut(rest, "]"); ok {
			remote = in
		}
	}
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().String()
	}
	if a, err := netip.ParseAddr(remote); err == nil {
		return a.String()
	}
	return ""
}

// normal returns a domain or an address in the form in which two spellings of it are equal.
func normal(target string) string {
	if strings.Contains(target, "@") {
		if a, err := mailaddr.Parse(target); err == nil {
			return a.Key()
		}
		return target
	}
	if d, err := mailaddr.ParseDomain(strings.TrimSuffix(target, ".")); err == nil {
		return d
	}
	return strings.ToLower(target)
}

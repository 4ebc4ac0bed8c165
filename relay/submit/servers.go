package submit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"restante/relay/health"
	"restante/relay/replay"
	"restante/relay/smtpc"
	"restante/spool"
)

// changeover is how long nobody takes a domain's mail when it begins or ceases to have a submission server while the
// service runs: what the other way has under way ends meanwhile.
const changeover = time.Minute

// The engine's domains are the smarthost and one for each submission server. The latter has a name of its own, so that its
// lease and its pauses aren't those of the domain's replay.
const (
	submissionPrefix = "(submission "
	submissionSuffix = ")"
)

func submissionName(domain string) string { return submissionPrefix + domain + submissionSuffix }

// hostedName is the domain of a pair, by the engine's name for it.
func hostedName(engine string) string {
	if d, ok := strings.CutPrefix(engine, submissionPrefix); ok {
		return strings.TrimSuffix(d, submissionSuffix)
	}
	return engine
}

func (c Config) withDefaults() Config {
	c.Limits.Messages = cmp.Or(c.Limits.Messages, 100)
	c.Limits.Recipients = cmp.Or(c.Limits.Recipients, 500)
	c.Limits.PerMessage = cmp.Or(c.Limits.PerMessage, 100)
	c.Limits.Size = cmp.Or(c.Limits.Size, 25<<20)
	c.Connections = cmp.Or(c.Connections, 5)
	c.RetryMin = cmp.Or(c.RetryMin, time.Minute)
	c.RetryMax = cmp.Or(c.RetryMax, 30*time.Minute)
	c.GiveUp = cmp.Or(c.GiveUp, 48*time.Hour)
	c.Probe = cmp.Or(c.Probe, time.Minute)
	return c
}

// address is host:port.
func (s Server) address() string {
	port := s.Port
	if port == 0 {
		port = 587
		if s.TLS == TLSImplicit {
			port = 465
		}
	}
	return net.JoinHostPort(strings.Trim(s.Host, "[]"), strconv.Itoa(port))
}

// domain is the server as health knows it.
func (s Server) domain(name string, probe time.Duration) (health.Domain, error) {
	d := health.Domain{Name: name, Primary: []string{s.address()}, Interval: probe}
	d.TLS = smtpc.TLSPolicy{Mode: smtpc.TLSRequired, RootCAs: s.RootCAs, Fingerprints: s.Fingerprints, ServerName: s.ServerName}
	switch s.TLS {
	case "", TLSStartTLS:
	case TLSImplicit:
		d.Implicit = true
	case TLSNone:
		d.TLS = smtpc.TLSPolicy{Mode: smtpc.TLSNone}
	default:
		return d, fmt.Errorf("tls = %q of %s: write %s, %s or %s", s.TLS, s.Host, TLSStartTLS, TLSImplicit, TLSNone)
	}
	if s.Host == "" {
		return d, fmt.Errorf("the server for %s has no host", hostedName(name))
	}
	if s.RootCAs != nil {
		d.CA = name // certificates of its own: it shares nothing with others
	}
	if s.User != "" {
		d.Login = &smtpc.Login{User: s.User, Password: s.Password}
	}
	return d, nil
}

// domains are all servers as health knows them.
func (c Config) domains() ([]health.Domain, error) {
	var list []health.Domain
	if c.Smarthost != nil {
		d, err := c.Smarthost.domain(spool.Smarthost, c.Probe)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	for domain, server := range c.Submission {
		d, err := server.domain(submissionName(domain), c.Probe)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// SetConfig changes the configuration, all or nothing.
func (s *Service) SetConfig(c Config) error {
	c = c.withDefaults()
	list, err := c.domains()
	if err != nil {
		return err
	}
	if err := s.monitor.SetConfig(list); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for domain := range c.Submission {
		if _, had := s.cfg.Submission[domain]; !had && s.running {
			s.changed[domain] = now
		}
	}
	for domain := range s.cfg.Submission {
		if _, has := c.Submission[domain]; !has {
			s.changed[domain] = now
		}
	}
	s.cfg = c
	s.configureEngineLocked()
	if len(s.changed) > 0 {
		time.AfterFunc(changeover, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.configureEngineLocked()
		})
	}
	return nil
}

// configureEngineLocked gives the engine those domains whose mail it may take by now.
func (s *Service) configureEngineLocked() {
	now := time.Now()
	for domain, at := range s.changed {
		if now.Sub(at) >= changeover {
			delete(s.changed, domain)
		}
	}
	c := s.cfg
	list := []replay.Domain{{Name: spool.Smarthost}}
	for domain := range c.Submission {
		if _, waits := s.changed[domain]; !waits {
			list = append(list, replay.Domain{Name: submissionName(domain), Login: true})
		}
	}
	s.engine.SetConfig(replay.Config{Connections: c.Connections, Start: min(2, c.Connections), Rate: c.Rate,
		BackoffMin: c.RetryMin, BackoffMax: c.RetryMax, GiveUp: c.GiveUp}, list)
}

// Submissions are the domains that have a submission server.
func (s *Service) Submissions() []string { return slices.Sorted(maps.Keys(s.config().Submission)) }

// config returns the configuration in force.
func (s *Service) config() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// Takes reports that a pair is delivered here, and not by replay of its domain; for replay.Only.
func (s *Service) Takes(p *spool.Pair) bool {
	if p.Domain == spool.Smarthost {
		return true
	}
	if p.Kind != spool.Local && p.Kind != spool.Copy {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, has := s.cfg.Submission[p.Domain]
	_, waits := s.changed[p.Domain]
	return has || waits
}

// watched is health as the engine sees it: with an admin's word about hosted domains.
type watched struct {
	*health.Monitor
	declared func(target string) (health.Declaration, bool)
}

// State is that of the server; a domain that is declared down is left alone, whichever way its mail goes.
func (w watched) State(engine string) health.Record {
	r := w.Monitor.State(engine)
	if d, ok := w.Declared(hostedName(engine)); ok {
		r.State, r.Declaration = health.Down, &d
		r.Reason = "the domain is declared down"
	}
	return r
}

// Declared is an admin's word on a domain or an address.
func (w watched) Declared(target string) (health.Declaration, bool) {
	if w.declared == nil || target == spool.Smarthost {
		return health.Declaration{}, false
	}
	return w.declared(target)
}

// prober looks whether a server would take mail: connect, TLS, AUTH, QUIT. No recipient is asked for.
type prober struct{ dialer *smtpc.Dialer }

func (p prober) Probe(ctx context.Context, t smtpc.Target, _ []string) health.Probed {
	c, err := p.dialer.Dial(ctx, t)
	if err != nil {
		return health.Probed{Observation: health.Judge(err, t.Name)}
	}
	offers := c.Offers()
	out := health.Probed{Remote: c.Remote(), Offers: &offers}
	out.Kind, out.Host = health.Good, c.Remote()
	c.Quit()
	return out
}

package app

import (
	"net"
	"strconv"
	"strings"

	"restante/cmd/internal/config"
	"restante/relay/health"
	"restante/spool"
	"restante/webmail"
	"restante/webmail/accounts"
	"restante/webmail/factor"
	"restante/webmail/learn"
	"restante/webmail/session"
)

// makeSignIn makes what people sign in with. Its events come from the ledger as those of the accounts do.
func (a *App) makeSignIn(c *config.Config, people *accounts.Directory, known []spool.Event) (webmail.SignIn, error) {
	a.web.sessions = session.New(session.Options{Record: a.spool.Record, Note: a.spool.Note, Open: a.outageOf})
	a.web.sessions.Apply(known)
	in := webmail.SignIn{
		Sessions: a.web.sessions, Limiter: session.NewLimiter(session.DefaultLimiterLimits()), Factors: factor.New(people), Secrets: a.keys,
	}
	if c.Webmail.LearnedPassword == "off" {
		return in, nil
	}
	servers, err := learnedServers(c)
	if err != nil {
		return in, err
	}
	limits := learn.DefaultLimits()
	limits.Term = c.Webmail.LearnedFor.Std()
	in.Learn = learn.New(learn.Options{
		Accounts: people, Second: in.Factors.TOTP, Limits: limits, Log: a.log, Up: a.wellNow,
		Server: func(domain string) (learn.Server, bool) {
			s, ok := servers[domain]
			return s, ok
		},
	})
	return in, nil
}

// outageOf says whether an outage or drill is open for an account's domain.
func (a *App) outageOf(account string) bool {
	_, domain, _ := strings.Cut(account, "@")
	_, open := a.keeper.Outage(domain)
	return open
}

// wellNow: the primary is up and no outage is open.
func (a *App) wellNow(domain string) bool {
	_, open := a.keeper.Outage(domain)
	return !open && a.monitor.State(domain).State == health.Up
}

// learnedServers are those that passwords are checked against, by domain.
func learnedServers(c *config.Config) (map[string]learn.Server, error) {
	in := map[string]learn.Server{}
	for i := range c.Domains {
		d := &c.Domains[i]
		if d.LearnedServer == "" {
			continue
		}
		p, err := config.ParsePrimary(d.LearnedServer)
		if err != nil {
			return nil, err // validated before
		}
		s := learn.Server{Protocol: learn.Protocol(c.Webmail.LearnedPassword), Host: p.Host}
		if _, port, err := net.SplitHostPort(d.LearnedServer); err == nil { // else the usual one
			if s.Port, err = strconv.Atoi(port); err != nil {
				return nil, err
			}
		}
		if s.Roots, err = rootCAs("learned_server of "+d.Name, d.LearnedCA); err != nil {
			return nil, err
		}
		in[d.Name] = s
	}
	return in, nil
}

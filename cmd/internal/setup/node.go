package setup

import (
	"cmp"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/health"
	"restante/relay/policy/rcpt"
	"restante/relay/submit"
	"restante/spool"
)

// FromConfig is a node as its configuration has it.
func FromConfig(c *config.Config) Node {
	n := Node{
		Hostname: c.Hostname, Listen: c.SMTP.Listen, DataDir: c.DataDir, MinFree: int64(c.Store.MinFree), Store: Store{URL: c.Store.URL},
	}
	n.Cert, _ = c.SMTPCert()
	if self := filepath.Join(c.DataDir, "self-signed.crt"); n.Cert == "" && c.DataDir != "" {
		if _, err := os.Stat(self); err == nil {
			n.Cert = self
		}
	}
	if w := c.Webmail; w.On() {
		n.Webmail = &Webmail{Hostnames: w.Hostnames, Listen: w.Listen, URL: w.URL, TLS: w.TLS, ACMECA: w.ACMECA}
	}
	n.Smarthost = server(c.Smarthost)
	for _, d := range c.Domains {
		n.Domains = append(n.Domains, Domain{Name: d.Name, MustTLS: d.TLS == "required" || d.TLS == "dane", Submission: server(d.Submission),
			Primaries: primaries(d.Primaries), Recipients: listed(d)})
	}
	return n
}

// listed is what the configuration alone says of a domain's recipients.
func listed(d config.Domain) Recipients {
	r := Recipients{Known: len(d.Recipients), Complete: true}
	switch from := d.SyncedRecipients(); {
	case d.TakesAny():
		r.Text = "any address is taken"
	case d.AliasOf != "":
		r.Text = "those of " + d.AliasOf
	case len(from) > 0:
		r.Text = "listed by " + strings.Join(from, " and ") + "; a running node says how fresh that is"
	default:
		r.Complete = len(d.Recipients) > 0
	}
	return r
}

func server(s config.Submission) *Server {
	if s.Host == "" {
		return nil
	}
	return &Server{Host: s.Host, Port: s.Port, TLS: s.TLS}
}

func primaries(list []config.Primary) []Primary {
	var out []Primary
	for _, p := range list {
		out = append(out, Primary{Host: p.Host, Port: p.Port, MX: p.MX})
	}
	return out
}

// Hear takes what the running node says of itself; where that differs from the configuration, the node is what mail meets.
func (n *Node) Hear(st *admin.Status) {
	n.Running, n.Hostname, n.Listen = true, st.Hostname, st.SMTP.Listen
	if !st.Ready {
		n.NotReady = st.Reasons
	}
	n.Store = Store{URL: st.Store.URL, State: st.Store.State, Error: st.Store.Error, Free: st.Store.Free, Total: st.Store.Total}
	if st.Webmail != nil && n.Webmail == nil {
		n.Webmail = &Webmail{URL: st.Webmail.URL}
		if u, err := url.Parse(st.Webmail.URL); err == nil && u.Scheme == "https" {
			n.Webmail.Hostnames = []string{u.Hostname()}
		}
	}
	if st.Sending != nil {
		n.hearSmarthost(st.Sending.Servers)
	}
	for _, d := range st.Domains {
		i := slices.IndexFunc(n.Domains, func(have Domain) bool { return have.Name == d.Name })
		if i < 0 {
			i = len(n.Domains)
			n.Domains = append(n.Domains, Domain{Name: d.Name})
			for _, text := range d.Primary {
				if p, err := config.ParsePrimary(text); err == nil {
					n.Domains[i].Primaries = append(n.Domains[i].Primaries, primaries([]config.Primary{p})...)
				}
			}
		}
		n.Domains[i].Recipients = recipientsOf(d.Lists)
	}
}

func (n *Node) hearSmarthost(servers []submit.ServerStatus) {
	i := slices.IndexFunc(servers, func(s submit.ServerStatus) bool { return s.Domain == spool.Smarthost })
	if i < 0 {
		return
	}
	host, port, err := net.SplitHostPort(servers[i].Address)
	number, bad := strconv.Atoi(port)
	if err != nil || bad != nil {
		return
	}
	if n.Smarthost == nil {
		n.Smarthost = &Server{Host: host, Port: number, TLS: "starttls"}
	}
	if s := servers[i]; s.State == health.RefusesUs {
		n.Smarthost.Problem = cmp.Or(s.Reply, s.Reason)
	}
}

// recipientsOf is what the node knows of a domain's recipients.
func recipientsOf(f rcpt.Freshness) Recipients {
	r := Recipients{Known: f.Known, Complete: f.Complete || f.CatchAll}
	switch {
	case f.CatchAll:
		r.Text = "any address is taken"
	case !f.Complete:
		r.Text = "in an outage mail for anybody is kept, also for those who don't exist: " + cmp.Or(f.Why, "there is no list")
	case f.Stale:
		r.Stale = cmp.Or(f.Why, "the list is too old to refuse anybody by")
	}
	return r
}

// HearKeys takes the DKIM keys of a domain.
func (d *Domain) HearKeys(list []submit.Key) {
	d.KeysKnown = true
	for _, k := range list {
		d.Keys = append(d.Keys, Key{Name: k.Name, Record: k.Record, Signs: k.Signs, Published: cmp.Or(k.Published, "unknown")})
	}
}

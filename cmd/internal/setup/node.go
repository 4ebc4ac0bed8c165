package setup

import (
	"cmp"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/submit"
	"restante/spool"
)

// FromConfig is a node as its configuration has it.
func FromConfig(c *config.Config) Node {
	n := Node{
		Hostname: c.Hostname, Listen: c.SMTP.Listen, DataDir: c.DataDir, MinFree: int64(c.Store.MinFree), Store: Store{URL: c.Store.URL},
		Cert: c.SMTP.TLSCert,
	}
	if n.Cert == "" {
		n.Cert = c.Webmail.TLSCert
	}
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
		one := Domain{Name: d.Name, TLS: d.TLS, Submission: server(d.Submission), Primaries: primaries(d.Primaries)}
		one.Recipients = Recipients{Known: len(d.Recipients), Complete: len(d.Recipients) > 0}
		if slices.Equal(d.Recipients, []string{"@"}) {
			one.Recipients.Text = "any address is taken"
		}
		n.Domains = append(n.Domains, one)
	}
	return n
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
	}
	if st.Sending != nil && n.Smarthost == nil {
		for _, s := range st.Sending.Servers {
			if host, port, err := net.SplitHostPort(s.Address); err == nil && s.Domain == spool.Smarthost {
				number, _ := strconv.Atoi(port) // the node connects to it
				n.Smarthost = &Server{Host: host, Port: number, TLS: "starttls"}
			}
		}
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
		n.Domains[i].Recipients = recipientsOf(d)
	}
}

func recipientsOf(d admin.DomainStatus) Recipients {
	r := Recipients{Known: d.RcptCount, Complete: d.Recipients == "listed" || d.Recipients == "any"}
	if d.Recipients == "any" {
		r.Text = "any address is taken"
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

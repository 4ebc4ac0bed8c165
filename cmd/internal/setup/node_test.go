package setup

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/health"
	"restante/relay/policy/rcpt"
	"restante/relay/submit"
	"restante/spool"
)

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "restante.toml")
	if err := os.WriteFile(file, []byte("hostname = \"mx2.example.net\"\ndata_dir = \""+dir+"\"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNodeFromConfig(t *testing.T) {
	n := FromConfig(load(t, `
[webmail]
listen = ["127.0.0.1:8443"]
hostnames = ["mail.example.net"]
[smarthost]
host = "smtp.test"
[[domain]]
name = "example.com"
primary = ["mail.example.com", "192.0.2.1:2525"]
tls = "required"
recipients = ["anna@example.com"]
[domain.submission]
host = "mail.example.com"
[[domain]]
name = "any.example"
primary = ["mx"]
recipients = ["@"]
[[domain]]
name = "unknown.example"
primary = ["mx"]
[[domain]]
name = "alias.example"
alias_of = "example.com"
`))
	if n.Hostname != us || n.Running || n.Webmail == nil || n.Webmail.Hostnames[0] != "mail.example.net" || n.Smarthost.Port != 587 || n.MinFree == 0 || n.Cert != "" {
		t.Errorf("%+v", n)
	}
	d := n.Domains[0]
	if !d.MustTLS || d.Submission == nil || !d.Recipients.Complete || d.Recipients.Known != 1 || !slices.Equal(d.Primaries, []Primary{{Host: "mail.example.com", Port: 25}, {Host: "192.0.2.1", Port: 2525}}) {
		t.Errorf("%+v", d)
	}
	if d := n.Domains[1]; d.MustTLS || !d.Recipients.Complete || d.Recipients.Text == "" || !d.Primaries[0].MX {
		t.Errorf("%+v", d)
	}
	if n.Domains[2].Recipients.Complete || n.Domains[3].Recipients.Text != "those of example.com" {
		t.Errorf("%+v", n.Domains[2:])
	}
	if err := os.WriteFile(filepath.Join(n.DataDir, "self-signed.crt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := load(t, "[[domain]]\nname = \"a.example\"\nprimary = [\"mx\"]\n"); FromConfig(c).Webmail != nil || FromConfig(c).Smarthost != nil {
		t.Error("what is off was found")
	}
}

// TestNodeIsHeard: what runs counts more than what is configured, and a node that was started by flags says enough.
func TestNodeIsHeard(t *testing.T) {
	st := &admin.Status{
		Hostname: "mx9.example.net", SMTP: admin.SMTPState{Listen: []string{"0.0.0.0:25"}}, Reasons: []string{"full"},
		Store:   admin.StoreState{URL: "s3://b", State: "ok", Free: 1},
		Webmail: &admin.WebmailState{URL: "https://mail.example.net:8443/"},
		Sending: &submit.Status{Servers: []submit.ServerStatus{{Domain: spool.Smarthost, Address: "smtp.test:465", State: health.RefusesUs, Reply: "535 no"}}},
		Domains: []admin.DomainStatus{
			{Name: "example.com", Primary: []string{"mail.example.com:25"}, Lists: rcpt.Freshness{Complete: true, Known: 412}},
			{Name: "any.example", Primary: []string{"mx"}, Lists: rcpt.Freshness{CatchAll: true}},
			{Name: "old.example", Primary: []string{"mx"}, Lists: rcpt.Freshness{Complete: true, Known: 2, Stale: true, Why: "9 days old"}},
			{Name: "new.example", Primary: []string{"mx"}, Lists: rcpt.Freshness{Why: "never imported"}},
		},
	}
	var n Node
	n.Hear(st)
	if !n.Running || n.Hostname != "mx9.example.net" || n.NotReady[0] != "full" || n.Store.State != "ok" || n.Webmail.Hostnames[0] != "mail.example.net" {
		t.Errorf("%+v", n)
	}
	if h := n.Smarthost; h == nil || h.Host != "smtp.test" || h.Port != 465 || h.Problem != "535 no" {
		t.Errorf("%+v", h)
	}
	if d := n.Domains; len(d) != 4 || d[0].Recipients.Known != 412 || !d[0].Recipients.Complete || d[0].Primaries[0].Port != 25 || !d[1].Recipients.Complete ||
		d[2].Recipients.Stale != "9 days old" || d[3].Recipients.Complete {
		t.Errorf("%+v", d)
	}
	n = FromConfig(load(t, "[[domain]]\nname = \"example.com\"\nprimary = [\"mx\"]\n"))
	n.Hear(st)
	if len(n.Domains) != 4 || !n.Domains[0].Primaries[0].MX || n.Domains[0].Recipients.Known != 412 {
		t.Errorf("%+v", n.Domains)
	}
	n.Domains[0].HearKeys([]submit.Key{{Name: "a", Signs: true}})
	if k := n.Domains[0]; !k.KeysKnown || k.Keys[0].Published != "unknown" {
		t.Errorf("%+v", k)
	}
}

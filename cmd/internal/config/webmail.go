package config

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Secrets says where the cluster key is, with which secrets in the store are encrypted.
type Secrets struct {
	KeyFile string `toml:"key_file" check:"path"`
}

// Webmail is what people open in a browser. It is off while Listen is empty.
type Webmail struct {
	Listen          []string `toml:"listen" check:"listen"`
	RedirectListen  []string `toml:"redirect_listen" check:"listen"`
	Hostnames       []string `toml:"hostnames"`
	URL             string   `toml:"url"`
	TLS             string   `toml:"tls" enum:"files,acme,behind-proxy"`
	TLSCert         string   `toml:"tls_cert" check:"path"`
	TLSKey          string   `toml:"tls_key" check:"path"`
	ACMECA          string   `toml:"acme_ca"`
	ACMECARoot      string   `toml:"acme_ca_root" check:"path"`
	ACMEEmail       string   `toml:"acme_email"`
	Proxies         []string `toml:"proxies"`
	MaxConnections  int      `toml:"max_connections" min:"10" max:"100000"`
	Contact         string   `toml:"contact"`
	ReadingAfter    Duration `toml:"reading_after" min:"0s" max:"90d"`
	WritingAfter    Duration `toml:"writing_after" min:"0s" max:"90d"`
	HandoverAfter   Duration `toml:"handover_after" min:"0s" max:"12h"`
	LearnedPassword string   `toml:"learned_password" enum:"off,imap,submission"`
	LearnedFor      Duration `toml:"learned_for" min:"1d" max:"365d"`

	// ProxyNets is Proxies, parsed.
	ProxyNets []netip.Prefix `toml:"-"`
}

// On says whether there is a webmail.
func (w *Webmail) On() bool { return len(w.Listen) > 0 }

// Secure says that browsers reach it by https.
func (c *Config) Secure() bool { return !c.Dev }

// Submission is a server that takes mail from those who sign in (RFC 6409): the smarthost, or a domain's own.
// There is none while Host is empty.
type Submission struct {
	Host     string `toml:"host"`
	Port     int    `toml:"port" min:"1" max:"65535"`
	TLS      string `toml:"tls" enum:"starttls,implicit,none"`
	TLSCA    string `toml:"tls_ca" check:"path"`
	User     string `toml:"user"`
	Password Secret `toml:"password"`
}

// Sending limits what one account may send, and says how long the smarthost is tried.
type Sending struct {
	MessagesPerHour   int      `toml:"messages_per_hour" min:"1" max:"100000"`
	RecipientsPerHour int      `toml:"recipients_per_hour" min:"1" max:"1000000"`
	MaxRecipients     int      `toml:"max_recipients" min:"1" max:"10000"`
	MaxMessageSize    Size     `toml:"max_message_size" min:"64KB" max:"1GB"`
	RetryMin          Duration `toml:"retry_min" min:"1s" max:"1h"`
	RetryMax          Duration `toml:"retry_max" min:"1m" max:"24h"`
	GiveUp            Duration `toml:"give_up" min:"1h" max:"60d"`
}

// letsEncrypt is the directory of the CA that most use.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

func webmailDefaults() Webmail {
	return Webmail{
		TLS: "acme", ACMECA: letsEncrypt, MaxConnections: 2000,
		ReadingAfter: dur(7 * 24 * time.Hour), WritingAfter: dur(time.Hour),
		HandoverAfter: dur(10 * time.Minute), LearnedPassword: "off", LearnedFor: dur(30 * 24 * time.Hour),
	}
}

func submissionDefaults() Submission { return Submission{Port: 587, TLS: "starttls"} }

func sendingDefaults() Sending {
	return Sending{
		MessagesPerHour: 100, RecipientsPerHour: 500, MaxRecipients: 100, MaxMessageSize: 25 * MB,
		RetryMin: dur(time.Minute), RetryMax: dur(30 * time.Minute), GiveUp: dur(2 * 24 * time.Hour),
	}
}

// maxHostnames bounds [webmail] hostnames: a certificate has room for no more (Let's Encrypt takes 100).
const maxHostnames = 100

func (c *Config) fillWebmail() {
	if c.Secrets.KeyFile == "" {
		c.Secrets.KeyFile = filepath.Join(c.DataDir, "cluster.key")
	}
	if len(c.Webmail.Hostnames) == 0 {
		c.Webmail.Hostnames = []string{c.Hostname}
	}
}

func (d *decoder) webmail(c *Config) {
	d.submission("smarthost", &c.Smarthost)
	w := &c.Webmail
	d.hostnames(c)
	d.webURL(w)
	d.proxies(w)
	if !w.On() {
		if len(w.RedirectListen) > 0 {
			d.bad("webmail.redirect_listen", `write listen too, for example listen = ["0.0.0.0:443", "[::]:443"]`, "there is no webmail to redirect to")
		}
		return
	}
	switch {
	case d.read.about("webmail.tls"): // what it means isn't known
	case w.TLS == "files" && w.TLSCert == "" && w.TLSKey != "":
		d.bad("webmail.tls_cert", "write the path of the certificate that tls_key belongs to, its chain behind it", "is missing")
	case w.TLS == "files" && w.TLSKey == "" && w.TLSCert != "":
		d.bad("webmail.tls_key", "write the path of the key of tls_cert", "is missing")
	case w.TLS == "files" && w.TLSCert == "" && c.SMTP.TLSCert == "":
		d.bad("webmail.tls", `write tls_cert and tls_key below it or in [smtp], or tls = "acme" to have a certificate made`, "there are no files to take a certificate from")
	case w.TLS != "files" && (w.TLSCert != "" || w.TLSKey != ""):
		key := "webmail.tls_cert"
		if w.TLSCert == "" {
			key = "webmail.tls_key"
		}
		d.bad(key, `write tls = "files" too, or leave it out`, "isn't used with tls = %q", w.TLS)
	case w.TLS == "behind-proxy" && len(w.Proxies) == 0:
		d.bad("webmail.proxies", `write the addresses that the proxy connects from: proxies = ["127.0.0.1"]`, "no proxy is named")
	case w.TLS != "behind-proxy" && len(w.Proxies) > 0:
		d.bad("webmail.proxies", `write tls = "behind-proxy" too, or leave it out`, "isn't used with tls = %q", w.TLS)
	case w.TLS == "acme":
		d.acme(w)
	}
	d.mustExist("webmail.tls_cert", w.TLSCert, "write the path of the certificate, its chain behind it")
	d.mustExist("webmail.tls_key", w.TLSKey, "write the path of the certificate's key")
	if w.LearnedPassword != "off" && !slices.ContainsFunc(c.Domains, func(dom Domain) bool { return dom.LearnedServer != "" }) {
		d.bad("webmail.learned_password", `write learned_server = "imap.example.com" in the [[domain]] whose passwords it may learn, or "off"`, "no domain says which server to ask")
	}
}

func (d *decoder) acme(w *Webmail) {
	if u, err := url.Parse(w.ACMECA); err != nil || u.Scheme != "https" || u.Host == "" {
		d.bad("webmail.acme_ca", "write the directory of the CA, for example "+letsEncrypt, "is no https address")
	}
	d.mustExist("webmail.acme_ca_root", w.ACMECARoot, "write the path of a PEM file, or leave it out for a CA that everybody knows")
	for _, name := range w.Hostnames {
		if _, err := netip.ParseAddr(name); err == nil || !strings.Contains(name, ".") {
			d.bad("webmail.hostnames", `write names that this machine has in public DNS, or tls = "files"`, "no CA gives a certificate for %q", name)
		}
	}
}

func (d *decoder) hostnames(c *Config) {
	if len(c.Webmail.Hostnames) > maxHostnames {
		d.bad("webmail.hostnames", fmt.Sprintf("write at most %d", maxHostnames), "are %d names", len(c.Webmail.Hostnames))
	}
	var list []string
	for _, name := range c.Webmail.Hostnames {
		host, err := ParseDomain(name)
		switch {
		case err != nil && name == c.Hostname: // reported as hostname
		case err != nil:
			d.bad("webmail.hostnames", `write names without "https://" and port, for example hostnames = ["mail.example.com"]`, "%q is no host name", name)
		case slices.Contains(list, host):
			d.bad("webmail.hostnames", "keep one of the two", "%q is there twice", name)
		default:
			list = append(list, host)
		}
	}
	c.Webmail.Hostnames = list
}

// webURL checks the address that people are told: it has to be one that we answer to.
func (d *decoder) webURL(w *Webmail) {
	if w.URL == "" {
		return
	}
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		d.bad("webmail.url", `write https, a name and maybe a port, for example url = "https://mail.example.com"`, "is no such address")
	case !slices.Contains(w.Hostnames, strings.ToLower(u.Hostname())):
		d.bad("webmail.url", "write it into hostnames too", "%q isn't one of the hostnames", u.Hostname())
	default:
		w.URL = "https://" + strings.ToLower(u.Host)
	}
}

func (d *decoder) proxies(w *Webmail) {
	w.ProxyNets = nil
	for _, text := range w.Proxies {
		p, err := netip.ParsePrefix(text)
		if a, bad := netip.ParseAddr(text); bad == nil {
			p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil {
			d.bad("webmail.proxies", `write addresses or networks: proxies = ["127.0.0.1", "10.0.0.0/24"]`, "%q is no IP address", text)
			continue
		}
		if p.Bits() == 0 {
			d.bad("webmail.proxies", "name the proxies alone: whoever is named here is believed about who is calling", "%q is everybody", text)
			continue
		}
		w.ProxyNets = append(w.ProxyNets, p.Masked())
	}
}

// submission checks [smarthost] or a [domain.submission].
func (d *decoder) submission(key string, s *Submission) {
	if s.Host == "" {
		if s.User != "" || s.Password != "" || s.TLSCA != "" {
			d.bad(key+".host", `write its name, for example host = "smtp.example.net"`, "there is no host to sign in at")
		}
		return
	}
	host, err := ParseHost(s.Host)
	if a, bad := netip.ParseAddr(strings.Trim(s.Host, "[]")); bad == nil {
		host, err = a.String(), nil
	}
	if err != nil {
		d.bad(key+".host", `write a name or an address without a port, which has a key of its own`, "%v", err)
		return
	}
	s.Host = host
	switch {
	case (s.User == "") != (s.Password == ""):
		missing := "user"
		if s.User != "" {
			missing = "password"
		}
		d.bad(key+"."+missing, "write both user and password, or neither", "is missing")
	case s.TLS == "none" && s.User != "":
		d.bad(key+".tls", `write "starttls", or "implicit" with port = 465`, "a password is never sent without TLS")
	case s.TLS == "none" && s.TLSCA != "":
		d.bad(key+".tls", `write "starttls", or leave out tls_ca`, "there is no TLS to check")
	}
	d.mustExist(key+".tls_ca", s.TLSCA, "write the path of a file with PEM certificates")
}

// learned checks a domain's learned_server.
func (d *decoder) learned(key string, dom *Domain) {
	d.mustExist(key+".learned_ca", dom.LearnedCA, "write the path of a file with PEM certificates")
	if dom.LearnedServer == "" {
		return
	}
	if p, err := ParsePrimary(dom.LearnedServer); err != nil || p.MX {
		d.bad(key+".learned_server", fmt.Sprintf("write a name, with a port unless it is 993 (IMAP) or 587 (submission): %q", "imap."+orExample(dom.Name)), "%q is no server", dom.LearnedServer)
	}
}

func (c *Config) webmailWarnings() []string {
	var w []string
	if !c.Webmail.On() {
		return nil
	}
	if c.Smarthost.Host == "" {
		w = append(w, "there is no [smarthost], so in the webmail people can write to colleagues alone; name a server that takes mail for others while the primary is down")
	}
	for i := range c.Domains {
		for _, p := range c.Domains[i].Primaries {
			if a, err := netip.ParseAddr(p.Host); err == nil && a.IsLoopback() {
				continue // tests, and other containers of a pod
			}
			if !p.MX && c.Smarthost.Host != "" && p.Host == c.Smarthost.Host {
				w = append(w, fmt.Sprintf("the smarthost %s is the primary of %s: it is down when it is needed; name another server in [smarthost]", p.Host, c.Domains[i].Name))
			}
		}
	}
	if c.Webmail.TLS == "files" {
		if _, err := tls.LoadX509KeyPair(c.WebmailCert()); err != nil {
			w = append(w, fmt.Sprintf("there will be no webmail, its certificate can't be used: %s; mend tls_cert and tls_key in [webmail]", strings.TrimPrefix(err.Error(), "tls: ")))
		}
	}
	if c.Webmail.Contact == "" && !c.Dev {
		w = append(w, "[webmail] contact is empty: who can't sign in isn't told whom to call")
	}
	return w
}

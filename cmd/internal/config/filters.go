package config

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"restante/relay/policy/scan"
)

// Rspamd is how rspamd is asked about messages. It isn't while URL is empty.
type Rspamd struct {
	URL         string        `toml:"url"`
	Password    Secret        `toml:"password"`
	TLSCA       string        `toml:"tls_ca" check:"path"`
	Timeout     Duration      `toml:"timeout" min:"100ms" max:"1m"`
	Connections int           `toml:"connections" min:"1" max:"1000"`
	MaxSize     Size          `toml:"max_size" min:"64KB" max:"1GB"`
	TooBig      string        `toml:"too_big" enum:"accept,quarantine,refuse"`
	WhenFailing string        `toml:"when_failing" enum:"accept,defer"`
	Actions     RspamdActions `toml:"actions"`
}

// RspamdActions say what becomes of a message by what rspamd would have done.
type RspamdActions struct {
	Reject         string `toml:"reject" enum:"refuse,quarantine,mark,accept"`
	Quarantine     string `toml:"quarantine" enum:"refuse,quarantine,mark,accept"`
	Discard        string `toml:"discard" enum:"refuse,quarantine,mark,accept"`
	AddHeader      string `toml:"add_header" enum:"refuse,quarantine,mark,accept"`
	RewriteSubject string `toml:"rewrite_subject" enum:"refuse,quarantine,mark,accept"`
	SoftReject     string `toml:"soft_reject" enum:"defer,mark,accept"`
	Greylist       string `toml:"greylist" enum:"defer,mark,accept"`
}

// Clamd is how ClamAV's clamd is asked about messages. It isn't while Address is empty.
type Clamd struct {
	Address     string   `toml:"address"`
	Timeout     Duration `toml:"timeout" min:"100ms" max:"2m"`
	Connections int      `toml:"connections" min:"1" max:"1000"`
	MaxSize     Size     `toml:"max_size" min:"64KB" max:"1GB"`
	TooBig      string   `toml:"too_big" enum:"accept,quarantine,refuse"`
	WhenFailing string   `toml:"when_failing" enum:"accept,defer"`
	Found       string   `toml:"found" enum:"refuse,quarantine,mark"`
}

func rspamdDefaults() Rspamd {
	return Rspamd{Timeout: dur(scan.DefaultTimeout), Connections: scan.DefaultConnections, MaxSize: Size(scan.DefaultMaxSize), TooBig: "accept", WhenFailing: "accept",
		Actions: RspamdActions{Reject: "refuse", Quarantine: "quarantine", Discard: "quarantine", AddHeader: "mark", RewriteSubject: "mark", SoftReject: "defer", Greylist: "accept"}}
}

func clamdDefaults() Clamd {
	return Clamd{Timeout: dur(30 * time.Second), Connections: scan.DefaultConnections, MaxSize: 25 * MB, TooBig: "accept", WhenFailing: "defer", Found: "refuse"}
}

// action is what a filter's key says, as package scan names it.
func action(word string) scan.Action {
	if word == "accept" {
		return scan.Take
	}
	return scan.Action(word)
}

// Scan is what package scan is to do, less the certificates of TLSCA.
func (c *Config) Scan() scan.Config {
	r, d := &c.Rspamd, &c.Clamd
	a := &r.Actions
	return scan.Config{
		Rspamd: scan.Rspamd{URL: r.URL, Password: r.Password.Reveal(),
			Filter: scan.Filter{Timeout: r.Timeout.Std(), Connections: r.Connections, MaxSize: int64(r.MaxSize), TooBig: action(r.TooBig), WhenFailing: action(r.WhenFailing)},
			Actions: map[string]scan.Action{"reject": action(a.Reject), "quarantine": action(a.Quarantine), "discard": action(a.Discard), "add header": action(a.AddHeader),
				"rewrite subject": action(a.RewriteSubject), "soft reject": action(a.SoftReject), "greylist": action(a.Greylist)}},
		Clamd: scan.Clamd{Address: d.Address, Found: action(d.Found),
			Filter: scan.Filter{Timeout: d.Timeout.Std(), Connections: d.Connections, MaxSize: int64(d.MaxSize), TooBig: action(d.TooBig), WhenFailing: action(d.WhenFailing)}},
	}
}

// filters checks how content filters are reached.
func (d *decoder) filters(c *Config) {
	r := &c.Rspamd
	if u, err := url.Parse(r.URL); r.URL != "" {
		web := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && strings.Trim(u.Path, "/") == ""
		switch {
		case !web && !(err == nil && u.Scheme == "unix" && strings.HasPrefix(u.Path, "/")):
			d.bad("rspamd.url", `write for example "http://127.0.0.1:11333" or "unix:/run/rspamd/worker.sock"`, "%q is no address of rspamd", r.URL)
		case r.TLSCA != "" && u.Scheme != "https":
			d.bad("rspamd.tls_ca", "write an https address as url, or leave it out", "isn't used with %s", r.URL)
		case r.Password != "" && u.Scheme == "http" && !loopback(u.Hostname()):
			d.bad("rspamd.password", "use an https address, or leave it out and let secure_ip of rspamd name this machine", "would go over the network in clear text")
		}
	}
	d.mustExist("rspamd.tls_ca", r.TLSCA, "write the path of a PEM file, or leave it out for a CA that everybody knows")
	if a := c.Clamd.Address; a != "" && !strings.HasPrefix(a, "unix:/") && checkHostPort(a) != nil {
		d.bad("clamd.address", `write for example "unix:/run/clamav/clamd.ctl" or "127.0.0.1:3310"`, "%q is no address of clamd", a)
	}
}

// checkHostPort accepts "host:port", with the port.
func checkHostPort(s string) error {
	host, _, err := net.SplitHostPort(s)
	if err == nil && host == "" {
		return errors.New("there is no host")
	}
	if err == nil {
		_, err = ParsePrimary(s)
	}
	return err
}

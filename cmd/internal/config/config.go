// Package config reads Restante's configuration: one TOML file, the files of conf.d beside it, or
// command-line flags alone.
//
// Reading is strict. An unknown key, a value of the wrong kind or out of its bounds, or two values that
// don't go together is a Problem with file, line, key and what to write instead; all problems of a
// configuration are reported at once. Files of conf.d are read in the order of their names after the
// main file: a key that is set again replaces the value before, [[domain]] tables add up.
//
// sample.toml is the reference of all keys with their defaults. A test keeps it and the structs below
// equal, both ways.
package config

import (
	"net/netip"
	"time"

	"restante/relay/policy/dnsbl"
	"restante/relay/smtpd"
)

// DefaultPath is where the configuration is looked for when nothing else is said.
const DefaultPath = "/etc/restante/restante.toml"

// Config is a whole configuration, with defaults filled in and checked.
type Config struct {
	Hostname  string     `toml:"hostname"`
	DataDir   string     `toml:"data_dir" check:"path"`
	Log       Log        `toml:"log"`
	SMTP      SMTP       `toml:"smtp"`
	Store     Store      `toml:"store"`
	HTTP      HTTP       `toml:"http"`
	Admin     Admin      `toml:"admin"`
	Primary   Delivery   `toml:"primary"`
	Replay    Replay     `toml:"replay"`
	DNS       DNS        `toml:"dns"`
	Retention Retention  `toml:"retention"`
	Notify    Notify     `toml:"notify"`
	Secrets   Secrets    `toml:"secrets"`
	Webmail   Webmail    `toml:"webmail"`
	Rspamd    Rspamd     `toml:"rspamd"`
	Clamd     Clamd      `toml:"clamd"`
	Smarthost Submission `toml:"smarthost"`
	Sending   Sending    `toml:"sending"`
	Border    Border     `toml:"border"`
	Rates     Rates      `toml:"rates"`
	DNSBL     []DNSBL    `toml:"dnsbl"`
	Domains   []Domain   `toml:"domain"`

	// Files are the files that were read, in order; empty when there were flags alone.
	Files []string `toml:"-"`
	// Dev says that `serve --dev` made this configuration.
	Dev bool `toml:"-"`
	// DevListen is where its stand-in primary listens.
	DevListen string `toml:"-"`

	lines positions
}

// Log says how the log looks.
type Log struct {
	Level  string `toml:"level" enum:"debug,info,warn,error"`
	Format string `toml:"format" enum:"auto,text,json"`
}

// SMTP is the listener and its limits.
type SMTP struct {
	Listen                []string `toml:"listen" check:"listen"`
	TLSCert               string   `toml:"tls_cert" check:"path"`
	TLSKey                string   `toml:"tls_key" check:"path"`
	TLSMin                string   `toml:"tls_min" enum:"1.0,1.2,1.3"`
	MaxMessageSize        Size     `toml:"max_message_size" min:"64KB" max:"1GB"`
	MaxRecipients         int      `toml:"max_recipients" min:"100" max:"10000"`
	MaxSessions           int      `toml:"max_sessions" min:"1" max:"100000"`
	MaxSessionsPerAddress int      `toml:"max_sessions_per_address" min:"1" max:"100000"`
	IdleTimeout           Duration `toml:"idle_timeout" min:"10s" max:"1h"`
	MinRate               Size     `toml:"min_rate" min:"0" max:"1MB"`
	MaxErrors             int      `toml:"max_errors" min:"1" max:"10000"`
	Proxies               []string `toml:"proxies"`
	DNSBLThreshold        int      `toml:"dnsbl_threshold" min:"1" max:"1000"`

	// ProxyNets is Proxies, parsed.
	ProxyNets []netip.Prefix `toml:"-"`
}

// Store is where mail is kept.
type Store struct {
	URL           string   `toml:"url"`
	MinFree       Size     `toml:"min_free" min:"1MB" max:"1TB"`
	InlineMax     Size     `toml:"inline_max" min:"4KB" max:"64MB"`
	BatchBytes    Size     `toml:"batch_bytes" min:"64KB" max:"64MB"`
	BatchCount    int      `toml:"batch_count" min:"1" max:"100000"`
	Lanes         int      `toml:"lanes" min:"1" max:"64"`
	GatherWait    Duration `toml:"gather_wait" min:"0s" max:"1s"`
	SettleTimeout Duration `toml:"settle_timeout" min:"10s" max:"8m"`
}

// HTTP serves /healthz, /readyz and /metrics.
type HTTP struct {
	Listen string `toml:"listen" check:"listen"`
}

// Admin is the unix socket that the command line speaks to.
type Admin struct {
	Socket string `toml:"socket" check:"path"`
	Group  string `toml:"group"`
	// ReadContent "off" hides subjects and bodies from those who use the socket.
	ReadContent string `toml:"read_content" enum:"on,off"`
}

// Delivery is how primaries are spoken to, in pass-through, probes and replay.
type Delivery struct {
	ConnectTimeout Duration `toml:"connect_timeout" min:"1s" max:"1m"`
	CommandTimeout Duration `toml:"command_timeout" min:"5s" max:"10m"`
	DataTimeout    Duration `toml:"data_timeout" min:"30s" max:"30m"`
	MaxConnections int      `toml:"max_connections" min:"1" max:"1000"`
}

// Replay paces the delivery of what was kept.
type Replay struct {
	Connections int      `toml:"connections" min:"1" max:"500"`
	Rate        int      `toml:"rate" min:"0" max:"100000"`
	GiveUp      Duration `toml:"give_up" min:"1h" max:"60d"`
	RetryMin    Duration `toml:"retry_min" min:"1s" max:"1h"`
	RetryMax    Duration `toml:"retry_max" min:"1m" max:"24h"`
}

// DNS says whom to ask.
type DNS struct {
	Servers []string `toml:"servers" check:"address"`
	Timeout Duration `toml:"timeout" min:"100ms" max:"30s"`
	TrustAD string   `toml:"trust_ad" enum:"on,off"`
}

// Retention says how long entries stay after their pairs have ended.
type Retention struct {
	Delivered Duration `toml:"delivered" min:"0s" max:"3650d"`
	Parked    Duration `toml:"parked" min:"0s" max:"3650d"`
	Pending   Duration `toml:"pending" min:"0s" max:"3650d"`
}

// Notify tells people and watchdogs.
type Notify struct {
	Command      []string `toml:"command" check:"command"`
	URL          Secret   `toml:"url"`
	HeartbeatURL Secret   `toml:"heartbeat_url"`
	Timeout      Duration `toml:"timeout" min:"1s" max:"5m"`
}

// Domain is one domain that Restante stands behind.
type Domain struct {
	Name              string     `toml:"name"`
	Primary           []string   `toml:"primary"`
	WhenUp            string     `toml:"when_up" enum:"pass,spool"`
	AliasOf           string     `toml:"alias_of"`
	Recipients        []string   `toml:"recipients"`
	RecipientsFile    string     `toml:"recipients_file" check:"path"`
	RecipientsFormat  string     `toml:"recipients_format" enum:"auto,plain,postfix,aliases,passwd,csv,ldif"`
	RecipientsMaxAge  Duration   `toml:"recipients_max_age" min:"1h" max:"3650d"`
	UnknownRecipients string     `toml:"unknown_recipients" enum:"defer,accept,refuse"`
	SubAddress        string     `toml:"sub_address"`
	CatchAll          string     `toml:"catch_all" enum:"on,off"`
	CallAhead         string     `toml:"call_ahead" enum:"on,off"`
	LDAP              LDAP       `toml:"ldap"`
	ProbeInterval     Duration   `toml:"probe_interval" min:"1s" max:"1h"`
	Replay            string     `toml:"replay" enum:"auto,manual"`
	TLS               string     `toml:"tls" enum:"opportunistic,dane,required,none"`
	TLSCA             string     `toml:"tls_ca" check:"path"`
	TLSFingerprints   []string   `toml:"tls_fingerprints" check:"fingerprint"`
	TLSName           string     `toml:"tls_name"`
	Origin            string     `toml:"origin" enum:"xclient,xforward,none"`
	Trusted           []string   `toml:"trusted"`
	LearnedServer     string     `toml:"learned_server"`
	LearnedCA         string     `toml:"learned_ca" check:"path"`
	Submission        Submission `toml:"submission"`
	Retention         Retention  `toml:"retention"`
	Border            Border     `toml:"border"`

	// Primaries is Primary, parsed.
	Primaries []Primary `toml:"-"`
	// TrustedNets is Trusted, parsed, in order.
	TrustedNets []netip.Prefix `toml:"-"`
}

// Primary is one entry of a domain's primary list.
type Primary struct {
	Host string // host name or IP address, "" when MX
	Port int
	MX   bool // taken from DNS
}

// Defaults is the configuration before any file is read: it has no hostname and no domains.
func Defaults() *Config {
	smtp := smtpd.DefaultLimits()
	return &Config{
		DataDir: "/var/lib/restante",
		Log:     Log{Level: "info", Format: "auto"},
		SMTP: SMTP{
			Listen:         []string{"0.0.0.0:25", "[::]:25"},
			TLSMin:         "1.2",
			MaxMessageSize: Size(smtp.MessageSize), MaxRecipients: smtp.Recipients,
			MaxSessions: smtp.Sessions, MaxSessionsPerAddress: smtp.SessionsPerAddress,
			IdleTimeout: dur(smtp.Idle), MinRate: Size(smtp.MinRate), MaxErrors: smtp.Errors,
			DNSBLThreshold: dnsbl.DefaultThreshold,
		},
		Store: Store{
			MinFree: GiB, InlineMax: 1 << 20, BatchBytes: 4 << 20, BatchCount: 1000, Lanes: 4,
			GatherWait: dur(3 * time.Millisecond), SettleTimeout: dur(2 * time.Minute),
		},
		HTTP:  HTTP{Listen: "127.0.0.1:8080"},
		Admin: Admin{ReadContent: "on"},
		Primary: Delivery{
			ConnectTimeout: dur(10 * time.Second), CommandTimeout: dur(time.Minute),
			DataTimeout: dur(5 * time.Minute), MaxConnections: 50,
		},
		Replay: Replay{
			Connections: 20, Rate: 0, GiveUp: dur(5 * 24 * time.Hour),
			RetryMin: dur(15 * time.Second), RetryMax: dur(15 * time.Minute),
		},
		DNS:       DNS{Timeout: dur(2 * time.Second), TrustAD: off},
		Retention: Retention{Delivered: dur(14 * 24 * time.Hour), Parked: dur(30 * 24 * time.Hour)},
		Notify:    Notify{Timeout: dur(10 * time.Second)},
		Webmail:   webmailDefaults(), Smarthost: submissionDefaults(), Sending: sendingDefaults(),
		Rspamd: rspamdDefaults(), Clamd: clamdDefaults(), Border: borderDefaults(), Rates: ratesDefaults(),
	}
}

// domainDefaults is a [[domain]] before its keys are read. Retention is filled in from [retention] later.
func domainDefaults() Domain {
	d := Domain{
		WhenUp: "pass", ProbeInterval: dur(10 * time.Second), Replay: "auto",
		TLS: "opportunistic", Origin: "xforward", Submission: submissionDefaults(),
		Retention: Retention{Delivered: unset, Parked: unset, Pending: unset},
	}
	recipientDefaults(&d)
	return d
}

// Domain returns the domain of that name.
func (c *Config) Domain(name string) (*Domain, bool) {
	for i := range c.Domains {
		if c.Domains[i].Name == name {
			return &c.Domains[i], true
		}
	}
	return nil, false
}

package health

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"restante/relay/smtpc"
)

// FromDNS is the primary of a domain whose hosts are taken from its MX records, less ourselves and
// what is no better (RFC 5321 5.1).
const FromDNS = "mx"

// ParsePrimary reads one primary as it is configured: host, host:port, [host], [host]:port, an IPv4
// address with or without a port, an IPv6 address in brackets with or without a port, or bare.
// The port is 25 by default. "mx" is not a host and is refused: see FromDNS.
func ParsePrimary(s string) (smtpc.Target, error) {
	host, port := strings.TrimSpace(s), 25
	if strings.EqualFold(host, FromDNS) {
		return smtpc.Target{}, fmt.Errorf("primary %q stands for the hosts in DNS and must be the only one", s)
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		h, p, err := net.SplitHostPort(host)
		if err != nil {
			return smtpc.Target{}, fmt.Errorf("primary %q: write host, host:port or [address]:port", s)
		}
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return smtpc.Target{}, fmt.Errorf("primary %q: the port must be a number from 1 to 65535", s)
		}
		host, port = h, int(n)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if host == "" || strings.ContainsAny(host, " \t[]/@:") && !isAddr(host) {
		return smtpc.Target{}, fmt.Errorf("primary %q: write host, host:port or [address]:port", s)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return smtpc.Target{Host: host, Port: port, Name: strings.TrimSpace(s)}, nil
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// targetID names a target within a set: host, port and how TLS is asked for.
func targetID(t smtpc.Target) string {
	id := net.JoinHostPort(t.Host, strconv.Itoa(t.Port))
	if t.TLS.Mode != "" && t.TLS.Mode != smtpc.TLSOpportunistic {
		id += "/" + t.TLS.Mode
	}
	if t.Implicit {
		id += "/implicit"
	}
	if t.Login != nil {
		id += "/as " + strings.ReplaceAll(t.Login.User, ",", "_")
	}
	if t.XClient {
		id += "/xclient"
	}
	if t.XForward {
		id += "/xforward"
	}
	for _, p := range t.Trusted {
		id += "/trusts " + p.String()
	}
	if t.TLS.ServerName != "" {
		id += "/" + t.TLS.ServerName
	}
	for _, f := range t.TLS.Fingerprints {
		id += "/" + f
	}
	return id
}

// Hosts are the hosts in the Key of a set, without how they are spoken to, for people: "mail.example.com:25".
func Hosts(key string) string {
	ids := strings.Split(key, ",")
	for i, id := range ids {
		ids[i], _, _ = strings.Cut(id, "/")
	}
	return strings.Join(ids, ",")
}

func setKey(ts []smtpc.Target) string {
	ids := make([]string, len(ts))
	for i, t := range ts {
		ids[i] = targetID(t)
	}
	return strings.Join(ids, ",")
}

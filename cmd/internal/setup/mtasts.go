package setup

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"restante/dns"
)

// maxPolicy bounds an MTA-STS policy in octets (RFC 8461 3.3 recommends 64 KB).
const maxPolicy = 64 << 10

// policy is an MTA-STS policy (RFC 8461 3.2).
type policy struct {
	mode string // enforce, testing, none
	mx   []string
}

// mtasts: a policy names this machine too, else senders that obey it never come here.
func (s *run) mtasts(d Domain) check {
	return func(ctx context.Context) []Row {
		row := Row{Domain: d.Name, Check: "MTA-STS", Result: OK}
		text, n, err := s.record(ctx, "_mta-sts."+d.Name, "v=STSv1")
		switch {
		case err != nil:
			return []Row{unanswered(d.Name, row.Check, err)}
		case n == 0:
			row.Found = "no policy, so nothing to add"
			return []Row{row}
		case n > 1:
			row.Result, row.Found, row.Mend = Warn, fmt.Sprintf("there are %d records at _mta-sts.%s, which counts as none", n, d.Name), "make one of them"
			return []Row{row}
		}
		p, err := s.policyOf(ctx, d.Name)
		switch {
		case err != nil:
			row.Result, row.Found = Warn, "there is a record, but no policy: "+brief(err)
			row.Mend = "serve it at " + policyURL(d.Name) + ", or take the record away"
		case p.mode == "none":
			row.Found = "the policy asks for nothing (mode: none)"
		case !p.names(s.node.Hostname):
			row.Result, row.Found = Fail, fmt.Sprintf("the policy (mode: %s) doesn't name this machine: senders that obey it won't come here", p.mode)
			if p.mode == "testing" {
				row.Result = Warn
			}
			row.Mend = fmt.Sprintf("add this line to %s\n  mx: %s\nthen change the id in the record (now %s)", policyURL(d.Name), s.node.Hostname, printable(tag(text, "id")))
		default:
			row.Found = fmt.Sprintf("the policy (mode: %s) names %s", p.mode, s.node.Hostname)
			s.fitsPolicy(p, &row)
		}
		return []Row{row}
	}
}

// fitsPolicy: who is in a policy needs a certificate that can be verified (RFC 8461 4.2).
func (s *run) fitsPolicy(p *policy, row *Row) {
	certs, err := s.served()
	if err != nil || len(certs) == 0 {
		return // certificate says so
	}
	if err := s.verify(certs, s.node.Hostname); err != nil {
		row.Result, row.Found = Fail, row.Found+", whose certificate senders refuse: "+brief(err)
		if p.mode == "testing" {
			row.Result = Warn
		}
		row.Mend = `get one from a CA: [webmail] tls = "acme", or [smtp] tls_cert and tls_key`
	}
}

func policyURL(domain string) string { return "https://mta-sts." + domain + "/.well-known/mta-sts.txt" }

// policyOf fetches a policy: no redirects, a certificate that is good, a bounded body (RFC 8461 3.3).
func (s *run) policyOf(ctx context.Context, domain string) (*policy, error) {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.Roots, MinVersion: tls.VersionTLS12}, DialContext: s.dialName, DisableKeepAlives: true}
	client := &http.Client{Transport: t, Timeout: dialTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, which senders don't follow")
		}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, policyURL(domain), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", resp.Status)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(strings.ToLower(kind), "text/plain") {
		return nil, fmt.Errorf("it is of type %q, not text/plain", kind)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy))
	if err != nil {
		return nil, err
	}
	return parsePolicy(string(body))
}

// dialName dials one of the addresses that DNS has for a name.
func (s *run) dialName(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	list, err := s.addresses(ctx, host)
	if dns.IsNotFound(err) {
		return nil, fmt.Errorf("%s has no address", host)
	}
	if err != nil {
		return nil, err
	}
	for _, a := range list[:min(len(list), maxAddress)] {
		var nc net.Conn
		if nc, err = s.Dial(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return nc, nil
		}
	}
	return nil, err
}

func parsePolicy(text string) (*policy, error) {
	p := &policy{}
	version := ""
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		v = strings.TrimSpace(v)
		switch strings.TrimSpace(k) {
		case "version":
			version = v
		case "mode":
			p.mode = v
		case "mx":
			p.mx = append(p.mx, trim(v))
		}
	}
	if version != "STSv1" {
		return nil, errors.New("it has no line \"version: STSv1\"")
	}
	if p.mode != "enforce" && p.mode != "testing" && p.mode != "none" {
		return nil, fmt.Errorf("its mode is %q, not enforce, testing or none", printable(p.mode))
	}
	return p, nil
}

// names reports that a policy covers a host: by its name, or "*." for one label before it (RFC 8461 4.1).
func (p *policy) names(host string) bool {
	for _, mx := range p.mx {
		if mx == host {
			return true
		}
		if suffix, ok := strings.CutPrefix(mx, "*."); ok {
			if _, rest, _ := strings.Cut(host, "."); rest == suffix {
				return true
			}
		}
	}
	return false
}

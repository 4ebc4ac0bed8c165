package setup

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"restante/dns"
	"restante/spool"
)

// node: it runs and takes mail.
func (s *run) nodeState(context.Context) []Row {
	row := Row{Check: "node", Result: OK, Found: "runs, and listens on " + strings.Join(s.node.Listen, ", ")}
	switch {
	case !s.node.Running:
		row.Result, row.Found, row.Mend = Warn, "none answers, so DKIM keys, recipients and the store weren't looked at", "start it, then look again: restante serve"
	case len(s.node.NotReady) > 0:
		row.Result, row.Found, row.Mend = Fail, "it runs, but takes no mail: "+strings.Join(s.node.NotReady, "; "), "restante status"
	}
	return []Row{row}
}

// clock: retention, leases and signatures go by it.
func (s *run) clock(context.Context) []Row {
	row := Row{Check: "clock", Result: OK, Found: "set by a time service"}
	switch ok, err := s.Synced(); {
	case err != nil:
		row.Result, row.Found = Note, "whether a time service sets it can't be told: "+brief(err)
	case !ok:
		row.Result, row.Found = Warn, "no time service sets it"
		row.Mend = "timedatectl set-ntp true, or install chrony; in a container the host's clock counts"
	}
	return []Row{row}
}

// Less than lowFactor times min_free, or more than fullPercent used, is worth a word before it is too late.
const (
	lowFactor   = 3
	fullPercent = 80
)

// disk: there is room.
func (s *run) disk(context.Context) []Row {
	var rows []Row
	if s.node.DataDir != "" { // a node that was started by flags says nothing of it
		rows = append(rows, s.room("disk", s.node.DataDir))
	}
	u, err := url.Parse(s.node.Store.URL)
	row := Row{Check: "store", Result: OK, Found: s.node.Store.URL}
	switch st := s.node.Store; {
	case st.State != "" && st.State != "ok":
		row.Result, row.Found, row.Mend = Fail, st.URL+" is "+st.State+": "+brief(fmt.Errorf("%s", cmp.Or(st.Error, "no reason is known"))), "restante store check"
	case st.State == "ok" && st.Total > 0:
		row.Found = fmt.Sprintf("%s, %s free of %s", st.URL, spool.Octets(st.Free), spool.Octets(st.Total))
	case st.State == "ok":
	case err == nil && u.Scheme == "file":
		if same(s.node.DataDir, u.Path) {
			return rows
		}
		row = s.room("store", u.Path)
	default:
		row.Result, row.Found, row.Mend = Note, st.URL+" wasn't tried", fmt.Sprintf("prove it: restante store check %q", st.URL)
	}
	return append(rows, row)
}

func same(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// room is how much room the disk of a folder has, which may not be there yet.
func (s *run) room(what, dir string) Row {
	row := Row{Check: what, Result: OK}
	at := dir
	for {
		if _, err := os.Stat(at); err == nil || filepath.Dir(at) == at {
			break
		}
		at = filepath.Dir(at)
	}
	free, total, err := s.Space(at)
	if err != nil || total <= 0 {
		row.Result, row.Found = Note, "how much room "+dir+" has can't be told"
		return row
	}
	row.Found = fmt.Sprintf("%s free of %s at %s", spool.Octets(free), spool.Octets(total), dir)
	switch {
	case free < s.node.MinFree:
		row.Result, row.Mend = Fail, "make room: below min_free, "+spool.Octets(s.node.MinFree)+", mail gets 452 and comes later"
	case free < lowFactor*s.node.MinFree || float64(total-free) > fullPercent/100.0*float64(total):
		row.Result, row.Mend = Warn, "make room before an outage needs it"
	}
	return row
}

// webmail: the names that people open lead here, and their certificate is good.
func (s *run) webmail(ctx context.Context) []Row {
	w := s.node.Webmail
	if w == nil {
		return []Row{{Check: "webmail", Result: Note, Found: "off: in an outage people can't read their mail", Mend: `switch it on: [webmail] listen = ["0.0.0.0:443", "[::]:443"]`}}
	}
	port := "443"
	if u, err := url.Parse(w.URL); err == nil && u.Host != "" {
		port = cmp.Or(u.Port(), port)
	} else if len(w.Listen) > 0 && w.TLS != "behind-proxy" { // a proxy has a port of its own
		if _, p, err := net.SplitHostPort(w.Listen[0]); err == nil {
			port = p
		}
	}
	var rows []Row
	for i, name := range w.Hostnames {
		rows = append(rows, s.webName(ctx, name, port, i == 0))
	}
	return rows
}

// webName is one name of the webmail. The first is what people are told; another may be one that points here on the day only.
func (s *run) webName(ctx context.Context, name, port string, first bool) Row {
	row := Row{Check: "webmail", Result: OK}
	list, err := s.addresses(ctx, name)
	switch {
	case dns.IsNotFound(err):
		row.Result, row.Found, row.Mend = Fail, name+" has no address in DNS", "publish it"
		row.Records = s.addressRecords(name)
		return row
	case err != nil:
		return unanswered("", row.Check, err)
	}
	own := append(s.ours(ctx), s.interfaces()...)
	if !first && !slices.ContainsFunc(list, func(a netip.Addr) bool { return slices.Contains(own, a) }) {
		row.Result, row.Found = Note, fmt.Sprintf("%s is %s, not this machine: until it leads here it has no certificate", name, join(list))
		row.Mend = "on the day, point it here; keep its TTL low (5 min)"
		return row
	}
	w := s.node.Webmail
	certs, err := s.browse(ctx, net.JoinHostPort(list[0].String(), port), name)
	where := name
	if port != "443" {
		where += ":" + port
	}
	switch {
	case err != nil && !s.node.Running:
		row.Result, row.Found, row.Mend = Note, where+": "+brief(err)+", no node runs", "start it, then look again"
	case err != nil:
		row.Result, row.Found, row.Mend = Fail, where+": "+brief(err), "open port "+port+" or pass it on to where the webmail listens, "+strings.Join(w.Listen, ", ")
		if w.TLS == "behind-proxy" {
			row.Mend = "have the proxy answer there by https and pass it on to " + strings.Join(w.Listen, ", ") + "; for another port write [webmail] url"
		}
	case s.verify(certs, name) != nil:
		row.Result, row.Found = Fail, where+": browsers refuse its certificate: "+brief(s.verify(certs, name))
		row.Mend = "restante status and the log say what the CA answers; with files, have the chain in tls_cert"
	default:
		row.Found = "https://" + where + " opens"
	}
	return row
}

// browse gets the certificate of an https server.
func (s *run) browse(ctx context.Context, address, name string) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := s.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	var g greeting
	if _, err := g.secure(ctx, nc, name); err != nil {
		return nil, err
	}
	return g.certs, nil
}

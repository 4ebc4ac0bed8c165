package setup

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"

	"restante/dns"
)

// record returns the one TXT record of a name that begins with a version, and how many do.
func (s *run) record(ctx context.Context, name, version string) (text string, n int, err error) {
	list, err := s.DNS.LookupTXT(ctx, name)
	if dns.IsNotFound(err) {
		return "", 0, nil
	}
	for _, t := range list {
		head := strings.ToLower(t)
		if rest, ok := strings.CutPrefix(head, strings.ToLower(version)); ok && (rest == "" || strings.ContainsAny(rest[:1], " ;\t")) {
			text, n = t, n+1
		}
	}
	return text, n, err
}

// quoted is a TXT record's value for a zone file: strings of 255 octets at most (RFC 1035 3.3, 5.1).
func quoted(text string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var out []string
	for len(text) > 250 {
		out = append(out, `"`+escape.Replace(text[:250])+`"`)
		text = text[250:]
	}
	return strings.Join(append(out, `"`+escape.Replace(text)+`"`), " ")
}

// allows asks a domain's SPF record about an address.
func (s *run) allows(ctx context.Context, domain string, a netip.Addr) (spf.Result, error) {
	return spf.CheckHostWithSender(net.IP(a.AsSlice()), s.node.Hostname, "postmaster@"+domain, spf.WithContext(ctx), spf.WithResolver(s.DNS))
}

// spfOf says what of a list of addresses a domain's record doesn't allow, and its fault if it has one.
func (s *run) spfOf(ctx context.Context, domain string, list []netip.Addr) (not []netip.Addr, fault error) {
	for _, a := range list {
		switch result, err := s.allows(ctx, domain, a); result {
		case spf.Pass:
		case spf.PermError:
			return nil, err
		default:
			not = append(not, a)
		}
	}
	return not, nil
}

// helo: mail without a sender, such as a bounce that we hand over, is judged by our name (RFC 7208 2.4).
func (s *run) helo(ctx context.Context) []Row {
	name := s.node.Hostname
	row := Row{Check: "SPF of " + name, Result: OK, Found: "allows this machine"}
	_, n, err := s.record(ctx, name, "v=spf1")
	switch {
	case err != nil:
		return []Row{unanswered("", row.Check, err)}
	case n == 0:
		row.Result, row.Found = Note, "none; mail without a sender that is handed over would be verified by it"
		row.Records = []Record{{Name: name, Type: "TXT", Value: quoted("v=spf1 a -all")}}
		row.Mend = "publish it if you like"
		return []Row{row}
	}
	not, fault := s.spfOf(ctx, name, s.sending(ctx))
	switch {
	case fault != nil:
		row.Result, row.Found, row.Mend = Warn, "it is broken: "+brief(fault), "correct it"
	case len(not) > 0:
		row.Result, row.Found, row.Mend = Warn, "it doesn't allow "+join(not), "correct it: v=spf1 a -all"
	}
	return []Row{row}
}

// writes says whether people of the domain write from here to anybody.
func (s *run) writes() bool { return s.node.Webmail != nil }

// spf: mail that people of the domain write here is allowed by their domain.
func (s *run) spf(d Domain) check {
	return func(ctx context.Context) []Row {
		row := Row{Domain: d.Name, Check: "SPF", Result: OK}
		text, n, err := s.record(ctx, d.Name, "v=spf1")
		switch {
		case err != nil:
			return []Row{unanswered(d.Name, row.Check, err)}
		case n > 1:
			row.Result, row.Found, row.Mend = Fail, fmt.Sprintf("there are %d records, which counts as none (RFC 7208 4.5)", n), "make one of them"
			return []Row{row}
		case n == 0:
			row.Result, row.Found, row.Mend = Note, "none", "publish one that names all who send for the domain"
			if s.writes() {
				row.Result = Warn
			}
			row.Records = []Record{{Name: d.Name, Type: "TXT", Value: quoted("v=spf1 mx ~all")}}
			return []Row{row}
		}
		row.Found = printable(text)
		s.sendersOf(ctx, d, text, &row)
		return []Row{row}
	}
}

// sendersOf: the record allows this machine and the smarthost.
func (s *run) sendersOf(ctx context.Context, d Domain, text string, row *Row) {
	terms := strings.Fields(strings.ToLower(text))
	not, fault := s.spfOf(ctx, d.Name, s.sending(ctx))
	switch {
	case fault != nil:
		row.Result, row.Found, row.Mend = Fail, row.Found+": it is broken: "+brief(fault), "correct it"
		return
	case slices.Contains(terms, "all"), slices.Contains(terms, "+all"):
		row.Result, row.Found, row.Mend = Warn, row.Found+": it allows everybody to send as "+d.Name, "end it with ~all or -all"
		return
	case len(not) > 0 && s.writes() && d.Submission == nil:
		// What people write to colleagues goes to the primary from here.
		row.Result, row.Found = Warn, row.Found+": it doesn't allow this machine, from which what people write to colleagues goes to the mail server"
		row.Mend = "add it, or let us sign in there: [domain.submission]"
		row.Records = instead(Record{Name: d.Name, Type: "TXT", Value: quoted(including(text, "a:"+s.node.Hostname))})
		return
	}
	if s.node.Smarthost == nil {
		return
	}
	h := s.node.Smarthost.Host
	list, err := s.addresses(ctx, h)
	if err != nil {
		return // smarthost reports it
	}
	if not, _ := s.spfOf(ctx, d.Name, list); len(not) > 0 {
		row.Result, row.Found = Note, fmt.Sprintf("%s: it doesn't name %s; the smarthost may send from other addresses", row.Found, h)
		row.Mend = "ask its provider what to put in, usually include:..., unless that is there"
	}
}

// including is an SPF record with one more mechanism, before what ends it.
func including(text, mechanism string) string {
	terms := strings.Fields(text)
	for i, t := range terms {
		l := strings.ToLower(strings.TrimLeft(t, "+-~?"))
		if l == "all" || strings.HasPrefix(l, "redirect=") {
			return strings.Join(append(append(append([]string{}, terms[:i]...), mechanism), terms[i:]...), " ")
		}
	}
	return strings.Join(append(terms, mechanism), " ")
}

// dkim: what people write is signed, and the keys are in DNS.
func (s *run) dkim(d Domain) check {
	return func(context.Context) []Row {
		row := Row{Domain: d.Name, Check: "DKIM", Result: OK}
		if !d.KeysKnown {
			row.Result, row.Found, row.Mend = Note, "the running node knows the keys, and none answers", "start it, then look again"
			return []Row{row}
		}
		var signing, published int
		for _, k := range d.Keys {
			if !k.Signs {
				continue
			}
			signing++
			publish := Record{Name: trim(k.Name), Type: "TXT", Value: quoted(k.Record)}
			switch k.Published {
			case "yes":
				published++
			case "other":
				row.Result, row.Found, row.Mend = Fail, "another key is published as "+k.Name, "replace it"
				row.Records = append(row.Records, instead(publish)...)
			case "no":
				if row.Result != Fail {
					row.Result, row.Found, row.Mend = Warn, "keys sign that aren't published", "publish them"
				}
				row.Records = append(row.Records, publish)
			default:
				if row.Result == OK {
					row.Result, row.Found = Note, "DNS doesn't say whether the keys are published"
				}
			}
		}
		switch {
		case signing == 0:
			row.Result, row.Found = Note, "no keys: what people write here goes out unsigned"
			row.Mend = "restante dkim keygen " + d.Name
			if s.writes() {
				row.Result = Warn
			}
		case row.Result == OK:
			row.Found = fmt.Sprintf("all keys that sign are published (%d)", published)
		}
		return []Row{row}
	}
}

// dmarc: the domain has a policy, and what people write here lives up to it.
func (s *run) dmarc(d Domain) check {
	return func(ctx context.Context) []Row {
		row := Row{Domain: d.Name, Check: "DMARC", Result: OK}
		for at := d.Name; at != ""; _, at, _ = strings.Cut(at, ".") {
			text, n, err := s.record(ctx, "_dmarc."+at, "v=DMARC1")
			switch {
			case err != nil:
				return []Row{unanswered(d.Name, row.Check, err)}
			case n > 1:
				row.Result, row.Found, row.Mend = Fail, fmt.Sprintf("there are %d records at _dmarc.%s, which counts as none", n, at), "make one of them"
				return []Row{row}
			case n == 1:
				row.Found = printable(text)
				if at != d.Name {
					row.Found += " (at " + at + ")"
				}
				s.lives(d, text, &row)
				return []Row{row}
			}
		}
		row.Result, row.Found = Note, "none: anybody can write as "+d.Name
		row.Mend = "begin with a policy that changes nothing, and read the reports"
		row.Records = []Record{{Name: "_dmarc." + d.Name, Type: "TXT", Value: quoted("v=DMARC1; p=none; rua=mailto:postmaster@" + d.Name)}}
		return []Row{row}
	}
}

// lives: with a policy that refuses, mail from here needs a signature that receivers can verify.
func (s *run) lives(d Domain, text string, row *Row) {
	policy := strings.ToLower(tag(text, "p"))
	if policy != "reject" && policy != "quarantine" || !s.writes() || !d.KeysKnown {
		return
	}
	for _, k := range d.Keys {
		if k.Signs && k.Published == "yes" {
			return
		}
	}
	row.Result, row.Found = Warn, row.Found+": what people write here isn't signed by a published key, and may be refused for that"
	row.Mend = "publish the keys, see DKIM"
}

// tag is a value of a tag list (RFC 6376 3.2).
func tag(text, name string) string {
	for part := range strings.SplitSeq(text, ";") {
		if k, v, _ := strings.Cut(part, "="); strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

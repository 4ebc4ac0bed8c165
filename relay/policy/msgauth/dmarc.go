package msgauth

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
)

// Limits of the tree walk (RFC 9989 4.10): a name of more labels is asked for itself and then from
// walkLabels down, so that eight questions are the most.
const walkLabels = 7

// record is a DMARC policy record (RFC 9989 4.7).
type record struct {
	domain      string // where it stands
	p, sp, np   string
	adkim, aspf bool   // strict
	psd         string // "y", "n", or "u"
	test        bool   // t=y
}

var errTemporary = errors.New("DNS gave no answer")

// wish is what an author's domain wants.
type wish struct {
	from, org string
	r         *record // nil: nothing
	policy    string  // as it applies to the author
	walks     walks
	err       error
	done      chan struct{} // the rest is there
}

// wishes asks what the domains of the authors want, without waiting for it. Each is asked in time of its own, which nobody
// else's answers can take: a stranger's zone may be as slow as its owner likes.
func (j *Judge) wishes(ctx context.Context, domains []string) []*wish {
	var all []*wish
	for _, from := range domains {
		w := &wish{from: from, walks: walks{}, done: make(chan struct{})}
		all = append(all, w)
		go func() {
			defer close(w.done)
			records, err := j.walk(ctx, w.walks, from)
			if w.err = err; err != nil {
				return
			}
			w.org = organizational(from, records)
			if w.r = policyRecord(from, w.org, records); w.r != nil {
				w.policy, w.err = j.policy(ctx, w.r, from)
			}
		}()
	}
	return all
}

// dmarc says whether something that passed is aligned with what the authors' domains want; why, unless it is empty, is why no single
// one can be named. Of several authors the one counts that speaks most against the message.
func (j *Judge) dmarc(ctx context.Context, wishes []*wish, why string, v *Verdict) DMARC {
	worst := DMARC{Result: PermError, Reason: why}
	for i, w := range wishes {
		<-w.done
		d := j.author(ctx, w, v)
		if why != "" && d.against() <= against(PermError, "") {
			d = DMARC{Result: PermError, From: w.from, Reason: why}
		}
		if i == 0 || d.against() > worst.against() {
			worst = d
		}
	}
	return worst
}

// against orders outcomes by how much they speak against a message.
func (d *DMARC) against() int { return against(d.Result, d.Policy) }

func against(r Result, policy string) int {
	switch {
	case r == Fail && policy == "reject":
		return 6
	case r == Fail && policy == "quarantine":
		return 5
	case r == TempError:
		return 4
	case r == PermError:
		return 3
	case r == Fail:
		return 2
	case r == None:
		return 1
	}
	return 0
}

// author judges for one author's domain.
func (j *Judge) author(ctx context.Context, w *wish, v *Verdict) DMARC {
	d := DMARC{From: w.from}
	if w.r != nil {
		d.Record, d.Wanted = w.r.domain, w.r.p
	}
	switch {
	case w.err != nil:
		d.Result, d.Reason = TempError, w.err.Error()
		return d
	case w.r == nil:
		d.Result = None
		return d
	}
	d.Policy = w.policy
	aligned, temporary := j.aligned(ctx, w.walks, w.r, w.from, w.org, v)
	switch {
	case aligned:
		d.Result = Pass
	case temporary:
		d.Result, d.Reason = TempError, "what could pass is not known yet"
	default:
		d.Result, d.Reason = Fail, "nothing that passed is aligned with "+w.from
	}
	return d
}

// aligned says whether SPF or DKIM passed for an identifier aligned with the author's domain (RFC 9989 4.4), and whether it
// might if DNS answered.
func (j *Judge) aligned(ctx context.Context, w walks, r *record, from, org string, v *Verdict) (ok, temporary bool) {
	check := func(result Result, domain string, strict bool) bool {
		if result != Pass && result != TempError || domain == "" {
			return false
		}
		same := domain == from
		if !same && !strict && (domain == org || strings.HasSuffix(domain, "."+org)) {
			records, err := j.walk(ctx, w, domain)
			if err != nil {
				temporary = true
				return false
			}
			same = organizational(domain, records) == org
		}
		if same && result == TempError {
			temporary = true
		}
		return same && result == Pass
	}
	if check(v.SPF.Result, v.SPF.Domain, r.aspf) {
		return true, false
	}
	for _, s := range v.DKIM {
		if check(s.Result, s.Domain, r.adkim) {
			return true, false
		}
	}
	return false, temporary
}

// walks are the tree walks that were made for a message.
type walks map[string][]*record

// walk asks for the records of a domain and of those above it (RFC 9989 4.10), the longest name first.
func (j *Judge) walk(ctx context.Context, w walks, domain string) ([]*record, error) {
	if got, ok := w[domain]; ok {
		return got, nil
	}
	var out []*record
	for name := domain; name != ""; name = above(name) {
		r, err := j.lookup(ctx, name)
		if err != nil {
			return nil, err
		}
		if r != nil {
			out = append(out, r)
			if r.psd != "u" { // nothing above it can matter
				break
			}
		}
	}
	w[domain] = out
	return out, nil
}

// above is the next name of a walk, "" at its end.
func above(name string) string {
	labels := strings.Split(name, ".")
	drop := 1
	if len(labels) > walkLabels+1 {
		drop = len(labels) - walkLabels
	}
	return strings.Join(labels[drop:], ".")
}

// organizational is the Organizational Domain of a domain whose walk found the records (RFC 9989 4.10.2).
func organizational(domain string, records []*record) string {
	for _, r := range records {
		if r.psd == "n" {
			return r.domain
		}
		if r.psd == "y" && r.domain != domain {
			rest := strings.TrimSuffix(domain, "."+r.domain)
			return rest[strings.LastIndexByte(rest, '.')+1:] + "." + r.domain
		}
	}
	if len(records) > 0 {
		return records[len(records)-1].domain
	}
	return domain
}

// policyRecord is the record that speaks for the domain: its own, else that of its Organizational Domain, else that of the
// public suffix above (RFC 9989 4.10.1).
func policyRecord(domain, org string, records []*record) *record {
	for _, name := range []string{domain, org} {
		if i := slices.IndexFunc(records, func(r *record) bool { return r.domain == name }); i >= 0 {
			return records[i]
		}
	}
	if i := slices.IndexFunc(records, func(r *record) bool { return r.psd == "y" }); i >= 0 {
		return records[i]
	}
	return nil
}

// policy is the policy that a record has for the author's domain (RFC 9989 4.7): p for its own domain, sp for those below, np
// for those below that don't exist; with t=y one step milder.
func (j *Judge) policy(ctx context.Context, r *record, from string) (string, error) {
	p := r.p
	if from != r.domain {
		if r.sp != "" {
			p = r.sp
		}
		if r.np != "" {
			exists, err := j.exists(ctx, from)
			if err != nil {
				return "", err
			}
			if !exists {
				p = r.np
			}
		}
	}
	if r.test {
		switch p {
		case "reject":
			p = "quarantine"
		case "quarantine":
			p = "none"
		}
	}
	return p, nil
}

// exists reports that a domain has an address or an MX (RFC 9989 3.2.11).
func (j *Judge) exists(ctx context.Context, domain string) (bool, error) {
	_, err := j.o.Resolver.LookupMX(ctx, domain)
	if err == nil {
		return true, nil
	}
	if !notFound(err) {
		return false, errTemporary
	}
	_, err = j.o.Resolver.LookupIPAddr(ctx, domain)
	if err != nil && !notFound(err) {
		return false, errTemporary
	}
	return err == nil, nil
}

func notFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

// lookup asks for the record of one name; nil when it has none, or not exactly one.
func (j *Judge) lookup(ctx context.Context, domain string) (*record, error) {
	txt, err := j.o.Resolver.LookupTXT(ctx, "_dmarc."+domain)
	if notFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, errTemporary
	}
	var found *record
	for _, t := range txt {
		r := parse(t)
		if r == nil {
			continue
		}
		if found != nil {
			return nil, nil
		}
		r.domain, found = domain, r
	}
	return found, nil
}

// parse reads a policy record; nil when it is none (RFC 9989 4.7: v=DMARC1 comes first, unknown tags count for nothing).
func parse(txt string) *record {
	first, _, _ := strings.Cut(txt, ";")
	name, version, _ := strings.Cut(first, "=")
	if strings.TrimSpace(name) != "v" || strings.TrimSpace(version) != "DMARC1" {
		return nil
	}
	tags := tagsOf(txt)
	policy := func(tag string) string {
		switch p := strings.ToLower(tags[tag]); p {
		case "none", "quarantine", "reject":
			return p
		}
		return ""
	}
	r := &record{
		p: policy("p"), sp: policy("sp"), np: policy("np"), psd: "u",
		adkim: strings.EqualFold(tags["adkim"], "s"), aspf: strings.EqualFold(tags["aspf"], "s"), test: strings.EqualFold(tags["t"], "y"),
	}
	if psd := strings.ToLower(tags["psd"]); psd == "y" || psd == "n" {
		r.psd = psd
	}
	if r.p == "" { // absent or not understood: it asks for nothing (RFC 9989 4.7)
		r.p = "none"
	}
	return r
}

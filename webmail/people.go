package webmail

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"restante/webmail/accounts"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
)

// completions is how many addresses are offered at once.
const completions = 8

// completion is one address that is offered.
type completion struct {
	Name  string `json:"name,omitempty"`
	Addr  string `json:"addr"`
	Value string `json:"value"` // as it stands in the field
}

// people answers with addresses that fit what was typed: colleagues first, then those seen in mail.
func (s *Server) people(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	const longest = 100 // octets of a prefix that is looked for
	q := strings.TrimSpace(r.URL.Query().Get("q"))
	if q == "" || len(q) > longest {
		s.json(w, r, http.StatusOK, []completion{})
		return
	}
	seen, err := s.o.Mail.People(r.Context(), v.readable(), q, 2*completions)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// Colleagues are those of one's own domains: the hosts of several companies may be one.
	domains := domainsOf(v)
	colleagues := slices.DeleteFunc(s.o.Accounts.All(), func(a accounts.Account) bool { return !slices.Contains(domains, a.Domain()) })
	s.json(w, r, http.StatusOK, complete(q, colleagues, seen))
}

// complete picks colleagues and then people, each address once.
func complete(q string, colleagues []accounts.Account, seen []mailbox.Person) []completion {
	q = strings.ToLower(q)
	out := []completion{}
	add := func(name, addr string) {
		addr, why := compose.CleanAddress(addr)
		if why != "" || len(out) == completions || slices.ContainsFunc(out, func(c completion) bool { return compose.Key(c.Addr) == compose.Key(addr) }) {
			return
		}
		name = compose.CleanName(name)
		if compose.Key(name) == compose.Key(addr) {
			name = ""
		}
		out = append(out, completion{name, addr, compose.Person{Name: name, Addr: addr}.String()})
	}
	colleagues = slices.DeleteFunc(slices.Clone(colleagues), func(a accounts.Account) bool { return a.Disabled || !fits(q, a.Name, a.Address, a.Aliases) })
	slices.SortFunc(colleagues, func(a, b accounts.Account) int {
		return cmp.Compare(strings.ToLower(a.Label()), strings.ToLower(b.Label()))
	})
	for _, a := range colleagues {
		add(a.Name, a.Address)
	}
	for _, p := range seen {
		add(p.Name, p.Addr)
	}
	return out
}

// fits reports that a word of the name, or an address, begins with q; for names without spaces, that q is in it.
func fits(q, name, address string, aliases []string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, q) || strings.Contains(name, " "+q) || strings.HasPrefix(address, q) {
		return true
	}
	if q[0] >= 0x80 && strings.Contains(name, q) {
		return true
	}
	return slices.ContainsFunc(aliases, func(a string) bool { return strings.HasPrefix(a, q) })
}

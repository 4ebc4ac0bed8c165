package mailbox

import (
	"context"
	"slices"
	"strings"
)

// parsePeople reads a header field of addresses as a Summary holds it: decoded, so that a comma may stand in a name without
// quotes, and perhaps cut in the middle. What has no @ is left out.
func parsePeople(field string) []Person {
	var all []Person
	for field != "" {
		one := field
		end := personEnd(field)
		one, field = field[:end], strings.TrimLeft(field[end:], ",; \t")
		if p, ok := parsePerson(one); ok {
			all = append(all, p)
		}
	}
	return all
}

// personEnd is where the first address of a list ends: at a comma or semicolon after it, outside quotes.
func personEnd(s string) int {
	quoted, at := false, false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted && strings.IndexByte(s[i+1:], '"') >= 0
		case '@':
			at = true
		case ':': // "group: a@x, b@y;"
			if !quoted && !at && !strings.Contains(s[:i], "<") && strings.ContainsRune(s[i:], ';') {
				return i + 1
			}
		case ',', ';':
			if !quoted && (at || s[i] == ';') {
				return i
			}
		}
	}
	return len(s)
}

func parsePerson(s string) (Person, bool) {
	s = strings.Trim(s, " \t,;")
	if open := strings.LastIndexByte(s, '<'); open >= 0 {
		addr, _, _ := strings.Cut(s[open+1:], ">")
		addr = strings.TrimSpace(strings.TrimSuffix(addr, "…"))
		name := strings.TrimSpace(s[:open])
		if len(name) >= 2 && name[0] == '"' && name[len(name)-1] == '"' {
			name = unquote(name[1 : len(name)-1])
		}
		return Person{Name: name, Addr: addr}, strings.Contains(addr, "@")
	}
	addr, comment, _ := strings.Cut(s, "(")
	addr = strings.TrimSpace(addr)
	return Person{Name: strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(comment), ")")), Addr: addr}, strings.Contains(addr, "@") && !strings.Contains(addr, " ")
}

func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// People returns those whose name, a word of it, or address begins with prefix, from mail that the boxes hold, latest first;
// received: who wrote it; sent: whom it went to. At most n.
func (s *Store) People(ctx context.Context, boxes []Box, prefix string, n int) ([]Person, error) {
	prefix = strings.ToLower(strings.TrimSpace(prefix))
	type seen struct {
		p  Person
		id key
	}
	found := map[string]*seen{}
	for _, b := range boxes {
		rows, err := s.newest(ctx, b, s.o.Limits.People)
		if err != nil {
			return nil, err
		}
		items, err := s.load(ctx, numbers(rows))
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			it := items[r.n]
			if it == nil {
				continue
			}
			for _, p := range it.others(int(r.role)) {
				k := canonical(p.Addr)
				was := found[k]
				switch {
				case was == nil:
					found[k] = &seen{p, r.id}
				case was.p.Name == "" && p.Name != "":
					was.p.Name = p.Name
				}
				if was != nil && was.id.Compare(r.id) < 0 {
					was.id = r.id
				}
			}
		}
	}
	var all []*seen
	for k, f := range found {
		if strings.HasPrefix(k, prefix) || beginsWord(strings.ToLower(f.p.Name), prefix) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b *seen) int {
		if c := b.id.Compare(a.id); c != 0 {
			return c
		}
		return strings.Compare(a.p.Addr, b.p.Addr)
	})
	var out []Person
	for _, f := range all[:min(n, len(all))] {
		out = append(out, f.p)
	}
	return out, nil
}

// others are the people at the other end of a message.
func (i *loadedItem) others(role int) []Person {
	if role == roleInbox {
		return parsePeople(i.data.HeadFrom)
	}
	return parsePeople(i.data.HeadTo)
}

func beginsWord(name, prefix string) bool {
	for name != "" {
		if strings.HasPrefix(name, prefix) {
			return true
		}
		i := strings.IndexAny(name, " ,.-")
		if i < 0 {
			return false
		}
		name = name[i+1:]
	}
	return prefix == ""
}

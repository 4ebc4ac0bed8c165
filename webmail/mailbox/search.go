package mailbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"restante/spool/table"
)

// What a search may be.
const (
	searchMax = 1000 // octets
	termsMax  = 32
)

// column is a part of a message that a term looks at.
type column int

const (
	anyColumn column = iota
	columnFrom
	columnTo
	columnSubject
)

// columnNames are those of table ft.
var columnNames = map[column]string{columnFrom: "sender", columnTo: "rcpt", columnSubject: "subject", anyColumn: "sender rcpt subject body names"}

// term is one word or phrase, as the tokens that follow each other in a text that has it.
type term struct {
	in     column
	not    bool
	tokens []string
}

// Search is a parsed search. All of it must be true of a message.
type Search struct {
	terms         []term
	attached      *bool
	unread        *bool
	starred       *bool
	before, after time.Time
}

// ParseSearch reads what a person typed: words, found by their beginnings from three letters on, "phrases", from: to: subject:,
// has:attachment, is:unread, is:read, is:starred, before: and after: (2006-01-02, in zone; before excludes that day and after
// includes it), and - before what must not be. All must be true. Errors say what to write instead.
func ParseSearch(q string, zone *time.Location) (*Search, error) {
	if len(q) > searchMax {
		return nil, errors.New("that is too long to search for")
	}
	if zone == nil {
		zone = time.UTC
	}
	s := &Search{}
	for rest := strings.TrimSpace(q); rest != ""; rest = strings.TrimSpace(rest) {
		var word string
		var quoted bool
		not := false
		if len(rest) > 1 && rest[0] == '-' && rest[1] != ' ' {
			not, rest = true, rest[1:]
		}
		word, quoted, rest = nextWord(rest)
		if err := s.add(word, quoted, not, zone); err != nil {
			return nil, err
		}
		if len(s.terms) > termsMax {
			return nil, fmt.Errorf("search for %d words at most", termsMax)
		}
	}
	return s, nil
}

// nextWord cuts off a word, a "phrase", or name:word and name:"phrase". quoted: it began with a quote, so it names no field.
func nextWord(s string) (word string, quoted bool, rest string) {
	for from, to := range map[string]string{"“": "”", "„": "“", "«": "»", "「": "」"} {
		if strings.HasPrefix(s, from) {
			if in, after, ok := strings.Cut(s[len(from):], to); ok {
				return in, true, after
			}
		}
	}
	if s[0] == '"' {
		in, after, _ := strings.Cut(s[1:], `"`)
		return in, true, after
	}
	end := strings.IndexAny(s, " \t\u3000")
	if end < 0 {
		end = len(s)
	}
	if i := strings.Index(s[:end], `:"`); i >= 0 {
		in, after, _ := strings.Cut(s[i+2:], `"`)
		return s[:i+1] + in, false, after
	}
	return s[:end], false, strings.TrimPrefix(s[end:], "\u3000")
}

// add adds one word of a search.
func (s *Search) add(word string, quoted, not bool, zone *time.Location) error {
	field, value, ok := strings.Cut(word, ":")
	if quoted || !ok || value == "" {
		s.addTerm(anyColumn, word, not)
		return nil
	}
	yes := !not
	switch strings.ToLower(field) {
	case "from":
		s.addTerm(columnFrom, value, not)
	case "to", "cc":
		s.addTerm(columnTo, value, not)
	case "subject":
		s.addTerm(columnSubject, value, not)
	case "has":
		if v := strings.ToLower(value); v != "attachment" && v != "attachments" {
			return fmt.Errorf("has:%s isn't known; write has:attachment", value)
		}
		s.attached = &yes
	case "is":
		no := not
		switch strings.ToLower(value) {
		case "unread":
			s.unread = &yes
		case "read":
			s.unread = &no
		case "starred":
			s.starred = &yes
		default:
			return fmt.Errorf("is:%s isn't known; write is:unread, is:read or is:starred", value)
		}
	case "before", "after":
		day, err := time.ParseInLocation("2006-1-2", strings.ReplaceAll(strings.ReplaceAll(value, "/", "-"), ".", "-"), zone)
		if err != nil {
			return fmt.Errorf("%s: write a day as in %s:%s", value, strings.ToLower(field), "2026-11-21")
		}
		if before := strings.EqualFold(field, "before"); before != not { // -after: is before:
			s.before = day
		} else {
			s.after = day
		}
	default:
		s.addTerm(anyColumn, word, not)
	}
	return nil
}

func (s *Search) addTerm(in column, text string, not bool) {
	if t := tokens(text, true); len(t) > 0 {
		s.terms = append(s.terms, term{in: in, not: not, tokens: t})
	}
}

// Empty reports a search that selects everything.
func (s *Search) Empty() bool {
	return s == nil || len(s.terms) == 0 && s.attached == nil && s.unread == nil && s.starred == nil && s.before.IsZero() && s.after.IsZero()
}

// document is what a search looks at, as tokens.
type document struct{ from, to, subject, body, names []string }

// matches is what the full text answers: whether all terms are true of a document.
func (s *Search) matches(d *document) bool {
	for i := range s.terms {
		t := &s.terms[i]
		var has bool
		switch t.in {
		case columnFrom:
			has = holdsPhrase(d.from, t.tokens)
		case columnTo:
			has = holdsPhrase(d.to, t.tokens)
		case columnSubject:
			has = holdsPhrase(d.subject, t.tokens)
		default:
			for _, c := range [][]string{d.from, d.to, d.subject, d.body, d.names} {
				has = has || holdsPhrase(c, t.tokens)
			}
		}
		if has == t.not {
			return false
		}
	}
	return true
}

// fts is the terms as a query of FTS5, limited to mailboxes. The tokens hold letters and digits only, so quoting is safe.
func (s *Search) fts(boxes []string) string {
	q := "(box : (" + strings.Join(boxes, " OR ") + "))"
	var not []string
	for _, t := range s.terms {
		phrase := `"` + strings.Join(t.tokens, " ") + `"`
		if prefixable(t.tokens[len(t.tokens)-1]) {
			phrase += " *"
		}
		one := "({" + columnNames[t.in] + "} : " + phrase + ")"
		if t.not {
			not = append(not, one)
		} else {
			q += " AND " + one
		}
	}
	if len(not) > 0 {
		q = "(" + q + ") NOT (" + strings.Join(not, " OR ") + ")"
	}
	return q
}

// matcher returns what decides whether a message is found, and how many messages of the box are found by their header only, since
// their text wasn't read yet. nil: all are.
func (s *Store) matcher(ctx context.Context, q Query) (match func(*row) bool, pending int, err error) {
	sr := q.Search
	if sr.Empty() {
		return nil, 0, nil
	}
	var found map[int64]bool
	if len(sr.terms) > 0 {
		if found, pending, err = s.findText(ctx, q.Box.clean(), sr); err != nil {
			return nil, 0, err
		}
	}
	var attached map[int64]bool
	if sr.attached != nil {
		if attached, err = s.attached(ctx); err != nil {
			return nil, 0, err
		}
	}
	from, to := keyAt(sr.after), keyAt(sr.before)
	return func(r *row) bool {
		return (found == nil || found[r.n]) &&
			(sr.attached == nil || attached[r.n] == *sr.attached) &&
			(sr.unread == nil || r.unread() == *sr.unread) &&
			(sr.starred == nil || r.is(markStarred) == *sr.starred) &&
			(sr.after.IsZero() || r.id.Compare(from) >= 0) &&
			(sr.before.IsZero() || r.id.Compare(to) < 0)
	}, pending, nil
}

// keyAt is the first id of a time.
func keyAt(t time.Time) key {
	var k key
	if ms := t.UnixMilli(); ms > 0 {
		if err := k.SetTime(uint64(ms)); err != nil {
			for i := range k {
				k[i] = 0xff
			}
		}
	}
	return k
}

func (s *Store) attached(ctx context.Context) (map[int64]bool, error) {
	all := map[int64]bool{}
	err := table.Each(ctx, s.db.Read, "SELECT n FROM item WHERE attachments>0", func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		all[n] = true
		return err
	})
	return all, err
}

// findText returns the messages of a box that the terms are true of: by full text where it was read, else by the header.
func (s *Store) findText(ctx context.Context, b Box, sr *Search) (map[int64]bool, int, error) {
	found := map[int64]bool{}
	tokens, err := s.boxTokens(ctx, b)
	if err != nil || len(tokens) == 0 {
		return found, 0, err
	}
	err = table.Each(ctx, s.db.Read, "SELECT rowid FROM ft WHERE ft MATCH ?", func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		found[n] = true
		return err
	}, sr.fts(tokens))
	if err != nil {
		return nil, 0, err
	}
	var waits []int64
	err = table.Each(ctx, s.db.Read, "SELECT n FROM item WHERE text=0 ORDER BY n DESC LIMIT ?", func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		waits = append(waits, n)
		return err
	}, s.o.Limits.Candidates)
	if err != nil || len(waits) == 0 {
		return found, 0, err
	}
	mine, err := s.among(ctx, b, waits)
	if err != nil {
		return nil, 0, err
	}
	loaded, err := s.load(ctx, mine)
	for n, l := range loaded {
		if sr.matches(l.header()) {
			found[n] = true
		}
	}
	return found, len(mine), err
}

// among returns those of some numbers that a box holds.
func (s *Store) among(ctx context.Context, b Box, ns []int64) ([]int64, error) {
	wanted := make(map[int64]bool, len(ns))
	for _, n := range ns {
		wanted[n] = true
	}
	var mine []int64
	err := s.with(ctx, b, func(rows []row) error {
		for i := range rows {
			if wanted[rows[i].n] {
				mine = append(mine, rows[i].n)
			}
		}
		return nil
	})
	return mine, err
}

// header is what is known of a message without its octets, to be searched.
func (i *loadedItem) header() *document {
	return &document{from: tokens(i.data.HeadFrom, false), to: tokens(i.data.HeadTo, false), subject: tokens(i.data.Subject, false)}
}

// boxTokens are the words in the column box of what a box holds.
func (s *Store) boxTokens(ctx context.Context, b Box) ([]string, error) {
	names := append([]string{b.ID}, b.Addresses...)
	raw, err := jsonText(names)
	if err != nil {
		return nil, err
	}
	var out []string
	err = table.Each(ctx, s.db.Read, "SELECT n FROM address WHERE name IN (SELECT value FROM json_each(?))", func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		out = append(out, boxToken(n))
		return err
	}, raw)
	return out, err
}

func boxToken(address int64) string { return fmt.Sprintf("b%d", address) }

package source

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// use is what a column of a table holds.
type use int

const (
	useNone use = iota
	useMain     // the main address; a name without a domain is one of the domain's
	useSign     // what people sign in by: an address where the table has no other
	useList     // addresses, maybe typed ("smtp:"), maybe several
	useKind     // what kind of recipient it is
)

// useOf says what a column is for, by its name: of Exchange, Active Directory, Microsoft 365, Google Workspace, GAM, and
// what people call it. Columns with somebody's address elsewhere (recovery, secondary, forwarding) are not among them.
func useOf(name string) use {
	switch plainName(name) {
	case "address", "email", "mail", "emailaddress", "mailaddress", "mainaddress", "primaryaddress", "primaryemail", "primaryemailaddress", "primarysmtpaddress",
		"windowsemailaddress", "groupemail", "recipient", "mailbox", "zimbramaildeliveryaddress":
		return useMain
	case "userprincipalname", "username", "user", "login":
		return useSign
	case "emailaddresses", "proxyaddresses", "addresses", "aliases", "alias", "emailaliases", "noneditablealiases", "otheraddresses", "mailalternateaddress", "maillocaladdress",
		"zimbramailalias":
		return useList
	case "recipienttypedetails", "recipienttype", "kind", "type", "targettype", "objectclass":
		return useKind
	}
	return useNone
}

var (
	bracketed = regexp.MustCompile(`\[[^\]]*\]`)                      // "Email Address [Required]" of Google's console
	joined    = regexp.MustCompile(`\+((?i:smtp|sip|x500|spo|eum):)`) // how the Microsoft 365 admin centre parts "Proxy addresses"
	// unwritten is what PowerShell puts where a list wasn't joined.
	unwritten = regexp.MustCompile(`^(System\.|Microsoft\.|Deserialized\.)[\w.]+(\[\])?([\x60\[].*)?$`)
)

// plainName is a column's name without case, brackets, numbers, and what parts its words: "aliases.0" and "Aliases [Upload only]"
// are "aliases".
func plainName(name string) string {
	name = bracketed.ReplaceAllString(strings.TrimPrefix(name, "\ufeff"), "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// columnsOf says what the columns are for when the cells are the head of a table.
func columnsOf(cells []string) ([]use, bool) {
	uses := make([]use, len(cells))
	ok := false
	for i, cell := range cells {
		if strings.Contains(cell, "@") {
			return nil, false
		}
		uses[i] = useOf(cell)
		ok = ok || uses[i] != useNone && uses[i] != useKind
	}
	for i, u := range uses {
		if u == useSign && (slices.Contains(uses, useMain) || slices.Contains(uses, useList)) {
			uses[i] = useNone
		}
	}
	return uses, ok
}

// separator is what parts the cells of a line.
func separator(line string) rune {
	best := ','
	for _, r := range ";\t" {
		if strings.Count(line, string(r)) > strings.Count(line, string(best)) {
			best = r
		}
	}
	return best
}

// split parts one line.
func split(line string) []string {
	r := csv.NewReader(strings.NewReader(line))
	r.Comma, r.LazyQuotes, r.TrimLeadingSpace = separator(line), true, true
	cells, err := r.Read()
	if err != nil {
		return []string{line}
	}
	return cells
}

// csv reads one or more tables.
func (c *collector) csv(text string) error {
	text, skipped := preamble(text)
	first, _, _ := strings.Cut(text, "\n")
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.LazyQuotes, r.TrimLeadingSpace, r.FieldsPerRecord, r.ReuseRecord = separator(first), true, true, -1, true
	var uses []use
	at := int64(0)
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the table can't be read: %w", err)
		}
		c.line, _ = r.FieldPos(0)
		c.line += skipped
		if r.InputOffset()-at > MaxLine {
			return fmt.Errorf("the row at line %d is longer than %d octets: a quote in it isn't closed", c.line, MaxLine)
		}
		at = r.InputOffset()
		if head, ok := columnsOf(cells); ok && (uses == nil || repeats(head, cells)) {
			uses = head
			continue
		}
		if uses == nil {
			return fmt.Errorf("its first line must name the columns, and one of them address, as in address,kind; it is %q", brief(first))
		}
		if err := c.row(cells, uses); err != nil {
			return err
		}
	}
}

// preamble takes off what stands above a table: empty lines, PowerShell's #TYPE, Excel's sep=.
func preamble(text string) (rest string, lines int) {
	for {
		line, after, ok := strings.Cut(text, "\n")
		t := strings.TrimSpace(line)
		if !ok || t != "" && !strings.HasPrefix(t, "#") && !strings.HasPrefix(t, "sep=") {
			return text, lines
		}
		text = after
		lines++
	}
}

// repeats reports that cells within a table are the head of the next one: `cat users.csv groups.csv`.
func repeats(uses []use, cells []string) bool {
	known, filled := 0, 0
	for i, u := range uses {
		if u != useNone {
			known++
		}
		if strings.TrimSpace(cells[i]) != "" {
			filled++
		}
	}
	return known > 0 && filled == len(cells) || known > 1
}

func (c *collector) row(cells []string, uses []use) error {
	if len(cells) == 1 && strings.Trim(cells[0], "- ") == "" {
		return nil // the rule that PowerShell draws below a heading
	}
	kind, found, text := "", false, false
	for i, cell := range cells {
		if i < len(uses) && uses[i] == useKind {
			kind = kindOf(cell)
		}
		text = text || strings.TrimSpace(cell) != ""
	}
	for i, cell := range cells {
		cell = strings.TrimSpace(cell)
		if i >= len(uses) || cell == "" {
			continue
		}
		switch uses[i] {
		case useMain, useSign:
			if strings.Contains(cell, "\n") {
				return fmt.Errorf("the row at line %d goes on over several lines: a quote in it isn't closed", c.line)
			}
			if a, _, ok := typed(cell); ok {
				c.add(a, kind)
				found = true
			}
		case useList:
			if unwritten.MatchString(cell) {
				return fmt.Errorf("line %d has %q where addresses belong: PowerShell didn't write the list out; export it by @{n='EmailAddresses';e={$_.EmailAddresses -join ';'}}", c.line, brief(cell))
			}
			found = c.list(cell, kind) || found
		}
	}
	if text && !found && slices.Contains(uses, useMain) {
		c.skip(strings.Join(cells, ","), "there is no address in it")
	}
	return nil
}

// list takes in a cell with several addresses.
func (c *collector) list(cell, kind string) (found bool) {
	cell = joined.ReplaceAllString(cell, " $1")
	if strings.HasPrefix(cell, "{") { // PowerShell's Format-List
		cell = strings.TrimSuffix(cell[1:], "}")
	}
	for word := range strings.FieldsFuncSeq(cell, func(r rune) bool { return strings.ContainsRune(separators+"\n", r) }) {
		a, k, ok := typed(strings.Trim(word, `"'`))
		switch {
		case !ok:
			found = true // an address, if none of mail
		case strings.Contains(a, "@"):
			c.add(a, kindFor(kind, k))
			found = true
		}
	}
	return found
}

// kindFor is the kind of one address of a recipient: of people the main address is the user, others are aliases.
func kindFor(recipient, address string) string {
	if recipient != "" && (recipient != "user" || address == "") {
		return recipient
	}
	return address
}

// kindOf is a kind in our words, "" when it isn't known.
func kindOf(s string) string {
	s = strings.ToLower(s)
	switch {
	case strings.Contains(s, "alias"):
		return "alias"
	case strings.Contains(s, "group") || strings.Contains(s, "list"):
		return "group"
	case strings.Contains(s, "shared") || strings.Contains(s, "room") || strings.Contains(s, "equipment"):
		return "shared"
	case strings.Contains(s, "contact"):
		return "contact"
	case strings.Contains(s, "folder"):
		return "folder"
	case strings.Contains(s, "mailbox") || strings.Contains(s, "user") || strings.Contains(s, "person"):
		return "user"
	}
	return ""
}

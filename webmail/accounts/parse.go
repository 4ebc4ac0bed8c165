package accounts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// Formats of files to import.
const (
	FormatCSV      = "csv"
	FormatDovecot  = "dovecot"
	FormatHtpasswd = "htpasswd"
)

// columns are the columns of a CSV file, with the names that others give them.
var columns = []struct {
	name  string
	other []string
	set   func(r *Row, v string) error
}{
	{"address", []string{"email", "e-mail", "mail", "main address", "primary address", "user", "username", "userprincipalname", "primarysmtpaddress"},
		func(r *Row, v string) error { r.Address = v; return nil }},
	{"name", []string{"display name", "displayname", "full name", "fullname", "cn"}, func(r *Row, v string) error { r.Name = v; return nil }},
	{"aliases", []string{"alias", "other addresses", "proxyaddresses", "emailaddresses"}, func(r *Row, v string) error { r.Aliases = addressList(v); return nil }},
	{"shared", []string{"shared mailboxes"}, func(r *Row, v string) error { r.Shared = addressList(v); return nil }},
	{"groups", []string{"group", "lists", "memberof"}, func(r *Row, v string) error { r.Groups = addressList(v); return nil }},
	{"members", []string{"member"}, func(r *Row, v string) error { r.Members = addressList(v); return nil }},
	{"kind", []string{"type"}, setKind},
	{"language", []string{"lang", "preferredlanguage"}, func(r *Row, v string) error { r.Language = v; return nil }},
	{"zone", []string{"time zone", "timezone"}, func(r *Row, v string) error { r.Zone = v; return nil }},
	{"password_hash", []string{"password", "hash", "userpassword"}, func(r *Row, v string) error { r.Password = v; return nil }},
	{"disabled", nil, setDisabled},
}

// Columns are the names of the columns that a CSV file may have.
func Columns() []string {
	var list []string
	for _, c := range columns {
		list = append(list, c.name)
	}
	return list
}

func setKind(r *Row, v string) error {
	switch strings.ToLower(v) {
	case "", "person", "user":
		r.Kind = RowPerson
	case "group", "list":
		r.Kind = RowGroup
	case "shared", "shared mailbox":
		r.Kind = RowShared
	default:
		return fmt.Errorf("kind %q is not known: write person, group or shared", v)
	}
	return nil
}

func setDisabled(r *Row, v string) error {
	var yes bool
	switch strings.ToLower(v) {
	case "":
		return nil
	case "true", "yes", "1", "x":
		yes = true
	case "false", "no", "0":
	default:
		return fmt.Errorf("disabled is %q: write true or false", v)
	}
	r.Disabled = &yes
	return nil
}

// addressList splits a cell that holds several addresses: at spaces, commas, semicolons, bars, line breaks. The "smtp:" that Exchange writes in front goes.
func addressList(cell string) []string {
	var list []string
	for one := range strings.FieldsFuncSeq(cell, func(r rune) bool { return strings.ContainsRune(" ,;|\r\n\t", r) }) {
		if len(one) > 5 && strings.EqualFold(one[:5], "smtp:") {
			one = one[5:]
		}
		if i := strings.IndexByte(one, ':'); i > 0 && i < strings.IndexByte(one, '@') {
			continue // another kind of address: "X500:", "SIP:"
		}
		list = append(list, one)
	}
	return list
}

// Parse reads a file to import: FormatCSV, FormatDovecot (a passwd-file) or FormatHtpasswd. Users without a domain get the one
// given. What can't be read is noted and the rest goes on; the error says that nothing can be read.
func Parse(format string, file []byte, domain string) ([]Row, []Note, error) {
	text, notes := readable(file)
	var rows []Row
	var more []Note
	var err error
	switch format {
	case FormatCSV:
		rows, more, err = parseCSV(text)
	case FormatDovecot, FormatHtpasswd:
		rows, more = parsePasswd(text, format == FormatDovecot)
	default:
		err = fmt.Errorf("format %q is not known: write %s, %s or %s", format, FormatCSV, FormatDovecot, FormatHtpasswd)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(rows) == 0 && len(more) == 0 {
		return nil, nil, fmt.Errorf("%w: there is nobody in the file", ErrInvalid)
	}
	for i := range rows {
		if domain != "" && !strings.Contains(rows[i].Address, "@") {
			rows[i].Address += "@" + domain
		}
	}
	return rows, append(notes, more...), nil
}

// readable makes UTF-8 of a file, as Excel may have written it.
func readable(file []byte) (string, []Note) {
	if utf8.Valid(file) {
		return strings.TrimPrefix(string(file), "\ufeff"), nil
	}
	if len(file) > 1 && (file[0] == 0xff && file[1] == 0xfe || file[0] == 0xfe && file[1] == 0xff) {
		if text, err := unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder().Bytes(file); err == nil {
			return string(text), nil
		}
	}
	text, err := charmap.Windows1252.NewDecoder().Bytes(file)
	if err != nil {
		return strings.ToValidUTF8(string(file), "?"), []Note{{Text: "the file is not UTF-8: letters that can't be read became ?"}}
	}
	return string(text), []Note{{Text: "the file is not UTF-8; it was read as Windows-1252, so look at the names"}}
}

func parseCSV(text string) ([]Row, []Note, error) {
	head, _, _ := strings.Cut(text, "\n")
	r := csv.NewReader(strings.NewReader(text))
	for _, sep := range ";\t" {
		if strings.Count(head, string(sep)) > strings.Count(head, string(r.Comma)) {
			r.Comma = sep
		}
	}
	r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
	first, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the first line can't be read: %w", err)
	}
	at, notes, err := header(first)
	if err != nil {
		return nil, nil, err
	}
	var rows []Row
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, notes, nil
		}
		if err != nil { // what follows a broken quote can't be told apart
			return nil, nil, fmt.Errorf("it can't be read: %w", err)
		}
		line, _ := r.FieldPos(0)
		row, err := csvRow(cells, at)
		row.Line = line
		switch {
		case err != nil:
			notes = append(notes, Note{Line: line, Address: row.Address, Text: err.Error(), Skipped: true})
		case row.Address != "":
			rows = append(rows, row)
		case strings.Join(cells, "") != "":
			notes = append(notes, Note{Line: line, Text: "there is no address", Skipped: true})
		}
	}
}

// header finds the columns: at[i] is the index into columns of cell i, -1 for one that isn't known.
func header(first []string) (at []int, notes []Note, err error) {
	var unknown []string
	seen := map[int]bool{}
	for _, cell := range first {
		name := strings.ToLower(strings.TrimSpace(cell))
		i := -1
		for j, c := range columns {
			if (name == c.name || strings.ReplaceAll(name, " ", "_") == c.name || slices.Contains(c.other, name)) && !seen[j] {
				i, seen[j] = j, true
				break
			}
		}
		if i < 0 && name != "" {
			unknown = append(unknown, cell)
		}
		at = append(at, i)
	}
	if !seen[0] {
		return nil, nil, fmt.Errorf("the first line must name the columns, and there is none called address; known are %s", strings.Join(Columns(), ", "))
	}
	if len(unknown) > 0 {
		notes = append(notes, Note{Line: 1, Text: "columns passed over: " + strings.Join(unknown, ", ")})
	}
	return at, notes, nil
}

func csvRow(cells []string, at []int) (Row, error) {
	row := Row{Kind: RowPerson}
	kind := ""
	for i, cell := range cells {
		if i >= len(at) || at[i] < 0 {
			continue
		}
		c := columns[at[i]]
		if c.name == "kind" {
			kind = strings.TrimSpace(cell)
		}
		if err := c.set(&row, untame(strings.TrimSpace(cell))); err != nil {
			return row, err
		}
	}
	if kind == "" && len(row.Members) > 0 {
		row.Kind = RowGroup
	}
	return row, nil
}

// parsePasswd reads a Dovecot passwd-file (user:password:uid:gid:gecos:home:shell:extra) or an htpasswd file (user:password).
func parsePasswd(text string, dovecot bool) ([]Row, []Note) {
	var rows []Row
	var notes []Note
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, rest, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			notes = append(notes, Note{Line: n, Text: "it is no line user:password", Skipped: true})
			continue
		}
		row := Row{Line: n, Kind: RowPerson, Address: user, Password: rest}
		if dovecot {
			fields := strings.SplitN(rest, ":", 7)
			row.Password = fields[0]
			if len(fields) > 3 {
				row.Name, _, _ = strings.Cut(fields[3], ",") // gecos: name, office, telephones
			}
		}
		rows = append(rows, row)
	}
	return rows, notes
}

// WriteCSV writes the accounts in the format that Parse reads, with password hashes only where told: those of other
// programs can be cracked by who has the file.
func (d *Directory) WriteCSV(w io.Writer, hashes bool) error {
	c := csv.NewWriter(w)
	head := []string{"address", "name", "aliases", "shared", "groups", "language", "zone", "disabled"}
	if hashes {
		head = append(head, "password_hash")
	}
	if err := c.Write(head); err != nil {
		return err
	}
	for _, a := range d.All() {
		disabled := ""
		if a.Disabled {
			disabled = "true"
		}
		row := []string{a.Address, a.Name, strings.Join(a.Aliases, " "), strings.Join(a.Shared, " "), strings.Join(a.Groups, " "), a.Language, a.Zone, disabled}
		for i := range row {
			row[i] = Tame(row[i])
		}
		if hashes {
			hash := ""
			if r, ok := d.Register(a.Address, FieldPassword, ""); ok {
				plain, err := d.Reveal(r)
				if err != nil {
					return fmt.Errorf("password of %s: %w", a.Address, err)
				}
				hash = string(plain)
			}
			row = append(row, hash)
		}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// formula are the characters by which a spreadsheet takes a cell for a formula.
const formula = "=+-@\t\r"

// Tame keeps a spreadsheet from taking a cell for a formula, and untame is its reverse.
func Tame(cell string) string {
	if cell != "" && strings.ContainsRune(formula, rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

func untame(cell string) string {
	if len(cell) > 1 && cell[0] == '\'' && strings.ContainsRune(formula, rune(cell[1])) {
		return cell[1:]
	}
	return cell
}

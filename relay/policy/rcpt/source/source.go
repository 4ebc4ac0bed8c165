// Package source reads lists of recipients: files as mail servers export them (Parse), and directories by LDAP (Fetch). Sync
// keeps the lists that a configuration names in step: a file is read when it changes, a directory every now and then. What
// can't be read never empties a list: the directory of recipients (package rcpt) keeps what it has and is told of the failure.
//
// # Formats
//
// The format is found by the look of the file, or named:
//
//   - plain: an address a line, or several apart by commas, semicolons or spaces; "smtp:" in front as Exchange writes it;
//     names without a domain as `doveadm user` writes them.
//   - postfix: a lookup table (key, white space, value; as in relay_recipient_maps, virtual_mailbox_maps and
//     virtual_alias_maps), or what `postmap -s` prints of one. "@example.com" as the key is a catch-all.
//   - aliases: "name: targets", as in /etc/aliases of Postfix, Exim and sendmail (aliases(5)).
//   - passwd: "name:...", as `getent passwd` and Dovecot's passwd-file have it.
//   - csv: one or more tables, each below a line that names its columns: Exchange, Microsoft 365, Google Workspace (console and
//     GAM), or one's own with a column called address.
//   - ldif: "attribute: value" (RFC 2849), as of `ldapsearch`, `ldifde`, `zmprov -v` and PowerShell's Format-List.
//
// Files may be UTF-8, UTF-16 (PowerShell's >), or Windows-1252, with or without a byte order mark, lines may end in CRLF. "#" begins
// a comment where the format has none of its own.
package source

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"restante/relay/mailaddr"
	"restante/relay/policy/rcpt"
)

// Formats of files. "" and Auto mean: by the look.
const (
	Auto    = "auto"
	Plain   = "plain"
	Postfix = "postfix"
	Aliases = "aliases"
	Passwd  = "passwd"
	CSV     = "csv"
	LDIF    = "ldif"
)

// Formats are the formats that can be named.
func Formats() []string { return []string{Auto, Plain, Postfix, Aliases, Passwd, CSV, LDIF} }

// Limits of a file.
const (
	// MaxFile is its greatest length in octets: a million addresses with room.
	MaxFile = 128 << 20
	// MaxLine is the greatest length of one line that is looked at, in octets; in CSV of one row.
	MaxLine = 1 << 20
	// MaxSkipped is how many problems are told; more are counted.
	MaxSkipped = 100
	// maxText bounds what is quoted of a line in a problem.
	maxText = 80
)

// ErrFormat is wrapped by the errors of Parse: nothing of the file can be used.
var ErrFormat = errors.New("no list of recipients")

// Result is what a file holds.
type Result struct {
	Format    string         `json:"format"`
	Addresses []rcpt.Address `json:"addresses"`           // each once, in the order of the file
	Elsewhere map[string]int `json:"elsewhere,omitempty"` // addresses of other domains than the one asked for, by domain
	Skipped   []Problem      `json:"skipped,omitempty"`   // lines that could not be read, the first MaxSkipped
	More      int            `json:"more,omitempty"`      // how many were skipped beside those
}

// Problem is a line that was passed over.
type Problem struct {
	Line int    `json:"line"` // from 1
	Text string `json:"text"`
	Why  string `json:"why"`
}

// Parse reads a list of the recipients of a domain. Addresses of other domains are counted and left out; with domain "" those of
// all are taken, but names without a domain can't be. Lines that make no sense are told in Skipped; the error says that
// nothing can be used, and what to do.
func Parse(r io.Reader, format, domain string) (Result, error) {
	text, err := read(r)
	if err != nil {
		return Result{}, err
	}
	c := &collector{domain: domain, seen: map[string]int{}}
	if format == "" || format == Auto {
		format = look(text)
	}
	c.res.Format = format
	switch format {
	case Plain:
		c.plain(text)
	case Postfix:
		c.postfix(text)
	case Aliases:
		c.aliases(text)
	case Passwd:
		c.passwd(text)
	case CSV:
		err = c.csv(text)
	case LDIF:
		c.ldif(text)
	default:
		err = fmt.Errorf("there is no format %q: write one of %s", format, strings.Join(Formats(), ", "))
	}
	if err != nil {
		return c.res, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if c.tooMany {
		return c.res, fmt.Errorf("%w: it has more than %d addresses; is it the right file?", ErrFormat, rcpt.MaxAddresses)
	}
	if len(c.res.Addresses) == 0 {
		return c.res, fmt.Errorf("%w: %w", ErrFormat, c.nothing())
	}
	return c.res, nil
}

// nothing says why there is no address.
func (c *collector) nothing() error {
	switch {
	case len(c.res.Elsewhere) > 0:
		return fmt.Errorf("it has no address of %s, only of %s; is it the right file?", c.domain, someDomains(c.res.Elsewhere))
	case len(c.res.Skipped) > 0:
		p := c.res.Skipped[0]
		return fmt.Errorf("it was read as %s and has no address; line %d, %q: %s. Name its format, or export it anew", c.res.Format, p.Line, p.Text, p.Why)
	default:
		return errors.New("there is nothing in it")
	}
}

func someDomains(m map[string]int) string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

// collector gathers the addresses of one file or directory.
type collector struct {
	domain  string
	line    int // that is being read
	seen    map[string]int
	tooMany bool
	res     Result
}

// skip notes a problem of the line that is being read.
func (c *collector) skip(text, format string, args ...any) {
	if len(c.res.Skipped) >= MaxSkipped {
		c.res.More++
		return
	}
	c.res.Skipped = append(c.res.Skipped, Problem{Line: c.line, Text: brief(text), Why: fmt.Sprintf(format, args...)})
}

func brief(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "?")
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText-1]) + "…"
	}
	return s
}

// add takes one address in: whole, a local part of the domain, or "@domain" for any.
func (c *collector) add(text, kind string) {
	text = strings.TrimSpace(text)
	whole := text
	switch i := strings.LastIndexByte(text, '@'); {
	case i == 0:
		c.skip(text, "there is nothing before the @")
		return
	case i < 0 && c.domain == "":
		c.skip(text, "it has no domain: name the domain that such names belong to")
		return
	case i < 0:
		whole = text + "@" + c.domain
	}
	a, err := mailaddr.Parse(whole)
	switch {
	case err != nil:
		c.skip(text, "%v", err)
		return
	case a.IsLiteral():
		c.skip(text, "its domain is an IP address")
		return
	case a.Routed():
		c.skip(text, "mail is never taken for an address with %%, ! or a second @ in it")
		return
	case !c.ours(a.Domain):
		return
	}
	c.put(a.Key(), a.String(), kind)
}

// catchAll takes in "@domain": any local part. It counts only where a format has a place for it, since a mangled address looks alike.
func (c *collector) catchAll(text string) {
	domain, err := mailaddr.ParseDomain(text[1:])
	if err != nil || strings.HasPrefix(domain, "[") {
		c.skip(text, "malformed domain")
		return
	}
	if c.ours(domain) {
		c.put("@"+domain, "@"+domain, "")
	}
}

// ours reports that the domain is asked for, and counts it otherwise.
func (c *collector) ours(domain string) bool {
	if c.domain == "" || domain == c.domain {
		return true
	}
	if c.res.Elsewhere == nil {
		c.res.Elsewhere = map[string]int{}
	}
	c.res.Elsewhere[domain]++
	return false
}

func (c *collector) put(key, address, kind string) {
	if i, ok := c.seen[key]; ok {
		if c.res.Addresses[i].Kind == "" {
			c.res.Addresses[i].Kind = kind
		}
		return
	}
	if len(c.res.Addresses) >= rcpt.MaxAddresses {
		c.tooMany = true
		return
	}
	c.seen[key] = len(c.res.Addresses)
	c.res.Addresses = append(c.res.Addresses, rcpt.Address{Address: address, Kind: kind})
}

// typed takes the type off an address as Exchange and Active Directory have it: "SMTP:" the main one, "smtp:" others. ok is
// false for other types (X500, SIP, EUM, SPO, x400).
func typed(s string) (address, kind string, ok bool) {
	i := strings.IndexByte(s, ':')
	if i <= 0 || strings.ContainsAny(s[:i], `"@`) {
		return s, "", true
	}
	switch s[:i] {
	case "SMTP":
		return s[i+1:], "", true
	}
	if strings.EqualFold(s[:i], "smtp") {
		return s[i+1:], "alias", true
	}
	return "", "", false
}

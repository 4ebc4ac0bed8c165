package source

import (
	"encoding/base64"
	"strings"
)

// Attributes are those that hold addresses of mail: of Active Directory, inetOrgPerson, qmail and courier, inetLocalMailRecipient
// and Zimbra. Lower case, as LDAP doesn't tell them apart.
func Attributes() []string {
	return []string{"proxyaddresses", "mail", "mailalternateaddress", "maillocaladdress", "zimbramailalias", "zimbramaildeliveryaddress", "zimbramailcatchalladdress"}
}

// listAttributes are what PowerShell's Format-List and `zmprov` call the like.
var listAttributes = map[string]bool{"emailaddresses": true, "primarysmtpaddress": true, "windowsemailaddress": true}

// catchAllAttribute holds "@example.com" at the account that gets what is for nobody else.
const catchAllAttribute = "zimbramailcatchalladdress"

// aliasAttribute reports that an attribute holds other addresses than the main one. Its name is in lower case.
func aliasAttribute(name string) bool {
	return name == "zimbramailalias" || name == "mailalternateaddress"
}

func isAttribute(name string) bool {
	name = strings.ToLower(name)
	if listAttributes[name] {
		return true
	}
	for _, a := range Attributes() {
		if a == name {
			return true
		}
	}
	return false
}

// ldifLine reports a line that LDIF alone has: one that names an entry, or an address by its attribute.
func ldifLine(t string) bool {
	name, value, ok := attribute(t)
	if !ok {
		return false
	}
	return strings.EqualFold(name, "dn") && strings.Contains(value, "=") || isAttribute(name) && (strings.Contains(value, "@") || strings.Contains(t, "::"))
}

// attribute parts "name: value", "name:: base64" and PowerShell's "name : value". Options of the attribute (";lang-de") go.
func attribute(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	name, _, _ = strings.Cut(strings.TrimSpace(name), ";")
	if !ok || name == "" || strings.ContainsAny(name, " \t@,/<") {
		return "", "", false
	}
	if b64, is := strings.CutPrefix(value, ":"); is {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(b64))
		if err != nil {
			return name, "", true
		}
		value = string(raw)
	}
	return name, strings.TrimSpace(value), true
}

// ldif reads entries, apart by empty lines (RFC 2849). A line that begins with a space goes on with the one before.
func (c *collector) ldif(text string) {
	n, at := 0, 0
	pending := ""
	kind := ""
	flush := func() {
		c.line = at
		switch name, value, ok := attribute(pending); {
		case !ok: // members that zmprov lists below a group, and the like
		case strings.EqualFold(name, "objectClass"):
			if k := kindOf(value); kind == "" || k == "group" {
				kind = k
			}
		case !isAttribute(name):
		case strings.EqualFold(name, catchAllAttribute):
			c.catchAll(value)
		case strings.HasSuffix(value, "...}"), strings.HasSuffix(value, "…}"):
			c.skip(pending, "PowerShell has cut the list: use Export-Csv, or $FormatEnumerationLimit = -1")
		case kind != "group" && aliasAttribute(strings.ToLower(name)):
			c.list(value, "alias")
		case value != "" && !c.list(value, kind) && !strings.Contains(value, ":"):
			c.skip(pending, "it is no address")
		}
		pending = ""
	}
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		t := strings.TrimSpace(line)
		switch {
		case t == "":
			flush()
			kind = ""
		case strings.HasPrefix(line, "#"):
			flush()
		case len(pending)+len(line) > MaxLine:
			c.line = n
			c.skip(t, "the line is longer than %d octets", MaxLine)
			pending = ""
		case line[0] == ' ' && pending != "":
			if power := len(line)-len(strings.TrimLeft(line, " ")) > 1; power {
				pending += " " + t // PowerShell indents what it wraps
			} else {
				pending += line[1:]
			}
		default:
			flush()
			pending, at = strings.TrimRight(line, " "), n
		}
	}
	flush()
}

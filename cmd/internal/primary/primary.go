// Package primary knows the kinds of mail server that stand behind Restante: how to tell them by their banner,
// and what an admin sets there so that mail that comes from us, for others, isn't refused.
//
// Mail that Restante hands over comes from its own address while its sender is somebody else. To a server that
// doesn't know better that looks like forgery (SPF), like a flood (rates), like a first contact (greylisting)
// or like a bad neighbour (blocklists). Each [Problem] is one of those; [Mend] says what to set against it.
package primary

import "strings"

// Kind is a kind of mail server.
type Kind string

// The kinds. Zimbra greets as Postfix, which it is inside, unless somebody changed its banner; so does many an appliance.
const (
	Unknown      Kind = ""
	Postfix      Kind = "postfix"
	Exim         Kind = "exim"
	Exchange     Kind = "exchange"
	Microsoft365 Kind = "microsoft365"
	Google       Kind = "google"
	Zimbra       Kind = "zimbra"
)

// Kinds are those that mends are known for.
func Kinds() []Kind { return []Kind{Postfix, Exim, Exchange, Microsoft365, Google, Zimbra} }

// String is the product's name as people write it.
func (k Kind) String() string {
	switch k {
	case Postfix:
		return "Postfix"
	case Exim:
		return "Exim"
	case Exchange:
		return "Exchange"
	case Microsoft365:
		return "Microsoft 365"
	case Google:
		return "Google Workspace"
	case Zimbra:
		return "Zimbra"
	}
	return "unknown"
}

// KindOf tells the kind from the text of a 220 banner, with or without the code; Unknown if it can't.
func KindOf(banner string) Kind {
	b := strings.ToLower(banner)
	for _, k := range []struct {
		kind Kind
		sign string
	}{
		{Microsoft365, ".protection.outlook.com"}, // its text is Exchange's
		{Microsoft365, ".mx.microsoft"},
		{Exchange, "microsoft esmtp mail service"},
		{Google, "gsmtp"},
		{Zimbra, "zimbra"}, // before Postfix: it may say both
		{Exim, " exim "},
		{Postfix, "postfix"},
	} {
		if strings.Contains(b, k.sign) {
			return k.kind
		}
	}
	return Unknown
}

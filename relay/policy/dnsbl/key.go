package dnsbl

import (
	"slices"
	"strings"
)

// keyed are the domains below which a subscriber's key is a label: key.zen.dq.spamhaus.net, key.combined.mail.abusix.zone.
var keyed = []string{"dq.spamhaus.net", "mail.abusix.zone"}

// A label that is as long as these is a key wherever it stands: with letters and digits mixed, or in any case.
const (
	mixedKey = 16
	longKey  = 24
)

// Key is the label of a zone that is its subscriber's key, as far as one can see; "": it has none.
func Key(zone string) string {
	labels := strings.Split(zone, ".")
	for _, domain := range keyed {
		if rest, ok := strings.CutSuffix(strings.ToLower(zone), "."+domain); ok && strings.Contains(rest, ".") {
			return labels[0]
		}
	}
	if i := slices.IndexFunc(labels, isKey); i >= 0 {
		return labels[i]
	}
	return ""
}

func isKey(label string) bool {
	mixed := strings.ContainsAny(label, "0123456789") && strings.ContainsAny(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz")
	return len(label) >= longKey || mixed && len(label) >= mixedKey
}

// Shown is a zone as people may see it: without its key.
func Shown(zone string) string {
	key := Key(zone)
	if key == "" {
		return zone
	}
	labels := strings.Split(zone, ".")
	return strings.Join(slices.DeleteFunc(labels, func(l string) bool { return l == key }), ".")
}

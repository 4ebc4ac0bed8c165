package spool

import (
	"slices"
	"strings"
)

// refMax bounds a message id that Refs keeps, in octets.
const refMax = 200

// Refs makes Summary.Refs of the fields In-Reply-To and References (RFC 5322 3.6.4): the first id of the former, the
// first and the last two of the latter. Those tie a conversation together even when some of it is missing.
func Refs(inReplyTo, references string) string {
	var ids []string
	add := func(list []string) {
		for _, id := range list {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if to := messageIDs(inReplyTo); len(to) > 0 {
		add(to[:1])
	}
	all := messageIDs(references)
	if len(all) > 3 {
		all = append(all[:1:1], all[len(all)-2:]...)
	}
	add(all)
	return strings.Join(ids, " ")
}

// messageIDs returns what stands between < and >, with them. White space inside is dropped: some programs fold there.
func messageIDs(value string) []string {
	var ids []string
	for {
		_, rest, ok := strings.Cut(value, "<")
		if !ok {
			return ids
		}
		id, after, ok := strings.Cut(rest, ">")
		if !ok {
			return ids
		}
		if i := strings.LastIndexByte(id, '<'); i >= 0 {
			id = id[i+1:]
		}
		id = Printable(strings.Join(strings.Fields(id), ""))
		if id != "" && len(id) <= refMax {
			ids = append(ids, "<"+id+">")
		}
		value = after
	}
}

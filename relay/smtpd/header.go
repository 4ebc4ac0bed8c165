package smtpd

import (
	"bytes"
	"strings"

	"restante/relay/reply"
	"restante/relay/trace"
	"restante/spool"
)

// checkHeader looks at the header of a message that was read: whether it begins with a field, how large it is, how many
// servers it has passed, and whether this one is among them twice. The zero reply means that all is well.
func checkHeader(body *spool.Body, l *Limits, hostname string) (reply.Reply, error) {
	head, whole := body.Bytes()
	if !whole {
		head = make([]byte, min(body.Size(), l.HeaderSize+4))
		if _, err := body.ReadAt(head, 0); err != nil {
			return reply.Reply{}, err
		}
	}
	if len(head) > 0 && (head[0] == ' ' || head[0] == '\t') {
		// It would go on with the last of our own trace fields, and say there what it likes (RFC 5322 2.2.3).
		return reply.New(554, reply.Enhanced{5, 6, 0}, "The message begins with a blank, where a header field begins"), nil
	}
	hops, own, ok := countHops(head, int(l.HeaderSize), hostname)
	switch {
	case !ok:
		return reply.New(554, reply.Enhanced{5, 6, 0}, "Header is larger than %d octets", l.HeaderSize), nil
	case own >= 2: // once is no loop yet: the primary may have sent it on to an address elsewhere
		return reply.New(554, reply.Enhanced{5, 4, 6}, "Mail loop: the message has been at %s twice already", hostname), nil
	case hops >= l.Hops:
		return reply.New(554, reply.Enhanced{5, 4, 6}, "Mail loop: the message has passed %d servers", hops), nil
	}
	return reply.Reply{}, nil
}

// countHops counts the Received fields at the head of msg, and those of them that hostname wrote. The header ends at the
// first line that is neither a field nor the rest of a folded one, which includes the empty line. ok is
// false if that doesn't come within limit octets.
func countHops(msg []byte, limit int, hostname string) (hops, own int, ok bool) {
	for at := 0; at < len(msg); {
		end := trace.FieldEnd(msg, at)
		field := msg[at:end]
		if !isField(field) {
			return hops, own, true
		}
		if at = end; at > limit {
			return hops, own, false
		}
		if value, ok := received(field); ok {
			hops++
			if ours(value, hostname) {
				own++
			}
		}
	}
	return hops, own, true
}

// isField reports whether a line begins with the name of a field and a colon (RFC 5322 2.2, 4.5).
func isField(line []byte) bool {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return false
	}
	for _, c := range bytes.TrimRight(line[:i], " \t") {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return line[0] != ' ' && line[0] != '\t'
}

// received returns the value of a Received field.
func received(field []byte) ([]byte, bool) {
	const name = "received"
	if len(field) <= len(name) || field[0]|0x20 != 'r' || !strings.EqualFold(string(field[:len(name)]), name) {
		return nil, false
	}
	rest := bytes.TrimLeft(field[len(name):], " \t") // RFC 5322 4.5.8: obsolete, but seen
	return bytes.CutPrefix(rest, []byte(":"))
}

// ours reports whether the value of a Received field has the form that Received writes.
func ours(value []byte, hostname string) bool {
	words := strings.Fields(string(value))
	by := false
	for i := range words {
		switch rest := words[i:]; {
		case by && len(rest) > 1 && rest[0] == "id":
			if id := strings.TrimSuffix(rest[1], ";"); len(id) == idLength && id[0] <= '7' {
				return true
			}
		case !by && len(rest) > 3 && rest[0] == "by" && strings.EqualFold(rest[1], hostname):
			by = rest[2] == software
		}
	}
	return false
}

// software marks our Received fields; idLength is that of a ULID.
const (
	software = "(Restante)"
	idLength = 26
)

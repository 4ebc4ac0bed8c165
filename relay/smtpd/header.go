package smtpd

import (
	"bytes"
	"strings"

	"restante/relay/reply"
	"restante/spool"
)

// checkHeader looks at the header of a message that was read: how large it is, how many servers it has
// passed, and whether this one is among them twice. The zero reply means that all is well.
func checkHeader(body *spool.Body, l *Limits, hostname string) (reply.Reply, error) {
	head, whole := body.Bytes()
	if !whole {
		head = make([]byte, min(body.Size(), l.HeaderSize+4))
		if _, err := body.ReadAt(head, 0); err != nil {
			return reply.Reply{}, err
		}
	}
	head, ok := header(head, int(l.HeaderSize))
	if !ok {
		return reply.New(554, reply.Enhanced{5, 6, 0}, "Header is larger than %d octets", l.HeaderSize), nil
	}
	hops, own := trace(head, hostname)
	switch {
	case own >= 2: // once is no loop yet: the primary may have sent it on to an address elsewhere
		return reply.New(554, reply.Enhanced{5, 4, 6}, "Mail loop: the message has been at %s twice already", hostname), nil
	case hops >= l.Hops:
		return reply.New(554, reply.Enhanced{5, 4, 6}, "Mail loop: the message has passed %d servers", hops), nil
	}
	return reply.Reply{}, nil
}

// header returns the fields at the head of msg, without the empty line that ends them. ok is false if
// they are more than limit octets.
func header(msg []byte, limit int) (fields []byte, ok bool) {
	if bytes.HasPrefix(msg, []byte("\r\n")) {
		return nil, true
	}
	within := msg[:min(len(msg), limit+4)]
	if i := bytes.Index(within, []byte("\r\n\r\n")); i >= 0 {
		return msg[:i+2], i+2 <= limit
	}
	return msg, len(msg) <= limit
}

// trace counts the Received fields, and those of them that hostname wrote.
func trace(head []byte, hostname string) (hops, own int) {
	for len(head) > 0 {
		field := head
		end := 0
		for { // to the line that isn't folded
			i := bytes.IndexByte(head[end:], '\n')
			if i < 0 {
				end = len(head)
				break
			}
			end += i + 1
			if end == len(head) || head[end] != ' ' && head[end] != '\t' {
				break
			}
		}
		field, head = head[:end], head[end:]
		if value, ok := received(field); ok {
			hops++
			if ours(value, hostname) {
				own++
			}
		}
	}
	return hops, own
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
	for i := 0; i+3 < len(words); i++ {
		if words[i] != "by" || !strings.EqualFold(words[i+1], hostname) || words[i+2] != software {
			continue
		}
		for j := i + 3; j+1 < len(words); j++ {
			if id := strings.TrimSuffix(words[j+1], ";"); words[j] == "id" && len(id) == idLength && id[0] <= '7' {
				return true
			}
		}
	}
	return false
}

// software marks our Received fields; idLength is that of a ULID.
const (
	software = "(Restante)"
	idLength = 26
)

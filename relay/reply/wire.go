package reply

import "strings"

// maxText is the room for text on a line: 512 octets with code, enhanced code and CRLF (RFC 5321 4.5.3.1.5).
const maxText = 480

// maxLines bounds a reply that passes on somebody else's.
const maxLines = 40

// Append appends the reply as it goes on the wire, with its CRLFs. Every line has the enhanced code
// (RFC 2034 4); a 2xx, 4xx or 5xx reply without one gets X.0.0. Octets that aren't printable ASCII become "?",
// long lines are folded.
func (r Reply) Append(dst []byte) []byte {
	enhanced := r.Enhanced
	if class := r.Code / 100; enhanced == (Enhanced{}) && class != 3 {
		enhanced = Enhanced{class, 0, 0}
	}
	lines := 0
	for text := range strings.SplitSeq(strings.TrimRight(r.Text, "\r\n"), "\n") {
		for {
			part := text
			if len(part) > maxText {
				part = part[:maxText]
			}
			text = text[len(part):]
			if lines++; lines > 1 {
				dst[lastLine(dst)+3] = '-'
			}
			dst = appendLine(dst, r.Code, enhanced, part)
			if text == "" || lines == maxLines {
				break
			}
		}
		if lines == maxLines {
			break
		}
	}
	return dst
}

// lastLine is where the last line of dst begins; dst ends with CRLF.
func lastLine(dst []byte) int {
	for i := len(dst) - 2; i > 0; i-- {
		if dst[i-1] == '\n' {
			return i
		}
	}
	return 0
}

func appendLine(dst []byte, code int, enhanced Enhanced, text string) []byte {
	dst = append(dst, byte('0'+code/100%10), byte('0'+code/10%10), byte('0'+code%10), ' ')
	if enhanced != (Enhanced{}) {
		for i, n := range enhanced {
			dst = appendInt(dst, n)
			if i < 2 {
				dst = append(dst, '.')
			}
		}
		dst = append(dst, ' ')
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\r' && i == len(text)-1:
		case c < ' ' && c != '\t' || c >= 0x7f:
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '\r', '\n')
}

// appendInt appends a number of an enhanced code; what can't be one becomes 0.
func appendInt(dst []byte, n int) []byte {
	if n < 0 || n > 999 {
		n = 0
	}
	if n >= 100 {
		dst = append(dst, byte('0'+n/100))
	}
	if n >= 10 {
		dst = append(dst, byte('0'+n/10%10))
	}
	return append(dst, byte('0'+n%10))
}

package smtpc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"restante/relay/reply"
)

// Bounds of a reply. RFC 5321 4.5.3.1.5 has 512 octets a line; servers with long texts exist.
const (
	maxReplyLine  = 2048 // octets, with the line end
	maxReplyLines = 128
)

// readReply reads one reply of one or more lines (RFC 5321 4.2): three digits, the first 2 to 5, the
// same in every line; "-" before all texts but the last, " " or nothing before that. A line may end in a bare LF, as nothing can be
// smuggled to a client that waits for each reply. The text comes back as printable UTF-8, other octets as \xNN, its lines
// joined by "\n", less the enhanced code at their beginning (RFC 2034).
func readReply(r *bufio.Reader) (reply.Reply, error) {
	var out reply.Reply
	var text strings.Builder
	for n := 0; ; n++ {
		if n == maxReplyLines {
			return reply.Reply{}, fmt.Errorf("%w: more than %d lines", ErrProtocol, maxReplyLines)
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return reply.Reply{}, readError(err, n > 0 || len(line) > 0)
		}
		line = trimEnd(line)
		code, last, rest, ok := splitReply(line)
		if !ok || (n > 0 && code != out.Code) {
			return reply.Reply{}, fmt.Errorf("%w: %q", ErrProtocol, line[:min(len(line), 100)])
		}
		enhanced, rest := cutEnhanced(code, rest)
		if n == 0 {
			out.Code, out.Enhanced = code, enhanced
			if last {
				out.Text = printable(rest)
				return out, nil
			}
		} else {
			text.WriteByte('\n')
		}
		text.WriteString(printable(rest))
		if last {
			out.Text = text.String()
			return out, nil
		}
	}
}

// readError turns what a reader says into what the doc of this package promises.
func readError(err error, inside bool) error {
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("%w: a line of more than %d octets", ErrProtocol, maxReplyLine)
	case errors.Is(err, io.EOF) && inside:
		return fmt.Errorf("%w inside a reply", ErrClosed)
	case errors.Is(err, io.EOF):
		return ErrClosed
	case isTimeout(err):
		return ErrTimeout
	}
	return err
}

func trimEnd(line []byte) []byte {
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// splitReply takes one line apart.
func splitReply(line []byte) (code int, last bool, text []byte, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '9' || line[2] < '0' || line[2] > '9' {
		return 0, false, nil, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	switch {
	case len(line) == 3:
		return code, true, nil, true
	case line[3] == ' ':
		return code, true, line[4:], true
	case line[3] == '-':
		return code, false, line[4:], true
	}
	return 0, false, nil, false
}

// cutEnhanced takes an enhanced status code (RFC 3463: class "." subject "." detail) off the text. One whose class doesn't
// go with the reply code is text.
func cutEnhanced(code int, text []byte) (reply.Enhanced, []byte) {
	var e reply.Enhanced
	rest := text
	for i := range e {
		n, digits := 0, 0
		for digits < len(rest) && digits < 4 && rest[digits] >= '0' && rest[digits] <= '9' {
			n = n*10 + int(rest[digits]-'0')
			digits++
		}
		if digits == 0 || digits > 3 {
			return reply.Enhanced{}, text
		}
		e[i], rest = n, rest[digits:]
		if i < 2 {
			if len(rest) == 0 || rest[0] != '.' {
				return reply.Enhanced{}, text
			}
			rest = rest[1:]
		}
	}
	if e[0] != code/100 || (len(rest) > 0 && rest[0] != ' ') {
		return reply.Enhanced{}, text
	}
	if len(rest) > 0 {
		rest = rest[1:]
	}
	return e, rest
}

// printable returns text as valid UTF-8 without control characters; what isn't becomes \xNN, a tab a space.
func printable(text []byte) string {
	clean := true
	for _, b := range text {
		if b < 0x20 || b >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return string(text)
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case (r == utf8.RuneError && n == 1) || r < 0x20 || (r >= 0x7f && r < 0xa0):
			for _, c := range text[:n] {
				fmt.Fprintf(&b, `\x%02X`, c)
			}
		default:
			b.Write(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}

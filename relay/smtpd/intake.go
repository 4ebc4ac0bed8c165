package smtpd

import (
	"bytes"
	"errors"
	"io"
	"syscall"

	"restante/relay/reply"
)

// intake takes the octets of one message off the wire: it finds the end of data, takes away the stuffed
// dots, and refuses what is no message. Lines end with CRLF and with nothing else, and only CRLF.CRLF
// ends the data (RFC 5321 2.3.8, 4.1.1.4): a bare CR or LF never begins a line, so that no two servers can disagree about
// where a message ends ("SMTP smuggling"). Since such octets are also refused, no server behind us ever sees them.
//
// NUL is passed on: bytes out are bytes in, and alone it ends nothing.
type intake struct {
	dst    io.Writer
	dots   bool // DATA: dots are stuffed, and a lone one ends the data. Otherwise BDAT
	size   int64
	limit  int64
	line   int // octets of the present line so far, a pending CR apart
	longer int // greatest such number

	bol bool // at the beginning of a line, in DATA
	dot bool // the present line began with a dot, which was taken away
	cr  bool // the last octet was a CR, whose LF must come next

	fault  reply.Reply // the first thing wrong, zero if none; from then on nothing is kept
	excess int64       // octets that came after it
}

// newIntake returns an intake that writes to dst.
func newIntake(dst io.Writer, dots bool, l *Limits, size int64) *intake {
	return &intake{dst: dst, dots: dots, bol: dots, limit: size, longer: l.MessageLine - 2}
}

// feed takes octets and says how many it took, and in DATA whether the data has ended with them.
func (in *intake) feed(p []byte) (n int, done bool) {
	start := 0 // of what is to be kept
	for n < len(p) {
		if in.bol && p[n] == '.' {
			in.keep(p[start:n])
			n++
			start, in.bol, in.dot = n, false, true
			continue
		}
		in.bol = false
		end := bytes.IndexByte(p[n:], '\n')
		if end < 0 {
			held := in.part(p[n:])
			in.keep(p[start : len(p)-held])
			return len(p), false
		}
		if in.lineEnd(p[n : n+end]) {
			in.keep(p[start:n])
			return n + end + 1, true
		}
		n += end + 1
	}
	in.keep(p[start:n])
	return n, false
}

// part takes a piece of a line without its end. It returns 1 if the last octet is the CR of what may be
// the end of data, which is not to be kept.
func (in *intake) part(s []byte) (held int) {
	if in.cr {
		in.bareCR()
	}
	in.cr = false
	if i := bytes.IndexByte(s, '\r'); i == len(s)-1 {
		in.cr = true
		s = s[:i]
	} else if i >= 0 {
		in.bareCR()
		in.cr = s[len(s)-1] == '\r'
	}
	in.grow(len(s))
	if in.cr && in.dot && in.line == 0 {
		return 1
	}
	return 0
}

// lineEnd takes the rest of a line, s, whose LF follows. It reports the end of data.
func (in *intake) lineEnd(s []byte) (done bool) {
	crlf := in.cr
	if len(s) > 0 {
		if in.cr {
			in.bareCR()
		}
		if crlf = s[len(s)-1] == '\r'; crlf {
			s = s[:len(s)-1]
		}
		if bytes.IndexByte(s, '\r') >= 0 {
			in.bareCR()
		}
	}
	in.cr = false
	if !crlf { // the line goes on
		in.grow(len(s) + 1)
		in.refuse(reply.New(554, reply.Enhanced{5, 6, 0},
			"Message has a line feed without a carriage return before it (bare LF), which RFC 5321 2.3.8 forbids"))
		return false
	}
	in.grow(len(s))
	if in.dot && in.line == 0 {
		return true
	}
	in.line, in.dot, in.bol = 0, false, in.dots
	return false
}

func (in *intake) bareCR() {
	in.grow(1)
	in.refuse(reply.New(554, reply.Enhanced{5, 6, 0},
		"Message has a carriage return without a line feed after it (bare CR), which RFC 5321 2.3.8 forbids"))
}

// grow counts n octets more in the present line.
func (in *intake) grow(n int) {
	in.line += n
	if in.line > in.longer {
		in.refuse(reply.New(554, reply.Enhanced{5, 6, 0},
			"Message has a line longer than %d octets", in.longer))
	}
}

// keep writes what belongs to the message.
func (in *intake) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	if in.fault.IsZero() && in.size+int64(len(p)) > in.limit {
		in.refuse(reply.New(552, reply.Enhanced{5, 3, 4}, "Message is larger than %d octets", in.limit))
	}
	if !in.fault.IsZero() {
		in.excess += int64(len(p))
		return
	}
	in.size += int64(len(p))
	if _, err := in.dst.Write(p); err != nil {
		in.refuse(temporary(err))
	}
}

// temporary is the reply to an error while a message is put aside.
func temporary(err error) reply.Reply {
	if errors.Is(err, syscall.ENOSPC) {
		return reply.New(452, reply.Enhanced{4, 3, 1}, "No room for the message right now").With(err)
	}
	return reply.New(451, reply.Enhanced{4, 3, 0}, "Can't take the message right now").With(err)
}

func (in *intake) refuse(r reply.Reply) {
	if in.fault.IsZero() {
		in.fault = r
	}
}

// finish ends a message that came by BDAT.
func (in *intake) finish() {
	if in.cr {
		in.bareCR()
	}
}

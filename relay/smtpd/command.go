package smtpd

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/reply"
)

// command is the one under way.
type command struct {
	verb string // upper case
	path string // of MAIL and RCPT: what stood in the angle brackets
	addr mailaddr.Address
	rest string // of MAIL and RCPT: the parameters, as given

	judged bool // the Handler gave the reply
}

// next makes w.feed the next command that go-smtp is to carry out. Those that it doesn't know, or mustn't
// see, are answered here. When it returns an error the session is over.
func (w *wire) next() error {
	for {
		line := w.held
		if w.held = nil; line == nil {
			var err error
			if line, err = w.readLine(); err != nil {
				return err
			}
		}
		r, pass := w.check(line)
		if w.err != nil {
			return w.err
		}
		if pass && w.cmd.verb == "STARTTLS" {
			return w.handshake()
		}
		if pass {
			return nil
		}
		w.reply(r)
		if w.err != nil {
			return w.err
		}
	}
}

// readLine returns the next line without its CRLF; it is good until the next call. Replies are held back
// while commands are waiting (RFC 2920 3.2).
func (w *wire) readLine() ([]byte, error) {
	begun := w.begun
	w.begun = time.Time{}
	skipped := false // the line was too long for the buffer
	for searched := w.r; ; {
		if i := bytes.IndexByte((*w.buf)[searched:w.n], '\n'); i >= 0 {
			line := (*w.buf)[w.r : searched+i+1]
			w.r = searched + i + 1
			if ok, err := w.judge(line, skipped); err != nil {
				return nil, err
			} else if ok {
				return line[:len(line)-2], nil
			}
			searched, skipped, begun = w.r, false, time.Time{}
			continue
		}
		if w.n-w.r > w.limits.CommandLine {
			skipped = true
			w.r = w.n
		}
		w.shrink()
		if w.r > 0 {
			w.n = copy(*w.buf, (*w.buf)[w.r:w.n])
			w.r = 0
		}
		searched = w.n
		w.flush()
		if w.err != nil {
			return nil, w.err
		}
		if begun.IsZero() { // the time is for the whole line: one octet a minute doesn't stretch it
			begun = time.Now()
		}
		if err := w.fill(begun.Add(w.idle()), !w.within); err != nil {
			return nil, w.lost(err)
		}
	}
}

// judge looks at a line as such. ok is false if it was answered here.
func (w *wire) judge(line []byte, skipped bool) (ok bool, err error) {
	w.cmd = command{}
	w.commands++
	switch {
	case !w.doom.IsZero():
		w.logRefusal("session ended", w.doom)
		w.bye(w.doom)
	case w.leave() != nil:
		return false, w.lost(w.leave())
	case w.commands > w.limits.Commands:
		w.srv.o.Metrics.limited("commands")
		r := w.refuse(421, reply.Enhanced{4, 7, 0}, "Too many commands without a message")
		w.logRefusal("session ended", r)
		w.bye(r)
	case skipped || len(line) > w.limits.CommandLine:
		w.reply(reply.New(500, reply.Enhanced{5, 5, 6}, "Line longer than %d octets", w.limits.CommandLine))
		return false, w.err
	case len(line) < 2 || line[len(line)-2] != '\r':
		// Whoever takes a bare LF for a line end may have been led to by somebody's message.
		w.bye(reply.New(500, reply.Enhanced{5, 5, 2}, "Lines end with CR LF, this one ended with LF alone; closing"))
	case hasControl(line[:len(line)-2]):
		w.reply(reply.New(500, reply.Enhanced{5, 5, 2}, "Control characters in a command"))
		return false, w.err
	default:
		return true, nil
	}
	return false, w.err
}

// leave says why this session is to end before it carries out another command; nil: it isn't.
func (w *wire) leave() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.within {
		return nil
	}
	return w.leaving
}

func hasControl(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// split separates the verb of a line, in upper case, from what follows the space after it. A verb of
// anything but ASCII letters is "".
func (w *wire) split(line []byte) (verb, arg string) {
	verb, arg, _ = strings.Cut(strings.TrimRight(string(line), " \t"), " ")
	for i := range len(verb) {
		if c := verb[i] | 0x20; c < 'a' || c > 'z' { // before ToUpper could make ASCII of something else
			return "", arg
		}
	}
	return strings.ToUpper(verb), arg
}

// check decides about a command. pass is true if w.feed holds it for go-smtp, or for STARTTLS if all is
// ready; otherwise r is the answer.
func (w *wire) check(line []byte) (r reply.Reply, pass bool) {
	verb, arg := w.split(line)
	w.cmd.verb = verb
	switch verb {
	case "MAIL":
		return w.checkPath(arg, "FROM:")
	case "RCPT":
		return w.checkPath(arg, "TO:")
	case "BDAT":
		return w.checkBdat(arg)
	case "DATA":
		if w.r < w.n {
			return w.pipelined(), false
		}
	case "STARTTLS":
		return w.checkStartTLS(arg)
	case "EHLO", "HELO":
		return w.checkHelo(arg)
	case "NOOP", "RSET", "QUIT", "VRFY":
		arg = "" // said and ignored (RFC 5321 4.1.1.9)
		if verb == "VRFY" {
			arg = "x"
		}
	case "HELP":
		return reply.New(214, reply.Enhanced{2, 0, 0}, "Restante, see RFC 5321"), false
	case "AUTH", "EXPN", "ETRN", "SEND", "SOML", "SAML", "TURN":
		return reply.New(502, reply.Enhanced{5, 5, 1}, "%s is not available here", verb), false
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT":
		w.last = true // a browser that was talked into speaking to us
		return reply.New(421, reply.Enhanced{4, 7, 0}, "This is no web server"), false
	default:
		return reply.New(500, reply.Enhanced{5, 5, 2}, "Command not recognized"), false
	}
	w.hand(verb, arg)
	return reply.Reply{}, true
}

// hand makes a command line for go-smtp.
func (w *wire) hand(verb, arg string) {
	if arg == "" {
		w.feed = []byte(verb + "\r\n")
		return
	}
	w.feed = []byte(verb + " " + arg + "\r\n")
}

// pipelined is the answer to octets that came together with a command after which one has to wait for the reply
// (RFC 2920 3.1): what follows would be read as commands or as a message, depending on that reply.
func (w *wire) pipelined() reply.Reply {
	w.last = true
	w.srv.o.Metrics.limited("pipelining")
	return reply.New(503, reply.Enhanced{5, 5, 0}, "Wait for the reply to %s before you go on; closing", w.cmd.verb)
}

func (w *wire) checkStartTLS(arg string) (reply.Reply, bool) {
	switch {
	case w.srv.tls == nil:
		return reply.New(502, reply.Enhanced{5, 5, 1}, "TLS is not available"), false
	case arg != "":
		return reply.New(501, reply.Enhanced{5, 5, 4}, "STARTTLS has no parameters"), false
	case w.tls != "":
		return reply.New(503, reply.Enhanced{5, 5, 1}, "This is TLS already"), false
	case w.r < w.n: // it would be taken for something said within TLS
		return w.pipelined(), false
	}
	return reply.Reply{}, true
}

// checkHelo: the argument is shown to people and to primaries, so it has to be printable. No more is asked of
// it (RFC 5321 4.1.4: a server must not refuse mail because of it).
func (w *wire) checkHelo(arg string) (reply.Reply, bool) {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, " "), " ")
	if name == "" || len(name) > 255 {
		return reply.New(501, reply.Enhanced{5, 5, 4}, "%s needs the name of your host", w.cmd.verb), false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f {
			return reply.New(501, reply.Enhanced{5, 5, 4}, "The name of a host is ASCII"), false
		}
	}
	w.fit()
	w.rises(spoken)
	w.cmd.path = name
	w.hand(w.cmd.verb, name)
	return reply.Reply{}, true
}

// checkPath reads the path and the parameters of MAIL and RCPT. go-smtp gets the parameters and, in place of the
// path, one that can't be misunderstood.
func (w *wire) checkPath(arg, prefix string) (reply.Reply, bool) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return reply.New(501, reply.Enhanced{5, 5, 4}, "It is %s %s<address>", w.cmd.verb, prefix), false
	}
	path, rest, ok := cutPath(strings.TrimLeft(arg[len(prefix):], " "))
	if !ok {
		return reply.New(501, reply.Enhanced{5, 5, 4}, "It is %s %s<address>", w.cmd.verb, prefix), false
	}
	w.cmd.path, w.cmd.rest = path, rest
	if r := w.checkParams(rest); !r.IsZero() {
		return r, false
	}
	if path == "" && w.cmd.verb == "MAIL" {
		w.hand("MAIL", "FROM:<>"+rest)
		return reply.Reply{}, true
	}
	var err error
	if w.cmd.verb == "RCPT" && strings.EqualFold(path, "postmaster") {
		w.cmd.addr, err = w.srv.postmaster()
	} else {
		w.cmd.addr, err = mailaddr.Parse(path)
	}
	if err != nil {
		return badAddress(w.cmd.verb, err), false
	}
	w.hand(w.cmd.verb, prefix+"<x@x.example>"+rest)
	return reply.Reply{}, true
}

// badAddress is the reply to an address that can't be read.
func badAddress(verb string, err error) reply.Reply {
	detail := 7 // RFC 3463: X.1.7 sender's mailbox address syntax
	if verb == "RCPT" {
		detail = 3 // X.1.3 destination mailbox address syntax
	}
	switch {
	case errors.Is(err, mailaddr.ErrUTF8):
		return reply.New(553, reply.Enhanced{5, 6, 7}, "Address is not valid UTF-8")
	case errors.Is(err, errNoPostmaster):
		return reply.New(550, reply.Enhanced{5, 1, 1}, "No domain here has a postmaster, give one")
	}
	return reply.New(553, reply.Enhanced{5, 1, detail}, "Can't use this address: %s", err)
}

// cutPath separates a path from the parameters after it, which keep their leading space. A ">" within
// quotes ends no path.
func cutPath(s string) (path, rest string, ok bool) {
	if !strings.HasPrefix(s, "<") { // seen without brackets
		path, rest, _ = strings.Cut(s, " ")
		if rest != "" {
			rest = " " + rest
		}
		return path, rest, path != "" && !strings.ContainsAny(path, `<>"`)
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			rest = s[i+1:]
			return s[1:i], rest, rest == "" || rest[0] == ' '
		}
	}
	return "", "", false
}

// checkParams looks at what go-smtp would get wrong: a parameter given twice, where its last one wins,
// and a SIZE beyond 32 bits.
func (w *wire) checkParams(rest string) reply.Reply {
	fields := strings.Fields(rest)
	for i, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		for _, other := range fields[:i] {
			if k, _, _ := strings.Cut(other, "="); strings.EqualFold(k, key) {
				return reply.New(501, reply.Enhanced{5, 5, 4}, "Parameter given twice")
			}
		}
		if !strings.EqualFold(key, "SIZE") || w.cmd.verb != "MAIL" {
			continue
		}
		if n, err := strconv.ParseUint(value, 10, 64); err == nil && n > math.MaxUint32 || errors.Is(err, strconv.ErrRange) {
			return tooLarge(w.offers.Size)
		}
	}
	return reply.Reply{}
}

func tooLarge(limit int64) reply.Reply {
	return reply.New(552, reply.Enhanced{5, 3, 4}, "Messages may have %d octets here", limit)
}

// param returns the value of a parameter as it was given.
func (c *command) param(name string) string {
	for f := range strings.FieldsSeq(c.rest) {
		if key, value, _ := strings.Cut(f, "="); strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// checkBdat begins a message that comes in chunks. go-smtp has a BDAT of its own, but takes a connection that breaks
// within the last chunk for its end, and mixes up the results of a message that was given up and of the next; it is
// told DATA, and Session.Data reads the chunks.
func (w *wire) checkBdat(arg string) (reply.Reply, bool) {
	if !w.parseBdat(arg) {
		return reply.Reply{}, false
	}
	switch {
	case w.session == nil || !w.session.ready():
		w.skip()
		return w.noRecipients(), false
	case w.chunk > w.offers.Size:
		w.skip()
		w.instead = tooLarge(w.offers.Size)
		w.hand("RSET", "")
		return reply.Reply{}, true
	}
	w.hand("DATA", "")
	return reply.Reply{}, true
}

// parseBdat reads "<size> [LAST]". If the size can't be read, nobody knows where the next command begins; if it is
// preposterous, skipping it would take too long. Then it answers, closes the connection and returns false.
func (w *wire) parseBdat(arg string) bool {
	digits, last, more := strings.Cut(arg, " ")
	size, err := strconv.ParseUint(digits, 10, 63)
	var r reply.Reply
	switch {
	case err != nil || more && !strings.EqualFold(last, "LAST"):
		r = reply.New(501, reply.Enhanced{5, 5, 4}, "It is BDAT <size> [LAST]; closing")
	case int64(size) > 2*w.limits.MessageSize:
		r = tooLarge(w.offers.Size)
	default:
		w.chunk, w.final = int64(size), more
		return true
	}
	w.last = true
	w.reply(r)
	return false
}

// noRecipients is the answer to DATA or BDAT without anybody to send to.
func (w *wire) noRecipients() reply.Reply {
	if w.session != nil && w.session.open() {
		return reply.New(554, reply.Enhanced{5, 5, 1}, "No valid recipients")
	}
	return outOfOrder
}

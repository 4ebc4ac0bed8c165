package smtpd

import (
	"strconv"
	"strings"

	"restante/relay/reply"
)

// dropped is the text of the reply that stands for closing without one.
const dropped = "\x01drop"

// take collects what go-smtp writes until a reply is whole.
func (w *wire) take(p []byte) {
	if w.err != nil {
		return
	}
	if len(w.from) > 0 {
		w.from = append(w.from, p...)
		p = w.from
	}
	text, whole := strings.CutSuffix(string(p), "\r\n")
	last := text[strings.LastIndexByte(text, '\n')+1:]
	if !whole || len(last) < 4 || last[3] != ' ' {
		if len(w.from) == 0 {
			w.from = append(w.from, p...)
		}
		return
	}
	w.from = w.from[:0]
	w.answer(text)
}

// parse reads a reply of go-smtp, which puts the enhanced code on the last line only.
func parse(text string) reply.Reply {
	lines := strings.Split(text, "\r\n")
	for i, l := range lines {
		lines[i] = l[min(4, len(l)):]
	}
	code, err := strconv.Atoi(text[:3])
	if err != nil {
		return reply.New(451, reply.Enhanced{4, 3, 0}, "Internal error").With(err)
	}
	r := reply.Reply{Code: code}
	if class := code / 100; class != 3 {
		last := len(lines) - 1
		status, rest, _ := strings.Cut(lines[last], " ")
		if e, ok := enhanced(status); ok && e[0] == class {
			r.Enhanced, lines[last] = e, rest
		}
	}
	r.Text = strings.Join(lines, "\n")
	return r
}

func enhanced(s string) (e reply.Enhanced, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != len(e) {
		return e, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return e, false
		}
		e[i] = int(n)
	}
	return e, true
}

// answer sends a reply of go-smtp, or what stands for it.
func (w *wire) answer(text string) {
	if !w.engine.greeted {
		w.engine.greeted = true // by wire.greet
		return
	}
	verb := w.cmd.verb
	switch {
	case w.mute:
		w.mute = false
		return
	case !w.instead.IsZero():
		r := w.instead
		w.instead = reply.Reply{}
		w.reply(r)
		return
	case (verb == "EHLO" || verb == "HELO") && strings.HasPrefix(text, "250"):
		w.helo, w.esmtp = w.cmd.path, verb == "EHLO"
		if w.esmtp {
			w.out = append(w.out, w.srv.greeting(w)...)
		} else {
			w.out = append(w.out, "250 "+w.srv.o.Hostname+"\r\n"...) // RFC 2034 4: no enhanced code here
		}
		return
	}
	r := parse(text)
	switch {
	case r.Text == dropped:
		w.err = errGone
		return
	case r.Code == 354 && verb == "BDAT":
		return
	case r.Code == 354:
		r.Text = "Go on, end with <CR><LF>.<CR><LF>"
	case r.Code == 502 && verb == "DATA":
		r = w.noRecipients()
	case r.Code == 502: // go-smtp's word for a command out of order (RFC 5321 4.2.4: 503)
		r.Code = 503
	case r.Code == 500 && (verb == "MAIL" || verb == "RCPT"):
		r.Code = 555 // RFC 5321 4.1.1.11: parameter not recognized
	}
	w.reply(r)
}

// reply sends a reply and counts it against the peer if it is a mistake of his.
func (w *wire) reply(r reply.Reply) {
	mine := w.cmd.judged || (w.cmd.verb == "DATA" || w.cmd.verb == "BDAT") && r.Code > 509
	if r.Permanent() && !mine {
		if w.errors++; w.errors >= w.limits.Errors && w.doom.IsZero() {
			w.srv.o.Metrics.limited("errors")
			w.doom = w.refuse(421, reply.Enhanced{4, 7, 0}, "Too many errors")
		}
	}
	w.send(r, w.last || r.Code == 421)
}

// send puts a reply in line, and closes the connection after it if end.
func (w *wire) send(r reply.Reply, end bool) {
	if w.err != nil {
		return
	}
	w.out = r.Append(w.out)
	if len(w.out) > 16<<10 { // a peer that never waits for its replies
		w.flush()
	}
	if end {
		w.close()
	}
}

// ehlo is the reply to EHLO.
func ehlo(hostname string, o Offers, recipients int, starttls, encrypted bool) []byte {
	lines := []string{hostname, "PIPELINING", "SIZE " + strconv.FormatInt(o.Size, 10)}
	if starttls && !encrypted {
		lines = append(lines, "STARTTLS")
	}
	lines = append(lines, "ENHANCEDSTATUSCODES", "8BITMIME")
	if o.SMTPUTF8 {
		lines = append(lines, "SMTPUTF8")
	}
	if o.DSN {
		lines = append(lines, "DSN")
	}
	if o.RequireTLS && encrypted { // RFC 8689 3: within TLS only
		lines = append(lines, "REQUIRETLS")
	}
	lines = append(lines, "LIMITS RCPTMAX="+strconv.Itoa(recipients), "CHUNKING") // RFC 9422
	var b []byte
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		b = append(b, "250"+sep+l+"\r\n"...)
	}
	return b
}

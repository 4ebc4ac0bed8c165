package sink

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// discardAbove is how many octets of a message are held when nobody wants them.
const discardAbove = 1 << 20

func (c *session) doMail(arg string) string {
	if !c.greeted {
		c.s.violation(c, "MAIL before EHLO")
		return "503 5.5.1 EHLO first"
	}
	if c.mail {
		c.s.violation(c, "MAIL inside a transaction")
		return "503 5.5.1 Nested MAIL"
	}
	if c.s.o.Login != nil && c.env.User == "" {
		return "530 5.7.0 Authentication required"
	}
	path, params, ok := c.path("FROM:", arg)
	if !ok {
		return "501 5.5.4 Syntax: MAIL FROM:<address>"
	}
	xforward := c.env.XForward
	c.reset()
	c.env.XForward = xforward
	if text := c.mailParams(params, path); text != "" {
		return text
	}
	c.mail = true
	c.env.From, c.env.MailParams = path, params
	c.s.stats.transactions.Add(1)
	return "250 2.1.0 Ok"
}

// mailParams checks the parameters of MAIL against what was offered and returns a refusal, or "".
func (c *session) mailParams(params []string, path string) string {
	utf8 := false
	for _, p := range params {
		name, value, _ := strings.Cut(strings.ToUpper(p), "=")
		ok := true
		switch name {
		case "SIZE":
			ok = !c.offers.NoSize && c.extended
			if n, err := strconv.ParseInt(value, 10, 64); err != nil {
				c.s.violation(c, "parameter %q", p)
			} else if c.offers.Size > 0 && n > c.offers.Size {
				c.s.stats.refused.Add(1)
				return "552 5.3.4 Message size exceeds fixed limit"
			}
		case "BODY":
			ok = c.offers.EightBitMIME
		case "REQUIRETLS":
			ok = c.offers.RequireTLS && c.env.TLS
		case "SMTPUTF8":
			ok, utf8 = c.offers.SMTPUTF8, true
		case "RET", "ENVID":
			ok = c.offers.DSN
		default:
			ok = false
		}
		if !ok {
			c.s.violation(c, "parameter %q of MAIL wasn't offered", p)
			return "555 5.5.4 Unsupported parameter"
		}
	}
	c.checkASCII(path, utf8)
	return ""
}

func (c *session) doRcpt(arg string) string {
	if !c.mail {
		return "503 5.5.1 MAIL first"
	}
	path, params, ok := c.path("TO:", arg)
	if !ok || path == "" {
		return "501 5.5.4 Syntax: RCPT TO:<address>"
	}
	for _, p := range params {
		name, _, _ := strings.Cut(strings.ToUpper(p), "=")
		if !c.offers.DSN || (name != "NOTIFY" && name != "ORCPT") {
			c.s.violation(c, "parameter %q of RCPT wasn't offered", p)
			return "555 5.5.4 Unsupported parameter"
		}
	}
	utf8 := false
	for _, p := range c.env.MailParams {
		utf8 = utf8 || strings.EqualFold(p, "SMTPUTF8")
	}
	c.checkASCII(path, utf8)
	if n := c.s.faults.Load().MaxRcpts; n > 0 && len(c.env.Rcpts) >= n {
		c.s.stats.refused.Add(1)
		return "452 4.5.3 Too many recipients"
	}
	c.env.Rcpts = append(c.env.Rcpts, path)
	c.env.RcptParams = append(c.env.RcptParams, params)
	return "250 2.1.5 Ok"
}

func (c *session) checkASCII(path string, utf8 bool) {
	if utf8 || !c.s.o.Strict {
		return
	}
	for i := range len(path) {
		if path[i] >= 0x80 || path[i] < 0x20 {
			c.s.violation(c, "address %q without SMTPUTF8", path)
			return
		}
	}
}

// path takes "FROM:<path> params" apart. Quoted strings in the path may hold any character.
func (c *session) path(prefix, arg string) (string, []string, bool) {
	if len(arg) < len(prefix)+2 || !strings.EqualFold(arg[:len(prefix)], prefix) || arg[len(prefix)] != '<' {
		c.s.violation(c, "%q isn't %s<address>", arg, prefix)
		return "", nil, false
	}
	arg = arg[len(prefix)+1:]
	quoted := false
	for i := 0; i < len(arg); i++ {
		switch {
		case arg[i] == '\\' && quoted:
			i++
		case arg[i] == '"':
			quoted = !quoted
		case arg[i] == '>' && !quoted:
			if i+1 == len(arg) {
				return arg[:i], nil, true
			}
			if arg[i+1] != ' ' {
				c.s.violation(c, "no space behind the path in %q", arg)
				return "", nil, false
			}
			return arg[:i], strings.Fields(arg[i+1:]), true
		}
	}
	c.s.violation(c, "no end of the path in %q", arg)
	return "", nil, false
}

func (c *session) doData(line string) error {
	if !c.mail || c.inBdat {
		return c.answer("503 5.5.1 RCPT first")
	}
	if len(c.env.Rcpts) == 0 {
		return c.answer("554 5.5.1 No valid recipients")
	}
	accepted := false
	if err := c.step(StageData, line, func() string { accepted = true; return "354 Go ahead" }); err != nil || !accepted {
		return err
	}
	data, size, err := c.readData()
	if err != nil {
		return err
	}
	if c.s.o.Strict {
		c.checkLines(data)
	}
	return c.endOfMessage(data, size)
}

// endOfMessage answers the final dot or BDAT LAST.
func (c *session) endOfMessage(data []byte, size int64) error {
	text := c.env.From + " " + strings.Join(c.env.Rcpts, " ")
	err := c.step(StageDot, text, func() string {
		if c.offers.Size > 0 && size > c.offers.Size {
			c.s.stats.refused.Add(1)
			return "552 5.3.4 Message too big"
		}
		c.env.Received = time.Now()
		err, running := c.s.deliver(c, data)
		if !running {
			return ""
		}
		if err != nil {
			c.s.stats.refused.Add(1)
			return "451 4.3.0 " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		c.s.stats.octets.Add(size)
		return "250 2.0.0 Ok: taken"
	})
	c.reset()
	return err
}

// wanted reports that somebody wants the octets of messages.
func (c *session) wanted() bool { return c.s.o.Deliver != nil || c.s.o.Keep || c.s.o.Strict }

// bodyFault applies the rules of StageBody, once a message.
func (c *session) bodyFault() error {
	if c.s.faults.Load().rules == nil {
		return nil
	}
	text := c.env.From + " " + strings.Join(c.env.Rcpts, " ")
	r := c.s.faults.Load().find(StageBody, text)
	if r == nil {
		return nil
	}
	time.Sleep(r.Delay)
	c.lead(r)
	if r.Reply != "" { // unasked, as a server that runs out of time or space does
		c.reply(r.Reply)
	}
	if err := c.flush(); err != nil {
		return err
	}
	switch {
	case r.Drop == DropReply || strings.HasPrefix(r.Reply, "421"):
		return errEnd
	case r.Drop != NoDrop || r.Stop:
		c.s.stats.dropped.Add(1)
		return c.cut(r)
	}
	return nil
}

// readData reads to the final dot and takes the dots of RFC 5321 4.5.2 away.
func (c *session) readData() ([]byte, int64, error) {
	end := []byte("\r\n.\r\n")
	body := append(c.body[:0], '\r', '\n') // the line end before the first line is that of DATA itself
	var dropped int64
	wanted, first := c.wanted(), true
	for {
		if c.r == c.w {
			if err := c.fill(); err != nil {
				return nil, 0, err
			}
		}
		if first {
			first = false
			if err := c.bodyFault(); err != nil {
				return nil, 0, err
			}
		}
		from := max(0, len(body)-len(end)+1)
		body = append(body, c.buf[c.r:c.w]...)
		c.r = c.w
		i := bytes.Index(body[from:], end)
		if i >= 0 {
			i += from
			c.r -= len(body) - i - len(end) // what is behind the dot is the next command
			body = body[:i+2]
			break
		}
		if !wanted && len(body) > discardAbove {
			n := len(body) - len(end) // enough is left to find an end that comes in pieces
			copy(body, body[n:])
			body, dropped = body[:len(end)], dropped+int64(n)
		}
	}
	if !wanted {
		c.body = body
		return nil, dropped + int64(len(body)) - 2, nil
	}
	if bytes.Contains(body, []byte("\r\n.")) {
		body = bytes.ReplaceAll(body, []byte("\r\n."), []byte("\r\n"))
	}
	return body[2:], int64(len(body)) - 2, nil
}

// checkLines notes line ends that aren't CRLF.
func (c *session) checkLines(data []byte) {
	if n := bytes.Count(data, []byte("\r\n")); n != bytes.Count(data, []byte("\n")) || n != bytes.Count(data, []byte("\r")) {
		c.s.violation(c, "a bare CR or LF in DATA")
	}
}

func (c *session) doBdat(line, arg string) error {
	f := strings.Fields(arg)
	var n int64 = -1
	if len(f) > 0 {
		if v, err := strconv.ParseInt(f[0], 10, 64); err == nil {
			n = v
		}
	}
	last := len(f) == 2 && strings.EqualFold(f[1], "LAST")
	if n < 0 || (len(f) > 1 && !last) {
		c.s.violation(c, "%q", line)
		return fmt.Errorf("%q: can't tell how much follows", line)
	}
	c.inBdat = c.inBdat || c.mail
	ok := c.mail && len(c.env.Rcpts) > 0 && c.offers.Chunking && !c.bdatBad
	if c.offers == nil || !c.offers.Chunking {
		c.s.violation(c, "BDAT wasn't offered")
	}
	if err := c.readChunk(n, ok); err != nil {
		return err
	}
	if !ok { // RFC 3030 2: the octets were read all the same
		if !c.bdatBad { // chunks pipelined behind a refused one are in order
			c.s.violation(c, "BDAT without a transaction that has recipients")
		}
		return c.answer("503 5.5.1 RCPT first")
	}
	c.bdatSize += n
	if last {
		c.env.Bdat = true
		return c.endOfMessage(c.bdat, c.bdatSize)
	}
	good := false
	err := c.step(StageBdat, line, func() string { good = true; return fmt.Sprintf("250 2.0.0 %d octets", n) })
	c.bdatBad = !good
	return err
}

// readChunk reads n octets, keeping them if wanted.
func (c *session) readChunk(n int64, keep bool) error {
	keep = keep && c.wanted()
	first := c.bdatSize == 0
	for n > 0 {
		if c.r == c.w {
			if err := c.fill(); err != nil {
				return err
			}
		}
		if first {
			first = false
			if err := c.bodyFault(); err != nil {
				return err
			}
		}
		k := int(min(n, int64(c.w-c.r)))
		if keep {
			c.bdat = append(c.bdat, c.buf[c.r:c.r+k]...)
		}
		c.r += k
		n -= int64(k)
	}
	return nil
}

package sink

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	bufferSize  = 32 << 10
	maxLine     = 8 << 10 // of a command; far above RFC 5321 4.5.3.1.4, strict mode notes what exceeds 2,048
	idleTimeout = 5 * time.Minute
	tcpDrain    = time.Second
)

// errEnd ends a session that was brought to its end in order.
var errEnd = errors.New("session ended")

// session is one connection.
type session struct {
	s      *Server
	raw    net.Conn // for kill
	nc     net.Conn // raw, or TLS over it
	killed atomic.Bool

	buf  []byte // input: buf[r:w] is unread
	r, w int
	out  []byte // replies not yet sent

	offers   *Offers
	greeted  bool // EHLO or HELO was given
	extended bool // EHLO
	mail     bool // a transaction is open
	env      Envelope
	bdat     []byte // octets of the BDAT chunks so far
	bdatSize int64
	inBdat   bool
	bdatBad  bool // a chunk was refused: the rest of the transaction is too
	body     []byte
	misled   bool // a Rule sent octets that are no reply: what the client makes of them is no fault of its own
}

// lead sends a rule's octets in front of the reply.
func (c *session) lead(r *rule) {
	c.out = append(c.out, r.Raw...)
	c.misled = c.misled || r.Raw != ""
}

func newSession(s *Server, nc net.Conn, number int64) *session {
	c := &session{s: s, raw: nc, nc: nc, buf: make([]byte, bufferSize)}
	c.env.Session, c.env.Client = number, nc.RemoteAddr().String()
	return c
}

// kill resets the connection. Safe from any goroutine.
func (c *session) kill() {
	if c.killed.Swap(true) {
		return
	}
	if t, ok := c.raw.(*net.TCPConn); ok {
		t.SetLinger(0) // RST rather than FIN; without it the close is only more polite
	}
	c.raw.Close() // nothing is left to be done about an error
}

// finish sends what is left and closes in order, so that the peer can read the last reply although it may have more to say.
func (c *session) finish() {
	if c.flush() != nil {
		return
	}
	if t, ok := c.raw.(*net.TCPConn); ok && t.CloseWrite() == nil {
		c.raw.SetReadDeadline(time.Now().Add(tcpDrain)) // fails only on a closed connection, as the read then does
		io.Copy(io.Discard, c.raw)                      // until the peer closes too, or the time is over
	}
}

// serve runs the session; n is the number of connections with this one.
func (c *session) serve(n int64) {
	f := c.s.faults.Load()
	err := c.run(f, n)
	if errors.Is(err, errEnd) {
		c.finish()
	}
}

func (c *session) run(f *faultSet, n int64) error {
	if f.MaxConnections > 0 && n > int64(f.MaxConnections) {
		c.s.stats.refused.Add(1)
		c.reply("421 4.7.0 Too many connections")
		return errEnd
	}
	if c.s.o.Implicit {
		if err := c.implicit(); err != nil {
			return err
		}
	}
	if err := c.step(StageConnect, c.env.Client, c.banner); err != nil {
		return err
	}
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if err := c.command(string(line)); err != nil {
			return err
		}
	}
}

func (c *session) banner() string { return "220 " + c.s.o.Hostname + " ESMTP sink" }

// step does one command under the faults of its stage. effect does what the command does and returns the reply.
func (c *session) step(stage Stage, text string, effect func() string) error {
	r := c.s.faults.Load().find(stage, text)
	if r == nil {
		return c.answer(effect())
	}
	if r.Delay > 0 {
		if err := c.flush(); err != nil {
			return err
		}
		time.Sleep(r.Delay)
	}
	drop := r.Drop
	if r.Stop && drop == NoDrop {
		drop = DropAfter
	}
	if drop == DropBefore || drop == DropAfter {
		c.s.stats.dropped.Add(1)
		if err := c.flush(); err != nil { // replies to earlier commands
			return err
		}
	}
	if drop == DropBefore {
		return c.cut(r)
	}
	if r.Hang {
		if err := c.flush(); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, c.nc)
		return errors.Join(io.ErrUnexpectedEOF, err)
	}
	c.lead(r)
	text = r.Reply
	if text == "" {
		text = effect()
	} else if text[0] == '2' || text[0] == '3' {
		if effect() == "" {
			return net.ErrClosed
		}
	} else {
		c.s.stats.refused.Add(1)
	}
	if drop == DropAfter {
		return c.cut(r)
	}
	err := c.answer(text)
	if drop == DropReply {
		c.s.stats.dropped.Add(1)
		return errEnd
	}
	return err
}

// cut ends the session, or the whole server, without another word.
func (c *session) cut(r *rule) error {
	if r.Stop {
		c.s.Stop()
	}
	c.kill()
	return net.ErrClosed
}

// answer queues a reply; 421 ends the session, and so does "", which says that the server was stopped.
func (c *session) answer(text string) error {
	if text == "" {
		return net.ErrClosed
	}
	c.reply(text)
	if strings.HasPrefix(text, "421") {
		return errEnd
	}
	return nil
}

// reply queues a reply of one or more lines, each after the first without its code.
func (c *session) reply(text string) {
	if !strings.Contains(text, "\n") || len(text) < 4 {
		c.out = append(append(c.out, text...), "\r\n"...)
		return
	}
	code := text[:3]
	lines := strings.Split(text[4:], "\n")
	for i, l := range lines {
		sep := byte('-')
		if i == len(lines)-1 {
			sep = ' '
		}
		c.out = append(append(append(append(c.out, code...), sep), l...), "\r\n"...)
	}
}

func (c *session) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if d := c.s.faults.Load().Delay; d > 0 {
		time.Sleep(d)
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// fill reads more input; replies go out first, all those of a pipelined group at once.
func (c *session) fill() error {
	if err := c.flush(); err != nil {
		return err
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.w == len(c.buf) {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if err := c.nc.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return err
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// line returns the next command without its line end; valid until the next read.
func (c *session) line() ([]byte, error) {
	from := 0
	for {
		if i := bytes.IndexByte(c.buf[c.r+from:c.w], '\n'); i >= 0 {
			line := c.buf[c.r : c.r+from+i]
			c.r += from + i + 1
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			} else {
				c.s.violation(c, "a command ended in a bare LF: %q", line)
			}
			if len(line) > 2046 {
				c.s.violation(c, "a command of %d octets", len(line)+2)
			}
			return line, nil
		}
		from = c.w - c.r
		if from > maxLine {
			return nil, fmt.Errorf("a line of more than %d octets", maxLine)
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// mustBeLast notes input that came behind a command which ends a pipelined group (RFC 2920 3.1).
func (c *session) mustBeLast(verb string) {
	if c.w > c.r {
		c.s.violation(c, "%s was followed by more before its reply: %q", verb, c.buf[c.r:min(c.w, c.r+60)])
	}
}

func (c *session) command(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if c.offers != nil && !c.offers.Pipelining && verb != "BDAT" {
		c.mustBeLast(verb + " (PIPELINING isn't offered)")
	}
	switch verb {
	case "MAIL":
		return c.step(StageMail, line, func() string { return c.doMail(arg) })
	case "RCPT":
		return c.step(StageRcpt, line, func() string { return c.doRcpt(arg) })
	case "DATA":
		c.mustBeLast(verb)
		return c.doData(line)
	case "BDAT":
		return c.doBdat(line, arg)
	case "EHLO", "HELO":
		c.mustBeLast(verb)
		return c.step(StageEhlo, line, func() string { return c.doHello(verb, arg) })
	case "STARTTLS":
		c.mustBeLast(verb)
		return c.doStartTLS(line)
	case "AUTH":
		return c.doAuth(line, arg)
	case "RSET":
		return c.step(StageRset, line, func() string { c.reset(); return "250 2.0.0 Ok" })
	case "NOOP":
		c.mustBeLast(verb)
		return c.step(StageNoop, line, func() string { return "250 2.0.0 Ok" })
	case "QUIT":
		c.mustBeLast(verb)
		if err := c.step(StageQuit, line, func() string { return "221 2.0.0 Bye" }); err != nil {
			return err
		}
		return errEnd
	case "XCLIENT":
		c.mustBeLast(verb)
		return c.step(StageXClient, line, func() string { return c.doXClient(arg) })
	case "XFORWARD":
		return c.step(StageXForward, line, func() string { return c.doXForward(arg) })
	}
	c.s.violation(c, "unknown command %q", line)
	return c.answer("500 5.5.2 Unknown command")
}

func (c *session) doHello(verb, arg string) string {
	if c.s.offers.Load().HeloOnly && verb == "EHLO" {
		return "502 5.5.1 Unknown command"
	}
	if arg == "" {
		c.s.violation(c, "%s without a name", verb)
	}
	c.reset()
	c.greeted, c.extended = true, verb == "EHLO"
	c.env.Helo = arg
	c.offers = c.s.offers.Load()
	if !c.extended {
		c.offers = &Offers{}
		return "250 " + c.s.o.Hostname
	}
	o := c.offers
	lines := []string{"250 " + c.s.o.Hostname}
	add := func(on bool, line string) {
		if on {
			lines = append(lines, line)
		}
	}
	add(o.Pipelining, "PIPELINING")
	add(!o.NoSize && o.Size == 0, "SIZE")
	add(!o.NoSize && o.Size > 0, fmt.Sprintf("SIZE %d", o.Size))
	add(o.StartTLS && !c.env.TLS, "STARTTLS")
	add(true, "ENHANCEDSTATUSCODES")
	add(o.RequireTLS && c.env.TLS, "REQUIRETLS")
	add(o.EightBitMIME, "8BITMIME")
	add(o.DSN, "DSN")
	add(o.SMTPUTF8, "SMTPUTF8")
	add(o.Chunking, "CHUNKING")
	add(len(o.Auth) > 0, "AUTH "+strings.Join(o.Auth, " "))
	add(len(o.XClient) > 0 && !(o.XClientOnce && c.env.XClient != nil), "XCLIENT "+strings.Join(o.XClient, " "))
	add(len(o.XForward) > 0, "XFORWARD "+strings.Join(o.XForward, " "))
	return strings.Join(lines, "\n")
}

// reset ends the transaction.
func (c *session) reset() {
	c.mail, c.inBdat, c.bdatBad, c.bdatSize = false, false, false, 0
	c.bdat = nil
	c.env.From, c.env.MailParams, c.env.Rcpts, c.env.RcptParams, c.env.Bdat, c.env.XForward = "", nil, nil, nil, false, nil
}

func (c *session) doStartTLS(line string) error {
	if c.env.TLS || c.offers == nil || !c.offers.StartTLS {
		c.s.violation(c, "STARTTLS wasn't offered")
		return c.answer("503 5.5.1 Not offered")
	}
	accepted := false
	if err := c.step(StageStartTLS, line, func() string { accepted = true; return "220 2.0.0 Go ahead" }); err != nil || !accepted {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	if r := c.s.faults.Load().find(StageTLS, line); r != nil {
		time.Sleep(r.Delay)
		if r.Raw != "" {
			if _, err := io.WriteString(c.nc, r.Raw); err != nil {
				return err
			}
		}
		if r.Hang {
			_, err := io.Copy(io.Discard, c.nc)
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		if r.Drop != NoDrop || r.Raw != "" {
			return c.cut(r)
		}
	}
	cfg, err := c.s.tlsConfig()
	if err != nil {
		return err
	}
	t := tls.Server(c.raw, cfg)
	if err := c.raw.SetDeadline(time.Now().Add(idleTimeout)); err != nil {
		return err
	}
	if err := t.Handshake(); err != nil {
		return err
	}
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.nc, c.r, c.w = t, 0, 0
	c.reset()
	c.env.TLS, c.greeted, c.offers, c.env.Helo = true, false, nil, ""
	return nil
}

func (c *session) doXClient(arg string) string {
	if c.offers == nil || len(c.offers.XClient) == 0 || c.offers.XClientOnce && c.env.XClient != nil {
		c.s.violation(c, "XCLIENT wasn't offered")
		return "550 5.7.0 Not offered"
	}
	if c.mail {
		c.s.violation(c, "XCLIENT inside a transaction")
		return "503 5.5.1 Transaction in progress"
	}
	c.env.XClient = c.attributes("XCLIENT", arg, c.offers.XClient)
	c.greeted, c.offers = false, nil
	return c.banner()
}

func (c *session) doXForward(arg string) string {
	if c.offers == nil || len(c.offers.XForward) == 0 {
		c.s.violation(c, "XFORWARD wasn't offered")
		return "550 5.7.0 Not offered"
	}
	if c.mail {
		c.s.violation(c, "XFORWARD inside a transaction")
		return "503 5.5.1 Transaction in progress"
	}
	c.env.XForward = c.attributes("XFORWARD", arg, c.offers.XForward)
	return "250 2.0.0 Ok"
}

func (c *session) attributes(verb, arg string, offered []string) map[string]string {
	m := map[string]string{}
	for _, a := range strings.Fields(arg) {
		name, value, ok := strings.Cut(a, "=")
		if !ok || !slices.Contains(offered, strings.ToUpper(name)) {
			c.s.violation(c, "%s attribute %q wasn't offered", verb, a)
		}
		m[strings.ToUpper(name)] = value
	}
	return m
}

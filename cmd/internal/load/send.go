package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SendOptions say what is sent and how.
type SendOptions struct {
	Addr     string        // host:port
	Run      string        // tells this load's messages from others'
	First    int           // number of the first message
	Messages int           // how many
	Size     int           // octets of each
	Sessions int           // connections at once
	Reuse    bool          // many messages a connection; otherwise each has its own
	Retry    time.Duration // wait before a message that had no 2xx or 5xx is tried again, as an MTA does; 0: never tried again
	From, To string        // default load@sender.test, user@example.test
	Made     [][]byte      // the messages, made beforehand by Make; nil: made while sending
	// Sign, if set, returns the octets to put before a message that Make makes, e.g. a signature.
	Sign func(message []byte) []byte
	// Client, if set, names an IPv4 address for each connection, told by the PROXY protocol as a load balancer would.
	Client  func() netip.Addr
	Timeout time.Duration // for each reply; default 5 min
	// Record, if set, is told of every attempt; it may be called by many sessions at once.
	Record func(Attempt)
}

// Balancer is the address that Send connects from where SendOptions.Client is set.
const Balancer = "127.0.0.9"

// Attempt is one try to send a message.
type Attempt struct {
	Number int
	Code   int    // of the last reply; 0: the connection was lost or never made
	Reply  string // the last reply, or the error
	Dot    bool   // the whole message had gone out
	Took   time.Duration
}

// Sent sums up what happened.
type Sent struct {
	Accepted, Refused, Unanswered, Deferred, Unreached int64 // attempts: 2xx; 5xx; cut off after the dot; 4xx; cut off before the dot
	Elapsed                                            time.Duration
	Slowest                                            time.Duration // from MAIL to the last reply
	GaveUp                                             int64         // messages never answered 2xx or 5xx
}

// Rate is the accepted messages a second.
func (s Sent) Rate() float64 { return float64(s.Accepted) / s.Elapsed.Seconds() }

// String is one line for people.
func (s Sent) String() string {
	return fmt.Sprintf("accepted %d in %.2f s (%.0f/s), refused %d, deferred %d, unanswered %d, unreached %d, slowest %.0f ms",
		s.Accepted, s.Elapsed.Seconds(), s.Rate(), s.Refused, s.Deferred, s.Unanswered, s.Unreached, float64(s.Slowest.Milliseconds()))
}

// Make makes the messages that Send would make while sending.
func (o SendOptions) Make() [][]byte {
	m := make([][]byte, o.Messages)
	for i := range m {
		made := Message(o.Run, o.First+i, o.Size)
		if o.Sign != nil {
			made = append(o.Sign(made), made...)
		}
		m[i] = stuff(made)
	}
	return m
}

// stuff is the message as DATA carries it (RFC 5321 4.5.2), with the final dot.
func stuff(m []byte) []byte {
	m = bytes.ReplaceAll(m, []byte("\r\n."), []byte("\r\n.."))
	return append(m, ".\r\n"...)
}

type sender struct {
	o       SendOptions
	queue   chan int
	left    atomic.Int64
	sent    Sent
	slowest atomic.Int64
}

// Send sends the messages and returns when each has had a final reply, has failed without Retry, or ctx has ended.
func Send(ctx context.Context, o SendOptions) Sent {
	if o.From == "" {
		o.From = "load@sender.test"
	}
	if o.To == "" {
		o.To = "user@example.test"
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	s := &sender{o: o, queue: make(chan int, o.Messages)}
	for i := range o.Messages {
		s.queue <- i
	}
	s.left.Store(int64(o.Messages))
	if o.Messages == 0 {
		close(s.queue)
	}
	start := time.Now()
	var wg sync.WaitGroup
	for range o.Sessions {
		wg.Go(func() { s.session(ctx) })
	}
	wg.Wait()
	s.sent.Elapsed = time.Since(start)
	s.sent.Slowest = time.Duration(s.slowest.Load())
	s.sent.GaveUp += s.left.Load()
	return s.sent
}

func (s *sender) session(ctx context.Context) {
	var c *conn
	defer func() { c.close() }()
	for {
		var i int
		var open bool
		select {
		case i, open = <-s.queue:
			if !open {
				return
			}
		case <-ctx.Done():
			return
		}
		var a Attempt
		c, a = s.attempt(ctx, c, i)
		s.count(a, i)
		if s.o.Record != nil {
			s.o.Record(a)
		}
	}
}

func (s *sender) count(a Attempt, i int) {
	again := false
	switch {
	case a.Code >= 200 && a.Code < 300:
		atomic.AddInt64(&s.sent.Accepted, 1)
	case a.Code >= 500:
		atomic.AddInt64(&s.sent.Refused, 1)
	case a.Code != 0:
		atomic.AddInt64(&s.sent.Deferred, 1)
		again = true
	case a.Dot:
		atomic.AddInt64(&s.sent.Unanswered, 1)
		again = true
	default:
		atomic.AddInt64(&s.sent.Unreached, 1)
		again = true
	}
	if again && s.o.Retry > 0 {
		// left stays above zero until this message ends, so the queue is open.
		time.AfterFunc(s.o.Retry, func() { s.queue <- i })
		return
	}
	if again {
		atomic.AddInt64(&s.sent.GaveUp, 1)
	}
	if s.left.Add(-1) == 0 {
		close(s.queue)
	}
}

// attempt sends message i on c, or on a new connection, and returns the connection if it can be used again.
func (s *sender) attempt(ctx context.Context, c *conn, i int) (*conn, Attempt) {
	a := Attempt{Number: s.o.First + i}
	lost := func(err error) (*conn, Attempt) {
		c.close()
		if a.Code == 0 {
			a.Reply = err.Error()
		}
		return nil, a
	}
	var err error
	start := time.Now()
	if c == nil {
		if c, err = s.dial(ctx); err != nil {
			var refused replyError
			if errors.As(err, &refused) {
				a.Code, a.Reply = refused.code, refused.text
			}
			return lost(err)
		}
	}
	m := s.o.Made
	var message []byte
	if m != nil {
		message = m[i]
	} else {
		message = stuff(Message(s.o.Run, s.o.First+i, s.o.Size))
	}
	a.Code, a.Reply, a.Dot, err = c.transaction(s.o.From, s.o.To, message)
	if err != nil {
		return lost(err)
	}
	a.Took = time.Since(start)
	took := int64(a.Took)
	for old := s.slowest.Load(); took > old && !s.slowest.CompareAndSwap(old, took); old = s.slowest.Load() {
	}
	if a.Code == 421 || !s.o.Reuse {
		c.quit()
		return nil, a
	}
	if a.Code >= 400 && !a.Dot {
		if _, _, err := c.command("RSET\r\n"); err != nil {
			c.close()
			return nil, a
		}
	}
	return c, a
}

// conn is an SMTP connection that pipelines MAIL, RCPT and DATA where that is offered, as MTAs do.
type conn struct {
	nc         net.Conn
	r          *bufio.Reader
	timeout    time.Duration
	pipelining bool
}

type replyError struct {
	code int
	text string
}

func (e replyError) Error() string { return e.text }

func (s *sender) dial(ctx context.Context) (*conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if s.o.Client != nil {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(Balancer)}
	}
	nc, err := d.DialContext(ctx, "tcp", s.o.Addr)
	if err != nil {
		return nil, err
	}
	c := &conn{nc: nc, r: bufio.NewReaderSize(nc, 4096), timeout: s.o.Timeout}
	if s.o.Client != nil {
		err = c.write("PROXY TCP4 " + s.o.Client().String() + " 192.0.2.25 40000 25\r\n")
	}
	var code int
	var text string
	if err == nil {
		code, text, err = c.read()
	}
	if err == nil && code == 220 {
		code, text, err = c.command("EHLO load.sender.test\r\n")
	}
	if err == nil && code >= 300 {
		err = replyError{code, text}
	}
	if err != nil {
		c.close()
		return nil, err
	}
	c.pipelining = strings.Contains(text, "PIPELINING")
	return c, nil
}

func (c *conn) close() {
	if c != nil {
		c.nc.Close()
	}
}

func (c *conn) quit() {
	_, _, _ = c.command("QUIT\r\n") // a server that is gone already has nothing to say
	c.close()
}

func (c *conn) command(line string) (int, string, error) {
	if err := c.write(line); err != nil {
		return 0, "", err
	}
	return c.read()
}

func (c *conn) write(s string) error {
	if err := c.nc.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := io.WriteString(c.nc, s)
	return err
}

// read reads one reply; the lines are joined by a space.
func (c *conn) read() (int, string, error) {
	var text strings.Builder
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, "", err
		}
		if len(line) < 5 {
			return 0, "", fmt.Errorf("not an SMTP reply: %q", line)
		}
		text.Write(bytes.TrimRight(line, "\r\n"))
		if line[3] != '-' {
			return int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0'), text.String(), nil
		}
		text.WriteByte(' ')
	}
}

// transaction returns the reply that decided: the first that isn't positive, or that to the dot.
func (c *conn) transaction(from, to string, message []byte) (code int, text string, dot bool, err error) {
	commands := []string{"MAIL FROM:<" + from + ">\r\n", "RCPT TO:<" + to + ">\r\n", "DATA\r\n"}
	if c.pipelining {
		if err := c.write(strings.Join(commands, "")); err != nil {
			return 0, "", false, err
		}
	}
	failed := 0
	for _, cmd := range commands {
		if !c.pipelining {
			if failed != 0 {
				break
			}
			if err := c.write(cmd); err != nil {
				return 0, "", false, err
			}
		}
		got, t, err := c.read()
		if err != nil {
			return 0, "", false, err
		}
		if got >= 400 && failed == 0 {
			failed, text = got, t
		}
		code = got
	}
	if failed != 0 {
		if code == 354 { // DATA was taken though nobody is to have the message
			_, _, err = c.command(".\r\n")
		}
		return failed, text, false, err
	}
	if err := c.nc.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, "", false, err
	}
	n, err := c.nc.Write(message)
	dot = n == len(message)
	if err != nil {
		return 0, "", dot, err
	}
	code, text, err = c.read()
	return code, text, true, err
}

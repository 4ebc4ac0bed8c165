package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/relay/reply"
	"restante/relay/tlscert"
	"restante/spool"
)

// A dialogue is a file of testdata/dialogues, one case each. Its lines:
//
//	# what the case shows
//	% limits Errors=3 Recipients=2     settings: limits, offers (by field name), tls, postmaster <domain>
//	> EHLO c.example                   the client says this, with CRLF; lines that follow each other go in one write
//	> "raw\r"                          a line in quotes is a Go string and goes without CRLF
//	< 250-*                            the server answers this line; * matches anything
//	tls                                the client begins TLS
//	cut                                the client hangs up
//	closed                             the server must have hung up
//	h rcpt <b@example.test>*           the Handler was called with this; the calls named must come in this order
//
// Every message that the Handler got has to be named by an "h data" line, and every transaction must
// have been reset once when the case ends.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d dialogues, error %v", len(files), err)
	}
	certs, err := tlscert.New(tlscert.Options{Dir: t.TempDir(), Hostname: "mx2.example.test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			(&dialogue{t: t, handler: &scripted{}, certs: certs}).run(string(text))
		})
	}
}

type dialogue struct {
	t       *testing.T
	handler *scripted
	certs   *tlscert.Source
	options Options
	server  *Server
	conn    net.Conn
	read    *bufio.Reader
	said    []string // client lines not yet sent
	calls   int      // of the handler's that were matched
	number  int
}

func (d *dialogue) run(text string) {
	d.options = Options{Hostname: "mx2.example.test", Handler: d.handler, Offers: Offers{SMTPUTF8: true, DSN: true}, TempDir: d.t.TempDir()}
	for i, line := range strings.Split(text, "\n") {
		d.number = i + 1
		kind, rest, _ := strings.Cut(line, " ")
		if kind != ">" {
			d.send()
		}
		switch kind {
		case "", "#":
		case "%":
			d.setting(rest)
		case ">":
			d.said = append(d.said, rest)
		case "<":
			d.expect(rest)
		case "tls":
			d.tls()
		case "cut":
			d.hangUp()
		case "closed":
			d.closed()
		case "h":
			d.called(rest)
		default:
			d.fatalf("what is %q?", line)
		}
	}
	d.send()
	d.end()
}

func (d *dialogue) fatalf(format string, args ...any) {
	d.t.Helper()
	d.t.Fatalf("line %d: %s\nhandler: %s", d.number, fmt.Sprintf(format, args...), strings.Join(d.handler.calls(), "\n         "))
}

// setting changes an option; it has to come before the first line of the client.
func (d *dialogue) setting(s string) {
	words := strings.Fields(s)
	var of reflect.Value
	switch words[0] {
	case "tls":
		d.options.Certificates = d.certs
		return
	case "postmaster":
		d.options.PostmasterDomain = words[1]
		return
	case "limits":
		of = reflect.ValueOf(&d.options.Limits).Elem()
	case "offers":
		of = reflect.ValueOf(&d.options.Offers).Elem()
	default:
		d.fatalf("no setting %q", words[0])
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		f := of.FieldByName(name)
		if f.Kind() == reflect.Bool {
			f.SetBool(value == "true")
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			d.fatalf("%v", err)
		}
		f.SetInt(n)
	}
}

// start starts the server and connects.
func (d *dialogue) start() {
	if d.server != nil {
		return
	}
	var err error
	if d.server, err = New(d.options); err != nil {
		d.fatalf("%v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.fatalf("%v", err)
	}
	go func() {
		if err := d.server.Serve(l); err != nil {
			d.t.Error(err)
		}
	}()
	if d.conn, err = net.Dial("tcp", l.Addr().String()); err != nil {
		d.fatalf("%v", err)
	}
	d.use(d.conn)
}

func (d *dialogue) use(nc net.Conn) {
	d.conn, d.read = nc, bufio.NewReader(nc)
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		d.fatalf("%v", err)
	}
}

func (d *dialogue) send() {
	if len(d.said) == 0 {
		return
	}
	d.start()
	var b strings.Builder
	for _, s := range d.said {
		if strings.HasPrefix(s, `"`) {
			raw, err := strconv.Unquote(s)
			if err != nil {
				d.fatalf("%v: %s", err, s)
			}
			b.WriteString(raw)
		} else {
			b.WriteString(s + "\r\n")
		}
	}
	d.said = nil
	if _, err := io.WriteString(d.conn, b.String()); err != nil {
		d.fatalf("%v", err)
	}
}

func (d *dialogue) expect(pattern string) {
	d.start()
	line, err := d.read.ReadString('\n')
	if err != nil {
		d.fatalf("want %q, got %q and %v", pattern, line, err)
	}
	if text, ok := strings.CutSuffix(line, "\r\n"); !ok || !matches(pattern, text) {
		d.fatalf("want %q, got %q", pattern, line)
	}
}

func (d *dialogue) tls() {
	tc := tls.Client(d.conn, &tls.Config{InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		d.fatalf("%v", err)
	}
	d.use(tc)
}

func (d *dialogue) hangUp() {
	d.conn.Close()
}

func (d *dialogue) closed() {
	d.start()
	line, err := d.read.ReadString('\n')
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		d.fatalf("should be closed, got %q and %v", line, err)
	}
}

func (d *dialogue) called(pattern string) {
	d.start()
	deadline := time.Now().Add(5 * time.Second)
	for {
		calls := d.handler.calls()
		for i := d.calls; i < len(calls); i++ {
			if matches(pattern, calls[i]) {
				d.calls = i + 1
				return
			}
			if strings.HasPrefix(calls[i], "data ") {
				d.fatalf("want %q, got %q", pattern, calls[i])
			}
		}
		if time.Now().After(deadline) {
			d.fatalf("not called: %q", pattern)
		}
		d.handler.wait(len(calls), deadline)
	}
}

func (d *dialogue) end() {
	d.start()
	d.conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		d.fatalf("shutdown: %v", err)
	}
	calls := d.handler.calls()
	for _, c := range calls[d.calls:] {
		if strings.HasPrefix(c, "data ") {
			d.fatalf("a message that the dialogue doesn't name: %s", c)
		}
	}
	begun, reset := 0, 0
	for _, c := range calls {
		if strings.HasPrefix(c, "begin ") {
			begun++
		} else if c == "reset" {
			reset++
		}
	}
	if begun != reset {
		d.fatalf("%d transactions begun, %d reset", begun, reset)
	}
	if n := d.server.Sessions(); n != 0 {
		d.fatalf("%d sessions left", n)
	}
}

// matches reports whether s fits the pattern, where * matches anything.
func matches(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return s == pattern
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// scripted is a Handler that does what the addresses say and writes down how it was called.
type scripted struct {
	mu  sync.Mutex
	log []string
}

func (h *scripted) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (h *scripted) calls() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.log...)
}

// wait waits for a call after the first n.
func (h *scripted) wait(n int, deadline time.Time) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(h.calls()) == n && time.Now().Before(deadline) {
		<-tick.C
	}
}

// verdicts are replies by local part: at MAIL, at RCPT and after the message.
var verdicts = map[string]reply.Reply{
	"down@mail":   reply.New(451, reply.Enhanced{4, 3, 0}, "Store is away"),
	"many@mail":   reply.New(550, reply.Enhanced{5, 7, 1}, "First line\nsecond line\nthird line"),
	"hello@mail":  reply.New(250, reply.Enhanced{2, 1, 0}, "Nice to see you"),
	"nouser@rcpt": reply.New(550, reply.Enhanced{5, 1, 1}, "No such user"),
	"later@rcpt":  reply.New(450, reply.Enhanced{4, 2, 1}, "Come back later"),
	"plain@rcpt":  {Code: 550, Text: "Primary without enhanced codes\r\nsaid this in Ünicode"},
	"odd@rcpt":    {Code: 354, Text: "Nonsense"},
	"bye@rcpt":    reply.New(421, reply.Enhanced{4, 3, 2}, "Primary is gone"),
	"ok@rcpt":     reply.New(251, reply.Enhanced{2, 1, 5}, "Will forward\nto somebody"),
	"full@data":   reply.New(452, reply.Enhanced{4, 3, 1}, "Disk is full"),
	"refuse@data": reply.New(554, reply.Enhanced{5, 7, 1}, "Not this one\nnor the next"),
	"drop@data":   {},
}

func (h *scripted) Begin(_ context.Context, c *Client, m Mail) (Transaction, reply.Reply) {
	h.note("begin <%s> raw=<%s> size=%d %+v helo=%s proto=%s tls=%s", m.From, m.Raw, m.Size, m.Params, c.Helo, c.Protocol, c.TLS)
	r := verdicts[m.From.Local+"@mail"]
	if r.Code >= 400 {
		h.note("reset") // there is none to come
	}
	return &scene{h: h, reply: reply.New(250, reply.Enhanced{2, 0, 0}, "Kept")}, r
}

type scene struct {
	h     *scripted
	reply reply.Reply
	panic bool
}

func (s *scene) Rcpt(_ context.Context, r Rcpt) reply.Reply {
	s.h.note("rcpt <%s> raw=<%s> notify=%s orcpt=%s", r.Addr, r.Raw, r.Notify, r.ORcpt)
	if r.Addr.Domain != "example.test" && r.Addr.Domain != "xn--mnchen-3ya.example" {
		return reply.New(550, reply.Enhanced{5, 7, 1}, "Relaying denied").With(ErrForeign)
	}
	if v, ok := verdicts[r.Addr.Local+"@data"]; ok {
		s.reply = v
	}
	s.panic = r.Addr.Local == "panic"
	return verdicts[strings.TrimRight(r.Addr.Local, "0123456789")+"@rcpt"]
}

func (s *scene) Expect() { s.h.note("expect") }

func (s *scene) Data(_ context.Context, id string, body *spool.Body) reply.Reply {
	b, err := io.ReadAll(body.Reader())
	if err != nil {
		return reply.New(451, reply.Enhanced{}, "%v", err)
	}
	if len(b) > 200 {
		s.h.note("data %q... of %d", b[:20], len(b))
	} else {
		s.h.note("data %q", b)
	}
	if s.panic {
		panic("as asked for")
	}
	return s.reply
}

func (s *scene) Reset() { s.h.note("reset") }

package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	smtp "github.com/emersion/go-smtp"

	"restante/relay/reply"
)

// wire is one connection. go-smtp takes it for its net.Conn, but gets to see one command at a time, checked and in one
// spelling, never the octets of a message, and each of its replies passes here before it goes out. TLS is beneath, so
// that all this holds within it too. Everything but drain and kill runs in the goroutine of the engine in charge.
type wire struct {
	srv    *Server
	ctx    context.Context
	cancel context.CancelFunc
	log    *slog.Logger
	limits Limits
	offers Offers // as the last EHLO said
	id     string
	remote netip.AddrPort
	local  netip.AddrPort
	name   chan string // the client's verified name, once
	raw    net.Conn
	nc     net.Conn // raw, or TLS over it
	tls    string   // as spool.Client.TLS

	engine  *face
	session *session

	buf  *[]byte // from a pool; buf[r:n] was read and not yet taken
	r, n int
	feed []byte // what go-smtp is to read first
	out  []byte // replies that aren't sent yet

	cmd      command
	helo     string
	esmtp    bool
	from     []byte        // go-smtp's reply under way
	instead  reply.Reply   // goes out instead of go-smtp's next reply
	mute     bool          // go-smtp's next reply goes nowhere
	held     []byte        // a command that was read within a message that it ends
	chunk    int64         // octets of a BDAT chunk still to come
	final    bool          // it is the last
	within   bool          // between the first chunk and the last
	got      int64         // octets of the present message
	waited   time.Duration // for them
	begun    time.Time     // when the wait for the first command began; zero once it is here
	errors   int           // refused commands
	missed   int           // recipients that aren't there, less those that are
	commands int           // since the last accepted message
	doom     reply.Reply   // is sent at the next command, and then the connection is closed
	last     bool          // close after the reply under way

	written     bool        // a line about a refusal
	unwritten   int         // refusals that the log only counts
	lastRefusal reply.Reply // of those

	verified string  // what came from name
	known    *Client // the last that client returned

	err error // sticky: nothing is read or written any more

	mu      sync.Mutex
	waiting bool      // for a command, with no message open: may be sent away
	shaking bool      // in a TLS handshake
	since   time.Time // when either began
	worth   worth     // what it has come to
	leaving error     // why it is being sent away: errLeave, errCrowd
	closed  bool
	going   bool // sent away to make room; of srv.mu
}

// errGone makes go-smtp close without a word.
var errGone = fmt.Errorf("smtpd: %w", net.ErrClosed)

// Sizes of the buffers that are read into: idle sessions hold a small one.
const largeBuffer = 32 << 10

// newWire prepares a connection that was accepted.
func newWire(s *Server, nc net.Conn, id string) *wire {
	w := &wire{srv: s, raw: nc, nc: nc, id: id, limits: *s.limits.Load(), offers: s.offered()}
	w.remote, w.local = addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr())
	w.log = s.o.Log.With("session", id, "client", w.remote.Addr().String())
	w.ctx, w.cancel = context.WithCancel(s.ctx)
	w.buf = s.small.Get().(*[]byte)
	return w
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// face is what one engine, a go-smtp server of its own for this connection, holds of the wire. STARTTLS
// takes the wire away from it and gives it to a new one: what was said in plain text is forgotten
// (RFC 3207 4.2) because nothing is left that could remember it.
type face struct {
	w       *wire
	srv     *smtp.Server
	greeted bool
}

// greet says hello and waits for an answer before an engine is set to work: who says nothing, as most of a flood does, costs
// 7 KB instead of 18.
func (w *wire) greet() {
	w.out = append(w.out, strings.TrimRight("220 "+w.srv.o.Hostname+" ESMTP Restante "+w.srv.o.Self, " ")+"\r\n"...)
	w.flush()
	if w.err == nil {
		w.begun = time.Now()
		if err := w.fill(w.begun.Add(w.idle()), true); err != nil {
			w.err = w.lost(err)
		}
	}
	if w.err != nil {
		w.close()
		return
	}
	w.start()
}

// start sets a new engine to work. It returns at once.
func (w *wire) start() {
	f := &face{w: w}
	f.srv = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		w.session = &session{w: w}
		return w.session, nil
	}))
	f.srv.ErrorLog = engineLog{w.log}
	f.srv.Domain = w.srv.o.Hostname
	f.srv.MaxLineLength = 0 // the limits are ours
	f.srv.MaxRecipients = w.limits.Recipients
	f.srv.EnableREQUIRETLS = false
	w.engine = f
	w.fit()
	// Serve takes the one connection, starts its goroutine, and ends at the second Accept.
	if err := f.srv.Serve(&once{nc: f}); !errors.Is(err, errOnce) {
		w.log.Error("smtp engine ended", "error", err)
	}
}

// fit tells the engine what is offered. It is called in its own goroutine or before that runs.
func (w *wire) fit() {
	w.offers = w.srv.offered()
	w.engine.srv.MaxMessageBytes = w.offers.Size
	w.engine.srv.EnableSMTPUTF8 = w.offers.SMTPUTF8
	w.engine.srv.EnableDSN = w.offers.DSN
	w.engine.srv.EnableREQUIRETLS = w.offers.RequireTLS && w.tls != ""
}

// once is a listener with one connection.
type once struct{ nc net.Conn }

var errOnce = errors.New("smtpd: one connection only")

func (o *once) Accept() (net.Conn, error) {
	if o.nc == nil {
		return nil, errOnce
	}
	nc := o.nc
	o.nc = nil
	return nc, nil
}
func (o *once) Close() error   { return nil }
func (o *once) Addr() net.Addr { return nil }

// engineLog carries what go-smtp reports, panics of handlers among it, to the log.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Printf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
func (l engineLog) Println(v ...any)               { l.log.Error(fmt.Sprint(v...)) }

// Read gives go-smtp a command, or the end of a message that we read ourselves.
func (f *face) Read(p []byte) (n int, err error) {
	w := f.w
	if w.engine != f {
		return 0, io.EOF
	}
	defer func() { // go-smtp guards commands against panics, but not this
		if v := recover(); v != nil {
			w.log.Error("panic in session", "panic", v, "stack", string(debug.Stack()))
			w.err = errGone
			n, err = 0, errGone
		}
	}()
	if len(w.feed) > 0 {
		n = copy(p, w.feed)
		w.feed = w.feed[n:]
		return n, nil
	}
	if w.err != nil {
		return 0, w.err
	}
	if err := w.next(); err != nil {
		return 0, err
	}
	n = copy(p, w.feed)
	w.feed = w.feed[n:]
	return n, nil
}

// Write takes go-smtp's reply.
func (f *face) Write(p []byte) (int, error) {
	if f.w.engine == f {
		f.w.take(p)
	}
	return len(p), nil
}

// Close ends the connection, unless STARTTLS took it away.
func (f *face) Close() error {
	if f.w.engine == f {
		f.w.close()
	}
	return nil
}

func (f *face) LocalAddr() net.Addr              { return f.w.raw.LocalAddr() }
func (f *face) RemoteAddr() net.Addr             { return f.w.raw.RemoteAddr() }
func (f *face) SetDeadline(time.Time) error      { return nil } // deadlines are the wire's
func (f *face) SetReadDeadline(time.Time) error  { return nil }
func (f *face) SetWriteDeadline(time.Time) error { return nil }

// fill reads more into the buffer, which has room, until the deadline.
func (w *wire) fill(deadline time.Time, waiting bool) error {
	if w.r == w.n {
		w.r, w.n = 0, 0
	}
	if err := w.arm(deadline, waiting); err != nil {
		return err
	}
	n, err := w.nc.Read((*w.buf)[w.n:])
	w.n += n
	if n > 0 {
		err = nil
	}
	return w.disarm(err)
}

// arm sets the deadline of a read. It fails when the server stops and the session may be sent away.
func (w *wire) arm(deadline time.Time, waiting bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leaving != nil && waiting {
		return w.leaving
	}
	w.waiting, w.since = waiting, time.Now()
	return w.raw.SetReadDeadline(deadline)
}

// disarm says what the error of a read means.
func (w *wire) disarm(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.waiting
	w.waiting = false
	if w.leaving != nil && waiting && errors.Is(err, os.ErrDeadlineExceeded) {
		return w.leaving
	}
	return err
}

// Reasons to send a peer away.
var (
	errLeave = errors.New("smtpd: stopping")
	errCrowd = errors.New("smtpd: its place is needed")
)

// lost ends the session after a failed read, with a word to the peer where that makes sense.
func (w *wire) lost(err error) error {
	switch {
	case errors.Is(err, errLeave):
		w.bye(reply.New(421, reply.Enhanced{4, 3, 2}, "%s is being restarted, come back in a moment", w.srv.o.Hostname))
	case errors.Is(err, errCrowd):
		w.limits.Write = time.Second // the place has been given to somebody else
		full := w.limited(idleEnded, "crowd")
		r := w.refuse(421, reply.Enhanced{4, 3, 2}, "%s has too many connections and you were idle, come back later", w.srv.o.Hostname)
		if full {
			w.logRefusal(idleEnded, r)
		}
		w.bye(r)
	case errors.Is(err, errSlow):
		w.srv.o.Metrics.limited("rate")
		w.bye(reply.New(421, reply.Enhanced{4, 4, 2}, "%s: the message comes too slowly", w.srv.o.Hostname))
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.srv.o.Metrics.limited("idle")
		w.bye(reply.New(421, reply.Enhanced{4, 4, 2}, "%s waited too long for you", w.srv.o.Hostname))
	default:
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			w.log.Debug("connection lost", "error", err)
		}
		w.err = errGone
	}
	return w.err
}

// bye sends a last reply and makes the wire deaf and dumb.
func (w *wire) bye(r reply.Reply) {
	if w.err != nil {
		return
	}
	w.out = r.Append(w.out)
	w.flush()
	w.err = errGone
	w.log.Debug("sent away", "reply", r.String())
}

// flush sends the replies that wait.
func (w *wire) flush() {
	if len(w.out) == 0 || w.err != nil {
		return
	}
	if err := w.raw.SetWriteDeadline(time.Now().Add(w.limits.Write)); err != nil {
		w.err = errGone
		return
	}
	if _, err := w.nc.Write(w.out); err != nil {
		w.err = errGone
		w.log.Debug("connection lost", "error", err)
	}
	if w.out = w.out[:0]; cap(w.out) > 4<<10 {
		w.out = nil
	}
}

// enlarge swaps the small buffer for a large one, which messages are read into.
func (w *wire) enlarge() {
	if len(*w.buf) == largeBuffer {
		return
	}
	large := w.srv.large.Get().(*[]byte)
	w.n = copy(*large, (*w.buf)[w.r:w.n])
	w.r = 0
	w.srv.recycle(w.buf)
	w.buf = large
}

// shrink gives the large buffer back, if it is empty.
func (w *wire) shrink() {
	if len(*w.buf) == largeBuffer && w.r == w.n {
		w.srv.recycle(w.buf)
		w.buf = w.srv.small.Get().(*[]byte)
		w.r, w.n = 0, 0
	}
}

// handshake turns the connection into one within TLS and hands it to a new engine.
func (w *wire) handshake() error {
	w.out = reply.New(220, reply.Enhanced{2, 0, 0}, "Ready to start TLS").Append(w.out)
	w.flush()
	if w.err != nil {
		return w.err
	}
	if w.session != nil {
		w.session.end()
		w.session = nil
	}
	if err := w.raw.SetDeadline(time.Now().Add(min(w.idle(), time.Minute))); err != nil {
		return w.lost(err)
	}
	tc := tls.Server(w.raw, w.srv.tls)
	w.shake(true)
	err := tc.HandshakeContext(w.ctx)
	w.shake(false)
	if err != nil {
		w.srv.o.Metrics.tls("failed")
		if _, full := w.srv.refusals.note(tlsFailed, "tls", w.remote.Addr(), w.id, linesInFull); full {
			w.log.Info(tlsFailed, "error", err)
		}
		w.err = errGone // never back to plain text
		return w.err
	}
	if err := w.raw.SetDeadline(time.Time{}); err != nil {
		return w.lost(err)
	}
	w.srv.o.Metrics.tls("ok")
	state := tc.ConnectionState()
	w.nc = tc
	w.tls = strings.ReplaceAll(tls.VersionName(state.Version), "TLS ", "TLS") + " " + tls.CipherSuiteName(state.CipherSuite)
	w.helo, w.esmtp = "", false
	w.start()
	return io.EOF // to the old engine
}

// close sends what is left and ends the connection.
func (w *wire) close() {
	w.flush()
	w.err = errGone
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return
	}
	w.cancel()
	w.rest()
	if w.last {
		w.linger()
	}
	w.nc.Close() // an error here says nothing that matters any more
	w.srv.recycle(w.buf)
	w.srv.remove(w)
}

// linger waits a little for the peer to read our last reply: closing while it still sends would make its
// system throw the reply away.
func (w *wire) linger() {
	raw := w.raw
	if p, ok := raw.(*proxied); ok {
		raw = p.Conn
	}
	tcp, ok := raw.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil || tcp.SetReadDeadline(time.Now().Add(2*time.Second)) != nil {
		return
	}
	// What comes is of no interest, nor is how it ends.
	_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(tcp, 64<<20), (*w.buf))
}

// sendAway sends the peer away: at a stop as soon as no message is under way, in a crowd only if it is idle right now. It
// reports that the peer is on its way. It may be called by any goroutine.
func (w *wire) sendAway(why error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	idle := w.waiting || w.shaking && why == errCrowd
	if why == errCrowd && (!idle || w.leaving != nil) {
		return false
	}
	w.leaving = why
	if idle {
		// Wakes the read; if that fails the connection is gone already.
		_ = w.raw.SetReadDeadline(time.Unix(1, 0))
	}
	return true
}

// kill cuts the connection. It may be called by any goroutine.
func (w *wire) kill() {
	w.cancel()
	w.raw.Close() // makes every read and write fail; nothing else could be done about an error
}

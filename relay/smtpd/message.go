package smtpd

import (
	"bytes"
	"errors"
	"time"

	"restante/relay/reply"
)

// errSlow: the message comes more slowly than Limits.MinRate.
var errSlow = errors.New("smtpd: too slow")

// more reads octets of a message into the empty buffer, within the idle time and not more slowly than the least rate.
// Only the time spent waiting for the peer counts.
func (w *wire) more() error {
	begun := time.Now()
	err := w.fill(begun.Add(w.idle()), false)
	w.got += int64(w.n)
	if err != nil {
		return err
	}
	w.waited += time.Since(begun)
	if w.waited > w.rateGrace() && float64(w.got) < w.waited.Seconds()*float64(w.minRate()) {
		return errSlow
	}
	return nil
}

// readData reads a message up to the end of data. go-smtp's own reader, which stands beneath r in
// Session.Data, is then given the end of data alone. The buffer in between is empty: go-smtp gets
// its commands one at a time, and next refuses octets that come with DATA.
func (w *wire) readData(in *intake) error {
	w.flush()
	w.enlarge()
	w.got, w.waited = 0, 0
	for w.err == nil {
		if w.r == w.n {
			if err := w.more(); err != nil {
				return w.lost(err)
			}
		}
		n, done := in.feed((*w.buf)[w.r:w.n])
		w.r += n
		if done {
			w.feed = endOfData
			return nil
		}
		if in.excess > w.limits.MessageSize { // it will never end
			w.last = true
			w.feed = endOfData
			return nil
		}
	}
	return w.err
}

// endOfData is fed to go-smtp, and only ever read.
var endOfData = []byte(".\r\n")

// Errors that end a message that comes in chunks.
var (
	errAbandoned = errors.New("smtpd: the peer gave the message up")
	errTooLarge  = errors.New("smtpd: more octets announced than allowed")
)

// readChunks reads a message that comes by BDAT (RFC 3030). go-smtp, which was told that DATA began, knows nothing of
// it, and waits for its end of data. w.chunk and w.final are of the first chunk.
func (w *wire) readChunks(in *intake) error {
	w.within = true
	defer func() { w.within = false }()
	w.got, w.waited = 0, 0
	announced := w.chunk
	for {
		size := w.chunk
		if err := w.readChunk(in.feed); err != nil {
			return err
		}
		if w.final {
			in.finish()
			w.feed = endOfData
			return nil
		}
		w.send(reply.New(250, reply.Enhanced{2, 0, 0}, "Took %d octets", size), false)
		if err := w.between(in.limit - announced); err != nil {
			return err
		}
		announced += w.chunk
	}
}

// readChunk passes the octets of a chunk to take, no less and no more.
func (w *wire) readChunk(take func([]byte) (int, bool)) error {
	for w.chunk > 0 {
		if w.r == w.n {
			w.flush()
			w.enlarge()
			if w.err != nil {
				return w.err
			}
			if err := w.more(); err != nil {
				return w.lost(err)
			}
		}
		n := int(min(int64(w.n-w.r), w.chunk))
		take((*w.buf)[w.r : w.r+n])
		w.r += n
		w.chunk -= int64(n)
	}
	return nil
}

// skip reads a chunk that nobody wants. What it is refused with is said afterwards.
func (w *wire) skip() {
	w.got, w.waited = 0, 0
	// An error has made the wire deaf, which is all that the caller needs.
	_ = w.readChunk(func([]byte) (int, bool) { return 0, false })
}

// between carries out what comes between two chunks, up to the next BDAT, of which at most room octets are
// good.
func (w *wire) between(room int64) error {
	for {
		line, err := w.readLine()
		if err != nil {
			return err
		}
		verb, arg := w.split(line)
		w.cmd.verb = verb
		switch verb {
		case "BDAT":
			if !w.parseBdat(arg) {
				return w.err
			}
			if w.chunk > room {
				w.skip()
				w.feed = endOfData
				return errTooLarge
			}
			return w.err
		case "NOOP":
			w.reply(reply.New(250, reply.Enhanced{2, 0, 0}, "Ok"))
		case "RSET", "QUIT", "EHLO", "HELO": // go-smtp ends its DATA, silently, and is given this
			w.held = bytes.Clone(line)
			w.mute = true
			w.feed = endOfData
			return errAbandoned
		default:
			w.reply(outOfOrder)
		}
		if w.err != nil {
			return w.err
		}
	}
}

package smtpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"restante/relay/reply"
)

const (
	chunkSize   = 512 << 10 // octets of one BDAT; also what a connection holds in memory at most, twice
	chunkWindow = 8         // chunks in flight whose replies haven't been read
	blockSize   = 32 << 10  // octets read at once for DATA
	flushAbove  = 64 << 10  // octets queued before they are sent, for DATA
)

// prepare sends the message but for its end, which stays queued: the last block with the final dot, or the last
// chunk with its BDAT LAST. So the caller can still leave it at that: without the end the message doesn't exist.
// If a chunk is refused its reply is returned and nothing is queued.
func (c *Conn) prepare(src io.Reader, size int64) (refused reply.Reply, err error) {
	if c.offers.Chunking {
		return c.prepareChunks(src, size)
	}
	return reply.Reply{}, c.prepareData(src, size)
}

// source ends the conversation because the message can't be had or sent.
func (c *Conn) source(format string, args ...any) error {
	return c.fail(StageMessage, reply.Reply{}, fmt.Errorf("%w: %w", ErrSource, fmt.Errorf(format, args...)))
}

// lost ends the conversation because a block couldn't be sent; what the server said about it, if anything, is the reason.
func (c *Conn) lost() error {
	for {
		r, err := c.read(StageMessage, lastWordsTimeout)
		if err != nil {
			return err
		}
		if !r.Positive() { // not the reply to a chunk before
			return c.fail(StageMessage, r, ErrUnasked)
		}
	}
}

// prepareChunks is prepare over BDAT (RFC 3030). Each chunk is in memory before its command goes out.
func (c *Conn) prepareChunks(src io.Reader, size int64) (reply.Reply, error) {
	var sent int64
	owed := 0
	for {
		room := int64(chunkSize)
		if size >= 0 {
			room = min(room, max(0, size-sent)+1) // one more than is left shows a source that is too long
		}
		head := len(c.out)
		const headSize = len("BDAT 1234567 LAST\r\n")
		c.out = grow(c.out, headSize+int(room))
		at := head + headSize
		n, err := io.ReadFull(src, c.out[at:at+int(room)])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return reply.Reply{}, c.source("reading it: %w", err)
		}
		sent += int64(n)
		if size >= 0 && (sent > size || (last && sent < size)) {
			return reply.Reply{}, c.source("it isn't %d octets long", size)
		}
		if last && owed > 0 { // the end only after everything before it was accepted
			if r, err := c.chunkReplies(&owed, 0); err != nil || !r.IsZero() {
				return r, err
			}
		}
		c.out = appendChunk(c.out[:head], c.out[at:at+n], last)
		if last {
			return reply.Reply{}, nil
		}
		if c.flush() != nil {
			return reply.Reply{}, c.lost()
		}
		owed++
		if r, err := c.chunkReplies(&owed, chunkWindow-1); err != nil || !r.IsZero() {
			return r, err
		}
	}
}

// appendChunk appends BDAT and its octets, which lie further back in the same array.
func appendChunk(b, octets []byte, last bool) []byte {
	b = fmt.Appendf(b, "BDAT %d", len(octets))
	if last {
		b = append(b, " LAST"...)
	}
	return append(append(b, "\r\n"...), octets...)
}

// grow makes room for n octets behind b.
func grow(b []byte, n int) []byte {
	if need := len(b) + n; need > cap(b) {
		b = append(make([]byte, 0, max(need, 2*cap(b))), b...)
	}
	return b[:len(b)+n][:len(b)]
}

// chunkReplies reads replies until only leave are owed. At a refusal it reads them all, as the server answers
// each chunk that is on its way, and returns the first refusal.
func (c *Conn) chunkReplies(owed *int, leave int) (reply.Reply, error) {
	var refused reply.Reply
	for *owed > leave {
		r, err := c.answer(StageMessage)
		if err != nil {
			if refused.IsZero() {
				refused = r
			}
			return refused, err
		}
		*owed--
		if !r.Positive() && refused.IsZero() {
			refused, leave = r, 0
			c.out = c.out[:0]
		}
	}
	return refused, nil
}

// prepareData is prepare over DATA.
func (c *Conn) prepareData(src io.Reader, size int64) error {
	if c.in == nil {
		c.in = make([]byte, blockSize)
	}
	st := stuffer{bol: true}
	var sent int64
	for {
		room := len(c.in)
		if size >= 0 {
			room = int(min(int64(room), max(0, size-sent)+1))
		}
		n, err := io.ReadFull(src, c.in[:room])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return c.source("reading it: %w", err)
		}
		sent += int64(n)
		if size >= 0 && (sent > size || (last && sent < size)) {
			return c.source("it isn't %d octets long", size)
		}
		ok := false
		if c.out, ok = st.append(c.out, c.in[:n]); !ok {
			return c.source("a CR or LF stands alone near octet %d", sent-int64(n))
		}
		if last {
			if c.out, ok = st.end(c.out); !ok {
				return c.source("it ends in a CR that stands alone")
			}
			return nil
		}
		if len(c.out) > flushAbove {
			if c.flush() != nil {
				return c.lost()
			}
			if c.r.Buffered() > 0 {
				return c.unasked(StageMessage)
			}
		}
	}
}

// stuffer doubles the dots at the beginning of lines (RFC 5321 4.5.2) and refuses CR and LF that stand
// alone: behind DATA a receiver could take them for line ends, and find an end of data that isn't one.
type stuffer struct {
	bol bool // at the beginning of a line
	cr  bool // the last octet was CR
}

// append appends src to dst, stuffed. It reports false for a CR or LF that stands alone.
func (s *stuffer) append(dst, src []byte) ([]byte, bool) {
	if len(src) == 0 {
		return dst, true
	}
	if s.cr && src[0] != '\n' {
		return dst, false
	}
	run := 0 // src[run:i] is to be copied
	for i := 0; i < len(src); {
		if s.bol && src[i] == '.' {
			dst = append(append(dst, src[run:i]...), '.')
			run = i
		}
		line := src[i:]
		lf := bytes.IndexByte(line, '\n')
		if lf >= 0 {
			line = line[:lf]
		}
		cr := bytes.IndexByte(line, '\r')
		if cr >= 0 && cr != len(line)-1 {
			return dst, false
		}
		if lf < 0 {
			s.bol, s.cr = false, cr >= 0
			break
		}
		if cr < 0 && !(lf == 0 && s.cr) {
			return dst, false
		}
		s.bol, s.cr = true, false
		i += lf + 1
	}
	return append(dst, src[run:]...), true
}

// end appends the end of data; a message that doesn't end in CRLF gets one.
func (s *stuffer) end(dst []byte) ([]byte, bool) {
	if !s.bol {
		dst = append(dst, "\r\n"...)
	}
	return append(dst, ".\r\n"...), !s.cr
}

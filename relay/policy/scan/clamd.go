package scan

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// Clamd is how ClamAV's clamd is asked. There is none while Address is empty.
type Clamd struct {
	Filter
	Address string // "127.0.0.1:3310" or "unix:/run/clamav/clamd.ctl"
	Found   Action // with what is in the message: Refuse (also ""), Quarantine, Mark
}

// chunk is how much of a message goes to clamd at a time, in octets.
const chunk = 128 << 10

// clamd speaks clamd's protocol, clamd(8): a connection for each message.
type clamd struct {
	network, address string
	found            Action
}

func newClamd(c Clamd) (*clamd, error) {
	d := &clamd{network: "tcp", address: c.Address, found: c.Found}
	if d.found == Take {
		d.found = Refuse
	}
	if path, ok := strings.CutPrefix(c.Address, "unix:"); ok {
		d.network, d.address = "unix", path
		return d, nil
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, fmt.Errorf("%q is no address of it; write 127.0.0.1:3310 or unix:/run/clamav/clamd.ctl", c.Address)
	}
	return d, nil
}

func (*clamd) close() {}

// dial opens a connection that ends with ctx.
func (d *clamd) dial(ctx context.Context) (net.Conn, func() bool, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, nil, err
	}
	return conn, context.AfterFunc(ctx, func() { conn.Close() }), nil
}

func (d *clamd) ask(ctx context.Context, m *Message) (finding, error) {
	text, err := d.instream(ctx, m)
	if err != nil {
		return finding{}, err
	}
	// "stream: OK", "stream: Eicar-Signature FOUND", "... ERROR"
	text = strings.TrimPrefix(text, "stream: ")
	if text == "OK" {
		return finding{verdict: "clean"}, nil
	}
	if virus, ok := strings.CutSuffix(text, " FOUND"); ok {
		virus = short(virus)
		return finding{action: d.found, verdict: "found", virus: virus, reason: "found " + virus, reply: refusal("Message refused, there is a virus in it: %s", virus)}, nil
	}
	if strings.Contains(text, "size limit exceeded") {
		return finding{}, errTooBig
	}
	return finding{}, fmt.Errorf("it says %q", short(text))
}

// instream sends a message and returns clamd's answer.
func (d *clamd) instream(ctx context.Context, m *Message) (string, error) {
	conn, stop, err := d.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer stop()
	sendErr := send(conn, io.NewSectionReader(m.Body, 0, m.Size), make([]byte, 4+min(max(m.Size, 1), chunk)))
	var source *sourceError
	if errors.As(sendErr, &source) {
		return "", sendErr
	}
	// One that has heard enough answers and closes while we still send.
	text, err := line(conn)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case text == "" && sendErr != nil:
		return "", fmt.Errorf("sending: %w", sendErr)
	case err != nil:
		return "", fmt.Errorf("reading the answer: %w", err)
	}
	return text, nil
}

// sourceError: it is the message that can't be read.
type sourceError struct{ error }

// send writes the command and the message in chunks of buf: a length of four octets before each, zero after the last.
func send(w io.Writer, r io.Reader, buf []byte) error {
	if _, err := io.WriteString(w, "zINSTREAM\x00"); err != nil {
		return err
	}
	for {
		n, err := io.ReadFull(r, buf[4:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return &sourceError{err}
		}
		if n > 0 {
			binary.BigEndian.PutUint32(buf, uint32(n))
			if _, err := w.Write(buf[:4+n]); err != nil {
				return err
			}
		}
		if err != nil {
			_, err = w.Write(make([]byte, 4))
			return err
		}
	}
}

// line reads an answer, which ends in NUL.
func line(r io.Reader) (string, error) {
	raw, err := bufio.NewReader(io.LimitReader(r, maxLine)).ReadBytes(0)
	if err == nil || err == io.EOF && len(raw) > 0 {
		return string(bytes.TrimRight(raw, "\x00\r\n")), nil
	}
	return "", err
}

func (d *clamd) look(ctx context.Context) (string, error) {
	conn, stop, err := d.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer stop()
	if _, err := io.WriteString(conn, "zVERSION\x00"); err != nil {
		return "", err
	}
	text, err := line(conn)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(text, "ClamAV") {
		return "", fmt.Errorf("it answers %q: is this clamd?", short(text))
	}
	return short(text), nil
}

package learn

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

const (
	maxLine  = 8 << 10 // octets of one line of a server
	maxLines = 100     // lines of a server for one command
)

// imap is one conversation with an IMAP server, just long enough to sign in (RFC 9051).
type imap struct {
	conn net.Conn
	r    *bufio.Reader
	tag  int
}

func askIMAP(ctx context.Context, conn net.Conn, s Server, user, password string) error {
	c := &imap{conn: conn, r: bufio.NewReaderSize(conn, maxLine)}
	greeting, err := c.line()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(strings.ToUpper(greeting), "* OK") { // PREAUTH would prove nothing, BYE wants us gone
		return fmt.Errorf("unexpected greeting %.80q", greeting)
	}
	if !s.implicit() {
		if err := c.command("STARTTLS"); err != nil {
			return err
		}
		if c.r.Buffered() > 0 { // RFC 9051 6.2.1: what came before TLS doesn't count
			return errors.New("the server spoke before TLS began")
		}
		secured := tls.Client(conn, s.tls())
		if err := secured.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		c.conn, c.r = secured, bufio.NewReaderSize(secured, maxLine)
	}
	capabilities, err := c.capabilities()
	if err != nil {
		return err
	}
	if slices.Contains(capabilities, "AUTH=PLAIN") {
		err = c.authenticate(user, password)
	} else if slices.Contains(capabilities, "LOGINDISABLED") {
		return errors.New("the server offers no way to show it a password")
	} else {
		err = c.login(user, password)
	}
	if err == nil {
		_ = c.command("LOGOUT") // it has answered
	}
	return err
}

// line reads one line without its end.
func (c *imap) line() (string, error) {
	b, err := c.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errors.New("the server sends a line that is too long")
	case errors.Is(err, io.EOF):
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// begin sends a tagged command.
func (c *imap) begin(text string) (tag string, err error) {
	c.tag++
	tag = fmt.Sprintf("r%d", c.tag)
	return tag, c.send(tag + " " + text)
}

func (c *imap) send(text string) error {
	_, err := io.WriteString(c.conn, text+"\r\n")
	return err
}

// command sends a command and reads up to its answer; anything but OK is an error.
func (c *imap) command(text string) error {
	tag, err := c.begin(text)
	if err != nil {
		return err
	}
	return c.result(tag, nil)
}

// result reads up to the tagged answer, and hands what comes before to each. A tagged NO to a sign-in that
// says nothing else is errRefused.
func (c *imap) result(tag string, each func(line string) error) error {
	for range maxLines {
		line, err := c.line()
		if err != nil {
			return err
		}
		answer, ours := strings.CutPrefix(line, tag+" ")
		if !ours {
			if each != nil {
				if err := each(line); err != nil {
					return err
				}
			}
			continue
		}
		word, rest, _ := strings.Cut(answer, " ")
		switch strings.ToUpper(word) {
		case "OK":
			return nil
		case "NO":
			return refusal(rest)
		}
		return fmt.Errorf("the server answers %.120q", answer)
	}
	return errors.New("the server doesn't come to an answer")
}

// refusal reads the text of a NO. RFC 9051 7.1: some response codes say that it isn't the password.
func refusal(text string) error {
	code := ""
	if inner, ok := strings.CutPrefix(text, "["); ok {
		code, _, _ = strings.Cut(inner, "]")
		code, _, _ = strings.Cut(code, " ")
	}
	switch strings.ToUpper(code) {
	case "UNAVAILABLE", "SERVERBUG", "INUSE", "LIMIT", "PRIVACYREQUIRED", "CONTACTADMIN", "CANNOT", "OVERQUOTA":
		return fmt.Errorf("the server answers NO %.120q", text)
	}
	return errRefused
}

func (c *imap) capabilities() ([]string, error) {
	tag, err := c.begin("CAPABILITY")
	if err != nil {
		return nil, err
	}
	var all []string
	err = c.result(tag, func(line string) error {
		if rest, ok := strings.CutPrefix(strings.ToUpper(line), "* CAPABILITY "); ok {
			all = strings.Fields(rest)
		}
		return nil
	})
	if errors.Is(err, errRefused) {
		err = errors.New("the server doesn't tell its capabilities")
	}
	return all, err
}

// authenticate is RFC 9051 6.2.2 with RFC 4616; the answer waits for the server's "+", as servers without SASL-IR want it.
func (c *imap) authenticate(user, password string) error {
	tag, err := c.begin("AUTHENTICATE PLAIN")
	if err != nil {
		return err
	}
	return c.result(tag, func(line string) error {
		if !strings.HasPrefix(line, "+") {
			return nil
		}
		return c.send(plain(user, password))
	})
}

// plain is the message of RFC 4616 in base64.
func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// login is RFC 9051 6.2.3 with synchronising literals, which can hold any octets.
func (c *imap) login(user, password string) error {
	tag, err := c.begin(fmt.Sprintf("LOGIN {%d}", len(user)))
	if err != nil {
		return err
	}
	parts := []string{fmt.Sprintf("%s {%d}", user, len(password)), password}
	return c.result(tag, func(line string) error {
		if !strings.HasPrefix(line, "+") || len(parts) == 0 {
			return nil
		}
		part := parts[0]
		parts = parts[1:]
		return c.send(part)
	})
}

package e2e

import (
	"fmt"
	"net/textproto"
	"strings"
	"testing"
)

// dialogue is an SMTP session written out by hand.
type dialogue struct {
	t *testing.T
	c *textproto.Conn
}

func speak(t *testing.T, addr string) *dialogue {
	t.Helper()
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	d := &dialogue{t, c}
	d.want("220")
	d.say("EHLO client.sender.test", "250")
	return d
}

// read returns the next reply, its lines joined, or "" when the connection ended.
func (d *dialogue) read() string {
	code, text, err := d.c.ReadResponse(0)
	if err != nil && code == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s", code, text)
}

func (d *dialogue) want(prefix string) string {
	d.t.Helper()
	got := d.read()
	if !strings.HasPrefix(got, prefix) {
		d.t.Errorf("got reply %q, want %s", got, prefix)
	}
	return got
}

func (d *dialogue) raw(octets string) {
	d.t.Helper()
	if _, err := d.c.W.WriteString(octets); err != nil {
		d.t.Fatal(err)
	}
	if err := d.c.W.Flush(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dialogue) say(line, want string) string {
	d.t.Helper()
	d.raw(line + "\r\n")
	return d.want(want)
}

package app

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/config"
)

// TestPrimaryIsThisNode: a primary that leads back to the node by a way that the configuration can't show (a NAT, a
// redirected port) is known by the node's own banner; mail is kept and status says what to mend.
func TestPrimaryIsThisNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := config.Load("", config.Flags{
		Domains: []string{"example.test"}, Primary: []string{l.Addr().String()}, Recipients: []string{"@"}, Hostname: "mx2.example.test",
		DataDir: t.TempDir(), SMTPListen: []string{"127.0.0.1:0"}, HTTPListen: "off", Socket: filepath.Join(t.TempDir(), "s"),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Store.MinFree = 0
	a := startWith(t, c)
	go redirect(l, a.Addrs().SMTP[0])

	until(t, "seen", func() bool { return strings.Contains(status(t, a).Cause, "itself") })
	if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: kept\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "kept", func() bool { return status(t, a).Pending == 1 })
	d := status(t, a)
	if want := "the primary is this machine itself: set primary to the real mail server"; d.State == "up" || d.Cause != want {
		t.Errorf("%s: %q, want %q", d.State, d.Cause, want)
	}
}

// redirect passes connections on, as a NAT does.
func redirect(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.DialTimeout("tcp", to, 5*time.Second)
			if err != nil {
				return
			}
			defer out.Close()
			go func() {
				defer out.Close()
				_, _ = io.Copy(out, in) // it ends when either side does
			}()
			_, _ = io.Copy(in, out)
		}()
	}
}

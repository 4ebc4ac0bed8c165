package learn

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/secret"
	"restante/webmail/accounts"
	"restante/webmail/session"
)

const anna = "anna@example.test"

// rig is a Learner on a directory with anna in it.
type rig struct {
	*Learner
	t      *testing.T
	dir    *accounts.Directory
	server Server
	off    bool // nothing is learned
	up     bool
	second bool
	ledger []spool.Event
}

func newRig(t *testing.T, s Server, l Limits) *rig {
	t.Helper()
	ring, err := secret.NewKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, server: s, up: true}
	r.dir, err = accounts.Open(accounts.Options{Secrets: ring,
		Record: func(_ context.Context, evs ...spool.Event) error { r.ledger = append(r.ledger, evs...); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.dir.Add(t.Context(), "admin", anna, accounts.Edit{}); err != nil {
		t.Fatal(err)
	}
	r.Learner = New(Options{Accounts: r.dir, Limits: l, Log: slog.New(slog.DiscardHandler),
		Server: func(domain string) (Server, bool) { return r.server, domain == "example.test" && !r.off },
		Up:     func(string) bool { return r.up },
		Second: func(string) bool { return r.second }})
	return r
}

// verify wants the answer to be good, or to be ErrWrong.
func (r *rig) verify(what, password string, good bool) {
	r.t.Helper()
	err := r.Verify(r.t.Context(), anna, password)
	if good && err != nil || !good && !errors.Is(err, accounts.ErrWrong) {
		r.t.Errorf("%s: %v, want good = %v", what, err, good)
	}
}

func TestDovecotTellsRightFromWrong(t *testing.T) {
	d := startDovecot(t)
	implicit := d.server(d.imaps)
	start := implicit
	start.Port = 143 // STARTTLS, at whatever port it really listens
	ways := map[string]func(password string) error{
		"implicit TLS": func(password string) error { return ask(t.Context(), implicit, anna, password) },
		"STARTTLS": func(password string) error {
			return talk(t, d.imap, func(conn net.Conn) error { return askIMAP(t.Context(), conn, start, anna, password) })
		},
		"LOGIN": func(password string) error {
			return talk(t, d.imaps, func(conn net.Conn) error {
				c := &imap{conn: tls.Client(conn, implicit.tls())}
				c.r = bufio.NewReader(c.conn)
				if _, err := c.line(); err != nil {
					return err
				}
				return c.login(anna, password)
			})
		},
	}
	for name, way := range ways {
		if err := way("correct horse"); err != nil {
			t.Errorf("%s: %v\n%s", name, err, d.log())
		}
		for _, wrong := range []string{"correct horse ", "x\r\nr9 LOGOUT {3}" + strings.Repeat("x", 900)} { // each takes half a second
			if err := way(wrong); !errors.Is(err, errRefused) {
				t.Errorf("%s: %.20q: %v", name, wrong, err)
			}
		}
	}
	unknown := implicit
	unknown.Roots = x509.NewCertPool()
	if err := ask(t.Context(), unknown, anna, "correct horse"); err == nil || errors.Is(err, errRefused) {
		t.Errorf("unknown CA: %v", err)
	}
	other := implicit
	other.Host = "other.example.test"
	if err := ask(t.Context(), other, anna, "correct horse"); err == nil || errors.Is(err, errRefused) {
		t.Errorf("certificate of another name: %v", err)
	}
}

func talk(t *testing.T, port int, do func(net.Conn) error) error {
	t.Helper()
	conn, err := net.Dial("tcp", Server{Addr: "127.0.0.1", Port: port}.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return do(conn)
}

func TestLearnedFromDovecot(t *testing.T) {
	d := startDovecot(t)
	r := newRig(t, d.server(d.imaps), Limits{})
	r.up = false
	r.verify("before anything was learned", "correct horse", false)
	r.up = true
	r.verify("wrong", "wrong", false)
	r.verify("right", "correct horse", true)
	if !r.Has(anna) {
		t.Fatal("nothing was learned")
	}
	for _, ev := range r.ledger {
		if strings.Contains(ev.Reason+ev.Address, "horse") {
			t.Error("the ledger has the password")
		}
	}
	// The bad day.
	r.up = false
	refused := d.refused(1)
	r.verify("in the outage", "correct horse", true)
	r.verify("wrong in the outage", "wrong", false)
	// A wrong guess while the primary is up forgets nothing.
	r.up = true
	r.verify("a guess", "wrong", false)
	if !r.Has(anna) {
		t.Error("somebody else's guess made us forget")
	}
	if n := d.refused(refused + 1); n != refused+1 {
		t.Errorf("the primary refused %d times, want %d: it was asked during the outage", n, refused+1)
	}
	// The primary is there, and can't be asked.
	d.stop()
	r.verify("primary gone, not yet known", "correct horse", true)
	r.verify("wrong, primary gone", "wrong", false)
}

func TestForgottenAtItsFirstRefusal(t *testing.T) {
	d := startDovecot(t)
	r := newRig(t, d.server(d.imaps), Limits{})
	r.verify("right", "correct horse", true)
	d.changePassword(anna, "battery staple")
	r.up = false
	r.verify("half restored: not asked", "correct horse", true)
	r.up = true
	r.verify("the old one", "correct horse", false)
	if r.Has(anna) {
		t.Error("still learned")
	}
	r.up = false
	r.verify("the old one in the next outage", "correct horse", false)
	r.up = true
	r.verify("the new one", "battery staple", true)
	r.up = false
	r.verify("the new one in the next outage", "battery staple", true)
	r.second = true
	r.verify("with a second step", "battery staple", false)
	if r.Has(anna) {
		t.Error("learned, although there is a second step")
	}
	r.second, r.off = false, true
	r.verify("when learning is off", "battery staple", false)
	r.off = false
	if err := r.Verify(t.Context(), "nobody@example.test", "battery staple"); !errors.Is(err, accounts.ErrWrong) {
		t.Errorf("no account: %v", err)
	}
	if _, err := r.dir.Edit(t.Context(), "admin", anna, accounts.Edit{Disabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	r.verify("disabled", "battery staple", false)
}

func TestSecondStepIsNotLearned(t *testing.T) {
	d := startDovecot(t)
	r := newRig(t, d.server(d.imaps), Limits{})
	r.second = true
	r.verify("right", "correct horse", false)
	r.second = false
	r.verify("right", "correct horse", true)
	if n := d.accepted(); n > 1 {
		t.Errorf("the primary was asked %d times", n)
	}
}

func TestThePrimaryIsAskedSparingly(t *testing.T) {
	d := startDovecot(t)
	r := newRig(t, d.server(d.imaps), Limits{Account: session.Rate{Burst: 3, Every: time.Hour}, All: session.Rate{Burst: 5, Every: time.Hour}})
	for range 5 {
		r.verify("right", "correct horse", true) // costs nothing
	}
	for range 10 {
		r.verify("guess", "wrong", false)
	}
	if n := d.refused(3); n != 3 {
		t.Errorf("%d refusals for one account, want 3", n)
	}
	r.verify("not asked, but remembered", "correct horse", true)
	const max_ = "max@example.test"
	if _, err := r.dir.Add(t.Context(), "admin", max_, accounts.Edit{}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_ = r.Verify(t.Context(), max_, "wrong")
	}
	if n := d.refused(5); n != 5 {
		t.Errorf("%d refusals in all, want 5", n)
	}
}

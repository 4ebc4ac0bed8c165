// Package learn lets people sign in by the password of their normal mailbox, when an admin allows it. While the primary is up,
// a password is shown to its own IMAP or submission service over verified TLS; when that takes it, an argon2id
// hash of it is kept for a term, and opens the webmail while the primary can't be asked.
//
// The hash stands in the register "learned" of package accounts: secret, the hash; until, the end of the term.
//
// The primary is asked sparingly: what it refuses counts against a rate for each account and one for all, so that guessing at the
// webmail neither locks an account at the primary nor gets this node banned there. A learned password is forgotten the
// first time that the primary refuses that very password; a wrong one that somebody else types forgets nothing. During an
// outage and until it is over the primary isn't asked at all: what a half-restored one refuses says nothing.
package learn

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"restante/webmail/accounts"
	"restante/webmail/session"
)

// Protocol is what a Server speaks.
type Protocol string

// The protocols.
const (
	IMAP       Protocol = "imap"       // RFC 9051: AUTHENTICATE PLAIN, or LOGIN
	Submission Protocol = "submission" // RFC 6409: AUTH PLAIN, or LOGIN
)

// Server is whom a domain's passwords are shown to. TLS is implicit at ports 993 and 465, else by STARTTLS; its
// certificate must be good for Host.
type Server struct {
	Protocol Protocol
	Host     string
	Port     int            // 0: 993 for IMAP, 587 for submission
	Roots    *x509.CertPool // nil: the system's
	Addr     string         // dial this IP address rather than Host's; "": look it up
}

// Limits of learning.
type Limits struct {
	Term    time.Duration // a password is good for that long after the primary took it
	Ask     time.Duration // one question to the primary, from dial to answer
	Account session.Rate  // refusals of the primary for one account; past that it isn't asked
	All     session.Rate  // refusals of the primary for all accounts together
}

// DefaultLimits keep a password for 30 days, and stay under what usually bans a client: 3 refusals for one person at once, 10 for all.
func DefaultLimits() Limits {
	return Limits{Term: 30 * 24 * time.Hour, Ask: 10 * time.Second, Account: session.Rate{Burst: 3, Every: 10 * time.Minute}, All: session.Rate{Burst: 10, Every: time.Minute}}
}

// relearn is how old a learned password gets before its term is renewed.
const relearn = 24 * time.Hour

// Options of a Learner. Accounts, Server, Up, Second and Log must be set.
type Options struct {
	Accounts *accounts.Directory
	Server   func(domain string) (Server, bool) // false: passwords of the domain aren't learned
	Up       func(domain string) bool           // the primary is up and no outage is open
	Second   func(account string) bool          // the account has a second step: nothing is learned of it
	Limits   Limits                             // zero fields: DefaultLimits
	Log      *slog.Logger
}

// Learner checks passwords. It is safe for use by several goroutines.
type Learner struct {
	o    Options
	mu   sync.Mutex
	debt map[string]time.Time // by account, "" for all: when the bucket is full again
}

// New returns a Learner.
func New(o Options) *Learner {
	d := DefaultLimits()
	o.Limits.Term = cmp.Or(o.Limits.Term, d.Term)
	o.Limits.Ask = cmp.Or(o.Limits.Ask, d.Ask)
	o.Limits.Account = cmp.Or(o.Limits.Account, d.Account)
	o.Limits.All = cmp.Or(o.Limits.All, d.All)
	return &Learner{o: o, debt: map[string]time.Time{}}
}

// Learns says whether passwords of the domain are learned.
func (l *Learner) Learns(domain string) bool {
	_, ok := l.o.Server(domain)
	return ok
}

// Has says whether the account has a learned password that is good now.
func (l *Learner) Has(account string) bool {
	_, ok := l.o.Accounts.Register(account, accounts.FieldLearned, "")
	return ok && !l.o.Second(account)
}

// Forget takes the learned password away, if there is one.
func (l *Learner) Forget(ctx context.Context, account, by string) error {
	if _, ok := l.o.Accounts.Register(account, accounts.FieldLearned, ""); !ok {
		return nil
	}
	return l.o.Accounts.Record(ctx, by, accounts.Change{Account: account, Field: accounts.FieldLearned})
}

// errRefused: the primary has said that the password is wrong.
var errRefused = errors.New("the primary refuses the password")

// Verify returns nil when the password is that of the account's mailbox, as far as can be known now. accounts.ErrWrong when it isn't, or
// nothing is learned of the account. Others: accounts.ErrBusy, ctx's error.
func (l *Learner) Verify(ctx context.Context, account, password string) error {
	a, ok := l.o.Accounts.Account(account)
	if !ok || !a.Active() || password == "" || len(password) > accounts.PasswordMax {
		return accounts.ErrWrong
	}
	server, ok := l.o.Server(a.Domain())
	if !ok || l.o.Second(account) {
		return accounts.ErrWrong
	}
	if !l.o.Up(a.Domain()) {
		return l.remembered(ctx, account, password)
	}
	back, ok := l.take(account)
	if !ok {
		l.o.Log.Warn("the primary isn't asked for a password: too many were refused", "account", account)
		return l.remembered(ctx, account, password)
	}
	asking, cancel := context.WithTimeout(ctx, l.o.Limits.Ask)
	defer cancel()
	err := ask(asking, server, account, password)
	if ctx.Err() != nil {
		return context.Cause(ctx) // the question counts: it may have been a refusal
	}
	switch {
	case err == nil:
		back()
		return l.learn(ctx, account, password)
	case errors.Is(err, errRefused):
		return l.refused(ctx, account, password)
	}
	if asking.Err() == nil {
		back() // a server that is silent for so long may be about to refuse
	}
	l.o.Log.Warn("the primary can't be asked for a password", "server", server.address(), "err", err)
	return l.remembered(ctx, account, password)
}

// remembered compares with what was learned.
func (l *Learner) remembered(ctx context.Context, account, password string) error {
	r, ok := l.o.Accounts.Register(account, accounts.FieldLearned, "")
	if !ok {
		return accounts.ErrWrong
	}
	hash, err := l.o.Accounts.Reveal(r)
	if err != nil {
		return fmt.Errorf("the learned password of %s can't be read: %w", account, err)
	}
	return l.o.Accounts.CheckPassword(ctx, accounts.Hash(hash), password)
}

// learn keeps a password that the primary has taken. The sign-in is good also when it can't be kept.
func (l *Learner) learn(ctx context.Context, account, password string) error {
	if r, ok := l.o.Accounts.Register(account, accounts.FieldLearned, ""); ok && time.Since(r.Time) < relearn && l.remembered(ctx, account, password) == nil {
		return nil
	}
	hash, err := l.o.Accounts.HashPassword(ctx, password)
	if err == nil {
		err = l.o.Accounts.Record(ctx, account, accounts.Change{Account: account, Field: accounts.FieldLearned, Secret: []byte(hash), Until: time.Now().UTC().Add(l.o.Limits.Term)})
	}
	if err != nil {
		l.o.Log.Warn("the password isn't learned; the next sign-in tries again", "account", account, "err", err)
	}
	return nil
}

// refused forgets the learned password if it is the one that the primary refuses.
func (l *Learner) refused(ctx context.Context, account, password string) error {
	switch err := l.remembered(ctx, account, password); {
	case errors.Is(err, accounts.ErrWrong):
		return accounts.ErrWrong
	case err != nil:
		return err
	}
	if err := l.Forget(ctx, account, "the primary"); err != nil {
		return fmt.Errorf("a password that the primary refuses can't be forgotten: %w", err)
	}
	return accounts.ErrWrong
}

// take takes one refusal out of both buckets, and returns what puts it back. false: one of them is empty.
func (l *Learner) take(account string) (back func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for key, full := range l.debt {
		if !full.After(now) {
			delete(l.debt, key)
		}
	}
	rates := map[string]session.Rate{account: l.o.Limits.Account, "": l.o.Limits.All}
	for key, r := range rates {
		if debt := l.debt[key].Sub(now); debt > time.Duration(r.Burst-1)*r.Every {
			return nil, false
		}
	}
	move := func(sign time.Duration, now time.Time) {
		for key, r := range rates {
			full := l.debt[key]
			if full.Before(now) {
				full = now
			}
			l.debt[key] = full.Add(sign * r.Every)
		}
	}
	move(1, now)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		move(-1, time.Now())
	}, true
}

// address is where to dial.
func (s Server) address() string {
	port := s.Port
	if port == 0 {
		port = 587
		if s.Protocol == IMAP {
			port = 993
		}
	}
	return net.JoinHostPort(cmp.Or(s.Addr, s.Host), fmt.Sprint(port))
}

// implicit TLS at the ports that RFC 8314 names, and at any odd port of IMAP.
func (s Server) implicit() bool {
	if s.Protocol == IMAP {
		return s.Port != 143
	}
	return s.Port == 465
}

func (s Server) tls() *tls.Config {
	return &tls.Config{ServerName: s.Host, RootCAs: s.Roots, MinVersion: tls.VersionTLS12}
}

// ask shows the password to the server: nil when it takes it, errRefused when it says that it is wrong, else why it can't be known.
func ask(ctx context.Context, s Server, user, password string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address())
	if err != nil {
		return err
	}
	conn = &capped{conn, maxTalk}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		stop()
		conn.Close()
	}()
	if s.implicit() {
		secured := tls.Client(conn, s.tls())
		if err := secured.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		conn = secured
	}
	if s.Protocol == IMAP {
		return askIMAP(ctx, conn, s, user, password)
	}
	return askSubmission(conn, s, user, password)
}

// maxTalk is how many octets of a server are read for one question.
const maxTalk = 256 << 10

// capped ends a server's talk when it is too long.
type capped struct {
	net.Conn
	left int
}

func (c *capped) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the server says too much")
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

package smtpc

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"restante/relay/reply"
)

// check refuses a policy that can't be what was meant.
func (p TLSPolicy) check() error {
	switch p.Mode {
	case "", TLSOpportunistic, TLSDANE, TLSRequired, TLSNone:
	default:
		return fmt.Errorf("TLS mode %q is none of %s, %s, %s, %s", p.Mode, TLSOpportunistic, TLSDANE, TLSRequired, TLSNone)
	}
	for _, f := range p.Fingerprints {
		if _, err := ParseFingerprint(f); err != nil {
			return err
		}
	}
	return nil
}

// ParseFingerprint reads a SHA-256 in hex, with or without colons.
func ParseFingerprint(s string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != len(sum) {
		return sum, fmt.Errorf("fingerprint %q isn't a SHA-256 in hex (64 digits)", s)
	}
	copy(sum[:], b)
	return sum, nil
}

// must reports that there is no other way than TLS.
func (p TLSPolicy) must() bool {
	return p.Mode == TLSRequired || p.Mode == TLSDANE || p.records.exist()
}

// config is the TLS configuration for a host, and what its certificate is verified by.
func (p TLSPolicy) config(host string) (cfg *tls.Config, verified string) {
	cfg = &tls.Config{ServerName: cmp.Or(p.ServerName, host), RootCAs: p.RootCAs, MinVersion: tls.VersionTLS12}
	switch {
	case p.records.exist():
		cfg.ServerName = p.records.Base // RFC 7672 8.1
		cfg.InsecureSkipVerify = true   // the records take the place of a CA
		if p.records.unusable() {
			return cfg, ""
		}
		cfg.VerifyConnection = p.records.verify
		return cfg, VerifiedDANE
	case p.Mode != TLSRequired:
		// RFC 7435: without a promise to verify against, unverified TLS is better than none; old versions too.
		cfg.InsecureSkipVerify, cfg.MinVersion = true, tls.VersionTLS10
		return cfg, ""
	case len(p.Fingerprints) > 0:
		cfg.InsecureSkipVerify = true // the pin below takes the place of a CA
		cfg.VerifyConnection = p.verifyPin
		return cfg, VerifiedPin
	}
	return cfg, VerifiedCA
}

// verifyPin compares the leaf certificate and its key with the fingerprints.
func (p TLSPolicy) verifyPin(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	leaf := cs.PeerCertificates[0]
	cert, key := Fingerprints(leaf)
	for _, f := range p.Fingerprints {
		if want, err := ParseFingerprint(f); err == nil && (want == cert || want == key) {
			return nil
		}
	}
	return fmt.Errorf("the server's certificate has the fingerprint %x (key: %x), none of those configured", cert, key)
}

// Fingerprints returns the SHA-256 of a certificate and of its SubjectPublicKeyInfo.
func Fingerprints(c *x509.Certificate) (cert, key [sha256.Size]byte) {
	return sha256.Sum256(c.Raw), sha256.Sum256(c.RawSubjectPublicKeyInfo)
}

// handshake turns the connection into TLS.
func (c *Conn) handshake(ctx context.Context) error {
	if c.r.Buffered() > 0 {
		// RFC 3207 6: what came in plain behind the 220 would be taken as if it were protected.
		return c.fail(StageTLS, reply.Reply{}, ErrUnasked)
	}
	limit := cmp.Or(c.d.CommandTimeout, DefaultCommandTimeout)
	if !c.target.TLS.must() {
		limit = min(limit, cmp.Or(c.d.BannerTimeout, DefaultBannerTimeout)) // there is another way to go
	}
	cfg, verified := c.target.TLS.config(c.target.host())
	t := tls.Client(c.nc, cfg)
	if err := c.nc.SetDeadline(time.Now().Add(limit)); err != nil {
		return c.fail(StageTLS, reply.Reply{}, err)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		if ctx.Err() == nil && isTimeout(err) {
			err = ErrTimeout
		}
		return c.fail(StageTLS, reply.Reply{}, because(ctx, err))
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return c.fail(StageTLS, reply.Reply{}, err)
	}
	state := t.ConnectionState()
	c.offers.TLS = strings.ReplaceAll(tls.VersionName(state.Version), "TLS ", "TLS") + " " + tls.CipherSuiteName(state.CipherSuite)
	c.offers.Verified = verified
	switch {
	case verified == VerifiedDANE:
		c.offers.Misled = !c.target.TLS.records.Guided
	case verified == VerifiedCA:
		c.offers.Misled = c.target.Domain != ""
	}
	c.setIO(t)
	return nil
}

// rawOf returns the TCP connection below TLS.
func rawOf(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}

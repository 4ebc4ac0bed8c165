package learn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"restante/spool/need"
)

// certificate is a self-signed one for mail.example.test.
type certificate struct {
	cert, key string // PEM files
	roots     *x509.CertPool
}

func newCertificate(t *testing.T, dir string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.test"}, DNSNames: []string{"mail.example.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), x509.NewCertPool()}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.roots.AppendCertsFromPEM(certPEM)
	for name, b := range map[string][]byte{c.cert: certPEM, c.key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// dovecot is a private Dovecot, the primary's IMAP server.
type dovecot struct {
	t           *testing.T
	dir         string
	imap, imaps int // ports on 127.0.0.1
	cert        certificate
	cmd         *exec.Cmd
}

func startDovecot(t *testing.T) *dovecot {
	t.Helper()
	bin := need.Program(t, "dovecot") // dovecot-imapd
	if os.Geteuid() != 0 {
		need.This(t, errors.New("a private Dovecot needs root"))
	}
	dir, err := os.MkdirTemp("", "restante-dovecot-") // t.TempDir would be too long for its sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &dovecot{t: t, dir: dir, cert: newCertificate(t, dir), imap: freePort(t), imaps: freePort(t)}
	d.setPassword("anna@example.test", "correct horse")
	conf := fmt.Sprintf(`
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
auth_verbose = yes
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <%[2]s
ssl_key = <%[3]s
auth_mechanisms = plain
auth_failure_delay = 0
mail_location = maildir:%[1]s/mail/%%u
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%u %[1]s/users
}
userdb {
  driver = static
  args = uid=mail gid=mail home=%[1]s/mail/%%u
}
service imap-login {
  chroot =
  inet_listener imap {
    port = %[4]d
  }
  inet_listener imaps {
    port = %[5]d
    ssl = yes
  }
}
service stats {
  chroot =
}
service anvil {
  chroot =
  # Without the penalty, which makes each refusal slower than the one before.
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`, dir, d.cert.cert, d.cert.key, d.imap, d.imaps)
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"run", "state", "mail"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, sub), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	d.cmd = exec.Command(bin, "-F", "-c", filepath.Join(dir, "conf"))
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for { // until it answers
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", d.imap))
		if err == nil {
			conn.Close()
			return d
		}
		select {
		case <-ctx.Done():
			t.Fatalf("Dovecot doesn't start: %s", d.log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (d *dovecot) setPassword(user, password string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "users"), []byte(user+":{PLAIN}"+password+"\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dovecot) log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(b)
}

// changePassword returns when Dovecot has read the new one, up to a second later.
func (d *dovecot) changePassword(user, password string) {
	d.t.Helper()
	d.setPassword(user, password)
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	for {
		if err := ask(ctx, d.server(d.imaps), user, password); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			d.t.Fatalf("Dovecot doesn't take the new password: %s", d.log())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// refused is how often it has refused a password, once that is at least want: it logs after it has answered.
func (d *dovecot) refused(want int) int {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 20*time.Second)
	defer cancel()
	for {
		n := strings.Count(d.log(), "auth failed, ")
		if n >= want {
			return n
		}
		select {
		case <-ctx.Done():
			return n
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// accepted is how often it has taken a password so far.
func (d *dovecot) accepted() int { return strings.Count(d.log(), "Login: user=") }

func (d *dovecot) stop() {
	if d.cmd.Process == nil || d.cmd.ProcessState != nil {
		return
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // its own group; a clean stop takes seconds
	_ = d.cmd.Wait()
}

func freePort(t *testing.T) int {
	t.Helper()
	return int(netip.MustParseAddrPort(need.Addr(t)).Port())
}

func (d *dovecot) server(port int) Server {
	return Server{Protocol: IMAP, Host: "mail.example.test", Port: port, Roots: d.cert.roots, Addr: "127.0.0.1"}
}

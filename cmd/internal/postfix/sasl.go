package postfix

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"restante/relay/sink"
)

// Submission is a service that takes mail after authentication over TLS, from users that a private Dovecot knows.
type Submission struct {
	Listen   string            // host:port; STARTTLS is asked for
	Implicit string            // host:port with TLS from the first octet; "" for none
	Users    map[string]string // password by user
}

const dovecot = "/usr/sbin/dovecot"

// MissingSASL says why no instance with a Submission can be started here, or nil.
func MissingSASL() error {
	if _, err := os.Stat(dovecot); err != nil {
		return errors.New("no Dovecot here: apt-get install dovecot-core")
	}
	return Missing()
}

// lines are the services of master.cf.
func (s *Submission) lines(b *bytes.Buffer) {
	const guarded = "smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes -o smtpd_sender_restrictions= " +
		"-o smtpd_relay_restrictions=permit_sasl_authenticated,reject"
	fmt.Fprintf(b, "%s inet n - n - - %s -o smtpd_tls_security_level=encrypt\n", s.Listen, guarded)
	if s.Implicit != "" {
		fmt.Fprintf(b, "%s inet n - n - - %s -o smtpd_tls_wrappermode=yes\n", s.Implicit, guarded)
	}
}

// prepare makes certificate and users, and returns what main.cf needs.
func (s *Submission) prepare(i *Instance) (map[string]string, error) {
	cert, err := sink.SelfSigned("mail.example.test", "localhost", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	i.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	var users bytes.Buffer
	for user, password := range s.Users {
		fmt.Fprintf(&users, "%s:{PLAIN}%s\n", user, password)
	}
	run := filepath.Join(i.Dir, "dovecot")
	if err := os.MkdirAll(run, 0o755); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols =
auth_mechanisms = plain login
auth_failure_delay = 0
ssl = no
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%u %[1]s/users
}
userdb {
  driver = static
  args = uid=mail gid=mail home=/nonexistent
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  unix_listener %[2]s/queue/private/auth {
    mode = 0666
  }
}
`, run, i.Dir)
	for name, b := range map[string][]byte{
		i.conf("cert.pem"): i.Certificate, i.conf("key.pem"): pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		filepath.Join(run, "users"): users.Bytes(), filepath.Join(run, "dovecot.conf"): []byte(conf),
	} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			return nil, err
		}
	}
	return map[string]string{
		"smtpd_sasl_type": "dovecot", "smtpd_sasl_path": "private/auth", "smtpd_sasl_security_options": "noanonymous",
		"smtpd_tls_cert_file": i.conf("cert.pem"), "smtpd_tls_key_file": i.conf("key.pem"), "smtpd_tls_security_level": "may",
	}, nil
}

// startAuth starts the Dovecot that knows the users, and returns when it answers.
func (i *Instance) startAuth(ctx context.Context) error {
	run := filepath.Join(i.Dir, "dovecot")
	cmd := exec.Command(dovecot, "-F", "-c", filepath.Join(run, "dovecot.conf"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	i.auth, i.authExited = cmd, exited
	socket := filepath.Join(i.Dir, "queue", "private", "auth")
	for {
		if c, err := net.Dial("unix", socket); err == nil {
			return c.Close()
		}
		select {
		case err := <-exited:
			log, _ := os.ReadFile(filepath.Join(run, "log")) // there may be none
			return fmt.Errorf("starting Dovecot: %v\n%s%s", err, out.Bytes(), log)
		case <-ctx.Done():
			return fmt.Errorf("waiting for Dovecot: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stopAuth ends it.
func (i *Instance) stopAuth() error {
	if i.auth == nil {
		return nil
	}
	err := syscall.Kill(-i.auth.Process.Pid, syscall.SIGTERM)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	<-i.authExited
	i.auth = nil
	return err
}

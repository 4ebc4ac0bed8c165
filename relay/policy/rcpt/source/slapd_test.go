package source

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool/need"
)

// directory is a private slapd.
type directory struct {
	dir          string
	plain, plus  string // ldap:// and ldaps:// URLs
	ca, password string // files
}

const reader = "cn=reader,dc=example,dc=com"

// schema is what Debian's schema files lack: an entry as Exchange's Active Directory has them, and qmail's attribute.
const schema = `
attributetype ( 1.3.6.1.4.1.99999.1 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.2 NAME 'mailAlternateAddress' EQUALITY caseIgnoreIA5Match SUBSTR caseIgnoreIA5SubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
objectclass ( 1.3.6.1.4.1.99999.3 NAME 'exchangeRecipient' SUP top AUXILIARY MAY ( proxyAddresses ) )
objectclass ( 1.3.6.1.4.1.99999.4 NAME 'mailRecipient' SUP top AUXILIARY MAY ( mail $ mailAlternateAddress ) )
`

// startSlapd starts a slapd that holds the LDIF, with more lines for its database.
func startSlapd(t *testing.T, ldif, more string) *directory {
	t.Helper()
	slapd, slapadd := need.Program(t, "slapd"), need.Program(t, "slapadd")
	d := &directory{dir: t.TempDir()}
	d.write(t, "password", "secret\n")
	d.password = filepath.Join(d.dir, "password")
	d.certificates(t)
	d.write(t, "schema.conf", schema)
	d.write(t, "db/.keep", "")
	conf := []string{"include /etc/ldap/schema/core.schema", "include /etc/ldap/schema/cosine.schema", "include /etc/ldap/schema/inetorgperson.schema", "include /etc/ldap/schema/misc.schema",
		"include " + filepath.Join(d.dir, "schema.conf"), "modulepath /usr/lib/ldap", "moduleload back_mdb", "pidfile " + filepath.Join(d.dir, "pid"),
		"TLSCertificateFile " + filepath.Join(d.dir, "cert.pem"), "TLSCertificateKeyFile " + filepath.Join(d.dir, "key.pem"),
		"database mdb", "suffix dc=example,dc=com", "rootdn cn=root,dc=example,dc=com", "directory " + filepath.Join(d.dir, "db"), "maxsize 104857600",
		"access to attrs=userPassword by anonymous auth by * none", "access to * by dn.exact=" + reader + " read by * search", more}
	d.write(t, "slapd.conf", strings.Join(conf, "\n")+"\n")
	d.write(t, "data.ldif", base+ldif)
	file := filepath.Join(d.dir, "slapd.conf")
	if out, err := exec.Command(slapadd, "-q", "-f", file, "-l", filepath.Join(d.dir, "data.ldif")).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	d.plain, d.plus = "ldap://"+need.Addr(t), "ldaps://"+need.Addr(t)
	cmd := exec.Command(slapd, "-d", "0", "-f", file, "-h", d.plain+" "+d.plus)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // slapd says nothing when it is there
		c, err := net.Dial("tcp", strings.TrimPrefix(d.plus, "ldaps://"))
		if err == nil {
			_ = c.Close()
			return d
		}
		if time.Now().After(deadline) {
			t.Fatalf("slapd: %v\n%s", err, log.String())
		}
	}
}

const base = `dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=reader,dc=example,dc=com
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: reader
userPassword: secret

`

func (d *directory) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(d.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// certificates makes a certificate for 127.0.0.1 that vouches for itself.
func (d *directory) certificates(t *testing.T) {
	t.Helper()
	cert, err := sink.SelfSigned("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("%T", cert.PrivateKey)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
	d.write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	d.ca = filepath.Join(d.dir, "cert.pem")
}

// person is an entry with the lines given.
func person(name string, lines ...string) string {
	return fmt.Sprintf("dn: cn=%s,dc=example,dc=com\nobjectClass: inetOrgPerson\nobjectClass: mailRecipient\nobjectClass: exchangeRecipient\nobjectClass: inetLocalMailRecipient\ncn: %s\nsn: x\n%s\n\n", name, name, strings.Join(lines, "\n"))
}

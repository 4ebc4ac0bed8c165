// Package pebble runs Let's Encrypt's small CA for tests (ACME, RFC 8555). It is installed by
//
//	go install github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1
//
// Without it tests are skipped, or fail when RESTANTE_TEST_REQUIRE=1 is set.
package pebble

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"restante/dns/dnstest"
	"restante/spool/need"
)

// Start starts a CA that looks names up in the zone (records of a master file), reaches machines at these ports, and ends with the test.
// It returns the CA's directory and the file with the certificate that it is trusted by.
func Start(t testing.TB, zone string, httpPort, tlsPort int) (directory, root string) {
	t.Helper()
	path, err := exec.LookPath("pebble")
	if err != nil {
		need.This(t, errors.New("pebble is missing: make tools"))
	}
	dir := t.TempDir()
	root, key := selfSigned(t, dir)
	listen, manage := need.Addr(t), need.Addr(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage, "certificate": root, "privateKey": key,
		"httpPort": httpPort, "tlsPort": tlsPort, "externalAccountBindingRequired": false,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pebble.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	dns := dnstest.Start(t, zone)
	cmd := exec.Command(path, "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", dns.Addr())
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(out.Name()); err == nil && t.Failed() {
			t.Logf("pebble: %s", text)
		}
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} // it is asked whether it is there
	directory = "https://" + listen + "/dir"
	for { // it answers, or the test's own time is over
		resp, err := client.Get(directory)
		if err == nil {
			resp.Body.Close()
			return directory, root
		}
		if cmd.ProcessState != nil {
			t.Fatal("pebble has ended")
		}
		<-time.After(20 * time.Millisecond)
	}
}

func selfSigned(t testing.TB, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

package recovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"

	"restante/cmd/internal/config"
)

// SecretPrefix is before the hostname in the name of the secret that holds a node's Snapshot.
const SecretPrefix = "config/"

// maxFiles bounds what is kept of the files that a configuration names, in octets.
const maxFiles = 256 << 10

// Snapshot is the configuration of a node as it is kept in the ledger, encrypted: in one file, with defaults
// filled in and secrets as they are, and the files it names (certificates, CAs), which a bare machine lacks too.
type Snapshot struct {
	Hostname string `json:"hostname"`
	Config   string `json:"config"` // TOML
	Files    []File `json:"files,omitempty"`
}

// File is one file that a configuration names.
type File struct {
	Path string `json:"path"`
	Text []byte `json:"text"`
}

// Take makes a snapshot. Files that can't be read are left out: the service runs without them, or says so.
func Take(c *config.Config) (*Snapshot, error) {
	text, err := c.Reveal()
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Hostname: c.Hostname, Config: text}
	left := maxFiles
	for _, path := range named(c) {
		text, err := os.ReadFile(path)
		if err != nil || len(text) > left {
			continue
		}
		left -= len(text)
		s.Files = append(s.Files, File{path, text})
	}
	return s, nil
}

// named are the files that a configuration names, but for programs and the cluster key.
func named(c *config.Config) []string {
	list := []string{c.SMTP.TLSCert, c.SMTP.TLSKey, c.Webmail.TLSCert, c.Webmail.TLSKey, c.Webmail.ACMECARoot, c.Smarthost.TLSCA}
	for i := range c.Domains {
		list = append(list, c.Domains[i].TLSCA, c.Domains[i].LearnedCA, c.Domains[i].Submission.TLSCA, c.Domains[i].LDAP.TLSCA, c.Domains[i].LDAP.PasswordFile)
	}
	if u, err := url.Parse(c.Store.URL); err == nil {
		list = append(list, u.Query().Get("ca_file"))
	}
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(s string) bool { return s == "" })
}

// Encode is the snapshot as it is kept.
func (s *Snapshot) Encode() ([]byte, error) { return json.Marshal(s) }

// Decode is the reverse of Encode.
func Decode(text []byte) (*Snapshot, error) {
	var s Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("the configuration in the store can't be read: %w", err)
	}
	return &s, nil
}

// writeNew writes a file that must not be there yet, readable by its owner alone.
func writeNew(path string, text []byte, replace bool) error {
	flags := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if replace {
		flags = os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: add --force to overwrite it, or name another file with --config", path)
	}
	if err != nil {
		return fmt.Errorf("can't write %s: %w", path, err)
	}
	err = f.Chmod(0o600) // one that was there may have been for everybody
	if err == nil {
		_, err = f.Write(text)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// hostnames lists the nodes that have a snapshot.
func hostnames(names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = strings.TrimPrefix(n, SecretPrefix)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

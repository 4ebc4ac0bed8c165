// Package secret encrypts what may not be read by who reads the store: password hashes, TOTP seeds, DKIM and
// TLS keys, the passwords of smarthosts. It does so with the cluster key, which all nodes of a cluster share and
// which is kept outside the store.
//
// # The key file
//
// One key a line, as [Key.Text] writes it; empty lines and those that begin with # say nothing. The first key
// encrypts, all of them decrypt, so that a key can be replaced: put the new one on top and keep the old one below.
// The file has mode 0600.
//
// # What is encrypted
//
// XChaCha20-Poly1305 with a random nonce of 24 octets, written as
//
//	r1.<id of the key>.<base64url without padding of nonce and ciphertext>
//
// The purpose (a name such as "dkim/example.com/s1") is authenticated with it: what was encrypted for one purpose
// can't be put in the place of another.
package secret

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// Bounds of what is encrypted and of the key file.
const (
	MaxPlain   = 1 << 20  // octets given to Encrypt
	maxKeyFile = 64 << 10 // octets
)

// Errors of this package; those of Open and Decrypt wrap them and say what to do.
var (
	ErrNoKey    = errors.New("there is no cluster key")
	ErrWrongKey = errors.New("encrypted with another cluster key")
	ErrDamaged  = errors.New("damaged, or kept for another purpose")
)

// scheme begins each encrypted text.
const scheme = "r1"

// Keyring encrypts and decrypts. It is safe for use by several goroutines at once.
type Keyring struct {
	keys []ringKey // the first encrypts
}

type ringKey struct {
	key  Key
	id   string
	aead cipher.AEAD
}

// NewKeyring returns a ring of these keys; the first encrypts.
func NewKeyring(first Key, others ...Key) (*Keyring, error) {
	r := &Keyring{}
	for _, k := range append([]Key{first}, others...) {
		aead, err := chacha20poly1305.NewX(k[:])
		if err != nil {
			return nil, fmt.Errorf("cluster key: %w", err)
		}
		r.keys = append(r.keys, ringKey{k, k.ID(), aead})
	}
	return r, nil
}

// Create makes a fresh key and writes it to path, which must not exist (fs.ErrExist otherwise).
func Create(path string) (*Keyring, error) {
	r, err := NewKeyring(NewKey())
	if err != nil {
		return nil, err
	}
	return r, r.Save(path)
}

// Open reads the key file. ErrNoKey when there is none.
func Open(path string) (*Keyring, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w at %s: copy it from another node, or run `restante recover` with the recovery card", ErrNoKey, path)
	case err != nil:
		return nil, fmt.Errorf("can't read the cluster key: %w; give the file to the user that runs restante", err)
	case len(text) > maxKeyFile:
		return nil, fmt.Errorf("%s is no key file: it is too long", path)
	}
	var keys []Key
	for n, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		k, err := ParseKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w; take the file from a backup, or run `restante recover` with the recovery card", path, n+1, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w in %s: take the file from a backup, or run `restante recover` with the recovery card", ErrNoKey, path)
	}
	return NewKeyring(keys[0], keys[1:]...)
}

// Save writes the keys to path, durably and with mode 0600. The file must not exist (fs.ErrExist otherwise).
func (r *Keyring) Save(path string) error {
	var b bytes.Buffer
	b.WriteString("# The cluster key of Restante. Keep a copy outside this machine: `restante recovery-card` prints one.\n")
	for _, k := range r.keys {
		b.WriteString(k.key.Text() + "\n")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".cluster-key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("can't write the cluster key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path) // a rename would overwrite
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("can't write the cluster key: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ID tells the encrypting key apart from others, in 16 hex digits; it reveals nothing of it.
func (r *Keyring) ID() string { return r.keys[0].id }

// Key is the encrypting key itself, for the recovery card.
func (r *Keyring) Key() Key { return r.keys[0].key }

// Encrypt encrypts plain for a purpose. Encrypting the same twice gives two texts.
func (r *Keyring) Encrypt(purpose string, plain []byte) (string, error) {
	if len(plain) > MaxPlain {
		return "", fmt.Errorf("%s: %d octets are too many to encrypt, at most %d", purpose, len(plain), MaxPlain)
	}
	k := r.keys[0]
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("no random octets: %w", err)
	}
	sealed := k.aead.Seal(nonce, nonce, plain, []byte(purpose))
	return scheme + "." + k.id + "." + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Decrypt is the reverse of Encrypt. ErrWrongKey when no key of the ring encrypted it, ErrDamaged when it was changed,
// is no encrypted text, or was encrypted for another purpose.
func (r *Keyring) Decrypt(purpose, text string) ([]byte, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[0] != scheme {
		return nil, fmt.Errorf("%s: %w", purpose, ErrDamaged)
	}
	for _, k := range r.keys {
		if k.id != parts[1] {
			continue
		}
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
		if err != nil || len(raw) < chacha20poly1305.NonceSizeX {
			return nil, fmt.Errorf("%s: %w", purpose, ErrDamaged)
		}
		plain, err := k.aead.Open(nil, raw[:chacha20poly1305.NonceSizeX], raw[chacha20poly1305.NonceSizeX:], []byte(purpose))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", purpose, ErrDamaged)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("%s: %w (%s, here is %s): add the key of the other nodes, or of the recovery card, to the key file and restart", purpose, ErrWrongKey, spoken(parts[1]), r.ID())
}

// spoken keeps what is no id of a key out of messages.
func spoken(id string) string {
	if b, err := hex.DecodeString(id); err == nil && len(b) == idSize {
		return id
	}
	return "unknown"
}

const idSize = 8 // octets of a key's id

// Key is a cluster key. Printing one, in whatever way, shows its id; Text is the key.
type Key [chacha20poly1305.KeySize]byte

// String is the id.
func (k Key) String() string { return "key " + k.ID() }

// GoString is the id for %#v too.
func (k Key) GoString() string { return k.String() }

// MarshalText keeps the key out of what is encoded.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// NewKey returns a random key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails (crypto/rand)
	return k
}

// ID tells keys apart.
func (k Key) ID() string {
	sum := sha256.Sum256(append([]byte("restante cluster key id\x00"), k[:]...))
	return hex.EncodeToString(sum[:idSize])
}

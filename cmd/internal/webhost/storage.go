package webhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// Vault keeps named secrets where a bare machine finds them again; *secret.Vault is one.
type Vault interface {
	Keep(ctx context.Context, name, by string, plain []byte) error
	Forget(ctx context.Context, name, by string) error
	Names(ctx context.Context, prefix string) ([]string, error)
	Get(ctx context.Context, name string) ([]byte, time.Time, error) // fs.ErrNotExist; when it was kept
}

// vaultPrefix is before the names of what is kept of TLS.
const vaultPrefix = "tls/"

// keeper names who writes in the ledger.
const keeper = "certificates"

// Storage is certmagic's storage: files in data_dir, and a copy of each key and certificate in the vault. A file
// that isn't there is taken from the vault, so that a new node or a machine made anew has the certificates of the cluster.
type Storage struct {
	certmagic.FileStorage // also its locks: two nodes may ask the CA at the same time, which costs one certificate
	vault                 Vault
	log                   *slog.Logger
}

// NewStorage keeps files below dir.
func NewStorage(dir string, vault Vault, log *slog.Logger) *Storage {
	return &Storage{FileStorage: certmagic.FileStorage{Path: dir}, vault: vault, log: log}
}

// shared says what belongs into the vault: certificates, accounts and answers to challenges, which any node may be asked
// for; OCSP staples and the like can be had again.
func shared(key string) bool {
	return strings.HasPrefix(key, "certificates/") || strings.HasPrefix(key, "acme/")
}

// Store implements certmagic.Storage. A store that is away doesn't keep a certificate from being used here.
func (s *Storage) Store(ctx context.Context, key string, value []byte) error {
	if err := s.FileStorage.Store(ctx, key, value); err != nil {
		return err
	}
	if shared(key) {
		if err := s.vault.Keep(ctx, vaultPrefix+key, keeper, value); err != nil {
			s.log.Warn("a certificate is on this machine alone for now", "key", key, "err", err)
		}
	}
	return nil
}

// Load implements certmagic.Storage. What another node has kept since our file was written is taken instead of it.
func (s *Storage) Load(ctx context.Context, key string) ([]byte, error) {
	value, err := s.FileStorage.Load(ctx, key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || !shared(key) {
		return value, err
	}
	kept, at, missing := s.vault.Get(ctx, vaultPrefix+key)
	switch {
	case missing != nil && err == nil: // not there, or the store is away: the file is good enough
		return value, nil
	case missing != nil:
		return nil, missing
	case err == nil && (bytes.Equal(kept, value) || !at.After(s.written(ctx, key))):
		return value, nil
	}
	if err := s.FileStorage.Store(ctx, key, kept); err != nil {
		return nil, fmt.Errorf("a certificate from the store can't be written here: %w", err)
	}
	return kept, nil
}

func (s *Storage) written(ctx context.Context, key string) time.Time {
	info, err := s.FileStorage.Stat(ctx, key)
	if err != nil {
		return time.Time{}
	}
	return info.Modified
}

// Exists implements certmagic.Storage.
func (s *Storage) Exists(ctx context.Context, key string) bool {
	if s.FileStorage.Exists(ctx, key) {
		return true
	}
	names, err := s.names(ctx, key)
	return err == nil && len(names) > 0
}

// Delete implements certmagic.Storage.
func (s *Storage) Delete(ctx context.Context, key string) error {
	if err := s.FileStorage.Delete(ctx, key); err != nil {
		return err
	}
	names, err := s.names(ctx, key)
	for _, name := range names {
		if forgot := s.vault.Forget(ctx, vaultPrefix+name, keeper); forgot != nil {
			err = errors.Join(err, forgot)
		}
	}
	return err
}

// names lists the keys in the vault that are key or below it.
func (s *Storage) names(ctx context.Context, key string) ([]string, error) {
	if !shared(key + "/") {
		return nil, nil
	}
	all, err := s.vault.Names(ctx, vaultPrefix+key)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range all {
		name = strings.TrimPrefix(name, vaultPrefix)
		if name == key || strings.HasPrefix(name, strings.TrimSuffix(key, "/")+"/") {
			list = append(list, name)
		}
	}
	return list, nil
}

// List implements certmagic.Storage.
func (s *Storage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	list, err := s.FileStorage.List(ctx, path, recursive)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	kept, err := s.names(ctx, path)
	if err != nil {
		return nil, err
	}
	for _, name := range kept {
		if rest := strings.TrimPrefix(name, strings.TrimSuffix(path, "/")+"/"); !recursive {
			first, _, _ := strings.Cut(rest, "/")
			name = strings.TrimSuffix(path, "/") + "/" + first
		}
		list = append(list, name)
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) == 0 {
		return nil, fs.ErrNotExist
	}
	return list, nil
}

// Stat implements certmagic.Storage.
func (s *Storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	info, err := s.FileStorage.Stat(ctx, key)
	if !errors.Is(err, fs.ErrNotExist) {
		return info, err
	}
	if _, err := s.Load(ctx, key); err != nil { // puts it here, if it is in the vault
		return certmagic.KeyInfo{}, err
	}
	return s.FileStorage.Stat(ctx, key)
}

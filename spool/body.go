package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// Body collects the octets of one message: in memory up to a bound, then in a temporary file that has
// no name any more. It hashes while it is written. A Body has one writer; once written, it may be read
// by many goroutines. It is a blob.Body.
type Body struct {
	dir    string
	memory int64
	buf    []byte
	file   *os.File
	size   int64
	hash   hash.Hash
	sum    string // hex, once asked for
	err    error  // of a write that failed: sticky
}

// NewBody returns an empty Body that keeps up to memory octets in memory and more in a temporary file
// in dir ("" for the system's own folder).
func NewBody(dir string, memory int64) *Body {
	return &Body{dir: dir, memory: memory, hash: sha256.New()}
}

// Write appends p. After an error the Body is of no use but to be closed.
func (b *Body) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.sum != "" {
		return 0, errors.New("spool: write to a body that was hashed already")
	}
	if b.file == nil && b.size+int64(len(p)) > b.memory {
		if b.err = b.spill(); b.err != nil {
			return 0, b.err
		}
	}
	if b.file != nil {
		if _, b.err = b.file.Write(p); b.err != nil {
			return 0, b.err
		}
	} else {
		b.buf = append(b.buf, p...)
	}
	b.hash.Write(p)
	b.size += int64(len(p))
	return len(p), nil
}

// spill moves what is in memory to a file. The file loses its name at once, so a killed process leaves nothing.
func (b *Body) spill() error {
	f, err := os.CreateTemp(b.dir, "body-*.tmp")
	if err != nil {
		return fmt.Errorf("temporary file for a message: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return errors.Join(err, f.Close())
	}
	if _, err := f.Write(b.buf); err != nil {
		return errors.Join(err, f.Close())
	}
	b.file, b.buf = f, nil
	return nil
}

// Size is the number of octets written.
func (b *Body) Size() int64 { return b.size }

// SHA256 is the hash of all octets, in hex. Nothing can be written afterwards.
func (b *Body) SHA256() string {
	if b.sum == "" {
		b.sum = hex.EncodeToString(b.hash.Sum(nil))
	}
	return b.sum
}

// Bytes returns the octets if they are in memory. They are not to be changed, nor used after Close.
func (b *Body) Bytes() ([]byte, bool) { return b.buf, b.file == nil }

// ReadAt makes Body an io.ReaderAt.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	if b.file != nil {
		return b.file.ReadAt(p, off)
	}
	return bytes.NewReader(b.buf).ReadAt(p, off)
}

// Reader returns a new reader of all octets.
func (b *Body) Reader() *io.SectionReader { return io.NewSectionReader(b, 0, b.size) }

// Close gives back the memory and the file. It may be called twice.
func (b *Body) Close() error {
	b.buf = nil
	if b.file == nil {
		return nil
	}
	f := b.file
	b.file = nil
	b.size = 0
	return f.Close()
}

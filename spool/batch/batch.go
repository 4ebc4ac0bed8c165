// Package batch is the codec of what a stream of the spool holds: batches of mail, batches of the
// ledger, voids and seals. It is pure: no clock, no files, no store.
//
// # Mail
//
// A batch of mail is a sequence of zstd frames (RFC 8878) that together decompress to one tar archive (ustar):
//
//	frame    <id>.eml    the octets of a message, our trace fields first
//	frame    <id>.json   its entry and "\n"
//	...                  for each entry; no .eml for a message that is an object of its own (big)
//	frame    toc.json    table of contents, then the 1,024 zero octets that end an archive
//	skippable frame (magic 0x184D2A5B, length 32), little-endian:
//	    8 octets   offset of the frame of toc.json
//	    8 octets   length of that frame
//	    8 octets   the first octets of its SHA-256
//	    4 octets   format: 1
//	    4 octets   "RsMB"
//
// So `zstd -dc | tar xif -` reads any number of batches in a row, one member is read with one ranged
// request, and the last 64 KB of an object nearly always tell all of its entries. toc.json is one JSON
// object: a Header, and "entries", each with its id, where its members are, their SHA-256 and the entry itself.
//
// # Ledger
//
// A batch of the ledger is one zstd frame of lines: a Header first, then one event a line.
//
// # Voids and seals
//
// Both are batches without members whose Header says so. A void takes a place in the stream that a batch
// was refused; a seal ends the stream.
//
// # Chain
//
// Header.Chain is the SHA-256, in hex, of these lines, each ended by "\n":
//
//	<hash of the batch before> <kind>
//	<member name> <SHA-256 of the member>      for each member in order; for the ledger: <event id> <SHA-256 of the line>
//
// The batch before the first one has the hash Genesis. Only names and hashes enter, so that what a
// member held can be erased while the chain still verifies: the table of contents keeps the hashes.
package batch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Format is the number of the format written here, and the newest that can be read.
const Format = 1

// Kind says what an object of a stream is.
type Kind string

// The kinds of object in a stream.
const (
	Batch Kind = "batch"
	Void  Kind = "void" // nothing was kept here
	Seal  Kind = "seal" // the stream ends here
)

// Errors of the readers.
var (
	// ErrDamaged: the octets are not what was written.
	ErrDamaged = errors.New("damaged batch")
	// ErrNewer: a newer program wrote this.
	ErrNewer = errors.New("format is newer than this program")
)

// Header says what an object of a stream is and where it belongs.
type Header struct {
	Format  int       `json:"format"`
	Kind    Kind      `json:"kind"`
	Cluster string    `json:"cluster"`
	Stream  string    `json:"stream"` // with its root: "mail/a1-01J..."
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Nonce   string    `json:"nonce"` // random: tells our octets from those of a clone
	By      string    `json:"by,omitempty"`
	Prev    string    `json:"prev"`
	Chain   string    `json:"chain"` // filled by the codec
}

// Genesis is the hash before the first batch of a stream.
func Genesis(cluster, stream string) string {
	sum := sha256.Sum256([]byte(cluster + " " + stream + "\n"))
	return hex.EncodeToString(sum[:])
}

// chain computes Header.Chain line by line.
type chain struct {
	h    hash.Hash
	line []byte
}

func newChain(prev string, kind Kind) *chain {
	c := &chain{h: sha256.New()}
	c.add(prev, string(kind))
	return c
}

func (c *chain) add(name, sum string) {
	c.line = append(c.line[:0], name...)
	c.line = append(c.line, ' ')
	c.line = append(c.line, sum...)
	c.line = append(c.line, '\n')
	c.h.Write(c.line)
}

func (c *chain) sum() string { return hex.EncodeToString(c.h.Sum(nil)) }

// Limits on what is read, so that a forged or damaged object can't take all memory.
const (
	maxDecoded = 512 << 20 // of one frame
	maxWindow  = 64 << 20
)

// Codec encodes and decodes. It may be used by many goroutines.
type Codec struct {
	enc     *zstd.Encoder
	dec     *zstd.Decoder
	scratch sync.Pool // *[]byte
}

// New returns a Codec.
func New() *Codec {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(true), zstd.WithZeroFrames(true))
	if err != nil {
		panic(err) // only for options that contradict each other
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxDecoded), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic(err)
	}
	return &Codec{enc: enc, dec: dec, scratch: sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}}
}

// borrow returns an empty buffer; give takes it back, unless it has become large.
func (c *Codec) borrow() *[]byte { return c.scratch.Get().(*[]byte) }

func (c *Codec) give(b *[]byte) {
	if cap(*b) <= 4<<20 {
		*b = (*b)[:0]
		c.scratch.Put(b)
	}
}

func (h *Header) check() error {
	switch {
	case h.Format > Format:
		return fmt.Errorf("%w: %d", ErrNewer, h.Format)
	case h.Format < 1:
		return fmt.Errorf("%w: no format number", ErrDamaged)
	case h.Kind != Batch && h.Kind != Void && h.Kind != Seal:
		return fmt.Errorf("%w: unknown kind %q", ErrDamaged, h.Kind)
	}
	return nil
}

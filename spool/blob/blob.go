// Package blob is the smallest object store that Restante can be built on: put-if-absent,
// put-if-match, ranged get, list after a key, delete. Implementations are in blob/local, blob/s3 and
// blob/mem, all held to the conformance suite in blob/blobtest; retry, limits, metering and faults
// are wrappers in blob/wrap; blob/open makes a store from its URL.
//
// Rules that hold for every Store:
//
//   - A key is made of segments of [A-Za-z0-9._-] joined by "/" (see CheckKey). No key is the folder of
//     another ("a" and "a/b"), since a disk can't hold both.
//   - An object is there whole or not at all. There is no append and no unconditional overwrite.
//   - What was put is seen by every Get and List that begins after Put has returned.
//   - A Put whose error is neither ErrNotWritten nor ErrPrecondition has an unknown outcome: the octets may be
//     there, may never be, or may still land minutes later, even after a Get has said ErrNotExist.
//     Putting the same octets at the same key with Absent and reading what is then there settles it.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Errors that a Store returns, wrapped.
var (
	// ErrNotExist: there is nothing at the key.
	ErrNotExist = errors.New("no such object")
	// ErrPrecondition: something is at the key already (Absent), or not what was expected (Match; also
	// when nothing is there).
	// Nothing was written by this call, but an earlier call whose outcome was unknown may have been.
	ErrPrecondition = errors.New("precondition failed")
	// ErrNotWritten: the call certainly wrote nothing and never will (a full disk, a refused
	// connection on the first try). Every other error of Put but ErrPrecondition leaves the outcome
	// unknown, and the caller settles it at the same key.
	ErrNotWritten = errors.New("nothing was written")
	// ErrNoSpace: the store is full; always together with ErrNotWritten.
	ErrNoSpace = errors.New("no space left in the store")
	// ErrUnreadable: there may be something at the key, but it can't be trusted: its folder could not be
	// synced, so that it may be gone after the next crash. Neither 250 nor 451 may rest on it.
	ErrUnreadable = errors.New("object can't be trusted")
	// ErrRange: the range begins at or past the end of the object (HTTP 416). The zero Range never fails so.
	ErrRange = errors.New("range is past the end of the object")
	// ErrInvalid: the key, condition or range breaks the rules of this package: a mistake of the caller.
	// Together with ErrNotWritten where it comes from Put.
	ErrInvalid = errors.New("invalid request")
	// ErrUnfit: the store works but lacks what mail needs, such as conditional writes. It won't get better
	// by waiting. Returned by Prove, and by Put where the store itself says so.
	ErrUnfit = errors.New("store is not fit for mail")
)

// Body is what Put writes; *bytes.Reader and *io.SectionReader are Bodies. It is read from the start for
// each try. Its octets must not change even after Put has returned an error: a call that was given up
// may still be reading them.
type Body interface {
	io.ReaderAt
	Size() int64
}

// Summed is a Body that knows its checksum (CRC-32C, Castagnoli), so that Put need not read it twice.
type Summed interface {
	Body
	CRC32C() uint32
}

// Cond makes a Put conditional: exactly one of the fields is set. The zero Cond is refused: nothing
// here overwrites by accident.
type Cond struct {
	Absent bool   // only if nothing is at the key (If-None-Match: *)
	Match  string // only if the object there has this ETag (If-Match)
}

// Range selects octets of an object. The zero Range is all of it.
type Range struct {
	Offset int64 // negative: that many octets before the end (all of a shorter object), to the end (Length must be 0)
	Length int64 // 0: to the end. What reaches past the end is cut there
}

// Info describes an object.
type Info struct {
	Key      string
	Size     int64  // octets of the whole object
	ETag     string // opaque, without quotes; it changes whenever the object does
	Modified time.Time
}

// Store holds objects by key. All methods may be called by many goroutines and end when ctx ends.
type Store interface {
	// Put writes the body at key, all or nothing, and returns the new ETag. When it returns nil
	// the object is durable. Of many Puts with Absent at one key exactly one returns nil.
	Put(ctx context.Context, key string, body Body, cond Cond) (etag string, err error)
	// Get returns the selected octets. The caller closes the reader. Info is of the whole object.
	// The reader's error is io.ErrUnexpectedEOF or another, never io.EOF, when octets are missing.
	Get(ctx context.Context, key string, r Range) (io.ReadCloser, Info, error)
	// List yields the objects whose keys begin with prefix, in byte order, after the key `after` ("" for all).
	// After an error it ends.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
	// Prefixes yields the distinct next path segments below prefix ("" or ending in "/") that have keys
	// beneath them, bare ("a" for "p/a/b"), in byte order of their keys: one request a thousand, whatever lies beneath.
	Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error]
	// Delete removes the object; deleting what is not there is no error.
	Delete(ctx context.Context, key string) error
	// String is the store's URL without secrets.
	String() string
}

// Spacer is a Store that knows how much room is left.
type Spacer interface {
	// Free returns the octets left and the octets in all.
	Free(ctx context.Context) (free, total int64, err error)
}

// Space asks a store for its room, through wrappers. A store that doesn't know (S3) gives errors.ErrUnsupported.
func Space(ctx context.Context, s Store) (free, total int64, err error) {
	if sp, ok := s.(Spacer); ok {
		return sp.Free(ctx)
	}
	return 0, 0, fmt.Errorf("%s: free space: %w", s, errors.ErrUnsupported)
}

// Close gives back what a store holds (a lock, connections), through wrappers. Stores that hold nothing need none.
func Close(s Store) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

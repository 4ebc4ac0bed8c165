// Package blob is the smallest object store that Restante can be built on: put-if-absent,
// put-if-match, ranged get, list after a key, delete. Implementations are in blob/local, blob/s3 and
// blob/mem, all held to the conformance suite in blob/blobtest; retry, limits, metering and faults
// are wrappers in blob/wrap.
package blob

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Errors that a Store returns, wrapped.
var (
	// ErrNotExist: there is nothing at the key.
	ErrNotExist = errors.New("no such object")
	// ErrPrecondition: something is at the key already (Absent), or not what was expected (Match).
	// Nothing was written by this call, but an earlier call whose outcome was unknown may have been.
	ErrPrecondition = errors.New("precondition failed")
	// ErrNotWritten: the call certainly wrote nothing and never will (a full disk, a refused
	// connection on the first try). Every other error of Put leaves the outcome unknown, and the
	// caller settles it at the same key.
	ErrNotWritten = errors.New("nothing was written")
	// ErrNoSpace: the store is full; always together with ErrNotWritten.
	ErrNoSpace = errors.New("no space left in the store")
)

// Body is what Put writes; *bytes.Reader and *io.SectionReader are Bodies. It can be read again for a retry.
type Body interface {
	io.ReaderAt
	Size() int64
}

// Cond makes a Put conditional. The zero Cond is refused: nothing here overwrites by accident.
type Cond struct {
	Absent bool   // only if nothing is at the key (If-None-Match: *)
	Match  string // only if the object there has this ETag (If-Match)
}

// Range selects octets of an object. The zero Range is all of it.
type Range struct {
	Offset int64 // negative: that many octets before the end, to the end (Length must be 0)
	Length int64 // 0: to the end
}

// Info describes an object.
type Info struct {
	Key      string
	Size     int64 // octets of the whole object
	ETag     string
	Modified time.Time
}

// Store holds objects by key. Keys are slash-separated, of [A-Za-z0-9._-] only.
// All methods may be called by many goroutines and end when ctx ends.
type Store interface {
	// Put writes the body at key, all or nothing, and returns the new ETag. When it returns nil
	// the object is durable.
	Put(ctx context.Context, key string, body Body, cond Cond) (etag string, err error)
	// Get returns the selected octets. The caller closes the reader. Info is of the whole object.
	Get(ctx context.Context, key string, r Range) (io.ReadCloser, Info, error)
	// List yields the objects whose keys begin with prefix, in byte order, after the key `after` ("" for all).
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
	// Prefixes yields the distinct next path segments below prefix (which ends in "/"), in byte order:
	// one request a thousand, whatever lies beneath.
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

// Package s3 is a blob.Store in a bucket of S3 or of a server that speaks its protocol.
//
// Every Put is one PUT request of known size with If-None-Match: * or If-Match and, except at Google, an
// x-amz-checksum-crc32c header, so that the server refuses octets that were changed on their way. It is tried once:
// repeating what may have landed is the caller's to decide. An error is blob.ErrNotWritten when no connection was had or the server itself
// refused (most 4xx, 501, 507); 408, 409, other 5xx and lost connections leave the outcome unknown.
//
// Keys live under an optional prefix. No request is made before the first call.
package s3

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"restante/spool/blob"
)

// Config says which bucket, and how to reach it.
type Config struct {
	Endpoint  string // URL ("http://127.0.0.1:9000") or bare host, then https; "" is Amazon's
	Bucket    string
	Prefix    string // of all keys, without slashes at its ends; "" for none
	Region    string // "": found out at Amazon's (one more request), "us-east-1" elsewhere
	PathStyle *bool  // https://host/bucket/key rather than https://bucket.host/key; nil: as the endpoint needs
	// ReadBack reads every object after its PUT and compares it, for servers that answer before the octets are
	// safe. It costs a GET of the same size for each PUT ($0.0004 per 1,000, and the transfer where that is charged).
	ReadBack bool
	// Credentials; the zero value looks in the environment, in files, then for an instance role.
	Credentials Credentials
	CAFile      string // PEM, trusted beside the system's roots
}

// Store is a blob.Store in a bucket.
type Store struct {
	core      minio.Core
	bucket    string
	prefix    string // "" or ending in "/"
	name      string
	checksums bool
	readBack  bool
	meter     *billing
}

// Open returns a store. It does not touch the network, so that a bucket that is out of reach does not keep a server
// from starting; see blob.Prove.
func Open(_ context.Context, c Config) (*Store, error) {
	if c.Bucket == "" {
		return nil, errors.New("s3: no bucket: write s3://bucket or s3://bucket/prefix")
	}
	prefix := strings.Trim(c.Prefix, "/")
	if prefix != "" {
		if err := blob.CheckKey(prefix); err != nil {
			return nil, fmt.Errorf("s3: prefix: %w", err)
		}
		prefix += "/"
	}
	host, secure, err := endpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(c.CAFile)
	if err != nil {
		return nil, err
	}
	meter := &billing{next: transport}
	options := &minio.Options{
		Creds:           credentials.New(&chain{from: c.Credentials}),
		Secure:          secure,
		Transport:       meter,
		Region:          c.Region,
		TrailingHeaders: true, // needed for the checksum header; nothing is sent in trailers
		MaxRetries:      1,    // no retries
	}
	if c.Region == "" && c.Endpoint != "" {
		options.Region = "us-east-1"
	}
	if c.PathStyle != nil {
		options.BucketLookup = minio.BucketLookupDNS
		if *c.PathStyle {
			options.BucketLookup = minio.BucketLookupPath
		}
	}
	client, err := minio.New(host, options)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &Store{
		core:      minio.Core{Client: client},
		bucket:    c.Bucket,
		prefix:    prefix,
		name:      name(c, prefix),
		checksums: !strings.HasSuffix(host, "googleapis.com"),
		readBack:  c.ReadBack,
		meter:     meter,
	}, nil
}

// endpoint splits a URL into host and whether to use TLS.
func endpoint(raw string) (host string, secure bool, err error) {
	if raw == "" {
		return "s3.amazonaws.com", true, nil
	}
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", false, fmt.Errorf("s3: endpoint %q: write it as https://host, https://host:port or http://127.0.0.1:9000, without a path", redact(raw))
	}
	return u.Host, u.Scheme == "https", nil
}

// redact takes a password out of what may be a URL.
func redact(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "..." + rest[i:]
	}
	return scheme + "://" + rest
}

func name(c Config, prefix string) string {
	u := url.URL{Scheme: "s3", Host: c.Bucket, Path: strings.TrimSuffix("/"+prefix, "/")}
	q := url.Values{}
	if c.Endpoint != "" {
		q.Set("endpoint", c.Endpoint)
	}
	if c.Region != "" {
		q.Set("region", c.Region)
	}
	u.RawQuery = strings.NewReplacer("%3A", ":", "%2F", "/").Replace(q.Encode())
	return u.String()
}

// String implements blob.Store.
func (s *Store) String() string { return s.name }

// Bill returns the requests made so far, as the wire saw them.
func (s *Store) Bill() blob.Bill { return s.meter.bill() }

// Close closes idle connections.
func (s *Store) Close() error {
	s.meter.next.CloseIdleConnections()
	return nil
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	if err := blob.CheckPut(ctx, key, cond); err != nil {
		return "", err
	}
	sum, err := checksum(body)
	if err != nil {
		return "", fmt.Errorf("put %s: body: %w: %w", key, err, blob.ErrNotWritten)
	}
	options := minio.PutObjectOptions{DisableMultipart: true, ContentType: "application/octet-stream"}
	if s.checksums {
		options.UserMetadata = map[string]string{"x-amz-checksum-crc32c": sum.header()}
	}
	if cond.Absent {
		options.SetMatchETagExcept("*")
	} else {
		options.SetMatchETag(cond.Match)
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	size := body.Size()
	up, err := s.core.Client.PutObject(traced, s.bucket, s.prefix+key, io.NewSectionReader(body, 0, size), size, options)
	if err != nil {
		err = putError(err, sent.Load(), cond)
	} else if s.readBack {
		err = s.compare(ctx, key, up.ETag, sum, size)
	}
	if err != nil {
		return "", fmt.Errorf("put %s: %w", key, s.explain(ctx, err))
	}
	return up.ETag, nil
}

// compare reads an object back. Its errors leave the outcome unknown.
func (s *Store) compare(ctx context.Context, key, etag string, want crc, size int64) error {
	rd, info, err := s.Get(ctx, key, blob.Range{})
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer rd.Close()
	h := crc32.New(castagnoli)
	if _, err := io.Copy(h, rd); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if crc(h.Sum32()) != want || info.Size != size || info.ETag != etag {
		return fmt.Errorf("read back: %w: %d octets with checksum %08x, wrote %d with %08x",
			blob.ErrUnreadable, info.Size, h.Sum32(), size, uint32(want))
	}
	return nil
}

// Get implements blob.Store.
func (s *Store) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if err := blob.CheckGet(ctx, key, r); err != nil {
		return nil, blob.Info{}, err
	}
	var options minio.GetObjectOptions
	switch {
	case r == (blob.Range{}):
	case r.Length > 0:
		options.Set("Range", fmt.Sprintf("bytes=%d-%d", r.Offset, r.Offset+r.Length-1))
	case r.Offset < 0:
		options.Set("Range", fmt.Sprintf("bytes=%d", r.Offset))
	default:
		options.Set("Range", fmt.Sprintf("bytes=%d-", r.Offset))
	}
	rd, o, header, err := s.core.GetObject(ctx, s.bucket, s.prefix+key, options)
	if err != nil {
		return nil, blob.Info{}, fmt.Errorf("get %s: %w", key, s.explain(ctx, getError(err)))
	}
	info := blob.Info{Key: key, Size: o.Size, ETag: o.ETag, Modified: o.LastModified}
	if r != (blob.Range{}) {
		size, err := wholeSize(header, r, o.Size)
		if err != nil {
			rd.Close()
			return nil, blob.Info{}, fmt.Errorf("get %s: %w", key, err)
		}
		info.Size = size
	}
	return rd, info, nil
}

// wholeSize takes the size of the object out of "Content-Range: bytes 0-9/1234" (RFC 9110 14.4), and checks that the
// server gave the octets that were asked for.
func wholeSize(h http.Header, r blob.Range, got int64) (int64, error) {
	field := h.Get("Content-Range")
	if field == "" && got == 0 {
		return 0, blob.ErrRange // RFC 9110 14.1.2 lets a server answer so for an empty object
	}
	spec, total, _ := strings.Cut(strings.TrimPrefix(field, "bytes "), "/")
	first, last, _ := strings.Cut(spec, "-")
	size, err1 := strconv.ParseInt(total, 10, 64)
	from, err2 := strconv.ParseInt(first, 10, 64)
	to, err3 := strconv.ParseInt(last, 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, fmt.Errorf("%w: the server ignores ranges (Content-Range: %q)", blob.ErrUnfit, field)
	}
	wantFrom, wantTo, err := r.Resolve(size)
	if err != nil {
		return 0, err
	}
	if from != wantFrom || to != wantTo-1 || got != wantTo-wantFrom {
		return 0, fmt.Errorf("%w: the server gave octets %s of %s for %+v", blob.ErrUnfit, spec, total, r)
	}
	return size, nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := blob.CheckList(ctx, prefix, after); err != nil {
			yield(blob.Info{}, err)
			return
		}
		o := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}
		if after != "" {
			o.StartAfter = s.prefix + after
		}
		for object, err := range s.list(ctx, o) {
			key := strings.TrimPrefix(object.Key, s.prefix)
			if err == nil && (blob.CheckKey(key) != nil || key <= after) {
				continue // not ours, or a server that gives `after` itself
			}
			if !yield(blob.Info{Key: key, Size: object.Size, ETag: object.ETag, Modified: object.LastModified}, err) {
				return
			}
		}
	}
}

// Prefixes implements blob.Store.
func (s *Store) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := blob.CheckPrefix(ctx, prefix); err != nil {
			yield("", err)
			return
		}
		for object, err := range s.list(ctx, minio.ListObjectsOptions{Prefix: s.prefix + prefix}) {
			segment, folder := strings.CutSuffix(strings.TrimPrefix(object.Key, s.prefix+prefix), "/")
			if err == nil && (!folder || !blob.ValidSegment(segment)) {
				continue
			}
			if !yield(segment, err) {
				return
			}
		}
	}
}

// list is the LIST requests beneath, with errors as ours. The library ends silently with ctx; this doesn't.
func (s *Store) list(ctx context.Context, o minio.ListObjectsOptions) iter.Seq2[minio.ObjectInfo, error] {
	return func(yield func(minio.ObjectInfo, error) bool) {
		owner := false
		o.FetchOwner = &owner
		for object := range s.core.ListObjectsIter(ctx, s.bucket, o) {
			if object.Err != nil {
				yield(minio.ObjectInfo{}, fmt.Errorf("list %s: %w", o.Prefix, s.explain(ctx, object.Err)))
				return
			}
			if !yield(object, nil) {
				return
			}
		}
		if err := context.Cause(ctx); err != nil {
			yield(minio.ObjectInfo{}, fmt.Errorf("list %s: %w", o.Prefix, err))
		}
	}
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchKey {
		return fmt.Errorf("delete %s: %w", key, s.explain(ctx, err))
	}
	return nil
}

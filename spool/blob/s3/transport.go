package s3

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"restante/spool/blob"
)

const (
	dialTimeout = 5 * time.Second
	tlsTimeout  = 10 * time.Second
	idleTimeout = 50 * time.Second // under the 60 s of most servers
	// stallTimeout ends a connection on which nothing moved for so long, in either direction.
	stallTimeout = 60 * time.Second
	idleConns    = 16
)

// newTransport returns an HTTP transport that gives up on silence.
func newTransport(caFile string) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &stallConn{Conn: c}, nil
		},
		TLSHandshakeTimeout: tlsTimeout,
		IdleConnTimeout:     idleTimeout,
		MaxIdleConnsPerHost: idleConns,
		DisableCompression:  true, // octets are to come as they are
		WriteBufferSize:     64 << 10,
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("s3: ca_file: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("s3: ca_file %s: there is no PEM certificate in it", caFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return t, nil
}

// stallConn fails when nothing was read or written for stallTimeout.
type stallConn struct{ net.Conn }

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *stallConn) Write(p []byte) (int, error) {
	// The answer is awaited by a Read that began before: what is sent gives it more time.
	if err := c.SetDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// billing counts requests by what they cost.
type billing struct {
	next                       *http.Transport
	puts, lists, gets, deletes atomic.Int64
}

func (b *billing) RoundTrip(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPut, r.Method == http.MethodPost:
		b.puts.Add(1)
	case r.Method == http.MethodDelete:
		b.deletes.Add(1)
	case q.Has("list-type"), q.Has("location"):
		b.lists.Add(1)
	default:
		b.gets.Add(1)
	}
	resp, err := b.next.RoundTrip(r)
	if err == nil && r.Method == http.MethodPut && resp.StatusCode >= 300 {
		err = retire(resp)
	}
	return resp, err
}

// retire keeps the connection of a refused PUT from being used again: some servers (versitygw with --keep-alive) refuse without
// reading the body, and then take it for the next request. A connection goes back to the pool when the last octet of an
// answer is read, so that octet isn't: it is the ">" of an XML document or the line feed after it.
func retire(resp *http.Response) error {
	if resp.ContentLength <= 0 || resp.ContentLength > 1<<20 {
		return nil
	}
	text := make([]byte, resp.ContentLength-1, resp.ContentLength)
	_, err := io.ReadFull(resp.Body, text)
	resp.Body.Close() // before its end: closes the connection
	resp.Body = io.NopCloser(bytes.NewReader(append(text, '>')))
	return err
}

func (b *billing) bill() blob.Bill {
	return blob.Bill{Puts: b.puts.Load(), Lists: b.lists.Load(), Gets: b.gets.Load(), Deletes: b.deletes.Load()}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type crc uint32

// header is the checksum as S3 writes it: base64 of four octets, big-endian.
func (c crc) header() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(c)))
}

// checksum reads the body once, unless it knows its checksum.
func checksum(body blob.Body) (crc, error) {
	if s, ok := body.(blob.Summed); ok {
		return crc(s.CRC32C()), nil
	}
	h := crc32.New(castagnoli)
	n, err := io.Copy(h, io.NewSectionReader(body, 0, body.Size()))
	if err == nil && n < body.Size() {
		err = errors.Join(io.ErrUnexpectedEOF, fmt.Errorf("%d of %d octets", n, body.Size()))
	}
	return crc(h.Sum32()), err
}

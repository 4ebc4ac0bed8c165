package webmail

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"testing"
)

// counted is a body without end that says how much of it was read.
type counted struct {
	head []byte
	read int64
	most int64
}

func (c *counted) Read(p []byte) (int, error) {
	if c.read >= c.most { // so that a test that fails ends
		return 0, http.ErrBodyReadAfterClose
	}
	n := copy(p, c.head)
	c.head = c.head[n:]
	for i := n; i < len(p); i++ {
		p[i] = 'x'
	}
	c.read += int64(len(p))
	return len(p), nil
}

func (c *counted) Close() error { return nil }

// TestBodiesNobodyAskedFor: pages that take no form, and refusals, read no form. net/http would write its files to disk.
func TestBodiesNobodyAskedFor(t *testing.T) {
	r := newRig(t)
	r.log.quiet.Store(true)
	var head bytes.Buffer
	m := multipart.NewWriter(&head)
	if _, err := m.CreateFormFile("from", "x"); err != nil {
		t.Fatal(err)
	}
	for _, rt := range r.server.routes() {
		if rt.Pattern == eventsPattern {
			continue
		}
		for _, who := range []string{"", "anna@example.test"} {
			if rt.Method == http.MethodPost && (rt.Pattern == "/write/{writing}" || rt.Pattern == "/write/{writing}/attach") && who != "" {
				continue // they take files
			}
			for _, path := range paths(rt.Pattern, []string{"me"}, []string{"01J9Z6ABCDEFGHJKMNPQRSTVWX"}, []string{"nonsense"}) {
				body := &counted{head: head.Bytes(), most: 64 << 20}
				req := httptest.NewRequest(rt.Method, path, body)
				req.Header.Set("Content-Type", m.FormDataContentType())
				if who != "" {
					req.AddCookie(&http.Cookie{Name: "who", Value: who})
				}
				r.server.ServeHTTP(httptest.NewRecorder(), req)
				if body.read > r.server.o.Limits.Form+64<<10 {
					t.Errorf("%s %s as %q reads %d octets of a body", rt.Method, path, who, body.read)
				}
			}
		}
	}
}

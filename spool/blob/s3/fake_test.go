package s3_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/s3"
	"restante/spool/need"
)

var absent = blob.Cond{Absent: true}

// fake opens a store on a server that answers by do.
func fake(t *testing.T, change func(*s3.Config), do http.HandlerFunc) *s3.Store {
	server := httptest.NewServer(do)
	t.Cleanup(server.Close)
	c := s3.Config{Endpoint: server.URL, Bucket: "spool", Credentials: s3.Credentials{AccessKey: "a", SecretKey: "very-secret"}}
	if change != nil {
		change(&c)
	}
	s, err := s3.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>message of %s</Message></Error>", code, code)
}

// TestPutErrors: what each answer means for the object. Every PUT is made once.
func TestPutErrors(t *testing.T) {
	certain, unknown := []error{blob.ErrNotWritten}, []error(nil)
	for _, c := range []struct {
		status int
		code   string
		cond   blob.Cond
		want   []error
		word   string // in the message
	}{
		{412, "PreconditionFailed", absent, []error{blob.ErrPrecondition}, ""},
		{404, "NoSuchKey", blob.Cond{Match: "x"}, []error{blob.ErrPrecondition}, ""},
		{404, "NoSuchBucket", absent, certain, "make the bucket"},
		{404, "NoSuchBucket", blob.Cond{Match: "x"}, certain, "make the bucket"},
		{403, "AccessDenied", absent, certain, "s3:PutObject"},
		{403, "InvalidAccessKeyId", absent, certain, "AWS_ACCESS_KEY_ID"},
		{403, "SignatureDoesNotMatch", absent, certain, "AWS_SECRET_ACCESS_KEY"},
		{403, "RequestTimeTooSkewed", absent, certain, "clock"},
		{301, "PermanentRedirect", absent, certain, "region"},
		{400, "BadDigest", absent, certain, "BadDigest"},
		{429, "TooManyRequests", absent, certain, ""},
		{501, "NotImplemented", absent, []error{blob.ErrUnfit, blob.ErrNotWritten}, ""},
		{507, "XMinioStorageFull", absent, []error{blob.ErrNoSpace, blob.ErrNotWritten}, ""},
		{403, "QuotaExceeded", absent, []error{blob.ErrNoSpace, blob.ErrNotWritten}, ""},
		{408, "RequestTimeout", absent, unknown, ""},
		{409, "ConditionalRequestConflict", absent, unknown, ""},
		{500, "InternalError", absent, unknown, ""},
		{503, "SlowDown", absent, unknown, ""},
		{502, "", absent, unknown, ""},
	} {
		var requests atomic.Int64
		s := fake(t, nil, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			io.Copy(io.Discard, r.Body)
			if c.code == "" {
				http.Error(w, "<html>bad gateway", c.status)
				return
			}
			fail(w, c.status, c.code)
		})
		_, err := s.Put(t.Context(), "k", strings.NewReader("text"), c.cond)
		if err == nil {
			t.Errorf("%d %s: no error", c.status, c.code)
			continue
		}
		for _, e := range []error{blob.ErrNotWritten, blob.ErrPrecondition, blob.ErrNoSpace, blob.ErrUnfit} {
			wanted := false
			for _, w := range c.want {
				wanted = wanted || errors.Is(w, e)
			}
			if errors.Is(err, e) != wanted {
				t.Errorf("%d %s: %v: is %q: %t, want %t", c.status, c.code, err, e, !wanted, wanted)
			}
		}
		if !strings.Contains(err.Error(), c.word) {
			t.Errorf("%d %s: %v: does not say %q", c.status, c.code, err, c.word)
		}
		if n := requests.Load(); n != 1 {
			t.Errorf("%d %s: %d requests", c.status, c.code, n)
		}
		if b := s.Bill(); b != (blob.Bill{Puts: 1}) {
			t.Errorf("%d %s: bill %v", c.status, c.code, b)
		}
	}
}

// TestLostAnswer: the connection ends after the body was read: unknown, and tried once.
func TestLostAnswer(t *testing.T) {
	var requests atomic.Int64
	s := fake(t, nil, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		io.Copy(io.Discard, r.Body)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	})
	_, err := s.Put(t.Context(), "k", strings.NewReader("text"), absent)
	if err == nil || errors.Is(err, blob.ErrNotWritten) || errors.Is(err, blob.ErrPrecondition) || requests.Load() != 1 {
		t.Fatalf("%v after %d requests", err, requests.Load())
	}
}

// TestRefusedConnection: nobody listens, or the name is unknown: nothing was written.
func TestRefusedConnection(t *testing.T) {
	s := fake(t, func(c *s3.Config) { c.Endpoint = "http://" + need.Addr(t) }, nil)
	start := time.Now()
	_, err := s.Put(t.Context(), "k", strings.NewReader("text"), absent)
	if !errors.Is(err, blob.ErrNotWritten) || errors.Is(err, blob.ErrPrecondition) {
		t.Error(err)
	}
	if _, _, err := s.Get(t.Context(), "k", blob.Range{}); err == nil || errors.Is(err, blob.ErrNotExist) {
		t.Error(err)
	}
	if err := blob.Prove(t.Context(), s); err == nil || errors.Is(err, blob.ErrUnfit) {
		t.Errorf("a store that is down is not unfit: %v", err)
	}
	if took := time.Since(start); took > 8*time.Second { // three refusals take no time, but on a busy machine
		t.Errorf("took %v", took)
	}
}

// TestRequest: the headers of a PUT and its octets under the prefix.
func TestRequest(t *testing.T) {
	const text = "text of the object"
	s := fake(t, func(c *s3.Config) { c.Prefix = "/a/b/" }, func(w http.ResponseWriter, r *http.Request) {
		sum := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))))
		if got := r.Header.Get("x-amz-checksum-crc32c"); got != sum {
			t.Errorf("checksum %q, want %q", got, sum)
		}
		if got := r.Header.Get("If-None-Match"); r.URL.Path == "/spool/a/b/absent" && got != "*" {
			t.Errorf("If-None-Match %q", got)
		}
		if got := r.Header.Get("If-Match"); r.URL.Path == "/spool/a/b/match" && got != `"x-1"` {
			t.Errorf("If-Match %q", got)
		}
		if !strings.Contains(r.Header.Get("Authorization"), "us-east-1/s3/aws4_request") {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		if b, err := io.ReadAll(r.Body); !strings.Contains(string(b), text) || err != nil {
			t.Errorf("body %q, %v", b, err)
		}
		w.Header().Set("ETag", `"new"`)
	})
	for key, cond := range map[string]blob.Cond{"absent": absent, "match": {Match: "x-1"}} {
		if etag, err := s.Put(t.Context(), key, strings.NewReader(text), cond); etag != "new" || err != nil {
			t.Error(etag, err)
		}
	}
}

// TestConnectionAfterRefusal: the connection of a refused PUT isn't used again, since the server may not have read the body; that of
// any other request is. The error is told whole all the same.
func TestConnectionAfterRefusal(t *testing.T) {
	var seen []string
	s := fake(t, nil, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.RemoteAddr) // requests come one after the other
		io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPut {
			fail(w, 412, "PreconditionFailed")
		} else {
			fail(w, 404, "NoSuchKey")
		}
	})
	for range 3 {
		if _, err := s.Put(t.Context(), "k", strings.NewReader("x"), absent); !errors.Is(err, blob.ErrPrecondition) || !strings.Contains(err.Error(), "message of PreconditionFailed") {
			t.Fatal(err)
		}
		for range 2 {
			if _, _, err := s.Get(t.Context(), "k", blob.Range{}); !errors.Is(err, blob.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	for i := 0; i < len(seen); i += 3 { // each PUT uses the connection of the GETs before it up
		if seen[i] == seen[i+1] || seen[i+1] != seen[i+2] || i > 0 && seen[i] != seen[i-1] {
			t.Fatalf("requests %d to %d came over %q", i, i+2, seen)
		}
	}
}

// TestReadBack: what is there counts, not what the server said.
func TestReadBack(t *testing.T) {
	for served, want := range map[string]error{"text": nil, "tex": blob.ErrUnreadable, "TEXT": blob.ErrUnreadable, "": blob.ErrNotExist} {
		s := fake(t, func(c *s3.Config) { c.ReadBack = true }, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"e"`)
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			switch {
			case r.Method == http.MethodPut:
				io.Copy(io.Discard, r.Body)
			case served == "":
				fail(w, 404, "NoSuchKey")
			default:
				io.WriteString(w, served)
			}
		})
		_, err := s.Put(t.Context(), "k", strings.NewReader("text"), absent)
		if !errors.Is(err, want) || errors.Is(err, blob.ErrNotWritten) || errors.Is(err, blob.ErrPrecondition) {
			t.Errorf("%q read back: %v, want %v", served, err, want)
		}
		if b := s.Bill(); b != (blob.Bill{Puts: 1, Gets: 1}) {
			t.Errorf("bill %v", b)
		}
	}
}

// TestIgnoredRange: a server that gives other octets than asked for is found out.
func TestIgnoredRange(t *testing.T) {
	for _, field := range []string{"", "bytes 0-3/10", "bytes 2-5/*", "bytes 2-6/10"} {
		s := fake(t, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"e"`)
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			if field != "" {
				w.Header().Set("Content-Range", field)
				w.WriteHeader(http.StatusPartialContent)
			}
			io.WriteString(w, "2345")
		})
		if rd, _, err := s.Get(t.Context(), "k", blob.Range{Offset: 2, Length: 4}); !errors.Is(err, blob.ErrUnfit) {
			t.Errorf("Content-Range %q: %v", field, err)
			if err == nil {
				rd.Close()
			}
		}
	}
}

// TestCutBody: fewer octets than announced are an error.
func TestCutBody(t *testing.T) {
	s := fake(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "01234")
	})
	rd, info, err := s.Get(t.Context(), "k", blob.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	if b, err := io.ReadAll(rd); err == nil || info.Size != 10 {
		t.Errorf("%q of %d without an error", b, info.Size)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		config s3.Config
		word   string
	}{
		{s3.Config{}, "s3://bucket"},
		{s3.Config{Bucket: "b", Endpoint: "ftp://host"}, "https://host"},
		{s3.Config{Bucket: "b", Endpoint: "https://host/path"}, "without a path"},
		{s3.Config{Bucket: "b", Endpoint: "https://me:hunter2@host"}, "...@host"},
		{s3.Config{Bucket: "b", Prefix: "a b"}, "prefix"},
		{s3.Config{Bucket: "b", CAFile: "/does/not/exist"}, "ca_file"},
	} {
		_, err := s3.Open(t.Context(), c.config)
		if err == nil || !strings.Contains(err.Error(), c.word) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
}

// TestCredentials: each source is found, and a missing one says what to do.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	file := write("credentials", "[default]\naws_access_key_id = from-file\naws_secret_access_key = s\n[other]\naws_access_key_id = from-profile\naws_secret_access_key = s\n")
	for want, c := range map[string]s3.Credentials{
		"given":        {AccessKey: "given", SecretKey: "s", Getenv: env("AWS_ACCESS_KEY_ID", "wrong", "AWS_SECRET_ACCESS_KEY", "s")},
		"from-env":     {Getenv: env("AWS_ACCESS_KEY_ID", "from-env", "AWS_SECRET_ACCESS_KEY", "s")},
		"from-secrets": {Getenv: env("AWS_ACCESS_KEY_ID_FILE", write("id", "from-secrets\n"), "AWS_SECRET_ACCESS_KEY_FILE", write("key", "s\n"))},
		"from-file":    {File: file, Getenv: env("AWS_ACCESS_KEY_ID", "wrong", "AWS_SECRET_ACCESS_KEY", "s")},
		"from-profile": {File: file, Profile: "other"},
	} {
		var got atomic.Value
		s := fake(t, func(cfg *s3.Config) { cfg.Credentials = c }, func(w http.ResponseWriter, r *http.Request) {
			got.Store(r.Header.Get("Authorization"))
			fail(w, 404, "NoSuchKey")
		})
		if _, _, err := s.Get(t.Context(), "k", blob.Range{}); !errors.Is(err, blob.ErrNotExist) {
			t.Errorf("%s: %v", want, err)
		} else if !strings.Contains(got.Load().(string), "Credential="+want+"/") {
			t.Errorf("%s: %s", want, got.Load())
		}
	}
	s := fake(t, func(c *s3.Config) { c.Credentials = s3.Credentials{File: filepath.Join(dir, "none")} }, func(http.ResponseWriter, *http.Request) {
		t.Error("a request without credentials")
	})
	_, err := s.Put(t.Context(), "k", strings.NewReader("x"), absent)
	if !errors.Is(err, blob.ErrNotWritten) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Error(err)
	}
}

// TestSecrets: neither the store's name nor printing its configuration tells a secret.
func TestSecrets(t *testing.T) {
	c := s3.Config{Bucket: "b", Endpoint: "http://127.0.0.1:9000", Region: "r", Prefix: "p/q/", Credentials: s3.Credentials{AccessKey: "a", SecretKey: "very-secret"}}
	s, err := s3.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if want := "s3://b/p/q?endpoint=http://127.0.0.1:9000&region=r"; s.String() != want {
		t.Errorf("%s, want %s", s, want)
	}
	j, err := json.Marshal(c.Credentials.SecretKey)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", c, c, c), string(j)} {
		if strings.Contains(text, "very-secret") || err != nil {
			t.Error(text, err)
		}
	}
}

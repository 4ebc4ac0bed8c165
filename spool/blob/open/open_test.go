package open_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/local"
	"restante/spool/blob/open"
	"restante/spool/blob/s3test"
	"restante/spool/blob/wrap"
)

// TestRefused: each mistake is an error that says what to write instead, and repeats no secret.
func TestRefused(t *testing.T) {
	for raw, want := range map[string]string{
		"":                               "write file:///path/to/folder or s3://bucket/prefix",
		"/var/lib/restante/spool":        "write file:///path/to/folder or s3://bucket/prefix",
		"http://127.0.0.1:9000/bucket":   "write file:///path/to/folder or s3://bucket/prefix",
		"file://var/lib/spool":           "write three slashes, file:///var/lib/spool",
		"file:///":                       "name a folder",
		"file:///a?sync=no":              "a folder has no options",
		"mem://x":                        `write "mem:" alone`,
		"s3://":                          "s3://bucket/prefix",
		"s3:bucket":                      "s3://bucket/prefix",
		"s3://b/p#1":                     "%23",
		"s3://b?endpoint=":               "endpoint is empty",
		"s3://b?endpoint=ftp://h":        "write it as https://host",
		"s3://b?region=a&region=b":       "region is there 2 times",
		"s3://b?read_back=maybe":         "write read_back=true or read_back=false",
		"s3://b?endpiont=http://h":       "write endpoint instead",
		"s3://b?host=h":                  "write endpoint=https://host:port instead",
		"s3://b?s3ForcePathStyle=true":   "write path_style=true instead",
		"s3://b?readback=true":           "write read_back=true instead",
		"s3://b?access_key=AKIAHUNTER2":  "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
		"s3://b?secret-key=hunter2":      "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
		"s3://key:hunter2@b/p":           "take the credentials out of it",
		"s3://key:hunter2@b/p%zz":        "store URL",
		"s3://b?colour=blue":             "write one of endpoint, region,",
		"gopher://x":                     "write file://",
		"s3://b?a=%zz&secret=hunter2":    "can't be read",
		"s3://b?ca_file=/does/not/exist": "ca_file",
		"s3://b/a b":                     "no path segment",
	} {
		_, err := open.URL(t.Context(), raw, open.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), "hunter2") {
			t.Errorf("%s:\n got %v\nwant %s", raw, err, want)
		}
	}
}

// TestTaken: these need nothing to be there.
func TestTaken(t *testing.T) {
	for _, raw := range []string{"mem:", "s3://b/p?endpoint=http://127.0.0.1:9000&region=eu&path_style=false&read_back=true"} {
		s, err := open.URL(t.Context(), raw, open.Options{})
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		blob.Close(s)
	}
	t.Chdir(t.TempDir())
	s, err := open.URL(t.Context(), "file:spool", open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	blob.Close(s)
}

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space", "spool")
	url := "file://" + strings.ReplaceAll(dir, " ", "%20")
	registry := prometheus.NewRegistry()
	s, err := open.URL(t.Context(), url, open.Options{Metrics: wrap.NewMetrics(registry)})
	if err != nil {
		t.Fatal(err)
	}
	if s.String() != url {
		t.Errorf("%s, want %s", s, url)
	}
	blobtest.Put(t, s, "a", "x", blob.Cond{Absent: true})
	if free, _, err := blob.Space(t.Context(), s); free <= 0 || err != nil {
		t.Error(free, err)
	}
	if _, err := open.URL(t.Context(), url, open.Options{}); !errors.Is(err, local.ErrLocked) {
		t.Error(err)
	}
	ro, err := open.URL(t.Context(), url, open.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	blobtest.Read(t, ro, "a", blob.Range{})
	if err := blob.Close(s); err != nil {
		t.Fatal(err)
	}
	again, err := open.URL(t.Context(), url, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	blob.Close(again)
	if families, err := registry.Gather(); err != nil || len(families) == 0 {
		t.Error(families, err)
	}
}

func TestS3(t *testing.T) {
	server := s3test.Start(t)
	env := map[string]string{}
	for _, pair := range server.Env() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	s, err := open.URL(t.Context(), server.URL("some/prefix")+"&read_back=true", open.Options{Getenv: func(name string) string { return env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close(s)
	if err := blob.Prove(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	blobtest.Put(t, s, "a/b", "x", blob.Cond{Absent: true})
	blobtest.Read(t, s, "a/b", blob.Range{})
	if _, _, err := blob.Space(t.Context(), s); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if want := "s3://spool/some/prefix?endpoint=" + server.Endpoint + "&region=us-east-1"; s.String() != want {
		t.Errorf("%s, want %s", s, want)
	}
}

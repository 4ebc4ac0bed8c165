// Package s3test runs an S3 server, versitygw, for the tests of everything that keeps mail in a bucket. It is installed by
//
//	go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
//
// Without it tests are skipped, or fail when RESTANTE_TEST_REQUIRE=1 is set.
package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/build"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"restante/spool/blob/s3"

	"restante/spool/need"
)

// The root user of the server.
const (
	AccessKey = "restante"
	SecretKey = "restante-secret"
	Region    = "us-east-1"
	Bucket    = "spool"
)

// Server is a running versitygw whose bucket is a folder. It can be stopped and started again at the same address.
type Server struct {
	Endpoint string // "http://127.0.0.1:12345"
	Dir      string // the bucket's folder is Dir/spool

	addr     string
	program  string
	args     []string
	command  *exec.Cmd
	exited   chan struct{}
	output   bytes.Buffer
	prefixes atomic.Int64
}

// Start starts a server with an empty bucket and stops it at the end of the test. args are more of its arguments, such as "--keep-alive".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	_, err := find()
	need.This(t, err)
	s, err := Launch(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Launch is Start for a program: the bucket is made in dir, and the caller stops the server.
func Launch(dir string, args ...string) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	addr, err := need.Free()
	if err != nil {
		return nil, err
	}
	s := &Server{Endpoint: "http://" + addr, Dir: dir, addr: addr, program: program, args: args}
	if err := os.Mkdir(filepath.Join(s.Dir, Bucket), 0o755); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// find looks in PATH and where "go install" puts programs.
func find() (string, error) {
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p, nil
	}
	p := filepath.Join(build.Default.GOPATH, "bin", "versitygw")
	if _, err := os.Stat(p); err == nil {
		return p, nil
	}
	return "", errors.New("versitygw is not installed: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
}

// Start starts the server again after Stop, at the same address with the same objects.
func (s *Server) Start() error {
	s.output.Reset()
	args := append(slices.Clone(s.args), "--port", s.addr, "--access", AccessKey, "--secret", SecretKey, "--region", Region,
		"--quiet", "posix", s.Dir)
	s.command = exec.Command(s.program, args...)
	s.command.Stdout, s.command.Stderr = &s.output, &s.output
	if err := s.command.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.exited = exited
	go func(c *exec.Cmd) {
		c.Wait()
		close(exited)
	}(s.command)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		if answers(ctx, s.Endpoint) {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("versitygw ended: %s", s.output.String())
		case <-ctx.Done():
			s.Stop()
			return fmt.Errorf("versitygw does not answer: %s", s.output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func answers(ctx context.Context, endpoint string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// Stop kills the server and waits until it is gone. Stopping it twice is no error.
func (s *Server) Stop() {
	if s.command == nil || s.command.Process == nil {
		return
	}
	s.command.Process.Kill()
	<-s.exited
}

// Pause stops the server from answering while its connections stay open, until Resume: a store that hangs.
func (s *Server) Pause() error {
	if err := s.command.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for { // its threads stop one after another, and until the last has a request may still be answered
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		still := answers(ctx, s.Endpoint)
		cancel()
		if !still {
			return nil
		}
	}
}

// Resume ends Pause.
func (s *Server) Resume() error { return s.command.Process.Signal(syscall.SIGCONT) }

// Config is of a store in the bucket, under a prefix of its own for each call.
func (s *Server) Config() s3.Config {
	return s3.Config{
		Endpoint:    s.Endpoint,
		Bucket:      Bucket,
		Prefix:      fmt.Sprintf("p%d", s.prefixes.Add(1)),
		Region:      Region,
		Credentials: s3.Credentials{AccessKey: AccessKey, SecretKey: SecretKey},
	}
}

// Open opens a store in the bucket, under a prefix of its own for each call.
func (s *Server) Open(t testing.TB) *s3.Store {
	t.Helper()
	store, err := s3.Open(t.Context(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// URL is the store's URL as the configuration has it. The credentials have to be in the environment: see Env.
func (s *Server) URL(prefix string) string {
	return "s3://" + Bucket + "/" + prefix + "?endpoint=" + url.QueryEscape(s.Endpoint) + "&region=" + Region
}

// Env is the environment of a program that is to use URL.
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey}
}

package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"testing"

	"restante/spool"
	"restante/spool/index"
)

// fake implements what the tests need; everything else panics.
type fake struct {
	Backend
	by  string
	raw func(io.Writer) error
}

func (f *fake) Show(context.Context, string) (*index.View, error) {
	return nil, Errorf(KindNotFound, "look elsewhere", "nothing %s", "here")
}

func (f *fake) Declare(_ context.Context, by string, d Declaration) (*Declaration, error) {
	f.by = by
	return &d, nil
}

func (f *fake) Raw(_ context.Context, _, _ string, w io.Writer) error { return f.raw(w) }

func (f *fake) ReportPairs(_ context.Context, id string, each func(spool.Pair) error) error {
	for i := range 3 {
		if err := each(spool.Pair{Rcpt: i}); err != nil {
			return err
		}
	}
	if id == "broken" {
		return errors.New("the index is gone")
	}
	return nil
}

func start(t *testing.T, f *fake) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o660 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	s := NewServer(f, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c := NewClient(path)
	t.Cleanup(func() {
		c.Close()
		if err := errors.Join(s.Shutdown(context.Background()), <-done); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return c
}

func TestPeerIsNamed(t *testing.T) {
	f := &fake{}
	if _, err := start(t, f).Declare(t.Context(), Declaration{Domain: "example.com"}); err != nil {
		t.Fatal(err)
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if f.by != "admin "+u.Username {
		t.Errorf("by %q", f.by)
	}
}

func TestErrorsCross(t *testing.T) {
	_, err := start(t, &fake{}).Show(t.Context(), "x")
	e := AsError(err)
	if e.Kind != KindNotFound || e.Text != "nothing here" || e.Mend != "look elsewhere" {
		t.Errorf("%+v", e)
	}
}

// TestContentIsWholeOrAnError: half of a message is never taken for all of it.
func TestContentIsWholeOrAnError(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	f := &fake{}
	c := start(t, f)
	var got bytes.Buffer
	f.raw = func(w io.Writer) error { _, err := w.Write(big); return err }
	if err := c.Raw(t.Context(), "x", &got); err != nil || !bytes.Equal(got.Bytes(), big) {
		t.Errorf("%d octets, %v", got.Len(), err)
	}
	f.raw = func(w io.Writer) error {
		if _, err := w.Write(big); err != nil {
			return err
		}
		return Errorf(KindFailed, "", "damaged")
	}
	if err := c.Raw(t.Context(), "x", io.Discard); err == nil || err.Error() != "damaged" {
		t.Errorf("%v", err)
	}
	f.raw = func(io.Writer) error { return Errorf(KindNotFound, "", "gone") }
	if err := c.Raw(t.Context(), "x", io.Discard); err == nil || AsError(err).Kind != KindNotFound {
		t.Errorf("%v", err)
	}
	f.raw = func(io.Writer) error { return nil }
	if err := c.Raw(t.Context(), "x", io.Discard); err != nil {
		t.Errorf("an empty message: %v", err)
	}
}

func TestStreams(t *testing.T) {
	c := start(t, &fake{})
	n := 0
	count := func(spool.Pair) error { n++; return nil }
	if err := c.ReportPairs(t.Context(), "o", count); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if err := c.ReportPairs(t.Context(), "broken", count); err == nil || err.Error() != "the index is gone" || n != 6 {
		t.Errorf("%d, %v", n, err)
	}
	stop := errors.New("enough")
	if err := c.ReportPairs(t.Context(), "o", func(spool.Pair) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	_, err := NewClient(filepath.Join(dir, "none")).Status(t.Context())
	if e := AsError(err); e.Kind != KindUnreachable || e.Mend == "" {
		t.Errorf("%+v", e)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, ""); err == nil || AsError(err).Mend == "" {
		t.Errorf("a second one: %v", err)
	}
	if _, err := Listen(filepath.Join(t.TempDir(), "g"), "no-such-group-here"); err == nil {
		t.Error("a group that does not exist")
	}
	// A dead process leaves its socket: the next one takes its place.
	if err := l.(*listener).UnixListener.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

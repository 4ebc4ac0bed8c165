package mailbox

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"restante/spool"
)

// TestTextPanics: a message that the reader doesn't survive costs its own text and no more.
func TestTextPanics(t *testing.T) {
	f := &fakeSpool{raw: map[string]string{}}
	s := openStore(t, "", f, func(o *Options) {
		o.Text = func(ctx context.Context, r io.ReaderAt, size int64) (string, []string, error) {
			text, names, err := wordsOf(ctx, r, size)
			if strings.Contains(text, "bomb") {
				panic("it went off")
			}
			return text, names, err
		}
	})
	defer closeStore(t, s)
	m := newMaker()
	bad, good := m.held(1, "s@x.test", "one", "anna@a.test"), m.held(2, "s@x.test", "two", "anna@a.test")
	f.raw[bad.ID], f.raw[good.ID] = "\r\n\r\na bomb", "\r\n\r\nhello"
	if err := s.Apply(t.Context(), []spool.Step{m.mail(bad, good)}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.readTexts(t.Context()); n != 2 || err != nil {
		t.Errorf("%d texts, %v", n, err)
	}
	if left, err := s.Progress(t.Context()); left != 0 || err != nil {
		t.Errorf("%d are left, %v", left, err)
	}
}

// TestChangePanics: a transaction that panics is rolled back, and the store goes on.
func TestChangePanics(t *testing.T) {
	s := openStore(t, "", &fakeSpool{raw: map[string]string{}}, nil)
	defer closeStore(t, s)
	s.writing.Lock()
	_, err := s.change(t.Context(), func(*txn) error { panic("it went off") })
	s.writing.Unlock()
	if err == nil || !strings.Contains(err.Error(), "it went off") || errors.Is(err, spool.ErrForeign) {
		t.Errorf("%v", err)
	}
	m := newMaker()
	if err := s.Apply(t.Context(), []spool.Step{m.mail(m.held(1, "s@x.test", "one", "anna@a.test"))}); err != nil {
		t.Error(err)
	}
}

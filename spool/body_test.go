package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestBody(t *testing.T) {
	for _, size := range []int{0, 1, 99, 100, 101, 5000} {
		dir := t.TempDir()
		b := NewBody(dir, 100)
		text := strings.Repeat("x\r\n\xff", size)[:size]
		for part := range strings.SplitSeq(text, "\n") {
			if _, err := io.WriteString(b, part); err != nil {
				t.Fatal(err)
			}
		}
		text = strings.ReplaceAll(text, "\n", "")
		sum := sha256.Sum256([]byte(text))
		if b.Size() != int64(len(text)) || b.SHA256() != hex.EncodeToString(sum[:]) {
			t.Errorf("%d octets: size %d, hash %s", len(text), b.Size(), b.SHA256())
		}
		for range 2 {
			if got, err := io.ReadAll(b.Reader()); err != nil || string(got) != text {
				t.Errorf("%d octets: read %d, %v", len(text), len(got), err)
			}
		}
		mem, ok := b.Bytes()
		if ok != (len(text) <= 100) || ok && !bytes.Equal(mem, []byte(text)) {
			t.Errorf("%d octets: in memory %v", len(text), ok)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("a file that a killed process would leave: %v %v", left, err)
		}
		if _, err := io.WriteString(b, "more"); err == nil {
			t.Error("written after being hashed")
		}
		for range 2 {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestBodyWithoutDisk(t *testing.T) {
	b := NewBody("/nonexistent/folder", 10)
	if _, err := io.WriteString(b, strings.Repeat("x", 11)); err == nil {
		t.Error("no error")
	}
	if _, err := io.WriteString(b, "x"); err == nil {
		t.Error("the error is forgotten")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                 "",
		"plain <a@b> text": "plain <a@b> text",
		"grüße 日本":         "grüße 日本",
		"a\x00b\tc\r\n":    `a\x00b\x09c\x0d\x0a`,
		"\xff\xc3(":        `\xff\xc3(`,
		"\x7f\u0085":       `\x7f\xc2\x85`,
		"real \ufffd":      "real \ufffd",
		"\u202eevil":       `\xe2\x80\xaeevil`,
		"\x1b[31mred":      `\x1b[31mred`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\xffb")
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unhappy) {
			t.Errorf("Printable(%q) = %q", s, got)
		}
		if Printable(got) != got {
			t.Errorf("not stable: %q", got)
		}
	})
}

func TestKeys(t *testing.T) {
	id := StreamID{Ledger: true, Name: "n1-01J-2"}
	key := id.Key(0x12345)
	if key != "ledger/n1-01J-2/0000000000012/0000000000012345.jsonl.zst" {
		t.Error(key)
	}
	if got, seq, ok := ParseKey(key); !ok || got != id || seq != 0x12345 {
		t.Error(got, seq, ok)
	}
	if id.Node() != "n1" {
		t.Error(id.Node())
	}
	for _, bad := range []string{"", "mail/x/0/0.tar.zst", "mail/x/0000000000012/0000000000012345.jsonl.zst", "mail//0000000000000/0000000000000000.tar.zst",
		"mail/x/0000000000001/0000000000012345.tar.zst", "lease/x.json", "mail/x/0000000000000/0000000000000000.tar.zst.tmp", "mail/x/0000000000000/+000000000000000.tar.zst"} {
		if id, seq, ok := ParseKey(bad); ok {
			t.Errorf("%q is taken for %v %d", bad, id, seq)
		}
	}
}

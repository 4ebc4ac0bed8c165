package trace

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"restante/spool"
)

const us = "mx2.example.test"

func strip(t testing.TB, skip int, msg string) string {
	t.Helper()
	body := spool.NewBody("", 1<<20) // what is in memory is read another way than what isn't
	if _, err := body.Write([]byte(msg)); err != nil {
		t.Fatal(err)
	}
	var results [2]string
	for i, src := range []io.ReaderAt{strings.NewReader(msg), body} {
		r, n, err := Strip(src, int64(skip), int64(len(msg)), us)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || int64(len(b)) != n {
			t.Fatalf("%d octets read, %d announced, %v", len(b), n, err)
		}
		results[i] = string(b)
	}
	if results[0] != results[1] {
		t.Fatalf("%q in memory, %q else", results[1], results[0])
	}
	return results[0]
}

func TestStrip(t *testing.T) {
	const forged = "Authentication-Results: mx2.example.test; dkim=pass\r\n"
	tests := []struct{ name, in, want string }{
		{"nothing there", "Subject: x\r\n\r\nbody\r\n", "Subject: x\r\n\r\nbody\r\n"},
		{"empty", "", ""},
		{"no header", "\r\nbody\r\n", "\r\nbody\r\n"},
		{"forged", "A: 1\r\n" + forged + "B: 2\r\n\r\nbody", "A: 1\r\nB: 2\r\n\r\nbody"},
		{"first and last", forged + "A: 1\r\n" + forged + "\r\nbody", "A: 1\r\n\r\nbody"},
		{"only", forged, ""},
		{"all of the header", forged + forged + "\r\nbody", "\r\nbody"},
		{"without an end", "A: 1\r\nAuthentication-Results: mx2.example.test; x=y", "A: 1\r\n"},
		{"another's", "Authentication-Results: mx.other.example; dkim=pass\r\n\r\n", "Authentication-Results: mx.other.example; dkim=pass\r\n\r\n"},
		{"a longer name", "Authentication-Results: xmx2.example.test; a\r\nAuthentication-Results: mx2.example.test.evil; b\r\n\r\n", "Authentication-Results: xmx2.example.test; a\r\nAuthentication-Results: mx2.example.test.evil; b\r\n\r\n"},
		{"in the body", "A: 1\r\n\r\n" + forged, "A: 1\r\n\r\n" + forged},
		{"folded", "Authentication-Results:\r\n mx2.example.test;\r\n\tdkim=pass\r\nB: 2\r\n\r\n", "B: 2\r\n\r\n"},
		{"case", "AUTHENTICATION-RESULTS: MX2.Example.TEST; spf=pass\r\n\r\n", "\r\n"},
		{"space before the colon", "Authentication-Results \t: mx2.example.test; spf=pass\r\n\r\n", "\r\n"},
		{"version", "Authentication-Results: mx2.example.test 1; spf=pass\r\n\r\n", "\r\n"},
		{"none", "Authentication-Results: mx2.example.test; none\r\n\r\n", "\r\n"},
		{"no space", "Authentication-Results:mx2.example.test;none\r\n\r\n", "\r\n"},
		{"comments", "Authentication-Results: (a (b) \\) c)\r\n (x) mx2.example.test (y); none\r\n\r\n", "\r\n"},
		{"comment after", "Authentication-Results: mx2.example.test(y); none\r\n\r\n", "\r\n"},
		{"quoted", "Authentication-Results: \"mx2.exa\\mple.test\"; none\r\n\r\n", "\r\n"},
		{"final dot", "Authentication-Results: mx2.example.test.; none\r\n\r\n", "\r\n"},
		{"full width", "Authentication-Results: ｍx2.example。test; none\r\n\r\n", "\r\n"},
		{"junk line before", "junk\r\n" + forged + "A: 1\r\n\r\nx", "junk\r\nA: 1\r\n\r\nx"},
		{"not a continuation of it", "X: 1\r\n Authentication-Results: mx2.example.test; none\r\n\r\n", "X: 1\r\n Authentication-Results: mx2.example.test; none\r\n\r\n"},
		{"arc", "ARC-Authentication-Results: i=1; mx2.example.test; none\r\n\r\n", "ARC-Authentication-Results: i=1; mx2.example.test; none\r\n\r\n"},
	}
	for _, tt := range tests {
		if got := strip(t, 0, tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := strip(t, len(forged), forged+forged+"\r\nx"); got != forged+"\r\nx" {
		t.Errorf("our own field within the skipped octets: %q", got)
	}
	long := "X: " + strings.Repeat("a b\r\n ", 20_000) + "\r\n"
	if got := strip(t, 0, long+forged+"\r\nbody"); got != long+"\r\nbody" {
		t.Error("a forged field behind a long one stays")
	}
	r, _, err := Strip(strings.NewReader(forged), 0, int64(len(forged)), "")
	if b, _ := io.ReadAll(r); err != nil || string(b) != forged {
		t.Errorf("without an id: %q, %v", b, err)
	}
	if _, _, err := Strip(strings.NewReader("short"), 0, 100, us); err == nil {
		t.Error("a message shorter than it should be is no error")
	}
}

func FuzzStrip(f *testing.F) {
	f.Add("A: 1\r\nAuthentication-Results: mx2.example.test; x\r\n y\r\n\r\nbody")
	f.Add("Authentication-Results: (((\\\r\n\r\n")
	f.Add("authentication-results:\"mx2.example.test\r\n")
	f.Fuzz(func(t *testing.T, msg string) {
		got := strip(t, 0, msg)
		if again := strip(t, 0, got); again != got {
			t.Fatalf("%q: stripped twice %q, once %q", msg, again, got)
		}
		// What is left is what came, less whole lines: nothing is added, moved or cut within a line.
		rest := got
		for line := range strings.Lines(msg) {
			rest = strings.TrimPrefix(rest, line)
		}
		if rest != "" {
			t.Fatalf("%q became %q", msg, got)
		}
		end := headerEnd([]byte(msg))
		if end >= 0 && !strings.HasSuffix(got, msg[end:]) {
			t.Fatalf("the body of %q changed: %q", msg, got)
		}
	})
}

func TestSummarize(t *testing.T) {
	msg := "Received: x\r\nFrom: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTO: a@example.test,\r\n b@example.test\r\n" +
		"Subject: =?iso-8859-1?q?Gr=FC=DFe?= =?utf-8?b?4oCm?=\r\nsubject: second\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@x>\r\nReferences: <r@x>\r\n <p@x>\r\nIn-Reply-To: <p@x>\r\n\r\nSubject: body\r\n"
	s, err := Summarize(strings.NewReader(msg), int64(len(msg)))
	if err != nil {
		t.Fatal(err)
	}
	if s.From != "Jürgen <j@example.org>" || s.To != "a@example.test, b@example.test" || s.Subject != "Grüße…" ||
		s.Date != "Sat, 21 Nov 2026 10:00:00 +0000" || s.MessageID != "<1@x>" || s.Refs != "<p@x> <r@x>" {
		t.Errorf("%+v", s)
	}
	for _, subject := range []string{strings.Repeat("ü", 500), "a\x00b\x1b[31m\xff", "=?x-unknown?q?=41?=", "=?utf-8?q?=0D=0A_x?="} {
		msg := "Subject: " + subject + "\r\n\r\n"
		s, err := Summarize(strings.NewReader(msg), int64(len(msg)))
		if err != nil || len(s.Subject) > 200 || s.Subject == "" || strings.ContainsAny(s.Subject, "\x00\x1b\r\n") || !utf8.ValidString(s.Subject) {
			t.Errorf("%q: %q, %v", subject, s.Subject, err)
		}
	}
}

func BenchmarkStrip(b *testing.B) {
	msg := []byte("Received: from x (y [192.0.2.1])\r\n\tby z; Sat, 21 Nov 2026 10:00:00 +0000\r\nDKIM-Signature: " + strings.Repeat("abcdefgh", 60) +
		"\r\nFrom: a@example.org\r\nTo: b@example.test\r\nSubject: hello\r\n\r\n" + strings.Repeat("body\r\n", 700))
	for b.Loop() {
		if _, _, err := Strip(bytes.NewReader(msg), 0, int64(len(msg)), us); err != nil {
			b.Fatal(err)
		}
	}
}

// TestStripAt: whoever reads in pieces, from anywhere, reads what goes out.
func TestStripAt(t *testing.T) {
	const forged = "Authentication-Results: mx2.example.test; dkim=pass\r\n"
	msg := forged + "A: 1\r\n" + forged + forged + "B: 2\r\n\r\n" + strings.Repeat("body\r\n", 50)
	want := strip(t, 0, msg)
	r, n, err := StripAt(strings.NewReader(msg), 0, int64(len(msg)), us)
	if err != nil || n != int64(len(want)) {
		t.Fatalf("%d octets, want %d, %v", n, len(want), err)
	}
	for off := 0; off <= len(want); off++ {
		for _, length := range []int{0, 1, 7, len(want)} {
			b := make([]byte, length)
			got, err := r.ReadAt(b, int64(off))
			end := min(off+length, len(want))
			if string(b[:got]) != want[off:end] || (err == io.EOF) != (off+length > len(want)) {
				t.Fatalf("%d octets from %d: %q, %v", length, off, b[:got], err)
			}
		}
	}
	whole := strings.NewReader(strings.ReplaceAll(msg, forged, ""))
	if r, n, _ := StripAt(whole, 0, whole.Size(), us); r != io.ReaderAt(whole) || n != whole.Size() {
		t.Error("a message that nothing is taken from isn't itself")
	}
	long := msg + strings.Repeat("body\r\n", 5000)
	cut, n, err := StripAt(strings.NewReader(long[:len(long)-10]), 0, int64(len(long)), us)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(io.NewSectionReader(cut, 0, n)); err == nil {
		t.Error("a message shorter than it should be is no error")
	}
}

// TestEndlessIDs: a header has room for many names that are slow to compare.
func TestEndlessIDs(t *testing.T) {
	var id strings.Builder
	for r := '\u4e00'; r < '\u4f40'; r++ {
		id.WriteRune(r)
	}
	msg := strings.Repeat("Authentication-Results: "+id.String()+"; spf=pass\r\n", 1200) + "\r\n"
	begun := time.Now()
	_, n, err := Strip(strings.NewReader(msg), 0, int64(len(msg)), "mx2.example.net")
	if took := time.Since(begun); err != nil || n != int64(len(msg)) || took > time.Second {
		t.Errorf("%d of %d octets, %v, took %v", n, len(msg), err, took)
	}
	wide := "Authentication-Results: ｍｘ２．ｅｘａｍｐｌｅ．ｎｅｔ; spf=pass\r\n\r\n"
	if _, n, err := Strip(strings.NewReader(wide), 0, int64(len(wide)), "mx2.example.net"); err != nil || n != 2 {
		t.Errorf("in wide letters: %d octets left, %v", n, err)
	}
}

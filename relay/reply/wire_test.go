package reply

import (
	"errors"
	"strings"
	"testing"
)

func TestAppend(t *testing.T) {
	long := strings.Repeat("x", 480)
	for _, c := range []struct {
		r    Reply
		want string
	}{
		{New(250, Enhanced{2, 1, 5}, "Ok"), "250 2.1.5 Ok\r\n"},
		{New(550, Enhanced{5, 1, 1}, "one\ntwo\nthree"), "550-5.1.1 one\r\n550-5.1.1 two\r\n550 5.1.1 three\r\n"},
		{New(550, Enhanced{5, 7, 123}, "x"), "550 5.7.123 x\r\n"},
		{Reply{Code: 451}, "451 4.0.0 \r\n"},
		{Reply{Code: 354, Text: "go"}, "354 go\r\n"},
		{Reply{Code: 250, Text: "a\r\nb\r\n"}, "250-2.0.0 a\r\n250 2.0.0 b\r\n"},
		{Reply{Code: 250, Text: "a\n\nb"}, "250-2.0.0 a\r\n250-2.0.0 \r\n250 2.0.0 b\r\n"},
		{Reply{Code: 550, Text: "bad\rcr \x00 \x7f ü\ttab"}, "550 5.0.0 bad?cr ? ? ??\ttab\r\n"},
		{Reply{Code: 550, Text: long + "y"}, "550-5.0.0 " + long + "\r\n550 5.0.0 y\r\n"},
		{Reply{Code: 550, Enhanced: Enhanced{5, -1, 70000}, Text: "x"}, "550 5.0.0 x\r\n"},
		{New(550, Enhanced{5, 1, 1}, "x").With(errors.New("secret")), "550 5.1.1 x\r\n"},
	} {
		if got := string(c.r.Append([]byte("before\r\n"))); got != "before\r\n"+c.want {
			t.Errorf("%+v: %q, want %q", c.r, got, c.want)
		}
	}
}

// FuzzAppend: a reply is lines of at most 512 octets that say one code and end once, whatever it was made of.
func FuzzAppend(f *testing.F) {
	f.Add(550, 5, 1, 1, "no\nsuch\r\nuser")
	f.Add(250, 0, 0, 0, "")
	f.Add(421, 4, 1000, -5, strings.Repeat("a\n", 100))
	f.Fuzz(func(t *testing.T, code, a, b, c int, text string) {
		code = 200 + (code%400+400)%400
		lines := strings.SplitAfter(string(Reply{Code: code, Enhanced: Enhanced{a, b, c}, Text: text}.Append(nil)), "\r\n")
		if lines[len(lines)-1] != "" || len(lines) > maxLines+1 {
			t.Fatalf("%q", lines)
		}
		lines = lines[:len(lines)-1]
		for i, l := range lines {
			want := byte('-')
			if i == len(lines)-1 {
				want = ' '
			}
			if len(l) > 512 || l[3] != want || l[:3] != lines[0][:3] || strings.ContainsAny(strings.TrimSuffix(l, "\r\n"), "\r\n\x00") {
				t.Fatalf("%q", l)
			}
		}
	})
}

func TestReply(t *testing.T) {
	cause := errors.New("because")
	r := New(451, Enhanced{4, 3, 0}, "two\nlines").With(cause)
	if r.String() != "451 4.3.0 two lines" || r.Error() != "451 4.3.0 two lines (because)" || !errors.Is(r, cause) {
		t.Errorf("%s, %s", r, r.Error())
	}
	if !r.Transient() || r.Permanent() || r.Positive() || r.Intermediate() || r.IsZero() || !(Reply{}).IsZero() || (Reply{}).String() != "" {
		t.Error("classes")
	}
}

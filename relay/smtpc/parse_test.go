package smtpc

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"restante/relay/reply"
)

func TestReadReply(t *testing.T) {
	for _, tc := range []struct {
		in, want string // want is the reply on one line, or "!" for ErrProtocol, "." for ErrClosed
		enhanced reply.Enhanced
	}{
		{"250 ok\r\n", "250 ok", reply.Enhanced{}},
		{"250\r\n", "250", reply.Enhanced{}},
		{"250 \r\n", "250", reply.Enhanced{}},
		{"250 ok\n", "250 ok", reply.Enhanced{}},
		{"250-a\r\n250-b\r\n250 c\r\n", "250 a b c", reply.Enhanced{}},
		{"250-a\r\n250\r\n", "250 a ", reply.Enhanced{}},
		{"550 5.1.1 nobody\r\n", "550 5.1.1 nobody", reply.Enhanced{5, 1, 1}},
		{"550-5.1.1 no\r\n550 5.1.1 body\r\n", "550 5.1.1 no body", reply.Enhanced{5, 1, 1}},
		{"550 5.1.1\r\n", "550 5.1.1", reply.Enhanced{5, 1, 1}},
		{"550 4.1.1 odd\r\n", "550 4.1.1 odd", reply.Enhanced{}},
		{"550 5.1 odd\r\n", "550 5.1 odd", reply.Enhanced{}},
		{"550 5.1.1odd\r\n", "550 5.1.1odd", reply.Enhanced{}},
		{"550 5.1234.1 odd\r\n", "550 5.1234.1 odd", reply.Enhanced{}},
		{"571 5.7.1 x\r\n", "571 5.7.1 x", reply.Enhanced{5, 7, 1}},
		{"220 m\xfcller\tx\x00\r\r\n", `220 m\xFCller x\x00\x0D`, reply.Enhanced{}},
		{"220 müller\r\n", "220 müller", reply.Enhanced{}},
		{"150 x\r\n", "!", reply.Enhanced{}},
		{"650 x\r\n", "!", reply.Enhanced{}},
		{"25 x\r\n", "!", reply.Enhanced{}},
		{"2500 x\r\n", "!", reply.Enhanced{}},
		{"250+x\r\n", "!", reply.Enhanced{}},
		{" 250 x\r\n", "!", reply.Enhanced{}},
		{"\r\n", "!", reply.Enhanced{}},
		{"250-x\r\n550 y\r\n", "!", reply.Enhanced{}},
		{"250-x\r\nxyz\r\n", "!", reply.Enhanced{}},
		{strings.Repeat("x", 3000) + "\r\n", "!", reply.Enhanced{}},
		{strings.Repeat("250-x\r\n", 128) + "250 x\r\n", "!", reply.Enhanced{}},
		{"", ".", reply.Enhanced{}},
		{"250-x\r\n", ".", reply.Enhanced{}},
		{"250 x", ".", reply.Enhanced{}},
	} {
		for _, r := range []*bufio.Reader{
			bufio.NewReaderSize(strings.NewReader(tc.in), maxReplyLine),
			bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(tc.in)), maxReplyLine),
		} {
			got, err := readReply(r)
			switch tc.want {
			case "!":
				if !errors.Is(err, ErrProtocol) {
					t.Errorf("%.50q: %v, %v", tc.in, got, err)
				}
			case ".":
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%.50q: %v, %v", tc.in, got, err)
				}
			default:
				if err != nil || got.String() != tc.want || got.Enhanced != tc.enhanced {
					t.Errorf("%.50q: %q %v, %v", tc.in, got, got.Enhanced, err)
				}
			}
		}
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "550-5.1.1 a\r\n550 5.1.1 b\r\n", "421\n", "250-\r\n250\r\n", "2\xff0 \x00\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		src := bytes.NewReader(in)
		r := bufio.NewReaderSize(src, maxReplyLine)
		got, err := readReply(r)
		if err != nil {
			if !got.IsZero() {
				t.Fatalf("%v beside %v", got, err)
			}
			return
		}
		if got.Code < 200 || got.Code > 599 || !utf8.ValidString(got.Text) || strings.ContainsAny(got.Text, "\r\x00") {
			t.Fatalf("%+v", got)
		}
		if got.Enhanced != (reply.Enhanced{}) && got.Enhanced[0] != got.Code/100 {
			t.Fatalf("%+v", got)
		}
		used := in[:len(in)-src.Len()-r.Buffered()]
		if n := bytes.Count(used, []byte("\n")); n != strings.Count(got.Text, "\n")+1 || used[len(used)-1] != '\n' {
			t.Fatalf("%d lines read for %q", n, got.Text)
		}
	})
}

// TestStuffing: every string up to length 6 over {CR, LF, '.', x}, in one piece and in two, is refused or comes back as
// it was, and has an end of data only at its end.
func TestStuffing(t *testing.T) {
	var all func(prefix string, n int)
	all = func(prefix string, n int) {
		for cut := range len(prefix) + 1 {
			st := stuffer{bol: true}
			wire, ok := st.append(nil, []byte(prefix[:cut]))
			if ok {
				wire, ok = st.append(wire, []byte(prefix[cut:]))
			}
			if ok {
				wire, ok = st.end(wire)
			}
			crlf := strings.Count(prefix, "\r\n")
			if want := crlf == strings.Count(prefix, "\r") && crlf == strings.Count(prefix, "\n"); ok != want {
				t.Fatalf("%q cut at %d: sent is %v", prefix, cut, ok)
			}
			if !ok {
				continue
			}
			whole := "\r\n" + string(wire)
			if strings.Index(whole, "\r\n.\r\n") != len(whole)-5 {
				t.Fatalf("%q cut at %d: %q has an early end", prefix, cut, wire)
			}
			back := strings.TrimSuffix(whole, ".\r\n")
			back = strings.ReplaceAll(back, "\r\n.", "\r\n")[2:]
			if back != prefix && back != prefix+"\r\n" || back != prefix && strings.HasSuffix(prefix, "\r\n") {
				t.Fatalf("%q cut at %d came back as %q", prefix, cut, back)
			}
		}
		if n > 0 {
			for _, c := range []string{"\r", "\n", ".", "x"} {
				all(prefix+c, n-1)
			}
		}
	}
	all("", 6)
}

package smtpd

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// segments is a connection on which the peer sends these pieces, one a Read, and takes all replies.
type segments struct {
	pieces  []string
	replies strings.Builder
	done    chan struct{}
}

func (s *segments) Read(p []byte) (int, error) {
	for len(s.pieces) > 0 && s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *segments) Write(p []byte) (int, error)      { return s.replies.Write(p) }
func (s *segments) Close() error                     { close(s.done); return nil }
func (s *segments) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }
func (s *segments) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9} }
func (s *segments) SetDeadline(time.Time) error      { return nil }
func (s *segments) SetReadDeadline(time.Time) error  { return nil }
func (s *segments) SetWriteDeadline(time.Time) error { return nil }

// session lets a peer send pieces to a fresh session and returns the messages that the Handler got and
// the replies.
func exchange(t *testing.T, s *Server, h *witness, pieces ...string) ([]string, string) {
	t.Helper()
	h.messages = nil
	nc := &segments{pieces: pieces, done: make(chan struct{})}
	s.serve(nc)
	<-nc.done
	s.wg.Wait()
	if h.open != 0 {
		t.Fatalf("%d transactions left open by %q", h.open, pieces)
	}
	return h.messages, nc.replies.String()
}

// every returns all strings up to n of the octets.
func every(octets string, n int) []string {
	all, last := []string{""}, []string{""}
	for range n {
		var next []string
		for _, s := range last {
			for i := range len(octets) {
				next = append(next, s+octets[i:i+1])
			}
		}
		all = append(all, next...)
		last = next
	}
	return all
}

// clean reports that s has no CR and no LF alone.
func clean(s string) bool { return !strings.ContainsAny(strings.ReplaceAll(s, "\r\n", ""), "\r\n") }

// judge is what RFC 5321 says about the octets that follow 354, told as plainly as possible: the data ends at the first
// CRLF.CRLF, whatever else there is.
func judge(stream string) (message string, rest string) {
	stream = "\r\n" + stream
	end := strings.Index(stream, "\r\n.\r\n")
	data := stream[:end+2]
	rest = stream[end+5:]
	return strings.ReplaceAll(data, "\r\n.", "\r\n")[2:], rest
}

// TestEndOfData sends every string up to length 5 of CR, LF, dot and NUL, within a message and in front of
// what a smuggler would like to be commands, cut at every place.
func TestEndOfData(t *testing.T) {
	h := &witness{}
	s, err := newServer(Options{Hostname: "mx2.example.test", Handler: h, Limits: Limits{Errors: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	const envelope = "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n"
	const evil = "MAIL FROM:<evil@c.example>\r\nRCPT TO:<b@example.test>\r\nBDAT 4 LAST\r\nevil"
	const end = "\r\n.\r\nNOOP\r\n"
	longest := 5
	if testing.Short() {
		longest = 4
	}
	count := 0
	for _, str := range every("\r\n.\x00", longest) {
		for _, before := range []string{"", "a", "a\r\n"} {
			stream := before + str + evil + end
			var want []string
			data, rest := judge(stream)
			raw := stream[:len(stream)-len(rest)]
			if clean(raw[:len(raw)-len(".\r\n")]) {
				want = append(want, data)
			}
			// What follows an end of data that is one is commands, and for the peer to answer for. A line that is no
			// command is refused and the next one read, unless a bare LF closes the connection.
			if lines, ok := strings.CutSuffix(rest, evil+end); ok && (lines == "" || strings.HasSuffix(lines, "\r\n")) &&
				!strings.Contains(strings.ReplaceAll(lines, "\r\n", ""), "\n") {
				want = append(want, "evil")
			}
			from, to := len(before), len(before)+len(str)
			tail := len(stream) - len(end)
			if len(str) > 3 {
				tail = len(stream) // it is the same for all of them
			}
			for _, cut := range cuts(stream, max(0, from-1), min(to+2, len(stream)), tail) {
				count++
				pieces := append([]string{envelope}, cut...)
				if got, replies := exchange(t, s, h, pieces...); !slices.Equal(got, want) {
					t.Fatalf("%q\n got %q\nwant %q\n%s", cut, got, want, replies)
				}
			}
		}
	}
	t.Logf("%d cases", count)
}

// cuts returns the ways to cut s in two between from and to and about its end, whole, and in single octets.
func cuts(s string, from, to, end int) (all [][]string) {
	all = append(all, []string{s})
	var single []string
	for i := range len(s) {
		single = append(single, s[i:i+1])
	}
	all = append(all, single)
	for i := from; i <= to; i++ {
		all = append(all, []string{s[:i], s[i:]})
	}
	for i := end; i <= min(end+5, len(s)-1); i++ {
		all = append(all, []string{s[:i], s[i:]})
	}
	return all
}

// TestChunks is the same with BDAT: nothing ends the data but its size, and the same octets are refused, whether
// a chunk or a segment is cut there or not.
func TestChunks(t *testing.T) {
	h := &witness{}
	s, err := newServer(Options{Hostname: "mx2.example.test", Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	const envelope = "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.test>\r\n"
	for _, str := range every("\r\n.\x00", 5) {
		for _, msg := range []string{str, "a" + str + "b\r\n"} {
			var want []string
			if clean(msg) {
				want = []string{msg}
			}
			for i := range len(msg) + 1 {
				if len(str) == 5 && i%3 != 1 {
					continue // a third of the places of the longest ones
				}
				one, two := fmt.Sprintf("BDAT %d\r\n", i), fmt.Sprintf("BDAT %d LAST\r\n", len(msg)-i)
				for _, pieces := range [][]string{
					{envelope + one + msg[:i] + two + msg[i:] + "NOOP\r\n"},
					{envelope + one, msg[:i], two, msg[i:], "NOOP\r\n"},
					{envelope, fmt.Sprintf("BDAT %d LAST\r\n", len(msg)) + msg[:i], msg[i:] + "NOOP\r\n"},
				} {
					got, replies := exchange(t, s, h, pieces...)
					if !slices.Equal(got, want) {
						t.Fatalf("%q\n got %q\nwant %q\n%s", pieces, got, want, replies)
					}
					if !strings.HasSuffix(replies, "250 2.0.0 I have successfully done nothing\r\n") {
						t.Fatalf("%q\n%s", pieces, replies)
					}
				}
			}
		}
	}
}

// TestCutConnections breaks the connection after each octet of two messages, one a DATA, one in chunks: a message
// counts only if all of it came.
func TestCutConnections(t *testing.T) {
	h := &witness{}
	s, err := newServer(Options{Hostname: "mx2.example.test", Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	const envelope = "MAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.test>\r\n"
	pieces := []string{"EHLO c.example\r\n" + envelope + "DATA\r\n", "one\r\n.\r\n" + envelope + "BDAT 3\r\ntwoBDAT 2 LAST\r\n\r\n"}
	whole := strings.Join(pieces, "")
	first, second := strings.Index(whole, "\r\n.\r\n")+5, len(whole)
	for i := range len(whole) + 1 {
		cut := []string{whole[:min(i, len(pieces[0]))], whole[min(i, len(pieces[0])):i]}
		var want []string
		if i >= first {
			want = append(want, "one\r\n")
		}
		if i >= second {
			want = append(want, "two\r\n")
		}
		if got, _ := exchange(t, s, h, cut...); !slices.Equal(got, want) {
			t.Fatalf("%q\n got %q\nwant %q", cut, got, want)
		}
	}
}

// FuzzSession: whatever comes, nothing panics, hangs or leaves a transaction open, and no message has a line end that
// another server could read otherwise.
func FuzzSession(f *testing.F) {
	const envelope = "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.test>\r\n"
	f.Add(envelope+"DATA\r\n", "x\r\n.\r\nQUIT\r\n")
	f.Add(envelope+"BDAT 3\r\nabc", "BDAT 2 LAST\r\n\r\nRSET\r\n")
	f.Add("EHLO c\r\nMAIL FROM:<\"a b\"@[IPv6:::1]> SIZE=1 BODY=8BITMIME RET=FULL ENVID=x SMTPUTF8\r\n", "RCPT TO:<@a,@b:c@d> NOTIFY=NEVER ORCPT=rfc822;x\r\n")
	f.Add("STARTTLS\r\n", "AUTH\r\nHELP\r\nVRFY\r\nBDAT x\r\n")
	h := &witness{}
	s, err := newServer(Options{Hostname: "mx2.example.test", Handler: h, Offers: Offers{SMTPUTF8: true, DSN: true}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		got, replies := exchange(t, s, h, one, two)
		for _, m := range got {
			if !clean(m) {
				t.Errorf("%q", m)
			}
		}
		for line := range strings.SplitAfterSeq(replies, "\r\n") {
			if line != "" && (!strings.HasSuffix(line, "\r\n") || len(line) > 512 || len(line) < 6 || line[0] < '2' || line[0] > '5') {
				t.Errorf("reply %q", line)
			}
		}
	})
}

package sink

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// talk sends each string and returns all that came back until the server closes or says 221.
func talk(t *testing.T, s *Server, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	go c.Write([]byte(send))
	var b strings.Builder
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || strings.HasPrefix(line, "221") {
			return b.String()
		}
	}
}

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s := New(o)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

const head = "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"

func TestEndOfData(t *testing.T) {
	for _, tc := range []struct{ wire, want string }{
		{".\r\n", ""},
		{"\r\n.\r\n", "\r\n"},
		{"..\r\n.\r\n", ".\r\n"},
		{"a\r\n..b\r\n...\r\n.\r\n", "a\r\n.b\r\n..\r\n"},
		{"a\n.\n\r\n.\r\n", "a\n.\n\r\n"},
		{"a\r.\r\r\n.\r\n", "a\r.\r\r\n"},
		{strings.Repeat("0123456789\r\n", 20000) + ".\r\n", strings.Repeat("0123456789\r\n", 20000)},
	} {
		s := start(t, Options{Keep: true})
		got := talk(t, s, head+"DATA\r\n"+tc.wire+"NOOP\r\nQUIT\r\n")
		if !strings.HasSuffix(got, "250 2.0.0 Ok: taken\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n") {
			t.Errorf("%.40q: %q", tc.wire, got)
		}
		if m := s.Messages(); len(m) != 1 || string(m[0].Data) != tc.want {
			t.Errorf("%.40q: kept %d messages, %.200s", tc.wire, len(m), fmt.Sprint(m))
		}
	}
}

func TestBdatAndNobodyWantsIt(t *testing.T) {
	s := start(t, Options{})
	got := talk(t, s, head+"BDAT 3\r\nabcBDAT 2 LAST\r\n\r\n"+"MAIL FROM:<>\r\nRCPT TO:<\"a> b\"@d.test> NOTIFY=NEVER\r\nDATA\r\n"+strings.Repeat("x", 3<<20)+"\r\n.\r\nQUIT\r\n")
	if n := strings.Count(got, "Ok: taken"); n != 2 {
		t.Fatalf("%q", got)
	}
	if st := s.Stats(); st.Messages != 2 || st.Octets != 5+3<<20+2 {
		t.Errorf("%+v", st)
	}
}

func TestFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		rule Rule
		want string // last line
		kept int
	}{
		"refuse":      {Rule{Stage: StageRcpt, Reply: "550 5.1.1 no"}, "221 2.0.0 Bye", 0},
		"full":        {Rule{Stage: StageMail, Reply: "452 4.3.1 Insufficient system storage"}, "221 2.0.0 Bye", 0},
		"drop before": {Rule{Stage: StageDot, Drop: DropBefore}, "354 Go ahead", 0},
		"drop after":  {Rule{Stage: StageDot, Drop: DropAfter}, "354 Go ahead", 1},
		"451 at dot":  {Rule{Stage: StageDot, Reply: "451 4.3.0 no"}, "221 2.0.0 Bye", 0},
		"421":         {Rule{Stage: StageRcpt, Reply: "421 4.3.2 bye"}, "421 4.3.2 bye", 0},
		"match":       {Rule{Stage: StageRcpt, Match: "<OTHER@", Reply: "421 4.3.2 bye"}, "221 2.0.0 Bye", 1},
		"skip":        {Rule{Stage: StageMail, Skip: 1, Reply: "421 4.3.2 bye"}, "221 2.0.0 Bye", 1},
		"stop":        {Rule{Stage: StageDot, Stop: true}, "354 Go ahead", 1},
		"stop before": {Rule{Stage: StageDot, Stop: true, Drop: DropBefore}, "354 Go ahead", 0},
		"lines":       {Rule{Stage: StageQuit, Reply: "250 a\nb"}, "250 b", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{Keep: true, Faults: Faults{Rules: []Rule{tc.rule}}})
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			r := bufio.NewReader(c)
			last, _ := r.ReadString('\n')
			for _, group := range []string{head + "DATA\r\n", "x\r\n.\r\n", "QUIT\r\n"} {
				if strings.HasPrefix(group, "x") && !strings.HasPrefix(last, "354") {
					continue
				}
				if _, err := c.Write([]byte(group)); err != nil {
					break
				}
				for range strings.Count(group, "\n") - strings.Count(group, "x") {
					line, err := r.ReadString('\n')
					for err == nil && line[3] == '-' {
						line, err = r.ReadString('\n')
					}
					if err != nil {
						break
					}
					last = line
				}
			}
			if got := strings.TrimSpace(last); got != tc.want {
				t.Errorf("last line %q, want %q", got, tc.want)
			}
			if got := len(s.Messages()); got != tc.kept {
				t.Errorf("%d messages, want %d", got, tc.kept)
			}
		})
	}
}

func TestStopAndStart(t *testing.T) {
	s := start(t, Options{Deliver: func(*Envelope, []byte) error { return errors.New("disk full") }})
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	addr := s.Addr()
	s.Stop()
	s.Stop()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection lives on")
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the port is open")
	}
	if err := s.Start(); err != nil || s.Addr() != addr || !s.Running() {
		t.Fatal(err, s.Addr())
	}
	if got := talk(t, s, head+"DATA\r\nx\r\n.\r\nQUIT\r\n"); !strings.Contains(got, "451 4.3.0 disk full") {
		t.Errorf("%q", got)
	}
}

func TestMaxConnections(t *testing.T) {
	s := start(t, Options{Faults: Faults{MaxConnections: 1}})
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if got := talk(t, s, ""); !strings.HasPrefix(got, "421 ") {
		t.Errorf("%q", got)
	}
}

func TestStrict(t *testing.T) {
	for _, tc := range []struct{ send, want string }{
		{"MAIL FROM:<a@b.test>\r\nQUIT\r\n", "MAIL before EHLO"},
		{"EHLO c.test\nQUIT\r\n", "bare LF"},
		{head + "DATA\r\na\nb\r\n.\r\nQUIT\r\n", "bare CR or LF"},
		{"EHLO c.test\r\nMAIL FROM: <a@b.test>\r\nQUIT\r\n", "isn't FROM:<address>"},
		{"EHLO c.test\r\nMAIL FROM:<a@b.test> AUTH=<>\r\nQUIT\r\n", "wasn't offered"},
		{head + "MAIL FROM:<a@b.test>\r\nQUIT\r\n", "inside a transaction"},
		{"EHLO c.test\r\nMAIL FROM:<\xc3\xa4@b.test>\r\nQUIT\r\n", "without SMTPUTF8"},
		{"EHLO c.test\r\nNOOP\r\nQUIT\r\n", "followed by more"},
	} {
		s := start(t, Options{Strict: true})
		talk(t, s, tc.send)
		if v := strings.Join(s.Violations(), "\n"); !strings.Contains(v, tc.want) {
			t.Errorf("%q: violations %q", tc.send, v)
		}
	}
}

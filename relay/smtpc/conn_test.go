package smtpc

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool/need"
)

const hello = "250-x\r\n250-PIPELINING\r\n250 SIZE 1000000\r\n"

var bodies = map[string]string{
	"usual":         "From: a\r\n\r\nhello\r\n",
	"empty":         "",
	"crlf":          "\r\n",
	"dot":           ".\r\n",
	"dots":          "..\r\n.a\r\n.\r\n..\r\n\r\n.\r\n",
	"no line end":   "a\r\nb",
	"only a dot":    ".",
	"8-bit and NUL": "\x00\xff\xfe\r\n.\x00\r\n",
	"blocks":        strings.Repeat(".0123456789abcdef\r\n", 5000),
	"chunks":        strings.Repeat(".0123456789abcdef\r\n", 200000),
	"exact block":   strings.Repeat("a", blockSize-2) + "\r\n",
	"exact chunk":   strings.Repeat("a", chunkSize-2) + "\r\n",
}

func TestStepsKeepOctets(t *testing.T) {
	for _, useTLS := range []bool{false, true} {
		for _, chunking := range []bool{false, true} {
			o := plain()
			o.Chunking, o.StartTLS = chunking, useTLS
			s := startSink(t, sink.Options{Offers: o})
			c := dial(t, target(s.Addr()))
			if got := c.Offers().TLS != ""; got != useTLS {
				t.Fatalf("TLS %v, want %v", got, useTLS)
			}
			for name, body := range bodies {
				t.Run(fmt.Sprintf("%s/bdat=%v/tls=%v", name, chunking, useTLS), func(t *testing.T) {
					ctx := t.Context()
					n := len(s.Messages())
					if r, err := c.Mail(ctx, Mail{From: "a@b.test", Size: int64(len(body)), Body: "8BITMIME"}); err != nil || r.Code != 250 {
						t.Fatal(r, err)
					}
					if r, err := c.Rcpt(ctx, Rcpt{Address: "c@d.test", Notify: "NEVER"}); err != nil || r.Code != 250 {
						t.Fatal(r, err)
					}
					size := int64(len(body))
					if name == "dots" {
						size = -1
					}
					if r, err := c.Data(ctx, strings.NewReader(body), size); err != nil || r.Code != 250 {
						t.Fatal(r, err)
					}
					want := body
					if !chunking && body != "" && !strings.HasSuffix(body, "\r\n") {
						want += "\r\n"
					}
					m := s.Messages()[n]
					if string(m.Data) != want || m.Bdat != chunking {
						t.Errorf("%d octets %.40q arrived, want %d %.40q", len(m.Data), m.Data, len(want), want)
					}
				})
			}
			if err := c.Reset(t.Context()); err != nil || !c.Alive() {
				t.Error(err)
			}
			c.Quit()
			if _, err := c.Mail(t.Context(), Mail{}); err == nil {
				t.Error("a connection lives on after Quit")
			}
		}
	}
}

func TestOnlyWhatIsOffered(t *testing.T) {
	m := Mail{From: "a@b.test", Size: 3, Body: "8BITMIME", Ret: "HDRS", EnvID: "x+2By"}
	for name, tc := range map[string]struct {
		offers sink.Offers
		mail   string
		rcpt   string
	}{
		"all":     {plain(), "SIZE=3 BODY=8BITMIME RET=HDRS ENVID=x+2By", "NOTIFY=FAILURE ORCPT=rfc822;c@d.test"},
		"nothing": {sink.Offers{NoSize: true}, "", ""},
		"helo":    {sink.Offers{HeloOnly: true}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSink(t, sink.Options{Offers: tc.offers})
			c := dial(t, target(s.Addr()))
			if got, want := c.Offers().ESMTP, name != "helo"; got != want {
				t.Errorf("ESMTP %v", got)
			}
			send(t, c, m, Rcpt{Address: "c@d.test", Notify: "FAILURE", ORcpt: "rfc822;c@d.test"}, "x\r\n")
			got := s.Messages()[0]
			if p := strings.Join(got.MailParams, " "); p != tc.mail {
				t.Errorf("MAIL had %q, want %q", p, tc.mail)
			}
			if p := strings.Join(got.RcptParams[0], " "); p != tc.rcpt {
				t.Errorf("RCPT had %q, want %q", p, tc.rcpt)
			}
		})
	}
}

func send(t *testing.T, c *Conn, m Mail, rc Rcpt, body string) {
	t.Helper()
	if r, err := c.Mail(t.Context(), m); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Rcpt(t.Context(), rc); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Data(t.Context(), strings.NewReader(body), int64(len(body))); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
}

func TestUnfit(t *testing.T) {
	o := plain()
	o.Size, o.SMTPUTF8 = 1000, false
	s := startSink(t, sink.Options{Offers: o})
	c := dial(t, target(s.Addr()))
	for _, tc := range []struct {
		m    Mail
		code int
	}{
		{Mail{From: "a@b.test", Size: 1001}, 552},
		{Mail{From: "a@b.test", SMTPUTF8: true}, 553},
		{Mail{From: "ä@b.test"}, 553},
		{Mail{From: "a\r\nRSET@b.test"}, 553},
		{Mail{From: "a> SIZE=3 <b@b.test"}, 553},
		{Mail{From: "\"a\\\"@b.test"}, 553},
		{Mail{From: "\"a> <\\\" b\"@b.test", Size: 1000, EnvID: "a b"}, 250},
	} {
		r, err := c.Mail(t.Context(), tc.m)
		if err != nil || r.Code != tc.code || errors.Is(r, ErrUnsupported) != (tc.code != 250) {
			t.Errorf("%+v: %v (%v), %v", tc.m, r, r.Cause, err)
		}
	}
	if r, err := c.Rcpt(t.Context(), Rcpt{Address: "ä@d.test"}); err != nil || r.Code != 553 {
		t.Error(r, err)
	}
	if st := s.Stats(); st.Transactions != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSMTPUTF8(t *testing.T) {
	s := startSink(t, sink.Options{Offers: plain()})
	c := dial(t, target(s.Addr()))
	send(t, c, Mail{From: "ä@b.test"}, Rcpt{Address: "ö@d.test"}, "x\r\n")
	if m := s.Messages()[0]; m.From != "ä@b.test" || m.Rcpts[0] != "ö@d.test" || m.MailParams[0] != "SMTPUTF8" {
		t.Errorf("%+v", m)
	}
}

func TestDialFails(t *testing.T) {
	closed := need.Addr(t)
	for name, tc := range map[string]struct {
		target Target
		stage  Stage
		code   int
		is     error
	}{
		"no name":         {Target{Host: "no.such.name.invalid"}, StageResolve, 0, nil},
		"refused":         {target(closed), StageConnect, 0, nil},
		"554":             {script(t, []string{"554 5.7.1 go away\r\n"}), StageBanner, 554, nil},
		"421":             {script(t, []string{"421 busy\r\n"}), StageBanner, 421, nil},
		"silence":         {script(t, []string{""}), StageBanner, 0, ErrTimeout},
		"closed":          {script(t, []string{"!"}), StageBanner, 0, ErrClosed},
		"closed inside":   {script(t, []string{"220-a\r\n", "<0 !"}), StageBanner, 0, ErrClosed},
		"garbage":         {script(t, []string{"SSH-2.0-x\r\n"}), StageBanner, 0, ErrProtocol},
		"354":             {script(t, []string{"354 x\r\n"}), StageBanner, 0, ErrProtocol},
		"250":             {script(t, []string{"250 x\r\n"}), StageBanner, 0, ErrProtocol},
		"long line":       {script(t, []string{"220 " + strings.Repeat("x", 5000) + "\r\n"}), StageBanner, 0, ErrProtocol},
		"many lines":      {script(t, []string{strings.Repeat("220-x\r\n", 1000)}), StageBanner, 0, ErrProtocol},
		"unasked":         {script(t, []string{"220 x\r\n250 x\r\n"}), StageEhlo, 0, ErrUnasked},
		"EHLO 421":        {script(t, []string{"220 x\r\n", "421 4.3.2 x\r\n"}), StageEhlo, 421, nil},
		"EHLO 550 twice":  {script(t, []string{"220 x\r\n", "550 x\r\n", "550 y\r\n"}), StageEhlo, 550, nil},
		"EHLO closed":     {script(t, []string{"220 x\r\n", "!"}), StageEhlo, 0, ErrClosed},
		"two codes":       {script(t, []string{"220 x\r\n", "250-x\r\n251 y\r\n"}), StageEhlo, 0, ErrProtocol},
		"STARTTLS 421":    {script(t, []string{"220 x\r\n", "250-x\r\n250 STARTTLS\r\n", "421 x\r\n"}), StageStartTLS, 421, nil},
		"STARTTLS unsaid": {script(t, []string{"220 x\r\n", "250-x\r\n250 STARTTLS\r\n", "250 x\r\n"}), StageStartTLS, 0, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &Dialer{Hostname: "mx2.test", BannerTimeout: time.Second, CommandTimeout: 2 * time.Second}
			if name == "silence" {
				d.BannerTimeout = 50 * time.Millisecond
			}
			_, err := d.Dial(t.Context(), tc.target)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			if e.Stage != tc.stage || e.Reply.Code != tc.code || (tc.is != nil && !errors.Is(err, tc.is)) || errors.Is(err, ErrUnknown) {
				t.Errorf("%v (stage %s, reply %v)", err, e.Stage, e.Reply)
			}
		})
	}
}

type hosts map[string][]string

func (h hosts) LookupHost(_ context.Context, name string) ([]string, error) { return h[name], nil }

func TestNextAddress(t *testing.T) {
	s := startSink(t, sink.Options{Offers: plain()})
	tg := target(s.Addr())
	tg.Host = "mail.test"
	d := &Dialer{Hostname: "mx2.test", Resolver: hosts{"mail.test": {"127.0.0.9", "127.0.0.1"}}}
	c, err := d.Dial(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if want := fmt.Sprintf("mail.test [127.0.0.1]:%d", tg.Port); c.Remote() != want {
		t.Errorf("%s, want %s", c.Remote(), want)
	}
	s.Stop()
	if _, err := d.Dial(t.Context(), tg); err == nil || !strings.Contains(err.Error(), "127.0.0.9") || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Error(err)
	}
}

// TestRefusedBdatIsReset: RFC 3030 2 leaves open what a refused BDAT leaves behind, so RSET comes before the next MAIL.
func TestRefusedBdatIsReset(t *testing.T) {
	s := startSink(t, sink.Options{Offers: plain(), Faults: sink.Faults{Rules: []sink.Rule{
		{Stage: sink.StageDot, Reply: "550 5.7.1 no"}, {Stage: sink.StageRset, Reply: "421 4.3.2 seen"}}}})
	c := dial(t, target(s.Addr()))
	if r, err := c.Mail(t.Context(), Mail{}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Rcpt(t.Context(), Rcpt{Address: "c@d.test"}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Data(t.Context(), strings.NewReader("x\r\n"), 3); err != nil || r.Code != 550 {
		t.Fatal(r, err)
	}
	var e *Error
	if _, err := c.Mail(t.Context(), Mail{}); !errors.As(err, &e) || e.Stage != StageRset || e.Reply.Code != 421 {
		t.Error(err)
	}
}

func TestServerStopsReading(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		r := bufio.NewReader(nc)
		for i, l := range []string{"220 x\r\n", hello, "250 x\r\n", "250 x\r\n", "354 x\r\n"} {
			if i > 0 {
				r.ReadString('\n')
			}
			io.WriteString(nc, l)
		}
		<-t.Context().Done()
	}()
	d := &Dialer{Hostname: "mx2.test", CommandTimeout: 300 * time.Millisecond}
	c, err := d.Dial(t.Context(), target(l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Mail(t.Context(), Mail{}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Rcpt(t.Context(), Rcpt{Address: "c@d.test"}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	var e *Error
	_, err = c.Data(t.Context(), strings.NewReader(strings.Repeat("x\r\n", 8<<20)), -1)
	if !errors.As(err, &e) || !errors.Is(err, ErrTimeout) || e.Stage != StageMessage || e.Unknown() {
		t.Error(err)
	}
}

// TestStepEnds cuts, refuses and confuses the conversation at each step.
func TestStepEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		lines   []string
		stage   Stage
		code    int
		unknown bool
	}{
		"MAIL closed":       {[]string{"!"}, StageMail, 0, false},
		"MAIL 421":          {[]string{"421 x\r\n"}, StageMail, 421, false},
		"MAIL 354":          {[]string{"354 x\r\n"}, StageMail, 0, false},
		"MAIL garbage":      {[]string{"ok\r\n"}, StageMail, 0, false},
		"MAIL silent":       {[]string{""}, StageMail, 0, false},
		"RCPT closed":       {[]string{"250 x\r\n", "!"}, StageRcpt, 0, false},
		"RCPT two replies":  {[]string{"250 x\r\n", "250 x\r\n250 y\r\n"}, StageData, 0, false},
		"DATA 421":          {[]string{"250 x\r\n", "250 x\r\n", "421 x\r\n"}, StageData, 421, false},
		"DATA 250":          {[]string{"250 x\r\n", "250 x\r\n", "250 x\r\n"}, StageData, 0, false},
		"354 and unasked":   {[]string{"250 x\r\n", "250 x\r\n", "354 x\r\n250 x\r\n"}, StageMessage, 0, false},
		"354 and closed":    {[]string{"250 x\r\n", "250 x\r\n", "354 x\r\n", "<0 !"}, StageMessage, 0, false},
		"dot closed":        {[]string{"250 x\r\n", "250 x\r\n", "354 x\r\n", "<2 !"}, StageDot, 0, true},
		"dot silent":        {[]string{"250 x\r\n", "250 x\r\n", "354 x\r\n", "<2 "}, StageDot, 0, true},
		"dot closed inside": {[]string{"250 x\r\n", "250 x\r\n", "354 x\r\n", "<2 250-x\r\n", "<0 !"}, StageDot, 0, true},
		"dot garbage":       {[]string{"250 x\r\n", "250 x\r\n", "354 x\r\n", "<2 fine\r\n"}, StageDot, 0, true},
		"dot 354":           {[]string{"250 x\r\n", "250 x\r\n", "354 x\r\n", "<2 354 x\r\n"}, StageDot, 0, true},
		"dot 421":           {[]string{"250 x\r\n", "250 x\r\n", "354 x\r\n", "<2 421 x\r\n"}, StageDot, 421, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tg := script(t, append([]string{"220 x\r\n", hello}, tc.lines...))
			d := &Dialer{Hostname: "mx2.test", CommandTimeout: 3 * time.Second, DataTimeout: 3 * time.Second}
			if strings.HasSuffix(name, "silent") {
				d.CommandTimeout, d.DataTimeout = 100*time.Millisecond, 100*time.Millisecond
			}
			c, err := d.Dial(t.Context(), tg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r, err := c.Mail(t.Context(), Mail{})
			if err == nil {
				r, err = c.Rcpt(t.Context(), Rcpt{Address: "c@d.test"})
			}
			if err == nil {
				r, err = c.Data(t.Context(), slow{strings.NewReader("x\r\n"), c, name}, 3)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatal(r, err)
			}
			if e.Stage != tc.stage || e.Reply.Code != tc.code || r.Code != tc.code || errors.Is(err, ErrUnknown) != tc.unknown {
				t.Errorf("%v: stage %s, reply %v %v, unknown %v", err, e.Stage, e.Reply, r, e.Unknown())
			}
			if _, again := c.Mail(t.Context(), Mail{}); !errors.Is(again, err) {
				t.Errorf("after %v: %v", err, again)
			}
		})
	}
}

// slow gives its octets only once the server's end has come, in the case that needs it.
type slow struct {
	io.Reader
	c    *Conn
	name string
}

func (s slow) Read(b []byte) (int, error) {
	for s.name == "354 and closed" && quiet(rawOf(s.c.nc)) {
		runtime.Gosched()
	}
	return s.Reader.Read(b)
}

func TestContextClosesAtOnce(t *testing.T) {
	tg := script(t, []string{"220 x\r\n", hello, ""})
	c := dial(t, tg)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	begin := time.Now()
	if _, err := c.Mail(ctx, Mail{}); !errors.Is(err, why) {
		t.Error(err)
	}
	if d := time.Since(begin); d > 20*time.Second { // its own limit is minutes
		t.Errorf("took %v", d)
	}
	if c.Alive() {
		t.Error("still alive")
	}
	tg = script(t, []string{""})
	ctx, cancel = context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if _, err := (&Dialer{}).Dial(ctx, tg); !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestSourceFails(t *testing.T) {
	boom := errors.New("boom")
	for _, chunking := range []bool{false, true} {
		o := plain()
		o.Chunking = chunking
		s := startSink(t, sink.Options{Offers: o})
		for name, tc := range map[string]struct {
			src  io.Reader
			size int64
			data bool // over DATA alone
		}{
			"error":        {io.MultiReader(strings.NewReader("x\r\n"), errReader{boom}), 10, false},
			"late error":   {io.MultiReader(strings.NewReader(strings.Repeat("x\r\n", 1<<20)), errReader{boom}), 4 << 20, false},
			"too short":    {strings.NewReader("x\r\n"), 4, false},
			"too long":     {strings.NewReader("x\r\n"), 2, false},
			"long by much": {strings.NewReader(strings.Repeat("x\r\n", 1<<20)), 2, false},
			"bare LF":      {strings.NewReader("x\n.\r\n"), 5, true},
			"bare CR":      {strings.NewReader("x\r.\r\n"), 5, true},
			"CR at end":    {strings.NewReader("x\r"), 2, true},
		} {
			if tc.data && chunking {
				continue
			}
			t.Run(fmt.Sprintf("%s/bdat=%v", name, chunking), func(t *testing.T) {
				c := dial(t, target(s.Addr()))
				if r, err := c.Mail(t.Context(), Mail{}); err != nil || !r.Positive() {
					t.Fatal(r, err)
				}
				if r, err := c.Rcpt(t.Context(), Rcpt{Address: "c@d.test"}); err != nil || !r.Positive() {
					t.Fatal(r, err)
				}
				_, err := c.Data(t.Context(), tc.src, tc.size)
				var e *Error
				if !errors.As(err, &e) || !errors.Is(err, ErrSource) || e.Stage != StageMessage || e.Unknown() {
					t.Error(err)
				}
			})
		}
		if n := len(s.Messages()); n != 0 {
			t.Errorf("%d messages arrived", n)
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestRefusedChunk(t *testing.T) {
	s := startSink(t, sink.Options{Offers: plain(), Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageBdat, Skip: 1, Count: 1, Reply: "452 4.3.1 full"}}}})
	c := dial(t, target(s.Addr()))
	if r, err := c.Mail(t.Context(), Mail{}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Rcpt(t.Context(), Rcpt{Address: "c@d.test"}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	body := strings.Repeat("x\r\n", 3<<20)
	if r, err := c.Data(t.Context(), strings.NewReader(body), int64(len(body))); err != nil || r.String() != "452 4.3.1 full" {
		t.Fatal(r, err)
	}
	send(t, c, Mail{}, Rcpt{Address: "c@d.test"}, body)
	if m := s.Messages(); len(m) != 1 || string(m[0].Data) != body {
		t.Errorf("%d messages", len(m))
	}
}

func TestBodyRefusedAloud(t *testing.T) {
	o := plain()
	o.Chunking = false
	s := startSink(t, sink.Options{Offers: o, Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageBody, Reply: "421 4.3.2 going down", Drop: sink.DropReply}}}})
	c := dial(t, target(s.Addr()))
	if r, err := c.Mail(t.Context(), Mail{}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Rcpt(t.Context(), Rcpt{Address: "c@d.test"}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	body := strings.Repeat("x\r\n", 8<<20)
	_, err := c.Data(t.Context(), strings.NewReader(body), int64(len(body)))
	var e *Error
	if !errors.As(err, &e) || e.Unknown() || e.Reply.Code != 421 {
		t.Errorf("%v", err)
	}
}

func TestAlive(t *testing.T) {
	for _, useTLS := range []bool{false, true} {
		o := sink.DefaultOffers()
		o.StartTLS = useTLS
		s := startSink(t, sink.Options{Offers: o})
		c := dial(t, target(s.Addr()))
		if !c.Alive() {
			t.Error("not alive")
		}
		if err := c.Reset(t.Context()); err != nil || !c.Alive() {
			t.Error(err)
		}
		s.Stop()
		for begin := time.Now(); c.Alive(); {
			if time.Since(begin) > 30*time.Second {
				t.Fatal("alive after Stop")
			}
		}
		if _, err := c.Mail(t.Context(), Mail{}); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

func TestOrigin(t *testing.T) {
	o := plain()
	o.XClient = []string{"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"}
	o.XForward = []string{"NAME", "ADDR", "PROTO", "HELO", "IDENT", "SOURCE"}
	s := startSink(t, sink.Options{Offers: o})
	tg := target(s.Addr())
	tg.Trusted = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	for _, tc := range []struct {
		o    Origin
		want string
	}{
		{Origin{Addr: netip.MustParseAddr("192.0.2.1"), Port: 99, Name: "a.test", Helo: "x=y z", Protocol: "ESMTPS", ID: "01J"}, "a.test 192.0.2.1 99 ESMTP x+3Dy+20z"},
		{Origin{Addr: netip.MustParseAddr("2001:db8::1"), Helo: "a", ID: "01J"}, "[UNAVAILABLE] IPV6:2001:db8::1 [UNAVAILABLE] SMTP a"},
		{Origin{Addr: netip.MustParseAddr("::ffff:10.0.0.1"), Port: 1, Name: "trusted.test"}, ""},
		{Origin{Addr: netip.MustParseAddr("127.0.0.1")}, ""},
		{Origin{Addr: netip.MustParseAddr("198.51.100.7")}, ""},
	} {
		c := dial(t, tg)
		if err := c.XClient(t.Context(), &tc.o); err != nil {
			t.Fatal(err)
		}
		if err := c.XForward(t.Context(), &tc.o); err != nil {
			t.Fatal(err)
		}
		send(t, c, Mail{}, Rcpt{Address: "c@d.test"}, "x\r\n")
		ms := s.Messages()
		m := ms[len(ms)-1]
		x := m.XClient
		if got := x["NAME"] + " " + x["ADDR"] + " " + x["PORT"] + " " + x["PROTO"] + " " + x["HELO"]; tc.want != "" && (got != tc.want || len(x) != 5) || tc.want == "" && x != nil {
			t.Errorf("%v, want %s", x, tc.want)
		}
		if f := m.XForward; len(f) != 6 || f["ADDR"] != cmp.Or(x["ADDR"], "[UNAVAILABLE]") || f["SOURCE"] != "REMOTE" || f["IDENT"] != cmp.Or(tc.o.ID, "[UNAVAILABLE]") {
			t.Errorf("%v", f)
		}
	}
}

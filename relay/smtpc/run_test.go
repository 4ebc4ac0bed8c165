package smtpc

import (
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
)

// batch is a run of transactions and what became of each.
type batch struct {
	ts      []*Transaction
	i       int
	results []*Result
	done    error // returned for the transaction whose Tag is "stop"
}

func (b *batch) next() *Transaction {
	if b.i == len(b.ts) {
		return nil
	}
	b.i++
	return b.ts[b.i-1]
}

func (b *batch) finish(t *Transaction, r *Result) error {
	if t != b.ts[len(b.results)] {
		return fmt.Errorf("done out of order: %v", t.Tag)
	}
	b.results = append(b.results, r)
	if t.Tag == "stop" {
		return b.done
	}
	return nil
}

func (b *batch) run(t *testing.T, c *Conn) error {
	t.Helper()
	err := c.Run(t.Context(), b.next, nil, b.finish)
	if len(b.results) != b.i {
		t.Errorf("%d transactions taken, %d reported", b.i, len(b.results))
	}
	return err
}

func message(body string, rcpts ...string) *Transaction {
	t := &Transaction{
		Mail: Mail{From: "a@b.test"}, Size: int64(len(body)),
		Body: func() (io.Reader, error) { return strings.NewReader(body), nil },
	}
	for _, r := range rcpts {
		t.Rcpts = append(t.Rcpts, Rcpt{Address: r})
	}
	return t
}

func messages(n int) *batch {
	b := &batch{}
	for i := range n {
		b.ts = append(b.ts, message(fmt.Sprintf("Subject: %d\r\n\r\n.\r\n", i), fmt.Sprintf("r%d@d.test", i)))
	}
	return b
}

// kinds are servers with and without the extensions that change how Run goes about it.
var kinds = map[string]func(*sink.Offers){
	"bdat":      func(o *sink.Offers) {},
	"data":      func(o *sink.Offers) { o.Chunking = false },
	"bdat step": func(o *sink.Offers) { o.Pipelining = false },
	"data step": func(o *sink.Offers) { o.Pipelining, o.Chunking = false, false },
	"helo":      func(o *sink.Offers) { *o = sink.Offers{HeloOnly: true} },
	"tls":       func(o *sink.Offers) { o.StartTLS = true },
	"xforward":  func(o *sink.Offers) { o.XForward = []string{"NAME", "ADDR"} },
	"xclient":   func(o *sink.Offers) { o.XClient = []string{"NAME", "ADDR"} },
}

// each runs a test against every kind of server.
func each(t *testing.T, f sink.Faults, test func(t *testing.T, s *sink.Server, c *Conn)) {
	for name, change := range kinds {
		t.Run(name, func(t *testing.T) {
			o := plain()
			change(&o)
			s := startSink(t, sink.Options{Offers: o, Faults: f})
			tg := target(s.Addr())
			tg.XClient, tg.XForward = true, true
			c, err := (&Dialer{Hostname: "mx2.test", CommandTimeout: 5 * time.Second, DataTimeout: 5 * time.Second}).Dial(t.Context(), tg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			test(t, s, c)
		})
	}
}

func TestRun(t *testing.T) {
	each(t, sink.Faults{}, func(t *testing.T, s *sink.Server, c *Conn) {
		b := messages(20)
		for i, tr := range b.ts {
			if i%2 == 0 || len(c.Offers().XClient) > 0 { // with XCLIENT those without one take a connection of their own
				tr.Origin = &Origin{Addr: netip.MustParseAddr("192.0.2.1"), Name: fmt.Sprintf("h%d.test", i)}
			}
		}
		for name, body := range bodies {
			tr := message(body, "c@d.test", "e@d.test")
			tr.Tag, tr.Origin = name, &Origin{Addr: netip.MustParseAddr("192.0.2.2"), Name: "body.test"}
			b.ts = append(b.ts, tr)
		}
		if err := b.run(t, c); err != nil {
			t.Fatal(err)
		}
		got := s.Messages()
		if len(got) != len(b.ts) {
			t.Fatalf("%d messages arrived, want %d", len(got), len(b.ts))
		}
		for i, tr := range b.ts {
			r := b.results[i]
			if !r.Dot.Positive() || !r.Sent || r.Err != nil || len(r.Rcpts) != len(tr.Rcpts) || !r.Rcpts[len(tr.Rcpts)-1].Positive() {
				t.Errorf("%d: %+v", i, r)
			}
			want := fmt.Sprintf("Subject: %d\r\n\r\n.\r\n", i)
			if tr.Tag != nil {
				want = bodies[tr.Tag.(string)]
			}
			if !got[i].Bdat && want != "" && !strings.HasSuffix(want, "\r\n") {
				want += "\r\n"
			}
			if string(got[i].Data) != want || len(got[i].Rcpts) != len(tr.Rcpts) {
				t.Errorf("%d: %.40q to %v arrived, want %.40q", i, got[i].Data, got[i].Rcpts, want)
			}
			name := "[UNAVAILABLE]"
			if tr.Origin != nil {
				name = tr.Origin.Name
			}
			for _, x := range []map[string]string{got[i].XClient, got[i].XForward} {
				if x != nil && x["NAME"] != name {
					t.Errorf("%d: came under the name %v, want %s", i, x, name)
				}
			}
		}
		// The connection is good for more.
		b = messages(1)
		b.ts[0].Origin = &Origin{Addr: netip.MustParseAddr("192.0.2.3")}
		if err := b.run(t, c); err != nil || len(b.results) != 1 {
			t.Error(err)
		}
		send(t, c, Mail{}, Rcpt{Address: "c@d.test"}, "x\r\n")
	})
}

// TestRunRefusals: what is refused at one message doesn't touch its neighbours.
func TestRunRefusals(t *testing.T) {
	faults := sink.Faults{MaxRcpts: 100, Rules: []sink.Rule{
		{Stage: sink.StageMail, Match: "<bad@", Reply: "550 5.1.8 no\nmore"},
		{Stage: sink.StageRcpt, Match: "<no", Reply: "550 5.1.1 nobody"},
		{Stage: sink.StageDot, Match: "virus@", Reply: "554 5.7.1 no"},
		{Stage: sink.StageDot, Match: "later@", Reply: "451 4.3.0 later"},
	}}
	each(t, faults, func(t *testing.T, s *sink.Server, c *Conn) {
		many := message("many\r\n")
		for i := range 150 {
			many.Rcpts = append(many.Rcpts, Rcpt{Address: fmt.Sprintf("m%d@d.test", i)})
		}
		bad := message("bad\r\n", "c@d.test")
		bad.Mail.From = "bad@b.test"
		badMany := message("bad\r\n")
		badMany.Mail.From, badMany.Rcpts = "bad@b.test", many.Rcpts
		unfit := message("unfit\r\n", "a b@d.test")
		half := message("half\r\n", "a b@d.test", "yes@d.test")
		b := &batch{}
		for _, x := range []*Transaction{bad, message("x", "no1@d.test"), message("x", "no1@d.test", "no2@d.test"), message("mixed\r\n", "no@d.test", "yes@d.test", "no@d.test"),
			message("x\r\n", "virus@d.test"), message("x\r\n", "later@d.test"), many, badMany, unfit, half, message("x")} {
			b.ts = append(b.ts, x, message("good\r\n", "c@d.test"))
		}
		if err := b.run(t, c); err != nil {
			t.Fatal(err)
		}
		good := 0
		for _, m := range s.Messages() {
			if string(m.Data) == "good\r\n" {
				good++
				continue
			}
			want := map[string]int{"mixed\r\n": 1, "many\r\n": 100, "half\r\n": 1}[string(m.Data)]
			if len(m.Rcpts) != want {
				t.Errorf("%q to %d recipients", m.Data, len(m.Rcpts))
			}
		}
		if want := len(b.ts) / 2; good != want || len(s.Messages()) != want+3 {
			t.Errorf("%d good ones arrived, want %d, of %d", good, want, len(s.Messages()))
		}
		r := b.results
		check := func(i int, got, want string) {
			if got != want {
				t.Errorf("%d: %q, want %q", i, got, want)
			}
		}
		check(0, r[0].Mail.String(), "550 5.1.8 no more")
		check(2, r[2].Rcpts[0].String(), "550 5.1.1 nobody")
		check(4, r[4].Rcpts[1].String(), "550 5.1.1 nobody")
		check(4, r[4].Dot.String(), "")
		check(6, r[6].Rcpts[2].String(), "550 5.1.1 nobody")
		check(6, r[6].Dot.String(), "250 2.0.0 Ok: taken")
		check(8, r[8].Dot.String(), "554 5.7.1 no")
		check(10, r[10].Dot.String(), "451 4.3.0 later")
		if rest := r[12].Rest(); len(rest) != 50 || rest[0] != 100 || !r[12].Dot.Positive() {
			t.Errorf("rest %v, %v", rest, r[12].Dot)
		}
		if r[2].Sent || r[4].Sent || !r[10].Sent || r[14].Sent {
			t.Error("Sent is wrong")
		}
		if !errors.Is(r[16].Mail, ErrUnsupported) && !errors.Is(r[16].Rcpts[0], ErrUnsupported) {
			t.Errorf("%+v", r[16])
		}
		if r[18].Rcpts[0].Code != 553 || !r[18].Rcpts[1].Positive() {
			t.Errorf("%+v", r[18])
		}
		if r[20].Mail.Code != 554 {
			t.Errorf("%+v", r[20])
		}
	})
}

// TestRunCut breaks the conversation at every stage of every message and compares what Run says with what arrived: a positive
// reply means arrived, no Sent means didn't, and the connection's end is reported exactly once, with nothing behind it.
func TestRunCut(t *testing.T) {
	stages := []sink.Stage{sink.StageMail, sink.StageRcpt, sink.StageData, sink.StageBody, sink.StageDot}
	rules := map[string]sink.Rule{
		"before":  {Drop: sink.DropBefore},
		"after":   {Drop: sink.DropAfter},
		"reply":   {Drop: sink.DropReply},
		"421":     {Reply: "421 4.3.2 bye"},
		"garbage": {Raw: "what?\r\n"},
		"unasked": {Raw: "250 2.0.0 by the way\r\n", Count: 1},
	}
	each(t, sink.Faults{}, func(t *testing.T, s *sink.Server, c *Conn) {
		c.Close()
		for _, stage := range stages {
			for name, rule := range rules {
				for skip := range 3 {
					rule.Stage, rule.Skip = stage, skip
					t.Run(fmt.Sprintf("%s/%s/%d", stage, name, skip), func(t *testing.T) { cut(t, s, c.target, rule) })
				}
			}
		}
	})
}

func cut(t *testing.T, s *sink.Server, tg Target, rule sink.Rule) {
	for end := time.Now().Add(10 * time.Second); s.Stats().Current > 0 && time.Now().Before(end); { // what was cut before may still arrive
		runtime.Gosched()
	}
	s.SetFaults(sink.Faults{})
	c, err := (&Dialer{Hostname: "mx2.test", CommandTimeout: 3 * time.Second, DataTimeout: 3 * time.Second}).Dial(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.SetFaults(sink.Faults{Rules: []sink.Rule{rule}})
	n := len(s.Messages())
	b := messages(4)
	err = b.run(t, c)
	c.Close()
	arrived := map[string]int{}
	for _, m := range s.Messages()[n:] {
		arrived[m.Rcpts[0]]++
	}
	ended := 0
	for i, r := range b.results {
		rcpt := b.ts[i].Rcpts[0].Address
		var e *Error
		if r.Err != nil && !errors.As(r.Err, &e) {
			t.Errorf("%d: %v", i, r.Err)
		}
		if errors.Is(r.Err, ErrUnknown) != (r.Sent && r.Dot.IsZero()) {
			t.Errorf("%d: unknown is %v for %+v", i, e.Unknown(), r)
		}
		switch {
		case r.Dot.Positive() && arrived[rcpt] != 1 && rule.Raw == "":
			t.Errorf("%d: %v, and it arrived %d times", i, r.Dot, arrived[rcpt])
		case (!r.Sent || r.Dot.Transient() || r.Dot.Permanent()) && arrived[rcpt] != 0:
			t.Errorf("%d: arrived although %+v", i, r)
		}
		if r.Err != nil {
			ended++
		}
	}
	if (err != nil) != (ended > 0) {
		t.Errorf("Run says %v, %d results an error", err, ended)
	}
}

// TestRunHolds: an error of before holds the message back, an error of done ends it all.
func TestRunHolds(t *testing.T) {
	lost := errors.New("lease lost")
	each(t, sink.Faults{}, func(t *testing.T, s *sink.Server, c *Conn) {
		b := messages(4)
		seen := 0
		err := c.Run(t.Context(), b.next, func(tr *Transaction) error {
			if tr != b.ts[len(b.results)] {
				t.Error("before() of a message came before done() of the one ahead of it")
			}
			if seen++; seen == 3 {
				return lost
			}
			return nil
		}, b.finish)
		if !errors.Is(err, lost) || !errors.Is(err, ErrAborted) || len(b.results) != b.i {
			t.Errorf("%v, %d of %d", err, len(b.results), b.i)
		}
		if r := b.results[2]; r.Sent || !errors.Is(r.Err, lost) {
			t.Errorf("%+v", r)
		}
		s.Stop()
		if n := len(s.Messages()); n != 2 {
			t.Errorf("%d messages arrived, want 2", n)
		}
	})
	each(t, sink.Faults{}, func(t *testing.T, s *sink.Server, c *Conn) {
		b := messages(4)
		b.ts[1].Tag, b.done = "stop", lost
		if err := b.run(t, c); !errors.Is(err, lost) {
			t.Error(err)
		}
		s.Stop()
		if n := len(s.Messages()); n != 2 {
			t.Errorf("%d messages arrived, want 2", n)
		}
		if err := c.Run(t.Context(), b.next, nil, b.finish); err == nil {
			t.Error("runs on")
		}
	})
}

func TestRunSourceFails(t *testing.T) {
	each(t, sink.Faults{}, func(t *testing.T, s *sink.Server, c *Conn) {
		b := messages(3)
		b.ts[1].Size++
		if err := b.run(t, c); !errors.Is(err, ErrSource) {
			t.Error(err)
		}
		if len(b.results) != 2 || !errors.Is(b.results[1].Err, ErrSource) || b.results[1].Sent {
			t.Errorf("%+v", b.results)
		}
		s.Stop()
		if n := len(s.Messages()); n != 1 {
			t.Errorf("%d arrived", n)
		}
	})
}

// TestRunOddServers plays servers that the sink isn't.
func TestRunOddServers(t *testing.T) {
	dialScript := func(t *testing.T, lines ...string) *Conn {
		c, err := (&Dialer{Hostname: "mx2.test", CommandTimeout: 3 * time.Second, DataTimeout: 3 * time.Second}).
			Dial(t.Context(), script(t, append([]string{"220 x\r\n", hello}, lines...)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	const env = "250 m\r\n250 r\r\n354 d\r\n"
	t.Run("354 although nobody was accepted", func(t *testing.T) {
		b := messages(2)
		b.ts[1].Rcpts[0].Address = "ok@d.test"
		c := dialScript(t, "<3 250 m\r\n550 r\r\n354 d\r\n", "<1 554 no\r\n", "<3 "+env, "<4 250 y\r\n")
		if err := b.run(t, c); err != nil || !b.results[1].Dot.Positive() || b.results[0].Sent {
			t.Errorf("%v %+v", err, b.results)
		}
	})
	t.Run("354 although MAIL was refused", func(t *testing.T) {
		b := messages(1)
		c := dialScript(t, "<3 451 m\r\n250 r\r\n354 d\r\n")
		if err := b.run(t, c); !errors.Is(err, ErrProtocol) || b.results[0].Mail.Code != 451 || b.results[0].Sent {
			t.Errorf("%v %+v", err, b.results)
		}
	})
	t.Run("a refused message leaves the transaction open", func(t *testing.T) {
		b := messages(2)
		c := dialScript(t, "<3 "+env, "<7 550 no\r\n503 nested\r\n250 r\r\n503 x\r\n", "<4 250 rset\r\n"+env, "<4 250 y\r\n")
		if err := b.run(t, c); err != nil || b.results[0].Dot.Code != 550 || !b.results[1].Dot.Positive() {
			t.Errorf("%v %+v", err, b.results)
		}
	})
	t.Run("taken, then gone", func(t *testing.T) {
		b := messages(2)
		c := dialScript(t, "<3 "+env, "<7 250 taken\r\n", "<0 !")
		err := b.run(t, c)
		if !errors.Is(err, ErrClosed) || !b.results[0].Dot.Positive() || b.results[0].Err != nil || b.results[1].Sent {
			t.Errorf("%v %+v", err, b.results)
		}
	})
	t.Run("RSET refused", func(t *testing.T) {
		b := messages(2)
		c := dialScript(t, "<3 250 m\r\n550 r\r\n554 d\r\n", "<4 550 rset\r\n250 m\r\n250 r\r\n354 d\r\n")
		err := b.run(t, c)
		var e *Error
		if !errors.As(err, &e) || e.Stage != StageRset || e.Reply.Code != 550 {
			t.Error(err)
		}
	})
}

// TestRunRoundTrips counts how often the client waits: one round trip a message, however many there are.
func TestRunRoundTrips(t *testing.T) {
	for name, want := range map[string]int{"bdat": 1 + 1*20, "data": 1 + 1*20, "xforward": 1 + 1*20, "data step": 4 * 20, "bdat step": 3 * 20} {
		t.Run(name, func(t *testing.T) {
			o := plain()
			kinds[name](&o)
			s := startSink(t, sink.Options{Offers: o})
			trips := 0
			d := &Dialer{Hostname: "mx2.test", NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, address)
				return &counter{Conn: nc, trips: &trips}, err
			}}
			tg := target(s.Addr())
			tg.XForward = true
			c, err := d.Dial(t.Context(), tg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			trips = 0
			if err := messages(20).run(t, c); err != nil {
				t.Fatal(err)
			}
			if trips != want {
				t.Errorf("%d round trips, want %d", trips, want)
			}
		})
	}
}

// counter counts turns from writing to reading.
type counter struct {
	net.Conn
	trips *int
	wrote bool
}

func (c *counter) Write(b []byte) (int, error) {
	c.wrote = true
	return c.Conn.Write(b)
}

func (c *counter) Read(b []byte) (int, error) {
	if c.wrote {
		c.wrote = false
		*c.trips++
	}
	return c.Conn.Read(b)
}

// TestRunManyRecipients: 5,000 recipients, with replies far larger than a TCP window if all were waited for at once.
func TestRunManyRecipients(t *testing.T) {
	s := startSink(t, sink.Options{Offers: plain(), Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "250 2.1.5 " + strings.Repeat("ok ", 150)}}}})
	c := dial(t, target(s.Addr()))
	b := messages(1)
	for i := range 5000 {
		b.ts[0].Rcpts = append(b.ts[0].Rcpts, Rcpt{Address: fmt.Sprintf("m%d@d.test", i)})
	}
	b.ts = append(b.ts, b.ts[0])
	if err := b.run(t, c); err != nil {
		t.Fatal(err)
	}
	if m := s.Messages(); len(m) != 2 || len(m[1].Rcpts) != 5001 {
		t.Errorf("%d messages", len(m))
	}
}

func TestRunContext(t *testing.T) {
	s := startSink(t, sink.Options{Offers: plain(), Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Skip: 1, Hang: true}}}})
	c := dial(t, target(s.Addr()))
	ctx, cancel := context.WithCancel(t.Context())
	b := messages(3)
	err := c.Run(ctx, b.next, nil, func(tr *Transaction, r *Result) error {
		time.AfterFunc(20*time.Millisecond, cancel)
		return b.finish(tr, r)
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnknown) || len(b.results) != 3 || !errors.Is(b.results[2].Err, ErrUnused) {
		t.Errorf("%v %+v", err, b.results)
	}
}

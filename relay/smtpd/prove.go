package smtpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/relay/reply"
	"restante/spool"
)

// prove runs a short dialogue in memory against the library beneath and fails unless it behaves as this
// package needs it to: that it takes one command a line, reads the message of DATA no further than it is given, keeps to
// the chunk sizes of BDAT, answers each command once, and that a connection that breaks within a chunk
// commits nothing. It takes well under a millisecond.
func prove() error {
	witness := &witness{}
	s, err := newServer(Options{Hostname: "proof.invalid", Handler: witness})
	if err != nil {
		return err
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	if err := ours.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	replies := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(ours) // what is missing will be missed below
		replies <- string(b)
	}()
	s.serve(theirs)
	const envelope = "MAIL FROM:<a@a.invalid>\r\nRCPT TO:<b@b.invalid>\r\n"
	for _, part := range []string{
		"EHLO c.invalid\r\n" + envelope + "BDAT 5\r\none\r\nBDAT 6 LAST\r\n.two\r\n" + envelope + "DATA\r\n",
		"..three\r", "\n.\r", "\n" + envelope + "BDAT 4 LAST\r\ncut",
	} {
		if _, err := io.WriteString(ours, part); err != nil {
			return err
		}
	}
	if err := ours.Close(); err != nil {
		return err
	}
	got := codes(<-replies)
	s.wg.Wait()
	want := []string{"220", "250", "250", "250", "250", "250", "250", "250", "354", "250", "250", "250"}
	if len(got) == 0 || !slices.Equal(got, want[:min(len(got), len(want))]) || len(got) > len(want) {
		return fmt.Errorf("unexpected replies %v", got)
	}
	witness.mu.Lock()
	defer witness.mu.Unlock()
	if !slices.Equal(witness.messages, []string{"one\r\n.two\r\n", ".three\r\n"}) {
		return fmt.Errorf("messages were changed, or one that was cut short was accepted: %q", witness.messages)
	}
	if witness.open != 0 {
		return errors.New("a transaction was not ended")
	}
	return nil
}

// codes are those of the replies in s.
func codes(s string) (all []string) {
	for line := range strings.SplitSeq(s, "\r\n") {
		if len(line) > 3 && line[3] == ' ' {
			all = append(all, line[:3])
		}
	}
	return all
}

// witness is a Handler that accepts all and remembers it.
type witness struct {
	mu       sync.Mutex
	messages []string
	open     int
}

func (h *witness) Begin(context.Context, *Client, Mail) (Transaction, reply.Reply) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open++
	return (*testimony)(h), reply.Reply{}
}

type testimony witness

func (h *testimony) Rcpt(context.Context, Rcpt) reply.Reply { return reply.Reply{} }
func (h *testimony) Expect()                                {}

func (h *testimony) Data(_ context.Context, id string, body *spool.Body) reply.Reply {
	var b bytes.Buffer
	if _, err := io.Copy(&b, body.Reader()); err != nil {
		return reply.New(451, reply.Enhanced{4, 3, 0}, "unreadable").With(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = append(h.messages, b.String())
	return reply.New(250, reply.Enhanced{2, 0, 0}, "%s", id)
}

func (h *testimony) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open--
}

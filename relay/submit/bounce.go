package submit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/replay"
	"restante/relay/trace"
	"restante/spool"
	"restante/spool/index"
)

// bounceReason begins the Reason of a bounce's entry, which goes on with the id of what it is about and its pairs: "bounce of
// 01J… 0.0 2.0" is of recipients 0 and 2, each in round 0. By it a pair gets one bounce although a crash may come
// between the bounce and the event that ends the pair.
const bounceReason = "bounce of "

// undelivered gives pairs of one entry that can't be delivered back to their writer; for replay.Options.Undelivered. False
// for what is no business of a writer: copies, mail for hosted domains, and mail without a sender.
func (s *Service) undelivered(us []replay.Undelivered) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return s.bounce(ctx, us)
}

func (s *Service) bounce(ctx context.Context, us []replay.Undelivered) (bool, error) {
	v, err := s.o.Index.Entry(ctx, us[0].Pair.Entry)
	if err != nil {
		return false, err
	}
	e := v.Entry
	if e == nil || e.Kind != spool.Outbound || e.From == "" || v.Erased {
		return false, nil
	}
	to, err := mailaddr.Parse(e.From)
	if err != nil || !s.o.Hosted(to.Domain) {
		return false, nil
	}
	us, err = s.notBounced(ctx, e, us)
	if err != nil || len(us) == 0 {
		return err == nil, err
	}
	header, err := s.headerOf(ctx, e.ID, v.Location)
	if errors.Is(err, spool.ErrDamaged) || errors.Is(err, spool.ErrErased) {
		header, err = nil, nil // the bounce says what it can
	}
	if err != nil {
		return false, err
	}
	now := time.Now()
	b := &bounce{host: s.o.Hostname, to: to, entry: e, failed: us, header: header, now: now, id: spool.NewID()}
	message := b.message()
	body := spool.NewBody(s.o.TempDir, bodyMemory)
	defer body.Close() // memory
	if _, err := body.Write(message); err != nil {
		return false, err
	}
	summary, err := trace.Summarize(body, body.Size())
	if err != nil {
		return false, err
	}
	signatures, err := s.sign(ctx, to.Domain, message)
	if err != nil {
		return false, err
	}
	reason := bounceReason + e.ID
	for _, u := range us {
		reason += fmt.Sprintf(" %d.%d", u.Pair.Rcpt, u.Pair.Round)
	}
	entry := &spool.Entry{ID: b.id, Kind: spool.Local, Received: now.UTC(), Rcpts: []spool.Recipient{{Address: to.String(), Domain: to.Domain}},
		Params: spool.Params{Body: "8BITMIME", SMTPUTF8: !to.ASCII()}, Summary: summary, Reason: reason}
	if err := s.o.Spool.AppendAll(ctx, spool.Appending{Entry: entry, Trace: []byte(signatures + s.received(b.id, now)), Body: body}); err != nil {
		return false, err
	}
	s.metrics.bounced()
	s.log.Info("given back to its writer", "id", e.ID, "bounce", b.id, "to", to.String(), "recipients", len(us))
	return true, nil
}

// notBounced leaves out the pairs of which a bounce is kept already.
func (s *Service) notBounced(ctx context.Context, e *spool.Entry, us []replay.Undelivered) ([]replay.Undelivered, error) {
	told := make(map[string]bool)
	err := s.eachEntry(ctx, index.Filter{Domain: domainOf(e.From), Rcpt: e.From, From: "<>", Since: e.Received}, func(b *spool.Entry, _ []spool.Pair) error {
		if about, ok := strings.CutPrefix(b.Reason, bounceReason+e.ID+" "); ok {
			for _, pair := range strings.Fields(about) {
				told[pair] = true
			}
		}
		return nil
	})
	return slices.DeleteFunc(slices.Clone(us), func(u replay.Undelivered) bool {
		return told[fmt.Sprintf("%d.%d", u.Pair.Rcpt, u.Pair.Round)]
	}), err
}

// maxReturned bounds how much of a message's header its bounce returns, in octets.
const maxReturned = 32 << 10

// headerOf returns the header of a message as its writer gave it to us.
func (s *Service) headerOf(ctx context.Context, id string, loc spool.Location) ([]byte, error) {
	e, body, err := s.o.Spool.Fetch(ctx, id, loc)
	if err != nil {
		return nil, err
	}
	defer body.Close() // memory, or a file without a name
	b, err := io.ReadAll(io.NewSectionReader(body, int64(e.TraceSize), min(maxReturned, body.Size()-int64(e.TraceSize))))
	if err != nil {
		return nil, err
	}
	head, _, whole := strings.Cut(string(b), "\r\n\r\n")
	if !whole {
		head = head[:max(0, strings.LastIndex(head, "\r\n"))] // the last line may be cut
	}
	return []byte(head + "\r\n"), nil
}

// whyNot is what to tell a person about a failure, in one sentence, by the server's words where it had any.
func whyNot(u replay.Undelivered) string {
	code, enhanced := codes(u.Reply)
	switch {
	case strings.HasPrefix(u.Reason, tooLong):
		return "The server that sends it on could not be reached for " + strings.TrimPrefix(u.Reason, tooLong) + "."
	case strings.HasPrefix(enhanced, "5.1.1"), strings.HasPrefix(enhanced, "5.1.0"):
		return "There is no such address. Please check how it is spelled."
	case strings.HasPrefix(enhanced, "5.1.2"), strings.HasPrefix(enhanced, "5.4.4"):
		return "The part of the address after the @ can't receive mail. Please check how it is spelled."
	case strings.HasPrefix(enhanced, "5.2.1"):
		return "The mailbox takes no mail at the moment."
	case strings.HasPrefix(enhanced, "5.2.2"), strings.HasPrefix(enhanced, "4.2.2"):
		return "The mailbox is full."
	case strings.HasPrefix(enhanced, "5.3.4"), strings.HasPrefix(enhanced, "5.2.3"), code == "552":
		return "The message is too large for the receiver."
	case strings.HasPrefix(enhanced, "5.7"):
		return "The receiver's server refused it for reasons of policy."
	case strings.HasPrefix(enhanced, "5.6.7"):
		return "An address has characters that a server on the way can't take."
	case strings.HasPrefix(code, "4"):
		return "The receiver's server put it off again and again."
	}
	return cmp.Or(map[bool]string{true: "The receiver's server refused it."}[u.Reply != ""], "It could not be handed over.")
}

// codes are the reply code and the enhanced status code of a reply, as far as it has them.
func codes(reply string) (code, enhanced string) {
	words := strings.Fields(reply)
	if len(words) > 0 && len(words[0]) >= 3 {
		code = words[0][:3]
	}
	if len(words) > 1 && strings.Count(words[1], ".") == 2 {
		enhanced = words[1]
	}
	return code, enhanced
}

package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/replay"
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
	b := &bounce{host: s.o.Hostname, to: to, entry: e, failed: us, header: header, now: time.Now(), id: spool.NewID()}
	if s.o.Reader != nil {
		b.language, b.zone = s.o.Reader(e.Mailbox)
	}
	reason := bounceReason + e.ID
	for _, u := range us {
		reason += fmt.Sprintf(" %d.%d", u.Pair.Rcpt, u.Pair.Round)
	}
	if err := s.tell(ctx, b.id, to, reason, b.message(), b.now); err != nil {
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

// whyNot is what to tell a person about a failure: a key of words.why, by the server's words where it had any.
func whyNot(u replay.Undelivered) string {
	code, enhanced := codes(u.Reply)
	if key, ok := map[string]string{
		"5.1.1": whyAddress, "5.1.0": whyAddress, "5.1.2": whyDomain, "5.4.4": whyDomain, "5.2.1": whyDisabled, "5.2.2": whyFull, "4.2.2": whyFull,
		"5.3.4": whyLarge, "5.2.3": whyLarge, "5.6.7": whyCharacters,
	}[enhanced]; ok {
		return key
	}
	switch {
	case code == "552":
		return whyLarge
	case strings.HasPrefix(enhanced, "5.7."):
		return whyPolicy
	case strings.HasPrefix(code, "4"):
		return whyLater
	case u.Reply != "":
		return whyRefused
	}
	return whyNothing
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

package submit

import (
	"context"
	"fmt"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/trace"
	"restante/spool"
)

// toldReason is Entry.Reason of mail that the node itself wrote.
const toldReason = "written by the node"

// Tell keeps a message of the node itself (an invitation, a hand-over mail) for a person of a hosted domain, and returns the id of its
// entry once it is durable. It has the null reverse-path, so that nobody answers it by a bounce; it is signed as what
// people write is, and goes to the domain's primary as all mail does. It counts against nobody's limits. The message has CRLF line ends.
func (s *Service) Tell(ctx context.Context, to string, message []byte) (string, error) {
	a, err := mailaddr.Parse(to)
	if err != nil || !s.o.Hosted(a.Domain) {
		return "", refuse("%q is no address of a domain that is hosted here", to)
	}
	id := spool.NewID()
	return id, s.tell(ctx, id, a, toldReason, message, time.Now())
}

// tell keeps a message of the node for one person, signed.
func (s *Service) tell(ctx context.Context, id string, to mailaddr.Address, reason string, message []byte, now time.Time) error {
	body := spool.NewBody(s.o.TempDir, bodyMemory)
	defer body.Close() // memory
	if _, err := body.Write(message); err != nil {
		return fmt.Errorf("%w: %w", spool.ErrVoid, err)
	}
	summary, err := trace.Summarize(body, body.Size())
	if err != nil {
		return fmt.Errorf("%w: %w", spool.ErrVoid, err)
	}
	signatures, err := s.sign(ctx, to.Domain, message)
	if err != nil {
		return fmt.Errorf("%w: %w", spool.ErrVoid, err)
	}
	entry := &spool.Entry{ID: id, Kind: spool.Local, Received: now.UTC(), Rcpts: []spool.Recipient{{Address: to.String(), Domain: to.Domain}},
		Params: spool.Params{Body: "8BITMIME", SMTPUTF8: !to.ASCII()}, Summary: summary, Reason: reason}
	return s.o.Spool.AppendAll(ctx, spool.Appending{Entry: entry, Trace: []byte(signatures + s.received(id, now)), Body: body})
}

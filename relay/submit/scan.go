package submit

import (
	"bytes"
	"context"
	"crypto/sha256"

	"restante/relay/policy/scan"
	"restante/relay/reply"
)

// Found says what content filters object to in a message. It is an ErrRefused.
type Found struct {
	Virus  string // its name, "" when it is something else
	Reason string // for admins
}

// Error gives the reason.
func (e *Found) Error() string { return ErrRefused.Error() + ": " + e.Reason }

// Is makes errors.Is(err, ErrRefused) true.
func (e *Found) Is(target error) bool { return target == ErrRefused }

// look has the content filters look at a message. Nothing that is written here goes into quarantine: the writer is told at
// once, and has the text still. What was looked at and may have been kept isn't looked at again: see ErrUnsettled.
func (s *Service) look(ctx context.Context, w *writing, e *envelope) error {
	if s.o.Scan == nil || w.doubt && w.sum == sha256.Sum256(e.Message) {
		return nil
	}
	m := scan.Message{ID: e.Writing, From: e.from.String(), Body: bytes.NewReader(e.Message), Size: int64(len(e.Message)), Outgoing: true, Account: e.Account}
	for _, r := range e.outbound {
		m.Rcpts = append(m.Rcpts, r.Address)
	}
	for _, r := range e.local {
		m.Rcpts = append(m.Rcpts, r.Address)
		m.Domains = append(m.Domains, r.Domain)
	}
	r := s.o.Scan(ctx, m)
	switch r.Action {
	case scan.Defer:
		s.log.Warn("what was written here can't be checked", "account", e.Account, "writing", e.Writing, "reason", r.Reason)
		return &NotNow{Why: WhyUnchecked, Err: r.Reply}
	case scan.Refuse, scan.Quarantine:
		s.log.Warn("what was written here is refused", "account", e.Account, "writing", e.Writing, "reason", r.Reason)
		if r.Reply.Enhanced == (reply.Enhanced{5, 3, 4}) && r.Virus == "" {
			return refuse("it has %.1f MB with its attachments, more than can be checked", float64(m.Size)/1e6)
		}
		return &Found{Virus: r.Virus, Reason: r.Reason}
	}
	return nil
}

package app

import (
	"context"
	"errors"
	"slices"
	"strings"

	"restante/relay/submit"
	"restante/webmail"
	"restante/webmail/accounts"
)

// sender is relay/submit as the webmail sees it.
type sender struct {
	submit   *submit.Service
	accounts *accounts.Directory
}

// May implements webmail.Sender.
func (s *sender) May(ctx context.Context, account, from string) (bool, string) {
	return s.submit.May(ctx, account, from)
}

// Send implements webmail.Sender.
func (s *sender) Send(ctx context.Context, m webmail.Submission) (webmail.SendResult, error) {
	r, err := s.submit.Submit(ctx, submit.Submission{
		Account: m.Account, Box: s.box(m.Account, m.From), From: m.From, Rcpts: m.Rcpts, Message: m.Message, Writing: m.Writing, Delay: m.Delay,
	})
	if err != nil {
		return webmail.SendResult{}, refusal(err)
	}
	return webmail.SendResult{Entries: r.Entries, NotBefore: r.NotBefore}, nil
}

// box is whose Sent folder it goes into: that of the shared mailbox which it is from, else the writer's own.
func (s *sender) box(account, from string) string {
	_, shared := s.accounts.Boxes(account)
	for _, b := range shared {
		if slices.Contains(b.Addresses, from) {
			return b.ID
		}
	}
	return ""
}

// Undo implements webmail.Sender.
func (s *sender) Undo(ctx context.Context, account, writing string) error {
	return refusal(s.submit.Undo(ctx, account, writing))
}

// refusal makes what the writer is told of an error.
func refusal(err error) error {
	var not *submit.NotNow
	var found *submit.Found
	switch {
	case errors.As(err, &not):
		return &webmail.Refusal{Key: not.Why}
	case errors.Is(err, submit.ErrTooLate), errors.Is(err, submit.ErrUnknown):
		return &webmail.Refusal{Key: "too-late"}
	case errors.Is(err, submit.ErrUnsettled):
		return &webmail.Refusal{Key: "unsettled"}
	case errors.As(err, &found) && found.Virus != "":
		return &webmail.Refusal{Key: "virus", Args: []any{"name", found.Virus}}
	case errors.As(err, &found):
		return &webmail.Refusal{Key: "content"}
	case errors.Is(err, submit.ErrRefused):
		return &webmail.Refusal{Key: "message", Args: []any{"why", strings.TrimPrefix(err.Error(), submit.ErrRefused.Error()+": ")}}
	}
	return err
}

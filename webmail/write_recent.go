package webmail

import (
	"context"
	"errors"
	"sync"
	"time"

	"restante/webmail/mailbox"
)

// recentDrafts holds what was just discarded or sent, so that it can be taken back: undo is offered for 10 s, and
// by the same node that the browser talks to. It forgets on a restart; then an undo says that it came too late.
type recentDrafts struct {
	mu     sync.Mutex
	drafts []recentDraft // oldest first
	octets int
}

type recentDraft struct {
	mailbox.Draft
	at time.Time
}

// Bounds of what is remembered.
const (
	recentFor    = 2 * time.Minute // a toast may stay open for longer than it counts
	recentOctets = 16 << 20
)

// keep remembers a draft, and forgets older ones to make room.
func (c *recentDrafts) keep(d mailbox.Draft, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drafts = append(c.drafts, recentDraft{d, now})
	c.octets += len(d.Raw)
	for len(c.drafts) > 0 && (c.octets > recentOctets || now.Sub(c.drafts[0].at) > recentFor) {
		c.octets -= len(c.drafts[0].Raw)
		c.drafts = c.drafts[1:]
	}
}

// find returns the newest version of a writing of the account.
func (c *recentDrafts) find(account, writing string, now time.Time) (mailbox.Draft, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.drafts) - 1; i >= 0; i-- {
		if d := c.drafts[i]; d.Account == account && d.Writing == writing && now.Sub(d.at) <= recentFor {
			return d.Draft, true
		}
	}
	return mailbox.Draft{}, false
}

// revive makes sure that a draft which was sent or discarded is there again; ErrNotFound when it is too late for that.
func (s *Server) revive(ctx context.Context, account, writing string) error {
	_, err := s.o.Mail.Draft(ctx, account, writing)
	if !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	d, ok := s.undoable.find(account, writing, s.o.Now())
	if !ok {
		return mailbox.ErrNotFound
	}
	_, err = s.o.Mail.SaveDraft(ctx, d)
	return err
}

package submit

import (
	"context"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/index"
)

// window is the time that limits are of.
const window = time.Hour

// limiter counts what accounts sent within the window. It is of this node: with several, an account may send that much
// through each of them; what was sent before a start counts.
type limiter struct {
	mu   sync.Mutex
	sent map[string][]sending // by account, oldest first
}

type sending struct {
	at    time.Time
	rcpts int
}

func (l *limiter) init() { l.sent = make(map[string][]sending) }

// recent drops what is older than the window. Callers hold l.mu.
func (l *limiter) recent(account string, now time.Time) (list []sending, rcpts int) {
	list = l.sent[account]
	for len(list) > 0 && now.Sub(list[0].at) >= window {
		list = list[1:]
	}
	if len(list) == 0 {
		delete(l.sent, account)
	} else {
		l.sent[account] = list
	}
	for _, s := range list {
		rcpts += s.rcpts
	}
	return list, rcpts
}

// full reports that the account can't send another message to one recipient.
func (l *limiter) full(account string, max Limits, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	list, rcpts := l.recent(account, now)
	return len(list) >= max.Messages || rcpts >= max.Recipients
}

// take counts a message, if it is within the limits.
func (l *limiter) take(account string, rcpts int, max Limits, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	list, before := l.recent(account, now)
	if len(list) >= max.Messages || before+rcpts > max.Recipients {
		return false
	}
	l.sent[account] = append(list, sending{now, rcpts})
	return true
}

// giveBack uncounts a message that was counted at the given time and then not kept.
func (l *limiter) giveBack(account string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.sent[account]
	for i := range list {
		if list[i].at.Equal(at) {
			l.sent[account] = append(append([]sending(nil), list[:i]...), list[i+1:]...)
			return
		}
	}
}

// recount counts what was sent within the window before this process began.
func (s *Service) recount(ctx context.Context) error {
	now := time.Now()
	type writing struct {
		account string
		at      time.Time
		rcpts   int
	}
	byID := make(map[string]*writing)
	var order []*writing
	err := s.eachEntry(ctx, index.Filter{Since: now.Add(-window)}, func(e *spool.Entry, _ []spool.Pair) error {
		if e.Kind == spool.Copy || e.Mailbox == "" {
			return nil
		}
		w := byID[e.Writing]
		if w == nil {
			w = &writing{account: e.Mailbox, at: e.Received}
			byID[e.Writing] = w
			order = append(order, w)
		}
		w.rcpts += len(e.Rcpts)
		return nil
	})
	if err != nil {
		return err
	}
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	before := make(map[string][]sending)
	for _, w := range order {
		before[w.account] = append(before[w.account], sending{w.at, w.rcpts})
	}
	for account, list := range before {
		for _, since := range s.limits.sent[account] { // what came in the meantime stands in both
			if !contains(list, since) {
				list = append(list, since)
			}
		}
		s.limits.sent[account] = list
	}
	return nil
}

func contains(list []sending, s sending) bool {
	for _, o := range list {
		if o.rcpts == s.rcpts && o.at.Sub(s.at).Abs() < time.Second {
			return true
		}
	}
	return false
}

// eachEntry calls f with the entries written here that have a pair which fits, with all those of its pairs that do, oldest first.
func (s *Service) eachEntry(ctx context.Context, fits index.Filter, f func(*spool.Entry, []spool.Pair) error) error {
	fits.Limit, fits.Written = 1000, true
	var pairs []spool.Pair
	flush := func() error {
		if len(pairs) == 0 {
			return nil
		}
		v, err := s.o.Index.Entry(ctx, pairs[0].Entry)
		if err != nil {
			return err
		}
		ps := pairs
		pairs = nil
		if v.Entry == nil {
			return nil // its batch was deleted
		}
		return f(v.Entry, ps)
	}
	for {
		page, next, err := s.o.Index.List(ctx, fits)
		if err != nil {
			return err
		}
		for _, p := range page {
			if len(pairs) > 0 && pairs[0].Entry != p.Entry {
				if err := flush(); err != nil {
					return err
				}
			}
			pairs = append(pairs, p)
		}
		if next == "" {
			return flush()
		}
		fits.After = next
	}
}

// writingTime is when a writing was begun, by its ULID; now when it isn't one.
func writingTime(writing string, now time.Time) time.Time {
	id, err := ulid.ParseStrict(writing)
	if err != nil {
		return now
	}
	return ulid.Time(id.Time())
}

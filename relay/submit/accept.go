package submit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"restante/relay/trace"
	"restante/spool"
	"restante/spool/index"
)

// bodyMemory is the size up to which a message is held in memory on its way to the spool.
const bodyMemory = 32 << 20

// Submit keeps a message for delivery. When it returns a Result the message is durable: all entries of it, in one
// batch. The same writing is sent once, however often it is submitted. Errors: ErrRefused, ErrNotNow, ErrUnsettled;
// after the first two nothing was kept.
func (s *Service) Submit(ctx context.Context, m Submission) (Result, error) {
	e, err := s.check(m)
	if err != nil {
		s.metrics.submitted("refused")
		return Result{}, err
	}
	w, err := s.sent.begin(ctx, e.Account, e.Writing)
	if err != nil {
		return Result{}, err
	}
	defer w.end()
	if !w.known {
		if err := s.lookUp(ctx, w, e); err != nil {
			return Result{}, &NotNow{Why: WhyStore, Err: err}
		}
	}
	if w.kept && !w.removed {
		s.metrics.submitted("again")
		return w.result(true), nil
	}
	return s.keepAll(ctx, w, e)
}

// keepAll signs a message and appends its entries.
func (s *Service) keepAll(ctx context.Context, w *writing, e *envelope) (Result, error) {
	if err := s.may(ctx, e.Account, e.from.String()); err != nil {
		s.metrics.submitted(err.Why)
		return Result{}, err
	}
	c := s.config()
	if len(e.outbound) > 0 && c.Smarthost == nil {
		s.metrics.submitted(WhyNoSmarthost)
		return Result{}, &NotNow{Why: WhyNoSmarthost}
	}
	if err := s.fits(e); err != nil {
		s.metrics.submitted("refused")
		return Result{}, err
	}
	now := time.Now()
	if !s.limits.take(e.Account, len(e.outbound)+len(e.local), c.Limits, now) {
		s.metrics.submitted(WhyLimit)
		return Result{}, &NotNow{Why: WhyLimit}
	}
	if err := s.look(ctx, w, e); err != nil {
		if errors.Is(err, ErrRefused) { // it counts against the limits: who tries what gets through isn't to try for ever
			s.metrics.submitted("refused")
		} else {
			s.limits.giveBack(e.Account, now)
			s.metrics.submitted(WhyUnchecked)
		}
		return Result{}, err
	}
	err := s.append(ctx, w, e, now)
	switch {
	case err == nil:
		s.metrics.submitted("kept")
		return w.result(false), nil
	case errors.Is(err, spool.ErrUnsettled):
		w.doubt = true
		s.metrics.submitted("unsettled")
		return Result{}, fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	s.limits.giveBack(e.Account, now)
	s.metrics.submitted(WhyStore)
	return Result{}, &NotNow{Why: WhyStore, Err: err}
}

// fits refuses what the smarthost is known not to take.
func (s *Service) fits(e *envelope) error {
	offers, known := s.monitor.Offers(spool.Smarthost)
	if !known || len(e.outbound) == 0 {
		return nil
	}
	if offers.Size > 0 && int64(len(e.Message))+traceRoom > offers.Size {
		return refuse("it has %.1f MB with its attachments; the server that sends it on takes %.1f MB", float64(len(e.Message))/1e6, float64(offers.Size)/1e6)
	}
	if e.params.SMTPUTF8 && !offers.SMTPUTF8 {
		return refuse("an address has characters that the server that sends it on can't take")
	}
	return nil
}

// traceRoom is what signatures and trace fields add at most, in octets.
const traceRoom = 4 << 10

// append makes the entries of a message and has them kept, all or none. The ids are those of the writing's first attempt: should
// that turn out to have been kept after all, the index passes over the second.
func (s *Service) append(ctx context.Context, w *writing, e *envelope, now time.Time) error {
	body := spool.NewBody(s.o.TempDir, bodyMemory)
	defer body.Close() // memory, or a file without a name
	if _, err := body.Write(e.Message); err != nil {
		return fmt.Errorf("%w: %w", spool.ErrVoid, err)
	}
	summary, err := trace.Summarize(bytes.NewReader(e.Message), int64(len(e.Message)))
	if err != nil {
		return fmt.Errorf("%w: %w", spool.ErrVoid, err)
	}
	sum := sha256.Sum256(e.Message)
	if !w.doubt || sum != w.sum {
		if w.trace, err = s.sign(ctx, e.from.Domain, e.Message); err != nil {
			return fmt.Errorf("%w: %w", spool.ErrVoid, err)
		}
		w.sum, w.at = sum, now
	}
	if !w.doubt {
		w.removed = false
		w.notBefore = time.Time{}
		if e.Delay > 0 {
			w.notBefore = now.Add(e.Delay).UTC().Truncate(time.Millisecond)
		}
		w.ids = [3]string{spool.NewID(), spool.NewID(), spool.NewID()}
	}
	var all []spool.Appending
	w.entries, w.rcpts = nil, nil
	add := func(id string, kind spool.Kind, mailbox string, rcpts []spool.Recipient, mark string) {
		if len(rcpts) == 0 {
			return
		}
		entry := &spool.Entry{ID: id, Kind: kind, Received: w.at.UTC(), From: e.from.String(), Rcpts: rcpts, Params: e.params, Summary: summary,
			Reason: "written here", Mailbox: mailbox, Writing: e.Writing, NotBefore: w.notBefore}
		fields := mark + w.trace + s.received(id, w.at)
		all = append(all, spool.Appending{Entry: entry, Trace: []byte(fields), Body: body})
		w.entries, w.rcpts = append(w.entries, id), append(w.rcpts, len(rcpts))
	}
	add(w.ids[0], spool.Outbound, e.Account, e.outbound, "")
	add(w.ids[1], spool.Local, e.Account, e.local, "")
	w.copy = ""
	if domain := domainOf(e.Box); s.o.Hosted(domain) {
		w.copy = w.ids[2]
		add(w.copy, spool.Copy, e.Box, []spool.Recipient{{Address: e.Box, Domain: domain}}, CopyField)
	}
	if err := s.o.Spool.AppendAll(ctx, all...); err != nil {
		return err
	}
	w.kept, w.doubt = true, false
	s.log.Info("written here and kept", "account", e.Account, "from", e.from.String(), "ids", w.entries, "outside", len(e.outbound), "hosted", len(e.local),
		"octets", len(e.Message), "not_before", w.notBefore)
	return nil
}

// received is the Received field of what was written here (RFC 5321 4.4). It names nobody's address.
func (s *Service) received(id string, now time.Time) string {
	return fmt.Sprintf("Received: by %s (Restante, written in its webmail) with HTTPS id %s;\r\n\t%s\r\n", s.o.Hostname, id, now.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
}

// lookUp finds out whether a writing that this process doesn't know was sent: before it began, or through another node. What
// is older than an hour isn't looked for; nobody tries again for so long.
func (s *Service) lookUp(ctx context.Context, w *writing, e *envelope) error {
	now := time.Now()
	since := writingTime(e.Writing, now).Add(-time.Minute)
	if hour := now.Add(-time.Hour); since.Before(hour) {
		since = hour
	}
	// Only somebody who tries again may find what the index doesn't have yet; a store that can't be read to its end
	// mustn't keep all others from sending.
	s.sync(ctx)
	return s.find(ctx, w, index.Filter{From: e.from.String(), Since: since})
}

// find fills in what the index knows of a writing.
func (s *Service) find(ctx context.Context, w *writing, fits index.Filter) error {
	var entries []*spool.Entry
	own := false // by the account itself: a copy names the mailbox that it is for
	err := s.eachEntry(ctx, fits, func(entry *spool.Entry, pairs []spool.Pair) error {
		back := !slices.ContainsFunc(pairs, func(p spool.Pair) bool { return p.State != spool.StateRemoved })
		if entry.Writing != w.name || back {
			return nil
		}
		own = own || entry.Kind != spool.Copy && strings.EqualFold(entry.Mailbox, w.account)
		entries = append(entries, entry)
		return nil
	})
	if err != nil {
		return err
	}
	w.known = true
	if !own {
		return nil
	}
	w.kept, w.doubt, w.entries, w.rcpts = true, false, nil, nil
	for _, entry := range entries {
		if entry.Kind == spool.Copy {
			w.copy = entry.ID
		}
		w.notBefore = entry.NotBefore
		w.entries, w.rcpts = append(w.entries, entry.ID), append(w.rcpts, len(entry.Rcpts))
	}
	return nil
}

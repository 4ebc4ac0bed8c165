package app

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"restante/cmd/internal/admin"
	"restante/spool"
	"restante/spool/index"
)

// List implements admin.Backend.
func (b *backend) List(ctx context.Context, f index.Filter) ([]spool.Pair, index.Cursor, error) {
	if err := b.maySearch(f); err != nil {
		return nil, "", err
	}
	f.Limit = min(max(f.Limit, 0), 10_000)
	pairs, next, err := b.index.List(ctx, f)
	if pairs == nil {
		pairs = []spool.Pair{}
	}
	for i := range pairs {
		b.veil(&pairs[i])
	}
	return pairs, next, err
}

// Show implements admin.Backend.
func (b *backend) Show(ctx context.Context, id string) (*index.View, error) {
	v, err := b.index.Entry(ctx, strings.ToUpper(id))
	switch {
	case errors.Is(err, index.ErrNotFound):
		return nil, admin.Errorf(admin.KindNotFound, "see `restante queue list --state all`", "there is no entry %q", id)
	case errors.Is(err, index.ErrAmbiguous):
		return nil, admin.Errorf(admin.KindUsage, "write more of the id", "more than one entry begins with %q", id)
	case err != nil:
		return nil, err
	}
	v.Entry = b.veilEntry(v.Entry)
	for i := range v.Pairs {
		b.veil(&v.Pairs[i])
	}
	return v, nil
}

// Raw implements admin.Backend.
func (b *backend) Raw(ctx context.Context, by, id string, w io.Writer) error {
	if err := b.mayRead(); err != nil {
		return err
	}
	v, err := b.Show(ctx, id)
	if err != nil {
		return err
	}
	if v.Erased || v.Entry == nil {
		return admin.Errorf(admin.KindNotFound, "", "the content of %s is gone from the store", id)
	}
	e, body, err := b.fetch(ctx, v.Entry.ID, v.Location)
	if err != nil {
		return err
	}
	defer body.Close()
	read := b.readBy(e, by, "opened", "")
	if err := b.spool.Record(ctx, read...); err != nil {
		b.spool.Note(read...) // written when the store is back
	}
	b.log.Info("content read", "id", e.ID, "by", by)
	r := body.Reader()
	if _, err := r.Seek(int64(e.TraceSize), io.SeekStart); err != nil {
		return fmt.Errorf("reading %s: %w", e.ID, err)
	}
	_, err = io.Copy(w, r)
	return err
}

func (b *backend) fetch(ctx context.Context, id string, loc spool.Location) (*spool.Entry, *spool.Body, error) {
	e, body, err := b.spool.Fetch(ctx, id, loc)
	if errors.Is(err, spool.ErrDamaged) {
		return nil, nil, admin.Errorf(admin.KindFailed, "see what else is: restante fsck", "%s is damaged in the store: %w", id, err)
	}
	if err != nil {
		return nil, nil, admin.Errorf(admin.KindFailed, "see `restante status` about the store", "can't read %s: %w", id, err)
	}
	return e, body, nil
}

// Export implements admin.Backend.
func (b *backend) Export(ctx context.Context, by string, r admin.ExportRequest, w io.Writer) error {
	if err := b.mayRead(); err != nil {
		return err
	}
	x := &exporter{b: b, by: by, tar: tar.NewWriter(w), seen: map[string]struct{}{}}
	if len(r.IDs) > 0 {
		for _, id := range r.IDs {
			v, err := b.Show(ctx, id)
			if err != nil {
				return err
			}
			for _, p := range v.Pairs {
				if err := x.add(ctx, p); err != nil {
					return err
				}
			}
		}
	} else if err := b.each(ctx, r.Filter, func(p spool.Pair) error {
		if p.Quarantine != "" && p.State == spool.StateParked && r.Filter.State != index.StateQuarantined {
			return nil // what comes of an export is for mailboxes
		}
		return x.add(ctx, p)
	}); err != nil {
		return err
	}
	if err := x.tar.Close(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	b.log.Info("content exported", "entries", len(x.seen), "by", by)
	return nil
}

// exporter writes each entry once, whatever number of its pairs fit.
type exporter struct {
	b    *backend
	by   string
	tar  *tar.Writer
	seen map[string]struct{}
}

func (x *exporter) add(ctx context.Context, p spool.Pair) error {
	if _, ok := x.seen[p.Entry]; ok {
		return nil
	}
	x.seen[p.Entry] = struct{}{}
	v, err := x.b.index.Entry(ctx, p.Entry)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if v.Erased || v.Entry == nil {
		return nil
	}
	e, body, err := x.b.fetch(ctx, p.Entry, v.Location)
	if err != nil {
		// The rest is still worth having: the reader is told of this one.
		text, jsonErr := json.Marshal(v.Entry)
		return errors.Join(jsonErr, x.file(v.Entry.ID+".json", v.Entry.Received, text), x.file(v.Entry.ID+".failed", v.Entry.Received, []byte(err.Error())))
	}
	defer body.Close()
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := x.file(e.ID+".json", e.Received, text); err != nil {
		return err
	}
	if err := x.tar.WriteHeader(&tar.Header{Name: e.ID + ".eml", Mode: 0o600, Size: body.Size(), ModTime: e.Received, Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	x.b.spool.Note(x.b.readBy(e, x.by, "download", "export")...)
	if _, err := io.Copy(x.tar, body.Reader()); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func (x *exporter) file(name string, at time.Time, text []byte) error {
	if err := x.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), ModTime: at, Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if _, err := x.tar.Write(text); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// actBatch is how many events are recorded at once.
const actBatch = 500

// settleWait is how long an action waits for the index to show it, so that the next command sees it.
const settleWait = 2 * time.Second

// Act implements admin.Backend.
func (b *backend) Act(ctx context.Context, by string, a admin.Action) (*admin.ActResult, error) {
	x := &actor{b: b, by: by, a: a, entries: map[string]struct{}{}, out: &admin.ActResult{}}
	switch a.Do {
	case "hold", "release", "retry", "remove":
	default:
		return nil, admin.Errorf(admin.KindUsage, "use hold, release, retry or remove", "can't %q", a.Do)
	}
	if len(a.IDs) == 0 {
		if err := b.each(ctx, a.Filter, func(p spool.Pair) error { return x.pair(ctx, p, false) }); err != nil {
			return nil, err
		}
	}
	for _, id := range a.IDs {
		v, err := b.Show(ctx, id)
		if err != nil {
			return nil, err
		}
		found := false
		for _, p := range v.Pairs {
			if a.Rcpt == "" || strings.EqualFold(a.Rcpt, p.Address) {
				found = true
				if err := x.pair(ctx, p, true); err != nil {
					return nil, err
				}
			}
		}
		if !found {
			return nil, admin.Errorf(admin.KindNotFound, "see `restante queue show "+id+"`", "%s has no recipient %s", id, a.Rcpt)
		}
	}
	if err := x.flush(ctx); err != nil {
		return nil, err
	}
	if err := x.erase(ctx); err != nil {
		return nil, err
	}
	x.out.Entries = int64(len(x.entries))
	b.log.Info("queue changed", "do", a.Do, "pairs", x.out.Pairs, "entries", x.out.Entries, "dry_run", a.DryRun, "erase", a.Erase, "by", by, "reason", a.Reason)
	return x.out, nil
}

// actor turns an Action into events.
type actor struct {
	b       *backend
	by      string
	a       admin.Action
	evs     []spool.Event
	entries map[string]struct{}
	out     *admin.ActResult
}

// pair adds the event for one pair. Pairs that the action doesn't fit are skipped, and told of when they were named.
func (x *actor) pair(ctx context.Context, p spool.Pair, named bool) error {
	ev := spool.Event{By: x.by, Entry: p.Entry, Rcpt: p.Rcpt, Round: p.Round, Domain: p.Domain, Reason: x.a.Reason}
	fits := false
	switch x.a.Do {
	case "hold":
		ev.Type, ev.Round, fits = spool.HeldBack, p.Round+1, p.State == spool.StatePending
		if ev.Reason == "" {
			ev.Reason = "held by " + x.by
		}
	case "release":
		ev.Type, ev.Round, fits = spool.Released, p.Round+1, p.State == spool.StateParked
	case "retry":
		ev.Type, ev.Round = spool.Retried, p.Round+1
		fits = p.State == spool.StateParked || p.State == spool.StateExpired
	case "remove":
		ev.Type, fits = spool.Removed, p.State == spool.StatePending || p.State == spool.StateParked
	}
	if fits && p.State == spool.StateParked && (x.a.Do == "retry" || x.a.Do == "release") {
		held, err := x.b.isHeld(ctx, &p)
		if err != nil {
			return err
		}
		why := ""
		switch {
		case p.Quarantine != "" && x.a.Do == "retry":
			why = "it is in quarantine, see `restante queue release`"
		case p.Quarantine != "":
			if r := &x.out.Quarantine; len(*r) < admin.ActReasons && !slices.Contains(*r, p.Quarantine) {
				*r = append(*r, p.Quarantine)
			}
		case held && x.a.Do == "retry": // until it is released, whatever else is parked
			why = "it is held, see `restante queue release`"
		case !held && x.a.Do == "release":
			why = "it is neither held nor in quarantine, see `restante queue retry`"
		}
		if why != "" {
			x.out.Skipped = append(x.out.Skipped, fmt.Sprintf("%s to %s: %s", p.Entry, p.Address, why))
			return nil
		}
	}
	if !fits {
		if x.a.Do == "remove" && x.a.Erase && p.State != spool.StatePending {
			x.entries[p.Entry] = struct{}{} // it has ended already; its content can go
		} else if named {
			x.out.Skipped = append(x.out.Skipped, fmt.Sprintf("%s to %s: it is %s", p.Entry, p.Address, p.State))
		}
		return nil
	}
	x.out.Pairs++
	x.entries[p.Entry] = struct{}{}
	if x.a.DryRun {
		return nil
	}
	if x.evs = append(x.evs, ev); len(x.evs) >= actBatch {
		return x.flush(ctx)
	}
	return nil
}

// isHeld reports that a parked pair was parked by an admin.
func (b *backend) isHeld(ctx context.Context, p *spool.Pair) (bool, error) {
	v, err := b.index.Entry(ctx, p.Entry)
	if err != nil {
		return false, fmt.Errorf("entry %s: %w", p.Entry, err)
	}
	for _, ev := range slices.Backward(v.Events) {
		if ev.Rcpt == p.Rcpt && (ev.Type == spool.HeldBack || ev.Type == spool.Parked) {
			return ev.Type == spool.HeldBack, nil
		}
	}
	return false, nil
}

func (x *actor) flush(ctx context.Context) error {
	if len(x.evs) == 0 {
		return nil
	}
	last := x.evs[len(x.evs)-1]
	if err := x.b.spool.Record(ctx, x.evs...); err != nil {
		return admin.Errorf(admin.KindFailed, "try again when `restante status` shows the store as ok; doing it twice is harmless", "the store can't record it: %w", err)
	}
	x.evs = x.evs[:0]
	x.b.shown(ctx, last)
	return nil
}

// shown waits a moment until the index has read the event: its round is there, or a later one, or the
// pair was delivered meanwhile.
func (b *backend) shown(ctx context.Context, ev spool.Event) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	for {
		changed := b.index.Changed()
		v, err := b.index.Entry(ctx, ev.Entry)
		if err != nil || ev.Rcpt >= len(v.Pairs) {
			return // gone, or the index doesn't answer: nothing to wait for
		}
		p := v.Pairs[ev.Rcpt]
		if p.Round > ev.Round || p.State == spool.StateDelivered || p.Round == ev.Round && (ev.Type != spool.Removed || p.State == spool.StateRemoved) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// erase takes the content of what was removed out of the store.
func (x *actor) erase(ctx context.Context) error {
	if !x.a.Erase || x.a.DryRun || len(x.entries) == 0 {
		return nil
	}
	ids := make([]string, 0, len(x.entries))
	for id := range x.entries {
		v, err := x.b.index.Entry(ctx, id)
		if err != nil {
			return fmt.Errorf("erase: %w", err)
		}
		if slices.ContainsFunc(v.Events, func(ev spool.Event) bool { return ev.Type == spool.Erased && ev.Data["done"] == true }) {
			continue // it was before: nothing is left to do or to record
		}
		ended := true
		for _, p := range v.Pairs {
			ended = ended && p.State != spool.StatePending && p.State != spool.StateParked
		}
		if ended {
			ids = append(ids, id)
		} else {
			x.out.Skipped = append(x.out.Skipped, id+": not erased, it has other recipients that still wait")
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := x.b.spool.Erase(ctx, x.b.index, x.by, x.a.Reason, ids...); err != nil {
		return admin.Errorf(admin.KindFailed, "it goes on by itself within the hour; or run the same command again", "not all could be erased yet: %w", err)
	}
	x.b.forgotten(ctx, ids)
	return nil
}

// forgotten waits a moment until the index shows no more of what was erased.
func (b *backend) forgotten(ctx context.Context, ids []string) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	for _, id := range ids {
		for {
			changed := b.index.Changed()
			if v, err := b.index.Entry(ctx, id); err != nil || v.Erased {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}
}

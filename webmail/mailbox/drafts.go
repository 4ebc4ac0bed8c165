package mailbox

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/encoding/htmlindex"

	"restante/spool"
	"restante/spool/table"
)

const (
	draftMemory    = 1 << 20 // octets of a draft or an attachment that stay in memory while it is kept
	attachmentMost = 100     // attachments that a draft may name
	summaryMax     = 200     // octets, as elsewhere in summaries
)

// SaveDraft keeps a version of a piece of writing and returns once it can be read again. Errors: those of spool.Append, ErrTooLarge,
// or that Raw is no message.
func (s *Store) SaveDraft(ctx context.Context, d Draft) (SavedDraft, error) {
	if int64(len(d.Raw)) > s.o.Limits.Raw {
		return SavedDraft{}, fmt.Errorf("draft: %w: %d octets, at most %d", ErrTooLarge, len(d.Raw), s.o.Limits.Raw)
	}
	m, err := mail.ReadMessage(bytes.NewReader(d.Raw))
	if err != nil {
		return SavedDraft{}, fmt.Errorf("draft: %w", err)
	}
	d.Account, d.Box = canonical(d.Account), canonical(d.Box)
	if d.Box == "" {
		d.Box = d.Account
	}
	if d.Writing == "" {
		d.Writing = spool.NewID()
	}
	e := s.newDraft(d.Account, d.Writing, d.Box)
	e.Summary = draftSummary(m.Header)
	if err := s.keep(ctx, e, nil, bytes.NewReader(d.Raw), -1); err != nil {
		return SavedDraft{}, err
	}
	saved := SavedDraft{Draft: d, Entry: e.ID, Saved: e.Received}
	saved.Attachments, err = s.attachments(ctx, d.Account, d.Writing, m.Header)
	return saved, err
}

func (s *Store) newDraft(account, writing, box string) *spool.Entry {
	return &spool.Entry{ID: spool.NewID(), Kind: spool.Draft, Received: s.o.Now().UTC(), From: box, Mailbox: account, Writing: writing}
}

// draftSummary is what lists show of a draft.
func draftSummary(h mail.Header) spool.Summary {
	text := func(name string) string {
		d := mime.WordDecoder{CharsetReader: func(name string, r io.Reader) (io.Reader, error) {
			e, err := htmlindex.Get(name)
			if err != nil {
				return nil, err
			}
			return e.NewDecoder().Reader(r), nil
		}}
		v := h.Get(name)
		if decoded, err := d.DecodeHeader(v); err == nil {
			v = decoded
		}
		return short(v)
	}
	return spool.Summary{From: text("From"), To: text("To"), Subject: text("Subject"), Date: short(h.Get("Date")), MessageID: short(h.Get("Message-Id")),
		Refs: spool.Refs(h.Get("In-Reply-To"), h.Get("References"))}
}

func short(s string) string {
	s = spool.Printable(strings.Join(strings.Fields(s), " "))
	if len(s) <= summaryMax {
		return s
	}
	return cut(s, summaryMax)
}

// keep appends an entry with what is read from r, at most limit octets (-1: all), and waits until it was folded.
func (s *Store) keep(ctx context.Context, e *spool.Entry, trace []byte, r io.Reader, limit int64) error {
	body := spool.NewBody(s.o.TempDir, draftMemory)
	defer body.Close()
	if limit >= 0 {
		r = io.LimitReader(r, limit+1)
	}
	n, err := io.Copy(body, r)
	if err != nil {
		return err
	}
	if limit >= 0 && n > limit {
		return fmt.Errorf("%w: more than %d octets", ErrTooLarge, limit)
	}
	arrived := s.await(e.ID)
	defer s.forget(e.ID)
	if err := s.o.Append(ctx, e, trace, body); err != nil {
		return err
	}
	wait := time.NewTimer(s.o.Limits.DraftWait)
	defer wait.Stop()
	select {
	case <-arrived:
	case <-wait.C: // it is kept, and will be seen a little later
	case <-ctx.Done():
	}
	return nil
}

// Seen waits until entries that were kept past this Store can be read in it, as long as SaveDraft does.
func (s *Store) Seen(ctx context.Context, entries ...string) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Limits.DraftWait)
	defer cancel()
	for _, id := range entries {
		k, err := parseKey(id)
		if err != nil {
			continue
		}
		arrived := s.await(id)
		if l, err := s.loadID(ctx, k); l == nil && err == nil {
			select {
			case <-arrived:
			case <-ctx.Done():
			}
		}
		s.forget(id)
	}
}

// await returns a channel that is closed once an entry was folded.
func (s *Store) await(id string) <-chan struct{} {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	c := make(chan struct{})
	s.waiting[id] = c
	return c
}

func (s *Store) forget(id string) {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	delete(s.waiting, id)
}

func (s *Store) arrived(ids []string) {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	if len(s.waiting) == 0 {
		return
	}
	for _, id := range ids {
		if c := s.waiting[id]; c != nil {
			close(c)
			delete(s.waiting, id)
		}
	}
}

// Attach keeps an attachment of a piece of writing and returns it; its id is to be named by Raw in the next SaveDraft. At
// most limit octets are read, then ErrTooLarge.
func (s *Store) Attach(ctx context.Context, account, writing, name, ctype string, r io.Reader, limit int64) (Attachment, error) {
	if _, err := parseKey(writing); err != nil {
		return Attachment{}, fmt.Errorf("piece of writing %q: %w", writing, err)
	}
	if media, params, err := mime.ParseMediaType(ctype); err != nil || !strings.Contains(media, "/") {
		ctype = "application/octet-stream"
	} else if ctype = mime.FormatMediaType(media, params); ctype == "" {
		ctype = media
	}
	name = short(name)
	e := s.newDraft(canonical(account), writing, canonical(account))
	e.Reason = attachmentReason
	e.Summary.Subject = name
	e.Verdicts = map[string]string{typeVerdict: short(ctype)}
	header := "Content-Type: " + short(ctype) + "\r\n"
	if v := mime.FormatMediaType("attachment", map[string]string{"filename": name}); v != "" {
		header += "Content-Disposition: " + v + "\r\n"
	}
	header += "Content-Transfer-Encoding: binary\r\n\r\n"
	if err := s.keep(ctx, e, []byte(header), r, max(limit, 0)); err != nil {
		return Attachment{}, err
	}
	return Attachment{ID: e.ID, Name: name, Type: short(ctype), Size: e.Size - int64(e.TraceSize)}, nil
}

// typeVerdict is where the entry of an attachment holds its media type.
const typeVerdict = "type"

// attachments returns those that a draft names, if they are of that account and piece of writing.
func (s *Store) attachments(ctx context.Context, account, writing string, h mail.Header) ([]Attachment, error) {
	var all []Attachment
	ids := h[textproto.CanonicalMIMEHeaderKey(AttachmentField)]
	for _, id := range ids[:min(len(ids), attachmentMost)] {
		a, _, err := s.attachment(ctx, account, writing, strings.TrimSpace(id))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func (s *Store) attachment(ctx context.Context, account, writing, id string) (Attachment, *loadedItem, error) {
	k, err := parseKey(id)
	if err != nil {
		return Attachment{}, nil, err
	}
	l, err := s.loadID(ctx, k)
	if err != nil {
		return Attachment{}, nil, err
	}
	if l == nil || !l.data.Attached || l.data.Account != canonical(account) || l.data.Writing != writing {
		return Attachment{}, nil, ErrNotFound
	}
	d := &l.data
	return Attachment{ID: id, Name: d.Subject, Type: d.Verdicts[typeVerdict], Size: d.Size - int64(d.Trace)}, l, nil
}

// loadID reads one entry; nil when there is none.
func (s *Store) loadID(ctx context.Context, id key) (*loadedItem, error) {
	var n int64
	err := s.db.Read.QueryRowContext(ctx, "SELECT n FROM item WHERE id=?", id.Bytes()).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	loaded, err := s.load(ctx, []int64{n})
	if l := loaded[n]; l != nil && l.id == id {
		return l, err
	}
	return nil, err
}

type section struct {
	io.Reader
	body *spool.Body
}

func (s section) Close() error { return s.body.Close() }

// OpenAttachment returns the octets of an attachment of a piece of writing. The caller closes it.
func (s *Store) OpenAttachment(ctx context.Context, account, writing, id string) (Attachment, io.ReadCloser, error) {
	a, l, err := s.attachment(ctx, account, writing, id)
	if err != nil {
		return a, nil, err
	}
	_, body, err := s.o.Fetch(ctx, id, l.data.Location)
	if err != nil {
		return a, nil, err
	}
	return a, section{io.NewSectionReader(body, int64(l.data.Trace), body.Size()-int64(l.data.Trace)), body}, nil
}

// Draft returns the newest version of a piece of writing of the account: ErrNotFound once it was sent or discarded.
func (s *Store) Draft(ctx context.Context, account, writing string) (SavedDraft, error) {
	l, err := s.draft(ctx, canonical(account), writing)
	if err != nil {
		return SavedDraft{}, err
	}
	d := SavedDraft{Draft: Draft{Account: l.data.Account, Writing: writing, Box: l.data.From}, Entry: l.id.String(), Saved: when(l.data.Received)}
	_, body, err := s.o.Fetch(ctx, d.Entry, l.data.Location)
	if err != nil {
		return d, err
	}
	d.Raw, err = io.ReadAll(io.NewSectionReader(body, int64(l.data.Trace), body.Size()))
	if err = errors.Join(err, body.Close()); err != nil {
		return d, err
	}
	m, err := mail.ReadMessage(bytes.NewReader(d.Raw))
	if err != nil {
		return d, fmt.Errorf("draft %s: %w", d.Entry, err)
	}
	d.Attachments, err = s.attachments(ctx, account, writing, m.Header)
	return d, err
}

// draft finds the version that shows.
func (s *Store) draft(ctx context.Context, account, writing string) (*loadedItem, error) {
	w, err := parseKey(writing)
	if err != nil {
		return nil, err
	}
	var n int64
	err = s.db.Read.QueryRowContext(ctx, `SELECT w.n FROM written w JOIN slot s ON s.address=w.account AND s.role=? AND s.n=w.n AND s.gone=0
		WHERE w.writing=? AND w.account=(SELECT n FROM address WHERE name=?)`, roleDraft, w.Bytes(), account).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	loaded, err := s.load(ctx, []int64{n})
	if err == nil && loaded[n] == nil {
		err = ErrNotFound
	}
	return loaded[n], err
}

// DiscardDraft gives a piece of writing up, here at once, and in the ledger when it returns, or soon if that can't be written now. Flag
// with Trashed false takes it back.
func (s *Store) DiscardDraft(ctx context.Context, account, writing string) error {
	account = canonical(account)
	l, err := s.draft(ctx, account, writing)
	if err != nil {
		return err
	}
	ev := s.flagEvent(account, account, l.id, map[string]any{markNames[markDiscarded]: true})
	if err := s.applyNoted(ctx, []spool.Event{ev}); err != nil {
		return err
	}
	if err := s.o.Record(ctx, ev); err != nil {
		s.log.Debug("a discarded draft is noted later", "err", err)
		s.o.Note(ev)
	}
	return nil
}

// Answering returns who has a draft that answers a conversation of the box, written from that box, the latest first.
func (s *Store) Answering(ctx context.Context, b Box, thread string) ([]Answer, error) {
	id, err := parseKey(thread)
	if err != nil {
		return nil, err
	}
	b = b.clean()
	var r row
	err = s.with(ctx, b, func(rows []row) (err error) {
		r, err = find(rows, id, s.now())
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []Answer
	err = table.Each(ctx, s.db.Read, "SELECT i.data FROM place p JOIN item i ON i.n=p.n WHERE p.thread=? ORDER BY p.n DESC LIMIT ?", func(rs *sql.Rows) error {
		var raw sql.RawBytes
		var d stored
		if err := rs.Scan(&raw); err != nil {
			return err
		}
		if err := d.decode(raw); err != nil {
			return err
		}
		if d.Kind == spool.Draft && !d.Attached && canonical(d.From) == b.ID {
			out = append(out, Answer{Account: d.Account, Saved: when(d.Received), writing: d.Writing})
		}
		return nil
	}, r.thread, conversationMost)
	if err != nil {
		return nil, err
	}
	var live []Answer
	for _, a := range out {
		_, err := s.draft(ctx, a.Account, a.writing)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if err == nil && !slices.ContainsFunc(live, func(o Answer) bool { return o.Account == a.Account }) {
			live = append(live, a)
		}
	}
	slices.SortStableFunc(live, func(a, b Answer) int { return b.Saved.Compare(a.Saved) })
	return live, nil
}

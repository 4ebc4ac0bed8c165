package mailbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"restante/spool"
	"restante/spool/blob"
	"restante/spool/table"
	"restante/webmail/render"
)

const (
	textRound  = 16                     // messages whose text is written in one transaction
	textTime   = 20 * time.Second       // one message may take
	textRetry  = 15 * time.Second       // after the store didn't give a message
	textRest   = 5 * time.Millisecond   // at least, between rounds
	lagMost    = 50                     // batches behind: the first fold goes first
	lagRest    = 500 * time.Millisecond // then
	snippetMax = 200                    // octets
	noteAfter  = time.Minute            // our own events that haven't come back by then are noted again
	pruneEvery = time.Hour
	namesMost  = 200 // attachments whose names are kept
	nameMost   = 300 // octets of each
)

// plain extracts text by webmail/render.
func plain(limit int64) func(context.Context, io.ReaderAt, int64) (string, []string, error) {
	return func(ctx context.Context, r io.ReaderAt, size int64) (string, []string, error) {
		m, err := render.Parse(ctx, r, size, render.Limits{})
		if err != nil {
			return "", nil, err
		}
		return render.Plain(ctx, m, limit)
	}
}

// Run reads full text in the background, newest messages first, until ctx ends, and then returns nil. It goes on where it
// stopped. It takes Limits.Share of one CPU while there is a backlog, and none while the first fold is behind.
func (s *Store) Run(ctx context.Context) error {
	again := time.NewTimer(noteAfter)
	defer again.Stop()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for ctx.Err() == nil {
		rest := s.textStep(ctx)
		timer := time.NewTimer(rest)
		for waits := true; waits; {
			select {
			case <-ctx.Done():
				waits = false
			case <-again.C:
				s.chore(ctx, "noting events again", s.noteAgain)
			case <-prune.C:
				s.chore(ctx, "pruning activities", s.pruneActivity)
				s.chore(ctx, "pruning sessions", s.pruneSessions)
			case <-s.pokeIf(rest >= textIdle):
				waits = false
			case <-timer.C:
				waits = false
			}
		}
		timer.Stop()
	}
	return nil
}

// textIdle is the rest when there is nothing to read; new entries end it.
const textIdle = time.Minute

// textFresh is how old a message is at most for its snippet to be worth a word to those who look at it.
const textFresh = 5 * time.Minute

func (s *Store) pokeIf(idle bool) <-chan struct{} {
	if idle {
		return s.poke
	}
	return nil
}

func (s *Store) chore(ctx context.Context, what string, do func(context.Context) error) {
	if err := do(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("a chore of the mailboxes failed and is tried again later", "what", what, "err", err)
	}
}

// textStep reads the text of a few messages and returns how long to rest.
func (s *Store) textStep(ctx context.Context) time.Duration {
	if s.lagging() > lagMost {
		return lagRest
	}
	start := time.Now()
	n, err := s.readTexts(ctx)
	switch {
	case ctx.Err() != nil:
		return 0
	case err != nil:
		s.log.Warn("full text waits", "err", err)
		return textRetry
	case n == 0:
		return textIdle
	case n < textRound:
		return textRest // nearly done: no backlog
	}
	took := time.Since(start)
	return max(textRest, time.Duration(float64(took)*(1/min(s.o.Limits.Share, 1)-1)))
}

// text is the full text of one message, as tokens.
type text struct {
	n       int64
	state   int
	doc     document
	names   int
	snippet string
	box     []string // addresses
	fresh   bool     // those who look at it want to know
}

// readTexts reads the text of the newest messages whose text wasn't read yet and returns how many.
func (s *Store) readTexts(ctx context.Context) (int, error) {
	var ns []int64
	err := table.Each(ctx, s.db.Read, "SELECT n FROM item WHERE text=0 ORDER BY n DESC LIMIT ?", func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		ns = append(ns, n)
		return err
	}, textRound)
	if err != nil || len(ns) == 0 {
		return 0, err
	}
	loaded, err := s.load(ctx, ns)
	if err != nil {
		return 0, err
	}
	var texts []*text
	for _, n := range ns {
		l := loaded[n]
		if l == nil {
			continue
		}
		t, err := s.readText(ctx, l)
		if err != nil {
			if len(texts) == 0 {
				return 0, err
			}
			break // those before it are kept
		}
		texts = append(texts, t)
	}
	return len(texts), s.keepTexts(ctx, texts)
}

// readText reads the text of one message. An error is one that may pass.
func (s *Store) readText(ctx context.Context, l *loadedItem) (*text, error) {
	t := &text{n: l.n, state: textRead, doc: *l.header(), fresh: s.o.Now().Sub(when(l.data.Received)) < textFresh}
	for _, m := range l.data.mailboxes() {
		t.box = append(t.box, m.name)
	}
	_, body, err := s.o.Fetch(ctx, l.id.String(), l.data.Location)
	switch {
	case err == nil:
	case errors.Is(err, spool.ErrErased), errors.Is(err, blob.ErrNotExist), errors.Is(err, spool.ErrDamaged):
		s.log.Warn("the text of a message can't be read; it is found by its header only", "entry", l.id, "err", err)
		return t, nil
	default:
		return nil, err
	}
	read, cancel := context.WithTimeout(ctx, textTime)
	defer cancel()
	full, names, err := s.extract(read, body)
	if cerr := body.Close(); cerr != nil {
		s.log.Debug("close a body", "err", cerr)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		s.log.Warn("the text of a message can't be read; it is found by its header only", "entry", l.id, "err", err)
	}
	if len(full) > s.o.Limits.Text {
		full = full[:s.o.Limits.Text]
	}
	t.doc.body = tokens(full, false)
	t.names = len(names)
	for _, name := range names[:min(len(names), namesMost)] {
		t.doc.names = append(t.doc.names, tokens(name[:min(len(name), nameMost)], false)...)
	}
	t.snippet = snippet(full)
	return t, nil
}

// extract makes an error of a panic: one message that the reader doesn't survive mustn't end the node, at each start again.
func (s *Store) extract(ctx context.Context, body *spool.Body) (text string, names []string, err error) {
	defer func() {
		if v := recover(); v != nil {
			text, names, err = "", nil, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return s.o.Text(ctx, body, body.Size())
}

// keepTexts writes texts; those of messages that are gone since are dropped.
func (s *Store) keepTexts(ctx context.Context, texts []*text) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.change(ctx, func(t *txn) error {
		for _, x := range texts {
			res, err := s.db.Result(t.ctx, "UPDATE item SET text=?, attachments=?, snippet=? WHERE n=? AND text=0", x.state, x.names, x.snippet, x.n)
			if err != nil {
				return err
			}
			if rows, err := res.RowsAffected(); err != nil || rows == 0 {
				if err != nil {
					return err
				}
				continue
			}
			box := make([]string, 0, len(x.box))
			for _, name := range x.box {
				a, err := s.address(t.ctx, name)
				if err != nil {
					return err
				}
				box = append(box, boxToken(a))
				if x.fresh {
					t.ops = append(t.ops, op{what: opTell, name: name})
				}
			}
			d := &x.doc
			err = t.exec("INSERT INTO ft(rowid,sender,rcpt,subject,body,names,box) VALUES(?,?,?,?,?,?,?)", x.n, strings.Join(d.from, " "), strings.Join(d.to, " "),
				strings.Join(d.subject, " "), strings.Join(d.body, " "), strings.Join(d.names, " "), strings.Join(box, " "))
			if err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// snippet is the first words of a text, without what is quoted.
func snippet(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, ">") || strings.HasPrefix(line, "|") {
			continue
		}
		if line == "--" && b.Len() > 0 {
			break
		}
		for word := range strings.FieldsSeq(line) {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(word)
			if b.Len() > snippetMax {
				return cut(b.String(), snippetMax)
			}
		}
	}
	return b.String()
}

// cut cuts a string at a character.
func cut(s string, most int) string {
	most -= len("…")
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.TrimRight(s[:most], " ") + "…"
}

// Progress returns how many messages wait for their full text to be read.
func (s *Store) Progress(ctx context.Context) (pending int, err error) {
	err = s.db.Read.QueryRowContext(ctx, "SELECT count(*) FROM item WHERE text=0").Scan(&pending)
	return pending, err
}

func jsonText(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("mailboxes: %w", err)
	}
	return string(raw), nil
}

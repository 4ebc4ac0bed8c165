package spool

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

// ExportOptions say what Export writes and where.
type ExportOptions struct {
	Format   string              // "eml", "mbox" or "maildir": see NewMailbox
	Dir      string              // for eml and maildir; made if need be
	Writer   io.Writer           // for mbox
	Select   func(*Entry) bool   // nil: all
	Progress func(ExportReport)  // may be nil; after each batch
	Failed   func(string, error) // may be nil; told of each object or entry that couldn't be exported
}

// ExportReport counts what was written.
type ExportReport struct {
	Batches  int   `json:"batches"`
	Messages int   `json:"messages"`
	Octets   int64 `json:"octets"`
	Failed   int   `json:"failed"` // entries, or whole objects, that could not be read
	Erased   int   `json:"erased"` // entries whose bodies were erased
}

// Export writes the messages of a store to files that any mail reader opens. It needs nothing but the
// store, and may run beside a service. What can't be read is told to Failed and passed over.
func Export(ctx context.Context, store blob.Store, o ExportOptions) (ExportReport, error) {
	var rep ExportReport
	box, err := NewMailbox(o.Format, o.Dir, o.Writer)
	if err != nil {
		return rep, err
	}
	x := &exporter{o: o, box: box, rep: &rep, src: objects{store: store, codec: batch.New(), timeout: checkTimeout}}
	err = x.run(ctx)
	return rep, errors.Join(err, box.Close())
}

type exporter struct {
	o   ExportOptions
	box *Mailbox
	rep *ExportReport
	src objects
}

func (x *exporter) run(ctx context.Context) error {
	ids, err := x.src.streams(ctx)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id StreamID) bool { return id.Ledger })
	slices.SortFunc(ids, func(a, b StreamID) int { return strings.Compare(started(a), started(b)) })
	for _, id := range ids {
		seqs, err := x.src.seqs(ctx, id, 0, 0, nil)
		if err != nil {
			return err
		}
		err = inOrder(ctx, seqs, func(ctx context.Context, seq uint64) *loaded {
			l := &loaded{key: id.Key(seq)}
			l.load(ctx, x.src)
			return l
		}, func(l *loaded) error { return x.batch(ctx, id, l) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *exporter) failed(what string, err error) {
	x.rep.Failed++
	if x.o.Failed != nil {
		x.o.Failed(what, err)
	}
}

// batch exports the entries of one batch.
func (x *exporter) batch(ctx context.Context, id StreamID, l *loaded) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if l.err != nil {
		if !errors.Is(l.err, blob.ErrNotExist) {
			x.failed(l.key, l.err)
		}
		return nil
	}
	var ids []string
	if l.rows == nil {
		x.failed(l.key, fmt.Errorf("%w: its table of contents; its messages are looked for one by one", ErrDamaged))
		for m, err := range x.src.codec.Scan(l.object) {
			if name, kind := memberName(m.Name); err == nil && kind == "json" {
				ids = append(ids, name)
			}
		}
	}
	for name := range l.rows {
		ids = append(ids, name)
	}
	slices.Sort(ids)
	for _, name := range ids {
		if err := x.entry(ctx, id, l, name); err != nil {
			return err
		}
	}
	x.rep.Batches++
	if x.o.Progress != nil {
		x.o.Progress(*x.rep)
	}
	return nil
}

// entry exports one entry. An error is one of writing.
func (x *exporter) entry(ctx context.Context, id StreamID, l *loaded, name string) error {
	if row := l.rows[name]; row != nil && x.o.Select != nil {
		e := new(Entry)
		if err := json.Unmarshal(row.Entry, e); err == nil && !x.o.Select(e) {
			return nil
		}
	}
	e, body, err := x.src.message(ctx, l, name, Location{Stream: id.Name}, x.o.Dir, 1<<20)
	switch {
	case errors.Is(err, ErrErased):
		x.rep.Erased++
		return nil
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		x.failed(name, err)
		return nil
	}
	if x.o.Select == nil || x.o.Select(e) {
		if err = x.box.Add(e, body.Reader()); err == nil {
			x.rep.Messages++
			x.rep.Octets += e.Size
		}
	}
	return errors.Join(err, body.Close())
}

// Mailbox writes messages to files that any mail reader opens.
type Mailbox struct {
	format string
	dir    string
	w      *bufio.Writer
}

// NewMailbox begins a mailbox. Formats:
//
//	eml      <id>.eml with the octets unchanged and <id>.json, the entry with its envelope, in dir
//	mbox     one file to w: mboxrd, so "From " and ">From " at the start of a line get a ">", and lines end with LF
//	maildir  new/, cur/ and tmp/ in dir, the octets unchanged, each message in new/
func NewMailbox(format, dir string, w io.Writer) (*Mailbox, error) {
	m := &Mailbox{format: format, dir: dir}
	switch format {
	case "eml":
		return m, os.MkdirAll(dir, 0o700)
	case "mbox":
		m.w = bufio.NewWriterSize(w, 64<<10)
		return m, nil
	case "maildir":
		for _, sub := range []string{"tmp", "cur", "new"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	return nil, fmt.Errorf("%q is no format to export to: use eml, mbox or maildir", format)
}

// Add writes one message.
func (m *Mailbox) Add(e *Entry, message io.Reader) error {
	switch m.format {
	case "eml":
		raw, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(m.dir, e.ID+".json"), append(raw, '\n'), 0o600); err != nil {
			return err
		}
		return writeFile(filepath.Join(m.dir, e.ID+".eml"), message)
	case "mbox":
		return m.mbox(e, message)
	}
	name := fmt.Sprintf("%d.%s.restante", e.Received.Unix(), e.ID)
	tmp := filepath.Join(m.dir, "tmp", name)
	if err := writeFile(tmp, message); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(m.dir, "new", name))
}

func writeFile(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// mbox writes one message as RFC 4155 says, with the quoting of mboxrd, which can be undone.
func (m *Mailbox) mbox(e *Entry, message io.Reader) error {
	sender := e.From
	if sender == "" || strings.ContainsAny(sender, " \t") {
		sender = "MAILER-DAEMON"
	}
	if _, err := fmt.Fprintf(m.w, "From %s %s\n", sender, e.Received.UTC().Format(time.ANSIC)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(message, 64<<10)
	begin, ended := true, true
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if begin && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			if err := m.w.WriteByte('>'); err != nil {
				return err
			}
		}
		ended = bytes.HasSuffix(line, []byte("\n"))
		begin = ended
		if bytes.HasSuffix(line, []byte("\r\n")) {
			line = append(line[:len(line)-2], '\n')
		}
		if _, err := m.w.Write(line); err != nil {
			return err
		}
	}
	if !ended {
		if err := m.w.WriteByte('\n'); err != nil {
			return err
		}
	}
	return m.w.WriteByte('\n')
}

// Close writes what is left.
func (m *Mailbox) Close() error {
	if m.w == nil {
		return nil
	}
	return m.w.Flush()
}

package batch

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Line is one event.
type Line struct {
	ID   string
	JSON []byte // without a line feed
}

// Ledger assembles a batch of the ledger (or, without lines and with h.Kind set to it, a void or a seal).
// It fills h.Format and h.Chain.
func (c *Codec) Ledger(h *Header, lines []Line) []byte {
	h.Format = Format
	ch := newChain(h.Prev, h.Kind)
	size := 1024
	for _, l := range lines {
		ch.add(l.ID, hexSum(l.JSON))
		size += len(l.JSON) + 1
	}
	h.Chain = ch.sum()
	head, err := json.Marshal(h)
	if err != nil {
		panic(fmt.Sprintf("batch: header: %v", err)) // a time outside the years 0 to 9999
	}
	scratch := c.borrow()
	b := append(*scratch, head...)
	b = append(b, '\n')
	for _, l := range lines {
		b = append(b, l.JSON...)
		b = append(b, '\n')
	}
	object := c.enc.EncodeAll(b, make([]byte, 0, size/3+256))
	*scratch = b
	c.give(scratch)
	return object
}

// Events is a batch of the ledger.
type Events struct {
	Header
	Lines []Line
}

// Events reads a batch of the ledger.
func (c *Codec) Events(object []byte) (*Events, error) {
	b, err := c.decode(object)
	if err != nil {
		return nil, err
	}
	head, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(rest) > 0 && rest[len(rest)-1] != '\n' {
		return nil, fmt.Errorf("%w: a line is cut off", ErrDamaged)
	}
	e := new(Events)
	if err := json.Unmarshal(head, &e.Header); err != nil {
		return nil, fmt.Errorf("%w: header: %v", ErrDamaged, err)
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	e.Lines = make([]Line, 0, bytes.Count(rest, []byte("\n")))
	for line := range bytes.Lines(rest) {
		line = line[:len(line)-1]
		var id struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(line, &id); err != nil || id.ID == "" {
			return nil, fmt.Errorf("%w: a line is no event", ErrDamaged)
		}
		e.Lines = append(e.Lines, Line{ID: id.ID, JSON: line})
	}
	if e.Kind != Batch && len(e.Lines) > 0 {
		return nil, fmt.Errorf("%w: a %s with events", ErrDamaged, e.Kind)
	}
	return e, nil
}

// VerifyChain reports whether Chain follows from Prev and the events.
func (e *Events) VerifyChain() error {
	ch := newChain(e.Prev, e.Kind)
	for _, l := range e.Lines {
		ch.add(l.ID, hexSum(l.JSON))
	}
	if ch.sum() != e.Chain {
		return fmt.Errorf("%w: the chain hash does not fit the events", ErrDamaged)
	}
	return nil
}

package batch

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// TOC is the table of contents of a batch of mail.
type TOC struct {
	Header
	Entries []Row `json:"entries"`
}

// Row is one entry of a TOC.
type Row struct {
	ID     string          `json:"id"`
	EML    Span            `json:"eml"` // when Big: Length is that of the object, Offset 0
	JSON   Span            `json:"json"`
	Big    bool            `json:"big,omitempty"`
	Erased bool            `json:"erased,omitempty"` // the octets are gone; hashes and sizes are those of before
	Entry  json.RawMessage `json:"entry"`
}

// Span is where a member is, and what it holds. After an erasure Length is 0 for an .eml; Size and SHA256
// stay as they were.
type Span struct {
	Offset int64  `json:"offset"` // of the member's frame in the object
	Length int64  `json:"length"` // of that frame
	Size   int64  `json:"size"`   // octets of the member
	SHA256 string `json:"sha256"` // of those, in hex
}

// TOC reads the table of contents from the last octets of an object of the given size. When tail is too
// short it returns need, the number of octets that would do, and no TOC.
func (c *Codec) TOC(tail []byte, size int64) (toc *TOC, need int64, err error) {
	if size < FooterSize || int64(len(tail)) > size {
		return nil, 0, fmt.Errorf("%w: too short for a footer", ErrDamaged)
	}
	if len(tail) < FooterSize {
		return nil, min(size, 64<<10), nil
	}
	offset, length, err := parseFooter(tail[len(tail)-FooterSize:], size)
	if err != nil {
		return nil, 0, err
	}
	if want := size - offset; int64(len(tail)) < want {
		return nil, want, nil
	}
	start := int64(len(tail)) - (size - offset)
	frame := tail[start : start+length]
	if sum := sha256.Sum256(frame); string(sum[:8]) != string(tail[len(tail)-16:len(tail)-8]) {
		return nil, 0, fmt.Errorf("%w: hash of the table of contents", ErrDamaged)
	}
	toc, err = c.parseTOC(frame)
	if err != nil {
		return nil, 0, err
	}
	for i := range toc.Entries {
		if err := toc.Entries[i].check(offset); err != nil {
			return nil, 0, err
		}
	}
	return toc, 0, nil
}

// parseFooter returns where the frame of the table of contents is.
func parseFooter(f []byte, size int64) (offset, length int64, err error) {
	le := binary.LittleEndian
	if le.Uint32(f) != footerMagic || le.Uint32(f[4:]) != FooterSize-8 || string(f[36:40]) != footerWord {
		return 0, 0, fmt.Errorf("%w: no footer", ErrDamaged)
	}
	if n := le.Uint32(f[32:]); n > Format {
		return 0, 0, fmt.Errorf("%w: %d", ErrNewer, n)
	}
	o, l := le.Uint64(f[8:]), le.Uint64(f[16:])
	if o > uint64(size) || l > uint64(size) || o+l+FooterSize != uint64(size) {
		return 0, 0, fmt.Errorf("%w: offsets in the footer", ErrDamaged)
	}
	return int64(o), int64(l), nil
}

func (c *Codec) parseTOC(frame []byte) (*TOC, error) {
	name, content, err := c.Member(frame)
	if err != nil {
		return nil, err
	}
	if name != tocName {
		return nil, fmt.Errorf("%w: %q instead of the table of contents", ErrDamaged, name)
	}
	return parseTOCJSON(content)
}

func parseTOCJSON(content []byte) (*TOC, error) {
	toc := new(TOC)
	if err := json.Unmarshal(content, toc); err != nil {
		return nil, fmt.Errorf("%w: table of contents: %v", ErrDamaged, err)
	}
	if err := toc.check(); err != nil {
		return nil, err
	}
	if toc.Kind != Batch && len(toc.Entries) > 0 {
		return nil, fmt.Errorf("%w: a %s with entries", ErrDamaged, toc.Kind)
	}
	return toc, nil
}

// check reports spans that lie outside the members, which end at limit.
func (r *Row) check(limit int64) error {
	inside := func(s Span) bool {
		return s.Offset >= 0 && s.Length >= 0 && s.Offset <= limit && s.Length <= limit-s.Offset
	}
	if !inside(r.JSON) || !r.Big && !inside(r.EML) || r.ID == "" {
		return fmt.Errorf("%w: row of %q in the table of contents", ErrDamaged, r.ID)
	}
	return nil
}

// VerifyChain reports whether Chain follows from Prev and the members' hashes.
func (t *TOC) VerifyChain() error {
	ch := newChain(t.Prev, t.Kind)
	for i := range t.Entries {
		ch.add(t.Entries[i].ID+".eml", t.Entries[i].EML.SHA256)
		ch.add(t.Entries[i].ID+".json", t.Entries[i].JSON.SHA256)
	}
	if ch.sum() != t.Chain {
		return fmt.Errorf("%w: the chain hash does not fit the members", ErrDamaged)
	}
	return nil
}

// Member decodes the frame of one member.
func (c *Codec) Member(frame []byte) (name string, content []byte, err error) {
	b, err := c.decode(frame)
	if err != nil {
		return "", nil, err
	}
	return parseTarMember(b)
}

func (c *Codec) decode(frame []byte) ([]byte, error) {
	b, err := c.dec.DecodeAll(frame, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return b, nil
}

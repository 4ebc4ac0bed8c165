package batch

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

const (
	// FooterSize is the length of the skippable frame at the end of a batch of mail, its own header included.
	FooterSize  = 8 + 32
	footerMagic = 0x184D2A5B
	footerWord  = "RsMB"
)

// Message is one entry with its octets, to be encoded.
type Message struct {
	ID    string
	Time  time.Time // of the members in the archive
	Trace []byte
	Body  []byte
	Entry []byte // JSON, without a line feed at its end
	Big   *Big   // set when the octets are an object of their own; Trace and Body are then not used
}

// Big describes the octets of a message that are an object of their own.
type Big struct {
	Size   int64  // octets, trace fields included
	SHA256 string // of those, in hex
	Length int64  // octets of the object
}

// Item is an encoded Message, ready to be put into a batch.
type Item struct {
	id       string
	buf      []byte // both frames
	eml      int    // length of the first, 0 when big
	emlSize  int64
	emlSum   string
	jsonSize int64
	jsonSum  string
	entry    []byte
	big      *Big
}

// Size is about what the item adds to a batch, in octets.
func (it *Item) Size() int64 { return int64(len(it.buf) + len(it.entry)) }

// ID is the entry's.
func (it *Item) ID() string { return it.id }

// BigLength is the length of the object that holds a big message, 0 for others.
func (it *Item) BigLength() int64 {
	if it.big == nil {
		return 0
	}
	return it.big.Length
}

// Encode compresses one message; call it in the goroutine of the session. The Item keeps m.Entry.
func (c *Codec) Encode(m Message) *Item {
	it := &Item{id: m.ID, entry: m.Entry, big: m.Big}
	scratch := c.borrow()
	b := *scratch
	if m.Big == nil {
		it.emlSize = int64(len(m.Trace) + len(m.Body))
		b = appendTarHeader(b, m.ID+".eml", it.emlSize, m.Time)
		b = append(b, m.Trace...)
		b = append(b, m.Body...)
		it.emlSum = hexSum(b[blockSize:])
		b = appendPadding(b, it.emlSize)
		it.buf = c.enc.EncodeAll(b, make([]byte, 0, len(b)/2+len(m.Entry)))
		it.eml = len(it.buf)
	} else {
		it.emlSize, it.emlSum = m.Big.Size, m.Big.SHA256
	}
	it.jsonSize = int64(len(m.Entry) + 1)
	b = appendTarHeader(b[:0], m.ID+".json", it.jsonSize, m.Time)
	b = append(b, m.Entry...)
	b = append(b, '\n')
	it.jsonSum = hexSum(b[blockSize:])
	b = appendPadding(b, it.jsonSize)
	it.buf = c.enc.EncodeAll(b, it.buf)
	*scratch = b
	c.give(scratch)
	return it
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Ref says where the frame of a message's octets is in its batch.
type Ref struct {
	Offset, Length int64 // zero when big
}

// Mail assembles a batch of mail (or, without items and with h.Kind set to it, a void or a seal). It
// fills h.Format and h.Chain. The refs are in the order of the items.
func (c *Codec) Mail(h *Header, items []*Item) (object []byte, refs []Ref) {
	h.Format = Format
	ch := newChain(h.Prev, h.Kind)
	size := 4096
	for _, it := range items {
		ch.add(it.id+".eml", it.emlSum)
		ch.add(it.id+".json", it.jsonSum)
		size += len(it.buf) + len(it.entry)/4 + 64
	}
	h.Chain = ch.sum()

	object = make([]byte, 0, size)
	refs = make([]Ref, len(items))
	rows := make([]Row, len(items))
	for i, it := range items {
		off := int64(len(object))
		object = append(object, it.buf...)
		if it.big == nil {
			refs[i] = Ref{Offset: off, Length: int64(it.eml)}
		}
		rows[i] = it.row(off)
	}
	return c.finish(object, h, rows), refs
}

// row describes the item when its frames begin at offset.
func (it *Item) row(offset int64) Row {
	r := Row{
		ID:    it.id,
		EML:   Span{Offset: offset, Length: int64(it.eml), Size: it.emlSize, SHA256: it.emlSum},
		JSON:  Span{Offset: offset + int64(it.eml), Length: int64(len(it.buf) - it.eml), Size: it.jsonSize, SHA256: it.jsonSum},
		Entry: it.entry,
	}
	if it.big != nil {
		r.Big = true
		r.EML.Offset, r.EML.Length = 0, it.big.Length
	}
	return r
}

// finish appends the table of contents and the footer to the members.
func (c *Codec) finish(object []byte, h *Header, rows []Row) []byte {
	scratch := c.borrow()
	b := appendTarHeader(*scratch, tocName, 0, h.Time)
	b = appendTOC(b, h, rows)
	size := int64(len(b) - blockSize)
	octets := appendTarHeader(nil, tocName, size, h.Time)
	copy(b, octets)
	b = appendPadding(b, size)
	b = append(b, make([]byte, 2*blockSize)...)
	offset := len(object)
	object = c.enc.EncodeAll(b, object)
	*scratch = b
	c.give(scratch)
	return appendFooter(object, offset)
}

func appendFooter(object []byte, offset int) []byte {
	sum := sha256.Sum256(object[offset:])
	length := len(object) - offset
	le := binary.LittleEndian
	object = le.AppendUint32(object, footerMagic)
	object = le.AppendUint32(object, FooterSize-8)
	object = le.AppendUint64(object, uint64(offset))
	object = le.AppendUint64(object, uint64(length))
	object = append(object, sum[:8]...)
	object = le.AppendUint32(object, Format)
	return append(object, footerWord...)
}

// appendTOC writes what json.Marshal would for a TOC, without scanning the entries again.
func appendTOC(b []byte, h *Header, rows []Row) []byte {
	head, err := json.Marshal(h)
	if err != nil {
		panic(fmt.Sprintf("batch: header: %v", err)) // a time outside the years 0 to 9999
	}
	b = append(b, head[:len(head)-1]...)
	b = append(b, `,"entries":[`...)
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		r := &rows[i]
		b = append(b, "\n{\"id\":\""...)
		b = append(b, r.ID...)
		b = appendSpan(append(b, `","eml":`...), r.EML)
		b = appendSpan(append(b, `,"json":`...), r.JSON)
		if r.Big {
			b = append(b, `,"big":true`...)
		}
		if r.Erased {
			b = append(b, `,"erased":true`...)
		}
		b = append(b, `,"entry":`...)
		b = append(b, r.Entry...)
		b = append(b, '}')
	}
	return append(b, "\n]}\n"...)
}

func appendSpan(b []byte, s Span) []byte {
	b = strconv.AppendInt(append(b, `{"offset":`...), s.Offset, 10)
	b = strconv.AppendInt(append(b, `,"length":`...), s.Length, 10)
	b = strconv.AppendInt(append(b, `,"size":`...), s.Size, 10)
	b = append(b, `,"sha256":"`...)
	b = append(b, s.SHA256...)
	return append(b, `"}`...)
}

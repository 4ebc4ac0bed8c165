package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
)

const (
	maxTNEF      = 100    // attachments of one winmail.dat
	maxTNEFProps = 10_000 // properties of one list
)

// Attributes and properties of MS-OXTNEF and MS-OXPROPS that are read.
const (
	tnefMagic      = 0x223e9f78
	tnefBody       = 0x0002800c
	tnefMessage    = 0x00069003
	tnefRend       = 0x00069002
	tnefTitle      = 0x00018010
	tnefData       = 0x0006800f
	tnefAttachment = 0x00069005

	propBodyHTML = 0x1013
	propBody     = 0x1000
	propFileName = 0x3704
	propLongName = 0x3707
	propMimeTag  = 0x370e
	propData     = 0x3701
	propCID      = 0x3712
)

// tnefFile is an attachment of Outlook's own format.
type tnefFile struct {
	name, title, mime, cid string
	data                   []byte
}

// openTNEF makes the attachments of a winmail.dat children of its part, and its text too, which is shown where the
// message has no other.
func (p *parser) openTNEF(ctx context.Context, part *Part) error {
	left := p.l.Nested - p.nested
	if left <= 0 || part.body == nil || part.Size > left {
		return nil
	}
	octets, err := io.ReadAll(io.LimitReader(part.Open(ctx), left))
	if err != nil {
		return err
	}
	p.nested += int64(len(octets))
	files, text, html := readTNEF(octets)
	add := func(child *Part) {
		if p.parts >= p.l.Parts {
			return
		}
		p.parts++
		child.ID = part.ID + "." + strconv.Itoa(len(part.Children)+1)
		child.Size = int64(len(child.decoded))
		child.limits, child.parent = p.l, part
		p.index[child.ID] = child
		part.Children = append(part.Children, child)
	}
	if len(html) > 0 {
		add(&Part{Type: "text/html", decoded: html})
	} else if len(text) > 0 {
		add(&Part{Type: "text/plain", decoded: text})
	}
	for _, f := range files {
		name := f.name
		if name == "" {
			name = f.title
		}
		kind := strings.ToLower(f.mime)
		if major, minor, ok := strings.Cut(kind, "/"); !ok || !isToken(major) || !isToken(minor) || major == "multipart" || major == "message" {
			if kind = typeByName(name); kind == "" {
				kind = "application/octet-stream"
			}
		}
		add(&Part{Type: kind, Name: SafeName(name), ContentID: strings.Trim(f.cid, "<> "), Disposition: "attachment", decoded: f.data})
	}
	return nil
}

// readTNEF reads as much as there is. Nothing is copied but names.
func readTNEF(b []byte) (files []*tnefFile, text, html []byte) {
	if len(b) < 6 || binary.LittleEndian.Uint32(b) != tnefMagic {
		return nil, nil, nil
	}
	b = b[6:]
	var f *tnefFile
	for len(b) >= 9 {
		id, size := binary.LittleEndian.Uint32(b[1:]), binary.LittleEndian.Uint32(b[5:])
		b = b[9:]
		if uint64(size) > uint64(len(b)) {
			size = uint32(len(b)) // cut
		}
		data := b[:size:size]
		b = b[min(int(size)+2, len(b)):] // and a checksum
		switch id {
		case tnefBody:
			text = bytes.TrimRight(data, "\x00")
		case tnefMessage:
			for _, p := range tnefProps(data) {
				switch p.id {
				case propBodyHTML:
					html = bytes.TrimRight(p.data, "\x00")
				case propBody:
					text = []byte(p.text())
				}
			}
		case tnefRend:
			if f = nil; len(files) < maxTNEF {
				f = &tnefFile{}
				files = append(files, f)
			}
		case tnefTitle, tnefData, tnefAttachment:
			if f != nil {
				f.set(id, data)
			}
		}
	}
	return files, text, html
}

func (f *tnefFile) set(id uint32, data []byte) {
	switch id {
	case tnefTitle:
		f.title = guess(bytes.TrimRight(data, "\x00"))
	case tnefData:
		f.data = data
	case tnefAttachment:
		for _, p := range tnefProps(data) {
			switch p.id {
			case propLongName:
				f.name = p.text()
			case propFileName:
				if f.name == "" {
					f.name = p.text()
				}
			case propMimeTag:
				f.mime = p.text()
			case propCID:
				f.cid = p.text()
			case propData:
				if len(f.data) == 0 && len(p.data) > 16 {
					f.data = p.data[16:] // an object: its interface's id comes first
				}
			}
		}
	}
}

type tnefProp struct {
	kind, id uint16
	data     []byte
}

func (p tnefProp) text() string {
	if p.kind != 0x1f { // PT_STRING8
		return strings.ToValidUTF8(guess(bytes.TrimRight(p.data, "\x00")), "")
	}
	units := make([]uint16, len(p.data)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(p.data[2*i:])
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}

// tnefProps reads a list of MAPI properties (MS-OXTNEF 2.1.3.4).
func tnefProps(b []byte) []tnefProp {
	r := tnefReader{b: b}
	count := r.uint32()
	var all []tnefProp
	for range min(count, maxTNEFProps) {
		kind, id := r.uint16(), r.uint16()
		if id >= 0x8000 { // named: a GUID, then a number or a name
			r.skip(16)
			if r.uint32() == 0 {
				r.skip(4)
			} else {
				r.padded(r.uint32())
			}
		}
		values := uint32(1)
		if kind&0x1000 != 0 || kind == 0x1e || kind == 0x1f || kind == 0x0d || kind == 0x102 {
			values = r.uint32()
		}
		for i := range min(values, maxTNEFProps) {
			data, ok := r.value(kind &^ 0x1000)
			if !ok || r.bad {
				return all
			}
			if i == 0 {
				all = append(all, tnefProp{kind &^ 0x1000, id, data})
			}
		}
	}
	return all
}

// tnefReader reads and never fails but says so.
type tnefReader struct {
	b   []byte
	bad bool
}

func (r *tnefReader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	data := r.b[:n:n]
	r.b = r.b[n:]
	return data
}

func (r *tnefReader) skip(n uint32) { r.take(n) }

func (r *tnefReader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *tnefReader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// padded takes n octets and what fills them up to a multiple of four.
func (r *tnefReader) padded(n uint32) []byte {
	data := r.take(n)
	if pad := -n & 3; pad <= uint32(len(r.b)) {
		r.skip(pad)
	}
	return data
}

func (r *tnefReader) value(kind uint16) ([]byte, bool) {
	switch kind {
	case 0x02, 0x0b: // short, boolean: filled up to four
		return r.take(4), true
	case 0x03, 0x04, 0x0a, 0x01:
		return r.take(4), true
	case 0x05, 0x06, 0x07, 0x14, 0x40:
		return r.take(8), true
	case 0x48:
		return r.take(16), true
	case 0x1e, 0x1f, 0x0d, 0x102:
		return r.padded(r.uint32()), true
	}
	return nil, false
}

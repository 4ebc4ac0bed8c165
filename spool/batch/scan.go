package batch

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// Member is what Scan finds.
type Member struct {
	Name    string
	Content []byte
	Offset  int64 // of its frame
	Length  int64 // of its frame
}

// Scan finds the members of a batch of mail without its table of contents, for an object that is cut off
// or damaged. A frame that can't be read gives an error with its offset, and the scan goes on behind it.
func (c *Codec) Scan(object []byte) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		for off := 0; off < len(object); {
			n, skip, err := frameLength(object[off:])
			m := Member{Offset: int64(off), Length: int64(n)}
			if err == nil && !skip {
				m.Name, m.Content, err = c.Member(object[off : off+n])
			}
			if err == nil {
				if !skip && !yield(m, nil) {
					return
				}
				off += n
				continue
			}
			if !yield(Member{Offset: int64(off)}, fmt.Errorf("at octet %d: %w", off, err)) {
				return
			}
			// Its length can't be trusted either: go on at the next thing that looks like a frame.
			next := bytes.Index(object[off+1:], []byte{0x28, 0xB5, 0x2F, 0xFD})
			if next < 0 {
				return
			}
			off += 1 + next
		}
	}
}

// frameLength walks the blocks of the zstd frame at the start of b (RFC 8878 3.1.1).
func frameLength(b []byte) (n int, skippable bool, err error) {
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return 0, false, fmt.Errorf("%w: no frame: %v", ErrDamaged, err)
	}
	cut := fmt.Errorf("%w: a frame is cut off", ErrDamaged)
	if h.Skippable {
		n = 8 + int(h.SkippableSize)
		if n > len(b) {
			return 0, true, cut
		}
		return n, true, nil
	}
	n = h.HeaderSize
	for {
		if n+3 > len(b) {
			return 0, false, cut
		}
		block := uint32(b[n]) | uint32(b[n+1])<<8 | uint32(b[n+2])<<16
		n += 3
		size := int(block >> 3)
		if block>>1&3 == 1 { // one octet, repeated
			size = 1
		}
		if n += size; n > len(b) {
			return 0, false, cut
		}
		if block&1 == 1 {
			break
		}
	}
	if h.HasCheckSum {
		n += 4
	}
	if n > len(b) {
		return 0, false, cut
	}
	return n, false, nil
}

package batch

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Erase returns the batch of mail with the octets of some messages gone. For each row redact returns the
// entry without what is to be erased, and true, or false to leave the message as it is. Frames
// are copied as they are, and the hashes in the table of contents stay, so the chain still verifies.
func (c *Codec) Erase(object []byte, redact func(id string, entry json.RawMessage) (json.RawMessage, bool)) ([]byte, error) {
	toc, _, err := c.TOC(object, int64(len(object)))
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(object))
	rows := make([]Row, len(toc.Entries))
	for i, r := range toc.Entries {
		entry, erase := redact(r.ID, r.Entry)
		if !erase || r.Erased {
			if !r.Big && r.EML.Length > 0 {
				out, r.EML.Offset = moved(out, object, r.EML)
			}
			out, r.JSON.Offset = moved(out, object, r.JSON)
			rows[i] = r
			continue
		}
		var small bytes.Buffer
		if err := json.Compact(&small, entry); err != nil {
			return nil, fmt.Errorf("batch: redacted entry %s: %w", r.ID, err)
		}
		it := c.Encode(Message{ID: r.ID, Time: toc.Time, Entry: small.Bytes(), Big: &Big{}})
		r.Erased, r.Entry = true, it.entry
		r.EML.Offset, r.EML.Length = 0, 0
		r.JSON.Offset, r.JSON.Length = int64(len(out)), int64(len(it.buf))
		out = append(out, it.buf...)
		rows[i] = r
	}
	return c.finish(out, &toc.Header, rows), nil
}

func moved(out, object []byte, s Span) ([]byte, int64) {
	return append(out, object[s.Offset:s.Offset+s.Length]...), int64(len(out))
}

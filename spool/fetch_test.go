package spool

import (
	"errors"
	"strings"
	"testing"
	"time"

	"restante/spool/batch"
)

// TestSearchDamaged: where the table of contents and a message are both damaged, the error says which of the two was found.
func TestSearchDamaged(t *testing.T) {
	codec := batch.New()
	id := NewID()
	it := codec.Encode(batch.Message{ID: id, Time: time.Now(), Body: []byte("Subject: x\r\n\r\n"), Entry: []byte(`{"id":"` + id + `"}`)})
	object, refs := codec.Mail(&batch.Header{Kind: batch.Batch, Stream: "mail/n-1"}, []*batch.Item{it})
	object[refs[0].Offset+6] ^= 0xff
	_, _, err := objects{codec: codec}.search(&loaded{object: object}, id)
	if !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "%!") || !strings.Contains(err.Error(), "the message can't be read") {
		t.Error(err)
	}
}

package render

import (
	"context"
	"io"
)

// Calendar returns the invitations in a text/calendar part (RFC 5545), as far as they can be read.
func Calendar(ctx context.Context, p *Part) ([]Invitation, error) { return nil, nil }

// Zip writes the parts to w as a zip file, under their names made unique.
func Zip(ctx context.Context, w io.Writer, parts []*Part) error { return nil }

// Plain returns the text of the message for a full-text index, at most max octets of it, and the names of its
// attachments, nested messages included.
func Plain(ctx context.Context, m *Message, max int64) (text string, attachments []string, err error) {
	return "", nil, nil
}

// Judge says what is to be thought of the sender.
func Judge(verdicts map[string]string, m *Message, envelopeFrom string) Verdict { return Verdict{} }

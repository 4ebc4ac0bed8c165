package render

import (
	"context"
	"errors"
	"io"
)

// Parse reads the structure of the message of size octets in r. It fails only when r does or ctx ends: every
// input is a message, and what was wrong with it is in Odd. r must stay readable as long as the parts are used.
func Parse(ctx context.Context, r io.ReaderAt, size int64, l Limits) (*Message, error) {
	return nil, errors.ErrUnsupported
}

// Part returns the part with that ID, also from nested messages.
func (m *Message) Part(id string) (*Part, bool) { return nil, false }

// Body returns the part to show as text and the one to show as HTML; either may be nil.
func (m *Message) Body() (text, html *Part) { return nil, nil }

// Open returns the decoded octets of p, at most Limits.Decoded of them. Damage is passed over, never an error;
// reading fails only when the message can't be read or ctx ends.
func (p *Part) Open(ctx context.Context) io.Reader { return nil }

// Display returns the address for people, "Name <addr>", with characters that hide or turn others made visible.
func (a Address) Display() string { return "" }

// Get returns the value of the first field of that name, raw, "" if there is none.
func (f Fields) Get(name string) string { return "" }

// Values returns the values of all fields of that name, raw.
func (f Fields) Values(name string) []string { return nil }

// DecodeHeader decodes the encoded words (RFC 2047) of a header field's value as far as they can be, makes of
// unlabelled 8-bit octets what they most likely are, and returns printable UTF-8 on one line.
func DecodeHeader(value string) string { return "" }

// SafeName makes a file name that is safe to save under and to show from what a message says: no path, no control
// or bidi characters, no leading or trailing dots or spaces, no device names, at most 120 octets. "" stays "".
func SafeName(name string) string { return "" }

// Text returns what the message says as plain text: of its text part, or of its HTML when it has no other.
func (m *Message) Text(ctx context.Context) (Text, error) { return Text{}, nil }

// TextOf returns one part's text (text/plain or text/html; others as plain text) in blocks.
func TextOf(ctx context.Context, p *Part) (Text, error) { return Text{}, nil }

// HTML returns the document for the sandboxed frame. A message without an HTML part gives its text as a document.
func (m *Message) HTML(ctx context.Context, o HTMLOptions) (Frame, error) { return Frame{}, nil }

// NewFrame puts the document for the frame together from the inside of its body and one style sheet, and names
// the style sheet in the policy. It trusts both: [Message.HTML] is what sanitises.
func NewFrame(body, css []byte, o HTMLOptions) Frame { return Frame{} }

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

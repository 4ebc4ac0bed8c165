// Package compose turns what a person types into mail: it fills in answers and forwards, reads
// addresses as people write them, keeps drafts, and builds the message that is sent. It is pure: no
// clock, no files, no network; randomness only in NewMessageID and in the boundaries of Build.
//
// The message is plain text as RFC 3676 has it (format=flowed), in 7-bit octets whatever was typed, so
// that no server on the way must change it and break its signature. Nothing typed can become a header
// field: each value passes through the one writer of fields, which knows no line breaks.
//
// # Drafts
//
// A draft is a message too (RFC 5322), so that it can be read without us: From, To, Cc, Bcc, Subject,
// In-Reply-To, References, Date and the text. What a message can't say stands in fields of ours:
//
//	X-Restante-Box          the mailbox that it is written from
//	X-Restante-Answers      the entry that it answers
//	X-Restante-Forwards     the entry that it forwards
//	X-Restante-Typed-To     what was typed in To, encoded (RFC 2047), where it is not a list of addresses yet;
//	                        the same for -Cc and -Bcc
//	X-Restante-Attachment   one for each attachment: the id of its entry
//
// None of these, nor Bcc, is ever in a message that is sent.
package compose

// Limits of what is built and read. What is over them is refused or cut as its doc says.
const (
	MaxSubject     = 900  // octets; longer ones are cut
	MaxName        = 200  // octets of a display name; longer ones are cut
	MaxFileName    = 200  // octets of the name of an attachment; longer ones are cut, their ending kept
	MaxReferences  = 20   // message-ids in References: the first and the newest are kept
	MaxAddress     = 254  // octets of an address (RFC 5321 4.5.3.1.3, less the brackets)
	MaxPeople      = 500  // addresses in one field; the rest is a problem
	MaxAttachments = 50   // attachments of one message
	MaxText        = 1e6  // octets of text; longer ones are refused
	maxMessageID   = 250  // octets; others are left out of References
	maxField       = 1e5  // octets of what is typed in an address field; the rest is not read
	lineLimit      = 998  // octets in a line without its CRLF (RFC 5322 2.1.1)
	foldAt         = 76   // octets after which header fields are folded
	flowAt         = 72   // columns after which text is wrapped
	quotedAt       = 8000 // octets of text from an original that are quoted, at a line's end; see Quote
)

// Person is an address with the name that belongs to it, which may be empty.
type Person struct {
	Name string
	Addr string // local@domain; in lists that ParseList returns the domain is of lower-case A-labels
}

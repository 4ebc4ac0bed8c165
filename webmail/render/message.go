package render

import (
	"io"
	"time"
)

// Message is a message, or one that is nested in another. All its strings are valid UTF-8; those of people
// (names, subject) have their encoded words decoded and control characters taken out. A Message may be read from
// several goroutines.
type Message struct {
	From    []Address
	Sender  []Address
	ReplyTo []Address
	To      []Address
	Cc      []Address
	Bcc     []Address

	Subject    string
	MessageID  string    // without <>, "" if none
	InReplyTo  []string  // without <>
	References []string  // without <>, oldest first
	Date       time.Time // with the sender's offset; zero if there is none that can be read

	Unsubscribe []string // List-Unsubscribe (RFC 2369): http, https and mailto only
	Language    string   // Content-Language, the first tag, "" if none
	AutoReply   bool     // Auto-Submitted says so (RFC 3834)

	Header      Fields    // all fields in their order, as they were: the values may be no valid UTF-8
	HeaderSize  int64     // octets of the header with the empty line that ends it
	Root        *Part     // never nil
	Attachments []*Part   // what a list of files shows: all leaves that aren't the body, nested messages as one
	Odd         []Oddity  // what was wrong with it; of the outermost message for all it holds
	parts       partIndex // of the outermost message
	limits      Limits
}

// Field is one header field: its name as it was written, its value unfolded and otherwise untouched.
type Field struct {
	Name  string
	Value string
}

// Fields are the fields of a header in their order.
type Fields []Field

// Address is one address of a header field.
type Address struct {
	Name  string // decoded, "" if none
	Addr  string // local@domain, the domain in its ASCII form and lower case; "" where there was none to read
	Group string // the group it was in (RFC 5322 3.4), "" if none

	// Suspicious says why a person shouldn't trust the looks of this address, "" if nothing is known:
	// "name-is-other-address", "mixed-script", "lookalike", "bidi" or "invisible".
	Suspicious string
}

// Part is one part of a message. Its octets stay where the message is until Open is called.
type Part struct {
	ID          string // "1.2.3": its place in the tree, "1" for the outermost message's only part or root
	Type        string // "text/html": lower case, as labelled; what can't be read is application/octet-stream
	Charset     string // as labelled, lower case, "" if not
	Name        string // a safe file name, "" if none was given; see SafeName
	ContentID   string // without <>
	Disposition string // "inline", "attachment" or ""
	Description string // Content-Description, decoded
	Size        int64  // octets when decoded; an estimate for quoted-printable
	Inline      bool   // it is part of what the HTML or the text shows, not a file of its own
	Message     *Message
	Children    []*Part

	params   map[string]string
	location string // Content-Location (RFC 2557)
	encoding string // transfer encoding, lower case
	limits   Limits
	body     *io.SectionReader // encoded octets
	decoded  []byte            // instead of body, where decoding was needed to read the structure
	parent   *Part
	files    []*Part // uuencoded ones within the text
}

type partIndex map[string]*Part

// Oddity says what was wrong with a message, in a word for programs and, where it helps, a detail for people.
type Oddity struct {
	Code   string // one of the Odd constants
	Part   string // the part's ID, "" for the header of the outermost message
	Detail string // printable, at most 100 octets, may be ""
}

// The oddities.
const (
	OddHeader       = "header"        // lines that are no header fields were passed over
	OddNoHeader     = "no-header"     // there is no header at all
	OddHeaderSize   = "header-size"   // the header was too long and was cut
	OddBoundary     = "boundary"      // a multipart without its boundary
	OddParts        = "parts"         // more parts than the limit: the rest is not shown
	OddDepth        = "depth"         // nested deeper than the limit: not opened
	OddSize         = "size"          // larger than is looked through
	OddEncoding     = "encoding"      // an unknown transfer encoding, or octets that don't fit it
	OddCharset      = "charset"       // an unknown charset, or octets that don't fit it: guessed
	OddAddress      = "address"       // an address field that can't be read as one
	OddDate         = "date"          // a date that can't be read
	OddType         = "type"          // a content type that can't be read
	OddDuplicate    = "duplicate"     // a field that may be there once is there more often: the first counts
	OddCut          = "cut"           // the text was too long and was cut
	OddHTML         = "html"          // HTML that can't be read as such: its text is shown
	OddTruncated    = "truncated"     // a multipart doesn't end: the rest of the message may be lost
	OddExternalBody = "external-body" // a part that is elsewhere: never fetched
)

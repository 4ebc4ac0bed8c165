package render

import "time"

// Text is plain text to show, in blocks.
type Text struct {
	Blocks   []Block
	Part     string // ID of the part it is from, "" if the message has none
	FromHTML bool   // it was made of HTML
	Cut      bool   // there was more
	Odd      []Oddity
}

// Block is a run of lines that are shown together: a paragraph, a quote, a signature.
type Block struct {
	Quote     int    // depth of quotation, 0 for what the writer wrote
	Signature bool   // after "-- "
	Dir       string // "ltr" or "rtl", by its first strong character (UAX 9 P2); "" when it has none
	Lines     []Line
}

// Line is one line: an empty one has no spans.
type Line []Span

// Span is a piece of a line: text, or a link when URL isn't "".
type Span struct {
	Text string
	URL  string // http, https or mailto
	Host string // of URL in a form that shows odd characters, set where Text doesn't name it
}

// HTMLOptions say how the frame is made.
type HTMLOptions struct {
	Lang   string // language of the page around, for the words below; "" is "en"
	Mailto string // where mailto: links lead, with the escaped link appended, e.g. "/write?mailto="; "" leaves them as they are

	Title string // of the document, for screen readers; "" is "Mail"

	// Words shown in the place of what isn't loaded; "" has an English default.
	ImageBlocked string // "Remote image" before its alt text
}

// Frame is a whole document for the sandboxed frame.
type Frame struct {
	Document []byte // text/html; charset=utf-8
	CSP      string // value of the Content-Security-Policy that the document must be served with
	Blocked  int    // remote images, style sheets and so on that were left out
	Lines    int    // about how many lines of text high it is
	Odd      []Oddity
}

// Invitation is one event of a calendar part.
type Invitation struct {
	Method      string // "REQUEST", "CANCEL", "REPLY", "PUBLISH", "COUNTER", ...; upper case, "" if none
	UID         string
	Sequence    int
	Summary     string
	Description string
	Location    string
	URL         string // http or https, "" if none
	Status      string // "CONFIRMED", "TENTATIVE", "CANCELLED" or ""
	Organizer   Address
	Attendees   []Attendee

	Start, End time.Time // in their own zone; zero if not given or not readable
	AllDay     bool      // dates without times; End is the last day, inclusive
	Zone       string    // what the times are in as the calendar names it: "Europe/Berlin"; "" for UTC and floating times
	Floating   bool      // times without a zone: meant in whatever zone the reader is
	Repeat     Repeat
}

// Attendee is one person of an invitation.
type Attendee struct {
	Address
	Answer   string // "ACCEPTED", "DECLINED", "TENTATIVE", "NEEDS-ACTION", "DELEGATED" or ""
	Optional bool
}

// Repeat says how an event recurs (RFC 5545 3.3.10), in the parts that people are told; zero if it doesn't.
type Repeat struct {
	Every    string // "DAILY", "WEEKLY", "MONTHLY", "YEARLY" or "" for not at all
	Interval int    // every 2nd week: 2
	Count    int    // 0 for without end, or until Until
	Until    time.Time
	Days     []string // "MO", "2TU", "-1FR"
	Complex  bool     // there is more to the rule than the above
}

// Verdict says what is to be thought of the sender.
type Verdict struct {
	Level   string   // "verified", "unverified", "suspicious" or "unknown" when nothing was judged
	Reasons []string // see the Reason constants; most telling first
}

// The levels of a verdict.
const (
	Verified   = "verified"
	Unverified = "unverified"
	Suspicious = "suspicious"
	Unknown    = "unknown"
)

// The reasons of a verdict.
const (
	ReasonDMARC        = "dmarc-pass"            // the sender's domain vouches for it
	ReasonDKIM         = "dkim-pass"             // signed, but not shown to be by the sender's own domain
	ReasonSPF          = "spf-pass"              // the server may send for the envelope's domain
	ReasonDMARCFail    = "dmarc-fail"            // the sender's domain says that it isn't from it
	ReasonSPFFail      = "spf-fail"              // the server may not send for the envelope's domain
	ReasonDKIMFail     = "dkim-fail"             // changed on its way, or signed by nobody
	ReasonNothing      = "nothing-passed"        // no check passed
	ReasonNotJudged    = "not-judged"            // no check was made
	ReasonNoSender     = "no-sender"             // no readable From
	ReasonManySenders  = "many-senders"          // more than one From
	ReasonName         = "name-is-other-address" // the name holds another address
	ReasonMixed        = "mixed-script"          // letters of several alphabets in one word of the address
	ReasonLookalike    = "lookalike"             // letters of another alphabet that look like Latin ones
	ReasonBidi         = "bidi"                  // characters that turn the direction of others
	ReasonInvisible    = "invisible"             // characters that can't be seen
	ReasonReplyTo      = "reply-to-elsewhere"    // answers go to another domain, and nothing is verified
	ReasonFromEnvelope = "envelope-differs"      // handed in under another domain (usual for newsletters)
)

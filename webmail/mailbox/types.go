package mailbox

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"restante/spool"
)

// Errors of the store.
var (
	// ErrNotFound: there is no such thing, or this box may not see it. The two are never told apart.
	ErrNotFound = errors.New("not found")
	// ErrTooLarge: what was to be attached is over the limit.
	ErrTooLarge = errors.New("too large")
	// ErrTooMany: more entries than Limits allow in one call.
	ErrTooMany = errors.New("too many at once")
)

// Options for Open. All functions are needed but Events and Text.
type Options struct {
	// Fetch, Append, Record and Note are those of the spool.
	Fetch  func(ctx context.Context, id string, loc spool.Location) (*spool.Entry, *spool.Body, error)
	Append func(ctx context.Context, e *spool.Entry, trace []byte, body *spool.Body) error
	Record func(ctx context.Context, evs ...spool.Event) error
	Note   func(evs ...spool.Event)
	// Events is told of AccountChanged events after they were committed here; some come twice. nil: nobody.
	Events func([]spool.Event)
	// Text extracts what full text holds of a message: its text, and the names of its attachments. nil: webmail/render does it.
	Text    func(ctx context.Context, message io.ReaderAt, size int64) (text string, attachments []string, err error)
	TempDir string // for the octets of drafts; "": the system's
	Log     *slog.Logger
	Limits  Limits
	Now     func() time.Time // nil: time.Now
}

// Folder is a part of a box.
type Folder string

// The folders of a box.
const (
	Inbox   Folder = "inbox"   // received, not trashed
	Sent    Folder = "sent"    // written here and sent, not trashed
	Drafts  Folder = "drafts"  // of the account itself, never of a shared box
	Starred Folder = "starred" // inbox and sent
	Trash   Folder = "trash"   // what was deleted here; it goes to the primary all the same
	All     Folder = ""        // everything but Trash; for searching
)

// Folders are those that a box shows, in that order.
func Folders() []Folder { return []Folder{Inbox, Starred, Sent, Drafts, Trash} }

// Box is one view of mailboxes: a person's own, or one that is shared. Whoever makes it decides what may be
// seen through it; every query of a Store is limited to it.
type Box struct {
	ID        string   // the account's main address, or the shared address; lower case. Flags belong to it.
	Addresses []string // all whose mail it shows: ID, aliases, groups; lower case
	Shared    bool
}

// Person is somebody as a header field names them.
type Person struct {
	Name string `json:"name,omitempty"` // "" if none was given
	Addr string `json:"addr"`           // as given
}

// Outcome is how one recipient of a message that was sent from here stands.
type Outcome struct {
	Address string          `json:"address"`
	State   spool.PairState `json:"state"`
	Reply   string          `json:"reply,omitempty"`  // of the server that took or refused it
	Reason  string          `json:"reason,omitempty"` // why it ended otherwise
	Changed time.Time       `json:"changed,omitzero"`
}

// Item is one message as lists show it. In a Page it stands for its conversation: it is the newest message of
// the conversation in that folder (or that was found); Unread, Starred and Attachments are then true of any of its messages,
// and Count and Senders are of all.
type Item struct {
	Entry        string            `json:"entry"`             // ULID
	Writing      string            `json:"writing,omitempty"` // of drafts and sent messages
	Thread       string            `json:"thread"`            // entry of the oldest message of the conversation that this box sees; any entry of it leads there too
	Folder       Folder            `json:"folder"`            // Inbox, Sent or Drafts: what it is, even when trashed or starred
	Kind         spool.Kind        `json:"kind"`
	Received     time.Time         `json:"received"`
	NotBefore    time.Time         `json:"not_before,omitzero"` // sending can be undone until then
	From         []Person          `json:"from,omitempty"`
	To           []Person          `json:"to,omitempty"`
	Subject      string            `json:"subject,omitempty"`
	Snippet      string            `json:"snippet,omitempty"` // the first words; "" until the full text has been read
	Size         int64             `json:"size"`              // octets
	Attachments  int               `json:"attachments"`       // 0 until the full text has been read
	Unread       bool              `json:"unread"`
	Starred      bool              `json:"starred"`
	Trashed      bool              `json:"trashed"`
	Answered     bool              `json:"answered"`
	Count        int               `json:"count"`             // messages of the conversation in this box, trashed ones aside (in Trash: those alone)
	Senders      []Person          `json:"senders,omitempty"` // in a Page: who wrote them, oldest first, each once, at most 4
	Verdicts     map[string]string `json:"verdicts,omitempty"`
	EnvelopeFrom string            `json:"envelope_from"`         // the reverse-path, "" for the null one
	Rcpt         string            `json:"rcpt,omitempty"`        // the first envelope recipient that is why this box sees it
	Account      string            `json:"account,omitempty"`     // who wrote it here
	Outcomes     []Outcome         `json:"outcomes,omitempty"`    // of Sent: how each recipient stands
	HandedOver   bool              `json:"handed_over,omitempty"` // the primary has it
	MessageID    string            `json:"message_id,omitempty"`
}

// Cursor is where a listing goes on: opaque, "" for the beginning and at the end.
type Cursor string

// Query selects conversations of a box.
type Query struct {
	Box    Box
	Folder Folder
	Search *Search // nil: all
	After  Cursor
	Limit  int // 0: Limits.Page
}

// Page is an answer to a Query, newest first.
type Page struct {
	Items   []Item
	Next    Cursor // "" when there is no more
	Pending int    // of a search: messages of the box whose text hasn't been read yet; only their header was searched
}

// Count is what a folder holds, in messages.
type Count struct {
	Total  int
	Unread int
}

// Change is what Flag changes; nil leaves a flag as it is.
type Change struct {
	Seen, Starred, Trashed, Answered *bool
}

// Draft is one version of a piece of writing.
type Draft struct {
	Account string // main address of the account that writes
	Writing string // ULID; "" in SaveDraft begins a new one
	Box     string // ID of the box it is written from: the account's own or a shared one; "": Account
	Raw     []byte // a message (RFC 5322) with the text, without attachments
}

// SavedDraft is a draft as it was kept.
type SavedDraft struct {
	Draft
	Entry       string // of this version
	Saved       time.Time
	Attachments []Attachment // those that Raw names by X-Restante-Attachment fields, in that order; lost ones are left out
}

// Attachment is one attachment of a piece of writing.
type Attachment struct {
	ID   string // ULID of its entry
	Name string
	Type string // media type
	Size int64  // octets
}

// AttachmentField is the header field of a draft's Raw that names an attachment by its id, one field for each.
const AttachmentField = "X-Restante-Attachment"

// Answer says who is writing an answer.
type Answer struct {
	Account string
	Saved   time.Time // when the draft was last kept
	writing string
}

// AddressCount is mail for one address.
type AddressCount struct {
	Address  string    `json:"address"` // lower case
	Messages int64     `json:"messages"`
	Latest   time.Time `json:"latest"`
}

// Stats is what happened in a box in a span of time.
type Stats struct {
	Arrived      []Item // received then, trashed ones included
	Sent         []Item // sent then
	Drafts       []Item // not sent yet, whenever begun
	ArrivedCount int    // the lists may be shorter
	SentCount    int
	DraftCount   int
	Read         int // of those that arrived: seen
	Answered     int
	Deleted      int // of those that arrived: trashed
}

// Totals is what was done in the webmail with the mail of a span of time, for reports.
type Totals struct {
	Read    int // messages that somebody has read
	Readers int // how many people did
	Sent    int // messages sent from here
	Senders int // by how many people
}

// Limits bound what the store does. Zero fields take the default.
type Limits struct {
	Page       int           // conversations in a page, 50
	PageMax    int           // at most, 200
	Bulk       int           // entries in one Flag, 1,000
	ViewRows   int           // messages whose places are kept in memory, 48 octets each, over all boxes, 400,000
	Text       int           // octets of text a message that can be searched, 128 KiB
	Share      float64       // part of one CPU that full text takes while there is a backlog, 0.25
	DraftWait  time.Duration // how long SaveDraft and Attach wait until what they kept can be read, 3 s
	Raw        int64         // octets of a draft's Raw, 2 MiB
	Candidates int           // messages without full text that a search looks at, newest first, 5,000
	Activity   int           // activities an account that are kept, 5,000
	People     int           // messages that People looks at, newest first, 2,000
}

func (l Limits) withDefaults() Limits {
	set(&l.Page, 50)
	set(&l.PageMax, 200)
	set(&l.Bulk, 1000)
	set(&l.ViewRows, 400_000)
	set(&l.Text, 128<<10)
	set(&l.Share, 0.25)
	set(&l.DraftWait, 3*time.Second)
	set(&l.Raw, 2<<20)
	set(&l.Candidates, 5000)
	set(&l.Activity, 5000)
	set(&l.People, 2000)
	return l
}

func set[T int | int64 | float64 | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

package spool

import (
	"time"

	"github.com/oklog/ulid/v2"
)

// Kind says what an entry is. All but drafts have pairs, each of which is delivered.
type Kind string

// The kinds of entry.
const (
	Held     Kind = "held"     // received from outside for a hosted domain
	Outbound Kind = "outbound" // written in the webmail, for a smarthost
	Local    Kind = "local"    // written in the webmail, for a hosted domain
	Draft    Kind = "draft"
	Copy     Kind = "copy" // the sender's own copy of what was sent, for the sender's mailbox at the primary
)

// Smarthost is the Recipient.Domain of Outbound entries: what is for no hosted domain. It can't be the name of one.
const Smarthost = "(smarthost)"

// Entry is one accepted message: its envelope, its client and the verdicts on it. It is stored as
// the member <id>.json of a batch, beside the octets of the message in <id>.eml.
// All its strings are valid UTF-8; see Printable for those that came from the wire.
type Entry struct {
	ID        string            `json:"id"` // ULID; the sender saw it in the reply to the dot
	Kind      Kind              `json:"kind"`
	Received  time.Time         `json:"received"`
	From      string            `json:"from"` // reverse-path without <>, "" for the null reverse-path
	Rcpts     []Recipient       `json:"rcpts"`
	Params    Params            `json:"params,omitzero"`
	Client    Client            `json:"client,omitzero"`
	TraceSize int               `json:"trace_size"`         // octets of our own trace fields at the head of the .eml
	Size      int64             `json:"size"`               // octets of the .eml, trace fields included
	SHA256    string            `json:"sha256"`             // hex, of the octets received (the .eml less its trace fields)
	Reason    string            `json:"reason,omitempty"`   // why it was kept rather than passed
	Verdicts  map[string]string `json:"verdicts,omitempty"` // e.g. "spf": "pass"
	Summary   Summary           `json:"summary,omitzero"`
	// Quarantine is why the message is kept from everybody until an admin releases it, "" when it isn't: its pairs begin as parked.
	Quarantine string `json:"quarantine,omitempty"`

	// Of entries that were written here (all kinds but Held).
	Mailbox   string    `json:"mailbox,omitempty"`   // the account that wrote it, as its main address, lower case
	Writing   string    `json:"writing,omitempty"`   // ULID of the piece of writing: the versions of a draft and all entries sent from it carry it
	NotBefore time.Time `json:"not_before,omitzero"` // until then sending can be undone, and nobody is given it
}

// Recipient is one forward-path of an entry with its parameters; together with the entry it makes a pair.
type Recipient struct {
	Address string `json:"address"`          // as given, in wire form, never used through Printable
	Domain  string `json:"domain"`           // the hosted domain it belongs to, lower case, or Smarthost
	Notify  string `json:"notify,omitempty"` // RFC 3461 4.1, as given
	ORcpt   string `json:"orcpt,omitempty"`  // RFC 3461 4.2, as given
}

// Params are the ESMTP parameters of MAIL.
type Params struct {
	Body       string `json:"body,omitempty"` // "7BIT" or "8BITMIME" (RFC 6152), "" when not given
	SMTPUTF8   bool   `json:"smtputf8,omitempty"`
	RequireTLS bool   `json:"requiretls,omitempty"`
	Ret        string `json:"ret,omitempty"`   // RFC 3461 4.3
	EnvID      string `json:"envid,omitempty"` // RFC 3461 4.4
}

// Client says who gave us the message.
type Client struct {
	Addr     string `json:"addr,omitempty"` // IP address
	Port     int    `json:"port,omitempty"`
	Name     string `json:"name,omitempty"`     // verified reverse name, "" if none
	Helo     string `json:"helo,omitempty"`     // Printable
	Protocol string `json:"protocol,omitempty"` // "SMTP", "ESMTP", "ESMTPS", "UTF8SMTP", ... (RFC 3848, RFC 6531)
	TLS      string `json:"tls,omitempty"`      // e.g. "TLS1.3 TLS_AES_128_GCM_SHA256"
}

// Summary holds the header fields that lists show; each is Printable and cut to 200 octets.
type Summary struct {
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	Subject   string `json:"subject,omitempty"`
	Date      string `json:"date,omitempty"`
	MessageID string `json:"message_id,omitempty"`
	Refs      string `json:"refs,omitempty"` // what it answers: up to four message ids with their <>, separated by spaces
}

// NewID returns a fresh ULID: the time of now in milliseconds, then 80 random bits.
func NewID() string { return ulid.Make().String() }

// Location says where the octets of an entry are in the store.
type Location struct {
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Offset int64  `json:"offset"`        // of the .eml member's zstd frame in the batch object
	Length int64  `json:"length"`        // of that frame
	Big    bool   `json:"big,omitempty"` // the octets are in big/<stream>/<id>.eml.zst instead
}

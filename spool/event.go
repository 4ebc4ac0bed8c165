package spool

import "time"

// EventType says what happened. Each type's doc names the fields that it uses beside ID, Time, Type and By.
type EventType string

// Events about pairs: Entry, Rcpt and Round are set.
const (
	Delivered EventType = "delivered" // Reply, Host, Generation; Data["tls"]: how it was protected on its way, smtpc.Offers.Protection
	Deferred  EventType = "deferred"  // an attempt got 4xx or lost the connection: Reply, Host; lazy
	Parked    EventType = "parked"    // Reply or Reason
	Bounced   EventType = "bounced"   // Reason
	Expired   EventType = "expired"   // Reason
	Removed   EventType = "removed"   // Reason; By names the admin
	HeldBack  EventType = "held"      // an admin holds it: opens Round, the pair is parked in it
	Released  EventType = "released"  // opens Round, pending; it alone lets out of quarantine (Entry.Quarantine)
	Retried   EventType = "retried"   // opens Round, pending; with Data["again"] = true also after Delivered in an earlier round (replay start --again)
)

// TakenBack is the Reason of Removed when the writer undid the sending.
const TakenBack = "taken back"

// Events about entries: Entry is set.
const (
	Opened EventType = "opened" // somebody read the content: By; lazy
	Erased EventType = "erased" // body and addresses are gone from the store
)

// Events about outages and primaries: Domain is set.
const (
	OutageOpened  EventType = "outage-opened" // Outage, Reason; Data: see OutageSince
	OutageClosed  EventType = "outage-closed" // Outage
	Declared      EventType = "declared"      // Domain or Address, Until, Reason: an admin says that the primary is down
	DeclareEnded  EventType = "declare-ended" // Domain or Address
	ReplayPaused  EventType = "replay-paused" // Reason; Batch when a damaged batch of the ledger is why
	ReplayResumed EventType = "replay-resumed"
	Offered       EventType = "offered" // Data: smtpc.Offers as JSON, when it changed; lazy
	Learned       EventType = "learned" // Address is known good at the primary; lazy
)

// OutageSince is the key under which the Data of an OutageOpened event says (RFC 3339) that the outage began before the event, at most
// MaxOutageSince: that is when the mail was received that is its cause and may have been delivered meanwhile.
const OutageSince = "since"

// MaxOutageSince bounds how long before its event an outage may have begun.
const MaxOutageSince = time.Hour

// Events about recipients (relay/policy/rcpt): Domain is set, Data["source"] names the list or "primary".
const (
	RecipientsChanged EventType = "recipients"        // Data: state "exists" or "gone" (the source has no longer such an address), kind, addresses; at most 1,000
	RecipientsListed  EventType = "recipients-listed" // a full list of the source was taken in; Data: count, and "taken" (RFC 3339) when that was before the event
)

// BatchDeleted says that retention is about to delete Batch; every pair in it has ended.
const BatchDeleted EventType = "batch-deleted"

// Event is one line of the ledger. It is written once and never changed.
type Event struct {
	ID         string         `json:"id"` // ULID; the same event may be read twice and counts once
	Time       time.Time      `json:"time"`
	Type       EventType      `json:"type"`
	By         string         `json:"by,omitempty"` // "replay", "health", "admin root", ...
	Entry      string         `json:"entry,omitempty"`
	Rcpt       int            `json:"rcpt,omitempty"` // index into Entry.Rcpts
	Round      int            `json:"round,omitempty"`
	Domain     string         `json:"domain,omitempty"`
	Address    string         `json:"address,omitempty"`
	Outage     string         `json:"outage,omitempty"`
	Until      time.Time      `json:"until,omitzero"`
	Reply      string         `json:"reply,omitempty"` // the primary's reply, Printable
	Host       string         `json:"host,omitempty"`  // the primary host and address that gave it
	Reason     string         `json:"reason,omitempty"`
	Generation int64          `json:"generation,omitempty"` // of the lease it happened under
	Batch      string         `json:"batch,omitempty"`      // a store key
	Data       map[string]any `json:"data,omitempty"`
}

// Events of the webmail. What Data holds is said by the packages that write them (webmail/accounts, webmail/mailbox, relay/submit).
const (
	AccountChanged EventType = "account"     // Address is the account; Data: one change of it; urgent
	Activity       EventType = "activity"    // Address is the account, Entry where one was meant; Data: what was done, from where; lazy
	Flagged        EventType = "flagged"     // Entry, Address is the mailbox; Data: seen, starred, trashed, answered, discarded, each true or false; lazy
	SecretKept     EventType = "secret-kept" // Address names it ("dkim/example.com/s1"); Data: "value", encrypted with the cluster key, absent once forgotten
	NoticeSet      EventType = "notice"      // Domain, "" for all; Reason is the text for staff, "" to take it back; Until
)

// PairState is where a pair stands.
type PairState string

// The states of a pair. Within one round the later in this list wins; Delivered beats every round.
const (
	StatePending   PairState = "pending"
	StateParked    PairState = "parked"
	StateExpired   PairState = "expired"
	StateBounced   PairState = "bounced"
	StateRemoved   PairState = "removed"
	StateDelivered PairState = "delivered"
)

// Pair is one (entry, recipient) as the index knows it.
type Pair struct {
	Entry    string    `json:"entry"`
	Kind     Kind      `json:"kind,omitempty"`
	Rcpt     int       `json:"rcpt"`
	Address  string    `json:"address"`
	Domain   string    `json:"domain"`
	State    PairState `json:"state"`
	Round    int       `json:"round"`
	Outage   string    `json:"outage,omitempty"`
	Received time.Time `json:"received"`
	Size     int64     `json:"size"`
	From     string    `json:"from"`
	Subject  string    `json:"subject,omitempty"`
	Attempts int       `json:"attempts"`
	Reply    string    `json:"reply,omitempty"`  // of the last attempt
	Reason   string    `json:"reason,omitempty"` // why it is parked, removed, ...
	Host     string    `json:"host,omitempty"`
	By       string    `json:"by,omitempty"`
	Changed  time.Time `json:"changed,omitzero"` // of the last event
	// Quarantine is why it waits for an admin's release, "" when it doesn't: see Entry.Quarantine.
	Quarantine string   `json:"quarantine,omitempty"`
	Location   Location `json:"location"`
}

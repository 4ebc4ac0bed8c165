// Package admin is how the command line speaks to a running node: HTTP and JSON over a unix socket of
// mode 0660. Who may write to the socket is an admin; the kernel says which Unix user that is
// (SO_PEERCRED), and that name goes into the events.
//
// Every operation is one POST to /v1/<name> with a JSON object; the answer is a JSON object, or
// {"error":{kind,text,mend}}. Operations that take a while answer with lines of JSON: any number of
// {"progress":...}, then {"result":...} or {"error":...}. Content (queue/raw, export) is streamed as it is.
//
// What the operations do stands behind Backend, which package app implements. The types of this file are
// also what the commands print with --json: fields may be added, none changes its meaning.
package admin

import (
	"context"
	"io"
	"time"

	"restante/relay/policy/rcpt"
	"restante/relay/policy/scan"
	"restante/relay/submit"
	"restante/spool"
	"restante/spool/index"
)

// Backend is a running node.
type Backend interface {
	UserBackend
	SendingBackend
	RecipientBackend
	PrimaryBackend
	Status(ctx context.Context) (*Status, error)
	Reload(ctx context.Context, by string) (*Reloaded, error)
	Outages(ctx context.Context, domain string) ([]index.Outage, error) // "" for all domains; newest first
	Report(ctx context.Context, outage string) (*Report, error)
	// ReportPairs calls f for each pair of the outage, oldest first.
	ReportPairs(ctx context.Context, outage string, f func(spool.Pair) error) error
	Declare(ctx context.Context, by string, d Declaration) (*Declaration, error)
	EndDeclaration(ctx context.Context, by string, d Declaration) error
	Declarations(ctx context.Context) ([]Declaration, error)
	ReplayStatus(ctx context.Context, domain string) ([]Replay, error)
	ReplayStart(ctx context.Context, by, domain string) error
	ReplayPause(ctx context.Context, by, domain, reason string) error
	ReplayResume(ctx context.Context, by, domain string) error
	ReplayRun(ctx context.Context, by string, s Selection, progress func(Progress)) (*RunResult, error)
	List(ctx context.Context, f index.Filter) ([]spool.Pair, index.Cursor, error)
	Show(ctx context.Context, id string) (*index.View, error)
	// Raw writes the exact message, without our trace fields, and leaves an Opened event.
	Raw(ctx context.Context, by, id string, w io.Writer) error
	Act(ctx context.Context, by string, a Action) (*ActResult, error)
	// Export writes a tar of <id>.json and <id>.eml (trace fields included) for each entry, and leaves Opened events.
	Export(ctx context.Context, by string, r ExportRequest, w io.Writer) error
	NotifyTest(ctx context.Context, by string) ([]Sent, error)
	StoreCheck(ctx context.Context) (*StoreState, error)
	Primary(ctx context.Context, do string) (*DevPrimary, error) // dev only: stop, start, list
}

// Status is the answer to "how are things?". The shape of Domains as far as Oldest is fixed.
type Status struct {
	Hostname string         `json:"hostname"`
	Node     string         `json:"node"`
	Cluster  string         `json:"cluster"`
	Version  string         `json:"version"`
	Started  time.Time      `json:"started"`
	Now      time.Time      `json:"now"`
	Ready    bool           `json:"ready"`            // takes and keeps mail
	Reasons  []string       `json:"reasons"`          // why not ready, or what is short of well
	Dev      bool           `json:"dev,omitempty"`    // `serve --dev`
	Config   []string       `json:"config,omitempty"` // files
	Domains  []DomainStatus `json:"domains"`          // what isn't up first
	Store    StoreState     `json:"store"`
	Index    IndexState     `json:"index"`
	Sending  *submit.Status `json:"sending,omitempty"` // nil: there is neither smarthost nor submission
	Webmail  *WebmailState  `json:"webmail,omitempty"` // nil: there is none here
	SMTP     SMTPState      `json:"smtp"`
	Filters  []scan.Status  `json:"filters,omitempty"` // content filters
}

// DomainStatus is one domain. Counts are of pairs since the last outage began.
type DomainStatus struct {
	Name      string     `json:"name"`
	State     string     `json:"state"` // up, suspect, down, recovering, refuses-us, isolated
	Since     *time.Time `json:"since"` // null: unknown
	Accepted  int64      `json:"accepted"`
	Delivered int64      `json:"delivered"`
	Parked    int64      `json:"parked"`
	Pending   int64      `json:"pending"`
	Oldest    *time.Time `json:"oldest"` // when the oldest pending pair was received; null: none pending

	EarlierParked  int64 `json:"earlier_parked"` // of outages before the last one
	EarlierPending int64 `json:"earlier_pending"`

	Quarantined       int64      `json:"quarantined"`                  // of those parked, also of earlier: they wait for a release
	QuarantinedOldest *time.Time `json:"quarantined_oldest,omitempty"` // when the oldest of them was received

	Bounced      int64      `json:"bounced"`
	Expired      int64      `json:"expired"`
	Removed      int64      `json:"removed"`
	Outage       string     `json:"outage,omitempty"` // id of the last outage
	OutageOpen   bool       `json:"outage_open"`
	Primary      []string   `json:"primary"`
	Cause        string     `json:"cause,omitempty"` // what was seen last when not up: "connection refused"
	LastTried    *time.Time `json:"last_tried,omitempty"`
	Latency      float64    `json:"latency_ms,omitempty"` // a good probe, on average
	TLS          string     `json:"tls,omitempty"`        // to the host that answered last: "TLS1.3 TLS_AES_128_GCM_SHA256", "" in plain
	Verified     string     `json:"verified,omitempty"`   // what its certificate was verified by: dane, pinned, CA; "" by nothing
	Passed       int64      `json:"passed"`               // messages passed through since the start
	Replay       string     `json:"replay"`               // automatic, manual, paused, running, waiting
	ReplayReason string     `json:"replay_reason,omitempty"`
	WhenUp       string     `json:"when_up"`
	Recipients   string     `json:"recipients"` // "any", "listed", "any (no list)"
	RcptCount    int        `json:"recipients_count,omitempty"`

	Lists    rcpt.Freshness `json:"recipient_lists"` // how fresh and complete the lists of recipients are
	Declared []Declaration  `json:"declared,omitempty"`
}

// StoreState is how the store does.
type StoreState struct {
	URL   string  `json:"url"`
	State string  `json:"state"` // ok, failing, full
	Error string  `json:"error,omitempty"`
	PutMS float64 `json:"put_ms,omitempty"` // a write, on average
	Free  int64   `json:"free,omitempty"`   // octets, where the store knows
	Total int64   `json:"total,omitempty"`
}

// IndexState is how far the index is behind.
type IndexState struct {
	Behind  int        `json:"behind"`            // batches
	Since   *time.Time `json:"since,omitempty"`   // of the oldest of them
	Reading bool       `json:"reading,omitempty"` // it has not read the store to its end yet: counts are incomplete
}

// StillReading is what people are told while IndexState.Reading.
const StillReading = "the index is still reading the store: counts are incomplete"

// SMTPState is the listener.
type SMTPState struct {
	Listen   []string `json:"listen"`
	Sessions int      `json:"sessions"`
}

// Reloaded says what a reload changed.
type Reloaded struct {
	Files   []string `json:"files"`
	Changed []string `json:"changed"`
	Restart []string `json:"restart,omitempty"` // keys whose change needs a restart: they still have the old value
	Warn    []string `json:"warnings,omitempty"`
}

// Report is an outage with its sums, counted anew from the pairs; it adds up when Unaccounted is 0.
type Report struct {
	index.Outage
	Accepted     int64           `json:"accepted"`          // pairs that were answered 250, as the batches name them
	Unaccounted  int64           `json:"unaccounted"`       // accepted less all that ended or is pending
	Missing      []index.Missing `json:"missing,omitempty"` // where those are; at most 100
	Deleted      int64           `json:"deleted"`           // pairs of the sums whose batch retention has deleted: they can't be listed any more
	Recipients   int64           `json:"recipients"`        // distinct addresses, of what is still kept
	NotDelivered []spool.Pair    `json:"not_delivered"`
	More         bool            `json:"more,omitempty"` // NotDelivered has been cut at 1,000
	Seconds      float64         `json:"seconds"`        // from opened to closed, or to now
	Chain        ChainState      `json:"chain"`
	Sent         submit.Tally    `json:"sent"`              // what people of the domain wrote meanwhile
	Read         int             `json:"read,omitempty"`    // messages of it that people have read in the webmail
	Readers      int             `json:"readers,omitempty"` // how many people did
}

// ChainState says whether the hashes of the streams that hold anything of an outage still lead to one another.
type ChainState struct {
	Verified bool          `json:"verified"`
	Head     string        `json:"head"` // one hash over all heads, for keeping elsewhere
	Broken   []index.Break `json:"broken,omitempty"`
	Problem  string        `json:"problem,omitempty"` // why nothing can be said
}

// Declaration is an admin's word that a primary is down, for a domain or a single address.
type Declaration struct {
	Domain  string    `json:"domain,omitempty"`
	Address string    `json:"address,omitempty"`
	For     string    `json:"for,omitempty"` // in requests: a duration
	Until   time.Time `json:"until,omitzero"`
	Reason  string    `json:"reason,omitempty"`
	By      string    `json:"by,omitempty"`

	Replaced *Declaration `json:"replaced,omitempty"` // in answers: what was in force for the same target until now
}

// Replay is how the replay of a domain stands.
type Replay struct {
	Domain      string       `json:"domain"`
	State       string       `json:"state"` // idle, waiting, lease, canary, running, backoff, paused, manual, stopped
	Reason      string       `json:"reason,omitempty"`
	Done        int64        `json:"done"`
	Total       int64        `json:"total"`
	Pending     int64        `json:"pending"`
	Delivered   int64        `json:"delivered"`
	Parked      int64        `json:"parked"`
	Deferred    int64        `json:"deferred"` // attempts that got 4xx
	Lost        int64        `json:"lost"`     // attempts whose connection was lost
	Unknown     int64        `json:"unknown"`  // of those: the final dot was sent, no reply was seen
	Next        time.Time    `json:"next,omitzero"`
	LastReply   string       `json:"last_reply,omitempty"` // that was not 2xx
	By          string       `json:"by,omitempty"`
	Rate        float64      `json:"rate"` // pairs a second
	Connections int          `json:"connections"`
	Left        float64      `json:"left_s,omitempty"`  // seconds, 0: unknown
	Reading     bool         `json:"reading,omitempty"` // the index is still reading the store: there may be more
	Recent      []spool.Pair `json:"recent_parked,omitempty"`
}

// Selection is what `replay run` delivers.
type Selection struct {
	Domain string    `json:"domain,omitempty"`
	Rcpt   string    `json:"rcpt,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	IDs    []string  `json:"ids,omitempty"`
	Again  bool      `json:"again,omitempty"` // also what was delivered or is parked
	Rate   int       `json:"rate,omitempty"`  // messages a second, 0: as configured
	To     string    `json:"to,omitempty"`    // host:port instead of the domain's primary
	DryRun bool      `json:"dry_run,omitempty"`
}

// Progress is a line of a `replay run` under way.
type Progress struct {
	Done   int64  `json:"done"`
	Total  int64  `json:"total"`
	Parked int64  `json:"parked"`
	Note   string `json:"note,omitempty"`
}

// RunResult is what a `replay run` did, in pairs.
type RunResult struct {
	Selected  int64        `json:"selected"`
	Delivered int64        `json:"delivered"`
	Parked    int64        `json:"parked"`
	Deferred  int64        `json:"deferred"` // 4xx or a lost connection: pending as before
	Skipped   int64        `json:"skipped"`  // being sent by somebody else, or in no state to be sent
	Octets    int64        `json:"octets"`
	DryRun    bool         `json:"dry_run,omitempty"`
	Pairs     []spool.Pair `json:"pairs,omitempty"` // of a dry run, at most 1,000
	Problem   string       `json:"problem,omitempty"`
}

// Action changes pairs: hold, release, retry, remove.
type Action struct {
	Do     string       `json:"do"`
	IDs    []string     `json:"ids,omitempty"`    // entries, or
	Filter index.Filter `json:"filter,omitzero"`  // all that fit
	Rcpt   string       `json:"rcpt,omitempty"`   // with IDs: only this recipient
	Erase  bool         `json:"erase,omitempty"`  // with remove: take the content out of the store
	Reason string       `json:"reason,omitempty"` //
	DryRun bool         `json:"dry_run,omitempty"`
}

// ActResult says what an Action did.
type ActResult struct {
	Pairs   int64    `json:"pairs"`
	Entries int64    `json:"entries"`
	Skipped []string `json:"skipped,omitempty"` // "<id> to <address>: why not"
	// Quarantine says why those were in quarantine that a release lets out, each reason once, ActReasons at most.
	Quarantine []string `json:"quarantine,omitempty"`
}

// ActReasons bounds ActResult.Quarantine.
const ActReasons = 10

// ExportRequest says what to export.
type ExportRequest struct {
	Filter index.Filter `json:"filter,omitzero"`
	IDs    []string     `json:"ids,omitempty"` // only these, besides Filter
}

// Sent is one way of notification with its outcome.
type Sent struct {
	Way   string `json:"way"` // command, url, heartbeat_url
	Error string `json:"error,omitempty"`
}

// DevPrimary is the stand-in primary of `serve --dev`.
type DevPrimary struct {
	Address  string    `json:"address"`
	Running  bool      `json:"running"`
	Maildir  string    `json:"maildir"`
	Count    int       `json:"count"`
	Messages []DevMail `json:"messages,omitempty"` // newest last, at most 50
}

// DevMail is one message that the stand-in primary has taken.
type DevMail struct {
	File    string    `json:"file"`
	Time    time.Time `json:"time"`
	Subject string    `json:"subject"`
	From    string    `json:"from"`
	Size    int64     `json:"size"`
}

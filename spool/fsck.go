package spool

import (
	"context"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

// checkTimeout bounds one request, for an object of some megabytes.
const checkTimeout = 2 * time.Minute

// CheckOptions say what Check does beside looking.
type CheckOptions struct {
	Repair   bool                // mend what can be mended; each mend is told in its Finding
	Mine     func(StreamID) bool // with Repair: streams that have no living writer and may be sealed; nil: none
	Quick    bool                // tocs and chains only: bodies aren't read
	Progress func(CheckProgress) // may be nil; called after each object
	Found    func(Finding)       // may be nil; called at once for each finding
}

// CheckProgress says how far Check is.
type CheckProgress struct {
	Key            string // the object just read
	Objects, Total int    // Total grows while streams are still being listed
	Octets         int64
}

// Kinds of Finding.
const (
	FoundDamaged   = "damaged"    // hashes don't fit, or the octets can't be decoded: the entries named are lost, unless Entry is empty
	FoundUnread    = "unread"     // the store doesn't give the object, though it gives others
	FoundHole      = "hole"       // a batch is missing in the middle of a stream, and no event says that it was deleted
	FoundChain     = "chain"      // a batch doesn't follow from the one before
	FoundAfterSeal = "after-seal" // a batch lies behind the end of its stream
	FoundMissing   = "missing"    // the big object of an entry is not there
	FoundOrphan    = "orphan"     // an object that nothing names any more
	FoundUnsealed  = "unsealed"   // a stream has no end: its writer lives, or was killed
	FoundStrange   = "strange"    // an object that is not ours
	FoundFormat    = "format"     // restante.json is missing, foreign or too new
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Key      string `json:"key"`             // the object
	Kind     string `json:"kind"`            // one of the Found constants
	Entry    string `json:"entry,omitempty"` // the entry that suffers
	Detail   string `json:"detail"`
	Harmless bool   `json:"harmless,omitempty"` // costs room at most, no mail
	Repaired string `json:"repaired,omitempty"` // what was done about it
}

// CheckReport is what Check found.
type CheckReport struct {
	Cluster  string    `json:"cluster"`
	Streams  int       `json:"streams"`
	Batches  int       `json:"batches"`
	Entries  int       `json:"entries"`
	Events   int       `json:"events"`
	Big      int       `json:"big"`
	Octets   int64     `json:"octets"` // of the objects read
	Findings []Finding `json:"findings"`
}

// OK reports that nothing was found that costs mail and wasn't mended.
func (r *CheckReport) OK() bool {
	for _, f := range r.Findings {
		if !f.Harmless && f.Repaired == "" {
			return false
		}
	}
	return true
}

// Check reads all of a store, offline or beside a running service: hashes, chains, holes, orphans, entries
// whose octets are missing. It needs nothing but the store. What can't be read is a Finding that names
// the object, and everything else is checked all the same; an error is returned only when the store
// itself fails or ctx ends, with the report so far.
func Check(ctx context.Context, store blob.Store, o CheckOptions) (*CheckReport, error) {
	c := &checker{o: o, src: objects{store: store, codec: batch.New(), timeout: checkTimeout}, rep: &CheckReport{Findings: []Finding{}},
		deleted: map[string]Event{}, erased: map[string]bool{}, big: map[string]*Entry{}, unread: map[string]bool{}, began: time.Now()}
	err := c.run(ctx)
	return c.rep, err
}

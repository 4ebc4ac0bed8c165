package spool

import (
	"context"
	"errors"

	"restante/spool/blob"
)

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

// Finding is one thing that is not as it should be.
type Finding struct {
	Key      string `json:"key"`             // the object
	Kind     string `json:"kind"`            // "damaged", "unreadable", "hole", "chain", "after-seal", "orphan", "missing", "unsealed", "strange", "format"
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

// Check reads all of a store, offline or beside a running service.
func Check(ctx context.Context, store blob.Store, o CheckOptions) (*CheckReport, error) {
	return nil, errors.New("not yet")
}

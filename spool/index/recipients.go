package index

import (
	"context"
	"time"
)

// Recipient is what the ledger says last of one address and one source.
type Recipient struct {
	Domain  string
	Address string // lower case; "@example.com" is any
	Source  string // "" when the primary has taken mail for it: see Known
	Kind    string
	Gone    bool // the source doesn't have it (any more)
	Time    time.Time
}

// RecipientList says that a full list of a source was taken in.
type RecipientList struct {
	Domain string
	Source string
	Count  int
	Time   time.Time
}

// RecipientsMark is how far Recipients was read. Its zero value is before the first. It is good for this process only.
type RecipientsMark struct {
	Reset          int64 // of the index; another one means that what was read before is void
	changed, known int64
}

// Recipients calls each for what was changed since the mark and returns the mark to go on with.
func (x *Index) Recipients(ctx context.Context, after RecipientsMark, each func(Recipient) error) (RecipientsMark, error) {
	return after, nil
}

// RecipientLists returns the last full list of each domain and source.
func (x *Index) RecipientLists(ctx context.Context) ([]RecipientList, error) { return nil, nil }

package spool

import (
	"context"
	"errors"
	"io"

	"restante/spool/blob"
)

// ExportOptions say what Export writes and where.
type ExportOptions struct {
	Format   string              // "eml" (one file an entry in Dir), "mbox" (to Writer, mboxrd quoting), "maildir" (new/ cur/ tmp/ in Dir)
	Dir      string              // for eml and maildir; made if need be
	Writer   io.Writer           // for mbox
	Select   func(*Entry) bool   // nil: all
	Progress func(ExportReport)  // may be nil; after each batch
	Failed   func(string, error) // may be nil; told of each object or entry that couldn't be exported
}

// ExportReport counts what was written.
type ExportReport struct {
	Batches  int   `json:"batches"`
	Messages int   `json:"messages"`
	Octets   int64 `json:"octets"`
	Failed   int   `json:"failed"` // entries that could not be read
	Erased   int   `json:"erased"` // entries whose bodies were erased
}

// Export writes the messages of a store to files that any mail reader opens.
func Export(ctx context.Context, store blob.Store, o ExportOptions) (ExportReport, error) {
	return ExportReport{}, errors.New("not yet")
}

package mailbox

import (
	"context"
	"io"
	"time"

	"restante/spool"
)

// Store is the fold and its queries.
type Store struct{ n int }

// Open opens the database at path, or makes an empty one, which the next Follow fills.
func Open(path string, o Options) (*Store, error) { return &Store{}, nil }

// Close ends the store. Run must have ended.
func (s *Store) Close() error { return nil }

// Run reads full text in the background until ctx ends.
func (s *Store) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Positions returns how far each stream is folded.
func (s *Store) Positions(ctx context.Context) (map[spool.StreamID]spool.Position, error) {
	return nil, nil
}

// Apply folds steps in one transaction.
func (s *Store) Apply(ctx context.Context, steps []spool.Step) error { return nil }

// Cluster returns the id of the cluster that was folded.
func (s *Store) Cluster(ctx context.Context) (string, error) { return "", nil }

// Domains is part of spool.Rebuildable.
func (s *Store) Domains(ctx context.Context) ([]string, error) { return nil, nil }

// Reset empties the store.
func (s *Store) Reset(ctx context.Context) error { return nil }

// SetLag is told by the follower how far behind it is.
func (s *Store) SetLag(batches int, since time.Time) {}

// List returns a page of conversations, newest first.
func (s *Store) List(ctx context.Context, q Query) (Page, error) { return Page{}, nil }

// Conversation returns the messages of a conversation that the box sees, oldest first, trashed ones and drafts included.
// thread is Item.Thread, or any entry of the conversation. ErrNotFound.
func (s *Store) Conversation(ctx context.Context, b Box, thread string) ([]Item, error) {
	return nil, nil
}

// Item returns one message. It is the access check: ErrNotFound unless the box may see it.
func (s *Store) Item(ctx context.Context, b Box, entry string) (Item, error) { return Item{}, nil }

// Open returns one message with its octets, after the access check. The caller closes the body.
func (s *Store) Open(ctx context.Context, b Box, entry string) (Item, *spool.Entry, *spool.Body, error) {
	return Item{}, nil, nil, nil
}

// Neighbours returns Thread of the conversations before and after the one of entry in the list of q, "" where there is none.
func (s *Store) Neighbours(ctx context.Context, q Query, entry string) (newer, older string, err error) {
	return "", "", nil
}

// Counts returns what each folder holds.
func (s *Store) Counts(ctx context.Context, b Box) (map[Folder]Count, error) { return nil, nil }

// Flag changes flags of messages in a box, here at once and in the ledger soon. by is the account that does it.
// Entries that the box doesn't see are passed over.
func (s *Store) Flag(ctx context.Context, by string, b Box, entries []string, c Change) error {
	return nil
}

// SaveDraft keeps a version of a piece of writing and returns once it can be read again.
func (s *Store) SaveDraft(ctx context.Context, d Draft) (SavedDraft, error) { return SavedDraft{}, nil }

// Attach keeps an attachment of a piece of writing and returns its id, to be named by Raw in the next SaveDraft.
// At most limit octets are read, then ErrTooLarge.
func (s *Store) Attach(ctx context.Context, account, writing, name, ctype string, r io.Reader, limit int64) (Attachment, error) {
	return Attachment{}, nil
}

// OpenAttachment returns the octets of an attachment of a piece of writing. The caller closes it.
func (s *Store) OpenAttachment(ctx context.Context, account, writing, id string) (Attachment, io.ReadCloser, error) {
	return Attachment{}, nil, nil
}

// Draft returns the newest version of a piece of writing of the account: ErrNotFound once it was sent or discarded.
func (s *Store) Draft(ctx context.Context, account, writing string) (SavedDraft, error) {
	return SavedDraft{}, nil
}

// DiscardDraft gives a piece of writing up.
func (s *Store) DiscardDraft(ctx context.Context, account, writing string) error { return nil }

// Answering returns who has a draft that answers a conversation of the box, written from that box.
func (s *Store) Answering(ctx context.Context, b Box, thread string) ([]Answer, error) {
	return nil, nil
}

// People returns those whose name or address begins with prefix, from mail that the boxes have seen, latest first.
func (s *Store) People(ctx context.Context, boxes []Box, prefix string, n int) ([]Person, error) {
	return nil, nil
}

// Activity returns activities of an account, newest first, those before a time (zero: now).
func (s *Store) Activity(ctx context.Context, account string, before time.Time, n int) ([]spool.Event, error) {
	return nil, nil
}

// NoteActivity notes what an account has done. what is a short word ("sign-in", "send", "download", ...); data may be nil.
func (s *Store) NoteActivity(account, entry, what string, data map[string]any) {}

// Unclaimed returns the addresses that have mail and that nobody claims, those with most mail first.
func (s *Store) Unclaimed(ctx context.Context, claimed func(address string) bool) ([]AddressCount, error) {
	return nil, nil
}

// Accounts returns all AccountChanged events, oldest first.
func (s *Store) Accounts(ctx context.Context) ([]spool.Event, error) { return nil, nil }

// Subscribe returns a channel that gets a value when something in one of the boxes or for one of the addresses has
// changed; values that nobody takes are one. The function ends it.
func (s *Store) Subscribe(names ...string) (<-chan struct{}, func()) { return nil, func() {} }

// Stats returns what happened in a box from since to until.
func (s *Store) Stats(ctx context.Context, b Box, since, until time.Time) (Stats, error) {
	return Stats{}, nil
}

// Totals returns what was done with the mail of a domain ("" for all) that was received from since to until, and what was sent then.
func (s *Store) Totals(ctx context.Context, domain string, since, until time.Time) (Totals, error) {
	return Totals{}, nil
}

// Progress returns how many messages wait for their full text to be read.
func (s *Store) Progress(ctx context.Context) (pending int, err error) { return 0, nil }

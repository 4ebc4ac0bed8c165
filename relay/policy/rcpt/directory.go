package rcpt

import (
	"context"
	"errors"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/reply"
)

// Directory knows the recipients. Safe for concurrent use. A nil Directory knows nobody and takes everybody.
type Directory struct {
	o Options
}

// New returns a Directory with what the index knows.
func New(o Options) (*Directory, error) { return &Directory{o: o}, nil }

// SetConfig replaces the hosted domains, all or nothing.
func (d *Directory) SetConfig(ds []Domain) error { return nil }

// Check says whether a recipient of a hosted domain exists, and what to do with it while its primary isn't asked. It takes microseconds.
func (d *Directory) Check(ctx context.Context, a mailaddr.Address) Answer {
	return Answer{State: Unsure, Action: Take}
}

// Heard is told what the primary said of a recipient: in reply to RCPT, or to a message for it alone, in pass-through, at
// replay or when asked.
func (d *Directory) Heard(ctx context.Context, a mailaddr.Address, r reply.Reply, now time.Time) {}

// Left is told that the primary refuses a recipient that it had, and is believed.
func (d *Directory) Left(ctx context.Context, a mailaddr.Address, now time.Time) {}

// Replace takes in a full list of a source. by is who did it, for the ledger. What changes is durable when it returns.
func (d *Directory) Replace(ctx context.Context, domain, source string, list []Address, by string, o ReplaceOptions) (Change, error) {
	return Change{}, errors.ErrUnsupported
}

// Add adds single addresses (SourceAdded), local parts or whole ones, and returns those that weren't there.
func (d *Directory) Add(ctx context.Context, domain string, addresses []string, by string) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// Remove takes addresses out of SourceAdded and SourceImport and returns those that were there. What is in the configuration or is
// synced comes back with that; it is an error to name such an address.
func (d *Directory) Remove(ctx context.Context, domain string, addresses []string, by string) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// List returns recipients of a domain, by address.
func (d *Directory) List(ctx context.Context, domain string, f Filter) ([]Recipient, error) {
	return nil, errors.ErrUnsupported
}

// Freshness says how fresh and complete the lists of a domain are.
func (d *Directory) Freshness(ctx context.Context, domain string) Freshness { return Freshness{} }

// Failed is told that a source couldn't be read; nil says that it could. A Replace says so too.
func (d *Directory) Failed(domain, source string, err error) {}

// Run follows the index and asks the primaries (call-ahead) until ctx ends.
func (d *Directory) Run(ctx context.Context) error { <-ctx.Done(); return nil }

package admin

import (
	"context"
	"net/http"

	"restante/relay/policy/rcpt"
	"restante/relay/policy/rcpt/source"
)

// maxList bounds the JSON of a list of recipients, in octets: a million addresses.
const maxList = 96 << 20

// RecipientBackend is the part of Backend that is about which recipients the domains have.
type RecipientBackend interface {
	RecipientImport(ctx context.Context, by string, r RecipientImport) (*rcpt.Change, error)
	// RecipientSync reads the lists of the configuration at once, of a domain or ("") of all.
	RecipientSync(ctx context.Context, by string, r RecipientSync) ([]source.Outcome, error)
	RecipientList(ctx context.Context, r RecipientFilter) ([]rcpt.Recipient, error)
	RecipientEdit(ctx context.Context, by string, r RecipientEdit) (*RecipientEdited, error)
	RecipientTest(ctx context.Context, address string) (*RecipientTest, error)
	// Recipients says how the lists of a domain, or ("") of all, are.
	Recipients(ctx context.Context, domain string) ([]RecipientLists, error)
}

// RecipientImport is a full list of the recipients of a domain; with nobody on it, and Force, what was imported is let go.
type RecipientImport struct {
	Domain    string              `json:"domain"`
	Addresses []rcpt.Address      `json:"addresses"`
	Options   rcpt.ReplaceOptions `json:"options,omitzero"`
}

// RecipientSync says which lists to read at once.
type RecipientSync struct {
	Domain  string              `json:"domain,omitempty"`
	Options rcpt.ReplaceOptions `json:"options,omitzero"`
}

// RecipientFilter selects recipients of a domain.
type RecipientFilter struct {
	Domain string      `json:"domain"`
	Filter rcpt.Filter `json:"filter,omitzero"`
}

// RecipientEdit adds or removes single addresses.
type RecipientEdit struct {
	Do        string   `json:"do"` // add, remove
	Addresses []string `json:"addresses"`
}

// RecipientEdited says which addresses an edit changed, and which were as asked for already.
type RecipientEdited struct {
	Changed []string `json:"changed"`
	Same    []string `json:"same,omitempty"`
}

// RecipientLists is how the lists of a domain are.
type RecipientLists struct {
	Domain string `json:"domain"`
	rcpt.Freshness
	MaxAge float64 `json:"max_age_s"` // recipients_max_age
}

// RecipientTest says what would happen to mail for an address.
type RecipientTest struct {
	Address string           `json:"address"`
	Domain  string           `json:"domain"`
	Primary string           `json:"primary"` // its state: up, down, ...
	Known   rcpt.Answer      `json:"known"`   // what the lists say
	Now     RecipientOutcome `json:"now"`     // what would happen now
	Outage  RecipientOutcome `json:"outage"`  // and while the primary is down
}

// RecipientOutcome is what happens to a recipient, and why.
type RecipientOutcome struct {
	Do   string `json:"do"`             // pass, take, defer, refuse
	Code int    `json:"code,omitempty"` // of our reply to RCPT; 0: the primary's
	Why  string `json:"why"`
}

func (s *Server) recipientRoutes(mux *http.ServeMux) {
	b := s.backend
	handleUpTo(s, mux, maxList, "recipient/import", func(ctx context.Context, r RecipientImport) (*rcpt.Change, error) {
		return b.RecipientImport(ctx, who(ctx), r)
	})
	handle(s, mux, "recipient/sync", func(ctx context.Context, r RecipientSync) ([]source.Outcome, error) {
		return b.RecipientSync(ctx, who(ctx), r)
	})
	handle(s, mux, "recipient/list", func(ctx context.Context, r RecipientFilter) ([]rcpt.Recipient, error) { return b.RecipientList(ctx, r) })
	handle(s, mux, "recipient/edit", func(ctx context.Context, r RecipientEdit) (*RecipientEdited, error) {
		return b.RecipientEdit(ctx, who(ctx), r)
	})
	handle(s, mux, "recipient/test", func(ctx context.Context, r named) (*RecipientTest, error) { return b.RecipientTest(ctx, r.Name) })
	handle(s, mux, "recipients", func(ctx context.Context, r named) ([]RecipientLists, error) { return b.Recipients(ctx, r.Name) })
}

// RecipientImport takes in a full list.
func (c *Client) RecipientImport(ctx context.Context, r RecipientImport) (*rcpt.Change, error) {
	return call[*rcpt.Change](ctx, c, "recipient/import", r)
}

// RecipientSync reads the lists of the configuration at once.
func (c *Client) RecipientSync(ctx context.Context, r RecipientSync) ([]source.Outcome, error) {
	return call[[]source.Outcome](ctx, c, "recipient/sync", r)
}

// RecipientList lists recipients.
func (c *Client) RecipientList(ctx context.Context, r RecipientFilter) ([]rcpt.Recipient, error) {
	return call[[]rcpt.Recipient](ctx, c, "recipient/list", r)
}

// RecipientEdit adds or removes single addresses.
func (c *Client) RecipientEdit(ctx context.Context, r RecipientEdit) (*RecipientEdited, error) {
	return call[*RecipientEdited](ctx, c, "recipient/edit", r)
}

// RecipientTest says what would happen to mail for an address.
func (c *Client) RecipientTest(ctx context.Context, address string) (*RecipientTest, error) {
	return call[*RecipientTest](ctx, c, "recipient/test", named{Name: address})
}

// Recipients says how the lists of a domain, or of all, are.
func (c *Client) Recipients(ctx context.Context, domain string) ([]RecipientLists, error) {
	return call[[]RecipientLists](ctx, c, "recipients", named{Name: domain})
}

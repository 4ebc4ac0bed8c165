package admin

import (
	"context"
	"net/http"

	"restante/relay/submit"
)

// SendingBackend is the part of Backend that is about mail that people write, and the keys it is signed with.
type SendingBackend interface {
	Sending(ctx context.Context) (*submit.Status, error)
	SendingSwitch(ctx context.Context, by string, s SendingSwitch) (*submit.Status, error)
	DKIMKeys(ctx context.Context, domain string) ([]submit.Key, error) // "" for all domains
	DKIMGenerate(ctx context.Context, by string, k DKIMKey) ([]submit.Key, error)
	DKIMRemove(ctx context.Context, by string, k DKIMKey) ([]submit.Key, error)
}

// SendingSwitch stops or allows sending.
type SendingSwitch struct {
	Account string `json:"account,omitempty"` // "": everybody
	Stop    bool   `json:"stop"`
	Reason  string `json:"reason,omitempty"`
}

// DKIMKey names a key.
type DKIMKey struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector,omitempty"`
}

func (s *Server) sendingRoutes(mux *http.ServeMux) {
	b := s.backend
	handle(s, mux, "sending/status", func(ctx context.Context, _ none) (*submit.Status, error) { return b.Sending(ctx) })
	handle(s, mux, "sending/switch", func(ctx context.Context, r SendingSwitch) (*submit.Status, error) {
		return b.SendingSwitch(ctx, who(ctx), r)
	})
	handle(s, mux, "dkim/show", func(ctx context.Context, r named) ([]submit.Key, error) { return b.DKIMKeys(ctx, r.Name) })
	handle(s, mux, "dkim/keygen", func(ctx context.Context, r DKIMKey) ([]submit.Key, error) { return b.DKIMGenerate(ctx, who(ctx), r) })
	handle(s, mux, "dkim/remove", func(ctx context.Context, r DKIMKey) ([]submit.Key, error) { return b.DKIMRemove(ctx, who(ctx), r) })
}

// Sending says how sending stands.
func (c *Client) Sending(ctx context.Context) (*submit.Status, error) {
	return call[*submit.Status](ctx, c, "sending/status", none{})
}

// SendingSwitch stops or allows sending.
func (c *Client) SendingSwitch(ctx context.Context, s SendingSwitch) (*submit.Status, error) {
	return call[*submit.Status](ctx, c, "sending/switch", s)
}

// DKIMKeys lists keys, of a domain or of all.
func (c *Client) DKIMKeys(ctx context.Context, domain string) ([]submit.Key, error) {
	return call[[]submit.Key](ctx, c, "dkim/show", named{Name: domain})
}

// DKIMGenerate makes keys for a domain and answers with all that it has.
func (c *Client) DKIMGenerate(ctx context.Context, k DKIMKey) ([]submit.Key, error) {
	return call[[]submit.Key](ctx, c, "dkim/keygen", k)
}

// DKIMRemove forgets a key and answers with those that are left.
func (c *Client) DKIMRemove(ctx context.Context, k DKIMKey) ([]submit.Key, error) {
	return call[[]submit.Key](ctx, c, "dkim/remove", k)
}

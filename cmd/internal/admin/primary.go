package admin

import (
	"context"
	"net/http"

	"restante/cmd/internal/primary"
)

// PrimaryBackend is the part of Backend that is about how primaries take what we give them.
type PrimaryBackend interface {
	PrimaryTest(ctx context.Context, by string, t PrimaryTest) (*primary.Report, error)
}

// PrimaryTest is what `restante primary test` tries.
type PrimaryTest struct {
	Domain string       `json:"domain"`
	From   string       `json:"from,omitempty"` // "": of a domain that lets nobody send
	To     string       `json:"to,omitempty"`   // "": postmaster
	Kind   primary.Kind `json:"kind,omitempty"` // "": by its banner
}

func (s *Server) primaryRoutes(mux *http.ServeMux) {
	handle(s, mux, "primary/test", func(ctx context.Context, t PrimaryTest) (*primary.Report, error) {
		return s.backend.PrimaryTest(ctx, who(ctx), t)
	})
}

// PrimaryTest tries the primary of a domain, which takes some seconds.
func (c *Client) PrimaryTest(ctx context.Context, t PrimaryTest) (*primary.Report, error) {
	return call[*primary.Report](ctx, c, "primary/test", t)
}

package webmail

import (
	"net/http"
	"slices"
	"strings"

	"restante/webmail/mailbox"
)

// closedBoxes are the IDs of the viewer's boxes that can't be read any more.
func (s *Server) closedBoxes(v *viewer) []string {
	var out []string
	for _, b := range v.boxes() {
		if s.readingOver(b) {
			out = append(out, b.ID)
		}
	}
	return out
}

// readingOver says that all mail of a box has been in its normal mailbox for so long that it is read there alone: the
// outage of each domain that it has addresses in ended longer ago than reading stays open. It opens by itself in the next
// outage, and for domains that had none it is open.
func (s *Server) readingOver(b mailbox.Box) bool {
	over := false
	for _, address := range append(slices.Clone(b.Addresses), b.ID) {
		_, domain, _ := strings.Cut(address, "@")
		d := s.o.Outages.Domain(domain)
		if !d.Hosted {
			continue
		}
		if !d.Up || d.ReadingUntil.IsZero() || s.o.Now().Before(d.ReadingUntil) {
			return false
		}
		over = true
	}
	return over
}

// noBox answers for a box that the viewer may not read: one of their own that is closed says so.
func (s *Server) noBox(w http.ResponseWriter, r *http.Request, v *viewer) {
	if b, ok := v.named(r.PathValue("box")); ok && slices.Contains(v.Closed, b.ID) {
		s.problem(w, r, http.StatusForbidden, "closed")
		return
	}
	s.notFound(w, r)
}

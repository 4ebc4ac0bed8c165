package webmail

import (
	"net/http"
)

// readRoutes are the pages that show mail.
func (s *Server) readRoutes() []route {
	return []route{
		{http.MethodGet, "/m/{box}/{folder}", inBox, s.list},
	}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusOK, "list", nil)
}

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"restante/spool"
	"restante/spool/index"
)

// maxRequest bounds the JSON of one request, in octets.
const maxRequest = 8 << 20

// Server answers on the admin socket.
type Server struct {
	backend Backend
	log     *slog.Logger
	http    *http.Server
}

type peerKey struct{}

// NewServer returns a server for the backend.
func NewServer(b Backend, log *slog.Logger) *Server {
	s := &Server{backend: b, log: log}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerName(c))
		},
	}
	return s
}

// Serve answers until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Shutdown lets running operations finish until ctx ends, then cuts them.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// who is the admin as events name them: "admin root".
func who(ctx context.Context) string {
	name, ok := ctx.Value(peerKey{}).(string)
	if !ok {
		name = "unknown"
	}
	return "admin " + name
}

// none is a request or an answer without content.
type none struct{}

// named is a request that has a name only.
type named struct {
	Name   string `json:"name,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// page is one page of a listing.
type page struct {
	Pairs []spool.Pair `json:"pairs"`
	Next  index.Cursor `json:"next,omitempty"`
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	b := s.backend
	s.userRoutes(mux)
	s.sendingRoutes(mux)
	s.recipientRoutes(mux)
	s.primaryRoutes(mux)
	handle(s, mux, "status", func(ctx context.Context, _ none) (*Status, error) { return b.Status(ctx) })
	handle(s, mux, "reload", func(ctx context.Context, _ none) (*Reloaded, error) { return b.Reload(ctx, who(ctx)) })
	handle(s, mux, "outages", func(ctx context.Context, r named) ([]index.Outage, error) { return b.Outages(ctx, r.Name) })
	handle(s, mux, "report", func(ctx context.Context, r named) (*Report, error) { return b.Report(ctx, r.Name) })
	handle(s, mux, "declare", func(ctx context.Context, d Declaration) (*Declaration, error) { return b.Declare(ctx, who(ctx), d) })
	handle(s, mux, "declare/end", func(ctx context.Context, d Declaration) (none, error) {
		return none{}, b.EndDeclaration(ctx, who(ctx), d)
	})
	handle(s, mux, "declarations", func(ctx context.Context, _ none) ([]Declaration, error) { return b.Declarations(ctx) })
	handle(s, mux, "replay/status", func(ctx context.Context, r named) ([]Replay, error) { return b.ReplayStatus(ctx, r.Name) })
	handle(s, mux, "replay/start", func(ctx context.Context, r named) (none, error) {
		return none{}, b.ReplayStart(ctx, who(ctx), r.Name)
	})
	handle(s, mux, "replay/pause", func(ctx context.Context, r named) (none, error) {
		return none{}, b.ReplayPause(ctx, who(ctx), r.Name, r.Reason)
	})
	handle(s, mux, "replay/resume", func(ctx context.Context, r named) (none, error) {
		return none{}, b.ReplayResume(ctx, who(ctx), r.Name)
	})
	handle(s, mux, "queue/list", func(ctx context.Context, f index.Filter) (page, error) {
		pairs, next, err := b.List(ctx, f)
		return page{pairs, next}, err
	})
	handle(s, mux, "queue/show", func(ctx context.Context, r named) (*index.View, error) { return b.Show(ctx, r.Name) })
	handle(s, mux, "queue/act", func(ctx context.Context, a Action) (*ActResult, error) { return b.Act(ctx, who(ctx), a) })
	handle(s, mux, "notify/test", func(ctx context.Context, _ none) ([]Sent, error) { return b.NotifyTest(ctx, who(ctx)) })
	handle(s, mux, "store/check", func(ctx context.Context, _ none) (*StoreState, error) { return b.StoreCheck(ctx) })
	handle(s, mux, "dev/primary", func(ctx context.Context, r named) (*DevPrimary, error) { return b.Primary(ctx, r.Name) })
	stream(s, mux, "report/pairs", func(ctx context.Context, r named, put func(any)) (none, error) {
		return none{}, b.ReportPairs(ctx, r.Name, func(p spool.Pair) error {
			put(p)
			return ctx.Err()
		})
	})
	stream(s, mux, "replay/run", func(ctx context.Context, sel Selection, put func(any)) (*RunResult, error) {
		return b.ReplayRun(ctx, who(ctx), sel, func(p Progress) { put(p) })
	})
	content(s, mux, "queue/raw", "message/rfc822", func(ctx context.Context, r named, w io.Writer) error {
		return b.Raw(ctx, who(ctx), r.Name, w)
	})
	content(s, mux, "export", "application/x-tar", func(ctx context.Context, r ExportRequest, w io.Writer) error {
		return b.Export(ctx, who(ctx), r, w)
	})
	return mux
}

// answer is the envelope of every JSON answer; in streams there is one on each line.
type answer struct {
	Progress any    `json:"progress,omitempty"`
	Result   any    `json:"result,omitempty"`
	Error    *Error `json:"error,omitempty"`
}

func decode[Req any](w http.ResponseWriter, r *http.Request, limit int64) (Req, error) {
	var req Req
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return req, Errorf(KindUsage, "use a command line of the same version as the node", "the request can't be read: %w", err)
	}
	return req, nil
}

// status maps kinds to HTTP, for people who use curl.
func status(k Kind) int {
	switch k {
	case KindUsage:
		return http.StatusBadRequest
	case KindNotFound:
		return http.StatusNotFound
	default:
		return http.StatusConflict
	}
}

func (s *Server) fail(w http.ResponseWriter, op string, err error) {
	e := AsError(err)
	s.log.Debug("admin operation failed", "op", op, "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status(e.Kind))
	s.write(w, answer{Error: e})
}

// write sends one line of JSON; a peer that has gone away is no fault of ours.
func (s *Server) write(w io.Writer, a answer) {
	if err := json.NewEncoder(w).Encode(a); err != nil {
		s.log.Debug("admin answer not sent", "error", err)
	}
}

func handle[Req, Resp any](s *Server, mux *http.ServeMux, op string, f func(context.Context, Req) (Resp, error)) {
	handleUpTo(s, mux, maxRequest, op, f)
}

// handleUpTo is handle for requests of another length.
func handleUpTo[Req, Resp any](s *Server, mux *http.ServeMux, limit int64, op string, f func(context.Context, Req) (Resp, error)) {
	mux.HandleFunc("POST /v1/"+op, func(w http.ResponseWriter, r *http.Request) {
		req, err := decode[Req](w, r, limit)
		if err != nil {
			s.fail(w, op, err)
			return
		}
		resp, err := f(r.Context(), req)
		if err != nil {
			s.fail(w, op, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		s.write(w, answer{Result: resp})
	})
}

func stream[Req, Resp any](s *Server, mux *http.ServeMux, op string, f func(context.Context, Req, func(any)) (Resp, error)) {
	mux.HandleFunc("POST /v1/"+op, func(w http.ResponseWriter, r *http.Request) {
		req, err := decode[Req](w, r, maxRequest)
		if err != nil {
			s.fail(w, op, err)
			return
		}
		w.Header().Set("Content-Type", "application/jsonl")
		flush := http.NewResponseController(w)
		last := time.Now()
		resp, err := f(r.Context(), req, func(p any) {
			s.write(w, answer{Progress: p})
			if time.Since(last) > 100*time.Millisecond {
				last = time.Now()
				_ = flush.Flush() // a peer that has gone ends the request's context
			}
		})
		if err != nil {
			s.write(w, answer{Error: AsError(err)})
			return
		}
		s.write(w, answer{Result: resp})
	})
}

// content streams octets. An error before the first octet is an ordinary error answer; one after it ends
// up in the trailer, and the connection is cut so that nobody takes the part for the whole.
func content[Req any](s *Server, mux *http.ServeMux, op, mediaType string, f func(context.Context, Req, io.Writer) error) {
	mux.HandleFunc("POST /v1/"+op, func(w http.ResponseWriter, r *http.Request) {
		req, err := decode[Req](w, r, maxRequest)
		if err != nil {
			s.fail(w, op, err)
			return
		}
		w.Header().Set("Trailer", trailer)
		first := &firstWrite{w: w, mediaType: mediaType}
		err = f(r.Context(), req, first)
		switch {
		case err == nil:
			first.begin()
			w.Header().Set(trailer, "{}")
		case !first.begun:
			w.Header().Del("Trailer")
			s.fail(w, op, err)
		default:
			text, jsonErr := json.Marshal(AsError(err))
			if jsonErr != nil {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set(trailer, string(text))
		}
	})
}

// trailer carries "{}" after complete content, else an Error.
const trailer = "Restante-End"

// firstWrite sends the header with the first octet.
type firstWrite struct {
	w         http.ResponseWriter
	mediaType string
	begun     bool
}

func (f *firstWrite) begin() {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", f.mediaType)
		f.w.WriteHeader(http.StatusOK)
	}
}

// Write implements io.Writer.
func (f *firstWrite) Write(p []byte) (int, error) {
	f.begin()
	return f.w.Write(p)
}

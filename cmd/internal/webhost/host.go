// Package webhost is what stands between the network and the webmail: listeners with limits, TLS from files or by
// ACME, proxies that are believed, and the plain port that sends people on to https. It knows nothing of mail.
package webhost

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// Limits of each connection. A page that is open keeps one connection for its events, which is why nothing bounds a whole
// response; what bounds it is that each write of at most 16 KB has to be taken within WriteTime.
const (
	HeaderTime    = 10 * time.Second // for the header fields of a request, TLS handshake included
	BodyTime      = 30 * time.Second // for each read of a request's body: a sender that says nothing for so long is cut off
	WriteTime     = 60 * time.Second // for the peer to take each write
	IdleTime      = 2 * time.Minute  // between two requests
	HeaderMax     = 32 << 10         // octets of a request's header fields
	StreamsMax    = 100              // requests at a time on one HTTP/2 connection
	shutdownGrace = 3 * time.Second  // for requests under way at a stop
)

// Options are what New needs.
type Options struct {
	Listeners      []net.Listener // of the webmail
	Redirect       []net.Listener // plain http, sent on to https
	TLS            *tls.Config    // nil: plain http, by proxies or on loopback
	Challenge      func(http.Handler) http.Handler
	Names          []string       // host names; the first is where requests for an unknown one are sent
	Proxies        []netip.Prefix // without TLS: whoever connects from elsewhere is refused
	MaxConnections int            // in all; one address (or IPv6 /64) that is no proxy gets at most half of them
	Log            *slog.Logger
}

// Host serves the webmail.
type Host struct {
	o        Options
	handler  atomic.Pointer[http.Handler]
	server   *http.Server
	redirect *http.Server
	limit    *limiter
	done     chan error
}

// New returns a Host that answers 503 until SetHandler is called.
func New(o Options) *Host {
	h := &Host{o: o, limit: newLimiter(o.MaxConnections, o.Proxies), done: make(chan error, len(o.Listeners)+len(o.Redirect))}
	h.SetHandler(http.HandlerFunc(starting))
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*h.handler.Load()).ServeHTTP(w, r) })
	h.server = h.make(h.behind(patient(inner)))
	h.server.TLSConfig = o.TLS
	var plain http.Handler = http.HandlerFunc(h.toHTTPS)
	if o.Challenge != nil {
		plain = o.Challenge(plain)
	}
	h.redirect = h.make(plain)
	return h
}

// make returns a server with our limits.
func (h *Host) make(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: HeaderTime, IdleTimeout: IdleTime, MaxHeaderBytes: HeaderMax,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: StreamsMax, WriteByteTimeout: WriteTime, SendPingTimeout: IdleTime},
		ErrorLog: slog.NewLogLogger(h.o.Log.Handler(), slog.LevelDebug),
	}
}

// SetHandler puts the webmail in place.
func (h *Host) SetHandler(next http.Handler) { h.handler.Store(&next) }

// startingStyle is the style of the page below, alone: the stylesheet of the webmail isn't served yet.
const startingStyle = "body{font:16px/1.5 system-ui,sans-serif;margin:20vh auto 0;max-width:26rem;padding:0 1.5rem;color:#1f2328;background:#fff}" +
	"h1{font-size:1.25rem;margin:0 0 .5rem}p{margin:0;color:#57606a}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#15181c}p{color:#9da7b3}}"

// starting is what people see in the moments before the webmail can be used.
func starting(w http.ResponseWriter, _ *http.Request) {
	sum := sha256.Sum256([]byte(startingStyle))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Retry-After", "5")
	w.Header().Set("Refresh", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">"+
		"<title>One moment</title><style>"+startingStyle+"</style><h1>One moment</h1><p>The webmail is not open yet. This page tries again by itself. Mail that arrives is kept.</p></html>\n")
}

// Start serves all listeners in the background.
func (h *Host) Start() {
	for _, l := range h.o.Listeners {
		guarded := h.limit.listen(l)
		go func() {
			if h.o.TLS != nil {
				h.done <- h.server.ServeTLS(guarded, "", "")
			} else {
				h.done <- h.server.Serve(guarded)
			}
		}()
	}
	for _, l := range h.o.Redirect {
		guarded := h.limit.listen(l)
		go func() { h.done <- h.redirect.Serve(guarded) }()
	}
}

// Stop ends it: requests under way get a moment, then their connections are closed.
func (h *Host) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownGrace)
	defer cancel()
	var all []error
	for _, s := range []*http.Server{h.server, h.redirect} {
		if err := s.Shutdown(ctx); err != nil { // open event streams, slow peers
			all = append(all, s.Close())
		}
	}
	for range len(h.o.Listeners) + len(h.o.Redirect) {
		if err := <-h.done; err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// Connections are those open now.
func (h *Host) Connections() int { return h.limit.open() }

// patient gives a slow sender its time as long as something comes: a large attachment over a bad line takes minutes.
func patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &slowBody{r.Body, http.NewResponseController(w)}
		}
		next.ServeHTTP(w, r)
	})
}

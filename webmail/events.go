package webmail

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	streamPulse  = 5 * time.Second        // how often a stream looks at the state of the mail servers and at its session
	streamQuiet  = 25 * time.Second       // after which a stream says that it is alive, for proxies
	streamGather = 250 * time.Millisecond // changes within it are one event
	streamWrite  = 20 * time.Second       // for a reader to take an event
)

// streams counts the open event streams and ends them all.
type streams struct {
	mu        sync.Mutex
	byAccount map[string]int
	total     int
	each, all int
	done      chan struct{}
	closed    bool
}

func (st *streams) limits(l Limits) {
	st.byAccount, st.done = map[string]int{}, make(chan struct{})
	st.each, st.all = l.Events, l.Streams
}

// open takes a place; the function gives it back.
func (st *streams) open(account string) (leave func(), ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.total >= st.all || st.byAccount[account] >= st.each {
		return nil, false
	}
	st.total++
	st.byAccount[account]++
	return func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.total--
		if st.byAccount[account]--; st.byAccount[account] <= 0 {
			delete(st.byAccount, account)
		}
	}, true
}

func (st *streams) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.closed {
		st.closed = true
		close(st.done)
	}
}

// events is a stream of server-sent events (HTML 9.2) that say that something has changed, never what: "mail"
// for the viewer's boxes, "lines" for what is going on, "out" when the session has ended.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	leave, ok := s.streams.open(v.Account.Address)
	if !ok {
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many open pages", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	changed, end := s.o.Mail.Subscribe(v.watched()...)
	defer end()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back
	out := &eventWriter{w: w, rc: http.NewResponseController(w)}
	if out.send(": open\nretry: 3000\n\n") != nil {
		return
	}
	s.follow(r, out, changed)
}

// watched are the boxes and addresses whose changes the viewer is told of.
func (v *viewer) watched() []string {
	var names []string
	for _, b := range v.boxes() {
		names = append(append(names, b.ID), b.Addresses...)
	}
	return names
}

type eventWriter struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	last time.Time
}

func (e *eventWriter) send(text string) error {
	e.last = time.Now()
	_ = e.rc.SetWriteDeadline(e.last.Add(streamWrite)) // not every writer has deadlines; the listener's own then holds
	if _, err := fmt.Fprint(e.w, text); err != nil {
		return err
	}
	return e.rc.Flush()
}

// follow sends events until the reader goes, the session ends or the server stops.
func (s *Server) follow(r *http.Request, out *eventWriter, changed <-chan struct{}) {
	pulse := time.NewTicker(streamPulse)
	defer pulse.Stop()
	was := fingerprint(s.lines(r, viewerOf(r.Context())))
	var gather <-chan time.Time
	for {
		text := ""
		select {
		case <-r.Context().Done():
			return
		case <-s.streams.done:
			return
		case <-changed:
			if gather == nil {
				gather = time.After(streamGather)
			}
			continue
		case <-gather:
			gather = nil
			text = "event: mail\ndata:\n\n"
		case <-pulse.C:
			v, err := s.viewer(r)
			if err != nil || v == nil {
				_ = out.send("event: out\ndata:\n\n") // it ends either way
				return
			}
			if !slices.Equal(v.watched(), viewerOf(r.Context()).watched()) {
				return // the browser comes again, for what may be read now
			}
			if now := fingerprint(s.lines(r.WithContext(withViewer(r.Context(), v)), v)); now != was {
				was, text = now, "event: lines\ndata:\n\n"
			} else if time.Since(out.last) > streamQuiet {
				text = ":\n\n"
			}
		}
		if text != "" && out.send(text) != nil {
			return
		}
	}
}

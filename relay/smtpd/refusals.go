package smtpd

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"restante/relay/policy/rate"
	"restante/relay/reply"
	"restante/spool"
)

// A flood mustn't fill the disk with what the log says of it. Lines about connections that are refused, or ended for want of room, are
// written for the first linesInFull of each kind and network in a minute; a line at the minute's end counts the rest ("more"). The sender of one
// that is only counted is told the session of the last line that was written, so that whatever id somebody was given leads to a line with the reason.
//
// Refusals of senders and recipients are written one by one, linesOfSessions of each network in a minute and of each session the first; what
// goes beyond is counted in a line at the session's end.
const (
	linesInFull     = 5
	linesOfSessions = 300
	linesEvery      = time.Minute
	linesNetworks   = 200 // with more in a minute those that come later are counted together
)

// Messages of lines that are bounded.
const (
	connectionRefused = "connection refused"
	idleEnded         = "idle session ended"
	tlsFailed         = "tls handshake failed"
	proxySilent       = "a load balancer didn't say for whom it connects; let it speak the PROXY protocol, or take it out of [smtp] proxies"
)

// refusals bounds what the log says of refusals.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex
	groups map[refusalKind]*refusalGroup // since the last flush
	timer  *time.Timer                   // of the next; nil: there is nothing to flush
}

// refusalKind is what refusals of one group have in common.
type refusalKind struct {
	what    string       // the message of their lines
	reason  string       // the limit, as it stands in metrics
	network netip.Prefix // zero: more networks than linesNetworks
}

type refusalGroup struct {
	full int    // lines that were written
	more int    // refusals that weren't
	id   string // the session of the last line
}

// note counts a refusal of a session. full says that it is to be written; else id is the session under which the last of its kind
// was, and is what the sender is to be told.
func (l *refusals) note(what, reason string, a netip.Addr, session string, most int) (id string, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		l.groups, l.timer = map[refusalKind]*refusalGroup{}, time.AfterFunc(linesEvery, l.flush)
	}
	kind := refusalKind{what, reason, rate.Network(a)}
	g := l.groups[kind]
	if g == nil && len(l.groups) >= linesNetworks {
		kind.network = netip.Prefix{}
		g = l.groups[kind]
	}
	if g == nil {
		g = &refusalGroup{}
		l.groups[kind] = g
	}
	if g.full < most {
		g.full++
		g.id = session
		return session, true
	}
	g.more++
	return g.id, false
}

// flush writes how many refusals weren't written.
func (l *refusals) flush() {
	l.mu.Lock()
	groups := l.groups
	if l.timer != nil {
		l.timer.Stop()
	}
	l.groups, l.timer = nil, nil
	l.mu.Unlock()
	for kind, g := range groups {
		if g.more == 0 || kind.reason == "" {
			continue
		}
		network := "others"
		if kind.network.IsValid() {
			network = kind.network.String()
		}
		l.log.Info(kind.what, "session", g.id, "network", network, "reason", kind.reason, "more", g.more)
	}
}

// limited counts a connection that a limit refuses or ends, and reports that a line is to be written about it. The reply to it is made after that.
func (w *wire) limited(what, limit string) (full bool) {
	w.srv.o.Metrics.limited(limit)
	w.id, full = w.srv.refusals.note(what, limit, w.remote.Addr(), w.id, linesInFull)
	return full
}

// oneByOne reports that a refusal of this session is to be written by itself; else it is counted.
func (w *wire) oneByOne(r reply.Reply) bool {
	_, full := w.srv.refusals.note("refused", "", w.remote.Addr(), w.id, linesOfSessions)
	if !full && w.written {
		w.unwritten++
		w.lastRefusal = r
		return false
	}
	w.written = true
	return true
}

// rest writes how many refusals of the session weren't.
func (w *wire) rest() {
	if w.unwritten > 0 {
		w.log.Info("more refused in this session", "more", w.unwritten, "last", spool.Printable(w.lastRefusal.String()))
	}
}

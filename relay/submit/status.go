package submit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"restante/relay/health"
	"restante/spool"
	"restante/spool/index"
)

// Status is how sending stands.
type Status struct {
	Servers []ServerStatus `json:"servers"` // the smarthost first, then submission by domain
	Stopped []Stopped      `json:"stopped,omitempty"`
	Pending int64          `json:"waiting"` // pairs for the smarthost
	Oldest  time.Time      `json:"oldest,omitzero"`
	LastDay Tally          `json:"last_day"`
}

// ServerStatus is how one server stands that takes mail from us.
type ServerStatus struct {
	Domain  string       `json:"domain"` // spool.Smarthost or a hosted domain
	Address string       `json:"address"`
	State   health.State `json:"state"`
	Since   time.Time    `json:"since,omitzero"`
	Reason  string       `json:"reason,omitempty"`
	Reply   string       `json:"reply,omitempty"`
}

// Status says how sending stands.
func (s *Service) Status(ctx context.Context) (Status, error) {
	c := s.config()
	var st Status
	add := func(domain, engine string, server Server) {
		r := s.monitor.State(engine)
		one := ServerStatus{Domain: domain, Address: server.address(), State: r.State, Since: r.Since}
		if r.State != health.Up {
			one.Reason, one.Reply = r.Reason, r.Reply
		}
		st.Servers = append(st.Servers, one)
	}
	if c.Smarthost != nil {
		add(spool.Smarthost, spool.Smarthost, *c.Smarthost)
	}
	for _, domain := range slices.Sorted(maps.Keys(c.Submission)) {
		add(domain, submissionName(domain), c.Submission[domain])
	}
	if ev, paused, err := s.o.Index.Paused(ctx, spool.Smarthost); err != nil {
		return st, err
	} else if paused && ev.By == byReplay && len(st.Servers) > 0 {
		st.Servers[0].State, st.Servers[0].Reason = health.RefusesUs, ev.Reason
	}
	var err error
	if st.Stopped, err = s.allStopped(ctx); err != nil {
		return st, err
	}
	sum, err := s.o.Index.Summary(ctx, spool.Smarthost)
	if err != nil {
		return st, err
	}
	st.Pending, st.Oldest = sum.All.Pending, sum.Oldest
	st.LastDay, err = s.Tally(ctx, "", time.Now().Add(-24*time.Hour), time.Time{})
	return st, err
}

// Tally counts what people of a domain sent. Numbers are of messages: one is in exactly one of the sums after Sent, by what
// became of its recipients, the copy for its writer aside: Parked or Bounced where that is so for one of them, else Pending
// where one waits, else Removed where all were, else Delivered.
type Tally struct {
	Sent      int64 `json:"sent"`
	Delivered int64 `json:"delivered"`
	Pending   int64 `json:"waiting"`
	Bounced   int64 `json:"bounced"`
	Parked    int64 `json:"parked"`
	Removed   int64 `json:"removed"` // taken back, or removed by an admin
}

// Tally counts what was sent from addresses of the domain ("": all) with since <= time < until (zero: now).
func (s *Service) Tally(ctx context.Context, domain string, since, until time.Time) (Tally, error) {
	type writing struct { // all entries of one have the same
		from     string
		received int64
	}
	sent := make(map[writing]map[spool.PairState]int)
	fits := index.Filter{Since: since, Until: until, Written: true, Limit: 5000}
	for {
		pairs, next, err := s.o.Index.List(ctx, fits)
		if err != nil {
			return Tally{}, err
		}
		for _, p := range pairs {
			if p.Kind == spool.Copy || p.From == "" || domain != "" && domainOf(p.From) != domain {
				continue
			}
			w := writing{p.From, p.Received.UnixNano()}
			if sent[w] == nil {
				sent[w] = make(map[spool.PairState]int)
			}
			sent[w][p.State]++
		}
		if next == "" {
			return tally(sent), nil
		}
		fits.After = next
	}
}

// tally sums up the states of recipients by message.
func tally[K comparable](sent map[K]map[spool.PairState]int) Tally {
	var t Tally
	for _, states := range sent {
		t.Sent++
		switch {
		case states[spool.StateParked] > 0:
			t.Parked++
		case states[spool.StateBounced]+states[spool.StateExpired] > 0:
			t.Bounced++
		case states[spool.StatePending] > 0:
			t.Pending++
		case states[spool.StateDelivered] == 0:
			t.Removed++
		default:
			t.Delivered++
		}
	}
	return t
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

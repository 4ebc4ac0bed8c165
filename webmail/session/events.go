package session

import (
	"time"
	"unicode/utf8"

	"restante/spool"
)

const (
	maxAgent   = 80            // octets of Session.Agent
	sweepEvery = 1 * time.Hour // what is past its term is dropped as often as that
)

func event(account, by string, at time.Time, data map[string]any) spool.Event {
	return spool.Event{ID: spool.NewID(), Time: at, Type: spool.AccountChanged, By: by, Address: account, Data: data}
}

func startEvent(n Session) spool.Event {
	return event(n.Account, "sign-in", n.Started, map[string]any{
		"change": changeStarted, "session": n.ID, "method": string(n.Method), "second": n.Second, "device": n.Device,
		"outage": n.Outage, "until": n.Until.Format(time.RFC3339Nano), "addr": n.Addr, "agent": n.Agent,
	})
}

func endEvent(account, id, by, reason string, at time.Time) spool.Event {
	return event(account, by, at, map[string]any{"change": changeEnded, "session": id, "reason": reason})
}

// Apply folds events; those that aren't about sessions are passed over. The same event may come again.
func (s *Sessions) Apply(evs []spool.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC()
	for i := range evs {
		if evs[i].Type == spool.AccountChanged {
			s.apply(&evs[i], now)
		}
	}
	if now.Sub(s.swept) >= sweepEvery {
		s.sweep(now)
	}
}

func (s *Sessions) apply(ev *spool.Event, now time.Time) {
	id, _ := ev.Data["session"].(string)
	switch change, _ := ev.Data["change"].(string); change {
	case changeStarted:
		s.started(ev, id, now)
	case changeSeen:
		if st := s.live[id]; st != nil && st.Account == ev.Address {
			st.Seen, st.noted = later(st.Seen, ev.Time), later(st.noted, ev.Time)
		}
	case changeEnded:
		if st := s.live[id]; st == nil || st.Account == ev.Address {
			s.ended[id] = ev.Time.Add(s.o.Limits.Absolute + time.Hour) // it began before that, so it is past its term by then
		}
	case changeAll:
		s.endAll(ev)
	}
}

func (s *Sessions) started(ev *spool.Event, id string, now time.Time) {
	until, err := time.Parse(time.RFC3339Nano, text(ev, "until"))
	if err != nil || id == "" {
		return // written by a hand
	}
	if longest := ev.Time.Add(s.o.Limits.Absolute); until.After(longest) {
		until = longest // the limit was lowered since
	}
	addr := text(ev, "addr")
	s.remember(ev.Address, addr, ev.Time)
	if s.live[id] != nil || !now.Before(until) {
		return
	}
	second, _ := ev.Data["second"].(bool)
	outage, _ := ev.Data["outage"].(bool)
	s.live[id] = &state{noted: ev.Time, Session: Session{ID: id, Account: ev.Address, Method: Method(text(ev, "method")),
		Second: second, Device: text(ev, "device"), Outage: outage, Started: ev.Time, Seen: ev.Time, Until: until, Addr: addr, Agent: text(ev, "agent")}}
}

func (s *Sessions) endAll(ev *spool.Event) {
	if s.all[ev.Address] == nil {
		s.all[ev.Address] = map[string]time.Time{}
	}
	except := text(ev, "except")
	s.all[ev.Address][except] = later(s.all[ev.Address][except], ev.Time)
}

// remember keeps from which networks the account signed in.
func (s *Sessions) remember(account, addr string, at time.Time) {
	n := Network(addr)
	if n == "" {
		return
	}
	if s.known[account] == nil {
		s.known[account] = map[string]stay{}
	}
	s.known[account][n] = stay{later(s.known[account][n].last, at)}
}

// sweep drops what is past its term. The lock is held.
func (s *Sessions) sweep(now time.Time) {
	s.swept = now
	for id, st := range s.live {
		if !now.Before(st.Until) {
			delete(s.live, id)
		}
	}
	for id, until := range s.ended {
		if now.After(until) {
			delete(s.ended, id)
		}
	}
	for account, marks := range s.all {
		for except, at := range marks {
			if now.Sub(at) > s.o.Limits.Absolute+time.Hour {
				delete(marks, except)
			}
		}
		if len(marks) == 0 {
			delete(s.all, account)
		}
	}
	for account, nets := range s.known {
		for n, st := range nets {
			if now.Sub(st.last) >= s.o.Limits.Absolute {
				delete(nets, n)
			}
		}
		if len(nets) == 0 {
			delete(s.known, account)
		}
	}
}

func text(ev *spool.Event, key string) string {
	t, _ := ev.Data[key].(string)
	return t
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// cut shortens text to n octets at most, at a character.
func cut(t string, n int) string {
	if len(t) <= n {
		return t
	}
	for n > 0 && !utf8.RuneStart(t[n]) {
		n--
	}
	return t[:n]
}

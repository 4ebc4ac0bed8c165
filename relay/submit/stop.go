package submit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"restante/spool"
)

// stopPrefix is how the names of stopped accounts begin in the ledger.
const stopPrefix = "sending/"

// byReplay is who pauses of the engine's own are by.
const byReplay = "replay"

// Stopped is a Stop that is in force.
type Stopped struct {
	Account string    `json:"account,omitempty"` // "": everybody
	By      string    `json:"by"`
	Reason  string    `json:"reason,omitempty"`
	Time    time.Time `json:"time"`
}

// Stop is the switch: the account, or with "" everybody, may not send any more, and what is kept and not sent yet stays
// where it is. It is durable when Stop returns nil.
func (s *Service) Stop(ctx context.Context, account, by, reason string) error {
	if account == "" {
		err := s.engine.Pause(ctx, spool.Smarthost, by, cmp.Or(reason, "stopped by "+by))
		s.sync(ctx)
		return err
	}
	account = strings.ToLower(account)
	b, err := json.Marshal(map[string]string{"by": by, "reason": reason})
	if err != nil {
		return err
	}
	name := stopPrefix + account
	value, err := s.o.Secrets.Encrypt(name, b)
	if err != nil {
		return fmt.Errorf("that %s may not send could not be encrypted: %w", account, err)
	}
	return s.keep(ctx, spool.Event{Type: spool.SecretKept, By: by, Address: name, Data: map[string]any{"value": value}})
}

// Allow takes a Stop back. That for everybody and those for accounts don't touch each other.
func (s *Service) Allow(ctx context.Context, account, by string) error {
	if account == "" {
		err := s.engine.Resume(ctx, spool.Smarthost, by, "")
		s.sync(ctx)
		return err
	}
	return s.keep(ctx, spool.Event{Type: spool.SecretKept, By: by, Address: stopPrefix + strings.ToLower(account)})
}

// keep records events and waits a moment until the index has them, so that what is asked next knows of them.
func (s *Service) keep(ctx context.Context, evs ...spool.Event) error {
	if err := s.o.Spool.Record(ctx, evs...); err != nil {
		return fmt.Errorf("the store can't record it: %w", err)
	}
	s.sync(ctx)
	return nil
}

// sync waits a moment until the index has what was recorded.
func (s *Service) sync(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askIndex)
	defer cancel()
	if err := s.o.Spool.Sync(ctx); err != nil {
		s.log.Debug("the index learns later of what was recorded", "error", err)
	}
}

// stopped looks up the Stop of one account, or with "" the one for everybody.
func (s *Service) stopped(ctx context.Context, account string) (Stopped, bool, error) {
	if account == "" {
		ev, paused, err := s.o.Index.Paused(ctx, spool.Smarthost)
		if err != nil || !paused || ev.By == byReplay {
			return Stopped{}, false, err
		}
		return Stopped{By: ev.By, Reason: ev.Reason, Time: ev.Time}, true, nil
	}
	ev, known, err := s.o.Index.Secret(ctx, stopPrefix+strings.ToLower(account))
	if err != nil || !known {
		return Stopped{}, false, err
	}
	return s.readStop(ev)
}

func (s *Service) readStop(ev spool.Event) (Stopped, bool, error) {
	value, there := ev.Data["value"].(string)
	if !there {
		return Stopped{}, false, nil // allowed again
	}
	st := Stopped{Account: strings.TrimPrefix(ev.Address, stopPrefix), By: ev.By, Time: ev.Time}
	b, err := s.o.Secrets.Decrypt(ev.Address, value)
	if err == nil {
		var text struct{ Reason string }
		if err = json.Unmarshal(b, &text); err == nil {
			st.Reason = text.Reason
		}
	}
	if err != nil { // it is stopped all the same
		s.log.Warn("why an account was stopped can't be read", "account", st.Account, "error", err)
	}
	return st, true, nil
}

// allStopped lists what is stopped.
func (s *Service) allStopped(ctx context.Context) ([]Stopped, error) {
	var list []Stopped
	everybody, stopped, err := s.stopped(ctx, "")
	if stopped {
		list = append(list, everybody)
	}
	evs, serr := s.o.Index.Secrets(ctx, stopPrefix)
	for _, ev := range evs {
		if st, stopped, _ := s.readStop(ev); stopped {
			list = append(list, st)
		}
	}
	return list, errors.Join(err, serr)
}

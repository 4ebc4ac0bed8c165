package submit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"restante/relay/health"
	"restante/relay/replay"
	"restante/spool"
)

// Service sends what people write. All its methods may be called at any time by any goroutine.
type Service struct {
	o       Options
	log     *slog.Logger
	monitor *health.Monitor
	engine  *replay.Engine
	metrics *metrics
	keys    keyCache
	sent    sentCache
	limits  limiter

	mu      sync.Mutex
	cfg     Config
	changed map[string]time.Time // domains that began or ceased to have a submission server, and when
	running bool
}

// New returns a Service that delivers nothing before Run.
func New(o Options) (*Service, error) {
	if o.Spool == nil || o.Index == nil || o.Secrets == nil || o.Dialer == nil || o.Hosted == nil {
		return nil, errors.New("submit: Spool, Index, Secrets, Dialer and Hosted are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notify == nil {
		o.Notify = func(replay.Notice) {}
	}
	s := &Service{o: o, log: o.Log, changed: make(map[string]time.Time)}
	s.sent.init()
	s.limits.init()
	var err error
	if s.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, err
	}
	if s.monitor, err = health.New(health.Options{Dialer: o.Dialer, Prober: prober{o.Dialer}, Log: o.Log}); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	s.engine, err = replay.New(replay.Options{
		Spool: replay.FromSpool(o.Spool), Index: view{o.Index, s.mine}, Health: watched{s.monitor, o.Declared},
		Hold: s.Hold, Undelivered: s.undelivered, Notify: s.notice, Log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	if err := s.SetConfig(o.Config); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return s, nil
}

// Run delivers until ctx ends; then what is under way gets a moment to end.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return errors.New("submit: it runs already")
	}
	s.running = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running = false
		s.mu.Unlock()
	}()
	var tasks sync.WaitGroup
	tasks.Go(func() { s.monitor.Run(ctx) })
	tasks.Go(func() { s.housekeeping(ctx) })
	err := s.engine.Run(ctx)
	tasks.Wait()
	return err
}

// housekeeping does what is due by the clock, until ctx ends.
func (s *Service) housekeeping(ctx context.Context) {
	if err := s.o.Spool.CaughtUp(ctx); err != nil {
		return // the node stops
	}
	if err := s.recount(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("what people sent in the last hour could not be counted; their limits begin anew", "error", err)
	}
	for {
		c := s.config()
		pause := time.NewTimer(min(c.GiveUp/4, expireEvery))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		if err := s.expire(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("what waits for the smarthost for too long could not be given back; trying again", "error", err)
		}
		s.publishedLoop(ctx)
	}
}

// mine selects the pairs that the engine may deliver.
func (s *Service) mine(p *spool.Pair) bool {
	if !s.Takes(p) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, waits := s.changed[p.Domain]
	return !waits
}

// notice passes on what the engine has to tell, by the names that people know. That all is sent is nothing to be told.
func (s *Service) notice(n replay.Notice) {
	if n.Kind == replay.NoticeFinished {
		return
	}
	if domain := hostedName(n.Domain); domain != n.Domain {
		n.Domain, n.Reason = domain, "by authenticated submission: "+n.Reason
	}
	s.o.Notify(n)
}

// Hold says until when an entry that people wrote is to be left alone, since its account or everybody was stopped; for
// replay.Options.Hold.
func (s *Service) Hold(e *spool.Entry) time.Time {
	const again = 5 * time.Second
	if e.Kind == spool.Held || e.Mailbox == "" {
		return time.Time{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), askIndex)
	defer cancel()
	_, stopped, err := s.stopped(ctx, "")
	if !stopped && err == nil {
		_, stopped, err = s.stopped(ctx, e.Mailbox)
	}
	if err != nil {
		s.log.Warn("whether an account may send could not be looked up; its message waits", "account", e.Mailbox, "error", err)
	}
	if stopped || err != nil {
		return time.Now().Add(again)
	}
	return time.Time{}
}

// askIndex bounds a question to the index that is asked in passing.
const askIndex = 2 * time.Second

// May reports that the account may send now, from the address; else why is one of the Why constants.
func (s *Service) May(ctx context.Context, account, from string) (ok bool, why string) {
	if err := s.may(ctx, account, from); err != nil {
		s.log.Debug("sending is not open", "account", account, "why", err)
		return false, err.Why
	}
	if why := s.smarthostDown(ctx); why != "" {
		return false, why
	}
	return true, ""
}

// may is what binds May and Submit alike.
func (s *Service) may(ctx context.Context, account, from string) *NotNow {
	if s.o.Open != nil && !s.o.Open(domainOf(from)) {
		return &NotNow{Why: WhyClosed}
	}
	for _, who := range []string{"", account} {
		_, stopped, err := s.stopped(ctx, who)
		switch {
		case err != nil:
			return &NotNow{Why: WhyStore, Err: err}
		case stopped:
			return &NotNow{Why: WhyStopped}
		}
	}
	if s.limits.full(account, s.config().Limits, time.Now()) {
		return &NotNow{Why: WhyLimit}
	}
	return nil
}

// smarthostDown says why mail to the outside would not get away now, "" when it would.
func (s *Service) smarthostDown(ctx context.Context) string {
	if s.config().Smarthost == nil {
		return WhyNoSmarthost
	}
	r := s.monitor.State(spool.Smarthost)
	answered := r.State == health.Suspect && r.Host != "" // it was well a moment ago
	if !r.Reachable() && !answered {
		return WhySmarthostDown
	}
	if _, paused, err := s.o.Index.Paused(ctx, spool.Smarthost); paused || err != nil {
		return WhySmarthostDown // by replay itself, since it refuses everything; that by an admin was looked at
	}
	return ""
}

func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

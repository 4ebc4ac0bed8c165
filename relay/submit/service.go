package submit

import (
	"context"
	"errors"
	"time"

	"restante/relay/health"
	"restante/spool"
)

// Service sends what people write. All its methods may be called at any time by any goroutine.
type Service struct {
	o Options
}

// New returns a Service that delivers nothing before Run.
func New(o Options) (*Service, error) {
	if o.Spool == nil || o.Index == nil || o.Secrets == nil || o.Dialer == nil || o.Hosted == nil {
		return nil, errors.New("submit: Spool, Index, Secrets, Dialer and Hosted are needed")
	}
	return &Service{o: o}, nil
}

// SetConfig changes the configuration, all or nothing.
func (s *Service) SetConfig(c Config) error { return errors.New("submit: not yet") }

// Run delivers until ctx ends; then what is under way gets a moment to end.
func (s *Service) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Takes reports that a pair is delivered by this package, and not by replay of its domain.
func (s *Service) Takes(p *spool.Pair) bool { return p.Domain == spool.Smarthost }

// May reports that the account may send now, from the address, to anybody; else why is one of the Why constants.
func (s *Service) May(ctx context.Context, account, from string) (ok bool, why string) {
	return false, WhyNoSmarthost
}

// Submit keeps a message for delivery. When it returns a Result the message is durable. Errors: ErrRefused,
// ErrNotNow, ErrUnsettled; after any of them but ErrUnsettled nothing was kept.
func (s *Service) Submit(ctx context.Context, m Submission) (Result, error) {
	return Result{}, &NotNow{Why: WhyNoSmarthost}
}

// Undo takes back what was submitted of a writing, before its delay is over. Errors: ErrUnknown, ErrTooLate.
func (s *Service) Undo(ctx context.Context, account, writing string) error { return ErrUnknown }

// Stop is the switch: the account, or with "" everybody, may not send any more, and what is kept and not sent yet stays where it is.
func (s *Service) Stop(ctx context.Context, account, by, reason string) error { return nil }

// Allow takes a Stop back. That for everybody and those for accounts don't touch each other.
func (s *Service) Allow(ctx context.Context, account, by string) error { return nil }

// Stopped is a Stop that is in force.
type Stopped struct {
	Account string    `json:"account,omitempty"` // "": everybody
	By      string    `json:"by"`
	Reason  string    `json:"reason,omitempty"`
	Time    time.Time `json:"time"`
}

// Status is how sending stands.
type Status struct {
	Servers []ServerStatus `json:"servers"` // the smarthost first, then submission by domain
	Stopped []Stopped      `json:"stopped,omitempty"`
	Pending int64          `json:"pending"` // pairs for the smarthost
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
func (s *Service) Status(ctx context.Context) (Status, error) { return Status{}, nil }

// Tally counts what people of a domain sent. Numbers are of messages; one is Delivered when all its recipients have it,
// Bounced or Parked when that is so for one of them.
type Tally struct {
	Sent      int64 `json:"sent"`
	Delivered int64 `json:"delivered"`
	Pending   int64 `json:"pending"`
	Bounced   int64 `json:"bounced"`
	Parked    int64 `json:"parked"`
	Removed   int64 `json:"removed"` // undone, or by an admin
}

// Tally counts what was sent from addresses of the domain ("": all) with since <= time < until.
func (s *Service) Tally(ctx context.Context, domain string, since, until time.Time) (Tally, error) {
	return Tally{}, nil
}

// Key is a DKIM key of a domain.
type Key struct {
	Domain    string    `json:"domain"`
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"` // "rsa" or "ed25519"
	Name      string    `json:"name"`      // of the TXT record
	Record    string    `json:"record"`    // its value
	Created   time.Time `json:"created"`
	Signs     bool      `json:"signs"`               // mail is signed with it now
	Published string    `json:"published,omitempty"` // "yes", "no", "other" (another key is there), "unknown" (DNS didn't answer)
}

// GenerateKey makes two keys for a domain, RSA of 2048 bits (selector) and Ed25519 (selector + "-ed"), and keeps them.
// An empty selector means one by the date.
func (s *Service) GenerateKey(ctx context.Context, domain, selector, by string) ([]Key, error) {
	return nil, nil
}

// Keys lists the keys of a domain ("": of all), and looks whether they are published.
func (s *Service) Keys(ctx context.Context, domain string) ([]Key, error) { return nil, nil }

// RemoveKey forgets one key.
func (s *Service) RemoveKey(ctx context.Context, domain, selector, by string) error { return nil }

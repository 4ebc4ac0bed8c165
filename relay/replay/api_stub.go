package replay

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type Engine struct{}
type Metrics struct{}

func NewMetrics(r prometheus.Registerer) *Metrics { return nil }

func New(o Options) (*Engine, error)                   { return nil, errors.New("unfinished") }
func (e *Engine) Run(ctx context.Context) error        { return errors.New("unfinished") }
func (e *Engine) SetConfig(c Config, domains []Domain) {}
func (e *Engine) Start(ctx context.Context, domain string, o StartOptions) error {
	return errors.New("unfinished")
}
func (e *Engine) Pause(ctx context.Context, domain, by, reason string) error {
	return errors.New("unfinished")
}
func (e *Engine) Resume(ctx context.Context, domain, by, reason string) error {
	return errors.New("unfinished")
}
func (e *Engine) Status(ctx context.Context, domain string) (Status, error) { return Status{}, nil }
func (e *Engine) Watch(ctx context.Context, domain string, every time.Duration, f func(Status) error) error {
	return nil
}
func (e *Engine) HasPending(domain string) bool { return false }
func (e *Engine) RunOnce(ctx context.Context, sel Selection, progress func(Progress)) (Summary, error) {
	return Summary{}, nil
}

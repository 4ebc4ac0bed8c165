package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/relay/policy/rcpt"
)

// How often sources are looked at.
const (
	// FileEvery is how often a file is looked at; it is read when it has changed.
	FileEvery = 10 * time.Second
	// fileRest is how long a file has to lie unchanged: whoever writes it may not be done.
	fileRest = 2 * time.Second
	// LDAPEvery is how often a directory is asked when nothing else is said.
	LDAPEvery = 15 * time.Minute
	// retryFirst and retryMax are the pauses after failures, doubled each time.
	retryFirst = time.Minute
	retryMax   = 30 * time.Minute
	// atOnce is how many lists are read at a time.
	atOnce = 4
)

// by names the writer of what a sync changes, in the ledger.
const by = "sync"

// File is a list in a file.
type File struct {
	Path   string
	Format string
}

// Domain says where the lists of a domain are.
type Domain struct {
	Name      string
	File      *File         // nil: none
	LDAP      *LDAP         // nil: none
	LDAPEvery time.Duration // 0: LDAPEvery
}

// Directory takes the lists. *rcpt.Directory is one.
type Directory interface {
	Replace(ctx context.Context, domain, source string, list []rcpt.Address, by string, o rcpt.ReplaceOptions) (rcpt.Change, error)
	Failed(domain, source string, err error)
	Freshness(ctx context.Context, domain string) rcpt.Freshness
}

// Options are what NewSync needs.
type Options struct {
	Domains   []Domain
	Directory Directory
	Log       *slog.Logger
	Metrics   *Metrics
}

// Outcome is what a sync of one list did.
type Outcome struct {
	Domain    string         `json:"domain"`
	Source    string         `json:"source"` // rcpt.SourceFile, rcpt.SourceLDAP
	From      string         `json:"from"`   // the file, or the servers
	Change    *rcpt.Change   `json:"change,omitempty"`
	Elsewhere map[string]int `json:"elsewhere,omitempty"`
	Skipped   []Problem      `json:"skipped,omitempty"`
	More      int            `json:"more,omitempty"`
	Err       error          `json:"-"`
	Error     string         `json:"error,omitempty"`
}

// Sync keeps lists in step with where they come from. Safe for concurrent use.
type Sync struct {
	o Options

	mu      sync.Mutex
	jobs    []*job
	changed chan struct{}
	slots   chan struct{}
}

// job is one list.
type job struct {
	domain, source string
	file           *File
	ldap           *LDAP
	every          time.Duration

	run      sync.Mutex // held while it is read
	next     time.Time  // guarded by Sync.mu, as what follows
	busy     bool
	failures int

	seen fileID // guarded by run: of the file that was read last
	said string // guarded by run: the failure that was told last
}

// fileID tells whether a file has changed.
type fileID struct {
	size  int64
	mtime time.Time
	info  os.FileInfo // for os.SameFile: a file that is moved into place
}

func (a fileID) same(b fileID) bool {
	return a.info != nil && b.info != nil && a.size == b.size && a.mtime.Equal(b.mtime) && os.SameFile(a.info, b.info)
}

// NewSync returns a Sync that does nothing before Run.
func NewSync(o Options) *Sync {
	s := &Sync{o: o, changed: make(chan struct{}, 1), slots: make(chan struct{}, atOnce)}
	s.SetConfig(o.Domains)
	return s
}

// SetConfig replaces the domains. Lists that are as before go on as before.
func (s *Sync) SetConfig(domains []Domain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var jobs []*job
	keep := func(j *job) {
		for _, old := range s.jobs {
			if old.like(j) {
				j = old
			}
		}
		jobs = append(jobs, j)
	}
	for _, d := range domains {
		if d.File != nil {
			keep(&job{domain: d.Name, source: rcpt.SourceFile, file: d.File, every: FileEvery})
		}
		if d.LDAP != nil {
			every := d.LDAPEvery
			if every <= 0 {
				every = LDAPEvery
			}
			keep(&job{domain: d.Name, source: rcpt.SourceLDAP, ldap: d.LDAP, every: every})
		}
	}
	s.jobs = jobs
	s.wake()
}

// like reports that two jobs read the same list in the same way.
func (j *job) like(k *job) bool {
	if j.domain != k.domain || j.source != k.source || j.every != k.every {
		return false
	}
	if j.file != nil {
		return *j.file == *k.file
	}
	a, b := *j.ldap, *k.ldap
	same := slices.Equal(a.URLs, b.URLs) && slices.Equal(a.Attributes, b.Attributes)
	a.URLs, b.URLs, a.Attributes, b.Attributes = nil, nil, nil, nil
	return same && fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b)
}

func (s *Sync) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run reads each list now and whenever it is due, until ctx ends.
func (s *Sync) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		now := time.Now()
		wait := time.Hour
		s.mu.Lock()
		for _, j := range s.jobs {
			switch {
			case j.busy:
			case j.next.After(now):
				wait = min(wait, j.next.Sub(now))
			default:
				j.busy = true
				running.Go(func() { s.due(ctx, j) })
			}
		}
		s.mu.Unlock()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-s.changed:
			t.Stop()
		case <-t.C:
		}
	}
}

// due reads one list and says when it is due again.
func (s *Sync) due(ctx context.Context, j *job) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return
	}
	out := s.read(ctx, j, by, rcpt.ReplaceOptions{}, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	j.busy = false
	wait := j.every
	if out.Err != nil {
		wait = min(retryFirst<<min(j.failures, 10), retryMax)
		j.failures++
		if j.file != nil && !errors.Is(out.Err, errKept) {
			wait = min(wait, j.every) // looking whether it was mended costs nothing
		}
	} else {
		j.failures = 0
	}
	j.next = time.Now().Add(wait + jitter(wait))
	s.wake()
}

// jitter is up to a tenth either way, so that many nodes don't ask at once.
func jitter(d time.Duration) time.Duration {
	return time.Duration((rand.Float64() - 0.5) * 0.2 * float64(d)) //nolint:gosec // no secret
}

// errKept wraps failures to keep a list that could be read.
var errKept = errors.New("the list can't be kept")

// Now reads the lists of a domain, or of all ("") at once, changed or not.
func (s *Sync) Now(ctx context.Context, domain, by string, o rcpt.ReplaceOptions) []Outcome {
	s.mu.Lock()
	jobs := slices.Clone(s.jobs)
	s.mu.Unlock()
	var list []Outcome
	for _, j := range jobs {
		if domain == "" || j.domain == domain {
			list = append(list, s.read(ctx, j, by, o, true))
		}
	}
	return list
}

// read reads one list and takes it in. With now also a file that hasn't changed, or has changed this moment.
func (s *Sync) read(ctx context.Context, j *job, by string, o rcpt.ReplaceOptions, now bool) Outcome {
	j.run.Lock()
	defer j.run.Unlock()
	out := Outcome{Domain: j.domain, Source: j.source, From: j.from()}
	start := time.Now()
	var res Result
	var id fileID
	if j.file != nil {
		var wanted bool
		if id, wanted, out.Err = j.look(start, now); out.Err == nil && !wanted {
			return out
		}
	}
	if out.Err == nil {
		res, out.Err = j.fetch(ctx)
		out.Elsewhere, out.Skipped, out.More = res.Elsewhere, res.Skipped, res.More
	}
	if !s.current(j) {
		return out // a reload has named another list meanwhile
	}
	if out.Err == nil {
		out.Change, out.Err = s.take(ctx, j, res.Addresses, id, by, o, now)
	}
	if ctx.Err() != nil {
		return out // we were stopped: nothing is wrong with the list
	}
	if !o.DryRun {
		if !errors.Is(out.Err, errKept) { // what could be read isn't read again before it changes
			j.seen = id
		}
		s.tell(j, &out)
		s.o.Metrics.read(j.domain, j.source, out.Err, time.Since(start))
	}
	if out.Err != nil {
		out.Error = out.Err.Error()
	}
	return out
}

// current reports that a list is still to be read.
func (s *Sync) current(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.jobs, j)
}

func (j *job) from() string {
	if j.file != nil {
		return j.file.Path
	}
	return strings.Join(j.ldap.URLs, ", ")
}

// look says whether a file is to be read.
func (j *job) look(at time.Time, now bool) (fileID, bool, error) {
	info, err := os.Stat(j.file.Path)
	if err != nil {
		return fileID{}, false, err
	}
	id := fileID{size: info.Size(), mtime: info.ModTime(), info: info}
	if now {
		return id, true, nil
	}
	rest := at.Sub(id.mtime)
	return id, !id.same(j.seen) && (rest < 0 || rest >= fileRest), nil
}

func (j *job) fetch(ctx context.Context) (Result, error) {
	if j.ldap != nil {
		return j.ldap.Fetch(ctx, j.domain)
	}
	f, err := os.Open(j.file.Path)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	return Parse(f, j.file.Format, j.domain)
}

// take takes a list in. A file is as old as its last change: one that is read again since the node was started is no newer for it.
func (s *Sync) take(ctx context.Context, j *job, list []rcpt.Address, id fileID, by string, o rcpt.ReplaceOptions, now bool) (*rcpt.Change, error) {
	if j.file != nil && !now {
		o.At = id.mtime.Truncate(time.Second) // as the ledger has it
		for _, was := range s.o.Directory.Freshness(ctx, j.domain).Sources {
			if was.Name != j.source || was.At.Before(o.At) {
				continue
			}
			c, err := s.o.Directory.Replace(ctx, j.domain, j.source, list, by, rcpt.ReplaceOptions{DryRun: true})
			if err == nil && len(c.Added)+len(c.Removed) == 0 {
				return &c, nil
			}
		}
	}
	c, err := s.o.Directory.Replace(ctx, j.domain, j.source, list, by, o)
	switch {
	case err == nil, errors.Is(err, rcpt.ErrShrinks), errors.Is(err, rcpt.ErrTooMany), errors.Is(err, rcpt.ErrNotHosted):
		return &c, err
	}
	return &c, fmt.Errorf("%w: %w", errKept, err)
}

// tell tells the directory and the log, each failure once.
func (s *Sync) tell(j *job, out *Outcome) {
	s.o.Directory.Failed(j.domain, j.source, out.Err)
	said := ""
	if out.Err != nil {
		said = out.Err.Error()
	}
	log := s.o.Log.With("domain", j.domain, "source", j.source, "from", out.From)
	switch {
	case out.Err != nil && said != j.said:
		log.Warn("a list of recipients can't be read; the one before stays in force", "error", out.Err)
	case out.Err == nil && j.said != "":
		log.Info("a list of recipients can be read again")
	}
	if c := out.Change; out.Err == nil && c != nil && len(c.Added)+len(c.Removed) > 0 {
		log.Info("recipients have changed", "added", len(c.Added), "removed", len(c.Removed), "addresses", c.After, "lines_skipped", len(out.Skipped)+out.More)
	}
	j.said = said
}

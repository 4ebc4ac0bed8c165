package rcpt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"restante/relay/mailaddr"
	"restante/spool/index"
)

// Directory knows the recipients. Safe for concurrent use. A nil Directory knows nobody and takes everybody.
type Directory struct {
	o   Options
	log *slog.Logger
	now func() time.Time

	writing sync.Mutex // held while lists are changed: one after another

	mark    index.RecipientsMark // how far the index was followed; for follow alone, as the next
	listsAt time.Time            // when the index was last asked for lists
	reading atomic.Bool          // what the ledger holds isn't all known yet: see Options.CaughtUp

	mu      sync.RWMutex
	domains map[string]*domain // hosted
	books   map[string]*book   // of domains that the ledger knows too, hosted or not
	kinds   []string           // by person.kind
}

// domain is a hosted domain.
type domain struct {
	Domain
	*book
	target *domain // of AliasOf, nil without
	live   uint32  // bits of the sources that count
}

// book is what is known of the recipients of one domain.
type book struct {
	people  map[string]person    // by local part in lower case; "" is any
	sources []string             // by bit
	counts  []int                // by bit: addresses known from it
	lists   map[string]list      // the last full list of each source
	failed  map[string]error     // sources that couldn't be read when last tried
	bad     map[string]*bad      // by local part: refused by the primary not long ago
	left    map[string]time.Time // by local part: when a list lost it, as long as that is lately
	wanted  map[string]*wanted
	any     verdict // whether the primary takes any address
	next    time.Time
	misses  int // sessions of call-ahead that came to nothing, in a row
}

// person is what is known of one address: 8 octets, since there may be very many.
type person struct {
	in   uint32 // bits of the sources that have it
	kind uint8  // index into Directory.kinds
}

// list says that a full list was taken in.
type list struct {
	count   int       // addresses that it had
	at      time.Time // when
	written time.Time // when that was last written to the ledger
}

// bad is an address that the primary refused as unknown.
type bad struct {
	at      time.Time
	written time.Time // when that was last written to the ledger
	again   bool      // it was asked of us since
}

// Bits of sources that every book has.
const (
	bitConfig = 1 << iota
	bitImport
	bitAdded
	bitPrimary
	maxSources = 32
)

var fixedSources = []string{SourceConfig, SourceImport, SourceAdded, SourcePrimary}

func newBook() *book {
	return &book{
		people: make(map[string]person), sources: slices.Clone(fixedSources), counts: make([]int, len(fixedSources)),
		lists: make(map[string]list), failed: make(map[string]error), bad: make(map[string]*bad), left: make(map[string]time.Time), wanted: make(map[string]*wanted),
	}
}

// New returns a Directory with what the index knows.
func New(o Options) (*Directory, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Pace.fill()
	d := &Directory{o: o, log: o.Log, now: o.Now, kinds: []string{""}, books: make(map[string]*book)}
	d.reading.Store(o.Index != nil && o.CaughtUp != nil)
	if err := d.SetConfig(o.Domains); err != nil {
		return nil, err
	}
	if err := d.follow(context.Background()); err != nil {
		return nil, fmt.Errorf("recipients can't be read from the index: %w", err)
	}
	return d, nil
}

// SetConfig replaces the hosted domains, all or nothing.
func (d *Directory) SetConfig(ds []Domain) error {
	if d == nil {
		return nil
	}
	next := make(map[string]*domain, len(ds))
	listed := make(map[string]map[string]bool, len(ds))
	for _, c := range ds {
		one, err := checked(c)
		if err != nil {
			return err
		}
		if next[one.Name] != nil {
			return fmt.Errorf("domain %s is there twice; take one out", one.Name)
		}
		next[one.Name] = one
		if listed[one.Name], err = locals(one.Name, c.List); err != nil {
			return fmt.Errorf("domain %s: recipients: %w", one.Name, err)
		}
	}
	for _, one := range next {
		if one.AliasOf == "" {
			continue
		}
		one.target = next[one.AliasOf]
		if one.target == nil || one.target.AliasOf != "" {
			return fmt.Errorf("domain %s: alias_of: %s isn't hosted here, or is an alias itself; name the domain that has the mailboxes", one.Name, one.AliasOf)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, one := range next {
		one.book = d.bookLocked(name)
		d.configureLocked(one, listed[name])
	}
	d.domains = next
	d.o.Metrics.forget()
	d.measureLocked()
	return nil
}

// checked is a domain with names in their one form, and with its defaults.
func checked(c Domain) (*domain, error) {
	name, err := mailaddr.ParseDomain(c.Name)
	if err != nil {
		return nil, fmt.Errorf("domain %q: %w", c.Name, err)
	}
	if c.AliasOf != "" {
		of, err := mailaddr.ParseDomain(c.AliasOf)
		if err != nil {
			return nil, fmt.Errorf("domain %s: alias_of %q: %w", name, c.AliasOf, err)
		}
		c.AliasOf = of
	}
	switch c.Unknown {
	case "":
		c.Unknown = UnknownDefer
	case UnknownDefer, UnknownAccept, UnknownRefuse:
	default:
		return nil, fmt.Errorf("domain %s: unknown_recipients is %q; write %q, %q or %q", name, c.Unknown, UnknownDefer, UnknownAccept, UnknownRefuse)
	}
	if c.MaxAge <= 0 {
		c.MaxAge = DefaultMaxAge
	}
	if len(c.Sources) > maxSources-len(fixedSources) {
		return nil, fmt.Errorf("domain %s: %d lists; %d are the most", name, len(c.Sources), maxSources-len(fixedSources))
	}
	c.Name = name
	return &domain{Domain: c}, nil
}

// locals are the local parts of addresses of a domain, in lower case; "" for any.
func locals(domain string, addresses []string) (map[string]bool, error) {
	out := make(map[string]bool, len(addresses))
	for _, a := range addresses {
		l, err := local(domain, a)
		if err != nil {
			return nil, err
		}
		out[l] = true
	}
	return out, nil
}

// local is the local part by which an address of a domain is known: in lower case, "" for any. A local part may stand alone.
func local(domain, address string) (string, error) {
	if address == "@" || strings.EqualFold(address, "@"+domain) {
		return "", nil
	}
	full := address
	if !strings.Contains(address, "@") {
		full = address + "@" + domain
	}
	a, err := mailaddr.Parse(full)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q: %w", address, err)
	case a.Domain != domain:
		return "", fmt.Errorf("%q is of another domain than %s", address, domain)
	case a.Routed():
		return "", fmt.Errorf("%q: an address with %%, ! or a second @ before the domain is never taken", address)
	}
	return key(a), nil
}

// key is the local part by which an address is known.
func key(a mailaddr.Address) string {
	k := a.Key()
	return k[:len(k)-len(a.Domain)-1]
}

// address is the address of a local part as it is shown and written.
func address(domain, local string) string {
	if local == "" {
		return "@" + domain
	}
	return mailaddr.Address{Local: local, Domain: domain}.String()
}

// configureLocked brings a book to the configuration of its domain.
func (d *Directory) configureLocked(one *domain, listed map[string]bool) {
	b := one.book
	for l, p := range b.people {
		if p.in&bitConfig != 0 && !listed[l] {
			d.setLocked(b, l, SourceConfig, false, "")
		}
	}
	for l := range listed {
		d.setLocked(b, l, SourceConfig, true, "")
	}
	one.reviveLocked()
}

// reviveLocked says which sources count: see Domain.Sources.
func (one *domain) reviveLocked() {
	one.live = 0
	for i, s := range one.sources {
		if i < len(fixedSources) || slices.Contains(one.Sources, s) {
			one.live |= 1 << i
		}
	}
}

func (d *Directory) bookLocked(name string) *book {
	b := d.books[name]
	if b == nil {
		b = newBook()
		d.books[name] = b
	}
	return b
}

// setLocked notes that a source has an address, or hasn't. It reports false when there are too many sources.
func (d *Directory) setLocked(b *book, local, source string, has bool, kind string) bool {
	i := slices.Index(b.sources, source)
	if i < 0 {
		if !has {
			return true
		}
		if len(b.sources) == maxSources {
			return false
		}
		i = len(b.sources)
		b.sources, b.counts = append(b.sources, source), append(b.counts, 0)
		for _, one := range d.domains {
			if one.book == b {
				one.reviveLocked()
			}
		}
	}
	p, bit := b.people[local], uint32(1)<<i
	switch {
	case has && p.in&bit == 0:
		b.counts[i]++
	case !has && p.in&bit != 0:
		b.counts[i]--
	}
	if !has {
		p.in &^= bit
	} else {
		p.in |= bit
		if kind != "" || p.in == bit {
			p.kind = d.kindLocked(kind)
		}
	}
	if p.in == 0 {
		delete(b.people, local)
	} else {
		b.people[local] = p
	}
	return true
}

// kindLocked is the number of a kind. Beyond 255 of them all others are as one that isn't known.
func (d *Directory) kindLocked(kind string) uint8 {
	i := slices.Index(d.kinds, kind)
	if i < 0 {
		if len(d.kinds) > 255 {
			return 0
		}
		i = len(d.kinds)
		d.kinds = append(d.kinds, kind)
	}
	return uint8(i)
}

// count is how many addresses are known from a source.
func (b *book) count(source string) int {
	if i := slices.Index(b.sources, source); i >= 0 {
		return b.counts[i]
	}
	return 0
}

// bit is that of a source, 0 if the book has nothing of it.
func (b *book) bit(source string) uint32 {
	if i := slices.Index(b.sources, source); i >= 0 {
		return 1 << i
	}
	return 0
}

// hosted returns a hosted domain by name.
func (d *Directory) hostedLocked(name string) (*domain, error) {
	n, err := mailaddr.ParseDomain(name)
	if err != nil {
		return nil, fmt.Errorf("domain %q: %w", name, err)
	}
	one := d.domains[n]
	if one == nil {
		return nil, fmt.Errorf("%s: %w", n, ErrNotHosted)
	}
	return one, nil
}

var errNoDirectory = errors.New("this node has no directory of recipients")

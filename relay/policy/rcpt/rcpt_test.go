package rcpt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"restante/relay/mailaddr"
	"restante/relay/reply"
	"restante/spool"
)

func TestCheck(t *testing.T) {
	n := newNode(t, newLedger(), Options{Domains: []Domain{
		{Name: dom, List: []string{"ada", "Mary-Ann@Example.COM", "mary", `"a b"`, "exact+tag", "jörg", "x_y"}, SubAddress: "+-", Unknown: UnknownRefuse},
		{Name: alias, AliasOf: dom, Unknown: UnknownRefuse},
		{Name: "any.test", List: []string{"@"}},
		{Name: "all.test", CatchAll: true},
		{Name: "none.test", SubAddress: "+"},
	}})
	n.is("exists take", "ada@example.com", "ADA@EXAMPLE.com", "ada+x@example.com", "ada-x@example.com", "ada+x+y@example.com", "mary-ann@example.com",
		"mary-ann+x@example.com", "mary-x@example.com", `"a b"@example.com`, `"A B"@example.com`, `"ada"@example.com`, "exact+tag@example.com",
		"exact+tag+more@example.com", "jörg@example.com", "JÖRG@example.com", "jo\u0308rg@example.com")
	n.is("exists take", "ada@example.net", "ada+x@example.net", "anybody@any.test", "anybody+x@all.test", "x@all.test")
	n.is("exists take", "postmaster@example.com", "POSTMASTER@example.net", "abuse@none.test", "postmaster+x@example.com")
	n.is("absent refuse", "adax@example.com", "exact@example.com", "exact+other@example.com", "a@example.com", "x-y@example.com", "x@example.net", "exact@example.net",
		"+ada@example.com")
	n.is("unsure take", "x@none.test", "x+y@none.test")
	n.is("unsure defer", "x@other.test")
	n.is("unsure refuse", "a!ada@example.com", "a%20b@example.com")
	for a, why := range map[string]string{
		"ada@example.com": "known from configuration", "ada+x@example.com": "known from configuration, as ada@example.com", "mary-ann-x@example.com": "as mary-ann@",
		"ada@example.net": "in example.com, which this domain is an alias of", "x@all.test": "any address exists", "adax@example.com": "no list has it", "x@none.test": "never imported",
	} {
		if got := n.Check(t.Context(), addr(t, a)); !strings.Contains(got.Why, why) {
			t.Errorf("%s: %q, want %q", a, got.Why, why)
		}
	}
	var none *Directory
	if got := none.Check(t.Context(), addr(t, "x@example.com")); got.Action != Take {
		t.Errorf("without a directory: %+v", got)
	}
}

func TestBadConfig(t *testing.T) {
	n := newNode(t, newLedger(), Options{})
	n.replace(SourceFile, "ada")
	for name, ds := range map[string][]Domain{
		"is of another domain":   {{Name: dom, List: []string{"x@other.test"}}},
		"malformed address":      {{Name: dom, List: []string{"a b"}}},
		`""`:                     {{Name: dom, List: []string{""}}},
		"malformed":              {{Name: dom, List: []string{"@other.test"}}},
		"never taken":            {{Name: dom, List: []string{"a%b"}}},
		"isn't hosted here":      {{Name: dom, AliasOf: alias}},
		"is an alias itself":     {{Name: dom, AliasOf: alias}, {Name: alias, AliasOf: "c.test"}, {Name: "c.test"}},
		"name the domain":        {{Name: dom, AliasOf: dom}},
		"unknown_recipients is":  {{Name: dom, Unknown: "bounce"}},
		"is there twice":         {{Name: dom}, {Name: "EXAMPLE.com"}},
		`domain "no domain"`:     {{Name: "no domain"}},
		"28 are the most":        {{Name: dom, Sources: make([]string, 29)}},
		`alias_of "not a domain`: {{Name: dom, AliasOf: "not a domain"}},
	} {
		if err := n.SetConfig(ds); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, want %q", ds, err, name)
		}
	}
	n.is("exists take", "ada@example.com", "ada@example.net") // all or nothing
}

// TestUnknown: what becomes of unknown recipients, from the first day on.
func TestUnknown(t *testing.T) {
	for _, unknown := range []string{UnknownDefer, UnknownAccept, UnknownRefuse} {
		l := newLedger()
		ds := []Domain{{Name: dom, Unknown: unknown, Sources: []string{SourceFile, SourceLDAP}, MaxAge: 48 * time.Hour}, {Name: alias, AliasOf: dom, Unknown: unknown}}
		n := newNode(t, l, Options{Domains: ds})
		nobody, believed, doubted := []string{"nobody@example.com", "nobody@example.net"}, "absent refuse", "unsure defer"
		switch unknown {
		case UnknownDefer:
			believed, doubted = "absent defer", "absent defer"
		case UnknownAccept:
			believed, doubted = "absent take", "absent take"
		}
		n.is("unsure take", nobody...)
		n.replace(SourceFile, "ada")
		n.is("unsure take", nobody...) // LDAP has never answered
		n.Failed(dom, SourceLDAP, errors.New("connection refused"))
		n.is("unsure take", nobody...)
		n.replace(SourceLDAP, "bob")
		n.is(believed, nobody...)
		n.is("exists take", "ada@example.com", "bob@example.net")

		n.Failed(dom, SourceLDAP, errors.New("connection refused"))
		n.is(doubted, nobody...)
		if f := n.Freshness(t.Context(), dom); !f.Stale || !f.Complete || !strings.Contains(f.Why, "ldap can't be read: connection refused") {
			t.Errorf("freshness while a source fails: %+v", f)
		}
		n.is("exists take", "bob@example.com")
		n.replace(SourceLDAP, "bob")
		n.is(believed, nobody...)

		l.pass(47 * time.Hour)
		n.is(believed, nobody...)
		l.pass(2 * time.Hour)
		n.is(doubted, nobody...)
		n.is("exists take", "ada@example.com", "bob@example.com")
		n.replace(SourceFile, "ada") // one fresh list is enough: the other may be of a file that changes once a year
		n.is(believed, nobody...)

		// A source that isn't configured any more says nothing.
		if err := n.SetConfig([]Domain{{Name: dom, Unknown: unknown, Sources: []string{SourceFile}}, ds[1]}); err != nil {
			t.Fatal(err)
		}
		n.is(believed, "bob@example.com")
		n.is("exists take", "ada@example.com")
		if err := n.SetConfig([]Domain{{Name: dom, Unknown: unknown}, ds[1]}); err != nil {
			t.Fatal(err)
		}
		n.is("unsure take", "bob@example.com", "ada@example.com")
		if err := n.SetConfig([]Domain{{Name: dom, Unknown: unknown, List: []string{"zoe"}}, ds[1]}); err != nil {
			t.Fatal(err)
		}
		n.is(believed, "ada@example.com")
		l.pass(10000 * time.Hour)
		n.is(believed, "ada@example.com") // the configuration is the admin's word
	}
}

// TestForget: a list of nobody that was asked for is no list at all, on every node.
func TestForget(t *testing.T) {
	l, o := newLedger(), Options{Domains: []Domain{{Name: dom}}}
	n := newNode(t, l, o)
	n.replace(SourceImport, "ada", "bob")
	n.is("absent defer", "carl@example.com")
	if _, err := n.Replace(t.Context(), dom, SourceImport, nil, "test", ReplaceOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{n, newNode(t, l, o)} {
		n.is("unsure take", "ada@example.com", "carl@example.com")
		if f := n.Freshness(t.Context(), dom); f.Complete || f.Known != 0 || len(f.Sources) != 0 {
			t.Errorf("%+v", f)
		}
	}
}

func TestReplace(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{})
	c := n.replace(SourceFile, "ada", "Bob", "bob", "BOB", "carl")
	want := Change{Domain: dom, Source: SourceFile, After: 3, Added: []string{"ada@example.com", "bob@example.com", "carl@example.com"}, First: true}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	written := len(l.events)
	c = n.replace(SourceFile, "carl", "ada", "bob")
	if len(c.Added)+len(c.Removed) > 0 || c.First || len(l.events) != written {
		t.Errorf("the same list again changed %+v, and wrote %d events", c, len(l.events)-written)
	}
	c = n.replace(SourceFile, "ada", "bob", "dora")
	if d := cmp.Diff(Change{Domain: dom, Source: SourceFile, Before: 3, After: 3, Added: []string{"dora@example.com"}, Removed: []string{"carl@example.com"}}, c); d != "" {
		t.Error(d)
	}
	n.is("absent defer", "carl@example.com")
	n.replace(SourceImport, "carl")
	n.is("exists take", "carl@example.com") // any source is enough

	for name, list := range map[string][]Address{"empty": nil, "shrunk": people("ada"), "foreign": {{Address: "x@other.test"}}, "junk": {{Address: "a b@example.com"}}} {
		before := len(l.events)
		_, err := n.Replace(t.Context(), dom, SourceFile, list, "test", ReplaceOptions{})
		if err == nil || errors.Is(err, ErrShrinks) != (name == "empty" || name == "shrunk") || len(l.events) != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	n.is("exists take", "ada@example.com", "bob@example.com", "dora@example.com")
	if _, err := n.Replace(t.Context(), dom, SourceFile, people("ada"), "test", ReplaceOptions{Force: true}); err != nil {
		t.Error(err)
	}
	n.is("absent defer", "bob@example.com")
	if _, err := n.Replace(t.Context(), dom, SourceFile, nil, "test", ReplaceOptions{Force: true}); err != nil {
		t.Error(err)
	}
	n.is("absent defer", "ada@example.com")
	if c, err := n.Replace(t.Context(), dom, SourceFile, people("eva"), "test", ReplaceOptions{DryRun: true}); err != nil || len(c.Added) != 1 {
		t.Errorf("dry run: %+v, %v", c, err)
	}
	n.is("absent defer", "eva@example.com")
	for _, bad := range []string{"", SourceConfig, SourceAdded, SourcePrimary, "a b"} {
		if _, err := n.Replace(t.Context(), dom, bad, people("eva"), "test", ReplaceOptions{}); err == nil {
			t.Errorf("a list of source %q was taken in", bad)
		}
	}
	if _, err := n.Replace(t.Context(), "other.test", SourceFile, nil, "test", ReplaceOptions{}); !errors.Is(err, ErrNotHosted) {
		t.Errorf("another domain: %v", err)
	}
	if _, err := n.Replace(t.Context(), dom, SourceFile, make([]Address, MaxAddresses+1), "test", ReplaceOptions{}); !errors.Is(err, ErrTooMany) {
		t.Errorf("too many: %v", err)
	}
}

// TestMostGone: an export of the wrong column has as many addresses, but others.
func TestMostGone(t *testing.T) {
	n := newNode(t, newLedger(), Options{})
	n.replace(SourceFile, many(100)...)
	others := many(160)[60:]
	if _, err := n.Replace(t.Context(), dom, SourceFile, people(others...), "test", ReplaceOptions{}); !errors.Is(err, ErrShrinks) || !strings.Contains(err.Error(), "user000000@example.com") {
		t.Errorf("60 of 100 are gone: %v", err)
	}
	n.replace(SourceFile, many(150)[50:]...)
}

// TestCutShort: the store fails in the middle of a list. What is known of it is kept, and doesn't count as a list.
func TestCutShort(t *testing.T) {
	if testing.Short() {
		t.Skip("it folds 20,000 addresses twice")
	}
	l := newLedger()
	n := newNode(t, l, Options{Domains: []Domain{{Name: dom, Unknown: UnknownRefuse}}})
	l.fail, l.failAt = errors.New("the store is away"), perRecord
	all := many(chunk*perRecord + 5)
	if _, err := n.Replace(t.Context(), dom, SourceImport, people(all...), "test", ReplaceOptions{}); err == nil || !strings.Contains(err.Error(), "the store is away") {
		t.Errorf("%v", err)
	}
	n.is("exists take", all[0]+"@example.com")
	n.is("unsure take", all[len(all)-1]+"@example.com")
	l.fail = nil
	if c := n.replace(SourceImport, all...); len(c.Added) != 5 {
		t.Errorf("%d are new, want 5", len(c.Added))
	}
	n.is("absent refuse", "nobody@example.com")
	again := newNode(t, l, Options{Domains: []Domain{{Name: dom, Unknown: UnknownRefuse}}})
	again.is("exists take", all[len(all)-1]+"@example.com")
	again.is("absent refuse", "nobody@example.com")
}

// TestNodes: what one node is told, the others know, and one that starts; while a node has read a part only, it refuses nobody.
func TestNodes(t *testing.T) {
	l, o := newLedger(), Options{Domains: []Domain{{Name: dom, Unknown: UnknownRefuse, Sources: []string{SourceFile}}}}
	a, b := newNode(t, l, o), newNode(t, l, o)
	a.replace(SourceFile, many(1100)...)
	b.is("unsure take", "user000001@example.com")
	b.sync()
	b.is("exists take", "user000001@example.com", "user001099@example.com")
	b.is("absent refuse", "nobody@example.com")
	if _, err := b.Add(t.Context(), dom, []string{"guest"}, "test"); err != nil {
		t.Fatal(err)
	}
	b.replace(SourceFile, many(1050)...)
	a.sync()
	a.is("exists take", "guest@example.com", "user000001@example.com")
	a.is("absent defer", "user001070@example.com")

	late := newNode(t, newLedger(), o)
	late.ledger = l
	// The last events come first, as from another stream.
	slices.Reverse(l.events)
	for i := range l.events {
		late.fold(i + 1)
		late.listsAt = time.Time{}
		if err := late.follow(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := late.Check(t.Context(), addr(t, "user000001@example.com")); got.Action != Take {
			t.Errorf("after %d of %d events: %+v", i+1, len(l.events), got)
		}
	}
	late.is("absent defer", "user001070@example.com")
	for _, n := range []*node{a, b, late} {
		n.sync()
		got, err := n.List(t.Context(), dom, Filter{})
		want, werr := a.List(t.Context(), dom, Filter{})
		if err != nil || werr != nil || len(got) != 1051 || cmp.Diff(want, got) != "" {
			t.Errorf("%d recipients, %v, %v; they differ: %s", len(got), err, werr, cmp.Diff(want, got))
		}
	}

	// The index is deleted while the node runs, and comes back.
	if err := late.index.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := late.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	late.is("unsure take", "nobody@example.com")
	late.folded = 0
	late.sync()
	late.is("absent refuse", "nobody@example.com")
	late.is("exists take", "user000001@example.com")
}

// TestConfirmed: a list that doesn't change is written as taken in every few hours, lazily.
func TestConfirmed(t *testing.T) {
	l, o := newLedger(), Options{Domains: []Domain{{Name: dom, Unknown: UnknownRefuse, Sources: []string{SourceFile}, MaxAge: 24 * time.Hour}}}
	n := newNode(t, l, o)
	n.replace(SourceFile, "ada")
	for range 96 { // a day
		l.pass(15 * time.Minute)
		n.replace(SourceFile, "ada")
	}
	if len(l.events) != 2+4 || l.notes != 4 {
		t.Errorf("%d events, %d of them lazily, want 6 and 4", len(l.events), l.notes)
	}
	l.pass(20 * time.Hour)
	n.is("absent refuse", "nobody@example.com")
	newNode(t, l, o).is("absent refuse", "nobody@example.com")
	l.pass(20 * time.Hour)
	n.is("unsure defer", "nobody@example.com")
	newNode(t, l, o).is("unsure defer", "nobody@example.com")
}

func TestAddRemove(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{Domains: []Domain{{Name: dom, List: []string{"boss"}, Sources: []string{SourceFile}, Unknown: UnknownRefuse}}})
	n.replace(SourceFile, "ada")
	n.replace(SourceImport, "ivan", "irma")
	got, err := n.Add(t.Context(), dom, []string{"Guest", "guest@example.com", "irma"}, "admin")
	if err != nil || cmp.Diff([]string{"guest@example.com", "irma@example.com"}, got) != "" {
		t.Errorf("added %v, %v", got, err)
	}
	if got, err = n.Add(t.Context(), dom, []string{"guest"}, "admin"); err != nil || len(got) != 0 {
		t.Errorf("added again: %v, %v", got, err)
	}
	for bad, why := range map[string]string{"ada": "known from file", "boss": "known from configuration", "x@other.test": "another domain", "a b": "malformed"} {
		if got, err = n.Remove(t.Context(), dom, []string{"guest", bad}, "admin"); err == nil || !strings.Contains(err.Error(), why) || len(got) > 0 {
			t.Errorf("%s: removed %v, %v, want %q", bad, got, err, why)
		}
	}
	n.is("exists take", "guest@example.com")
	if _, err := n.Add(t.Context(), dom, many(maxSingle+1), "admin"); !errors.Is(err, ErrTooMany) {
		t.Errorf("too many at once: %v", err)
	}
	taken := n.Freshness(t.Context(), dom)
	l.pass(time.Hour)
	got, err = n.Remove(t.Context(), dom, []string{"irma", "guest", "nobody"}, "admin")
	if err != nil || cmp.Diff([]string{"guest@example.com", "irma@example.com"}, got) != "" {
		t.Errorf("removed %v, %v", got, err)
	}
	n.is("absent refuse", "guest@example.com", "irma@example.com")
	late := newNode(t, l, Options{Domains: []Domain{{Name: dom, Sources: []string{SourceFile}, Unknown: UnknownRefuse}}})
	late.is("absent refuse", "guest@example.com", "irma@example.com")
	late.is("exists take", "ivan@example.com", "ada@example.com")
	for _, s := range late.Freshness(t.Context(), dom).Sources {
		if s.Name == SourceImport && (s.Count != 1 || s.At.After(taken.At)) {
			t.Errorf("a removed address makes the list newer: %+v", s)
		}
	}
}

// TestMetrics: what is known of domains that aren't hosted any more isn't shown.
func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	n := newNode(t, newLedger(), Options{Metrics: NewMetrics(r)})
	n.replace(SourceFile, "ada", "bob")
	n.is("exists take", "ada@example.com")
	show := func() string {
		t.Helper()
		all, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range all {
			for _, m := range f.Metric {
				var labels []string
				for _, l := range m.Label {
					labels = append(labels, l.GetValue())
				}
				if f.GetName() != "restante_recipient_list_time_seconds" {
					out = append(out, fmt.Sprint(f.GetName(), labels, m.GetGauge().GetValue()+m.GetCounter().GetValue()))
				}
			}
		}
		return strings.Join(out, "\n")
	}
	want := `restante_recipient_checks_total[take exists] 1
restante_recipient_list_addresses[example.com file] 2
restante_recipients[example.com absent] 0
restante_recipients[example.com exists] 2
restante_recipients[example.net absent] 0
restante_recipients[example.net exists] 0`
	if got := show(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if err := n.SetConfig([]Domain{{Name: alias}}); err != nil {
		t.Fatal(err)
	}
	n.sync()
	if got := show(); strings.Contains(got, dom) || !strings.Contains(got, alias) {
		t.Error(got)
	}
}

// TestHeard: what the primary says of whom no list has.
func TestHeard(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{})
	ctx := t.Context()
	gone, lucky := addr(t, "gone@example.com"), addr(t, "lucky@example.com")
	for _, r := range []reply.Reply{
		reply.New(450, reply.Enhanced{4, 1, 1}, "later"), reply.New(550, reply.Enhanced{5, 7, 1}, "banned"), reply.New(550, reply.Enhanced{5, 2, 2}, "full"),
		reply.New(550, reply.Enhanced{}, "Administrative prohibition"), reply.New(554, reply.Enhanced{}, "no"), {},
	} {
		n.Heard(ctx, gone, r, l.time())
		n.is("unsure take", "gone@example.com")
	}
	n.Heard(ctx, gone, noSuchUser, l.time())
	n.Heard(ctx, gone, noSuchUser, l.time())
	n.Heard(ctx, addr(t, "postmaster@example.com"), noSuchUser, l.time())
	n.Heard(ctx, addr(t, "x@other.test"), noSuchUser, l.time())
	if len(l.events) != 1 {
		t.Errorf("%d events", len(l.events))
	}
	n.is("absent defer", "gone@example.com")
	n.is("exists take", "postmaster@example.com")
	newNode(t, l, Options{}).is("absent defer", "gone@example.com")
	l.pass(BadFor - time.Minute)
	n.is("absent defer", "gone@example.com")
	l.pass(2 * time.Minute)
	n.is("unsure take", "gone@example.com")
	newNode(t, l, Options{}).is("unsure take", "gone@example.com")

	n.Heard(ctx, gone, reply.New(550, reply.Enhanced{}, "Unrouteable address"), l.time())
	n.is("absent defer", "gone@example.com")
	n.Heard(ctx, gone, ok, l.time())
	n.is("unsure take", "gone@example.com")
	newNode(t, l, Options{}).is("unsure take", "gone@example.com")

	// A list knows better.
	n.Heard(ctx, lucky, noSuchUser, l.time())
	n.replace(SourceFile, "lucky", "other")
	n.is("exists take", "lucky@example.com")
	// Whom the primary had is never forgotten by a refusal, unless it left.
	if err := l.write(spool.Event{Type: spool.Learned, Domain: dom, Address: "Known@example.com"}); err != nil {
		t.Fatal(err)
	}
	n.sync()
	n.is("exists take", "known@example.com")
	n.Heard(ctx, addr(t, "known@example.com"), noSuchUser, l.time())
	n.is("exists take", "known@example.com")
	l.pass(3000 * time.Hour)
	n.is("exists take", "known@example.com")
	n.Left(ctx, addr(t, "known@example.com"), l.time())
	n.is("absent defer", "known@example.com")
	newNode(t, l, Options{}).is("absent defer", "known@example.com")
	n.Heard(ctx, addr(t, "known@example.com"), ok, l.time())
	n.is("exists take", "known@example.com")
}

// TestNobodyIsRefusedByHearsay: the primary's word alone puts off, whatever the domain wants.
func TestNobodyIsRefusedByHearsay(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{Domains: []Domain{{Name: dom, Unknown: UnknownRefuse}}})
	n.Heard(t.Context(), addr(t, "gone@example.com"), noSuchUser, l.time())
	n.is("absent defer", "gone@example.com")
}

// TestManyGuesses: who guesses addresses fills neither memory nor ledger.
func TestManyGuesses(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{Primaries: noPrimaries{}})
	for i := range maxBad + 500 {
		n.Heard(t.Context(), mailaddr.Address{Local: fmt.Sprint("guess", i), Domain: dom}, noSuchUser, l.time())
	}
	if len(l.events) != maxBad || len(n.books[dom].bad) != maxBad {
		t.Errorf("%d events, %d remembered", len(l.events), len(n.books[dom].bad))
	}
	l.pass(BadFor)
	n.Heard(t.Context(), addr(t, "again@example.com"), noSuchUser, l.time())
	n.is("absent defer", "again@example.com")

	for range 3 {
		n.Asked(addr(t, "real@example.com"))
	}
	for i := range maxWanted + 500 {
		n.Asked(mailaddr.Address{Local: fmt.Sprint("guess", i), Domain: dom})
	}
	if w := n.books[dom].wanted; len(w) != maxWanted || w["real"] == nil {
		t.Errorf("%d wanted, the one that came back among them: %v", len(w), w["real"] != nil)
	}
}

func TestList(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{Domains: []Domain{{Name: dom, List: []string{"boss"}, Sources: []string{SourceFile}}}})
	if _, err := n.Replace(t.Context(), dom, SourceFile, []Address{{"ada@example.com", "user"}, {"team@example.com", "group"}, {"@example.com", ""}}, "test", ReplaceOptions{}); err != nil {
		t.Fatal(err)
	}
	n.replace(SourceImport, "ada")
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "@example.com  file; ada@example.com user import,file; boss@example.com  configuration; team@example.com group file"},
		{Filter{Source: SourceImport}, "ada@example.com user import,file"},
		{Filter{Text: "TEA"}, "team@example.com group file"},
		{Filter{Limit: 1}, "@example.com  file"},
		{Filter{State: Absent}, ""},
		{Filter{Source: "nowhere"}, ""},
	} {
		list, err := n.List(t.Context(), dom, c.f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range list {
			got = append(got, fmt.Sprintf("%s %s %s", r.Address, r.Kind, strings.Join(r.Sources, ",")))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%+v: %s, want %s", c.f, s, c.want)
		}
	}
	if _, err := n.List(t.Context(), dom, Filter{State: "perhaps"}); err == nil {
		t.Error("an unknown state was taken")
	}
	if _, err := n.List(t.Context(), "other.test", Filter{}); !errors.Is(err, ErrNotHosted) {
		t.Errorf("another domain: %v", err)
	}
	f := n.Freshness(t.Context(), dom)
	if f.Known != 3 || !f.Complete || f.Stale || !f.CatchAll || len(f.Sources) != 3 {
		t.Errorf("freshness %+v", f)
	}
	n.is("exists take", "anybody@example.com")
}

// TestOldImport: what was once imported needs no new list beside one that is synced; alone it does.
func TestOldImport(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{})
	stale := func() string {
		var out []string
		for _, s := range n.Freshness(t.Context(), dom).Sources {
			if s.Stale {
				out = append(out, s.Name)
			}
		}
		return strings.Join(out, " ")
	}
	n.replace(SourceImport, "ivan")
	n.replace(SourceFile, "ada")
	l.pass(DefaultMaxAge + time.Minute)
	n.replace(SourceFile, "ada")
	if got := stale(); got != "" {
		t.Errorf("stale: %s", got)
	}
	l.pass(DefaultMaxAge + time.Minute)
	if got := stale(); got != "file" {
		t.Errorf("stale: %s, want file", got)
	}
	n.is("exists take", "ivan@example.com", "ada@example.com")
	if err := n.SetConfig([]Domain{{Name: dom}}); err != nil {
		t.Fatal(err)
	}
	if got := stale(); got != "import" {
		t.Errorf("stale: %s, want import", got)
	}
}

// TestKinds: what an address is may change with the only list that has it.
func TestKinds(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{})
	for _, kind := range []string{"", "user", "group"} {
		if _, err := n.Replace(context.Background(), dom, SourceFile, []Address{{"ada@example.com", kind}}, "test", ReplaceOptions{}); err != nil {
			t.Fatal(err)
		}
		n.sync()
		if list, err := n.List(t.Context(), dom, Filter{}); err != nil || len(list) != 1 || list[0].Kind != kind {
			t.Errorf("%+v, %v, want %q", list, err, kind)
		}
	}
}

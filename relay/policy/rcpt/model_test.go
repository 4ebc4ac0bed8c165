package rcpt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"restante/relay/mailaddr"
	"restante/spool"
)

// TestModel: two nodes take in lists, add, remove and hear, each seeing the other late. In the end both say the same as a node that
// starts then, and what a naive model says.
func TestModel(t *testing.T) {
	o := Options{Domains: []Domain{{Name: dom, Unknown: UnknownRefuse, Sources: []string{SourceFile, SourceLDAP}}}}
	rapid.Check(t, func(rt *rapid.T) {
		l := newLedger()
		nodes := []*node{newNode(t, l, o), newNode(t, l, o)}
		model := map[string]map[string]bool{SourceFile: {}, SourceLDAP: {}, SourceImport: {}, SourceAdded: {}} // by source: who is in it
		names := []string{"a", "b", "c", "d", "e"}
		some := rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID)
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			l.pass(time.Duration(rapid.IntRange(0, 120).Draw(rt, "minutes")) * time.Minute)
			n := rapid.SampledFrom(nodes).Draw(rt, "node")
			if rapid.Bool().Draw(rt, "in step") { // lists are taken in by nodes that know what was before, else the next sync mends it
				n.sync()
			}
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0, 1:
				n.sync()
				source, list := rapid.SampledFrom([]string{SourceFile, SourceLDAP, SourceImport}).Draw(rt, "source"), some.Draw(rt, "list")
				if _, err := n.Replace(context.Background(), dom, source, people(list...), "test", ReplaceOptions{Force: true}); err != nil {
					rt.Fatal(err)
				}
				clear(model[source])
				for _, a := range list {
					model[source][a] = true
				}
			case 2:
				n.sync()
				list := some.Draw(rt, "added")
				if _, err := n.Add(context.Background(), dom, list, "test"); err != nil {
					rt.Fatal(err)
				}
				for _, a := range list {
					model[SourceAdded][a] = true
				}
			case 3:
				n.sync()
				who := rapid.SampledFrom(names).Draw(rt, "removed")
				_, err := n.Remove(context.Background(), dom, []string{who}, "test")
				if synced := model[SourceFile][who] || model[SourceLDAP][who]; synced != (err != nil) {
					rt.Fatalf("%s is in a list that is synced: %v, and yet %v", who, synced, err)
				}
				if err == nil {
					delete(model[SourceAdded], who)
					delete(model[SourceImport], who)
				}
			}
		}
		nodes = append(nodes, newNode(t, l, o))
		var want []string
		for _, a := range names {
			if in := slices.DeleteFunc(slices.Clone([]string{SourceImport, SourceAdded, SourceFile, SourceLDAP}), func(s string) bool { return !model[s][a] }); len(in) > 0 {
				slices.Sort(in)
				want = append(want, fmt.Sprint(a, "@", dom, " ", in))
			}
		}
		var fresh []Freshness
		for i, n := range nodes {
			n.sync()
			list, err := n.List(context.Background(), dom, Filter{})
			if err != nil {
				rt.Fatal(err)
			}
			var got []string
			for _, r := range list {
				slices.Sort(r.Sources)
				got = append(got, fmt.Sprint(r.Address, " ", r.Sources))
			}
			if d := cmp.Diff(want, got); d != "" {
				rt.Fatalf("node %d isn't as the model: %s", i, d)
			}
			f := n.Freshness(context.Background(), dom)
			f.At = time.Time{}
			for i := range f.Sources {
				f.Sources[i].At = time.Time{}
			}
			fresh = append(fresh, f)
		}
		if d := cmp.Diff(fresh[0], fresh[1]) + cmp.Diff(fresh[0], fresh[2]); d != "" {
			rt.Fatalf("the nodes differ: %s", d)
		}
	})
}

// TestStaleNode: a node that has not seen what another took in compares a list with what it knows. Whatever it makes of it, nobody who is on
// a list is refused, and the next sync brings all in step.
func TestStaleNode(t *testing.T) {
	o := Options{Domains: []Domain{{Name: dom, Unknown: UnknownRefuse, Sources: []string{SourceFile}}}}
	l := newLedger()
	a, b := newNode(t, l, o), newNode(t, l, o)
	a.replace(SourceFile, "ada", "bob", "carl")
	b.replace(SourceFile, "bob", "carl", "dora") // of a moment later; ada left, but b never knew her
	a.sync()
	b.sync()
	for _, n := range []*node{a, b} {
		n.is("exists take", "bob@example.com", "carl@example.com", "dora@example.com")
	}
	a.replace(SourceFile, "bob", "carl", "dora")
	a.sync()
	b.sync()
	for _, n := range []*node{a, b, newNode(t, l, o)} {
		n.is("exists take", "bob@example.com", "carl@example.com", "dora@example.com")
		n.is("absent defer", "ada@example.com") // lost within a day
	}
}

// TestBusy: everything at once.
func TestBusy(t *testing.T) {
	l := newLedger()
	n := newNode(t, l, Options{Primaries: noPrimaries{}})
	n.replace(SourceFile, many(50)...)
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	known, nobody := addr(t, "user000001@example.com"), addr(t, "nobody@example.com")
	for range 4 {
		tasks.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if got := n.Check(ctx, known); got.State != Exists {
					t.Errorf("%+v", got)
					return
				}
				if got := n.Check(ctx, nobody); got.Action == Refuse {
					t.Errorf("%+v", got)
					return
				}
				n.Asked(nobody)
				n.Heard(ctx, mailaddr.Address{Local: fmt.Sprint("x", i%50), Domain: dom}, noSuchUser, l.time())
				n.Heard(ctx, mailaddr.Address{Local: fmt.Sprint("x", i%50), Domain: dom}, ok, l.time())
			}
		})
	}
	for i := range 30 {
		n.replace(SourceFile, many(50+i)...)
		if err := n.SetConfig([]Domain{{Name: dom, SubAddress: "+", CallAhead: true, Sources: []string{SourceFile}, List: many(i)}}); err != nil {
			t.Error(err)
		}
		n.Freshness(ctx, dom)
		if _, err := n.List(ctx, dom, Filter{}); err != nil {
			t.Error(err)
		}
		n.Failed(dom, SourceFile, errors.New("no"))
	}
	cancel()
	tasks.Wait()
}

// FuzzAddress: no address makes the directory panic, or the ledger hold one that doesn't come back.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"ada@example.com", "@", "@example.com", `"a b"@example.com`, "a+b", "+", "jörg", "a%b", "A@EXAMPLE.COM", `"\"@"@example.com`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := New(Options{Domains: []Domain{{Name: dom, SubAddress: "+-", Sources: []string{SourceFile}}}})
		if err != nil {
			t.Fatal(err)
		}
		var written []spool.Event
		d.o.Record = func(_ context.Context, evs ...spool.Event) error {
			written = append(written, evs...)
			return nil
		}
		if _, err := d.Replace(t.Context(), dom, SourceFile, []Address{{Address: s}}, "test", ReplaceOptions{}); err != nil {
			return
		}
		for _, a := range slices.Collect(maps.Keys(d.books[dom].people)) {
			back, err := local(dom, address(dom, a))
			if err != nil || back != a {
				t.Errorf("%q is written as %q and read as %q, %v", a, address(dom, a), back, err)
			}
		}
		if m, err := mailaddr.Parse(s); err == nil {
			if got := d.Check(t.Context(), m); got.State != Exists {
				t.Errorf("%q was taken in and is unknown: %+v", s, got)
			}
		}
	})
}

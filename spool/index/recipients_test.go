package index

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restante/spool"
)

// changed is a step with one event about recipients, at that many minutes.
func (m *maker) changed(minute int, state, source string, addresses any) spool.Step {
	s := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	id, _ := m.id()
	s.Events = []spool.Event{{ID: id, Time: m.base.Add(time.Duration(minute) * time.Minute), Type: spool.RecipientsChanged, Domain: "a.test",
		Data: map[string]any{"source": source, "state": state, "kind": "user", "addresses": addresses}}}
	return s
}

func TestRecipients(t *testing.T) {
	ctx := context.Background()
	x, err := Open(filepath.Join(t.TempDir(), "index.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	m := newMaker()
	apply := func(steps ...spool.Step) {
		t.Helper()
		if err := x.Apply(ctx, steps); err != nil {
			t.Fatal(err)
		}
	}
	var mark RecipientsMark
	read := func() []string {
		t.Helper()
		var got []string
		mark, err = x.Recipients(ctx, mark, func(r Recipient) error {
			got = append(got, fmt.Sprintf("%s %s gone=%v", r.Source, r.Address, r.Gone))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		return got
	}
	is := func(what string, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, read()); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	is("an empty index")
	apply(m.changed(5, "exists", "file", []string{"Ada@a.test", "bob@a.test"}), m.changed(5, "exists", "ldap", []any{"ada@a.test"}))
	is("two lists", "file ada@a.test gone=false", "file bob@a.test gone=false", "ldap ada@a.test gone=false")
	is("nothing since")
	apply(m.changed(3, "gone", "file", []string{"bob@a.test"}))
	is("an older event")
	apply(m.changed(7, "gone", "file", []string{"bob@a.test"}))
	is("a later one", "file bob@a.test gone=true")

	learned := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	id, at := m.id()
	learned.Events = []spool.Event{{ID: id, Time: at, Type: spool.Learned, Domain: "a.test", Address: "Carl@a.test"}}
	apply(learned, learned)
	is("learned", " carl@a.test gone=false")

	listed := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	id, at = m.id()
	listed.Events = []spool.Event{{ID: id, Time: at, Type: spool.RecipientsListed, Domain: "a.test", Data: map[string]any{"source": "file", "count": 2}}}
	apply(listed)
	lists, err := x.RecipientLists(ctx)
	if want := []RecipientList{{Domain: "a.test", Source: "file", Count: 2, Taken: at, Time: at}}; err != nil || cmp.Diff(want, lists) != "" {
		t.Errorf("lists %v, %v, want %v", lists, err, want)
	}

	before := mark.Reset
	if err := x.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	is("an emptied index")
	if mark.Reset == before {
		t.Error("the mark doesn't show that the index was emptied")
	}
	if lists, err = x.RecipientLists(ctx); err != nil || len(lists) != 0 {
		t.Errorf("lists of an emptied index: %v, %v", lists, err)
	}
	fresh := newMaker()
	apply(fresh.changed(1, "exists", "file", []string{"zoe@a.test"}))
	is("folded anew", "file zoe@a.test gone=false")
}

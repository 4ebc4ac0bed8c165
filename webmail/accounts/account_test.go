package accounts

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"restante/spool"
)

// TestAddresses: one form each, and what nobody can sign in by is refused.
func TestAddresses(t *testing.T) {
	for in, out := range map[string]string{
		" Anna@Example.COM ":       "anna@example.com",
		"O'Neill+x@example.com":    "o'neill+x@example.com",
		"jürgen@bücher.example":    "jürgen@xn--bcher-kva.example",
		"JU\u0308RGEN@example.com": "jürgen@example.com",
		"a@b@c":                    "", "@example.com": "", "anna@": "", "anna": "", "a b@example.com": "", `"a"@example.com`: "",
		".a@example.com": "", "a..b@example.com": "", "a\u202e@example.com": "", "a@exa mple.com": "", "a@example..com": "", "<a@example.com>": "",
		strings.Repeat("a", 300) + "@example.com": "",
	} {
		got, err := Normal(in)
		if got != out || (err == nil) != (out != "") {
			t.Errorf("%q: %q %v", in, got, err)
		}
		if err == nil {
			if again, err := Normal(got); again != got || err != nil {
				t.Errorf("%q twice: %q %v", in, again, err)
			}
		}
	}
	for in, out := range map[string]string{"a+b+c@x": "a@x", "+b@x": "+b@x", "a@x": "a@x", "a": "a"} {
		same(t, in, Untagged(in), out)
	}
}

// TestLife: an account is added, changed, disabled, deleted and brought back, and everything stands in the ledger.
func TestLife(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	a, err := d.Add(t.Context(), "admin root", "Anna@Example.com", Edit{Name: str("Anna  Schmidt"), Aliases: []string{"A.S@example.com", "anna@example.com"}, Shared: []string{"info@example.com"},
		Groups: []string{"all@example.com"}, Zone: str("Europe/Berlin"), Language: str("DE-at")})
	if err != nil || a.Address != "anna@example.com" || a.Name != "Anna Schmidt" || a.Language != "de" || !a.Active() {
		t.Fatal(a, err)
	}
	same(t, "senders", a.Senders(), []string{"anna@example.com", "a.s@example.com", "info@example.com"})
	_, err = d.Add(t.Context(), "admin root", "anna@example.com", Edit{})
	want(t, "again", err, ErrExists)
	_, err = d.Add(t.Context(), "admin root", "a.s@example.com", Edit{})
	want(t, "an alias as an account", err, ErrTaken)
	must(t, d, "ben@example.com")
	_, err = d.Edit(t.Context(), "admin root", "ben@example.com", Edit{Aliases: []string{"A.S@EXAMPLE.com"}})
	want(t, "a second owner", err, ErrTaken)
	for _, e := range []Edit{{Zone: str("Mars/Olympus")}, {Zone: str("Local")}, {Language: str("d e")}, {Language: str("es")}, {Name: str(strings.Repeat("x", 300))}, {Aliases: []string{"x@elsewhere.net"}}, {Signature: str(strings.Repeat("x", 9000))}} {
		_, err = d.Edit(t.Context(), "admin root", "ben@example.com", e)
		want(t, fmt.Sprintf("%+v", e), err, ErrInvalid)
	}
	_, err = d.Edit(t.Context(), "admin root", "nobody@example.com", Edit{})
	want(t, "nobody", err, ErrNotFound)
	n := len(l.all())
	if _, err := d.Edit(t.Context(), "x", "anna@example.com", Edit{Name: str("Anna Schmidt"), Aliases: []string{"a.s@example.com"}}); err != nil || len(l.all()) != n {
		t.Error("what is so already was recorded again", err)
	}
	for _, address := range []string{"anna@example.com", "A.S+shop@example.com"} {
		if got, ok := d.ByAddress(address); !ok || got.Address != "anna@example.com" {
			t.Errorf("by %s: %v", address, got)
		}
	}
	for address, claimed := range map[string]bool{"info@example.com": true, "all+x@example.com": true, "a.s@example.com": true, "other@example.com": false} {
		if d.Claimed(address) != claimed {
			t.Errorf("%s claimed: %v", address, !claimed)
		}
	}
	own, shared := d.Boxes("anna@example.com")
	same(t, "own box", own.Addresses, []string{"anna@example.com", "a.s@example.com", "all@example.com"})
	if len(shared) != 1 || shared[0].ID != "info@example.com" || !shared[0].Shared {
		t.Errorf("shared %+v", shared)
	}
	yes := true
	if a, err = d.Edit(t.Context(), "admin root", "anna@example.com", Edit{Disabled: &yes, NoAliases: []string{"a.s@example.com"}}); err != nil || a.Active() || len(a.Aliases) != 0 {
		t.Error(a, err)
	}
	if own, shared := d.Boxes("anna@example.com"); own.ID != "" || shared != nil {
		t.Error("a disabled account has boxes")
	}
	want(t, "delete", d.Delete(t.Context(), "admin root", "anna@example.com"), nil)
	if _, ok := d.Account("anna@example.com"); ok || d.Claimed("info@example.com") || len(d.All()) != 1 || len(d.Ever()) != 2 {
		t.Error("a deleted account is there")
	}
	_, err = d.Edit(t.Context(), "admin root", "ben@example.com", Edit{Aliases: []string{"anna@example.com"}})
	want(t, "the deleted one's address", err, nil)
	want(t, "undelete", d.Undelete(t.Context(), "admin root", "anna@example.com"), ErrTaken)
	_, err = d.Edit(t.Context(), "admin root", "ben@example.com", Edit{NoAliases: []string{"anna@example.com"}})
	want(t, "given back", err, nil)
	want(t, "undelete", d.Undelete(t.Context(), "admin root", "anna@example.com"), nil)
	if a, ok := d.Account("anna@example.com"); !ok || a.Name != "Anna Schmidt" || len(a.Shared) != 1 {
		t.Error("not as it was", a)
	}
	same(t, "another node", l.node(t).Ever(), d.Ever())
}

// dump is all that a directory knows.
func dump(d *Directory) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for address, p := range d.people {
		for f, keys := range p.registers {
			for key, r := range keys {
				lines = append(lines, fmt.Sprintf("%s %s %s %s %s %s", address, f, key, r.Value, r.secret, r.id))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestOrderDoesNotMatter: the events of two nodes with clocks of their own give the same directory in any order, and any number of times, also after
// they have been through JSON.
func TestOrderDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var evs []spool.Event
	base := time.Now().Add(-time.Hour).UTC().Round(0)
	fields := []Field{FieldAccount, FieldName, FieldAlias, FieldShared, FieldGroup, FieldDisabled, FieldLink, FieldCodes}
	for i := range 400 {
		data := map[string]any{"field": string(fields[r.IntN(len(fields))])}
		if r.IntN(2) == 0 {
			data["key"] = fmt.Sprintf("k%d@example.com", r.IntN(4))
		}
		if r.IntN(4) > 0 {
			data["value"] = fmt.Sprint(i)
		}
		if r.IntN(5) == 0 {
			data["secret"] = fmt.Sprintf("s%d", i)
		}
		evs = append(evs, spool.Event{ID: spool.NewID(), Type: spool.AccountChanged, Address: fmt.Sprintf("a%d@example.com", r.IntN(4)), Time: base.Add(time.Duration(r.IntN(50)) * time.Second), Data: data})
	}
	open := func() *Directory {
		d, err := Open(Options{Record: func(context.Context, ...spool.Event) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := open()
	first.Apply(evs)
	wantAll, wantPeople := dump(first), fmt.Sprint(first.Ever(), first.Groups(), first.SharedMailboxes())
	text, err := json.Marshal(evs)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var again []spool.Event
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		d := open()
		d.Apply(again[:200])
		d.Ever() // what was made in between is made anew
		d.Apply(again[100:])
		d.Apply(again)
		if dump(d) != wantAll || fmt.Sprint(d.Ever(), d.Groups(), d.SharedMailboxes()) != wantPeople {
			t.Fatal("another order gives another directory")
		}
	}
	first.Apply([]spool.Event{{Type: spool.Activity, Address: "x@example.com"}, {Type: spool.AccountChanged, Address: "x@example.com", Data: map[string]any{"change": "session"}}, {Type: spool.AccountChanged}})
	if dump(first) != wantAll {
		t.Error("events of others count")
	}
}

// TestTwoNodesGiveOneAlias: given to two people at the same moment, an alias has one owner on every node, and one reader.
func TestTwoNodesGiveOneAlias(t *testing.T) {
	l := newLedger(t)
	one := l.node(t)
	must(t, one, "anna@example.com", "ben@example.com")
	two := l.node(t)
	for address, d := range map[string]*Directory{"anna@example.com": one, "ben@example.com": two} {
		if _, err := d.Edit(t.Context(), "admin root", address, Edit{Aliases: []string{"boss@example.com"}}); err != nil {
			t.Fatal(err)
		}
	}
	one.Apply(l.all())
	two.Apply(l.all())
	a, _ := one.ByAddress("boss@example.com")
	b, _ := two.ByAddress("boss@example.com")
	if a.Address == "" || a.Address != b.Address {
		t.Errorf("%q and %q", a.Address, b.Address)
	}
	readers := 0
	for _, address := range []string{"anna@example.com", "ben@example.com"} {
		if own, _ := one.Boxes(address); slices.Contains(own.Addresses, "boss@example.com") {
			readers++
		}
	}
	if readers != 1 {
		t.Errorf("%d people read it", readers)
	}
}

// TestSecretsStayWhereTheyAre: what was encrypted for one account can't be moved to another by somebody who writes to the store.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	must(t, d, "anna@example.com", "eve@example.com")
	want(t, "set", d.SetPassword(t.Context(), "eve@example.com", "eve@example.com", "eve's password", SetBySelf), nil)
	evs := l.all()
	stolen := evs[len(evs)-1]
	for _, ev := range evs {
		b, err := json.Marshal(ev)
		if err != nil || strings.Contains(string(b), "argon2id") {
			t.Errorf("the ledger shows %s %v", b, err)
		}
	}
	stolen.ID, stolen.Address, stolen.Time = spool.NewID(), "anna@example.com", time.Now().Add(time.Second)
	d.Apply([]spool.Event{stolen})
	if err := d.VerifyPassword(t.Context(), "anna@example.com", "eve's password"); err == nil {
		t.Error("eve's password opens anna's mail")
	}
	without, err := Open(Options{Record: l.record})
	if err != nil {
		t.Fatal(err)
	}
	without.Apply(evs)
	if err := without.VerifyPassword(t.Context(), "eve@example.com", "eve's password"); err == nil {
		t.Error("a password was verified without the cluster key")
	}
}

// TestRecordFails: what is not in the ledger does not count.
func TestRecordFails(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	must(t, d, "anna@example.com")
	before := dump(d)
	l.down = fmt.Errorf("%w: store is down", spool.ErrVoid)
	_, err := d.Add(t.Context(), "admin root", "ben@example.com", Edit{})
	want(t, "add", err, spool.ErrVoid)
	_, err = d.MakeCodes(t.Context(), "admin root", "anna@example.com")
	want(t, "codes", err, spool.ErrVoid)
	want(t, "password", d.SetPassword(t.Context(), "x", "anna@example.com", "correct horse", SetBySelf), spool.ErrVoid)
	if dump(d) != before {
		t.Error("it counts all the same")
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("a directory without a ledger")
	}
	noted := 0
	lazy, err := Open(Options{Record: l.record, Note: func(evs ...spool.Event) { noted += len(evs) }})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "note", lazy.Note("x", Change{Account: "anna@example.com", Field: FieldPractised, Value: map[string]string{"how": "device"}}), nil)
	if _, ok := lazy.Register("anna@example.com", FieldPractised, ""); !ok || noted != 1 {
		t.Error("a lazy change does not count")
	}
	if lazy.Note("x", Change{Account: "a", Field: FieldPassword, Secret: []byte("x")}) == nil {
		t.Error("a secret was kept without a key")
	}
}

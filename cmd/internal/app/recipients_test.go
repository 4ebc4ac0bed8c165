package app

import (
	"errors"
	"path/filepath"
	"testing"

	"restante/relay/policy/rcpt"
	"restante/spool/index"
)

// TestListedAreKnownGood: replay takes a refusal of somebody on a list for a primary's mistake, as that of somebody who had mail before.
func TestListedAreKnownGood(t *testing.T) {
	x, err := index.Open(filepath.Join(t.TempDir(), "index.db"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := rcpt.New(rcpt.Options{Domains: []rcpt.Domain{{Name: "failing.test", List: []string{"anna"}, Sources: []string{rcpt.SourceFile}}, {Name: "one.test", List: []string{"anna"}, SubAddress: "+"}, {Name: "all.test", List: []string{"@"}}, {Name: "alias.test", AliasOf: "one.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	d.Failed("failing.test", rcpt.SourceFile, errors.New("gone"))
	for address, want := range map[string]bool{
		"anna@one.test": true, "Anna+x@one.test": true, "anna@alias.test": true,
		"nobody@one.test": false, "anna@all.test": false, "anna@elsewhere.test": false, "anna@failing.test": false, "no address": false,
	} {
		if got, err := (listed{x, d}).Known(t.Context(), address); got != want || err != nil {
			t.Errorf("%s: %v, %v", address, got, err)
		}
	}
}

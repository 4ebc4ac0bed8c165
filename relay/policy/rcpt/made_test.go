package rcpt

import (
	"testing"
	"time"
)

// TestMadeBefore: a list that was made long ago is as old as that from the start, on a node that only reads of it too.
func TestMadeBefore(t *testing.T) {
	for _, o := range []struct {
		age  time.Duration
		want string
	}{{0, "absent refuse"}, {DefaultMaxAge - time.Hour, "absent refuse"}, {DefaultMaxAge + time.Hour, "unsure defer"}} {
		l := newLedger()
		options := Options{Domains: []Domain{{Name: dom, Unknown: UnknownRefuse, Sources: []string{SourceFile}}}}
		n := newNode(t, l, options)
		if _, err := n.Replace(t.Context(), dom, SourceFile, people("ada"), "test", ReplaceOptions{At: l.time().Add(-o.age)}); err != nil {
			t.Fatal(err)
		}
		n.is("exists take", "ada@example.com")
		other := newNode(t, l, options)
		for _, one := range []*node{n, other} {
			one.sync()
			one.is(o.want, "bob@example.com")
		}
	}
}

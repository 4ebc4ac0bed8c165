package cli

import (
	"strings"
	"testing"
	"time"

	"restante/spool/index"
)

// TestBeside: which other outages the last one isn't to be taken for.
func TestBeside(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 21, 9, minute, 0, 0, time.UTC) }
	last := index.Outage{ID: "last", Opened: at(30)}
	list := []index.Outage{last, {ID: "open", Opened: at(20)}, {ID: "closed after", Opened: at(10), Closed: at(31)}, {ID: "closed before", Opened: at(1), Closed: at(2)}}
	for _, o := range []struct {
		list []index.Outage
		want string
	}{
		{list[:1], ""},
		{list[:2], "open"},
		{list, "open, closed after"},
		{append(list, list[1], list[1], list[1]), "open, closed after, open, ..."},
	} {
		if got := strings.Join(beside(o.list), ", "); got != o.want {
			t.Errorf("%d outages: %q, not %q", len(o.list), got, o.want)
		}
	}
}

package spool

import (
	"testing"
	"time"
)

func TestSpans(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		d           time.Duration
		span, exact string
	}{
		{0, "under 1 s", "0 s"},
		{200 * time.Millisecond, "under 1 s", "200 ms"},
		{4 * time.Second, "4 s", "4 s"},
		{59*time.Second + 700*time.Millisecond, "59 s", "1 min"},
		{90 * time.Second, "1 min", "1 min 30 s"},
		{47 * time.Minute, "47 min", "47 min"},
		{119*time.Minute + 30*time.Second, "119 min", "1 h 59 min 30 s"},
		{3 * time.Hour, "3 h", "3 h"},
		{day, "24 h", "1 day"},
		{3*day + 5*time.Minute, "3 days", "3 days 5 min"},
	} {
		if got := Span(c.d); got != c.span {
			t.Errorf("Span(%d) = %q, not %q", c.d, got, c.span)
		}
		if got := ExactSpan(c.d); got != c.exact {
			t.Errorf("ExactSpan(%d) = %q, not %q", c.d, got, c.exact)
		}
	}
}

package replay

import (
	"testing"
	"time"
)

// While the index changes all the time, as it does when it learns late of what was delivered, the end is read again and again. That
// takes its share of the time and no more, and doesn't put off the reading from the oldest pair that tells what the index knows by now.
func TestScansOfTheEndPutOffNoOther(t *testing.T) {
	const page = 50 * time.Millisecond // what reading one takes
	d := newDomain(testDomain)
	d.claims.settled = 1
	now := time.Now()
	var whole, ends int
	for end := now.Add(time.Minute); now.Before(end); now = now.Add(20 * time.Millisecond) {
		ok, next := d.scanOn(now, make(chan struct{}))
		if !ok {
			if next.IsZero() || next.After(now.Add(2*scanPause)) {
				t.Fatalf("it goes on at %v", next.Sub(now))
			}
			continue
		}
		now = now.Add(page)
		d.scan.ended = true
		if d.scan.tailOnly {
			ends++
			d.scan.tailCost += page
		} else {
			whole++
			d.scan.cost += page
		}
	}
	t.Logf("in a minute %d times from the oldest pair, %d times the end", whole, ends)
	if whole < 30 || ends < 30 || time.Duration(whole)*page > time.Minute/scanShare || time.Duration(ends)*page > time.Minute/scanShare {
		t.Errorf("in a minute it was read %d times from the oldest pair, and %d times at its end", whole, ends)
	}
}

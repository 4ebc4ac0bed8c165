package sink

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
)

// faultSet is Faults made ready: its rules by stage, with their counts.
type faultSet struct {
	Faults
	rules map[Stage][]*rule
}

type rule struct {
	Rule
	seen, used atomic.Int64
}

func compile(f Faults) *faultSet {
	set := &faultSet{Faults: f}
	for _, r := range f.Rules {
		if set.rules == nil {
			set.rules = map[Stage][]*rule{}
		}
		r.Match = strings.ToLower(r.Match)
		set.rules[r.Stage] = append(set.rules[r.Stage], &rule{Rule: r})
	}
	return set
}

// find returns the rule that acts now, or nil.
func (f *faultSet) find(stage Stage, text string) *rule {
	if f.rules == nil {
		return nil
	}
	for _, r := range f.rules[stage] {
		if r.Match != "" && !strings.Contains(strings.ToLower(text), r.Match) {
			continue
		}
		if r.seen.Add(1) <= int64(r.Skip) {
			continue
		}
		if r.Rate > 0 && r.Rate < 1 && rand.Float64() >= r.Rate {
			continue
		}
		if r.Count > 0 && r.used.Add(1) > int64(r.Count) {
			continue
		}
		return r
	}
	return nil
}

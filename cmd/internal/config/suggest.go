package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// suggest says what to write instead of an unknown key: the closest key of the same table, the table
// that has a key of this name, or the list of keys.
func (d *decoder) suggest(prefix, name string, known map[string]reflect.StructField) string {
	names := slices.Sorted(maps.Keys(known))
	if best := closest(name, names); best != "" {
		return "did you mean " + best + "?"
	}
	if home := homes()[name]; len(home) > 0 {
		return "it belongs into " + strings.Join(home, " or ")
	}
	where := "at the top level"
	if prefix != "" {
		where = "in [" + shown(strings.TrimSuffix(prefix, ".")) + "]"
	}
	return fmt.Sprintf("the keys %s are %s", where, strings.Join(names, ", "))
}

// homes maps each key to the tables that have it.
func homes() map[string][]string {
	m := map[string][]string{}
	root := reflect.TypeFor[Config]()
	for name, f := range fields(root) {
		t := f.Type
		table := "[" + name + "]"
		if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
			t, table = t.Elem(), "[["+name+"]]"
		}
		if t.Kind() != reflect.Struct {
			m[name] = append(m[name], "the top of the file, above the first [table]")
			continue
		}
		for key := range fields(t) {
			m[key] = append(m[key], table)
		}
	}
	for _, list := range m {
		slices.Sort(list)
	}
	return m
}

// meant is a hint for a value that is nearly one of those allowed.
func meant(s string, values []string) string {
	if best := closest(s, values); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}

// closest returns the name at the smallest edit distance, if that is small for its length.
func closest(s string, names []string) string {
	best, least := "", 1+len(s)/3
	s = strings.ReplaceAll(strings.ToLower(s), "-", "_")
	for _, name := range names {
		if n := distance(s, name); n <= least && (best == "" || n < distance(s, best)) {
			best, least = name, n
		}
	}
	return best
}

// distance is Levenshtein's, with a swap of neighbours as one step.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 1000
	}
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

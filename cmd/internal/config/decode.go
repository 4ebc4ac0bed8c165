package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"restante/relay/smtpc"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	File string // "" when a flag or a missing key is to blame
	Line int
	Key  string
	Text string // what is wrong
	Mend string // what to write instead

	missing bool // nothing in a file is wrong, something isn't there
}

// Error is the problem on one line.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	if p.Mend != "" {
		b.WriteString("; " + p.Mend)
	}
	return b.String()
}

// Problems is every problem that was found, in the order of the files.
type Problems []Problem

// Error is one problem a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// decoder puts parsed TOML into the structs, by their tags:
//
//	toml   the key
//	enum   the values a string may have
//	min    and max: the bounds of a Size, Duration or int
//	check  what a string, or each string of a list, has to be: listen, address, fingerprint; or a path, or a command of
//	       which the first string may be one, which begin in folder unless they are whole
type decoder struct {
	folder   string // of the main file; "" for flags: paths begin where restante was started
	lines    positions
	problems Problems
	read     Problems // those from before the checks of validate
	unparsed bool     // a file is no TOML
	unknown  bool     // a key is misspelt: one that seems to be missing may be that one
}

func (d *decoder) bad(key, mend, format string, args ...any) {
	at := d.lines.of(key)
	_, there := d.lines[key]
	d.problems = append(d.problems, Problem{File: at.file, Line: at.line, Key: shown(key), Text: fmt.Sprintf(format, args...), Mend: mend, missing: !there})
}

// about reports a problem with a key.
func (p Problems) about(key string) bool {
	return slices.ContainsFunc(p, func(x Problem) bool { return x.Key == key })
}

// shown drops the indexes of array tables: the line says which one it is.
func shown(key string) string {
	for {
		open := strings.IndexByte(key, '[')
		end := strings.IndexByte(key, ']')
		if open < 0 || end < open {
			return key
		}
		key = key[:open] + key[end+1:]
	}
}

// fields maps the keys of a struct to its fields.
func fields(t reflect.Type) map[string]reflect.StructField {
	m := map[string]reflect.StructField{}
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("toml"); name != "" && name != "-" {
			m[name] = f
		}
	}
	return m
}

func (d *decoder) table(prefix string, in map[string]any, out reflect.Value) {
	known := fields(out.Type())
	for _, name := range slices.Sorted(maps.Keys(in)) {
		key := prefix + name
		f, ok := known[name]
		if !ok {
			d.unknown = true
			d.bad(key, d.suggest(prefix, name, known), "unknown key")
			continue
		}
		d.value(key, f, in[name], out.FieldByIndex(f.Index))
	}
}

func (d *decoder) value(key string, f reflect.StructField, in any, out reflect.Value) {
	switch out.Interface().(type) {
	case Size:
		d.size(key, f, in, out)
		return
	case Duration:
		d.duration(key, f, in, out)
		return
	case []Domain:
		d.domains(key, in, out)
		return
	case []DNSBL:
		d.dnsbls(key, in, out)
		return
	case []string:
		d.list(key, f, in, out)
		return
	}
	switch out.Kind() {
	case reflect.Struct:
		t, ok := in.(map[string]any)
		if !ok {
			d.bad(key, "write ["+shown(key)+"] on a line of its own and its keys below", "is a table, not %s", kindOf(in))
			return
		}
		d.table(key+".", t, out)
	case reflect.Int:
		d.integer(key, f, in, out)
	case reflect.String:
		d.text(key, f, in, out)
	default:
		panic("config: no decoder for " + out.Type().String())
	}
}

func (d *decoder) domains(key string, in any, out reflect.Value) {
	list := out.Interface().([]Domain)
	for i, t := range d.tables(key, "domain", in) {
		one := domainDefaults()
		d.table(fmt.Sprintf("%s[%d].", key, i), t, reflect.ValueOf(&one).Elem())
		list = append(list, one)
	}
	out.Set(reflect.ValueOf(list))
}

// tables returns the tables of a list of them, each of which is a what.
func (d *decoder) tables(key, what string, in any) []map[string]any {
	switch v := in.(type) {
	case []map[string]any:
		return v
	case []any: // domain = [{...}]
		var tables []map[string]any
		for _, one := range v {
			if t, ok := one.(map[string]any); ok {
				tables = append(tables, t)
			}
		}
		if len(tables) == len(v) && len(v) > 0 {
			return tables
		}
	}
	d.bad(key, "write [["+key+"]] on a line of its own, once for each "+what+", and its keys below", "is a list of tables, not %s", kindOf(in))
	return nil
}

func (d *decoder) text(key string, f reflect.StructField, in any, out reflect.Value) {
	s, ok := in.(string)
	if enum := f.Tag.Get("enum"); enum != "" && !ok {
		d.bad(key, "write one of "+quoted(strings.Split(enum, ",")), "is a text, not %s", kindOf(in))
		return
	}
	if !ok {
		d.bad(key, fmt.Sprintf("write it in quotes: %s = %s", f.Tag.Get("toml"), strconv.Quote(fmt.Sprint(in))), "is a text, not %s", kindOf(in))
		return
	}
	if enum := f.Tag.Get("enum"); enum != "" {
		values := strings.Split(enum, ",")
		if !slices.Contains(values, s) {
			d.bad(key, "write one of "+quoted(values)+meant(s, values), "there is no %q", s)
			return
		}
	}
	if f.Tag.Get("check") != "" && s != "" && !d.check(key, f, s) {
		return
	}
	if f.Tag.Get("check") == "path" {
		s = d.path(s)
	}
	out.SetString(s)
}

// path is a file's name as it is used: one that isn't whole begins in the folder of the configuration, so that it
// means the same file to a service, a shell and `restante config check`.
func (d *decoder) path(s string) string {
	if s == "" || d.folder == "" || filepath.IsAbs(s) {
		return s
	}
	return filepath.Join(d.folder, s)
}

func (d *decoder) list(key string, f reflect.StructField, in any, out reflect.Value) {
	var items []any
	switch v := in.(type) {
	case []any:
		items = v
	case string: // one alone needs no brackets
		items = []any{v}
	default:
		d.bad(key, fmt.Sprintf(`write a list: %s = ["...", "..."]`, f.Tag.Get("toml")), "is a list of texts, not %s", kindOf(in))
		return
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			d.bad(key, "write "+strconv.Quote(fmt.Sprint(item)), "has %s where a text belongs", kindOf(item))
			return
		}
		if !d.check(key, f, s) {
			return
		}
		list = append(list, s)
	}
	if f.Tag.Get("check") == "command" && len(list) > 0 && strings.Contains(list[0], "/") { // others are in $PATH
		list[0] = d.path(list[0])
	}
	out.Set(reflect.ValueOf(list))
}

func (d *decoder) check(key string, f reflect.StructField, s string) bool {
	switch f.Tag.Get("check") {
	case "listen":
		if err := checkListen(s); err != nil {
			d.bad(key, `write for example "0.0.0.0:25", "[::]:25" or "127.0.0.1:2525"`, "%v", err)
			return false
		}
	case "address":
		if p, err := ParsePrimary(s); err != nil || p.MX {
			d.bad(key, `write an address, with a port unless it is the usual one: "9.9.9.9" or "127.0.0.1:5353"`, "%q is no address", s)
			return false
		}
	case "fingerprint":
		if _, err := smtpc.ParseFingerprint(s); err != nil {
			d.bad(key, "write the 64 hex digits that `openssl x509 -noout -fingerprint -sha256` shows", "%q is no SHA-256 fingerprint", s)
			return false
		}
	}
	return true
}

func (d *decoder) size(key string, f reflect.StructField, in any, out reflect.Value) {
	var s Size
	var err error
	switch v := in.(type) {
	case string:
		s, err = ParseSize(v)
	case int64:
		s = Size(v)
	default:
		err = fmt.Errorf("is a size, not %s", kindOf(in))
	}
	if err != nil {
		d.bad(key, `write for example "50MB", "64KB" or "1GB"`, "%v", err)
		return
	}
	low, high := mustSize(f.Tag.Get("min")), mustSize(f.Tag.Get("max"))
	if s < low || s > high {
		d.bad(key, fmt.Sprintf("write something from %q to %q", low, high), "%s is out of bounds", s)
		return
	}
	out.SetInt(int64(s))
}

func (d *decoder) duration(key string, f reflect.StructField, in any, out reflect.Value) {
	s, ok := in.(string)
	if !ok {
		mend := `write for example "10s", "15m" or "14d"`
		if n, isInt := in.(int64); isInt && n > 0 {
			mend = fmt.Sprintf(`write it with a unit: "%ds", "%dm", "%dh" or "%dd"`, n, n, n, n)
		}
		d.bad(key, mend, "is a duration, not %s", kindOf(in))
		return
	}
	v, err := ParseDuration(s)
	if err != nil {
		d.bad(key, `write for example "10s", "15m" or "14d"`, "%v", err)
		return
	}
	low, high := mustDuration(f.Tag.Get("min")), mustDuration(f.Tag.Get("max"))
	if v < low || v > high {
		d.bad(key, fmt.Sprintf("write something from %q to %q", low, high), "%s is out of bounds", v)
		return
	}
	out.SetInt(int64(v))
}

func (d *decoder) integer(key string, f reflect.StructField, in any, out reflect.Value) {
	n, ok := in.(int64)
	low, _ := strconv.ParseInt(f.Tag.Get("min"), 10, 64)
	high, _ := strconv.ParseInt(f.Tag.Get("max"), 10, 64)
	if !ok {
		d.bad(key, fmt.Sprintf("write a number from %d to %d, without quotes", low, high), "is a number, not %s", kindOf(in))
		return
	}
	if n < low || n > high {
		d.bad(key, fmt.Sprintf("write a number from %d to %d", low, high), "%d is out of bounds", n)
		return
	}
	out.SetInt(n)
}

// mustSize and mustDuration read the tags of our own structs; a test reads them all.
func mustSize(s string) Size {
	v, err := ParseSize(s)
	if err != nil {
		panic("config: bad tag: " + err.Error())
	}
	return v
}

func mustDuration(s string) Duration {
	v, err := ParseDuration(s)
	if err != nil {
		panic("config: bad tag: " + err.Error())
	}
	return v
}

// kindOf names a TOML value for people.
func kindOf(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the text %q", v)
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return "a date"
	}
}

func quoted(values []string) string {
	q := make([]string, len(values))
	for i, v := range values {
		q[i] = strconv.Quote(v)
	}
	return strings.Join(q, ", ")
}

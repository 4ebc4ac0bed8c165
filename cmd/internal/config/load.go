package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFile bounds one configuration file in octets.
const maxFile = 16 << 20

// Flags are the settings that the command line may give; they win over files. Empty fields don't count.
type Flags struct {
	Hostname      string
	DataDir       string
	SMTPListen    []string
	HTTPListen    string   // "off" switches it off
	WebmailListen []string // "off" alone switches it off
	Store         string
	Socket        string
	LogLevel      string
	Domains       []string // with Primary, when there is no file
	Primary       []string
	Recipients    []string
	WhenUp        string
}

// Load reads the file at path ("" for none) with the conf.d beside it, applies the flags, fills in what
// follows from other values, and checks it all. The error is Problems when the configuration is at fault.
func Load(path string, flags Flags) (*Config, error) {
	c := Defaults()
	c.lines = positions{}
	d := &decoder{lines: c.lines}
	files, err := list(path)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := read(file)
		if err != nil {
			return nil, err
		}
		d.file(c, file, text)
	}
	return c.finish(d, flags)
}

// list is the main file and the *.toml of conf.d beside it, in the order of their names.
func list(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, Problems{{File: path, Text: "there is no such file", Mend: "write one with `restante config init " + path + "`, or name another with --config"}}
		}
		return nil, Problems{{File: path, Text: err.Error(), Mend: "let the user that runs restante read it"}}
	}
	more, err := filepath.Glob(filepath.Join(filepath.Dir(path), "conf.d", "*.toml"))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	slices.Sort(more)
	return append([]string{path}, more...), nil
}

func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, Problems{{File: file, Text: err.Error(), Mend: "let the user that runs restante read it"}}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, Problems{{File: file, Text: err.Error(), Mend: "let the user that runs restante read it"}}
	}
	if len(text) > maxFile {
		return nil, Problems{{File: file, Text: "is over 16 MiB", Mend: "this is no configuration file; name another with --config"}}
	}
	return text, nil
}

// file decodes one more file into c. Domains of earlier files stay in front, so that their indexes in
// positions go on counting.
func (d *decoder) file(c *Config, name string, text []byte) {
	c.Files = append(c.Files, name)
	var raw map[string]any
	if _, err := toml.Decode(string(text), &raw); err != nil {
		p := Problem{File: name, Text: err.Error(), Mend: "mend the TOML there; `restante config init` shows how it looks"}
		if parse, ok := errors.AsType[toml.ParseError](err); ok {
			// The parser's own line is the next one where a line ends too soon.
			p.Line, p.Text = 1+strings.Count(string(text[:min(parse.Position.Start, len(text))]), "\n"), syntax(parse)
		}
		d.problems = append(d.problems, p)
		d.unparsed = true
		return
	}
	domains, lists := len(c.Domains), len(c.DNSBL)
	fileLines := positions{}
	for key, line := range findKeys(string(text)) {
		fileLines[key] = place{file: name, line: line}
	}
	sub := &decoder{lines: fileLines, folder: filepath.Dir(c.Files[0])}
	sub.table("", raw, reflect.ValueOf(c).Elem())
	for i, p := range sub.problems {
		if p.File == "" {
			sub.problems[i].File = name
		}
	}
	slices.SortStableFunc(sub.problems, func(a, b Problem) int { return a.Line - b.Line })
	d.problems = append(d.problems, sub.problems...)
	d.unknown = d.unknown || sub.unknown
	for key, at := range fileLines {
		d.lines[shift(shift(key, "domain", domains), "dnsbl", lists)] = at
	}
}

// syntax is what the TOML parser says, less its own prefix and position.
func syntax(err toml.ParseError) string {
	if err.Message != "" {
		return strings.TrimSuffix(err.Message, ".")
	}
	text := err.Error()
	if _, after, ok := strings.Cut(text, "): "); ok {
		return after
	}
	return strings.TrimPrefix(text, "toml: ")
}

// shift adds n to the index of "domain[i]...", with "domain" as the table.
func shift(key, table string, n int) string {
	var i int
	if n == 0 {
		return key
	}
	if _, err := fmt.Sscanf(key, table+"[%d]", &i); err != nil {
		return key
	}
	_, rest, _ := strings.Cut(key, "]")
	return fmt.Sprintf("%s[%d]%s", table, i+n, rest)
}

// finish applies flags, fills in and checks.
func (c *Config) finish(d *decoder, flags Flags) (*Config, error) {
	d.flags(c, flags)
	if !d.unparsed { // else most of it would be missing
		c.fill()
		more := &decoder{lines: d.lines, read: d.problems}
		more.validate(c)
		d.add(c, more.problems)
	}
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	return c, nil
}

// add adds what the checks have found, less what only follows from what is already reported.
func (d *decoder) add(c *Config, found Problems) {
	first := slices.Clone(d.problems)
	for _, p := range found {
		if p.missing && d.unknown || slices.ContainsFunc(first, func(q Problem) bool {
			return q.Key == p.Key && (p.missing || q.File == p.File && q.Line == p.Line)
		}) {
			continue
		}
		d.problems = append(d.problems, p)
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		x, y := slices.Index(c.Files, a.File), slices.Index(c.Files, b.File)
		if x != y || x < 0 {
			return x - y
		}
		return a.Line - b.Line
	})
}

// flags sets what the command line says, with the same checks as a file's values.
func (d *decoder) flags(c *Config, f Flags) {
	raw := map[string]any{}
	put := func(table, key string, v any) {
		t, ok := raw[table].(map[string]any)
		if !ok {
			t = map[string]any{}
			raw[table] = t
		}
		t[key] = v
	}
	if f.Hostname != "" {
		raw["hostname"] = f.Hostname
	}
	if f.DataDir != "" {
		raw["data_dir"] = f.DataDir
	}
	if len(f.SMTPListen) > 0 {
		put("smtp", "listen", anys(f.SMTPListen))
	}
	if f.HTTPListen == "off" {
		put("http", "listen", "")
	} else if f.HTTPListen != "" {
		put("http", "listen", f.HTTPListen)
	}
	if slices.Equal(f.WebmailListen, []string{"off"}) {
		put("webmail", "listen", []any{})
	} else if len(f.WebmailListen) > 0 {
		put("webmail", "listen", anys(f.WebmailListen))
	}
	if f.Store != "" {
		put("store", "url", f.Store)
	}
	if f.Socket != "" {
		put("admin", "socket", f.Socket)
	}
	if f.LogLevel != "" {
		put("log", "level", f.LogLevel)
	}
	var domains []any
	for _, name := range f.Domains {
		t := map[string]any{"name": name, "primary": anys(f.Primary)}
		if len(f.Recipients) > 0 {
			t["recipients"] = anys(f.Recipients)
		}
		if f.WhenUp != "" {
			t["when_up"] = f.WhenUp
		}
		domains = append(domains, t)
	}
	if len(domains) > 0 {
		raw["domain"] = domains
	}
	sub := &decoder{lines: positions{}}
	sub.table("", raw, reflect.ValueOf(c).Elem())
	for _, p := range sub.problems {
		p.Key = "--" + strings.NewReplacer("smtp.", "smtp-", "http.", "http-", "webmail.", "webmail-", "log.", "log-", "store.url", "store", "admin.", "admin-", "domain.", "", "_", "-").Replace(p.Key)
		d.problems = append(d.problems, p)
	}
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

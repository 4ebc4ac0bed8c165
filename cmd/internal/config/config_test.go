package config

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var optional = regexp.MustCompile(`(?m)^#([a-z_]+ = |\[\[dnsbl\]\])`)

// parse reads one configuration from memory; name stands in for the file in errors.
func parse(name string, text []byte) (*Config, error) {
	c := Defaults()
	c.lines = positions{}
	d := &decoder{lines: c.lines}
	d.file(c, name, text)
	return c.finish(d, Flags{})
}

// TestSample: the sample is valid as it is shipped, it is valid with every default written out, and
// writing the defaults out changes nothing.
func TestSample(t *testing.T) {
	asIs, err := parse("sample.toml", []byte(Sample()))
	if err != nil {
		t.Fatal(err)
	}
	full := optional.ReplaceAllString(Sample(), "$1")
	written, err := parse("sample.toml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(asIs, written, cmpopts.IgnoreFields(Config{}, "lines", "DNSBL"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the defaults in the sample are not those of the code (-code +sample):\n%s", diff)
	}
	if len(asIs.DNSBL) != 0 || len(written.DNSBL) != 1 || written.DNSBL[0].Zone != "zen.spamhaus.org" || len(written.DNSBL[0].Parsed) != 3 {
		t.Errorf("lists: %+v, %+v", asIs.DNSBL, written.DNSBL)
	}
	if len(asIs.Domains) != 1 || asIs.Domains[0].Primaries[0].Address() != "mail.example.com:25" {
		t.Errorf("domains: %+v", asIs.Domains)
	}
}

// TestSampleNamesEveryKey: a key of the code is documented in the sample, and the other way round
// (unknown keys of the sample fail TestSample, commented or not).
func TestSampleNamesEveryKey(t *testing.T) {
	full := optional.ReplaceAllString(Sample(), "$1")
	found := findKeys(full)
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for name, f := range fields(typ) {
			key := prefix + name
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(key+".", f.Type)
			case f.Type == reflect.TypeFor[[]Domain]():
				walk(key+"[0].", reflect.TypeFor[Domain]())
			case f.Type == reflect.TypeFor[[]DNSBL]():
				walk(key+"[0].", reflect.TypeFor[DNSBL]())
			case found[key] == 0:
				t.Errorf("%s is not in sample.toml", key)
			default:
				if !documented(full, found[key]) {
					t.Errorf("%s has no comment above it in sample.toml", key)
				}
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
}

// documented looks for a comment above the line, past other keys that share it.
func documented(text string, line int) bool {
	lines := strings.Split(text, "\n")
	for i := line - 2; i >= 0; i-- {
		switch {
		case strings.HasPrefix(lines[i], "# "):
			return true
		case lines[i] == "":
			return false
		}
	}
	return false
}

// TestTags: every bound of the structs can be read, and the defaults are within it.
func TestTags(t *testing.T) {
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			switch x := v.Field(i).Interface().(type) {
			case Size:
				if low, high := mustSize(f.Tag.Get("min")), mustSize(f.Tag.Get("max")); x < low || x > high {
					t.Errorf("default of %s is out of bounds", f.Name)
				}
			case Duration:
				if low, high := mustDuration(f.Tag.Get("min")), mustDuration(f.Tag.Get("max")); x != unset && (x < low || x > high) {
					t.Errorf("default of %s is out of bounds", f.Name)
				}
			default:
				if f.Type.Kind() == reflect.Struct {
					walk(v.Field(i))
				}
			}
		}
	}
	walk(reflect.ValueOf(Defaults()).Elem())
	walk(reflect.ValueOf(domainDefaults()))
}

// TestBad: each file of testdata/bad is refused with exactly the errors that its first comments say.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for s := bufio.NewScanner(strings.NewReader(string(text))); s.Scan(); {
				if rest, ok := strings.CutPrefix(s.Text(), "#! "); ok {
					want = append(want, rest)
				}
			}
			_, err = parse(filepath.Base(file), text)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(strings.Join(want, "\n"), err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfD(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("r.toml", "hostname = \"a.example\"\n[smtp]\nmax_recipients = 200\n[[domain]]\nname = \"one.example\"\nprimary = [\"mx\"]\n")
	write("conf.d/20.toml", "[[domain]]\nname = \"three.example\"\nprimary = [\"mx\"]\n[domain.retention]\nparked = \"2d\"\n")
	write("conf.d/10.toml", "hostname = \"b.example\"\n[[domain]]\nname = \"Two.Example\"\nprimary = [\"h:26\"]\n")
	write("conf.d/ignored.txt", "nonsense")
	c, err := Load(filepath.Join(dir, "r.toml"), Flags{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "b.example" || c.SMTP.MaxRecipients != 200 || len(c.Domains) != 3 ||
		c.Domains[1].Name != "two.example" || c.Domains[2].Name != "three.example" {
		t.Errorf("%+v", c)
	}
	if r := c.Domains[2].Retention; r.Parked.Std() != 48*time.Hour || r.Delivered != Defaults().Retention.Delivered {
		t.Errorf("retention %+v", r)
	}

	write("conf.d/30.toml", "\n\n[[domain]]\nname = \"one.example\"\nprimary = [\"mx\"]\n")
	_, err = Load(filepath.Join(dir, "r.toml"), Flags{})
	want := filepath.Join(dir, "conf.d/30.toml") + ":4: domain.name: one.example is there already (" + filepath.Join(dir, "r.toml") + ":5); keep one of the two"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestFlagsAlone(t *testing.T) {
	c, err := Load("", Flags{Domains: []string{"Example.COM"}, Primary: []string{"mail.example.com:25"}, SMTPListen: []string{"127.0.0.1:2525"}, HTTPListen: "off", DataDir: "/x/y"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Domains[0].Name != "example.com" || c.SMTP.Listen[0] != "127.0.0.1:2525" || c.HTTP.Listen != "" ||
		c.Store.URL != "file:///x/y/spool" || c.Admin.Socket != "/x/y/admin.sock" {
		t.Errorf("%+v", c)
	}
	_, err = Load("", Flags{Domains: []string{"example.com"}, Primary: []string{"mail.example.com:25"}, SMTPListen: []string{"2525"}})
	if err == nil || !strings.HasPrefix(err.Error(), `--smtp-listen: "2525" is no address with a port; write for example`) {
		t.Errorf("got %v", err)
	}
	if _, err := Load("", Flags{}); err == nil || !strings.Contains(err.Error(), "there is no domain") {
		t.Errorf("got %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml"), Flags{}); err == nil || !strings.Contains(err.Error(), "restante config init") {
		t.Errorf("got %v", err)
	}
}

func TestSecretsAreHidden(t *testing.T) {
	c, err := parse("x", []byte("hostname = \"a.b\"\n[notify]\nurl = \"https://hooks.example/s3cret\"\n[[domain]]\nname = \"a.example\"\nprimary = [\"mx\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "s3cret") || !strings.Contains(b.String(), redacted) {
		t.Error(b.String())
	}
	if c.Notify.URL.Reveal() != "https://hooks.example/s3cret" {
		t.Error("the secret is gone")
	}
}

func TestSizesAndDurations(t *testing.T) {
	for in, want := range map[string]Size{"50MB": 50e6, "1GiB": 1 << 30, "0": 0, "12": 12, "1.5 kb": 1500, "64k": 64000, "7B": 7} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v", in, got, err)
		}
		if back, err := ParseSize(want.String()); err != nil || back != want {
			t.Errorf("%d prints as %q", want, want)
		}
	}
	for _, in := range []string{"", "MB", "-1", "1XB", "1e30", "NaN", "1 2MB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d", in, got)
		}
	}
	for in, want := range map[string]time.Duration{"14d": 336 * time.Hour, "1d12h": 36 * time.Hour, "2w": 336 * time.Hour, "10s": 10 * time.Second, "0": 0, "1m30s": 90 * time.Second, "0s": 0, "250ms": 250 * time.Millisecond} {
		got, err := ParseDuration(in)
		if err != nil || got.Std() != want {
			t.Errorf("ParseDuration(%q) = %v, %v", in, got, err)
		}
		if back, err := ParseDuration(got.String()); err != nil || back != got {
			t.Errorf("%v prints as %q", want, got)
		}
	}
	for _, in := range []string{"", "10", "-1s", "1x", "d", "1d1d", "9999999999d", "1s1d"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v", in, got)
		}
	}
}

func TestPrimary(t *testing.T) {
	for in, want := range map[string]string{
		"mail.Example.com": "mail.example.com:25", "mail.example.com.:26": "mail.example.com:26", "[mail.example.com]": "mail.example.com:25",
		"192.0.2.1": "192.0.2.1:25", "192.0.2.1:2600": "192.0.2.1:2600", "2001:db8::1": "[2001:db8::1]:25", "[2001:DB8::1]:26": "[2001:db8::1]:26",
		"[IPv6:2001:db8::1]": "[2001:db8::1]:25", "mx": "mx", "MX": "mx",
	} {
		if got, err := ParsePrimary(in); err != nil || got.Address() != want {
			t.Errorf("%q: %q, %v", in, got.Address(), err)
		}
	}
	for _, in := range []string{"", "a b", "host:", "host:0", "host:99999", "[::1", "[::1]x", "-a.example", "a..b", "user@host", "https://host"} {
		if got, err := ParsePrimary(in); err == nil {
			t.Errorf("%q: accepted as %q", in, got.Address())
		}
	}
}

// FuzzParse: no input panics, and what is accepted survives being written and read again.
func FuzzParse(f *testing.F) {
	f.Add(Sample())
	f.Add(optional.ReplaceAllString(Sample(), "$1"))
	files, _ := filepath.Glob("testdata/bad/*.toml")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(string(text))
		}
	}
	f.Add("a=[\n'x', # y\n\"\"\"z\n\"\"\"]\n[b.\"c d\"]\ne={f=1}\n[[g]]\n[[g]]\n[g.h]")
	f.Fuzz(func(t *testing.T, text string) {
		findKeys(text)
		c, err := parse("fuzz", []byte(text))
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if c.Notify.URL != "" || c.Notify.HeartbeatURL != "" {
			return // written as **redacted**
		}
		var b strings.Builder
		if err := c.Write(&b); err != nil {
			t.Fatal(err)
		}
		again, err := parse("again", []byte(b.String()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		if diff := cmp.Diff(c, again, cmpopts.IgnoreFields(Config{}, "lines", "Files"), cmpopts.IgnoreFields(DNSBL{}, "Parsed"), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestWarnsOfNotifyCommand: a program that isn't there keeps nobody from serving mail, but isn't passed over in silence.
func TestWarnsOfNotifyCommand(t *testing.T) {
	for program, warned := range map[string]bool{"/nonexistent/page": true, os.Args[0]: false} {
		c := &Config{Hostname: "mx2.example.test", Notify: Notify{Command: []string{program}}}
		if got := strings.Contains(strings.Join(c.Warnings(), "\n"), "notify.command"); got != warned {
			t.Errorf("%s: %q", program, c.Warnings())
		}
	}
}

// TestWarnsOfReadablePasswords: the file may be read by everybody only while it holds no password.
func TestWarnsOfReadablePasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "restante.toml")
	for _, x := range []struct {
		mode     os.FileMode
		password string
		warned   bool
	}{{0o644, "secret", true}, {0o640, "secret", false}, {0o644, "", false}} {
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(file, x.mode)); err != nil {
			t.Fatal(err)
		}
		c := &Config{Hostname: "mx2.example.test", Files: []string{file}, Domains: []Domain{{Name: "example.test", Recipients: []string{"@"}, Submission: Submission{Password: Secret(x.password)}}}}
		if got := strings.Contains(strings.Join(c.Warnings(), "\n"), "everybody on this machine"); got != x.warned {
			t.Errorf("%v: %q", x, c.Warnings())
		}
	}
}

// TestWarnsOfUnfitCertificate: mail is taken all the same, so it isn't an error.
func TestWarnsOfUnfitCertificate(t *testing.T) {
	c := &Config{Hostname: "mx2.example.test", Webmail: Webmail{Listen: []string{"127.0.0.1:443"}, TLS: "files", TLSCert: os.DevNull, TLSKey: os.DevNull}}
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "its certificate can't be used: failed to find any PEM data") {
		t.Error(w)
	}
	c.Webmail.TLS = "acme"
	if w := strings.Join(c.Warnings(), "\n"); strings.Contains(w, "certificate") {
		t.Error(w)
	}
}

package accounts

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// hashes are what Dovecot's doveadm pw and OpenSSL's passwd made of these passwords.
var hashes = []struct{ name, password, hash string }{
	{"ARGON2ID", "correct horse", "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$B+8aU42igprnx8jgWV7lVA$BrLhRNMuLA14dGkOMEz847Af2P58uE7vfACxlElxRP8"},
	{"BLF-CRYPT", "correct horse", "{BLF-CRYPT}$2y$05$y0DqNczcAYApULH/1cGA8eAqPfIGPhC4tEagxEas3ADU5aVOmm1g."},
	{"SHA512-CRYPT", "correct horse", "{SHA512-CRYPT}$6$kCYM5G55UUzoinmJ$mrWk7ZHizV.bYBMg6fjhWuIUhdpln8tKB.DHdFGx.dBDzX.WPnioQqeodKDVRcsBPLi7CfLxxgdktN9YlFHNG1"},
	{"crypt without a scheme", "correct horse", "$6$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFtv/uamSo5z0"},
	{"SSHA", "correct horse", "{SSHA}X6s9u/GtqzvsRYXKh4Q4MczTJJtu7YSw"},
	{"SSHA.HEX", "correct horse", "{SSHA.HEX}0e4f3ce2d5bca05545d2d27c62c5ffc33f0346591c134b21"},
	{"apr1", "correct horse", "$apr1$8sFt66rZ$4pu19B4B6DfMiNaqqF996/"},
	{"apr1, empty", "", "$apr1$ab$S8K6Sgp3W8c9Jb6LxgywZ."},
	{"apr1, long", "a very long password which has more than sixteen octets ä", "$apr1$r31.....$lbpADO/nNScIbp6jHI10Q."},
}

// TestImportedHashes: each scheme verifies the right password only, and the first good sign-in replaces it.
func TestImportedHashes(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	var rows []Row
	for i, h := range hashes {
		rows = append(rows, Row{Line: i + 1, Address: fmt.Sprintf("p%d@example.com", i), Password: h.hash})
	}
	res, err := d.Import(t.Context(), "admin root", rows, ImportOptions{})
	if err != nil || len(res.Added) != len(hashes) || len(res.Notes) != 0 {
		t.Fatal(res, err)
	}
	for i, h := range hashes {
		address := rows[i].Address
		want(t, h.name+", wrong", d.VerifyPassword(t.Context(), address, h.password+"x"), ErrWrong)
		r, _ := d.Register(address, FieldPassword, "")
		if plain, err := d.Reveal(r); err != nil || Hash(plain).current() {
			t.Errorf("%s: replaced by a wrong password %v", h.name, err)
		}
		want(t, h.name+", right", d.VerifyPassword(t.Context(), address, h.password), nil)
		r, _ = d.Register(address, FieldPassword, "")
		if plain, err := d.Reveal(r); err != nil || !Hash(plain).current() {
			t.Errorf("%s: not replaced: %s %v", h.name, plain, err)
		}
		want(t, h.name+", right again", d.VerifyPassword(t.Context(), address, h.password), nil)
		want(t, h.name+", wrong again", d.VerifyPassword(t.Context(), address, h.password+"x"), ErrWrong)
	}
	n := len(l.all())
	res, err = d.Import(t.Context(), "admin root", rows, ImportOptions{})
	if err != nil || res.Same != len(hashes) || len(l.all()) != n {
		t.Errorf("the same file again changes something: %+v %v", res, err)
	}
}

// TestHashesRefused: what is damaged, unknown or too dear.
func TestHashesRefused(t *testing.T) {
	for hash, why := range map[string]string{
		"":                                   "no scheme",
		"secret":                             "no scheme",
		"{PLAIN}secret":                      "can't be taken over",
		"{CRAM-MD5}38b57fd1":                 "can't be taken over",
		"{SHA}0DPiKuNIrrVmD8IUCuw":           "can't be taken over",
		"{SSHA}AAAA":                         "damaged",
		"{SSHA.X}AAAA":                       "not known",
		"$apr1$aa":                           "damaged",
		"$1$saltsalt$abcdefghijklmnopqrstuv": "no scheme",
		"$argon2id$v=19$m=9999999,t=3,p=1$B+8aU42igprnx8jgWV7lVA$BrLhRNMuLA14dGkOMEz847Af2P58uE7vfACxlElxRP8":   "too much",
		"$argon2id$v=19$m=65536,t=99,p=1$B+8aU42igprnx8jgWV7lVA$BrLhRNMuLA14dGkOMEz847Af2P58uE7vfACxlElxRP8":    "too much",
		"$argon2id$v=19$t=1,m=99999999999999999999,p=1$B+8aU42igprnx8jgWV7lVA$BrLhRNMuLA14dGkOMEz847Af2P58uE7v": "too much",
		"$argon2id$junk": "damaged",
		"$2y$31$y0DqNczcAYApULH/1cGA8eAqPfIGPhC4tEagxEas3ADU5aVOmm1g.":          "too much",
		"$6$rounds=999999999$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDf": "too much",
	} {
		if h, err := ParseHash(hash); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %q %v, want %q", hash, h, err, why)
		}
	}
}

const peopleCSV = "\ufeffMail;Display Name;Aliases;Kind;Members;Language;Phone\r\n" +
	"Anna@example.com;\"Schmidt; Anna\";a.s@example.com, smtp:anna.s@example.com;;;de;123\r\n" +
	"ben@example.com;Ben;;;;;\r\n" +
	"\r\n" +
	"sales@example.com;;;group;anna@example.com late@example.com ceo@elsewhere.net team@example.com;;\r\n" +
	"team@example.com;;;list;ben@example.com sales@example.com;;\r\n" +
	"info@example.com;;;shared;a.s@example.com | team@example.com;;\r\n" +
	"ben@example.com;Ben again;;;;;\r\n" +
	";nobody;;;;;\r\n" +
	"broken;x;;;;;\r\n" +
	"cleo@example.com;Cleo;a.s@example.com;;;xx yy;\r\n" +
	"dora@example.com;Dora;a.s@example.com;robot;;;\r\n" +
	"emil@elsewhere.net;Emil;;;;;\r\n"

// TestImportCSV: people, aliases, groups within groups, shared mailboxes, members that come later; what can't be taken over is named by its line.
func TestImportCSV(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	rows, notes, err := Parse(FormatCSV, []byte(peopleCSV), "")
	if err != nil {
		t.Fatal(err)
	}
	dry, err := d.Import(t.Context(), "admin root", rows, ImportOptions{DryRun: true})
	if err != nil || len(l.all()) != 0 || !dry.DryRun {
		t.Fatal("a dry run changed something", err)
	}
	res, err := d.Import(t.Context(), "admin root", rows, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	res.DryRun = true
	same(t, "as said before", res, dry)
	same(t, "added", res.Added, []string{"anna@example.com", "ben@example.com"})
	same(t, "groups", res.Groups, 3)
	var text []string
	for _, n := range append(notes, res.Notes...) {
		text = append(text, fmt.Sprintf("%d %v %s", n.Line, n.Skipped, n.Text))
	}
	slices.Sort(text)
	same(t, "notes", strings.Join(text, "\n"), strings.Join([]string{
		`1 false columns passed over: Phone`,
		`10 true "broken" is no address: write for example anna@example.com; --domain completes users without one`,
		`11 false alias a.s@example.com belongs to anna@example.com`,
		`11 true "xx yy" is no language of the pages: write en, fr, de, ja, or nothing for what the browser wishes`,
		`12 true kind "robot" is not known: write person, group or shared`,
		`13 true emil@elsewhere.net: elsewhere.net is no domain of this node`,
		`5 false 1 of its members have no account yet; they will read it once they have one`,
		`5 false member ceo@elsewhere.net is elsewhere and reads nothing here`,
		`6 false 1 of its members have no account yet; they will read it once they have one`,
		`7 false 1 of its members have no account yet; they will read it once they have one`,
		`8 true ben@example.com stands in line 3 already`,
		`9 true there is no address`,
	}, "\n"))
	a, _ := d.Account("anna@example.com")
	same(t, "anna", []any{a.Name, a.Aliases, a.Shared, a.Groups, a.Language}, []any{"Schmidt; Anna", []string{"a.s@example.com", "anna.s@example.com"}, []string{"info@example.com"}, []string{"sales@example.com", "team@example.com"}, "de"})
	b, _ := d.Account("ben@example.com")
	same(t, "ben", []any{b.Shared, b.Groups}, []any{[]string{"info@example.com"}, []string{"sales@example.com", "team@example.com"}})
	if d.Claimed("late@example.com") {
		t.Error("a member without an account has one")
	}
	must(t, d, "late@example.com")
	late, _ := d.Account("late@example.com")
	same(t, "late", late.Groups, []string{"sales@example.com", "team@example.com"})
	n := len(l.all())
	res, err = d.Import(t.Context(), "admin root", rows, ImportOptions{})
	if err != nil || res.Same != 2 || len(res.Added)+len(res.Changed) > 0 || len(l.all()) != n {
		t.Errorf("the same file again changes something: %+v %v, %d events", res, err, len(l.all())-n)
	}
	same(t, "absent", res.Absent, []string{"late@example.com"})
}

// TestImportAgain: what people set here stays unless it is told otherwise.
func TestImportAgain(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	load := func(o ImportOptions, rows ...Row) *ImportResult {
		t.Helper()
		res, err := d.Import(t.Context(), "admin root", rows, o)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	row := Row{Line: 1, Address: "anna@example.com", Name: "Anna", Aliases: []string{"a@example.com", "b@example.com"}, Groups: []string{"g@example.com"}, Password: hashes[1].hash}
	load(ImportOptions{}, row)
	row.Aliases, row.Groups, row.Name = []string{"a@example.com"}, nil, ""
	if res := load(ImportOptions{}, row); res.Same != 1 {
		t.Errorf("%+v", res)
	}
	if res := load(ImportOptions{Exact: true}, row); len(res.Changed) != 1 {
		t.Errorf("%+v", res)
	}
	a, _ := d.Account("anna@example.com")
	same(t, "exact", []any{a.Name, a.Aliases, a.Groups}, []any{"Anna", []string{"a@example.com"}, []string{}})
	want(t, "own password", d.SetPassword(t.Context(), "anna@example.com", "anna@example.com", "my own password", SetBySelf), nil)
	row.Password = hashes[4].hash
	if res := load(ImportOptions{}, row); res.Same != 1 || len(res.Notes) != 1 || !strings.Contains(res.Notes[0].Text, "is kept") {
		t.Errorf("%+v", res)
	}
	want(t, "still", d.VerifyPassword(t.Context(), "anna@example.com", "my own password"), nil)
	if res := load(ImportOptions{Passwords: true}, row); len(res.Changed) != 1 {
		t.Errorf("%+v", res)
	}
	want(t, "replaced", d.VerifyPassword(t.Context(), "anna@example.com", "correct horse"), nil)
	row.Password = "{PLAIN}x"
	if res := load(ImportOptions{}, row); len(res.Notes) != 1 || res.Notes[0].Skipped {
		t.Errorf("%+v", res)
	}
	want(t, "delete", d.Delete(t.Context(), "x", "anna@example.com"), nil)
	if res := load(ImportOptions{}, row); len(res.Notes) != 1 || !strings.Contains(res.Notes[0].Text, "undelete") {
		t.Errorf("%+v", res)
	}
	_, err := d.Import(t.Context(), "x", make([]Row, importMax+1), ImportOptions{})
	want(t, "too many rows", err, ErrInvalid)
}

// TestImportPasswd: Dovecot's passwd-file and htpasswd.
func TestImportPasswd(t *testing.T) {
	rows, notes, err := Parse(FormatDovecot, []byte("# users\n\nanna:{BLF-CRYPT}$2y$05$abc:1000:1000:Anna Schmidt,room 5:/home/anna::userdb_mail=x:y\nben@example.org:$6$x::::::\nnonsense\n"), "example.com")
	if err != nil || len(rows) != 2 || len(notes) != 1 || notes[0].Line != 5 {
		t.Fatal(rows, notes, err)
	}
	same(t, "anna", rows[0], Row{Line: 3, Kind: RowPerson, Address: "anna@example.com", Name: "Anna Schmidt", Password: "{BLF-CRYPT}$2y$05$abc"})
	same(t, "ben", rows[1], Row{Line: 4, Kind: RowPerson, Address: "ben@example.org", Password: "$6$x"})
	rows, _, err = Parse(FormatHtpasswd, []byte("anna:$apr1$8sFt66rZ$4pu19B4B6DfMiNaqqF996/\r\n"), "example.com")
	if err != nil || len(rows) != 1 || rows[0].Password != "$apr1$8sFt66rZ$4pu19B4B6DfMiNaqqF996/" {
		t.Fatal(rows, err)
	}
	for _, file := range []struct{ format, text, why string }{
		{FormatCSV, "", "empty"}, {FormatCSV, "name,phone\nAnna,1\n", "none called address"}, {FormatCSV, "address\n", "nobody"},
		{FormatCSV, "address,name\na@example.com,\"x\nb@example.com,y\n", "can't be read"}, {FormatDovecot, "# nobody\n", "nobody"}, {"ldif", "x", "not known"},
	} {
		if _, _, err := Parse(file.format, []byte(file.text), ""); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), file.why) {
			t.Errorf("%q: %v", file.text, err)
		}
	}
}

// TestFilesOfOfficePrograms: Windows-1252 and UTF-16 with tabs are read, and it is said when that was a guess.
func TestFilesOfOfficePrograms(t *testing.T) {
	rows, notes, err := Parse(FormatCSV, []byte("address,name\nj@example.com,J\xfcrgen\n"), "")
	if err != nil || rows[0].Name != "Jürgen" || len(notes) != 1 || !strings.Contains(notes[0].Text, "Windows-1252") {
		t.Error(rows, notes, err)
	}
	utf16 := []byte{0xff, 0xfe}
	for _, r := range "address\tname\nj@example.com\tJürgen\n" {
		utf16 = append(utf16, byte(r), byte(r>>8))
	}
	rows, notes, err = Parse(FormatCSV, utf16, "")
	if err != nil || len(rows) != 1 || rows[0].Name != "Jürgen" || len(notes) != 0 {
		t.Error(rows, notes, err)
	}
}

// TestExport: what is exported imports to the same, into another cluster with its passwords, and no cell is a formula.
func TestExport(t *testing.T) {
	l := newLedger(t)
	d := l.node(t)
	yes := true
	if _, err := d.Add(t.Context(), "x", "anna@example.com", Edit{Name: str("=cmd()"), Aliases: []string{"a@example.com", "b@example.com"}, Shared: []string{"info@example.com"}, Groups: []string{"g@example.com"}, Zone: str("Europe/Paris"), Language: str("fr"), Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	must(t, d, "ben@example.com")
	want(t, "password", d.SetPassword(t.Context(), "x", "ben@example.com", "correct horse", SetBySelf), nil)
	var b bytes.Buffer
	if err := d.WriteCSV(&b, true); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), ",=cmd") {
		t.Error(b.String())
	}
	other := newLedger(t).node(t)
	rows, notes, err := Parse(FormatCSV, b.Bytes(), "")
	if err != nil || len(notes) != 0 {
		t.Fatal(notes, err)
	}
	if res, err := other.Import(t.Context(), "x", rows, ImportOptions{}); err != nil || len(res.Added) != 2 || len(res.Notes) != 0 {
		t.Fatal(res, err)
	}
	want(t, "there", other.VerifyPassword(t.Context(), "ben@example.com", "correct horse"), nil)
	for i, a := range d.All() {
		b := other.All()[i]
		a.Created = b.Created
		same(t, a.Address, b, a)
	}
	b.Reset()
	if err := d.WriteCSV(&b, false); err != nil || strings.Contains(b.String(), "argon2") {
		t.Error(b.String(), err)
	}
}

// FuzzParse: no file makes it fail otherwise than by an error, and what is read can be imported.
func FuzzParse(f *testing.F) {
	f.Add(FormatCSV, []byte(peopleCSV))
	f.Add(FormatDovecot, []byte("anna:{SSHA}AAAA:::Anna::\n"))
	f.Add(FormatHtpasswd, []byte("anna:$apr1$8sFt66rZ$4pu19B4B6DfMiNaqqF996/\n"))
	f.Add(FormatCSV, []byte("address,members,kind\na@example.com,a@example.com b@example.com,group\nb@example.com,a@example.com,group\n"))
	l := newLedger(f)
	f.Fuzz(func(t *testing.T, format string, file []byte) {
		rows, _, err := Parse(format, file, "example.com")
		if err != nil {
			return
		}
		if _, err := l.node(t).Import(t.Context(), "x", rows, ImportOptions{DryRun: true}); err != nil && !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	})
}

// BenchmarkImport is 10,000 people in groups of 100.
func BenchmarkImport(b *testing.B) {
	var rows []Row
	for i := range 10000 {
		rows = append(rows, Row{Line: i + 2, Address: fmt.Sprintf("p%d@example.com", i), Name: fmt.Sprint("Person ", i), Aliases: []string{fmt.Sprintf("a%d@example.com", i)}})
		if i%100 == 0 {
			g := Row{Line: i + 20000, Kind: RowGroup, Address: fmt.Sprintf("g%d@example.com", i)}
			for j := range 100 {
				g.Members = append(g.Members, fmt.Sprintf("p%d@example.com", i+j))
			}
			rows = append(rows, g)
		}
	}
	for b.Loop() {
		if res, err := newLedger(b).node(b).Import(b.Context(), "x", rows, ImportOptions{}); err != nil || len(res.Added) != 10000 {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadiness is what status asks, of 10,000 people.
func BenchmarkReadiness(b *testing.B) {
	var rows []Row
	for i := range 10000 {
		rows = append(rows, Row{Line: i + 2, Address: fmt.Sprintf("p%d@example.com", i), Password: hashes[6].hash})
	}
	d := newLedger(b).node(b)
	if _, err := d.Import(b.Context(), "x", rows, ImportOptions{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r := d.Readiness(); r.Could != 10000 {
			b.Fatal(r.Could)
		}
	}
}

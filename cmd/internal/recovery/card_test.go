package recovery

import (
	"strings"
	"testing"

	"restante/spool/secret"
)

func example() *Card {
	return &Card{
		Store:  "s3://mail-spool/mx2?endpoint=https%3A%2F%2Fs3.example.net&region=eu-central-1",
		Access: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY#1", Cluster: "01JA2B3C4D5E6F7G8H9J0KMNPQ", Node: "mx2.example.net", Key: secret.NewKey(),
	}
}

func TestCardIsReadBack(t *testing.T) {
	c := example()
	text := c.Text()
	for name, typed := range map[string]string{
		"as printed":  text,
		"from a mail": "> scan of the card:\r\n\r\n" + strings.ReplaceAll(text, "\n", "\r\n") + "\r\nthe end\r\n",
		"wrapped":     strings.NewReplacer("endpoint", "\n  endpoint", "  #", "\n#").Replace(text),
		"with colons": strings.NewReplacer("store ", "Store:  ", "key ", "KEY:").Replace(text),
		"one blank":   strings.Join(strings.Fields(strings.ReplaceAll(text, "\n", " \x00 ")), " "),
	} {
		typed = strings.ReplaceAll(typed, " \x00 ", "\n")
		typed = strings.ReplaceAll(typed, " \x00", "\n")
		got, err := Parse(typed)
		if err != nil || *got != *c {
			t.Errorf("%s: %v\n%s", name, err, typed)
		}
		read, err := ReadText(strings.NewReader(strings.TrimSuffix(typed, "\n") + "\nmore\n"))
		if err != nil || strings.Contains(read, "more") {
			t.Errorf("%s: %q %v", name, read, err)
		}
		if got, err := Parse(read); err != nil || *got != *c {
			t.Errorf("%s, as it is read: %v", name, err)
		}
	}
	misread := strings.Split(text, "\n")
	misread[6] = strings.ToLower(strings.NewReplacer("0", "O", "1", "l").Replace(misread[6]))
	if got, err := Parse(strings.Join(misread, "\n")); err != nil || got.Key != c.Key {
		t.Errorf("O for 0 in the key: %v", err)
	}
	bare := &Card{Store: "file:///srv/spool", Cluster: c.Cluster, Key: c.Key}
	if got, err := Parse(bare.Text()); err != nil || *got != *bare {
		t.Errorf("without credentials: %v", err)
	}
}

// TestTypos: whatever single character is wrong, the card is refused, and the line is named.
func TestTypos(t *testing.T) {
	c := example()
	text := c.Text()
	missed, all := 0, 0
	for i, r := range text {
		wrong := 'x'
		if r == 'x' || r == 'X' {
			wrong = 'y'
		}
		if r == '\n' || r == ' ' || r == '-' {
			continue
		}
		all++
		got, err := Parse(text[:i] + string(wrong) + text[i+1:])
		if err == nil && *got != *c {
			missed++
		}
		if err != nil && strings.Contains(err.Error(), c.Secret) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	if missed > 2 { // two digits miss one in a thousand; the key has a checksum of its own
		t.Errorf("%d of %d typos were taken", missed, all)
	}
	for _, name := range []string{"store", "cluster", "key", "secret", "RESTANTE"} {
		var left []string
		for _, row := range strings.Split(text, "\n") {
			if !strings.HasPrefix(row, name) {
				left = append(left, row)
			}
		}
		if _, err := Parse(strings.Join(left, "\n")); err == nil {
			t.Errorf("a card without %s was taken", name)
		}
	}
	if _, err := Parse(strings.Repeat("x", maxCard+1)); err == nil {
		t.Error("no limit")
	}
	if _, err := Parse(text + text); err == nil {
		t.Error("two cards in one")
	}
}

func TestQRCode(t *testing.T) {
	c := example()
	c.Store += strings.Repeat("x", 300)
	code, err := c.QR()
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Count(Blocks(code), "\n")
	if rows != (code.Size+5)/2 {
		t.Errorf("%d rows for %d modules", rows, code.Size)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example().Text())
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(c.Text()); err != nil || *again != *c {
			t.Errorf("%q: %v", s, err)
		}
	})
}

package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func ring(t *testing.T) *Keyring {
	t.Helper()
	r, err := NewKeyring(NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEncryptedForOnePurpose(t *testing.T) {
	r := ring(t)
	for _, plain := range []string{"", "hunter2", strings.Repeat("x", MaxPlain)} {
		text, err := r.Encrypt("totp/anna@example.com", []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		if plain != "" && strings.Contains(text, plain) {
			t.Error("the plain text shows")
		}
		got, err := r.Decrypt("totp/anna@example.com", text)
		if err != nil || string(got) != plain {
			t.Errorf("got %d octets, %v", len(got), err)
		}
		if _, err := r.Decrypt("totp/max@example.com", text); !errors.Is(err, ErrDamaged) {
			t.Errorf("for another purpose: %v", err)
		}
	}
	if _, err := r.Encrypt("x", make([]byte, MaxPlain+1)); err == nil {
		t.Error("no limit")
	}
	one, _ := r.Encrypt("x", []byte("same"))
	two, _ := r.Encrypt("x", []byte("same"))
	if one == two {
		t.Error("the same text twice")
	}
}

func TestChangedAnywhereIsDamaged(t *testing.T) {
	r := ring(t)
	text, err := r.Encrypt("x", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		for _, c := range []byte("A_.~") {
			if text[i] == c {
				continue
			}
			bad := text[:i] + string(c) + text[i+1:]
			if plain, err := r.Decrypt("x", bad); err == nil {
				t.Errorf("octet %d changed: %q", i, plain)
			}
		}
		if _, err := r.Decrypt("x", text[:i]); err == nil {
			t.Errorf("cut at %d", i)
		}
	}
}

func TestWrongKeySaysWhatToDo(t *testing.T) {
	text, err := ring(t).Encrypt("dkim/example.com/s1", []byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ring(t).Decrypt("dkim/example.com/s1", text)
	if !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "recovery card") || !strings.Contains(err.Error(), "dkim/example.com/s1") {
		t.Errorf("%v", err)
	}
}

func TestReplacedKeyStillDecrypts(t *testing.T) {
	old := ring(t)
	text, _ := old.Encrypt("x", []byte("before"))
	both, err := NewKeyring(NewKey(), old.Key())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Decrypt("x", text); err != nil || string(got) != "before" {
		t.Errorf("%q %v", got, err)
	}
	fresh, _ := both.Encrypt("x", []byte("after"))
	if _, err := old.Decrypt("x", fresh); !errors.Is(err, ErrWrongKey) {
		t.Errorf("encrypted with the old key: %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	if _, err := Open(path); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "restante recover") {
		t.Errorf("without a file: %v", err)
	}
	made, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left over: %v %v", left, err)
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwritten: %v", err)
	}
	again, err := Open(path)
	if err != nil || again.ID() != made.ID() || again.Key() != made.Key() {
		t.Fatalf("another key: %v", err)
	}
	for _, bad := range []string{"", "# nothing\n", "0000-0000\n", strings.Repeat("A", maxKeyFile+1), strings.Replace(made.Key().Text(), "-", "-Z", 1)} {
		p := filepath.Join(t.TempDir(), "bad.key")
		if err := os.WriteFile(p, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(p); err == nil {
			t.Errorf("%.20q was read", bad)
		}
	}
}

func TestKeyAsText(t *testing.T) {
	for range 200 {
		k := NewKey()
		text := k.Text()
		if len(text) != 14*5-1 {
			t.Fatalf("%d characters", len(text))
		}
		if strings.ContainsAny(text, "ILOU") {
			t.Fatalf("%s can be misread", text)
		}
		for _, typed := range []string{text, strings.ToLower(text), strings.ReplaceAll(text, "-", " "), strings.ReplaceAll(text, "0", "o"), strings.ReplaceAll(text, "1", "l")} {
			if got, err := ParseKey(typed); err != nil || got != k {
				t.Fatalf("%s: %v", typed, err)
			}
		}
	}
	text := NewKey().Text()
	for i := range text {
		if text[i] == '-' {
			continue
		}
		c := byte('0')
		if text[i] == c {
			c = '7'
		}
		if _, err := ParseKey(text[:i] + string(c) + text[i+1:]); err == nil {
			t.Errorf("a typo at %d was taken", i)
		}
	}
}

func TestBase32(t *testing.T) {
	for n := range 40 {
		raw := make([]byte, n)
		for i := range raw {
			raw[i] = byte(i*37 + n)
		}
		got, err := FromBase32(Base32(raw))
		if err != nil || string(got) != string(raw) {
			t.Errorf("%d octets: %x, %v", n, got, err)
		}
	}
}

func TestKeysDontShow(t *testing.T) {
	k := NewKey()
	encoded, err := json.Marshal(map[string]any{"key": k})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{string(encoded), fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %x", k, k, k, k, k)} {
		if strings.Contains(shown, k.Text()) || strings.Contains(shown, fmt.Sprintf("%x", k[:])) {
			t.Errorf("the key shows: %s", shown)
		}
	}
}

func FuzzDecrypt(f *testing.F) {
	r, err := NewKeyring(NewKey())
	if err != nil {
		f.Fatal(err)
	}
	text, _ := r.Encrypt("x", []byte("y"))
	f.Add(text)
	f.Add("r1..")
	f.Fuzz(func(t *testing.T, s string) {
		if plain, err := r.Decrypt("x", s); err == nil && string(plain) != "y" {
			t.Errorf("%q gives %q", s, plain)
		}
	})
}

package batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restante/spool/need"
)

var update = flag.Bool("update", false, "write the golden files anew")

var day = time.Date(2026, 11, 21, 18, 0, 0, 0, time.UTC)

const (
	cluster = "01JD0000000000000000000000"
	mail    = "mail/n1-01JD0000000000000000000001"
	events  = "ledger/n1-01JD0000000000000000000002"
)

func header(stream string, seq uint64, prev string, kind Kind) *Header {
	return &Header{Kind: kind, Cluster: cluster, Stream: stream, Seq: seq, Time: day, Nonce: fmt.Sprintf("%032x", seq), By: "n1", Prev: prev}
}

func id(n int) string { return fmt.Sprintf("01JD%022d", n) }

func message(n int, body string) Message {
	return Message{ID: id(n), Time: day, Trace: []byte("Received: by mx2\r\n"), Body: []byte(body),
		Entry: fmt.Appendf(nil, `{"id":"%s","from":"a%d@example.net"}`, id(n), n)}
}

// sampleMail is a batch of three messages: an ordinary one, an empty one, a big one.
func sampleMail(c *Codec) (object []byte, h *Header, refs []Ref) {
	big := message(3, "")
	big.Big = &Big{Size: 5 << 20, SHA256: strings.Repeat("ab", 32), Length: 4 << 20}
	h = header(mail, 0, Genesis(cluster, mail), Batch)
	object, refs = c.Mail(h, []*Item{c.Encode(message(1, "Subject: one\r\n\r\nfirst\r\n")), c.Encode(message(2, "")), c.Encode(big)})
	return object, h, refs
}

func sampleLedger(c *Codec) (object []byte, h *Header) {
	h = header(events, 7, strings.Repeat("0", 64), Batch)
	return c.Ledger(h, []Line{{ID: "E1", JSON: []byte(`{"id":"E1","type":"delivered"}`)}, {ID: "E2", JSON: []byte(`{"id":"E2","type":"learned"}`)}}), h
}

func TestMailRoundTrip(t *testing.T) {
	c := New()
	object, h, refs := sampleMail(c)
	toc, need, err := c.TOC(object[len(object)-FooterSize:], int64(len(object)))
	if err != nil || toc != nil || need <= FooterSize {
		t.Fatalf("a footer alone: toc %v, need %d, err %v; want only the number of octets needed", toc, need, err)
	}
	toc, _, err = c.TOC(object[int64(len(object))-need:], int64(len(object)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*h, toc.Header); diff != "" {
		t.Error("header:", diff)
	}
	if err := toc.VerifyChain(); err != nil {
		t.Error(err)
	}
	wants := []string{"Received: by mx2\r\nSubject: one\r\n\r\nfirst\r\n", "Received: by mx2\r\n"}
	for i, want := range wants {
		r := refs[i]
		name, content, err := c.Member(object[r.Offset : r.Offset+r.Length])
		if err != nil || name != id(i+1)+".eml" || string(content) != want {
			t.Errorf("member %d: %q %q %v, want %q", i, name, content, err, want)
		}
		if toc.Entries[i].EML.SHA256 != hexSum([]byte(want)) || toc.Entries[i].EML.Size != int64(len(want)) {
			t.Errorf("row %d: %+v does not describe the member", i, toc.Entries[i])
		}
	}
	big := toc.Entries[2]
	if !big.Big || big.EML.Length != 4<<20 || big.EML.Size != 5<<20 || refs[2] != (Ref{}) {
		t.Errorf("big row: %+v, ref %+v", big, refs[2])
	}
	if string(big.Entry) != `{"id":"`+id(3)+`","from":"a3@example.net"}` {
		t.Errorf("entry in the table of contents: %s", big.Entry)
	}
}

func TestLedgerRoundTrip(t *testing.T) {
	c := New()
	object, h := sampleLedger(c)
	got, err := c.Events(object)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*h, got.Header); diff != "" {
		t.Error(diff)
	}
	if len(got.Lines) != 2 || got.Lines[1].ID != "E2" || string(got.Lines[0].JSON) != `{"id":"E1","type":"delivered"}` {
		t.Errorf("lines: %q", got.Lines)
	}
	if err := got.VerifyChain(); err != nil {
		t.Error(err)
	}
	got.Lines[0].JSON = []byte(`{"id":"E1","type":"removed"}`)
	if err := got.VerifyChain(); !errors.Is(err, ErrDamaged) {
		t.Errorf("a changed event still verifies: %v", err)
	}
}

func TestVoidAndSeal(t *testing.T) {
	c := New()
	for _, kind := range []Kind{Void, Seal} {
		object, _ := c.Mail(header(mail, 4, strings.Repeat("1", 64), kind), nil)
		toc, _, err := c.TOC(object, int64(len(object)))
		if err != nil || toc.Kind != kind || len(toc.Entries) != 0 || toc.VerifyChain() != nil {
			t.Errorf("mail %s: %+v, %v", kind, toc, err)
		}
		ev, err := c.Events(c.Ledger(header(events, 4, strings.Repeat("1", 64), kind), nil))
		if err != nil || ev.Kind != kind || ev.VerifyChain() != nil {
			t.Errorf("ledger %s: %+v, %v", kind, ev, err)
		}
		if ev.Chain != toc.Chain {
			t.Error("one chain rule for both")
		}
	}
	void := header(mail, 4, "x", Void)
	seal := header(mail, 4, "x", Seal)
	c.Mail(void, nil)
	c.Mail(seal, nil)
	if void.Chain == seal.Chain {
		t.Error("a void and a seal have the same chain hash")
	}
}

// TestGolden: what was written once can be read for ever, and is still written so.
func TestGolden(t *testing.T) {
	c := New()
	m, h, _ := sampleMail(c)
	seal, _ := c.Mail(header(mail, 1, h.Chain, Seal), nil)
	l, _ := sampleLedger(c)
	erased, err := c.Erase(m, eraseFirst)
	if err != nil {
		t.Fatal(err)
	}
	for name, object := range map[string][]byte{"mail.tar.zst": m, "seal.tar.zst": seal, "ledger.jsonl.zst": l, "erased.tar.zst": erased} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, object, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The compressed octets may change with the compressor; what they hold may not.
		if diff := cmp.Diff(plain(t, c, golden), plain(t, c, object)); diff != "" {
			t.Errorf("%s (golden, now): %s", name, diff)
		}
	}
	golden, err := os.ReadFile("testdata/mail.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	toc, _, err := c.TOC(golden, int64(len(golden)))
	if err != nil || toc.VerifyChain() != nil || len(toc.Entries) != 3 {
		t.Errorf("golden batch can't be read: %v", err)
	}
}

func eraseFirst(id string, entry json.RawMessage) (json.RawMessage, bool) {
	return json.RawMessage(`{"id":"` + id + `"}`), strings.HasSuffix(id, "1")
}

// plain decompresses all, without what depends on compressed lengths.
func plain(t *testing.T, c *Codec, object []byte) string {
	b, err := c.decode(object)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for part := range bytes.SplitAfterSeq(b, []byte(`"`)) {
		out.Write(part)
	}
	s := out.String()
	for _, key := range []string{`"offset":`, `"length":`} {
		parts := strings.Split(s, key)
		for i := 1; i < len(parts); i++ {
			parts[i] = strings.TrimLeft(parts[i], "0123456789")
		}
		s = strings.Join(parts, key)
	}
	return withoutTOCHeader(s)
}

// withoutTOCHeader blanks the size and checksum of toc.json, which depend on the digits of those lengths.
func withoutTOCHeader(s string) string {
	i := strings.Index(s, "toc.json\x00")
	if i < 0 {
		return s
	}
	return strings.TrimRight(s[:i], "\x00") + strings.Trim(s[i+blockSize:], "\x00")
}

// TestRealTools: promise 9. Any number of batches, voids and seals in a row are read without us.
func TestRealTools(t *testing.T) {
	for _, tool := range []string{"zstd", "tar", "sh", "cat"} {
		need.Program(t, tool)
	}
	c := New()
	dir := t.TempDir()
	put := func(name string, object []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, object, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	first, _, _ := sampleMail(c)
	second, _ := c.Mail(header(mail, 2, "x", Batch), []*Item{c.Encode(message(4, "four\r\n"))})
	void, _ := c.Mail(header(mail, 1, "x", Void), nil)
	seal, _ := c.Mail(header(mail, 3, "x", Seal), nil)
	other, _ := c.Mail(header(mail, 3, "x", Batch), []*Item{c.Encode(message(5, strings.Repeat("five\r\n", 1000)))})
	for i, object := range [][]byte{first, void, second, seal} {
		put(fmt.Sprintf("mail/s1/0000000000000/%016x.tar.zst", i), object)
	}
	put("mail/s2/0000000000000/0000000000000000.tar.zst", other)
	l, _ := sampleLedger(c)
	put("ledger/s3/0000000000000/0000000000000000.jsonl.zst", l)

	run := func(command string) string {
		cmd := exec.Command("sh", "-ec", command)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	if out := run("cat mail/*/*/*.tar.zst | zstd -dc | tar xif -"); out != "" {
		t.Errorf("tar or zstd complains: %s", out)
	}
	for n, want := range map[int]string{1: "Received: by mx2\r\nSubject: one\r\n\r\nfirst\r\n", 2: "Received: by mx2\r\n",
		4: "Received: by mx2\r\nfour\r\n", 5: "Received: by mx2\r\n" + strings.Repeat("five\r\n", 1000)} {
		got, err := os.ReadFile(filepath.Join(dir, id(n)+".eml"))
		if err != nil || string(got) != want {
			t.Errorf("message %d: %.80q, %v", n, got, err)
		}
	}
	for n := range 5 {
		if _, err := os.Stat(filepath.Join(dir, id(n+1)+".json")); err != nil {
			t.Error(err)
		}
	}
	run("zstd -q --test mail/*/*/*.tar.zst ledger/*/*/*.jsonl.zst")
	if lines := strings.Split(strings.TrimSpace(run("zstd -dc ledger/*/*/*.jsonl.zst")), "\n"); len(lines) != 3 || !json.Valid([]byte(lines[2])) {
		t.Errorf("ledger: %q", lines)
	}
}

func TestErase(t *testing.T) {
	c := New()
	object, h, _ := sampleMail(c)
	erased, err := c.Erase(object, eraseFirst)
	if err != nil {
		t.Fatal(err)
	}
	toc, _, err := c.TOC(erased, int64(len(erased)))
	if err != nil {
		t.Fatal(err)
	}
	if toc.Chain != h.Chain || toc.VerifyChain() != nil {
		t.Error("the chain no longer verifies")
	}
	all, err := c.decode(erased)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(all, []byte("first")) || bytes.Contains(all, []byte("a1@example.net")) {
		t.Error("what was to be erased is still there")
	}
	row := toc.Entries[1]
	if _, content, err := c.Member(erased[row.EML.Offset : row.EML.Offset+row.EML.Length]); err != nil || string(content) != "Received: by mx2\r\n" {
		t.Errorf("the next message: %q, %v", content, err)
	}
	if !toc.Entries[0].Erased || toc.Entries[1].Erased {
		t.Error("flags:", toc.Entries)
	}
	again, err := c.Erase(erased, eraseFirst)
	if err != nil || len(again) != len(erased) {
		t.Errorf("erasing twice: %d then %d octets, %v", len(erased), len(again), err)
	}
}

// TestScanDamaged: with any octet changed or any end cut off, what is read is either right or an error, and the other
// members are still found.
func TestScanDamaged(t *testing.T) {
	c := New()
	object, _, _ := sampleMail(c)
	right := map[string]string{}
	for m, err := range c.Scan(object) {
		if err != nil {
			t.Fatal(err)
		}
		right[m.Name] = string(m.Content)
	}
	if len(right) != 6 {
		t.Fatalf("found %d members", len(right))
	}
	for at := range object {
		broken := bytes.Clone(object)
		broken[at] ^= 0x10
		found := 0
		for m, err := range c.Scan(broken) {
			if err != nil {
				continue
			}
			if right[m.Name] != string(m.Content) {
				t.Fatalf("octet %d flipped: %s reads as %.60q", at, m.Name, m.Content)
			}
			found++
		}
		if found < len(right)-1 {
			t.Errorf("octet %d flipped: only %d of %d members found", at, found, len(right))
		}
		if toc, _, err := c.TOC(broken, int64(len(broken))); err == nil {
			if toc.VerifyChain() != nil {
				t.Errorf("octet %d flipped: the table of contents is read wrong", at)
			}
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
			t.Errorf("octet %d flipped: %v", at, err)
		}
		for m, err := range c.Scan(object[:at]) {
			if err == nil && right[m.Name] != string(m.Content) {
				t.Fatalf("cut at %d: %s reads as %.60q", at, m.Name, m.Content)
			}
		}
	}
}

func TestNewerFormat(t *testing.T) {
	c := New()
	object, _, _ := sampleMail(c)
	object[len(object)-8]++
	if _, _, err := c.TOC(object, int64(len(object))); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
	h := Header{Format: 2, Kind: Batch}
	if err := h.check(); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
}

func FuzzTOC(f *testing.F) {
	c := New()
	object, _, _ := sampleMail(c)
	f.Add(object)
	f.Add(object[len(object)-FooterSize:])
	l, _ := sampleLedger(c)
	f.Add(l)
	f.Fuzz(func(t *testing.T, b []byte) {
		toc, need, err := c.TOC(b, int64(len(b)))
		if err == nil && toc == nil && need <= int64(len(b)) {
			t.Fatalf("wants %d octets of %d", need, len(b))
		}
		if toc != nil {
			for _, r := range toc.Entries {
				_ = b[r.JSON.Offset : r.JSON.Offset+r.JSON.Length]
				if !r.Big {
					_, _, _ = c.Member(b[r.EML.Offset : r.EML.Offset+r.EML.Length])
				}
			}
			if _, err := c.Erase(b, func(string, json.RawMessage) (json.RawMessage, bool) { return json.RawMessage(`{}`), true }); err != nil {
				t.Fatalf("a batch that can be read can't be erased: %v", err)
			}
		}
		for m, err := range c.Scan(b) {
			if err == nil && (m.Offset < 0 || m.Offset+m.Length > int64(len(b))) {
				t.Fatalf("member outside: %+v", m)
			}
		}
		if ev, err := c.Events(b); err == nil {
			for _, l := range ev.Lines {
				if l.ID == "" {
					t.Fatal("event without id")
				}
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	c := New()
	m := message(1, strings.Repeat("The quick brown fox jumps over the lazy dog.\r\n", 90))
	b.SetBytes(int64(len(m.Body)))
	b.ReportAllocs()
	for b.Loop() {
		c.Encode(m)
	}
}

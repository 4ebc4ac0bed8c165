package submit

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"restante/relay/replay"
	"restante/relay/sink"
	"restante/spool"
	"restante/spool/secret"
)

// zone answers TXT questions.
type zone struct {
	mu      sync.Mutex
	records map[string]string
	down    bool
}

func (z *zone) txt(_ context.Context, name string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.down {
		return nil, &net.DNSError{Err: "timeout", Name: name, IsTimeout: true}
	}
	if r, ok := z.records[name]; ok {
		return []string{"unrelated", r[:20] + " " + r[20:]}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z *zone) publish(keys ...Key) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.records == nil {
		z.records = make(map[string]string)
	}
	for _, k := range keys {
		z.records[k.Name] = k.Record
	}
}

// verify returns the selectors of the valid signatures of a message, by go-msgauth.
func (z *zone) verify(t *testing.T, message []byte) (good []string, bad []error) {
	t.Helper()
	vs, err := dkim.VerifyWithOptions(bytes.NewReader(message), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		z.mu.Lock()
		defer z.mu.Unlock()
		if r, ok := z.records[name]; ok {
			return []string{r}, nil
		}
		return nil, &net.DNSError{IsNotFound: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		if v.Err != nil {
			bad = append(bad, v.Err)
			continue
		}
		good = append(good, v.Domain)
	}
	return good, bad
}

func generate(t *testing.T, r *rig, selector string) []Key {
	t.Helper()
	keys, err := r.service.GenerateKey(t.Context(), hosted, selector, "admin root")
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Every message that leaves is signed by both keys, whichever way it goes, and so are bounces.
func TestSigned(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	var z zone
	z.publish(generate(t, r, "s1")...)
	r.run()
	m := r.submission("kunde@example.org", "bob@other.test")
	res := r.submit(m)
	r.state(spool.Outbound, spool.StateDelivered, 1)
	all := [][]byte{r.host.Messages()[0].Data}
	for _, id := range res.Entries {
		_, b := r.octets(id)
		all = append(all, b)
	}
	if told, err := r.service.undelivered([]replay.Undelivered{{Pair: r.view(res.Entries[0]).Pairs[0], Reply: "550 5.1.1 no"}}); !told || err != nil {
		t.Fatal(told, err)
	}
	r.sync()
	ps := r.pairs(spool.Local)
	_, bounce := r.octets(ps[len(ps)-1].Entry)
	for _, b := range append(all, bounce) {
		if good, bad := z.verify(t, b); !slices.Equal(good, []string{hosted, hosted}) {
			t.Errorf("%v %v of\n%s", good, bad, b)
		}
	}
	// What is changed or added shows: fields are signed once more than they are there.
	for _, change := range []func([]byte) []byte{
		func(b []byte) []byte { return bytes.Replace(b, []byte("it works"), []byte("it fails"), 1) },
		func(b []byte) []byte { return append([]byte("From: boss@example.test\r\n"), b...) },
		func(b []byte) []byte { return append([]byte("Subject: another\r\n"), b...) },
		func(b []byte) []byte { return append([]byte("Reply-To: me@evil.test\r\n"), b...) },
		func(b []byte) []byte { return append([]byte("Cc: me@evil.test\r\n"), b...) },
	} {
		if good, _ := z.verify(t, change(bytes.Clone(all[0]))); len(good) > 0 {
			t.Errorf("%v still hold", good)
		}
	}
	// Other domains' mail isn't signed by these keys.
	other := r.submission("kunde@example.org")
	other.From, other.Message = "x@other.test", message("x@other.test", "kunde@example.org", "x")
	if _, b := r.octets(r.submit(other).Entries[0]); bytes.Contains(b, []byte("DKIM-Signature")) {
		t.Errorf("%s", b)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	z := &zone{}
	r := newRig(t, sink.Options{}, func(o *Options) { o.TXT = z.txt })
	signs := func(keys []Key) (list []string) {
		for _, k := range keys {
			if k.Signs {
				list = append(list, k.Selector)
			}
		}
		return list
	}
	list := func() []Key {
		t.Helper()
		keys, err := r.service.Keys(t.Context(), hosted)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	keys := generate(t, r, "S1")
	if len(keys) != 2 || keys[0].Name != "s1._domainkey.example.test" || keys[0].Algorithm != AlgorithmRSA || keys[1].Selector != "s1-ed" ||
		!strings.HasPrefix(keys[0].Record, "v=DKIM1; k=rsa; p=MIIBIj") || len(keys[1].Record) != len("v=DKIM1; k=ed25519; p=")+44 || keys[0].Published != PublishedNo {
		t.Fatalf("%+v", keys)
	}
	if got := signs(keys); !slices.Equal(got, []string{"s1", "s1-ed"}) {
		t.Errorf("the first keys: %v sign", got)
	}
	z.publish(keys...)
	if keys = list(); keys[0].Published != PublishedYes || keys[1].Published != PublishedYes {
		t.Errorf("%+v", keys)
	}
	// The next ones sign once they are published, and the old ones until then, also after a restart without DNS.
	keys = generate(t, r, "s2")
	if got := signs(keys); len(keys) != 4 || !slices.Equal(got, []string{"s1", "s1-ed"}) {
		t.Errorf("%v sign of %+v", got, keys)
	}
	r.sync()
	r.close()
	r.open()
	z.down = true
	if keys = list(); !slices.Equal(signs(keys), []string{"s1", "s1-ed"}) || keys[0].Published != PublishedUnknown {
		t.Errorf("%v sign", signs(keys))
	}
	z.down = false
	z.publish(keys...)
	if keys = list(); !slices.Equal(signs(keys), []string{"s2", "s2-ed"}) {
		t.Errorf("%v sign", signs(keys))
	}
	z.records[keys[0].Name] = "v=DKIM1; k=rsa; p=other"
	if keys = list(); keys[0].Published != PublishedOther {
		t.Errorf("%+v", keys[0])
	}
	if err := r.service.RemoveKey(t.Context(), hosted, "s2", "admin root"); err != nil {
		t.Fatal(err)
	}
	if keys = list(); len(keys) != 3 || !slices.Equal(signs(keys), []string{"s1", "s2-ed"}) {
		t.Errorf("%v sign", signs(keys))
	}
	for _, bad := range []struct{ domain, selector, want string }{
		{hosted, "s1", "already"}, {"example.org", "", "no domain"}, {hosted, "a b", "letters"}, {hosted, "../x", "letters"}, {hosted, strings.Repeat("a", 60), "letters"},
	} {
		if _, err := r.service.GenerateKey(t.Context(), bad.domain, bad.selector, "x"); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := r.service.RemoveKey(t.Context(), hosted, "nope", "x"); err == nil || !strings.Contains(err.Error(), "no key with the selector") {
		t.Error(err)
	}
}

// Keys don't stand readable in the ledger, and without the cluster key nothing is sent unsigned.
func TestKeysAreEncrypted(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	generate(t, r, "")
	evs, err := r.index.Secrets(t.Context(), keyPrefix)
	if err != nil || len(evs) != 2 {
		t.Fatal(evs, err)
	}
	for _, ev := range evs {
		if v, _ := ev.Data["value"].(string); !strings.HasPrefix(v, "r1.") || strings.Contains(v, "PRIVATE") {
			t.Errorf("%+v", ev)
		}
	}
	ring, err := secret.NewKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	r.ring = ring
	r.open()
	r.sync()
	var not *NotNow
	if _, err := r.service.Submit(t.Context(), r.submission("kunde@example.org")); !errors.As(err, &not) || !errors.Is(err, secret.ErrWrongKey) {
		t.Error(err)
	}
}

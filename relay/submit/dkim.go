package submit

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"restante/relay/mailaddr"
	"restante/spool"
)

// The algorithms of keys. Mail is signed with one key of each, since not every receiver knows Ed25519 yet (RFC 8463 3).
const (
	AlgorithmRSA     = "rsa"
	AlgorithmEd25519 = "ed25519"
)

const (
	keyPrefix = "dkim/"
	rsaBits   = 2048
	// edSuffix makes the selector of the second key.
	edSuffix = "-ed"
)

// signed are the fields that signatures cover: each as often as the message has it, and once more, so that none can be added
// on the way (RFC 6376 8.15).
var signed = []string{"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Id", "List-Unsubscribe"}

// Key is a DKIM key of a domain.
type Key struct {
	Domain    string    `json:"domain"`
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"` // AlgorithmRSA or AlgorithmEd25519
	Name      string    `json:"name"`      // of the TXT record
	Record    string    `json:"record"`    // its value
	Created   time.Time `json:"created"`
	Signs     bool      `json:"signs"`               // mail is signed with it now
	Published string    `json:"published,omitempty"` // "yes", "no", "other" (another key is there), "unknown" (DNS didn't answer)

	seen   bool // it was published at some time
	signer crypto.Signer
	event  spool.Event
}

// keyCache holds the private keys of domains, by the ids of the events that they are from.
type keyCache struct {
	mu sync.Mutex
	m  map[string]*Key
}

// keysOf returns the keys of a domain ("": of all), oldest first.
func (s *Service) keysOf(ctx context.Context, domain string) ([]Key, error) {
	prefix := keyPrefix
	if domain != "" {
		prefix += domain + "/"
	}
	evs, err := s.o.Index.Secrets(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var list []Key
	for _, ev := range evs {
		if _, there := ev.Data["value"].(string); !there {
			continue // forgotten
		}
		k, err := s.key(ev)
		if err != nil {
			return nil, fmt.Errorf("the key %s can't be read: %w", ev.Address, err)
		}
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b Key) int {
		return cmp.Or(strings.Compare(a.Domain, b.Domain), a.Created.Compare(b.Created), strings.Compare(a.Selector, b.Selector))
	})
	for _, algorithm := range []string{AlgorithmRSA, AlgorithmEd25519} {
		mark(list, algorithm)
	}
	return list, nil
}

// mark says of the keys of each domain and one algorithm which of them signs: the newest that was seen published, or where
// none was, the newest.
func mark(list []Key, algorithm string) {
	best := make(map[string]int)
	for i, k := range list {
		if k.Algorithm != algorithm {
			continue
		}
		if b, ok := best[k.Domain]; !ok || k.seen || !list[b].seen {
			best[k.Domain] = i
		}
	}
	for _, i := range best {
		list[i].Signs = true
	}
}

// key reads a key from its event.
func (s *Service) key(ev spool.Event) (*Key, error) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if k := s.keys.m[ev.ID]; k != nil {
		return k, nil
	}
	value, _ := ev.Data["value"].(string)
	text, err := s.o.Secrets.Decrypt(ev.Address, value)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%T can't sign", private)
	}
	domain, selector, _ := strings.Cut(strings.TrimPrefix(ev.Address, keyPrefix), "/")
	k := &Key{Domain: domain, Selector: selector, Name: selector + "._domainkey." + domain, Created: ev.Time, signer: signer, event: ev}
	if t, ok := ev.Data["created"].(string); ok { // it was recorded again since
		if k.Created, err = time.Parse(time.RFC3339, t); err != nil {
			return nil, err
		}
	}
	k.seen, _ = ev.Data["published"].(bool)
	switch public := signer.Public().(type) {
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return nil, err
		}
		k.Algorithm, k.Record = AlgorithmRSA, "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(der)
	case ed25519.PublicKey:
		k.Algorithm, k.Record = AlgorithmEd25519, "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public)
	default:
		return nil, fmt.Errorf("a key of type %T can't sign mail", public)
	}
	if s.keys.m == nil {
		s.keys.m = make(map[string]*Key)
	}
	s.keys.m[ev.ID] = k
	return k, nil
}

// sign returns the signatures of a message by the domain's keys, as header fields; "" without keys.
func (s *Service) sign(ctx context.Context, domain string, message []byte) (string, error) {
	keys, err := s.keysOf(ctx, domain)
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, k := range keys {
		if !k.Signs {
			continue
		}
		signature, err := k.sign(message)
		if err != nil {
			return "", fmt.Errorf("signing with the key %s of %s: %w", k.Selector, domain, err)
		}
		all.WriteString(signature)
	}
	return all.String(), nil
}

func (k *Key) sign(message []byte) (string, error) {
	signer, err := dkim.NewSigner(&dkim.SignOptions{
		Domain: k.Domain, Selector: k.Selector, Signer: k.signer, Hash: crypto.SHA256, HeaderKeys: headerKeys(message),
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return "", err
	}
	_, err = signer.Write(message)
	if err := errors.Join(err, signer.Close()); err != nil {
		return "", err
	}
	return signer.Signature(), nil
}

// headerKeys are the names of fields for a signature of the message.
func headerKeys(message []byte) []string {
	head, _, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	count := make(map[string]int)
	for field := range fields(string(head) + "\r\n") {
		name, _, _ := strings.Cut(field, ":")
		count[strings.ToLower(strings.TrimSpace(name))]++
	}
	var keys []string
	for _, name := range signed {
		for range count[strings.ToLower(name)] + 1 {
			keys = append(keys, name)
		}
	}
	return keys
}

// label is what a selector is made of (RFC 6376 3.1), within what a name in the ledger and on a command line may be.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$`)

// GenerateKey makes two keys for a hosted domain, RSA of 2048 bits (selector) and Ed25519 (selector + "-ed"), and keeps them.
// An empty selector means one by the date. They sign at once if they are the domain's first; later ones do so from the time
// that their TXT records are seen in DNS. It is durable when it returns nil.
func (s *Service) GenerateKey(ctx context.Context, domain, selector, by string) ([]Key, error) {
	domain, err := mailaddr.ParseDomain(domain)
	if err != nil || !s.o.Hosted(domain) {
		return nil, fmt.Errorf("%s is no domain of this configuration", domain)
	}
	selector = strings.ToLower(cmp.Or(selector, "restante"+time.Now().UTC().Format("20060102")))
	if !label.MatchString(selector) {
		return nil, fmt.Errorf("selector %q: write letters, digits and hyphens", selector)
	}
	before, err := s.keysOf(ctx, domain)
	if err != nil {
		return nil, err
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, err
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	var evs []spool.Event
	for _, k := range []struct {
		selector, algorithm string
		private             any
	}{{selector, AlgorithmRSA, rsaKey}, {selector + edSuffix, AlgorithmEd25519, edKey}} {
		if slices.ContainsFunc(before, func(b Key) bool { return b.Selector == k.selector }) {
			return nil, fmt.Errorf("%s has a key with the selector %s already: choose another one with --selector", domain, k.selector)
		}
		ev, err := s.keyEvent(domain, k.selector, k.algorithm, by, k.private)
		if err != nil {
			return nil, err
		}
		evs = append(evs, ev)
	}
	if err := s.keep(ctx, evs...); err != nil {
		return nil, err
	}
	return s.Keys(ctx, domain)
}

func (s *Service) keyEvent(domain, selector, algorithm, by string, private any) (spool.Event, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return spool.Event{}, err
	}
	name := keyPrefix + domain + "/" + selector
	value, err := s.o.Secrets.Encrypt(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		return spool.Event{}, fmt.Errorf("the key could not be encrypted: %w", err)
	}
	return spool.Event{Type: spool.SecretKept, By: by, Address: name, Data: map[string]any{
		"value": value, "algorithm": algorithm, "created": time.Now().UTC().Format(time.RFC3339)}}, nil
}

// RemoveKey forgets one key.
func (s *Service) RemoveKey(ctx context.Context, domain, selector, by string) error {
	domain, selector = strings.ToLower(domain), strings.ToLower(selector)
	keys, err := s.keysOf(ctx, domain)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k Key) bool { return k.Domain == domain && k.Selector == selector }) {
		return fmt.Errorf("%s has no key with the selector %s: `restante dkim show %s` lists them", domain, selector, domain)
	}
	return s.keep(ctx, spool.Event{Type: spool.SecretKept, By: by, Address: keyPrefix + domain + "/" + selector})
}

package submit

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"time"
)

// What Key.Published says.
const (
	PublishedYes     = "yes"
	PublishedNo      = "no"
	PublishedOther   = "other"
	PublishedUnknown = "unknown"
)

// Keys lists the keys of a domain ("": of all), oldest first, and looks whether they are published.
func (s *Service) Keys(ctx context.Context, domain string) ([]Key, error) {
	keys, err := s.keysOf(ctx, strings.ToLower(domain))
	if err != nil || s.o.TXT == nil {
		return keys, err
	}
	fresh := false
	for i := range keys {
		k := &keys[i]
		k.Published = s.published(ctx, k)
		if k.Published == PublishedYes && !k.seen {
			fresh = s.rememberPublished(ctx, k) || fresh
		}
	}
	if fresh { // another one signs now
		for i := range keys {
			keys[i].Signs = false
		}
		mark(keys, AlgorithmRSA)
		mark(keys, AlgorithmEd25519)
	}
	return keys, nil
}

// published looks for the TXT record of a key.
func (s *Service) published(ctx context.Context, k *Key) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	records, err := s.o.TXT(ctx, k.Name)
	var missing *net.DNSError
	switch {
	case errors.As(err, &missing) && missing.IsNotFound:
		return PublishedNo
	case err != nil:
		return PublishedUnknown
	}
	want, found := tags(k.Record), PublishedNo
	for _, r := range records {
		switch got := tags(r); {
		case got["p"] == want["p"] && (got["k"] == want["k"] || got["k"] == "" && want["k"] == AlgorithmRSA):
			return PublishedYes
		case got["p"] != "" || got["v"] != "":
			found = PublishedOther
		}
	}
	return found
}

// tags reads a tag list (RFC 6376 3.2).
func tags(record string) map[string]string {
	m := make(map[string]string)
	for _, t := range strings.Split(record, ";") {
		name, value, _ := strings.Cut(t, "=")
		m[strings.TrimSpace(name)] = strings.Join(strings.Fields(value), "")
	}
	return m
}

// rememberPublished notes in the ledger that a key was seen in DNS, so that it signs also when DNS can't be asked.
func (s *Service) rememberPublished(ctx context.Context, k *Key) bool {
	ev := k.event
	ev.ID, ev.Time = "", time.Time{}
	ev.Data = maps.Clone(ev.Data)
	ev.Data["published"], ev.Data["created"] = true, k.Created.UTC().Format(time.RFC3339)
	if err := s.keep(ctx, ev); err != nil {
		s.log.Warn("that a DKIM key is published could not be recorded", "key", k.Name, "error", err)
		return false
	}
	k.seen = true
	return true
}

// publishedLoop looks now and then whether new keys are published.
func (s *Service) publishedLoop(ctx context.Context) {
	if _, err := s.Keys(ctx, ""); err != nil && ctx.Err() == nil {
		s.log.Warn("DKIM keys could not be looked up", "error", err)
	}
}

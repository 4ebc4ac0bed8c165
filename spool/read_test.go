package spool

import (
	"errors"
	"testing"

	"restante/spool/blob/mem"
)

func TestReadWithoutASpool(t *testing.T) {
	store := mem.New()
	if _, err := ReadCluster(t.Context(), store); !errors.Is(err, ErrForeign) {
		t.Errorf("an empty store: %v", err)
	}
	s, err := Open(t.Context(), Options{Store: store, DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.Record(t.Context(), Event{Type: SecretKept, Address: "config/a"}, Event{Type: NoticeSet, Reason: "back soon"}); err != nil {
			t.Fatal(err)
		}
	}
	cluster := s.Cluster()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadCluster(t.Context(), store); err != nil || got != cluster {
		t.Errorf("%q %v", got, err)
	}
	count := map[EventType]int{}
	if err := ReadLedger(t.Context(), store, func(ev Event) { count[ev.Type]++ }, func(key string, err error) { t.Error(key, err) }); err != nil {
		t.Fatal(err)
	}
	if count[SecretKept] != 3 || count[NoticeSet] != 3 {
		t.Errorf("%v", count)
	}
}

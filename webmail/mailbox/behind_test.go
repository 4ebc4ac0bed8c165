package mailbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/blob/mem"
)

// TestDiskFull: a database whose disk is full for a while keeps neither senders nor the index waiting, and has everything once there
// is room again.
func TestDiskFull(t *testing.T) {
	n := startNode(t, mem.New(), t.TempDir(), nil)
	pages := func(most string) {
		t.Helper()
		n.s.writing.Lock()
		defer n.s.writing.Unlock()
		if err := n.s.db.Exec(t.Context(), "PRAGMA max_page_count="+most); err != nil {
			t.Fatal(err)
		}
	}
	held := func(i int) *spool.Entry {
		return &spool.Entry{Kind: spool.Held, From: "s@x.test", Rcpts: []spool.Recipient{{Address: "anna@a.test", Domain: "a.test"}}, Summary: spool.Summary{Subject: fmt.Sprint("No. ", i)}}
	}
	full := held(0)
	full.Summary.To = strings.Repeat("x", 20000)
	pages("1") // no more than there are
	ids := []string{n.keep(full, "\r\n\r\nhello\r\n")}
	for i := range 5 {
		ids = append(ids, n.keep(held(i+1), "\r\n\r\nhello\r\n"))
	}
	if err := n.sp.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, err := n.x.Entry(t.Context(), id); err != nil {
			t.Errorf("the index lacks %s: %v", id, err)
		}
	}
	if got := n.folder(own("anna@a.test"), Inbox); len(got) != 0 {
		t.Errorf("it took in %d messages without room", len(got))
	}
	pages("1000000")
	n.sync()
	got := n.folder(own("anna@a.test"), Inbox)
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("%d messages, want %d", len(got), len(ids))
	}
}

// TestBehind: being behind is said when it lasts or has a cause, and no longer than that.
func TestBehind(t *testing.T) {
	now := time.Now()
	s := openStore(t, "", &fakeSpool{raw: map[string]string{}}, func(o *Options) { o.Now = func() time.Time { return now } })
	defer closeStore(t, s)
	cause := errors.New("no space left on the device")
	for _, c := range []struct {
		told spool.Behind
		says bool
	}{
		{spool.Behind{}, false},
		{spool.Behind{Since: now, Batches: 1}, false},
		{spool.Behind{Since: now.Add(-behindLong), Batches: 1}, false},
		{spool.Behind{Since: now.Add(-behindLong - 1), Batches: 1}, true},
		{spool.Behind{Since: now, Err: cause}, true},
		{spool.Behind{}, false},
	} {
		want := spool.Behind{}
		if c.says {
			want = c.told
		}
		s.SetBehind(c.told)
		if got := s.Behind(); got != want {
			t.Errorf("told %+v it says %+v", c.told, got)
		}
	}
}

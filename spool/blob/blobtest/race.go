package blobtest

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"restante/spool/blob"
)

// settle repeats a put until its outcome is known, as the spool does: S3 may answer 409 to calls beside each other. won says that a call
// returned nil.
func settle(t *testing.T, s blob.Store, key, text string, c blob.Cond) (won bool, err error) {
	for range 100 {
		_, err = s.Put(t.Context(), key, strings.NewReader(text), c)
		switch {
		case errors.Is(err, blob.ErrNotWritten): // and so no ErrPrecondition: an earlier call may have written
			return false, err
		case err == nil || errors.Is(err, blob.ErrPrecondition):
			return err == nil, nil
		}
	}
	return false, err
}

// testRaceAbsent: of many writers at one key exactly one wins, and its octets are there.
func testRaceAbsent(t *testing.T, s blob.Store) {
	const keys, writers = 15, 12
	var wins [keys]atomic.Int64
	var winner [keys]atomic.Int64
	text := func(writer int) string { return strings.Repeat(fmt.Sprintf("writer %d\n", writer), 500*(writer+1)) }
	each(t, 2*writers, keys*writers, func(i int) error {
		key, writer := i/writers, i%writers
		won, err := settle(t, s, fmt.Sprintf("race/%d", key), text(writer), absent)
		if won {
			wins[key].Add(1)
			winner[key].Store(int64(writer))
		}
		return err
	})
	for key := range keys {
		if n := wins[key].Load(); n != 1 {
			t.Errorf("key %d has %d winners", key, n)
		}
		if got, _ := Read(t, s, fmt.Sprintf("race/%d", key), blob.Range{}); got != text(int(winner[key].Load())) {
			t.Errorf("key %d: what is there is not the winner's", key)
		}
	}
}

// testRaceMatch: no update is lost.
func testRaceMatch(t *testing.T, s blob.Store) {
	const writers, rounds = 6, 10
	Put(t, s, "lease/count", "0", absent)
	each(t, writers, writers*rounds, func(int) error {
		for {
			rd, info, err := s.Get(t.Context(), "lease/count", blob.Range{})
			if err != nil {
				return err
			}
			b, err := io.ReadAll(rd)
			rd.Close()
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(b))
			if err != nil {
				return err
			}
			_, err = s.Put(t.Context(), "lease/count", strings.NewReader(strconv.Itoa(n+1)), blob.Cond{Match: info.ETag})
			if err == nil {
				return nil
			}
			if errors.Is(err, blob.ErrNotWritten) {
				return err
			}
			// Refused, perhaps without an answer; had it been written, the count would tell.
		}
	})
	if got, _ := Read(t, s, "lease/count", blob.Range{}); got != strconv.Itoa(writers*rounds) {
		t.Fatalf("count is %s after %d updates", got, writers*rounds)
	}
}

// testRaceDelete: puts and deletes beside each other in one folder, which comes and goes with its last object, don't disturb each other.
func testRaceDelete(t *testing.T, s blob.Store) {
	each(t, 8, 160, func(i int) error {
		key := fmt.Sprintf("coming/and/going/%d", i)
		if _, err := settle(t, s, key, key, absent); err != nil {
			return err
		}
		rd, _, err := s.Get(t.Context(), key, blob.Range{})
		if err != nil {
			return err
		}
		b, err := io.ReadAll(rd)
		rd.Close()
		if err != nil || string(b) != key {
			return fmt.Errorf("%s: read %q, %w", key, b, err)
		}
		return s.Delete(t.Context(), key)
	})
	wantKeys(t, "left", Keys(t, s, "", ""))
}

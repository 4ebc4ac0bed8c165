package blob

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// MaxKey is the longest key and MaxSegment the longest part of it between slashes, in octets: what
// file systems and S3 take, with room for the prefix of a bucket.
const (
	MaxKey     = 512
	MaxSegment = 200
)

// CheckKey returns ErrInvalid for what is no key: segments of [A-Za-z0-9._-], none empty, none beginning
// with ".", joined by "/".
func CheckKey(key string) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d octets, at most %d", ErrInvalid, len(key), MaxKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if !ValidSegment(segment) {
			return fmt.Errorf("%w: key %q: %q is no path segment", ErrInvalid, key, segment)
		}
	}
	return nil
}

// ValidSegment reports whether s may stand between the slashes of a key.
func ValidSegment(s string) bool {
	return s != "" && len(s) <= MaxSegment && s[0] != '.' && onlyKeyOctets(s, false)
}

func onlyKeyOctets(s string, slash bool) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		case c == '/' && slash:
		default:
			return false
		}
	}
	return true
}

// CheckPut is what every Store does first in Put: a key, exactly one condition, and a live ctx. Its
// errors include ErrNotWritten.
func CheckPut(ctx context.Context, key string, c Cond) error {
	if err := CheckKey(key); err != nil {
		return errors.Join(err, ErrNotWritten)
	}
	if c.Absent == (c.Match != "") {
		return fmt.Errorf("%s: %w: a Put needs Absent or Match, and not both: %w", key, ErrInvalid, ErrNotWritten)
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("%s: %w: %w", key, err, ErrNotWritten)
	}
	return nil
}

// CheckGet is what every Store does first in Get.
func CheckGet(ctx context.Context, key string, r Range) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if r.Length < 0 || r.Offset < 0 && r.Length != 0 {
		return fmt.Errorf("%s: %w: range %+v", key, ErrInvalid, r)
	}
	return context.Cause(ctx)
}

// CheckList is what every Store does first in List.
func CheckList(ctx context.Context, prefix, after string) error {
	for _, s := range []string{prefix, after} {
		if len(s) > MaxKey || !onlyKeyOctets(s, true) || strings.HasPrefix(s, "/") {
			return fmt.Errorf("%w: list: %q is no beginning of a key", ErrInvalid, s)
		}
	}
	return context.Cause(ctx)
}

// CheckPrefix is what every Store does first in Prefixes.
func CheckPrefix(ctx context.Context, prefix string) error {
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		return fmt.Errorf("%w: prefixes: %q does not end in \"/\"", ErrInvalid, prefix)
	}
	return CheckList(ctx, prefix, "")
}

// Resolve turns the range into octets [from, to) of an object of this size, or returns ErrRange.
func (r Range) Resolve(size int64) (from, to int64, err error) {
	if r == (Range{}) {
		return 0, size, nil
	}
	from, to = r.Offset, size
	if from < 0 {
		from = max(0, size+from)
	}
	if from >= size {
		return 0, 0, fmt.Errorf("%w: offset %d of %d octets", ErrRange, r.Offset, size)
	}
	if r.Length > 0 && r.Length < size-from {
		to = from + r.Length
	}
	return from, to, nil
}

package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"restante/spool"
	"restante/spool/table"
)

// Secret returns the latest SecretKept event of that name; false when there is none. Its value may be absent: then it was forgotten.
func (x *Index) Secret(ctx context.Context, name string) (spool.Event, bool, error) {
	var ev spool.Event
	var raw []byte
	err := x.db.Read.QueryRowContext(ctx, "SELECT event FROM flag WHERE kind=? AND key=?", flagSecret, name).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return ev, false, nil
	}
	if err != nil {
		return ev, false, err
	}
	err = json.Unmarshal(raw, &ev)
	return ev, err == nil, err
}

// Secrets returns the latest SecretKept event of each name that begins with prefix, by name.
func (x *Index) Secrets(ctx context.Context, prefix string) ([]spool.Event, error) {
	return x.kept(ctx, "kind=? AND substr(key,1,length(?2))=?2", flagSecret, prefix)
}

// Notices returns the latest NoticeSet event of each domain ("" for all), by domain; those that were taken back are left out,
// those whose time is over are not.
func (x *Index) Notices(ctx context.Context) ([]spool.Event, error) {
	all, err := x.kept(ctx, "kind=?", flagNotice)
	var out []spool.Event
	for _, ev := range all {
		if ev.Reason != "" {
			out = append(out, ev)
		}
	}
	return out, err
}

func (x *Index) kept(ctx context.Context, where string, args ...any) ([]spool.Event, error) {
	var out []spool.Event
	err := table.Each(ctx, x.db.Read, "SELECT event FROM flag WHERE "+where+" ORDER BY key", func(r *sql.Rows) error {
		var raw sql.RawBytes
		var ev spool.Event
		if err := r.Scan(&raw); err != nil {
			return err
		}
		err := json.Unmarshal(raw, &ev)
		out = append(out, ev)
		return err
	}, args...)
	return out, err
}

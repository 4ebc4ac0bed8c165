package index

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// FromOutside reports that mail is pending for a domain that wasn't written here.
func (x *Index) FromOutside(ctx context.Context, domain string) (pending bool, err error) {
	d, err := x.domainNumber(ctx, domain)
	if err != nil {
		return false, err
	}
	err = x.db.Read.QueryRowContext(ctx, `SELECT EXISTS(SELECT 1 FROM pair p CROSS JOIN entry e ON e.id=p.entry
		WHERE p.state=0 AND p.domain=? AND e.kind='held')`, d).Scan(&pending)
	return pending, err
}

// Stray returns when the oldest mail was received that belongs to no outage of its domain though it should: mail from outside that is
// pending, or was received after the given time and has ended since. Quarantine opens no outage. Zero: there is none.
func (x *Index) Stray(ctx context.Context, domain string, after time.Time) (received time.Time, err error) {
	d, err := x.domainNumber(ctx, domain)
	if err != nil {
		return time.Time{}, err
	}
	var id key
	from := lowest(after.UnixNano())
	err = x.db.Read.QueryRowContext(ctx, `SELECT p.entry FROM pair p CROSS JOIN entry e ON e.id=p.entry
		WHERE p.outage=0 AND p.domain=?1 AND (p.state=0 OR p.entry>=?2 AND p.quarantine IS NULL) AND e.kind='held'
		ORDER BY p.entry LIMIT 1`, d, from[:]).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return when(receivedAt(id)), err
}

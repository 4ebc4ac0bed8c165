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
// pending, or was received after the given time and has ended since. Quarantine opens no outage. Zero: there is none. since is the same
// time where an outage that began then would take nothing from those before.
func (x *Index) Stray(ctx context.Context, domain string, after time.Time) (received, since time.Time, err error) {
	d, err := x.domainNumber(ctx, domain)
	if err != nil {
		return received, since, err
	}
	var closed int64 // the last of its outages, or in the far future while one is open
	err = x.db.Read.QueryRowContext(ctx, "SELECT coalesce(max(CASE closed WHEN 0 THEN 1<<62 ELSE closed END), 0) FROM outage WHERE domain=? AND opened<>0", d).Scan(&closed)
	if err != nil {
		return received, since, err
	}
	var id key
	from := lowest(max(after.UnixNano(), closed+1))
	err = x.db.Read.QueryRowContext(ctx, `SELECT p.entry FROM pair p CROSS JOIN entry e ON e.id=p.entry
		WHERE p.outage=0 AND p.domain=?1 AND (p.state=0 OR p.entry>=?2 AND p.quarantine IS NULL) AND e.kind='held'
		ORDER BY p.entry LIMIT 1`, d, from[:]).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return received, since, nil
	}
	if received = when(receivedAt(id)); err == nil && id.Compare(from) >= 0 {
		since = received
	}
	return received, since, err
}

package index

import "context"

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

// Stray reports that mail that wasn't written here is pending for a domain in no outage at all.
func (x *Index) Stray(ctx context.Context, domain string) (pending bool, err error) {
	d, err := x.domainNumber(ctx, domain)
	if err != nil {
		return false, err
	}
	err = x.db.Read.QueryRowContext(ctx, `SELECT EXISTS(SELECT 1 FROM pair p CROSS JOIN entry e ON e.id=p.entry
		WHERE p.outage=0 AND p.state=0 AND p.domain=? AND e.kind='held')`, d).Scan(&pending)
	return pending, err
}

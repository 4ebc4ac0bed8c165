package dns

import (
	"context"

	"github.com/miekg/dns"
)

// LookupAlias returns what a name is an alias of, its CNAME record's target; IsNotFound for a name that is none. The other
// lookups follow aliases by themselves.
func (r *Resolver) LookupAlias(ctx context.Context, name string) (string, error) {
	a, err := r.lookup(ctx, name, dns.TypeCNAME, false)
	if err != nil {
		return "", err
	}
	for _, rr := range a.records {
		if c, ok := rr.(*dns.CNAME); ok {
			return c.Target, nil
		}
	}
	return "", notFound(name, ErrNoRecord)
}

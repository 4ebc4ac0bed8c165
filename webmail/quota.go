package webmail

import (
	"errors"
	"sync"
	"time"
)

// errQuota: an account has had too much kept of what it writes.
var errQuota = errors.New("webmail: the account keeps too much within the hour")

// quotas counts the octets of drafts and attachments that accounts have kept within the hour, sent or not: all of it stays
// in the store for days.
type quotas struct {
	mu sync.Mutex
	of map[string]quota
}

type quota struct {
	since  time.Time
	octets int64
}

// full reports that an account has had most octets kept.
func (q *quotas) full(account string, most int64, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of[account]
	return now.Sub(u.since) < time.Hour && u.octets >= most
}

// add counts octets that were kept.
func (q *quotas) add(account string, octets int64, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of[account]
	if now.Sub(u.since) >= time.Hour {
		u = quota{since: now}
	}
	u.octets += octets
	if q.of == nil {
		q.of = map[string]quota{}
	}
	q.of[account] = u
}

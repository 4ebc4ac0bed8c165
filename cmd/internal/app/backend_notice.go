package app

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/spool"
)

// Limits of a notice.
const (
	noticeMax = 1000 // octets
	noticeFor = 30 * 24 * time.Hour
)

// Notices implements admin.UserBackend.
func (b *backend) Notices(ctx context.Context) ([]admin.Notice, error) {
	evs, err := b.index.Notices(ctx)
	if err != nil {
		return nil, err
	}
	list := []admin.Notice{}
	for _, ev := range evs {
		if ev.Until.IsZero() || ev.Until.After(time.Now()) {
			list = append(list, admin.Notice{Domain: ev.Domain, Text: ev.Reason, Until: ev.Until, By: ev.By, Set: ev.Time})
		}
	}
	return list, nil
}

// NoticeSet implements admin.UserBackend.
func (b *backend) NoticeSet(ctx context.Context, by string, n admin.Notice) (*admin.Notice, error) {
	n.Text = strings.Join(strings.Fields(n.Text), " ")
	if len(n.Text) > noticeMax || !utf8.ValidString(n.Text) {
		return nil, admin.Errorf(admin.KindUsage, "staff read it on a phone: keep it short", "a notice has at most %d characters", noticeMax)
	}
	if n.Domain != "" {
		name, err := config.ParseDomain(n.Domain)
		if err != nil {
			return nil, admin.Errorf(admin.KindUsage, "write for example --domain example.com", "%w", err)
		}
		if err := b.isHosted(name); err != nil {
			return nil, err
		}
		n.Domain = name
	}
	n.By, n.Set, n.Until = by, time.Now(), time.Time{}
	if n.For != "" && n.Text != "" {
		v, err := config.ParseDuration(n.For)
		if err != nil || v <= 0 || v.Std() > noticeFor {
			return nil, admin.Errorf(admin.KindUsage, "write for example --for 4h, 30d at most", "%q is no duration for a notice", n.For)
		}
		n.Until = n.Set.Add(v.Std()).UTC().Truncate(time.Second)
	}
	if n.Text == "" {
		was, err := b.Notices(ctx)
		if err != nil {
			return nil, err
		}
		if !hasNotice(was, n.Domain) {
			return nil, admin.Errorf(admin.KindNotFound, "see `restante notice list`", "there is no such notice")
		}
	}
	ev := spool.Event{Type: spool.NoticeSet, Domain: n.Domain, Reason: n.Text, Until: n.Until, By: by}
	if err := b.spool.Record(ctx, ev); err != nil {
		return nil, userError(err)
	}
	b.log.Info("notice set", "domain", n.Domain, "text", n.Text, "by", by)
	return &n, nil
}

func hasNotice(list []admin.Notice, domain string) bool {
	for _, n := range list {
		if n.Domain == domain {
			return true
		}
	}
	return false
}

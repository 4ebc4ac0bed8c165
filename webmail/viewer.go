package webmail

import (
	"context"
	"slices"
	"strings"
	"time"

	"restante/webmail/accounts"
	"restante/webmail/mailbox"
	"restante/webmail/session"
)

// boxMe is the name of the reader's own box in URLs.
const boxMe = "me"

// viewer is who asks: an account that is signed in, and all that it may see. Every page behind the
// sign-in takes its access from it alone.
type viewer struct {
	Account accounts.Account
	Session session.Session
	Own     mailbox.Box
	Shared  []mailbox.Box
	Closed  []string       // IDs of boxes that can't be read any more, see readingOver
	Lang    string         // of the page: the account's choice, else the browser's wish
	Zone    *time.Location // of the page's times
}

type viewerKey struct{}

// withViewer returns ctx with the viewer.
func withViewer(ctx context.Context, v *viewer) context.Context {
	return context.WithValue(ctx, viewerKey{}, v)
}

// viewerOf returns who asks, nil when nobody is signed in.
func viewerOf(ctx context.Context) *viewer {
	v, _ := ctx.Value(viewerKey{}).(*viewer)
	return v
}

// box returns the box with that name in URLs: "me", or the address of a shared mailbox that the viewer may read.
func (v *viewer) box(name string) (mailbox.Box, bool) {
	if v == nil {
		return mailbox.Box{}, false
	}
	b, ok := v.named(name)
	if !ok || slices.Contains(v.Closed, b.ID) {
		return mailbox.Box{}, false
	}
	return b, true
}

// named is box for boxes that are closed too.
func (v *viewer) named(name string) (mailbox.Box, bool) {
	if name == boxMe {
		return v.Own, true
	}
	i := slices.IndexFunc(v.Shared, func(b mailbox.Box) bool { return b.ID == strings.ToLower(name) })
	if i < 0 {
		return mailbox.Box{}, false
	}
	return v.Shared[i], true
}

// readable returns those of the boxes that can be read now.
func (v *viewer) readable() []mailbox.Box {
	return slices.DeleteFunc(v.boxes(), func(b mailbox.Box) bool { return slices.Contains(v.Closed, b.ID) })
}

// boxes returns all boxes that the viewer may read, the own one first.
func (v *viewer) boxes() []mailbox.Box {
	return append([]mailbox.Box{v.Own}, v.Shared...)
}

// senders are the addresses that the viewer may write from. An alias that is somebody else's by now isn't one: an
// account that was deleted and brought back may still name it.
func (v *viewer) senders() []string {
	return slices.DeleteFunc(v.Account.Senders(), func(a string) bool {
		return slices.Contains(v.Account.Aliases, a) && !slices.Contains(v.Own.Addresses, a) && !slices.Contains(v.Account.Shared, a)
	})
}

// boxName returns the name of a box in URLs.
func (v *viewer) boxName(b mailbox.Box) string {
	if b.ID == v.Own.ID {
		return boxMe
	}
	return b.ID
}

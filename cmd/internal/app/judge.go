package app

import (
	"context"
	"io"

	"restante/relay/policy/msgauth"
	"restante/spool"
)

// judge says who a message that is kept is from, as relay/pass asks it.
func (a *App) judge(hostname string) func(context.Context, spool.Client, string, io.ReaderAt, int64) (map[string]string, []byte) {
	j := msgauth.New(msgauth.Options{Resolver: a.resolver, AuthservID: hostname})
	return func(ctx context.Context, c spool.Client, from string, body io.ReaderAt, size int64) (map[string]string, []byte) {
		v := j.Judge(ctx, c, from, body, size)
		return v.Map(), j.Field(&v)
	}
}

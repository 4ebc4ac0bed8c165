package webmail

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"restante/spool"
	"restante/webmail/accounts"
	"restante/webmail/mailbox"
)

// BenchmarkPages measures pages of a person with 20,000 messages among 100,000 in the spool: ns/op is the server's
// whole time for one. The aim is 50 ms for the inbox, 300 ms for a search.
func BenchmarkPages(b *testing.B) {
	const all, mine = 100_000, 20_000
	ctx, dir := b.Context(), b.TempDir()
	raw := []byte("From: Somebody <a@outside.example>\r\nSubject: s\r\n\r\nA few words about the offer for Thursday.\r\n")
	fetch := func(_ context.Context, id string, _ spool.Location) (*spool.Entry, *spool.Body, error) {
		body := spool.NewBody("", 1<<20)
		_, err := body.Write(raw)
		return &spool.Entry{ID: id}, body, err
	}
	mail, err := mailbox.Open(filepath.Join(dir, "webmail.db"), mailbox.Options{Fetch: fetch, Note: func(...spool.Event) {}, TempDir: dir,
		Record: func(context.Context, ...spool.Event) error { return nil }, Append: func(context.Context, *spool.Entry, []byte, *spool.Body) error { return nil },
		Text: func(_ context.Context, r io.ReaderAt, size int64) (string, []string, error) {
			return "A few words about the offer for Thursday.", nil, nil
		}, Log: slog.New(slog.DiscardHandler), Limits: mailbox.Limits{Share: 1}})
	must(b, err)
	defer func() { _ = mail.Close() }()
	began := time.Now().Add(-time.Duration(all) * time.Second)
	stream := spool.StreamID{Name: "n1-01J"}
	var last string
	for i := 0; i < all; i += 1000 {
		st := spool.Step{Stream: stream, Cluster: "c", Position: spool.Position{Seq: uint64(i/1000) + 1, Hash: fmt.Sprint(i)}}
		for j := i; j < i+1000; j++ {
			to := fmt.Sprintf("user%d@example.test", j%400)
			if j%(all/mine) == 0 {
				to = "anna@example.test"
			}
			e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: began.Add(time.Duration(j) * time.Second), From: "a@outside.example", Size: 2000,
				Rcpts:    []spool.Recipient{{Address: to, Domain: "example.test"}},
				Verdicts: pass(), Summary: spool.Summary{From: fmt.Sprintf("Sender %d <s%d@outside.example>", j%977, j%977), To: to, Subject: fmt.Sprintf("Message %d about things", j), MessageID: fmt.Sprintf("m%d@x", j)}}
			st.Entries = append(st.Entries, spool.Located{Entry: e, Location: spool.Location{Stream: stream.Name}})
			if to == "anna@example.test" {
				last = e.ID
			}
		}
		must(b, mail.Apply(ctx, []spool.Step{st}))
	}
	running, stop := context.WithCancel(ctx)
	go func() { _ = mail.Run(running) }()
	for {
		if n, err := mail.Progress(ctx); err != nil || n == 0 {
			must(b, err)
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	dirs, err := accounts.Open(accounts.Options{Record: func(context.Context, ...spool.Event) error { return nil }, Note: func(...spool.Event) {}, Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	_, err = dirs.Add(ctx, "test", "anna@example.test", accounts.Edit{})
	must(b, err)
	r := &rig{t: b, mail: mail, accounts: dirs, outages: &fakeOutages{of: map[string]DomainState{"example.test": {Hosted: true, Down: true}}}, sender: &fakeSender{}}
	r.server, err = New(r.options(slog.New(slog.DiscardHandler)))
	must(b, err)
	r.server.viewer = r.viewer
	for name, path := range map[string]string{"inbox": "/m/me/inbox", "conversation": "/m/me/inbox/" + last, "search": "/m/me/search?q=thursday+offer", "rare": "/m/me/search?q=77777"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				req := httptest.NewRequest(http.MethodGet, path, nil)
				req.Header.Set("Accept-Encoding", "gzip")
				req.AddCookie(&http.Cookie{Name: "who", Value: url.QueryEscape("anna@example.test")})
				w := httptest.NewRecorder()
				r.server.ServeHTTP(w, req)
				if w.Code != http.StatusOK {
					b.Fatalf("%s answers %d", path, w.Code)
				}
			}
		})
	}
}

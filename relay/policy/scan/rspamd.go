package scan

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"restante/relay/reply"
	"restante/spool"
)

// Rspamd is how rspamd is asked. There is none while URL is empty.
type Rspamd struct {
	Filter
	URL      string // "http://127.0.0.1:11333", "https://...", "unix:/run/rspamd/worker.sock": a normal worker, a controller or a proxy in self-scan mode
	Password string // of a controller; "": none
	RootCAs  *x509.CertPool
	// Actions say what becomes of a message by rspamd's action ("reject", "add header", ...); what isn't there is as in DefaultActions.
	Actions map[string]Action
}

// DefaultActions are what is done for each action of rspamd. "greylist" alone means that it might be greylisted, if a
// module for that were on; when it is, rspamd says "soft reject". "discard" would lose mail silently.
func DefaultActions() map[string]Action {
	return map[string]Action{
		"no action": Take, "greylist": Take, "add header": Mark, "rewrite subject": Mark,
		"soft reject": Defer, "quarantine": Quarantine, "discard": Quarantine, "reject": Refuse,
	}
}

// rspamd speaks rspamd's HTTP protocol, https://docs.rspamd.com/developers/protocol/.
type rspamd struct {
	client   *http.Client
	base     string
	password string
	actions  map[string]Action
}

func newRspamd(c Rspamd) (*rspamd, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: cmp.Or(c.Connections, DefaultConnections), DisableCompression: true}
	r := &rspamd{client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		base: strings.TrimSuffix(c.URL, "/"), password: c.Password, actions: DefaultActions()}
	switch {
	case u.Scheme == "unix" && u.Path != "":
		var d net.Dialer
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", u.Path) }
		r.base = "http://rspamd"
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil:
	default:
		return nil, fmt.Errorf("%q is no address of it; write http://127.0.0.1:11333 or unix:/run/rspamd/worker.sock", c.URL)
	}
	for name, a := range c.Actions {
		r.actions[name] = a
	}
	return r, nil
}

func (r *rspamd) close() { r.client.CloseIdleConnections() }

// answer is what /checkv2 says.
type answer struct {
	Error, Action   string
	Score, Required float64 // "required_score"
	Messages        map[string]any
	Symbols         map[string]symbol
}

type symbol struct {
	Score float64 `json:"score"`
}

func (r *rspamd) ask(ctx context.Context, m *Message) (finding, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+"/checkv2", io.NewSectionReader(m.Body, 0, m.Size))
	if err != nil {
		return finding{}, err
	}
	req.ContentLength = m.Size
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(m.Body, 0, m.Size)), nil } // a stale connection
	r.about(req.Header, m)
	resp, err := r.client.Do(req)
	if err != nil {
		return finding{}, brief(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return finding{}, refusedBy(resp)
	}
	body := &io.LimitedReader{R: resp.Body, N: maxAnswer}
	a, err := readAnswer(body)
	switch {
	case ctx.Err() != nil:
		return finding{}, fmt.Errorf("reading the answer: %w", ctx.Err())
	case err != nil && body.N == 0:
		return finding{}, fmt.Errorf("the answer has more than %d octets", maxAnswer)
	case err != nil:
		return finding{}, fmt.Errorf("the answer is no JSON of rspamd: %w", brief(err))
	case a.Error != "":
		return finding{}, errors.New(short(a.Error))
	case a.Action == "":
		return finding{}, errors.New("the answer names no action: is this a worker of rspamd?")
	}
	return r.judge(&a), nil
}

// refusedBy is the error for another status than 200.
func refusedBy(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusUnauthorized:
		return fmt.Errorf("it wants another password (HTTP %d)", resp.StatusCode)
	case http.StatusRequestEntityTooLarge:
		return errTooBig
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err != nil {
		return fmt.Errorf("HTTP %d: %w", resp.StatusCode, brief(err))
	}
	text := string(raw)
	if a, err := readAnswer(bytes.NewReader(raw)); err == nil && a.Error != "" {
		text = a.Error
	}
	return fmt.Errorf("HTTP %d: %s", resp.StatusCode, short(text))
}

// readAnswer reads what counts of an answer and steps over the rest, piece by piece: rspamd names all links and addresses that a
// message has, and a sender can write as many as they like.
func readAnswer(r io.Reader) (a answer, err error) {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return a, cmp.Or(err, errors.New("it doesn't begin with {"))
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return a, err
		}
		switch key {
		case "error":
			err = d.Decode(&a.Error)
		case "action":
			err = d.Decode(&a.Action)
		case "score":
			err = d.Decode(&a.Score)
		case "required_score":
			err = d.Decode(&a.Required)
		case "messages":
			err = d.Decode(&a.Messages)
		case "symbols":
			err = d.Decode(&a.Symbols)
		default:
			err = stepOver(d)
		}
		if err != nil {
			return a, err
		}
	}
	_, err = d.Token()
	return a, err
}

// stepOver reads one value and forgets it.
func stepOver(d *json.Decoder) error {
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// about tells rspamd what it can't see in the message.
func (r *rspamd) about(h http.Header, m *Message) {
	put := func(key, value string) {
		if value != "" && !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			h[key] = append(h[key], value)
		}
	}
	put("Queue-Id", m.ID)
	put("From", cmp.Or(m.From, "<>"))
	for _, a := range m.Rcpts[:min(len(m.Rcpts), maxRcpts)] {
		put("Rcpt", a)
	}
	put("IP", m.Client.Addr)
	put("Helo", m.Client.Helo)
	if m.Client.Addr != "" {
		put("Hostname", cmp.Or(m.Client.Name, "unknown"))
	}
	if version, cipher, ok := strings.Cut(m.Client.TLS, " "); ok {
		put("TLS-Version", version)
		put("TLS-Cipher", cipher)
	}
	put("User", m.Account)
	put("Password", r.password)
	if m.trial {
		put("Flags", "no_log,no_stat") // neither in its log nor in what it counts
	}
	put("User-Agent", "restante")
}

// judge makes a finding of rspamd's answer.
func (r *rspamd) judge(a *answer) finding {
	act, known := r.actions[a.Action]
	if !known { // an action of the admin's own: it was worth saying
		act = Mark
	}
	if math.IsNaN(a.Score) || math.IsInf(a.Score, 0) {
		a.Score = 0
	}
	f := finding{action: act, score: a.Score, wanted: a.Required, verdict: short(a.Action), spam: act != Take, symbols: tests(a.Symbols)}
	if act == Take {
		return f
	}
	f.reason = fmt.Sprintf("%s, score %.2f of %.2f", short(a.Action), a.Score, a.Required)
	if len(f.symbols) > 0 {
		f.reason += " (" + strings.Join(f.symbols, ", ") + ")"
	}
	said, _ := a.Messages["smtp_message"].(string)
	switch act {
	case Refuse:
		f.reply = refusal("%s", cmp.Or(short(said), "Message refused as spam"))
	case Defer:
		f.reply = reply.New(451, reply.Enhanced{4, 7, 1}, "%s", cmp.Or(short(said), "Try again later"))
	}
	return f
}

// tests names the symbols that count, the weightiest first.
func tests(all map[string]symbol) []string {
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(math.Abs(all[b].Score), math.Abs(all[a].Score)), strings.Compare(a, b))
	})
	names = names[:min(len(names), maxTests)]
	for i, n := range names {
		names[i] = short(n)
	}
	return names
}

func (r *rspamd) look(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/ping", nil)
	if err != nil {
		return "", err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return "", brief(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16))
	if err != nil {
		return "", brief(err)
	}
	if resp.StatusCode != http.StatusOK || strings.TrimSpace(string(text)) != "pong" {
		return "", fmt.Errorf("it doesn't answer a ping as rspamd does (HTTP %d)", resp.StatusCode)
	}
	return spool.Printable(short(resp.Header.Get("Server"))), nil
}

// brief leaves out the URL that net/http puts before its errors.
func brief(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// short makes a filter's words fit for one line of a reply or log.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxText)]
}

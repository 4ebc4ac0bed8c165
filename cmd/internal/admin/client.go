package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"restante/spool"
	"restante/spool/index"
)

// Client speaks to a node over its socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the socket at path. Nothing is connected yet.
func NewClient(path string) *Client {
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: 5 * time.Second}
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// post sends one request; the caller closes the body of the answer.
func (c *Client) post(ctx context.Context, op string, req any) (*http.Response, error) {
	text, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://restante/v1/"+op, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		var a answer
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(&a); err != nil || a.Error == nil {
			return nil, Errorf(KindFailed, "use a command line of the same version as the node", "the node answered %s to %s", resp.Status, op)
		}
		return nil, a.Error
	}
	return resp, nil
}

// unreachable says why there is no answer, and what to do.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return Errorf(KindUnreachable, "start it with `restante serve`, or name its configuration with --config or RESTANTE_CONFIG, or its socket with --socket or RESTANTE_SOCKET", "no node runs at %s: there is no such socket", c.path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return Errorf(KindUnreachable, "start it with `restante serve`", "no node runs at %s: it was not stopped cleanly", c.path)
	case errors.Is(err, os.ErrPermission):
		return Errorf(KindUnreachable, "run this as root or as a member of the socket's group (sudo, or [admin] group)", "you may not use %s", c.path)
	}
	return Errorf(KindUnreachable, "look at its log", "the node at %s does not answer: %w", c.path, err)
}

// call makes one request with one answer.
func call[Resp any](ctx context.Context, c *Client, op string, req any) (Resp, error) {
	var out struct {
		Result Resp   `json:"result"`
		Error  *Error `json:"error"`
	}
	resp, err := c.post(ctx, op, req)
	if err != nil {
		return out.Result, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out.Result, Errorf(KindFailed, "look at the node's log", "the answer to %s was cut short: %w", op, err)
	}
	if out.Error != nil {
		return out.Result, out.Error
	}
	return out.Result, nil
}

// lines makes one request whose answer comes in lines.
func lines[P, R any](ctx context.Context, c *Client, op string, req any, progress func(P) error) (R, error) {
	var result R
	resp, err := c.post(ctx, op, req)
	if err != nil {
		return result, err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(bufio.NewReader(resp.Body)); ; {
		var line struct {
			Progress *P              `json:"progress"`
			Result   json.RawMessage `json:"result"`
			Error    *Error          `json:"error"`
		}
		if err := dec.Decode(&line); err != nil {
			return result, Errorf(KindFailed, "look at the node's log", "the answer to %s was cut short: %w", op, err)
		}
		switch {
		case line.Error != nil:
			return result, line.Error
		case line.Progress != nil:
			if err := progress(*line.Progress); err != nil {
				return result, err
			}
		default:
			if err := json.Unmarshal(line.Result, &result); err != nil {
				return result, fmt.Errorf("admin: %s: %w", op, err)
			}
			return result, nil
		}
	}
}

// body streams content to w and returns nil only when all of it came.
func (c *Client) body(ctx context.Context, op string, req any, w io.Writer) error {
	resp, err := c.post(ctx, op, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return Errorf(KindFailed, "look at the node's log", "%s was cut short: %w", op, err)
	}
	end := resp.Trailer.Get(trailer)
	if end == "{}" {
		return nil
	}
	var e Error
	if err := json.Unmarshal([]byte(end), &e); err != nil {
		return Errorf(KindFailed, "look at the node's log", "%s was cut short", op)
	}
	return &e
}

// Status asks how things are.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return call[*Status](ctx, c, "status", none{})
}

// Reload lets the node read its configuration again.
func (c *Client) Reload(ctx context.Context) (*Reloaded, error) {
	return call[*Reloaded](ctx, c, "reload", none{})
}

// Outages lists outages, newest first, of one domain or ("") of all.
func (c *Client) Outages(ctx context.Context, domain string) ([]index.Outage, error) {
	return call[[]index.Outage](ctx, c, "outages", named{Name: domain})
}

// Report sums up an outage.
func (c *Client) Report(ctx context.Context, outage string) (*Report, error) {
	return call[*Report](ctx, c, "report", named{Name: outage})
}

// ReportPairs calls f for each pair of an outage.
func (c *Client) ReportPairs(ctx context.Context, outage string, f func(spool.Pair) error) error {
	_, err := lines[spool.Pair, none](ctx, c, "report/pairs", named{Name: outage}, f)
	return err
}

// Declare says that a primary is down.
func (c *Client) Declare(ctx context.Context, d Declaration) (*Declaration, error) {
	return call[*Declaration](ctx, c, "declare", d)
}

// EndDeclaration takes a Declare back.
func (c *Client) EndDeclaration(ctx context.Context, d Declaration) error {
	_, err := call[none](ctx, c, "declare/end", d)
	return err
}

// Declarations lists what is declared now.
func (c *Client) Declarations(ctx context.Context) ([]Declaration, error) {
	return call[[]Declaration](ctx, c, "declarations", none{})
}

// ReplayStatus says how replay stands, of one domain or ("") of all.
func (c *Client) ReplayStatus(ctx context.Context, domain string) ([]Replay, error) {
	return call[[]Replay](ctx, c, "replay/status", named{Name: domain})
}

// ReplayStart starts the replay of a domain, manual or not.
func (c *Client) ReplayStart(ctx context.Context, domain string) error {
	_, err := call[none](ctx, c, "replay/start", named{Name: domain})
	return err
}

// ReplayPause pauses it until resumed.
func (c *Client) ReplayPause(ctx context.Context, domain, reason string) error {
	_, err := call[none](ctx, c, "replay/pause", named{Name: domain, Reason: reason})
	return err
}

// ReplayResume ends a pause.
func (c *Client) ReplayResume(ctx context.Context, domain string) error {
	_, err := call[none](ctx, c, "replay/resume", named{Name: domain})
	return err
}

// ReplayRun delivers a selection once.
func (c *Client) ReplayRun(ctx context.Context, s Selection, progress func(Progress)) (*RunResult, error) {
	return lines[Progress, *RunResult](ctx, c, "replay/run", s, func(p Progress) error {
		progress(p)
		return nil
	})
}

// List lists pairs.
func (c *Client) List(ctx context.Context, f index.Filter) ([]spool.Pair, index.Cursor, error) {
	p, err := call[page](ctx, c, "queue/list", f)
	return p.Pairs, p.Next, err
}

// Show tells all about one entry.
func (c *Client) Show(ctx context.Context, id string) (*index.View, error) {
	return call[*index.View](ctx, c, "queue/show", named{Name: id})
}

// Raw writes the exact message.
func (c *Client) Raw(ctx context.Context, id string, w io.Writer) error {
	return c.body(ctx, "queue/raw", named{Name: id}, w)
}

// Act holds, releases, retries or removes.
func (c *Client) Act(ctx context.Context, a Action) (*ActResult, error) {
	return call[*ActResult](ctx, c, "queue/act", a)
}

// Export writes a tar of entries.
func (c *Client) Export(ctx context.Context, r ExportRequest, w io.Writer) error {
	return c.body(ctx, "export", r, w)
}

// NotifyTest sends a test along every way of notification.
func (c *Client) NotifyTest(ctx context.Context) ([]Sent, error) {
	return call[[]Sent](ctx, c, "notify/test", none{})
}

// StoreCheck proves the node's store.
func (c *Client) StoreCheck(ctx context.Context) (*StoreState, error) {
	return call[*StoreState](ctx, c, "store/check", none{})
}

// Primary stops, starts or lists the stand-in primary of `serve --dev`.
func (c *Client) Primary(ctx context.Context, do string) (*DevPrimary, error) {
	return call[*DevPrimary](ctx, c, "dev/primary", named{Name: do})
}

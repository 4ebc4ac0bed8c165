// Package node runs the real restante program in a folder of its own, for the end-to-end tests and the
// benchmarks: started, killed and started again as on a host of its own.
package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"restante/spool/need"
)

// Options are the node's configuration; what is empty keeps the program's default.
type Options struct {
	Dir     string   // data and configuration; made if need be
	Store   string   // store URL
	Domain  string   // default example.test
	Primary string   // host:port
	Extra   string   // more of the configuration, after the domain: keys of [[domain]] first, then whole tables
	SMTP    string   // more of the [smtp] table
	Env     []string // further environment, e.g. credentials
}

// Node is one restante.
type Node struct {
	Dir        string
	SMTP, HTTP string // addresses it listens on
	binary     string
	env        []string
	proxied    bool // greets load balancers alone
	cmd        *exec.Cmd
	exited     chan struct{}
	state      *os.ProcessState
}

// Build compiles the program into dir and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "restante")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "restante/cmd/restante")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return binary, nil
}

// New writes the configuration of a node that will listen on free ports of 127.0.0.1.
func New(binary string, o Options) (*Node, error) {
	if o.Domain == "" {
		o.Domain = "example.test"
	}
	if o.Store == "" {
		o.Store = "file://" + filepath.Join(o.Dir, "spool")
	}
	n := &Node{Dir: o.Dir, binary: binary, env: o.Env, proxied: strings.Contains(o.SMTP, "proxies = ")}
	for _, addr := range []*string{&n.SMTP, &n.HTTP} {
		var err error
		if *addr, err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`hostname = "mx2.example.test"
data_dir = %q
[smtp]
listen = [%q]
%s
[store]
url = %q
[http]
listen = %q
[admin]
socket = %q
[[domain]]
name = %q
primary = [%q]
%s
`, filepath.Join(o.Dir, "data"), n.SMTP, o.SMTP, o.Store, n.HTTP, n.socket(), o.Domain, o.Primary, o.Extra)
	return n, os.WriteFile(n.config(), []byte(config), 0o600)
}

// FreeAddr returns a host:port of 127.0.0.1 that nobody else gets.
func FreeAddr() (string, error) { return need.Free() }

func (n *Node) config() string { return filepath.Join(n.Dir, "restante.toml") }
func (n *Node) socket() string { return filepath.Join(n.Dir, "admin.sock") }

// Log is the path of its log.
func (n *Node) Log() string { return filepath.Join(n.Dir, "log") }

// Start starts the program and returns when its SMTP server greets.
func (n *Node) Start(ctx context.Context) error {
	log, err := os.OpenFile(n.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.Command(n.binary, "serve", "--config", n.config())
	n.cmd.Env = append(os.Environ(), n.env...)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(exited)
	}(n.cmd, n.exited)
	for {
		if n.greets() {
			return nil
		}
		select {
		case <-n.exited:
			return fmt.Errorf("restante ended at its start: %v%s", n.cmd.ProcessState, n.Tail())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("restante does not answer: %w%s", ctx.Err(), n.Tail()), n.Kill())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (n *Node) greets() bool {
	c, err := net.DialTimeout("tcp", n.SMTP, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false
	}
	if n.proxied {
		if _, err := c.Write([]byte("PROXY UNKNOWN\r\n")); err != nil {
			return false
		}
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "220")
}

// Kill ends it as kill -9 does.
func (n *Node) Kill() error { return n.end(syscall.SIGKILL) }

// Stop asks it to end and waits until it has.
func (n *Node) Stop() error {
	if err := n.end(syscall.SIGTERM); err != nil {
		return err
	}
	if s := n.state; s != nil && !s.Success() {
		return fmt.Errorf("restante ended with %v%s", s, n.Tail())
	}
	return nil
}

// Hangup makes it read its configuration again.
func (n *Node) Hangup() error { return n.cmd.Process.Signal(syscall.SIGHUP) }

func (n *Node) end(sig os.Signal) error {
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-n.exited:
	case <-time.After(time.Minute):
		_ = n.cmd.Process.Kill() // the error below says enough
		<-n.exited
		return fmt.Errorf("restante did not end within a minute of %v%s", sig, n.Tail())
	}
	n.state = n.cmd.ProcessState
	n.cmd = nil
	return nil
}

// Tail is the end of its log.
func (n *Node) Tail() string {
	b, err := os.ReadFile(n.Log())
	if err != nil {
		return ""
	}
	return "\n" + string(b[max(0, len(b)-4000):])
}

// CLI runs one command of the program against this node and returns what it printed.
func (n *Node) CLI(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, n.binary, append(args, "--socket", n.socket())...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("restante %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// Domain is one domain of `restante status --json`, as far as tests look at it.
type Domain struct {
	Name                                 string
	State                                string
	Accepted, Delivered, Parked, Pending int64
}

// Status returns the first domain's status.
func (n *Node) Status(ctx context.Context) (Domain, error) {
	out, err := n.CLI(ctx, "status", "--json")
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || len(out) == 0) {
		return Domain{}, err // an exit code with output says that something needs attention
	}
	var status struct{ Domains []Domain }
	if err := json.Unmarshal(out, &status); err != nil {
		return Domain{}, fmt.Errorf("status --json: %w: %s", err, out)
	}
	if len(status.Domains) == 0 {
		return Domain{}, fmt.Errorf("status --json names no domain: %s", out)
	}
	return status.Domains[0], nil
}

// WaitStatus polls the status until ok says so.
func (n *Node) WaitStatus(ctx context.Context, ok func(Domain) bool) (Domain, error) {
	for {
		d, err := n.Status(ctx)
		if err == nil && ok(d) {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return d, fmt.Errorf("status stays %+v (%w)%s", d, errors.Join(ctx.Err(), err), n.Tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Metric sums the samples of one metric whose labels contain all of with.
func (n *Node) Metric(ctx context.Context, name string, with ...string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var sum float64
	found := false
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		line := s.Text()
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		all := true
		for _, w := range with {
			all = all && strings.Contains(rest, w)
		}
		if !all {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += v
		found = true
	}
	if !found {
		return 0, fmt.Errorf("no metric %s with %v", name, with)
	}
	return sum, nil
}

// PeakRSS is the most resident memory that the program has had since its start, in octets.
func (n *Node) PeakRSS() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		return 0, err
	}
	return kb << 10, nil
}

// Package postfix runs a private Postfix in a folder of its own: the real sender and the real
// primary of the end-to-end tests, and the peer of the benchmarks. It needs root (Postfix changes
// users) and Debian's postfix package; nothing of the machine's own Postfix is read or changed.
package postfix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	command = "/usr/sbin/postfix"
	daemons = "/usr/lib/postfix/sbin"
)

// Options says what the instance is for.
type Options struct {
	// Listen is the host:port of its SMTP server; "" for none (a sender only).
	Listen string
	// Maildirs makes it the final destination of these domains: every recipient's mail goes to
	// the one Maildir of the instance, see Maildir.
	Maildirs []string
	// Next is the [host]:port that all other mail is relayed to.
	Next string
	// Main are further parameters of main.cf; they win over the defaults.
	Main map[string]string
	// Submission is a service for users, nil for none; see MissingSASL.
	Submission *Submission
	// Services are further lines of master.cf.
	Services string
	// Processes bounds each service's processes (default_process_limit); 0 means 100.
	Processes int
}

// Instance is a running Postfix.
type Instance struct {
	Dir    string
	Listen string

	services *Submission
	master   *exec.Cmd
	exited   chan error

	Certificate []byte // PEM, of the submission service
	auth        *exec.Cmd
	authExited  chan error
}

// Missing says why no instance can be started here, or nil.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("a private Postfix needs root")
	}
	if _, err := os.Stat(command); err != nil {
		return errors.New("no Postfix here: apt-get install postfix")
	}
	return nil
}

// Start configures and starts an instance and returns when its SMTP server answers.
func Start(ctx context.Context, o Options) (*Instance, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "restante-postfix-")
	if err != nil {
		return nil, err
	}
	i := &Instance{Dir: dir, Listen: o.Listen}
	if err := i.configure(o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := i.Start(ctx); err != nil {
		return nil, errors.Join(err, i.Remove())
	}
	return i, nil
}

func (i *Instance) configure(o Options) error {
	// Postfix's daemons run as the user postfix and must be able to walk to the queue.
	for dir, mode := range map[string]os.FileMode{"": 0o755, "conf": 0o755, "queue": 0o755, "data": 0o700, "mail": 0o777} {
		p := filepath.Join(i.Dir, dir)
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(p, mode); err != nil {
			return err
		}
	}
	if out, err := exec.Command("chown", "postfix", filepath.Join(i.Dir, "data"), filepath.Join(i.Dir, "mail")).CombinedOutput(); err != nil {
		return fmt.Errorf("chown: %w: %s", err, out)
	}
	var main bytes.Buffer
	params := i.parameters(o)
	services := bytes.NewBufferString(masterCF(o.Listen))
	if o.Submission != nil {
		more, err := o.Submission.prepare(i)
		if err != nil {
			return err
		}
		maps.Copy(params, more)
		o.Submission.lines(services)
		i.services = o.Submission
	}
	services.WriteString(o.Services)
	for _, k := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&main, "%s = %s\n", k, params[k])
	}
	if err := os.WriteFile(i.conf("main.cf"), main.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(i.conf("master.cf"), services.Bytes(), 0o644)
}

func (i *Instance) conf(name string) string { return filepath.Join(i.Dir, "conf", name) }

func (i *Instance) parameters(o Options) map[string]string {
	uid := "static:102"
	if out, err := exec.Command("id", "-u", "postfix").Output(); err == nil {
		uid = "static:" + strings.TrimSpace(string(out))
	}
	limit := o.Processes
	if limit == 0 {
		limit = 100
	}
	p := map[string]string{
		"compatibility_level":   "3.6",
		"queue_directory":       filepath.Join(i.Dir, "queue"),
		"data_directory":        filepath.Join(i.Dir, "data"),
		"command_directory":     "/usr/sbin",
		"daemon_directory":      daemons,
		"maillog_file":          i.Log(),
		"maillog_file_prefixes": i.Dir,
		"myhostname":            "postfix.example.test",
		"mydestination":         "",
		"alias_maps":            "",
		"alias_database":        "",
		"inet_interfaces":       "127.0.0.1",
		"inet_protocols":        "ipv4",
		"mynetworks":            "127.0.0.0/8",
		"default_process_limit": fmt.Sprint(limit),
		// Every client comes from 127.0.0.1 here.
		"smtpd_client_connection_count_limit": "0",
		"message_size_limit":                  "104857600",
		"mailbox_size_limit":                  "0",
		"virtual_mailbox_limit":               "0",
		"smtpd_recipient_limit":               "2000",
		"smtputf8_enable":                     "yes",
		"biff":                                "no",
	}
	if len(o.Maildirs) > 0 {
		p["virtual_mailbox_domains"] = strings.Join(o.Maildirs, " ")
		p["virtual_mailbox_base"] = filepath.Join(i.Dir, "mail")
		p["virtual_mailbox_maps"] = "static:all/"
		p["virtual_uid_maps"], p["virtual_gid_maps"] = uid, uid
		p["virtual_minimum_uid"] = "1"
		p["virtual_destination_recipient_limit"] = "1"
	}
	if o.Next != "" {
		p["relayhost"] = o.Next
		p["smtp_dns_support_level"] = "disabled"
		p["smtp_host_lookup"] = "native"
	}
	maps.Copy(p, o.Main)
	return p
}

func masterCF(listen string) string {
	var b strings.Builder
	line := func(name, kind, private, wakeup, max, cmd string) {
		fmt.Fprintf(&b, "%s %s %s - n %s %s %s\n", name, kind, private, wakeup, max, cmd)
	}
	if listen != "" {
		line(listen, "inet", "n", "-", "-", "smtpd")
	}
	line("pickup", "unix", "n", "2", "1", "pickup")
	line("cleanup", "unix", "n", "-", "0", "cleanup")
	// What it skips, since the one that delivers is just letting go of it, stays in the incoming queue until it is woken: Debian's 300 s are long.
	line("qmgr", "unix", "n", "2", "1", "qmgr")
	line("tlsmgr", "unix", "-", "1000?", "1", "tlsmgr")
	for _, name := range []string{"rewrite:trivial-rewrite", "smtp", "error", "retry:error", "discard", "lmtp"} {
		service, cmd, ok := strings.Cut(name, ":")
		if !ok {
			cmd = service
		}
		line(service, "unix", "-", "-", "-", cmd)
	}
	// virtual(8) writes mailboxes in their owners' names: it alone keeps its privileges.
	fmt.Fprintln(&b, "virtual unix - n n - 10 virtual")
	for _, name := range []string{"bounce", "defer:bounce", "trace:bounce"} {
		service, cmd, ok := strings.Cut(name, ":")
		if !ok {
			cmd = service
		}
		line(service, "unix", "-", "-", "0", cmd)
	}
	line("verify", "unix", "-", "-", "1", "verify")
	line("flush", "unix", "n", "1000?", "0", "flush")
	line("proxymap", "unix", "-", "-", "-", "proxymap")
	line("showq", "unix", "n", "-", "-", "showq")
	line("anvil", "unix", "-", "-", "1", "anvil")
	line("scache", "unix", "-", "-", "1", "scache")
	line("postlog", "unix-dgram", "n", "-", "1", "postlogd")
	return b.String()
}

// Start starts a stopped or killed instance again, with its queue as it was.
func (i *Instance) Start(ctx context.Context) error {
	if i.services != nil && i.auth == nil {
		// Postfix makes the folder of the socket at its first start.
		if err := os.MkdirAll(filepath.Join(i.Dir, "queue", "private"), 0o700); err != nil {
			return err
		}
		if out, err := exec.Command("chown", "postfix", filepath.Join(i.Dir, "queue", "private")).CombinedOutput(); err != nil {
			return fmt.Errorf("chown: %w: %s", err, out)
		}
		if err := i.startAuth(ctx); err != nil {
			return err
		}
	}
	i.master = exec.Command(command, "-c", filepath.Join(i.Dir, "conf"), "start-fg")
	i.master.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A file and not a pipe: the daemons inherit it, and Wait would wait for all of them.
	out, err := os.OpenFile(i.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Chmod(0o666); err != nil { // postsuper writes there as the user postfix
		return err
	}
	i.master.Stdout, i.master.Stderr = out, out
	if err := i.master.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	i.exited = exited
	go func() { exited <- i.master.Wait(); close(exited) }()
	for {
		if i.answers() {
			return nil
		}
		select {
		case err := <-exited:
			return fmt.Errorf("starting Postfix: %v%s", err, i.tail())
		case <-ctx.Done():
			return fmt.Errorf("waiting for Postfix to answer: %w%s", ctx.Err(), i.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers reports that the SMTP server greets, or, without one, that the queue manager is there.
func (i *Instance) answers() bool {
	if i.Listen == "" {
		_, err := os.Stat(filepath.Join(i.Dir, "queue", "public", "qmgr"))
		return err == nil
	}
	c, err := net.DialTimeout("tcp", i.Listen, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false
	}
	b := make([]byte, 4)
	_, err = c.Read(b)
	return err == nil && string(b[:3]) == "220"
}

// Stop ends the instance; messages being received or delivered are cut off as on a host that loses
// power, but for what Postfix has synced to its queue.
func (i *Instance) Stop() error {
	if i.master == nil {
		return nil
	}
	// start-fg is a script whose master(8) makes itself the leader of a session of its own, which
	// its daemons stay in.
	groups := []int{i.master.Process.Pid}
	master := 0
	if b, err := os.ReadFile(filepath.Join(i.Dir, "queue", "pid", "master.pid")); err == nil {
		if _, err := fmt.Sscan(string(b), &master); err == nil && master > 1 {
			groups = append(groups, master)
		}
	}
	for _, pid := range groups {
		if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	<-i.exited
	i.master = nil
	// No second master may start while the first, which isn't our child, still holds its lock.
	for until := time.Now().Add(10 * time.Second); master > 1 && syscall.Kill(-master, 0) == nil; {
		if time.Now().After(until) {
			return fmt.Errorf("process group %d of Postfix does not die", master)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// Remove stops the instance and deletes its folder.
func (i *Instance) Remove() error {
	return errors.Join(i.Stop(), i.stopAuth(), os.RemoveAll(i.Dir))
}

// Log is the path of its log file.
func (i *Instance) Log() string { return filepath.Join(i.Dir, "log") }

func (i *Instance) tail() string {
	b, err := os.ReadFile(i.Log())
	if err != nil {
		return ""
	}
	return "\n" + string(b[max(0, len(b)-4000):])
}

// Flush makes it try everything in its queue now.
func (i *Instance) Flush() error {
	out, err := exec.Command("/usr/sbin/postqueue", "-c", filepath.Join(i.Dir, "conf"), "-f").CombinedOutput()
	if err != nil {
		return fmt.Errorf("postqueue -f: %w: %s", err, out)
	}
	return nil
}

// Queued counts the messages in its queue.
func (i *Instance) Queued() (int, error) {
	n := 0
	for _, q := range []string{"maildrop", "incoming", "active", "deferred", "hold"} {
		err := filepath.WalkDir(filepath.Join(i.Dir, "queue", q), func(_ string, d os.DirEntry, err error) error {
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if d == nil || !d.Type().IsRegular() {
				return nil
			}
			info, err := d.Info()
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			// A queue file that was never finished, and so never acknowledged, isn't executable.
			if err == nil && info.Mode()&0o100 != 0 {
				n++
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Sendmail hands it a message as a local program does.
func (i *Instance) Sendmail(ctx context.Context, from string, to []string, message []byte) error {
	args := append([]string{"-C", filepath.Join(i.Dir, "conf"), "-G", "-i", "-f", from, "--"}, to...)
	cmd := exec.CommandContext(ctx, "/usr/sbin/sendmail", args...)
	cmd.Stdin = bytes.NewReader(message)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("sendmail: %w: %s", err, out)
	}
	return nil
}

// Maildir calls f with each message delivered so far, oldest name first: the octets as Postfix's
// virtual(8) wrote them (LF line ends, with its own Return-Path, X-Original-To, Delivered-To and
// Received before ours).
func (i *Instance) Maildir(f func(name string, message []byte) error) error {
	dir := filepath.Join(i.Dir, "mail", "all", "new")
	names, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range names {
		b, err := os.ReadFile(filepath.Join(dir, d.Name()))
		if err != nil {
			return err
		}
		if err := f(d.Name(), b); err != nil {
			return err
		}
	}
	return nil
}

// Delivered counts the messages in the Maildir.
func (i *Instance) Delivered() (int, error) {
	names, err := os.ReadDir(filepath.Join(i.Dir, "mail", "all", "new"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	return len(names), err
}

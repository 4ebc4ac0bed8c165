// Package scantest starts private content filters for tests: rspamd and clamd from Debian, each in a folder of its own on
// 127.0.0.1, with rules and signatures of our own and nothing of the network.
package scantest

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"restante/spool/need"
)

// GTUBE is the text that rspamd refuses, the whole world over.
const GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

// EICAR is the text that is found as Eicar-Test. It is put together so that no scanner takes this file for it.
func EICAR() string {
	return `X5O!P%@AP[4\PZX54(P^)7CC)7}` + `$EICAR-STANDARD-` + `ANTIVIRUS-TEST-FILE!$H+H*`
}

// Virus is the text that is found as Restante.Test.
const Virus = "RESTANTE-TEST-SIGNATURE"

// rules of rspamd: a word in the subject decides; TEST_FACTS tells what rspamd was told.
const rules = `
local function word(name, w, score)
  rspamd_config:register_symbol({name=name, score=score, callback=function(task)
    return (task:get_subject() or ''):find(w, 1, true) ~= nil
  end})
end
word('TEST_MARK', 'spam-mark', 7.0)
word('TEST_MORE', 'spam-mark', 0.5)
word('TEST_REJECT', 'spam-reject', 20.0)
rspamd_config:register_symbol({name='TEST_ACTION', score=0.0, callback=function(task)
  local s = task:get_subject() or ''
  if s:find('spam-soft', 1, true) then task:set_pre_result('soft reject', 'Come again') end
  if s:find('spam-quarantine', 1, true) then task:set_pre_result('quarantine', 'Look at it') end
  if s:find('spam-discard', 1, true) then task:set_pre_result('discard', 'Away') end
  if s:find('spam-slow', 1, true) then
    local e = os.time() + 3
    while os.time() < e do end
  end
  if s:find('spam-facts', 1, true) then
    local f = io.open(FACTS, 'w')
    f:write(tostring(task:get_from_ip()) .. '|' .. tostring(task:get_helo()) .. '|' .. tostring(task:get_hostname()) .. '|' .. tostring(task:get_user())
      .. '|' .. tostring((task:get_from('smtp') or {{}})[1].addr) .. '|' .. #(task:get_recipients('smtp') or {}) .. '|' .. tostring(task:get_queue_id()))
    f:close()
  end
end})
`

// Rspamd starts an rspamd and returns its folder: URL in it, and Facts. more is appended to its configuration.
func Rspamd(t testing.TB, more ...string) *Instance {
	t.Helper()
	need.Program(t, "rspamd")
	dir := folder(t)
	in := &Instance{Address: need.Addr(t), Socket: filepath.Join(dir, "rspamd.sock"), dir: dir}
	in.URL = "http://" + in.Address
	write(t, dir, "tld.dat", "com\nexample\ntest\n")
	write(t, dir, "rules.lua", strings.ReplaceAll(rules, "FACTS", fmt.Sprintf("%q", filepath.Join(dir, "facts"))))
	write(t, dir, "rspamd.conf", strings.ReplaceAll(`
options {
  pidfile = "DIR/pid"; cache_file = "DIR/symbols.cache"; history_file = "DIR/history"; hs_cache_dir = "DIR"; tempdir = "DIR";
  url_tld = "DIR/tld.dat"; filters = "";
  dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }
}
logging { type = "console"; level = "error"; }
actions { reject = 15; add_header = 6; greylist = 4; quarantine = 12; discard = 13; }
worker "normal" { bind_socket = "`+in.Address+`"; bind_socket = "DIR/rspamd.sock mode=0666"; count = 2; task_timeout = 8s; }
lua = "DIR/rules.lua";
`, "DIR", dir)+strings.Join(more, "\n"))
	args := []string{"-f", "-c", filepath.Join(dir, "rspamd.conf")}
	if os.Getuid() == 0 {
		args = append(args, "-u", "root", "-g", "root")
	}
	in.start(t, "rspamd", args, func() error {
		resp, err := http.Get(in.URL + "/ping") //nolint:noctx // a test's own server, which answers or refuses
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	return in
}

// Clamd starts a clamd that knows EICAR and Virus, and takes 1 MB a message.
func Clamd(t testing.TB) *Instance {
	t.Helper()
	need.Program(t, "clamd")
	dir := folder(t)
	in := &Instance{Address: need.Addr(t), Socket: filepath.Join(dir, "clamd.sock"), dir: dir}
	host, port, err := net.SplitHostPort(in.Address)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "test.hdb", "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test\n")
	write(t, dir, "test.ndb", "Restante.Test:0:*:"+hex.EncodeToString([]byte(Virus))+"\n")
	write(t, dir, "clamd.conf", strings.ReplaceAll(`LocalSocket DIR/clamd.sock
TCPAddr `+host+`
TCPSocket `+port+`
DatabaseDirectory DIR
TemporaryDirectory DIR
Foreground yes
StreamMaxLength 1M
`, "DIR", dir))
	in.start(t, "clamd", []string{"-c", filepath.Join(dir, "clamd.conf")}, func() error {
		conn, err := net.Dial("tcp", in.Address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return in
}

// Instance is a filter that runs until the test ends.
type Instance struct {
	URL     string // of rspamd
	Address string // host:port
	Socket  string // path of its unix socket
	dir     string
	cmd     *exec.Cmd
	stopped bool
}

// Facts are what rspamd was told of a message with "spam-facts" in its subject: address|helo|name|user|from|number of recipients|id.
func (in *Instance) Facts() string {
	b, err := os.ReadFile(filepath.Join(in.dir, "facts"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Stop ends the filter.
func (in *Instance) Stop() {
	if in.stopped {
		return
	}
	in.stopped = true
	_ = in.cmd.Cancel() // it may have ended
	_ = in.cmd.Wait()   // by the signal
}

// Hang stops the filter without ending it: connections are taken, and nothing is answered. GoOn ends that.
func (in *Instance) Hang() error { return in.cmd.Process.Signal(syscall.SIGSTOP) }

// GoOn lets it work again.
func (in *Instance) GoOn() error { return in.cmd.Process.Signal(syscall.SIGCONT) }

// start runs a program until it answers.
func (in *Instance) start(t testing.TB, program string, args []string, answers func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	in.cmd = exec.CommandContext(ctx, program, args...)
	in.cmd.Cancel = func() error { return in.cmd.Process.Signal(syscall.SIGTERM) }
	in.cmd.WaitDelay = 10 * time.Second
	out, err := os.Create(filepath.Join(in.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	in.cmd.Stdout, in.cmd.Stderr = out, out
	if err := in.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Stop()
		out.Close()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := answers()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(out.Name()) // what there is helps
			t.Fatalf("%s doesn't answer: %v\n%s", program, err, text)
		}
	}
}

// folder is short: the path of a unix socket has at most 107 octets.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "scan")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"restante/spool/need"
)

func TestMain(m *testing.M) {
	// The scripts wait for their nodes rather than for the processor.
	need.AtOnce(4)
	testscript.Main(m, map[string]func(){"restante": func() { os.Exit(Main()) }})
}

// TestScripts runs testdata/script/*.txt. Beside testscript's own commands they have:
//
//	ports A B C            sets the variables to addresses of 127.0.0.1 that are free
//	send ADDR N FROM TO..  sends N messages, each of which has to be answered 250
//	send ADDR FILE FROM TO..  sends the message in a file, likewise
//	refused ADDR CODE FROM TO   sends one that has to be answered with that code
//	fetch URL              gets a page, for the stdout commands that follow
//	poll REGEXP CMD...     runs the command until its output matches, for a minute at most
//	exits CODE CMD...      runs the command, which has to end with that exit code
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("RESTANTE_SOCKET", "")
			e.Setenv("GORACE", "atexit_sleep_ms=0")                   // or each command takes a second to end, under the race detector
			e.Setenv("TODAY", time.Now().UTC().Format(time.DateOnly)) // ids of outages begin with it
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ports": ports, "send": send, "refused": refused, "fetch": fetch, "poll": poll, "exits": exits,
		},
	})
}

func ports(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		addr, err := need.Free()
		ts.Check(err)
		ts.Setenv(name, addr)
	}
}

func message(i int) []byte {
	return fmt.Appendf(nil, "Subject: message %d\r\nFrom: Anna <anna@kunde.example>\r\n\r\n.dots\r\n..and 8-bit: \xc3\xa4\r\n", i)
}

func send(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		ts.Check(mail(args[0], args[2], args[3:], []byte(ts.ReadFile(args[1]))))
		return
	}
	for i := range n {
		if err := mail(args[0], args[2], args[3:], message(i)); err != nil {
			ts.Fatalf("message %d: %v", i, err)
		}
	}
}

// mail sends one message in plain text, over a connection of its own.
func mail(addr, from string, to []string, text []byte) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, r := range to {
		if err := c.Rcpt(r); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

func refused(ts *testscript.TestScript, _ bool, args []string) {
	err := mail(args[0], args[2], args[3:], message(0))
	if err == nil || !strings.HasPrefix(err.Error(), args[1]) {
		ts.Fatalf("want %s, got %v", args[1], err)
	}
}

func fetch(ts *testscript.TestScript, _ bool, args []string) {
	r, err := http.Get(args[0])
	ts.Check(err)
	defer r.Body.Close()
	_, err = io.Copy(ts.Stdout(), r.Body)
	ts.Check(err)
}

func poll(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[0])
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if out, _ := quiet(ts, args[1:]).CombinedOutput(); want.Match(out) {
			err := ts.Exec(args[1], args[2:]...) // for the stdout and stderr commands that follow
			if _, exit := errors.AsType[*exec.ExitError](err); err != nil && !exit {
				ts.Check(err)
			}
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			err := ts.Exec(args[1], args[2:]...)
			ts.Fatalf("no %s in\n%s%s\n%v", want, ts.ReadFile("stdout"), ts.ReadFile("stderr"), err)
		}
	}
}

// quiet is a command in the script's folder and environment that leaves no trace in its log.
func quiet(ts *testscript.TestScript, args []string) *exec.Cmd {
	path := args[0]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, path); !strings.Contains(path, "/") {
			if _, err := os.Stat(p); err == nil {
				path = p
			}
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "WORK", "GORACE", "RESTANTE_SOCKET", "RESTANTE_CONFIG"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, not %s\n%s%s", code, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// TestScriptsNameTheirDoubts: each script begins with what it shows.
func TestScriptsNameTheirDoubts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatal(len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// Package cli is the command line of Restante: one file a command, each made by a constructor, all of
// them speaking through an Env so that tests can run them in-process.
//
// Exit codes: 0 it went well; 1 it failed; 2 the command line or the configuration is wrong; 3 no node
// answers; 4 it went well, but something needs a person (a domain that is not up, mail that is parked, a
// report that doesn't add up, damage found); 5 there is no such domain, entry or outage.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitAttention   = 4
	exitNotFound    = 5
)

// exitHelp is the end of the help of the root command.
const exitHelp = `Exit codes: 0 fine, 1 failed, 2 wrong command line or configuration, 3 no node answers,
4 fine, but something needs a person, 5 no such domain, entry or outage.`

// Env is the world as a command sees it.
type Env struct {
	In         io.Reader
	Out        io.Writer
	Err        io.Writer
	Getenv     func(string) string
	InTerminal bool // questions can be asked
	Terminal   bool // Out is a terminal: tables may be cut to its width, bars drawn
	Color      bool
	Width      int // columns of the terminal
	Height     int // and its lines
}

// system is the Env of a real process.
func system() *Env {
	e := &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
	e.InTerminal = isatty.IsTerminal(os.Stdin.Fd())
	e.Terminal = isatty.IsTerminal(os.Stdout.Fd()) && os.Getenv("TERM") != "dumb"
	e.Color = e.Terminal && os.Getenv("NO_COLOR") == ""
	if w, h, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		e.Width, e.Height = w, h
	}
	return e
}

// Main runs the command line of the process and returns its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, system(), os.Args[1:])
}

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, e *Env, args []string) int {
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	return e.report(err)
}

// attention ends a command that went well although something needs a person. What it is has been shown.
var errAttention = &admin.Error{Kind: admin.KindAttention}

// report prints the error with its mend and returns the exit code.
func (e *Env) report(err error) int {
	if err == errAttention { //nolint:errorlint // it is this very value
		return exitAttention
	}
	if p, ok := errors.AsType[config.Problems](err); ok {
		for _, one := range p {
			fmt.Fprintf(e.Err, "restante: %s\n", one.Error())
		}
		return exitUsage
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(e.Err, "restante: interrupted")
		return exitFailed
	}
	a := admin.AsError(err)
	fmt.Fprintf(e.Err, "restante: %s\n", a.Text)
	for line := range strings.SplitSeq(a.Mend, "\n") {
		if line != "" {
			fmt.Fprintf(e.Err, "  %s\n", line)
		}
	}
	switch a.Kind {
	case admin.KindUsage:
		return exitUsage
	case admin.KindUnreachable:
		return exitUnreachable
	case admin.KindAttention:
		return exitAttention
	case admin.KindNotFound:
		return exitNotFound
	default:
		return exitFailed
	}
}

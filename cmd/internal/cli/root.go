package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
)

// Where a node's socket is looked for when nothing names it.
const (
	defaultSocket = "/var/lib/restante/admin.sock"
	devSocket     = "restante-data/admin.sock"
)

// common are the flags that every command has.
type common struct {
	socket string
	config string
	json   bool
}

// command is what the constructors of commands share.
type command struct {
	*Env
	common *common
}

func newRoot(e *Env) *cobra.Command {
	c := &command{Env: e, common: &common{}}
	root := &cobra.Command{
		Use:   "restante",
		Short: "A backup MX that loses nothing, and proves it",
		Long: `Restante stands behind a domain's mail server as its second MX. While the primary is up it lets
mail through; while it is down it keeps mail; when it is back it hands everything over, and
proves that it did.

Try it:     restante serve --dev
For real:   restante serve --domain example.com --primary mail.example.com:25

` + exitHelp,
		Example: `  restante serve --dev
  restante status --watch
  restante outage list
  restante queue list --state parked`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.SetHelpTemplate(helpTemplate)
	f := root.PersistentFlags()
	f.StringVar(&c.common.socket, "socket", "", "admin socket of the node (default: RESTANTE_SOCKET, the configuration's,\n"+defaultSocket+", ./"+devSocket+")")
	f.StringVarP(&c.common.config, "config", "c", "", "configuration file (default: RESTANTE_CONFIG, "+config.DefaultPath+")")
	f.BoolVar(&c.common.json, "json", false, "print JSON")
	root.AddCommand(
		newServe(c), newSetup(c), newReload(c), newHealth(c), newConfig(c), newStore(c), newStatus(c), newOutage(c), newPrimary(c),
		newReplay(c), newQueue(c), newExport(c), newFsck(c), newUser(c), newRecipient(c), newNotice(c), newSending(c), newDKIM(c), newNotify(c), newRecoveryCard(c), newRecover(c), newDev(c), newVersion(c), newCompletion(c),
	)
	return root
}

// helpTemplate puts examples before flags: most people copy one and leave.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of all commands:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

func flagError(cmd *cobra.Command, err error) error {
	text, _, _ := strings.Cut(err.Error(), ": strconv.") // how Go reads numbers is of no use to anybody
	return admin.Errorf(admin.KindUsage, "see `"+cmd.CommandPath()+" --help`", "%s", text)
}

// noArgs and argCount are cobra's, with our words and exit code.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		mend := "see `" + cmd.CommandPath() + " --help`"
		cmd.SuggestionsMinimumDistance = 2
		if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
			mend = "did you mean `" + cmd.CommandPath() + " " + s[0] + "`?"
		}
		return admin.Errorf(admin.KindUsage, mend, "there is no command %q", args[0])
	}
	return admin.Errorf(admin.KindUsage, "see `"+cmd.CommandPath()+" --help`", "unexpected %q", args[0])
}

func argCount(low, high int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < low:
			return admin.Errorf(admin.KindUsage, "usage: "+cmd.UseLine(), "%s is missing", what)
		case high >= 0 && len(args) > high:
			return admin.Errorf(admin.KindUsage, "usage: "+cmd.UseLine(), "unexpected %q", args[high])
		}
		return nil
	}
}

// group is a command that only has subcommands.
func group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(subs...)
	return cmd
}

// configPath is the configuration file in force; explicit says that somebody named it.
func (c *command) configPath() (path string, explicit bool) {
	if c.common.config != "" {
		return c.common.config, true
	}
	if p := c.Getenv("RESTANTE_CONFIG"); p != "" {
		return p, true
	}
	return config.DefaultPath, false
}

// client finds the node's socket.
func (c *command) client() (*admin.Client, error) {
	path, err := c.socketPath()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(path), nil
}

func (c *command) socketPath() (string, error) {
	if c.common.socket != "" {
		return c.common.socket, nil
	}
	if s := c.Getenv("RESTANTE_SOCKET"); s != "" {
		return s, nil
	}
	path, explicit := c.configPath()
	if _, err := os.Stat(path); err == nil || explicit {
		cfg, err := config.Load(path, config.Flags{})
		if err == nil {
			return cfg.Admin.Socket, nil
		}
		// A broken configuration doesn't keep us from a node that runs with an older one.
		if s := config.Socket(path); s != "" {
			if _, miss := os.Stat(s); miss == nil {
				c.sayBroken(path, err)
				return s, nil
			}
		}
		if explicit {
			return "", err
		}
	}
	if _, err := os.Stat(defaultSocket); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(devSocket); err == nil {
			return filepath.Clean(devSocket), nil
		}
	}
	return defaultSocket, nil
}

// sayBroken tells that the file isn't what the node runs with. Who may use the socket needn't be one who may read the file.
func (c *command) sayBroken(path string, err error) {
	f, denied := os.Open(path)
	if errors.Is(denied, fs.ErrPermission) {
		return
	}
	f.Close()
	what := err.Error()
	if all, ok := errors.AsType[config.Problems](err); ok && len(all) > 0 {
		what = all[0].Error()
	}
	fmt.Fprintf(c.Err, "! the configuration is broken, a node that runs goes on with what it read before: %s\n", what)
}

// defaultDevSocket is where the other commands look without being told.
func defaultDevSocket() string { return filepath.Clean(devSocket) }

// printJSON prints one value for programs.
func (c *command) printJSON(v any) error {
	enc := json.NewEncoder(c.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// confirm asks before something is destroyed; --yes has asked already. Without a terminal it refuses.
func (c *command) confirm(yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	question := fmt.Sprintf(format, args...)
	if !c.InTerminal {
		return admin.Errorf(admin.KindUsage, "add --yes if that is meant", "%s", question)
	}
	fmt.Fprintf(c.Err, "%s? [y/N] ", question)
	var line string
	if _, err := fmt.Fscanln(c.In, &line); err != nil || !strings.HasPrefix(strings.ToLower(line), "y") {
		return admin.Errorf(admin.KindFailed, "nothing was changed", "not confirmed")
	}
	return nil
}

// printLine prints one value as one line of JSON.
func printLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

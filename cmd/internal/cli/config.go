package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
)

func newConfig(c *command) *cobra.Command {
	return group("config", "Write, check and show the configuration",
		`  restante config init /etc/restante/restante.toml
  restante config check
  restante config show`,
		newConfigInit(c), newConfigCheck(c), newConfigShow(c))
}

func newConfigInit(c *command) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "init [file]",
		Short: "Write a commented configuration with every key",
		Long: `Write a commented configuration with every key and its default to the file (` + config.DefaultPath + `), or to
the output with "-". A file that is there already is left alone, unless --force is given.`,
		Example: `  restante config init
  restante config init - | less`,
		Args: argCount(0, 1, "the file"),
		RunE: func(_ *cobra.Command, args []string) error {
			path, _ := c.configPath()
			if len(args) > 0 {
				path = args[0]
			}
			if path == "-" {
				_, err := fmt.Fprint(c.Out, config.Sample())
				return err
			}
			if err := writeNew(path, config.Sample(), force); err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(map[string]string{"file": path})
			}
			fmt.Fprintf(c.Out, "wrote %s\nnext: set hostname, [[domain]] name and primary in it, then\n  restante config check -c %s\n  restante setup -c %s\n  restante serve -c %s\n", path, path, path, path)
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite the file")
	return cmd
}

func writeNew(path, text string, force bool) error {
	flags := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if force {
		flags = os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return admin.Errorf(admin.KindFailed, "name a file that you may write, or use sudo", "can't write %s: %w", path, err)
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return admin.Errorf(admin.KindFailed, "add --force to overwrite it, or name another file", "%s is there already", path)
	}
	if err != nil {
		return admin.Errorf(admin.KindFailed, "name a file that you may write, or use sudo", "can't write %s: %w", path, err)
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func newConfigCheck(c *command) *cobra.Command {
	return &cobra.Command{
		Use:   "check [file]",
		Short: "Check the configuration, conf.d included",
		Long: `Check the configuration, conf.d included. All problems are shown at once, each with file, line, key and
what to write instead. Exit code 2 when there are any.`,
		Example: `  restante config check
  restante config check ./restante.toml`,
		Args: argCount(0, 1, "the file"),
		RunE: func(_ *cobra.Command, args []string) error {
			path, _ := c.configPath()
			if len(args) > 0 {
				path = args[0]
			}
			cfg, err := config.Load(path, config.Flags{})
			if problems, ok := errors.AsType[config.Problems](err); ok && c.common.json {
				if err := c.printJSON(map[string]any{"ok": false, "problems": jsonProblems(problems)}); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
			warnings := cfg.Warnings()
			if c.common.json {
				return c.printJSON(map[string]any{"ok": true, "files": cfg.Files, "domains": len(cfg.Domains), "warnings": warnings})
			}
			fmt.Fprintf(c.Out, "%s: ok, %s\n", strings.Join(cfg.Files, ", "), plural(int64(len(cfg.Domains)), "domain"))
			for _, w := range warnings {
				fmt.Fprintln(c.Out, c.paint(styleAmber, "! ")+w)
			}
			return nil
		},
	}
}

type jsonProblem struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
	Mend string `json:"mend,omitempty"`
}

func jsonProblems(list config.Problems) []jsonProblem {
	out := make([]jsonProblem, len(list))
	for i, p := range list {
		out[i] = jsonProblem{File: p.File, Line: p.Line, Key: p.Key, Text: p.Text, Mend: p.Mend}
	}
	return out
}

func newConfigShow(c *command) *cobra.Command {
	return &cobra.Command{
		Use:     "show [file]",
		Short:   "Show the configuration with defaults filled in and secrets hidden",
		Example: `  restante config show | less`,
		Args:    argCount(0, 1, "the file"),
		RunE: func(_ *cobra.Command, args []string) error {
			path, _ := c.configPath()
			if len(args) > 0 {
				path = args[0]
			}
			cfg, err := config.Load(path, config.Flags{})
			if err != nil {
				return err
			}
			if c.common.json {
				m, err := cfg.Map()
				if err != nil {
					return err
				}
				return c.printJSON(m)
			}
			return cfg.Write(c.Out)
		},
	}
}

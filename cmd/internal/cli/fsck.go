package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/spool"
	"restante/spool/blob"
)

func newFsck(c *command) *cobra.Command {
	var o spool.CheckOptions
	var storeURL string
	var yes bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check hashes, chains, holes and orphans of a store",
		Long: `Read all of a store and check it: the hash of every message, the chains of the streams, holes, orphans.
It works on a bucket or folder with no node and no index, and beside a running node; for --repair the
node has to be stopped. Repairing mends what can be mended; nothing that might be mail is deleted by it.
Exit code 4 when something was found that costs mail.`,
		Example: `  restante fsck --store file:///var/lib/restante/spool
  restante fsck --store "s3://mail-spool/mx2?region=eu-central-1" --quick
  restante fsck --repair --yes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if storeURL == "" {
				path, explicit := c.configPath()
				if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !explicit {
					return admin.Errorf(admin.KindUsage, "name it with --store file:///folder or s3://bucket/prefix, or its configuration with --config",
						"which store? there is no %s", path)
				}
				cfg, err := config.Load(path, config.Flags{})
				if err != nil {
					return err
				}
				storeURL = cfg.Store.URL
			}
			if o.Repair {
				if err := c.confirm(yes, "--repair changes %s; no node may be using it", storeURL); err != nil {
					return err
				}
				o.Mine = func(spool.StreamID) bool { return true }
			}
			store, err := c.openStore(cmd.Context(), storeURL, !o.Repair)
			if err != nil {
				return err
			}
			defer blob.Close(store) //nolint:errcheck // what was written is durable already
			c.fsckOutput(&o)
			r, err := spool.Check(cmd.Context(), store, o)
			if c.Terminal {
				fmt.Fprint(c.Err, "\r\x1b[K")
			}
			if err != nil {
				return err
			}
			if c.common.json {
				err = c.printJSON(r)
			} else {
				c.printCheck(r, storeURL)
			}
			if err == nil && !r.OK() {
				return errAttention
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Repair, "repair", false, "mend what can be mended")
	f.BoolVar(&o.Quick, "quick", false, "tables of contents and chains only, without reading messages")
	f.StringVar(&storeURL, "store", "", "file:///folder or s3://bucket/prefix (default: the configuration's)")
	f.BoolVarP(&yes, "yes", "y", false, "don't ask before --repair")
	return cmd
}

// fsckOutput shows findings as they come, and on a terminal how far it is.
func (c *command) fsckOutput(o *spool.CheckOptions) {
	last := time.Now()
	if c.Terminal {
		o.Progress = func(p spool.CheckProgress) {
			if time.Since(last) > 200*time.Millisecond {
				last = time.Now()
				fmt.Fprintf(c.Err, "\r\x1b[K%s  %s / %s objects   %s", bar(int64(p.Objects), int64(p.Total), 23),
					thousands(int64(p.Objects)), thousands(int64(p.Total)), octets(p.Octets))
			}
		}
	}
	if c.common.json {
		return
	}
	o.Found = func(f spool.Finding) {
		if c.Terminal {
			fmt.Fprint(c.Err, "\r\x1b[K")
		}
		style := styleRed
		if f.Harmless {
			style = styleAmber
		}
		line := c.paint(style, fmt.Sprintf("%-10s", f.Kind)) + "  " + f.Key
		if f.Entry != "" {
			line += "  entry " + f.Entry
		}
		detail := strings.TrimPrefix(strings.TrimPrefix(f.Detail, f.Key+": "), "damaged: ")
		fmt.Fprintf(c.Out, "%s  %s\n", line, clean(strings.ReplaceAll(detail, "\n", "; ")))
		if f.Repaired != "" {
			fmt.Fprintln(c.Out, "            mended: "+f.Repaired)
		}
	}
}

func (e *Env) printCheck(r *spool.CheckReport, url string) {
	fmt.Fprintf(e.Out, "%s: %s, %s, %s, %s, %s\n", r.Cluster, plural(int64(r.Streams), "stream"),
		strings.Replace(plural(int64(r.Batches), "batch"), "batchs", "batches", 1),
		strings.Replace(plural(int64(r.Entries), "entry"), "entrys", "entries", 1),
		plural(int64(r.Events), "event"), octets(r.Octets))
	bad, harmless := 0, 0
	for _, f := range r.Findings {
		switch {
		case f.Repaired != "":
		case f.Harmless:
			harmless++
		default:
			bad++
		}
	}
	switch {
	case bad > 0:
		fmt.Fprintf(e.Out, "%s: %s; everything else is readable: restante export -o ./mail --store '%s'\n", e.paint(styleRed, "DAMAGED"), plural(int64(bad), "finding"), url)
	case harmless > 0:
		fmt.Fprintf(e.Out, "%s, with %s that cost room at most; --repair mends them while no node runs\n", e.paint(styleGreen, "no mail is lost"), plural(int64(harmless), "finding"))
	default:
		fmt.Fprintln(e.Out, e.paint(styleGreen, "all is well"))
	}
}

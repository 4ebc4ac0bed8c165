package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/spool/blob"
	"restante/spool/blob/open"
)

func newStore(c *command) *cobra.Command {
	return group("store", "Check the store, or copy it to another",
		`  restante store check
  restante store check "s3://mail-spool/mx2?region=eu-central-1"
  restante store copy file:///var/lib/restante/spool s3://mail-spool/mx2`,
		newStoreCheck(c), newStoreCopy(c))
}

// openStore opens a store by its URL; a path will do for a folder. To read, it opens beside a running node.
func (c *command) openStore(ctx context.Context, url string, readOnly bool) (blob.Store, error) {
	if !strings.Contains(url, ":") {
		abs, err := filepath.Abs(url)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		url = "file://" + abs
	}
	s, err := open.URL(ctx, url, open.Options{ReadOnly: readOnly})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, admin.Errorf(admin.KindFailed, "mend its name, or make the folder first; a bucket is s3://bucket/prefix?region=...&endpoint=...", "there is no store: %w", err)
	}
	if err != nil {
		return nil, admin.Errorf(admin.KindFailed, "stop the node that uses it, or mend the URL: file:///folder or s3://bucket/prefix?region=...&endpoint=...", "can't open the store: %w", err)
	}
	return s, nil
}

func newStoreCheck(c *command) *cobra.Command {
	return &cobra.Command{
		Use:   "check [url]",
		Short: "Prove that a store keeps what it must keep",
		Long: `Prove that a store has what mail depends on: put-if-absent (also against a slower first writer),
put-if-match, ranged reads, lists that show what was just written. Without a URL the node proves its
own. A few small objects are written and removed.`,
		Example: `  restante store check
  restante store check "s3://mail-spool/mx2?endpoint=http://127.0.0.1:9000&region=us-east-1"`,
		Args: argCount(0, 1, "the URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := c.storeCheck(cmd.Context(), args)
			if err != nil {
				return err
			}
			if c.common.json {
				if err := c.printJSON(state); err != nil {
					return err
				}
			}
			if state.State != "ok" {
				return unfit(state)
			}
			if !c.common.json {
				fmt.Fprintf(c.Out, "%s  %s\n", c.paint(styleGreen, "ok"), storeLine(state))
			}
			return nil
		},
	}
}

// unfit says what is wrong with a store. Its further lines are what could not be cleared away for the same reason.
func unfit(s *admin.StoreState) error {
	text, _, _ := strings.Cut(s.Error, "\n")
	text = strings.TrimPrefix(text, s.URL+": ")
	return admin.Errorf(admin.KindFailed, "use another store, or mend what is named", "%s is not fit: %s", s.URL, strings.TrimPrefix(text, s.URL+": "))
}

func (c *command) storeCheck(ctx context.Context, args []string) (*admin.StoreState, error) {
	if len(args) == 0 {
		client, err := c.client()
		if err != nil {
			return nil, err
		}
		state, err := client.StoreCheck(ctx)
		if err != nil && admin.AsError(err).Kind == admin.KindUnreachable {
			return nil, admin.Errorf(admin.KindUnreachable, "start the node, or name the store: restante store check file:///var/lib/restante/spool", "%s", admin.AsError(err).Text)
		}
		return state, err
	}
	// A check makes no folder: a name misspelt would be fit too.
	store, err := c.openStore(ctx, args[0], true)
	if err == nil {
		store, err = c.openStore(ctx, args[0], false)
	}
	if err != nil {
		return nil, err
	}
	defer blob.Close(store) //nolint:errcheck // what was written is durable already
	state := &admin.StoreState{URL: store.String(), State: "ok"}
	start := time.Now()
	if err := blob.Prove(ctx, store); err != nil {
		state.State, state.Error = "failing", err.Error()
		return state, nil
	}
	state.PutMS = float64(time.Since(start).Microseconds()) / 1000
	if free, total, err := blob.Space(ctx, store); err == nil {
		state.Free, state.Total = free, total
	}
	return state, nil
}

func newStoreCopy(c *command) *cobra.Command {
	return &cobra.Command{
		Use:   "copy <from> <to>",
		Short: "Copy all of a store to another, from folder to bucket or back",
		Long: `Copy all of a store to another; what is there already and equal is left alone, so a copy that was
interrupted goes on. Stop the node first, or copy twice: the second time after stopping it.`,
		Example: `  restante store copy file:///var/lib/restante/spool "s3://mail-spool/mx2?region=eu-central-1"`,
		Args:    argCount(2, 2, "<from> or <to>"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := c.openStore(cmd.Context(), args[0], true)
			if err != nil {
				return err
			}
			defer blob.Close(from) //nolint:errcheck // only read
			to, err := c.openStore(cmd.Context(), args[1], false)
			if err != nil {
				return err
			}
			done, err := blob.Copy(cmd.Context(), to, from, blob.CopyOptions{
				Replace: func(key string) bool { return strings.HasPrefix(key, "lease/") },
				Progress: func(p blob.CopyProgress) {
					if c.Terminal {
						fmt.Fprintf(c.Err, "\r\x1b[K%s  %s / %s objects, %s", bar(p.Objects, p.TotalObjects, 23), thousands(p.Objects), thousands(p.TotalObjects), octets(p.Octets))
					}
				},
			})
			if c.Terminal {
				fmt.Fprint(c.Err, "\r\x1b[K")
			}
			if err = errors.Join(err, blob.Close(to)); err != nil {
				return admin.Errorf(admin.KindFailed, "mend that and run the same command again: it goes on where it stopped", "the copy stopped after %s: %w", plural(done.Objects, "object"), err)
			}
			if c.common.json {
				return c.printJSON(map[string]int64{"objects": done.Objects, "octets": done.Octets, "same": done.Same})
			}
			fmt.Fprintf(c.Out, "%s, %s; %s were there already\n", plural(done.Objects, "object"), octets(done.Octets), thousands(done.Same))
			return nil
		},
	}
}

package cli

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/spool"
	"restante/spool/blob"
)

func newExport(c *command) *cobra.Command {
	var f filterFlags
	var ids []string
	var format, out, storeURL string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write kept mail as eml files, an mbox or a Maildir",
		Long: `Write kept mail as eml files, an mbox or a Maildir, each with our Received field on top. It works
through the running node, or with --store straight from a folder or bucket, with no node and no index.
Reading content leaves events that say who did (not with --store). What is in quarantine is left out, unless
--state quarantined or --id asks for it; with --store, where nobody knows what was released, it is written and
named. Exit code 4 when some could not be read.`,
		Example: `  restante export --format mbox -o outage.mbox --outage 2026-11-21-example.com
  restante export --format maildir -o ./Maildir --rcpt info@example.com
  restante export --format eml -o ./mail --store file:///var/lib/restante/spool`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.finish(); err != nil {
				return err
			}
			if !slices.Contains([]string{"eml", "mbox", "maildir"}, format) {
				return admin.Errorf(admin.KindUsage, "write --format eml, mbox or maildir", "there is no format %q", format)
			}
			if out == "" || out == "-" && format != "mbox" {
				return admin.Errorf(admin.KindUsage, "write -o ./folder, or for an mbox -o file.mbox or -o -", "--output is missing")
			}
			o := spool.ExportOptions{Format: format}
			done, err := openOutput(&o, c, out)
			if err != nil {
				return err
			}
			var r spool.ExportReport
			if storeURL != "" {
				r, err = c.exportOffline(cmd.Context(), storeURL, o, &f, ids)
			} else {
				r, err = c.exportOnline(cmd.Context(), o, &f, ids)
			}
			if err = errors.Join(err, done()); err != nil {
				return err
			}
			return c.exported(r, out)
		},
	}
	f.register(cmd)
	p := cmd.Flags()
	p.StringSliceVar(&ids, "id", nil, "these entries (repeat it, or separate with commas)")
	p.StringVarP(&format, "format", "f", "eml", "eml, mbox or maildir")
	p.StringVarP(&out, "output", "o", "", "folder, or file for an mbox (- for the output)")
	p.StringVar(&storeURL, "store", "", "read this store (file:///..., s3://...) instead of asking the node")
	return cmd
}

// openOutput opens the file of an mbox, or names the folder.
func openOutput(o *spool.ExportOptions, c *command, out string) (done func() error, err error) {
	if o.Format != "mbox" {
		o.Dir = out
		return func() error { return nil }, nil
	}
	if out == "-" {
		o.Writer = c.Out
		return func() error { return nil }, nil
	}
	file, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, admin.Errorf(admin.KindFailed, "name a file that is not there yet, in a folder that you may write", "can't write %s: %w", out, err)
	}
	o.Writer = file
	return func() error { return errors.Join(file.Sync(), file.Close()) }, nil
}

func (c *command) exported(r spool.ExportReport, out string) error {
	if c.common.json {
		w := *c
		if out == "-" {
			w.Env = &Env{Out: c.Err}
		}
		if err := w.printJSON(r); err != nil {
			return err
		}
	} else {
		line := fmt.Sprintf("%s, %s", plural(int64(r.Messages), "message"), octets(r.Octets))
		if r.Erased > 0 {
			line += fmt.Sprintf(", %d erased", r.Erased)
		}
		if r.Failed > 0 {
			line += fmt.Sprintf(", %d could not be read (see above)", r.Failed)
		}
		fmt.Fprintln(c.Err, line)
	}
	if r.Failed > 0 {
		return errAttention
	}
	return nil
}

// exportOffline reads a store without a node.
func (c *command) exportOffline(ctx context.Context, url string, o spool.ExportOptions, f *filterFlags, ids []string) (spool.ExportReport, error) {
	if f.state != "" || f.Outage != "" {
		return spool.ExportReport{}, admin.Errorf(admin.KindUsage, "leave them out, or ask the running node (without --store)", "--state and --outage need the index, which --store does without")
	}
	store, err := c.openStore(ctx, url, true)
	if err != nil {
		return spool.ExportReport{}, err
	}
	defer blob.Close(store) //nolint:errcheck // only read
	o.Select = func(e *spool.Entry) bool {
		ok := fits(e, f, ids)
		if ok && e.Quarantine != "" {
			fmt.Fprintf(c.Err, "! %s was in quarantine, and may still be: %s\n", e.ID, clean(e.Quarantine))
		}
		return ok
	}
	o.Failed = func(what string, err error) { fmt.Fprintf(c.Err, "restante: %s: %v\n", what, err) }
	return spool.Export(ctx, store, o)
}

// fits is the offline counterpart of the index's filter.
func fits(e *spool.Entry, f *filterFlags, ids []string) bool {
	if len(ids) > 0 && !slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(e.ID, strings.ToUpper(id)) }) {
		return false
	}
	if !f.Since.IsZero() && e.Received.Before(f.Since) || !f.Until.IsZero() && !e.Received.Before(f.Until) {
		return false
	}
	if f.From != "" && !strings.EqualFold(strings.Trim(f.From, "<>"), e.From) {
		return false
	}
	if f.Domain != "" && !slices.ContainsFunc(e.Rcpts, func(r spool.Recipient) bool { return strings.EqualFold(r.Domain, f.Domain) }) {
		return false
	}
	if f.Rcpt != "" && !slices.ContainsFunc(e.Rcpts, func(r spool.Recipient) bool { return strings.EqualFold(r.Address, f.Rcpt) }) {
		return false
	}
	if f.Text == "" {
		return true
	}
	all := []string{e.From, e.Summary.Subject, e.Summary.From}
	for _, r := range e.Rcpts {
		all = append(all, r.Address)
	}
	return slices.ContainsFunc(all, func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(f.Text)) })
}

// exportOnline unpacks the tar that the node sends.
func (c *command) exportOnline(ctx context.Context, o spool.ExportOptions, f *filterFlags, ids []string) (spool.ExportReport, error) {
	client, err := c.client()
	if err != nil {
		return spool.ExportReport{}, err
	}
	pr, pw := io.Pipe()
	defer pr.Close()
	ended := make(chan error, 1)
	go func() {
		err := client.Export(ctx, admin.ExportRequest{Filter: f.Filter, IDs: ids}, pw)
		ended <- err
		pw.CloseWithError(errors.Join(err, io.EOF)) // whoever reads on sees why
	}()
	box, err := spool.NewMailbox(o.Format, o.Dir, o.Writer)
	if err != nil {
		return spool.ExportReport{}, admin.Errorf(admin.KindFailed, "name a folder that you may write", "%w", err)
	}
	x := &unpacker{box: box, c: c}
	err = x.unpack(tar.NewReader(pr))
	pr.CloseWithError(err)
	if sent := <-ended; sent != nil && !errors.Is(sent, io.ErrClosedPipe) {
		err = sent
	}
	return x.report, errors.Join(err, box.Close())
}

// unpacker puts what the node sends into a mailbox: <id>.json, then <id>.eml or, when the node could not
// read it, <id>.failed.
type unpacker struct {
	box    *spool.Mailbox
	c      *command
	report spool.ExportReport
}

func (x *unpacker) unpack(t *tar.Reader) error {
	var e *spool.Entry
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		switch {
		case strings.HasSuffix(h.Name, ".json"):
			e = new(spool.Entry)
			if err := json.NewDecoder(t).Decode(e); err != nil {
				return fmt.Errorf("export: %s: %w", h.Name, err)
			}
		case e != nil && h.Name == e.ID+".eml":
			if err := x.box.Add(e, t); err != nil {
				return fmt.Errorf("export: %w", err)
			}
			x.report.Messages++
			x.report.Octets += h.Size
		case e != nil && h.Name == e.ID+".failed":
			why, err := io.ReadAll(io.LimitReader(t, 4096))
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			x.report.Failed++
			fmt.Fprintf(x.c.Err, "restante: %s: %s\n", e.ID, clean(string(why)))
		default:
			return fmt.Errorf("export: the node sent %s out of order", h.Name)
		}
	}
}

package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/cmd/internal/recovery"
	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/s3"
	"restante/spool/secret"
)

func newRecoveryCard(c *command) *cobra.Command {
	var page, dev bool
	cmd := &cobra.Command{
		Use:   "recovery-card",
		Short: "Print what a bare machine needs to become this node",
		Long: `Print what a bare machine needs to become this node: where the store is, the credentials to open it, and the
cluster key, with which everything secret in the store is encrypted. Keep it on paper, away from the machines: who has it
can read all mail. It is read from the configuration and the key file, so run it as root or as the user that runs restante.

"restante recover" on the new machine takes it from there.`,
		Example: `  restante recovery-card
  restante recovery-card --html > card.html     print it, then delete it`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			card, err := c.card(cmd, dev)
			if err != nil {
				return err
			}
			switch {
			case c.common.json:
				return c.printJSON(map[string]string{"store": card.Store, "access": card.Access, "secret": card.Secret, "cluster": card.Cluster, "node": card.Node, "key": card.Key.Text(), "text": card.Text()})
			case page:
				return writeCardPage(c.Out, card)
			}
			return c.printCard(card)
		},
	}
	cmd.Flags().BoolVar(&page, "html", false, "a page to print, with a QR code")
	cmd.Flags().BoolVar(&dev, "dev", false, "that of the node that serve --dev runs")
	return cmd
}

// card gathers what stands on it.
func (c *command) card(cmd *cobra.Command, dev bool) (*recovery.Card, error) {
	path, _ := c.configPath()
	cfg, err := config.Load(path, config.Flags{})
	if _, missing := os.Stat(path); !dev && errors.Is(missing, fs.ErrNotExist) {
		return nil, admin.Errorf(admin.KindUsage, "name it with --config; what is run by flags alone needs a file first: `restante config init`; for `serve --dev` add --dev", "there is no configuration file %s", path)
	}
	if dev {
		cfg, err = config.LoadDev(config.Flags{}, config.DevPrimary)
	}
	if err != nil {
		return nil, err
	}
	ring, err := secret.Open(cfg.Secrets.KeyFile)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, admin.Errorf(admin.KindFailed, "run it as root, or as the user that runs restante", "can't read the cluster key: %w", err)
	case errors.Is(err, secret.ErrNoKey):
		return nil, admin.Errorf(admin.KindFailed, "start the node once: it makes the key; or copy it from another node", "there is no cluster key at %s", cfg.Secrets.KeyFile)
	case err != nil:
		return nil, err
	}
	store, err := c.openStore(cmd.Context(), cfg.Store.URL, true)
	if err != nil {
		return nil, err
	}
	defer blob.Close(store) //nolint:errcheck // it was only read
	card := &recovery.Card{Store: cfg.Store.URL, Node: cfg.Hostname, Key: ring.Key()}
	if card.Cluster, err = spool.ReadCluster(cmd.Context(), store); err != nil {
		return nil, admin.Errorf(admin.KindFailed, "try again when the store answers: `restante store check "+cfg.Store.URL+"`", "can't read the store: %w", err)
	}
	if u, err := url.Parse(cfg.Store.URL); err == nil && u.Scheme == "s3" {
		access, key, err := s3.Credentials{File: u.Query().Get("credentials_file"), Profile: u.Query().Get("profile"), Getenv: c.Getenv}.Static()
		if err != nil {
			return nil, admin.Errorf(admin.KindFailed, "run it with the environment of the service", "can't read the credentials of the bucket: %w", err)
		}
		card.Access, card.Secret = access, string(key)
	}
	return card, nil
}

// cardNotes are what somebody who holds a card should know.
func cardNotes(card *recovery.Card) []string {
	notes := []string{"On a bare machine: restante recover, then type these lines (or scan the code and paste them)."}
	switch {
	case strings.HasPrefix(card.Store, "file:"):
		notes = append(notes, "The store is a folder of this machine. A bare machine needs a copy of it: `restante store copy`.")
	case strings.HasPrefix(card.Store, "s3:") && card.Access == "":
		notes = append(notes, "No credentials of the bucket were found here (a role of the instance?): the new machine needs its own.")
	}
	return append(notes, "Who has this card can read all mail. Keep it on paper, in a safe place.")
}

func (c *command) printCard(card *recovery.Card) error {
	fmt.Fprintln(c.Out, card.Text())
	if c.Terminal {
		code, err := card.QR()
		if err != nil {
			return fmt.Errorf("QR code: %w", err)
		}
		fmt.Fprintln(c.Out, recovery.Blocks(code))
	}
	for _, n := range cardNotes(card) {
		fmt.Fprintln(c.Err, n)
	}
	return nil
}

const cardPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Restante recovery card</title>
<style>
body { font: 12pt/1.4 system-ui, sans-serif; margin: 2cm; color: #000; background: #fff }
pre { font: 8.5pt/2 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #000; padding: 1em 1.2em }
img { width: 8cm; image-rendering: pixelated }
</style>
<h1>{{.Card.Node}}</h1>
<pre>{{.Card.Text}}</pre>
<img alt="The lines above as a QR code" src="{{.QR}}">
{{range .Notes}}<p>{{.}}</p>
{{end}}</html>
`

func writeCardPage(w io.Writer, card *recovery.Card) error {
	code, err := card.QR()
	if err != nil {
		return fmt.Errorf("QR code: %w", err)
	}
	t, err := template.New("card").Parse(cardPage)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{"Card": card, "Notes": cardNotes(card), "QR": template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(code.PNG()))}) //nolint:gosec // our own picture
}

func newRecover(c *command) *cobra.Command {
	var o recovery.Options
	var owner string
	var keyOnly bool
	cmd := &cobra.Command{
		Use:   "recover [card-file]",
		Short: "Make this bare machine a node again, by its recovery card",
		Long: `Make this bare machine a node again, by its recovery card: the configuration is read from the store, decrypted and
written, and so are the cluster key, certificates and the credentials of the bucket. Nothing in the store is changed.

The card is typed or pasted in, ended by an empty line, or read from a file.`,
		Example: `  restante recover
  restante recover card.txt --data-dir /srv/restante`,
		Args: argCount(0, 1, "the card"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := c.readCard(args)
			if err != nil {
				return err
			}
			card, err := recovery.Parse(text)
			if err != nil {
				return admin.Errorf(admin.KindUsage, "look at that line again; O and 0, I and 1 are the same in the key alone", "the card: %w", err)
			}
			o.ConfigPath, _ = c.configPath()
			o.Getenv = c.Getenv
			r, err := c.recover(cmd, card, o, keyOnly)
			if err != nil {
				return err
			}
			return c.afterRecover(r, owner)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data-dir", "", "where this machine keeps index, journal and key (default: as before)")
	f.StringVar(&o.Node, "node", "", "the hostname of the node to make again (default: that of the card)")
	f.BoolVar(&o.Force, "force", false, "overwrite a configuration that is there")
	f.StringVar(&owner, "owner", "restante", "when run as root: the user that runs restante and gets the files, if there is one")
	f.BoolVar(&keyOnly, "key-only", false, "write the cluster key alone, where the configuration that is there says")
	return cmd
}

func (c *command) recover(cmd *cobra.Command, card *recovery.Card, o recovery.Options, keyOnly bool) (*recovery.Result, error) {
	if !keyOnly {
		r, err := recovery.Recover(cmd.Context(), card, o)
		if err != nil {
			return nil, admin.Errorf(admin.KindFailed, "", "%w", err)
		}
		return r, nil
	}
	cfg, err := config.Load(o.ConfigPath, config.Flags{DataDir: o.DataDir})
	if err != nil {
		return nil, err
	}
	r := &recovery.Result{Node: cfg.Hostname, Config: o.ConfigPath, KeyFile: cfg.Secrets.KeyFile}
	if err := r.Folder(filepath.Dir(r.KeyFile)); err != nil {
		return nil, err
	}
	return r, recovery.WriteKey(card.Key, r.KeyFile, r)
}

// readCard reads the card's text from a file, or from stdin up to an empty line or its last line.
func (c *command) readCard(args []string) (string, error) {
	if len(args) > 0 && args[0] != "-" {
		text, err := os.ReadFile(args[0])
		if err != nil {
			return "", admin.Errorf(admin.KindUsage, "name a file with the text of the card", "can't read the card: %w", err)
		}
		return string(text), nil
	}
	if c.InTerminal {
		fmt.Fprintln(c.Err, "Type or paste the lines of the card, then an empty line:")
	}
	return recovery.ReadText(c.In)
}

// afterRecover gives the files to their user and says what is next.
func (c *command) afterRecover(r *recovery.Result, owner string) error {
	if os.Geteuid() == 0 && owner != "" {
		if err := giveTo(owner, r.Own()); err != nil {
			return err
		}
	}
	if c.common.json {
		return c.printJSON(r)
	}
	if r.Taken != "" {
		fmt.Fprintf(c.Out, "%s as it was on %s\n", r.Node, r.Taken)
	}
	for _, f := range r.Wrote {
		fmt.Fprintln(c.Out, "wrote "+f)
	}
	for _, f := range r.Kept {
		fmt.Fprintln(c.Out, "left  "+f+", which was there already")
	}
	for _, f := range r.Skipped {
		fmt.Fprintln(c.Err, c.paint(styleAmber, "! ")+"can't be read: "+clean(f))
	}
	for _, p := range r.Problems {
		fmt.Fprintln(c.Err, c.paint(styleAmber, "! ")+clean(p))
	}
	fmt.Fprintf(c.Out, "next: let the address of %s point to this machine, then\n  restante config check -c %s\n  restante serve -c %s\n", r.Node, r.Config, r.Config)
	return nil
}

// giveTo lets the service read what root has written. Without that user the files stay root's.
func giveTo(name string, files []string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return nil //nolint:nilerr // whoever runs the service here has another name; the files are listed
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	for _, f := range files {
		if err := os.Chown(f, uid, gid); err != nil {
			return fmt.Errorf("can't give %s to %s: %w", f, name, err)
		}
	}
	return nil
}

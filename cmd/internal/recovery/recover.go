package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"restante/cmd/internal/config"
	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/open"
	"restante/spool/secret"
)

// Options of Recover.
type Options struct {
	ConfigPath string // of the configuration to write
	DataDir    string // "": that of the node that is made again
	Node       string // hostname of the node to make again; "": that of the card
	Force      bool   // overwrite a configuration that is there
	Getenv     func(string) string
}

// Result says what was done.
type Result struct {
	Node     string   `json:"node"`
	Config   string   `json:"config"`
	KeyFile  string   `json:"key_file"`
	Wrote    []string `json:"wrote"`             // all files
	Kept     []string `json:"kept,omitempty"`    // files that were there already and were left alone
	Skipped  []string `json:"skipped,omitempty"` // objects of the store that can't be read
	Taken    string   `json:"taken,omitempty"`   // when the configuration was kept (RFC 3339)
	Problems []string `json:"problems,omitempty"`

	folders []string // that were made, and data_dir
}

// Own lists the files and folders that belong to who runs the service: what was made for it, data_dir and the cluster key. What
// else was there already stays whose it is.
func (r *Result) Own() []string {
	list := append(slices.Clone(r.folders), r.Wrote...)
	if r.KeyFile != "" {
		list = append(list, r.KeyFile)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Folder makes a folder unless it is there.
func (r *Result) Folder(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		r.folders = append(r.folders, dir)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("can't make %s: %w", dir, err)
	}
	return nil
}

// Recover writes configuration and cluster key of a node by its card. Nothing in the store is changed.
func Recover(ctx context.Context, c *Card, o Options) (*Result, error) {
	storeURL, credentials, err := withCredentials(c, o.ConfigPath)
	if err != nil {
		return nil, err
	}
	getenv := o.Getenv
	if c.Access != "" { // the file isn't there yet
		getenv = func(name string) string {
			return map[string]string{"AWS_ACCESS_KEY_ID": c.Access, "AWS_SECRET_ACCESS_KEY": c.Secret}[name]
		}
	}
	bare, err := without(c.Store, "credentials_file", "profile")
	if err != nil {
		return nil, err
	}
	store, err := open.URL(ctx, bare, open.Options{ReadOnly: true, Getenv: getenv})
	if err != nil {
		return nil, fmt.Errorf("can't open the store: %w", err)
	}
	defer blob.Close(store) //nolint:errcheck // nothing was written
	r := &Result{Config: o.ConfigPath}
	snap, err := find(ctx, store, c, o, r)
	if err != nil {
		return nil, err
	}
	return r, write(snap, c, o, storeURL, credentials, r)
}

// find gets the newest snapshot of the node out of the ledger.
func find(ctx context.Context, store blob.Store, c *Card, o Options, r *Result) (*Snapshot, error) {
	cluster, err := spool.ReadCluster(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("can't read the store: %w", err)
	}
	if cluster != c.Cluster {
		return nil, fmt.Errorf("%s belongs to cluster %s, the card to %s: it is the card of another store, or the store was made anew", store, cluster, c.Cluster)
	}
	last := map[string]spool.Event{}
	if err := spool.ReadLedger(ctx, store, func(ev spool.Event) {
		if ev.Type != spool.SecretKept || !strings.HasPrefix(ev.Address, SecretPrefix) {
			return
		}
		if was, ok := last[ev.Address]; !ok || ev.Time.After(was.Time) || ev.Time.Equal(was.Time) && ev.ID > was.ID {
			last[ev.Address] = ev
		}
	}, func(key string, err error) { r.Skipped = append(r.Skipped, key+": "+err.Error()) }); err != nil {
		return nil, fmt.Errorf("can't read the ledger: %w", err)
	}
	names := slices.Sorted(maps.Keys(last))
	r.Node = firstOf(o.Node, c.Node)
	ev, ok := last[SecretPrefix+r.Node]
	switch {
	case len(names) == 0:
		return nil, errors.New("no node has kept its configuration in this store: write the configuration anew with `restante config init`, and put the key alone in its place with `restante recover --key-only`")
	case !ok && (r.Node != "" || len(names) > 1):
		return nil, fmt.Errorf("no configuration of %q is in this store: name one of its nodes with --node: %s", r.Node, hostnames(names))
	case !ok:
		ev = last[names[0]]
	}
	ring, err := secret.NewKeyring(c.Key)
	if err != nil {
		return nil, err
	}
	text, err := ring.Decrypt(ev.Address, secret.Value(ev))
	if err != nil {
		return nil, fmt.Errorf("the configuration in the store can't be read with the key of this card: %w", err)
	}
	r.Node, r.Taken = strings.TrimPrefix(ev.Address, SecretPrefix), ev.Time.UTC().Format(time.RFC3339)
	return Decode(text)
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// write puts everything where the configuration says.
func write(s *Snapshot, c *Card, o Options, storeURL string, credentials *File, r *Result) error {
	text, keyFile, dataDir, err := fitted(s.Config, o.DataDir, storeURL)
	if err != nil {
		return err
	}
	r.KeyFile = keyFile
	for _, dir := range []string{dataDir, filepath.Dir(keyFile), filepath.Dir(o.ConfigPath)} {
		if err := r.Folder(dir); err != nil {
			return err
		}
	}
	r.folders = append(r.folders, dataDir)
	if err := writeNew(o.ConfigPath, text, o.Force); err != nil {
		return err
	}
	r.Wrote = append(r.Wrote, o.ConfigPath)
	if err := WriteKey(c.Key, keyFile, r); err != nil {
		return err
	}
	files := s.Files
	if credentials != nil {
		files = append(slices.Clone(files), *credentials)
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return fmt.Errorf("can't make the folder of %s: %w", f.Path, err)
		}
		if _, err := os.Stat(f.Path); err == nil {
			r.Kept = append(r.Kept, f.Path)
			continue
		}
		if err := writeNew(f.Path, f.Text, false); err != nil {
			return err
		}
		r.Wrote = append(r.Wrote, f.Path)
	}
	if _, err := config.Load(o.ConfigPath, config.Flags{}); err != nil { // written all the same, for an admin to mend
		r.Problems = strings.Split(err.Error(), "\n")
	}
	return nil
}

// WriteKey puts a cluster key in its place, and notes that in r. One that is there already stays.
func WriteKey(k secret.Key, path string, r *Result) error {
	ring, err := secret.NewKeyring(k)
	if err != nil {
		return err
	}
	err = ring.Save(path)
	if errors.Is(err, fs.ErrExist) {
		there, bad := secret.Open(path)
		if bad != nil || there.ID() != ring.ID() {
			return fmt.Errorf("%s holds another cluster key than the card: move it away, then run this again with --force", path)
		}
		r.Kept = append(r.Kept, path)
		return nil
	}
	if err == nil {
		r.Wrote = append(r.Wrote, path)
	}
	return err
}

// fitted is the configuration for this machine: with its own data_dir, and the store as the card has it.
func fitted(text, dataDir, storeURL string) (out []byte, keyFile, dir string, err error) {
	m := map[string]any{}
	if _, err := toml.Decode(text, &m); err != nil {
		return nil, "", "", fmt.Errorf("the configuration in the store can't be read: %w", err)
	}
	was, _ := m["data_dir"].(string)
	if dataDir == "" {
		dataDir = was
	}
	table := func(name string) map[string]any {
		t, ok := m[name].(map[string]any)
		if !ok {
			t = map[string]any{}
			m[name] = t
		}
		return t
	}
	// What lay below the old data_dir lies below the new one.
	m["data_dir"] = dataDir
	for name, key := range map[string]string{"admin": "socket", "secrets": "key_file"} {
		if path, ok := table(name)[key].(string); ok {
			if rest, below := strings.CutPrefix(path, was+"/"); below {
				table(name)[key] = filepath.Join(dataDir, rest)
			}
		}
	}
	table("store")["url"] = storeURL
	keyFile, _ = table("secrets")["key_file"].(string)
	if keyFile == "" {
		keyFile = filepath.Join(dataDir, "cluster.key")
	}
	var b strings.Builder
	b.WriteString("# Made by `restante recover` from the store.\n")
	enc := toml.NewEncoder(&b)
	enc.Indent = ""
	if err := enc.Encode(m); err != nil {
		return nil, "", "", fmt.Errorf("configuration: %w", err)
	}
	return []byte(b.String()), keyFile, dataDir, nil
}

// withCredentials is the store's URL for the new configuration, and the file with the credentials of the card.
func withCredentials(c *Card, configPath string) (string, *File, error) {
	if c.Access == "" {
		return c.Store, nil, nil
	}
	bare, err := without(c.Store, "credentials_file", "profile")
	if err != nil {
		return "", nil, err
	}
	abs, err := filepath.Abs(filepath.Join(filepath.Dir(configPath), "aws"))
	if err != nil {
		return "", nil, err
	}
	u, err := url.Parse(bare)
	if err != nil {
		return "", nil, fmt.Errorf("store URL: %w", err)
	}
	q := u.Query()
	q.Set("credentials_file", abs)
	u.RawQuery = q.Encode()
	return u.String(), &File{abs, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", c.Access, c.Secret)}, nil
}

// without drops keys from the query of a URL.
func without(raw string, keys ...string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("store URL: %w", err)
	}
	q := u.Query()
	for _, k := range keys {
		q.Del(k)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

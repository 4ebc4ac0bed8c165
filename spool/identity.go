package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

const (
	rootKey  = "restante.json"
	nodeFile = "node.json"
)

// root is restante.json, the one object that says whose store it is.
type root struct {
	Format  int       `json:"format"`
	Cluster string    `json:"cluster"`
	Created time.Time `json:"created"`
	By      string    `json:"by"` // the node that created it
}

// node is data_dir/node.json: who we are.
type node struct {
	Node     string    `json:"node"`
	Instance string    `json:"instance"`          // of this data_dir: two machines may be given one name, but not one instance
	Cluster  string    `json:"cluster,omitempty"` // that the store belonged to so far
	Proved   string    `json:"proved,omitempty"`  // the store that was found fit
	Created  time.Time `json:"created"`
}

var nodeName = regexp.MustCompile(`^[a-z0-9.]{1,32}$`)

// loadNode reads node.json, or makes it at the first start.
func loadNode(dir, name string) (node, error) {
	if name != "" && (!nodeName.MatchString(name) || strings.HasPrefix(name, ".")) {
		return node{}, fmt.Errorf("node name %q: use 1 to 32 of a-z, 0-9 and '.', not beginning with '.'", name)
	}
	var n node
	path := filepath.Join(dir, nodeFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		id := strings.ToLower(NewID())
		n = node{Node: name, Instance: id, Created: time.Now().UTC()}
		if name == "" {
			n.Node = "n" + id[len(id)-7:]
		}
		return n, n.save(dir)
	case err != nil:
		return n, err
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return n, fmt.Errorf("%s: %w", path, err)
	}
	if name != "" && name != n.Node {
		return n, fmt.Errorf("data_dir %s belongs to node %q, not %q: set the name back, or give the new node a data_dir of its own", dir, n.Node, name)
	}
	return n, nil
}

// save writes node.json durably.
func (n node) save(dir string) error {
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, nodeFile), append(b, '\n'))
}

// replaceFile writes a file durably: the old content or the new one, nothing between.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bind reads restante.json, or creates it in an empty store, and compares it with what data_dir knows.
// An error that isn't ErrForeign or blob.ErrUnfit may pass by itself.
func (s *Spool) bind(ctx context.Context) error {
	b, err := s.get(ctx, rootKey, blob.Range{}, 64<<10)
	if errors.Is(err, blob.ErrNotExist) {
		b, err = s.found(ctx)
	}
	if err != nil {
		return err
	}
	var r root
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("%w: %s in %s is no JSON (%w)", ErrForeign, rootKey, s.o.Store, err)
	}
	switch {
	case r.Format > batch.Format:
		return fmt.Errorf("%w: %s is of format %d, this program knows up to %d: use a newer one", ErrForeign, s.o.Store, r.Format, batch.Format)
	case r.Cluster == "":
		return fmt.Errorf("%w: %s in %s names no cluster", ErrForeign, rootKey, s.o.Store)
	case s.node.Cluster != "" && s.node.Cluster != r.Cluster:
		return fmt.Errorf("%w: %s belongs to cluster %s, but data_dir %s to %s: set [store] url back, or start with an empty data_dir", ErrForeign, s.o.Store, r.Cluster, s.o.DataDir, s.node.Cluster)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster = r.Cluster
	if s.node.Cluster == "" {
		s.node.Cluster = r.Cluster
		return s.node.save(s.o.DataDir)
	}
	return nil
}

// found creates restante.json in an empty store and returns what is then there.
func (s *Spool) found(ctx context.Context) ([]byte, error) {
	if s.node.Cluster != "" {
		return nil, fmt.Errorf("%w: %s has no %s, but data_dir %s belongs to cluster %s: is it the right bucket and prefix? To begin anew, start with an empty data_dir", ErrForeign, s.o.Store, rootKey, s.o.DataDir, s.node.Cluster)
	}
	for name, err := range s.o.Store.Prefixes(ctx, "") {
		if err != nil {
			return nil, err
		}
		if name == "mail" || name == "ledger" {
			return nil, fmt.Errorf("%w: %s holds mail but no %s: restore that object, or use another prefix", ErrForeign, s.o.Store, rootKey)
		}
	}
	r := root{Format: batch.Format, Cluster: NewID(), Created: time.Now().UTC(), By: s.node.Node}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	pctx, cancel := context.WithTimeout(ctx, s.o.Limits.PutTimeout)
	defer cancel()
	if _, err := s.o.Store.Put(pctx, rootKey, bytes.NewReader(append(b, '\n')), blob.Cond{Absent: true}); err != nil && !errors.Is(err, blob.ErrPrecondition) {
		return nil, err
	}
	return s.get(ctx, rootKey, blob.Range{}, 64<<10)
}

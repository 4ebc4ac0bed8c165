package spool

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"restante/spool/blob"
)

// claimWait bounds how long Claim tries to learn the outcome of its write.
const claimWait = 20 * time.Second

// claimDoc is once/<p>/<name>.json.
type claimDoc struct {
	Name  string    `json:"name"`
	Node  string    `json:"node"`
	Time  time.Time `json:"time"` // for people
	Nonce string    `json:"nonce"`
}

// Claim returns true to the first caller of a name in the whole cluster and false to all later ones, for ever: what may be
// used once (a code, a link) is claimed before it counts. Names are of [A-Za-z0-9._-]. Errors: ErrVoid, nothing was claimed; ErrUnsettled, it may be
// claimed without anybody having been told: the name is lost.
func (s *Spool) Claim(ctx context.Context, name string) (bool, error) {
	sum := sha256.Sum256([]byte(name))
	key := "once/" + hex.EncodeToString(sum[:1]) + "/" + name + ".json"
	if err := blob.CheckKey(key); err != nil {
		return false, fmt.Errorf("claim %q: %w: %w", name, ErrVoid, err)
	}
	if err := s.vigil.down(); err != nil {
		return false, fmt.Errorf("claim %s: %w: %w", name, ErrVoid, err)
	}
	doc := claimDoc{Name: name, Node: s.node.Node, Time: time.Now().UTC(), Nonce: rand.Text()}
	b, err := json.Marshal(doc)
	if err != nil {
		return false, fmt.Errorf("claim %s: %w: %w", name, ErrVoid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	unknown := false // a write may have landed, or may still
	for try := 0; ; try++ {
		_, err := s.o.Store.Put(ctx, key, bytes.NewReader(append(b, '\n')), blob.Cond{Absent: true})
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, blob.ErrPrecondition):
			if ours, rerr := s.readClaim(ctx, key, doc.Nonce); rerr == nil {
				return ours, nil
			}
			unknown = true // it is settled, but by whom is to be read yet
		case !errors.Is(err, blob.ErrNotWritten):
			unknown = true
		}
		s.vigil.pause(ctx, try)
		if ctx.Err() == nil {
			continue
		}
		if unknown {
			return false, fmt.Errorf("claim %s: %w: %w", name, ErrUnsettled, err)
		}
		return false, fmt.Errorf("claim %s: %w: %w", name, ErrVoid, err)
	}
}

// readClaim reports whether the claim at the key is that of the nonce.
func (s *Spool) readClaim(ctx context.Context, key, nonce string) (bool, error) {
	rc, _, err := s.o.Store.Get(ctx, key, blob.Range{})
	if err != nil {
		return false, err
	}
	defer rc.Close()
	var doc claimDoc
	if err := json.NewDecoder(rc).Decode(&doc); err != nil {
		return false, fmt.Errorf("%s: %w", key, err)
	}
	return doc.Nonce == nonce, nil
}

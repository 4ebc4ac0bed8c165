package webmail

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"

	"restante/webmail/ui"
)

// asset is one static file, compressed once when the server is made.
type asset struct {
	ctype      string
	plain, gz  []byte // gz is nil where it isn't smaller
	hashedName string // "app.3f9ac2d1b0e4.css"
}

// assets are the static files by the names they are served under.
type assets struct {
	byHashed map[string]*asset
	byName   map[string]*asset
}

// ownAssets are those of the program itself. They are the same for all its servers, so they are compressed once.
var ownAssets = sync.OnceValues(func() (*assets, error) { return loadAssets(ui.Files) })

// loadAssets reads static/ of the files.
func loadAssets(files fs.FS) (*assets, error) {
	all := &assets{byHashed: map[string]*asset{}, byName: map[string]*asset{}}
	err := fs.WalkDir(files, "static", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		plain, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, "static/")
		sum := sha256.Sum256(plain)
		ext := path.Ext(name)
		a := &asset{plain: plain, ctype: assetType(ext), hashedName: strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext}
		if a.gz, err = gzipped(plain); err != nil {
			return err
		}
		all.byHashed[a.hashedName], all.byName[name] = a, a
		return nil
	})
	return all, err
}

func assetType(ext string) string {
	switch ext {
	case ".webmanifest":
		return "application/manifest+json"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "text/plain; charset=utf-8"
}

func gzipped(plain []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(plain); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if b.Len() >= len(plain) {
		return nil, nil
	}
	return b.Bytes(), nil
}

// url is the address of a static file by its name in ui/static.
func (a *assets) url(name string) (string, error) {
	f := a.byName[name]
	if f == nil {
		return "", fmt.Errorf("no static file %s", name)
	}
	return "/static/" + f.hashedName, nil
}

// serveStatic answers for /static/{file}: what has the hash of its bytes in its name never changes.
func (s *Server) serveStatic(w http.ResponseWriter, r *http.Request) {
	a := s.assets.byHashed[r.PathValue("file")]
	if a == nil {
		s.notFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.ctype)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("Vary", "Accept-Encoding")
	body := a.plain
	if a.gz != nil && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = a.gz
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a reader that went away is no fault of ours
	}
}

// acceptsGzip looks for gzip in Accept-Encoding; "gzip;q=0" is written by nobody but test suites.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

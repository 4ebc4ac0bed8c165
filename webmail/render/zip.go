package render

import (
	"archive/zip"
	"context"
	"io"
	"strconv"
	"strings"
)

// Zip writes the parts to w as a zip file, under their names made unique: "a.txt", "a (2).txt".
func Zip(ctx context.Context, w io.Writer, parts []*Part) error {
	z := zip.NewWriter(w)
	used := map[string]bool{}
	for _, p := range parts {
		f, err := z.CreateHeader(&zip.FileHeader{Name: unique(p.FileName(), used), Method: zipMethod(p)})
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, p.Open(ctx)); err != nil {
			return err
		}
	}
	return z.Close()
}

// unique returns a name that isn't in used, on file systems that don't tell cases apart either, and adds it.
func unique(name string, used map[string]bool) string {
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		stem, ext = name[:i], name[i:]
	}
	for n := 2; used[strings.ToLower(name)]; n++ {
		name = stem + " (" + strconv.Itoa(n) + ")" + ext
	}
	used[strings.ToLower(name)] = true
	return name
}

// zipMethod spares what is compressed already.
func zipMethod(p *Part) uint16 {
	switch {
	case strings.HasPrefix(p.Type, "image/") && p.Type != "image/bmp" && p.Type != "image/svg+xml",
		strings.HasPrefix(p.Type, "video/"), strings.HasPrefix(p.Type, "audio/"),
		p.Type == "application/zip", p.Type == "application/gzip", p.Type == "application/x-7z-compressed",
		strings.HasPrefix(p.Type, "application/vnd.openxmlformats"), strings.HasPrefix(p.Type, "application/vnd.oasis"):
		return zip.Store
	}
	return zip.Deflate
}

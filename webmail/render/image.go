package render

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"slices"
	"strings"
)

// imageData returns the data: URI of an image that came with the mail: of a part that is named by its Content-ID
// (RFC 2392), or written in the HTML itself. What kind of image it is its octets say, not its label.
func (b *builder) imageData(src string) (string, bool) {
	most := min(b.l.Image, b.l.Images-b.images)
	if rest, ok := cutPrefixFold(src, "data:"); ok {
		head, data, ok := strings.Cut(rest, ",")
		if !ok || !strings.HasSuffix(strings.ToLower(strings.TrimSpace(head)), ";base64") || int64(len(data))/4*3 > most {
			return "", false
		}
		return b.dataURI(wordB(unpercent(data)), most)
	}
	p := b.partNamed(src)
	if p == nil || b.refused[p] || p.Size > most+most/2 {
		return "", false
	}
	octets, err := io.ReadAll(io.LimitReader(p.Open(b.ctx), most+1))
	if err != nil {
		return "", false
	}
	uri, ok := b.dataURI(octets, most)
	if !ok {
		b.refused[p] = true // it isn't decoded again, however often it is named
	}
	return uri, ok
}

func (b *builder) dataURI(octets []byte, most int64) (string, bool) {
	kind := ""
	if int64(len(octets)) <= most {
		kind = imageType(octets, b.l.Pixels)
	}
	if kind == "" {
		return "", false
	}
	b.images += int64(len(octets)) + 1000
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(octets), true
}

// partNamed finds the part that a URL names: cid: by its Content-ID, or by its file name, which some write instead;
// any other by its Content-Location.
func (b *builder) partNamed(src string) *Part {
	if b.named == nil {
		b.named, b.refused = map[string]*Part{}, map[*Part]bool{}
		for _, p := range slices.Backward(leaves(b.m.Root, nil)) {
			if p.Name != "" {
				b.named["/"+strings.ToLower(p.Name)] = p
			}
			if p.location != "" {
				b.named["@"+p.location] = p
			}
			if p.ContentID != "" {
				b.named[p.ContentID] = p
			}
		}
	}
	id, ok := cutPrefixFold(src, "cid:")
	if !ok {
		return b.named["@"+src]
	}
	id = strings.Trim(id, "<> ")
	for _, key := range []string{id, unpercent(id), "/" + strings.ToLower(unpercent(id))} {
		if p := b.named[key]; p != nil {
			return p
		}
	}
	return nil
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// leaves lists the parts of one message that hold something.
func leaves(p *Part, all []*Part) []*Part {
	if p == nil {
		return all
	}
	if len(p.Children) == 0 {
		return append(all, p)
	}
	for _, c := range p.Children {
		all = leaves(c, all)
	}
	return all
}

// ImageType returns the media type of an image that a browser may be shown, by its octets, "" for what isn't one or is
// too large when unpacked. SVG is a document, not an image.
func ImageType(octets []byte) string { return imageType(octets, DefaultLimits().Pixels) }

func imageType(octets []byte, pixels int64) string {
	var kind string
	var c image.Config
	var err error
	r := bytes.NewReader(octets)
	switch {
	case bytes.HasPrefix(octets, []byte("\x89PNG\r\n\x1a\n")):
		kind = "image/png"
		c, err = png.DecodeConfig(r)
	case bytes.HasPrefix(octets, []byte("\xff\xd8\xff")):
		kind = "image/jpeg"
		c, err = jpeg.DecodeConfig(r)
	case bytes.HasPrefix(octets, []byte("GIF87a")) || bytes.HasPrefix(octets, []byte("GIF89a")):
		kind = "image/gif"
		c, err = gif.DecodeConfig(r)
	case len(octets) >= 30 && string(octets[:4]) == "RIFF" && string(octets[8:12]) == "WEBP":
		kind = "image/webp"
		c.Width, c.Height = webpSize(octets)
	case len(octets) >= 26 && string(octets[:2]) == "BM":
		kind = "image/bmp"
		c.Width = int(int32(binary.LittleEndian.Uint32(octets[18:])))
		c.Height = int(int32(binary.LittleEndian.Uint32(octets[22:])))
		if c.Height < 0 {
			c.Height = -c.Height
		}
	}
	if err != nil || c.Width <= 0 || c.Height <= 0 || int64(c.Width) > pixels || int64(c.Width)*int64(c.Height) > pixels {
		return ""
	}
	return kind
}

// webpSize reads the size from any of the three kinds of first chunk (RFC 9649 2).
func webpSize(b []byte) (width, height int) {
	switch string(b[12:16]) {
	case "VP8 ":
		return int(binary.LittleEndian.Uint16(b[26:])) & 0x3fff, int(binary.LittleEndian.Uint16(b[28:])) & 0x3fff
	case "VP8L":
		v := binary.LittleEndian.Uint32(b[21:])
		return int(v&0x3fff) + 1, int(v>>14&0x3fff) + 1
	case "VP8X":
		return int(b[24]) | int(b[25])<<8 | int(b[26])<<16 + 1, int(b[27]) | int(b[28])<<8 | int(b[29])<<16 + 1
	}
	return 0, 0
}

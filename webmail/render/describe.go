package render

import (
	"mime"
	"strings"
)

// describe fills in what a part's header says of it.
func (p *parser) describe(part *Part, fields Fields, digest bool) {
	raw := fields.Get("Content-Type")
	value, params := parseParams(raw)
	part.params = params
	part.Charset = cutString(oneLine(strings.ToLower(params["charset"])), 60)
	disposition, dparams := parseParams(fields.Get("Content-Disposition"))
	switch {
	case disposition == "inline":
		part.Disposition = "inline"
	case disposition != "": // RFC 2183 2.8
		part.Disposition = "attachment"
	}
	name := dparams["filename"]
	if name == "" {
		name = params["name"]
	}
	part.Name = SafeName(decodeWords(name))
	part.Type = p.typeOf(part, raw, value, digest)
	encoding, known := transferEncoding(fields.Get("Content-Transfer-Encoding"))
	if !known {
		p.note(OddEncoding, part.ID, encoding)
	}
	part.encoding = encoding
	part.ContentID = strings.Trim(strings.TrimSpace(strings.ToValidUTF8(fields.Get("Content-ID"), "")), "<>")
	part.location = strings.TrimSpace(fields.Get("Content-Location"))
	part.Description = cutString(DecodeHeader(fields.Get("Content-Description")), maxNameShown)
	if part.Type == "message/external-body" {
		p.note(OddExternalBody, part.ID, params["access-type"])
	}
}

// typeOf returns the media type: what is missing is text, what can't be read is text too unless it is a file
// (RFC 2045 5.2).
func (p *parser) typeOf(part *Part, raw, value string, digest bool) string {
	major, minor, ok := strings.Cut(value, "/")
	if ok && isToken(major) && isToken(minor) && len(value) <= 100 {
		return value
	}
	if raw != "" {
		p.note(OddType, part.ID, value)
	}
	switch {
	case digest:
		return "message/rfc822"
	case part.Name != "" || raw != "" && part.Disposition == "attachment":
		if t := typeByName(part.Name); t != "" {
			return t
		}
		return "application/octet-stream"
	}
	return "text/plain"
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func typeByName(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return ""
	}
	t, _, _ := strings.Cut(mime.TypeByExtension(strings.ToLower(name[i:])), ";")
	if strings.HasPrefix(t, "text/") || strings.HasPrefix(t, "multipart/") || strings.HasPrefix(t, "message/") {
		return "" // a file, whatever it is called
	}
	return t
}

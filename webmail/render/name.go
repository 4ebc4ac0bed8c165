package render

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxFileName = 120 // octets

// SafeName makes a file name that is safe to save under and to show from what a message says: no path, no control
// or bidi characters, no leading or trailing dots or spaces, no device names, at most 120 octets. "" stays "".
func SafeName(name string) string {
	if name == "" {
		return ""
	}
	name = strings.ToValidUTF8(cutValid(name, 16<<10), "_")
	var b strings.Builder
	for _, r := range name {
		switch {
		case bidiControl(r) || invisible(r) || r == '\ufeff':
			continue // "exe.fdp" turned round must not look like a document
		case dropped(r) || unicode.IsControl(r):
			b.WriteByte('_')
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case strings.ContainsRune(`/\:*?"<>|`, r) || strings.ContainsRune("∕⁄⧸／＼：", r):
			b.WriteByte('\x00') // where a path is cut
		default:
			b.WriteRune(r)
		}
	}
	name = strings.Join(strings.Fields(b.String()), " ")
	if i := strings.LastIndexByte(strings.TrimRight(name, "\x00 ."), 0); i >= 0 && strings.ContainsAny(name[:i], ".") && strings.Trim(name[:i], "\x00. ") == "" {
		name = name[i+1:] // ../../x
	}
	name = strings.ReplaceAll(name, "\x00", "_")
	name = strings.TrimLeft(name, " ._-~")
	name = strings.TrimRight(name, " .")
	if strings.Trim(name, "_ ") == "" {
		return "file"
	}
	if stem, _, _ := strings.Cut(name, "."); deviceName(strings.TrimSpace(stem)) {
		name = "_" + name
	}
	return shortName(name)
}

// shortName cuts a name before its extension, which says what opens it.
func shortName(name string) string {
	if len(name) <= maxFileName {
		return name
	}
	ext := ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 20 {
		ext = name[i:]
	}
	return strings.TrimRight(cutValid(name, maxFileName-len(ext)-len("…")), " .") + "…" + ext
}

// cutValid cuts s to at most n octets, at a character.
func cutValid(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// deviceName: Windows opens these wherever they are.
func deviceName(stem string) bool {
	switch s := strings.ToUpper(stem); s {
	case "CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$":
		return true
	default:
		if len(s) < 4 || s[:3] != "COM" && s[:3] != "LPT" {
			return false
		}
		n, size := utf8.DecodeRuneInString(s[3:])
		return len(s) == 3+size && (n >= '0' && n <= '9' || n == '¹' || n == '²' || n == '³')
	}
}

// FileName returns the name to save p under: its own, or one by what it is.
func (p *Part) FileName() string {
	if p.Message != nil {
		if p.Name == "" || !strings.HasSuffix(strings.ToLower(p.Name), ".eml") {
			name := p.Name
			if name == "" {
				name = SafeName(p.Message.Subject)
			}
			if name == "" {
				name = "message"
			}
			return shortName(name + ".eml")
		}
	}
	if p.Name != "" {
		return p.Name
	}
	base, _, _ := strings.Cut(p.Type, "/")
	switch p.Type {
	case "text/plain":
		return "text.txt"
	case "text/html":
		return "text.html"
	case "text/calendar":
		return "invitation.ics"
	case "text/rfc822-headers":
		return "header.txt"
	case "message/delivery-status", "message/disposition-notification":
		return "report.txt"
	case "image/jpeg":
		return "image.jpg"
	case "image/png", "image/gif", "image/webp", "image/bmp":
		return "image." + p.Type[len("image/"):]
	case "application/pdf":
		return "document.pdf"
	case "application/pgp-signature":
		return "signature.asc"
	case "application/pkcs7-signature", "application/x-pkcs7-signature":
		return "smime.p7s"
	case "application/ms-tnef":
		return "winmail.dat"
	}
	if base == "image" || base == "audio" || base == "video" {
		return base + ".bin"
	}
	return "attachment.bin"
}

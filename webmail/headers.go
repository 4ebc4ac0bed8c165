package webmail

import (
	"net/http"
	"strings"
)

// pagePolicy is the Content-Security-Policy of our own pages: everything from here, nothing inline, no plugin,
// nobody may frame them. Images may be data: URIs (pictures shown beside a message are files from here).
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; frame-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// filePolicy is that of files out of mail and of anything else that isn't a page: it may do nothing, whatever a
// browser takes it for.
const filePolicy = "default-src 'none'; style-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"

// setHeaders sets what every answer has; handlers may then loosen their own, as static files do for caching.
func setHeaders(h http.Header, secure bool) {
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-DNS-Prefetch-Control", "off") // of the links in mail
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=(), interest-cohort=()")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// localPath returns p if it is a path on this server that a redirect may go to, otherwise "/": never another host, so
// that a link can't borrow our name.
func localPath(p string) string {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t") || len(p) > 2048 {
		return "/"
	}
	return p
}

// fromHTMX reports whether htmx asks, and for the element with which id; a restored page is asked for whole.
func fromHTMX(r *http.Request) (target string, ok bool) {
	if r.Header.Get("HX-Request") != "true" || r.Header.Get("HX-History-Restore-Request") == "true" {
		return "", false
	}
	return r.Header.Get("HX-Target"), true
}

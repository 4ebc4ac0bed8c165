// Package webmail is the emergency webmail: an http.Handler with server-rendered pages (html/template, htmx on
// top; all of it works without JavaScript), by which people read and answer their mail while the primary is down.
//
// # Who may see what
//
// Every route stands in one table (routes.go) and names its access rule; New fails on one without. The
// rules are enforced before a handler runs: public, signed in, or a box ("/m/{box}/..."), which must be the
// viewer's own ("me") or one shared with them. Within a box, every entry is looked up by mailbox.Store with
// that box, which knows no others. There is no handler that reads an entry by its id alone.
//
// # What protects a reader from the mail
//
// A message is shown as text made here, or in a frame: webmail/render writes its document from an allowlist, the
// frame's own Content-Security-Policy allows nothing but its style sheet by hash and images in data: URIs, and
// the frame is sandboxed by header and by attribute (no scripts, no forms, nothing but links, which open a new window).
// It shares our origin so that the page can ask how high it is; nothing in it can run to use that. Pages
// around it have a policy without unsafe-*: no inline script, no inline style.
//
// # Pages
//
// ui/layout.html is the frame of every page, ui/pages/<name>.html defines "title" and "main" (and what
// htmx asks for alone), ui/parts/*.html what pages share. Server.page writes one. An answer to htmx holds only the
// element that it is put into, and with it what changes elsewhere (counts, the line on top, the toast).
// Texts come from webmail/words by {{t "area.key"}}; times and sizes are written for the reader by viewer-bound helpers.
package webmail

// Package render shows any message safely.
//
// [Parse] reads the structure of a message of any quality in one pass over its octets: it keeps offsets, never
// bodies, and what it can't understand becomes an [Oddity] instead of an error. Bodies are decoded on demand and
// capped. What a message says about itself (charsets, types, names, boundaries) is a hint, never trusted.
//
// What is shown comes in two forms. [Message.Text] is plain text in blocks for the page's own template.
// [Message.HTML] is a whole document for a sandboxed frame, behind three layers each of which is meant to be
// enough: an allowlist of elements, attributes, URLs and CSS that writes its own markup (no foreign content, no
// raw-text elements, no style attributes); a Content-Security-Policy that allows one style sheet by its hash and
// images from data: URIs and nothing else; the sandbox, by that policy and by the frame's attribute.
// Nothing remote is ever loaded: what would have been is counted and its place shown.
package render

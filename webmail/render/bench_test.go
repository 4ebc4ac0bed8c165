package render

import (
	"context"
	"strings"
	"testing"
)

// newsletter is one as shops send them, of about so many octets.
func newsletter(size int) string {
	row := `<table class="full" width="600" cellpadding="0" cellspacing="0" style="border-radius:8px;margin:0 auto"><tr><td style="padding:24px;font-family:Arial,sans-serif;` +
		`font-size:16px;line-height:24px;color:#444444"><a href="https://click.mailer.test/c?u=1&amp;id=2" style="color:#0b7a4b;text-decoration:none"><img src="https://cdn.shop.test/a.jpg" ` +
		`width="250" height="180" alt="Blue mug" style="display:block;border:0"></a><b>Blue mug</b><br>Now 12,90 &euro; instead of 15,90 &euro;</td></tr></table>`
	style := `<style>@media only screen and (max-width:600px){.full{width:100%!important}}.btn{background:#0b7a4b;color:#fff;padding:12px 24px}</style>`
	return htmlMail("<html><head>" + style + "</head><body>" + strings.Repeat(row, size/len(row)+1) + "</body></html>")
}

func BenchmarkNewsletter(b *testing.B) {
	raw := newsletter(100 << 10)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := message(b, raw).HTML(context.Background(), HTMLOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAttachments(b *testing.B) {
	raw := mixedMail("\r\ntext", attachment("a.bin", strings.Repeat(strings.Repeat("A", 76)+"\r\n", 10<<20/78)))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		message(b, raw)
	}
}

func BenchmarkPlain(b *testing.B) {
	m := message(b, newsletter(100<<10))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Plain(context.Background(), m, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}

package render

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"restante/webmail/render/hostile"
)

// mayWrite is what a document for the frame may consist of, said here a second time: what is added to the
// allowlist must be added here too.
var mayWrite = strings.Fields(`html head meta title style body
	a abbr acronym address article aside b bdi big blockquote br caption center cite code col colgroup dd del dfn div dl dt em
	figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q rp rt ruby s samp section small
	span strike strong sub sup table tbody td tfoot th thead time tr tt u ul var wbr`)

var mayHave = strings.Fields(`align valign bgcolor color bordercolor width height border cellpadding cellspacing hspace vspace colspan rowspan span
	start value reversed nowrap noshade size face type rules frame scope role aria-label title abbr summary dir lang id class alt href src target rel`)

var (
	badCSS    = regexp.MustCompile(`(?i)url\(|@import|@font|expression|behavior|binding|\\|<|javascript|position:|attr\(|var\(|image-set|content:|cursor|animation|transform`)
	goodImage = regexp.MustCompile(`^data:image/(png|jpeg|gif|webp|bmp);base64,[A-Za-z0-9+/]+=*$`)
	goodLink  = regexp.MustCompile(`^(https?://[^\s"'<>\\]+|mailto:[^\s"'<>\\]*|#m-[A-Za-z0-9_-]+)$`)
)

// check reads a document as a browser would and finds what may not be in it.
func check(t testing.TB, name string, f Frame) {
	t.Helper()
	for _, scripting := range []bool{true, false} {
		root, err := html.ParseWithOptions(bytes.NewReader(f.Document), html.ParseOptionEnableScripting(scripting))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		styles := 0
		var walk func(n *html.Node)
		walk = func(n *html.Node) {
			if n.Type == html.ElementNode {
				checkElement(t, name, n)
				if n.Data == "style" {
					styles++
					checkStyle(t, name, n.FirstChild.Data, f.CSP)
				}
			}
			if n.Type == html.CommentNode {
				t.Errorf("%s: a comment: %q", name, n.Data)
			}
			for c := n.FirstChild; c != nil; c = c.NextSibling {
				walk(c)
			}
		}
		walk(root)
		if styles != 1 {
			t.Errorf("%s: %d style sheets", name, styles)
		}
	}
	if strings.Contains(f.CSP, "unsafe") || !strings.HasPrefix(f.CSP, "default-src 'none'; ") || !strings.Contains(f.CSP, "; sandbox allow-popups allow-popups-to-escape-sandbox") {
		t.Errorf("%s: policy %q", name, f.CSP)
	}
}

func checkElement(t testing.TB, name string, n *html.Node) {
	t.Helper()
	if n.Namespace != "" || !slices.Contains(mayWrite, n.Data) {
		t.Errorf("%s: element %s:%s", name, n.Namespace, n.Data)
	}
	if n.Data == "meta" {
		for _, a := range n.Attr {
			if a.Key != "charset" && a.Key != "name" && a.Key != "content" || a.Val == "refresh" {
				t.Errorf("%s: meta %s=%q", name, a.Key, a.Val)
			}
		}
		return
	}
	for _, a := range n.Attr {
		if a.Key == "tabindex" && attr(n, "id") == "r" {
			continue
		}
		if a.Namespace != "" || !slices.Contains(mayHave, a.Key) {
			t.Errorf("%s: attribute %s of %s", name, a.Key, n.Data)
		}
		switch a.Key {
		case "href":
			if n.Data != "a" || !goodLink.MatchString(a.Val) {
				t.Errorf("%s: %s href=%q", name, n.Data, a.Val)
			}
		case "src":
			if n.Data != "img" || !goodImage.MatchString(a.Val) {
				t.Errorf("%s: %s src=%q", name, n.Data, a.Val[:min(len(a.Val), 100)])
			}
		case "target":
			if a.Val != "_blank" {
				t.Errorf("%s: target=%q", name, a.Val)
			}
		}
	}
	if href := attr(n, "href"); href != "" && href[0] != '#' && (attr(n, "target") != "_blank" || attr(n, "rel") != "noopener noreferrer nofollow") {
		t.Errorf("%s: a link that keeps hold of us: %q", name, href)
	}
}

func checkStyle(t testing.TB, name, css, policy string) {
	t.Helper()
	theirs := strings.TrimPrefix(css, baseCSS)
	if theirs == css {
		t.Errorf("%s: our style is not there", name)
	}
	if bad := badCSS.FindString(theirs); bad != "" {
		t.Errorf("%s: %q in CSS:\n%s", name, bad, theirs)
	}
	if strings.Count(theirs, "{") != strings.Count(theirs, "}") || strings.Count(theirs, `"`)%2 != 0 {
		t.Errorf("%s: CSS doesn't add up:\n%s", name, theirs)
	}
	sum := sha256.Sum256([]byte(css))
	if !strings.Contains(policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("%s: the policy doesn't allow the style sheet", name)
	}
}

func TestHostileMailsAreHarmless(t *testing.T) {
	mails := hostile.Mails()
	if len(mails) < 150 {
		t.Errorf("only %d hostile mails", len(mails))
	}
	seen := map[string]bool{}
	for _, mail := range mails {
		if seen[mail.Name] {
			t.Errorf("%s is there twice", mail.Name)
		}
		seen[mail.Name] = true
		m, err := Parse(context.Background(), bytes.NewReader(mail.Raw), int64(len(mail.Raw)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		checkMessage(t, mail.Name, m)
	}
}

// checkMessage looks at all that is shown of a message.
func checkMessage(t testing.TB, name string, m *Message) {
	t.Helper()
	ctx := context.Background()
	f, err := m.HTML(ctx, HTMLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check(t, name, f)
	text, err := m.Text(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range text.Blocks {
		for _, l := range b.Lines {
			for _, s := range l {
				if s.URL != "" && !goodLink.MatchString(s.URL) {
					t.Errorf("%s: link %q", name, s.URL)
				}
			}
		}
	}
	for _, u := range m.Unsubscribe {
		if !goodLink.MatchString(u) {
			t.Errorf("%s: unsubscribe %q", name, u)
		}
	}
	for _, p := range m.Attachments {
		file := p.FileName()
		if file == "" || SafeName(file) != file || strings.ContainsAny(file, "/\\<>:\"|?*\x00\r\n") {
			t.Errorf("%s: file name %q", name, file)
		}
		if p.Message != nil {
			checkMessage(t, name+"/"+p.ID, p.Message)
		}
		if p.Type == "text/calendar" {
			events, err := Calendar(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if e.URL != "" && !goodLink.MatchString(e.URL) || strings.ContainsAny(e.Method+e.Status, "<>") {
					t.Errorf("%s: %+v", name, e)
				}
			}
		}
	}
}

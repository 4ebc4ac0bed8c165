package browser

import (
	"fmt"
	"strings"
)

// Violation is one rule of axe-core that the page breaks.
type Violation struct {
	ID     string // of the rule, "color-contrast"
	Help   string
	Impact string
	Nodes  []string // HTML of where, and why
}

func (v Violation) String() string {
	return fmt.Sprintf("%s (%s): %s\n\t%s", v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n\t"))
}

// Axe runs axe-core with the rules of WCAG 2.2 AA and its best practices on the page, not on the mail in its
// frames, and returns what is broken. The page's scripts must be on.
func (p *Page) Axe() []Violation {
	p.t.Helper()
	p.Eval(axe+"; true", nil)
	var found []Violation
	p.Eval(`axe.run(document, {iframes: false, resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
		.then(r => r.violations.map(v => ({ID: v.id, Help: v.help, Impact: String(v.impact),
			Nodes: v.nodes.map(n => n.html.slice(0, 300) + "  -- " + n.failureSummary.replace(/\s+/g, " "))})))`, &found)
	return found
}

// NoViolations fails the test for everything that axe-core finds; where says which page it is.
func (p *Page) NoViolations(where string) {
	p.t.Helper()
	for _, v := range p.Axe() {
		p.t.Errorf("%s (%s): %s", where, p.view.Name, v)
	}
}

package pass

import (
	"os"
	"slices"
	"strings"
	"testing"

	"restante/dns/dnstest"
)

// spfCase is one of the suite of RFC 7208.
type spfCase struct {
	name, client, helo, from string
	results                  []string
}

// TestSPFSuite sends mail for each case of the suite of RFC 7208 from the client it names, and looks at what is kept with the
// entry. A client that can't speak SMTP in the way that the case wants is refused; those are counted.
func TestSPFSuite(t *testing.T) {
	text, err := os.ReadFile("testdata/rfc7208/suite.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n= ")
	cases, refused := 0, 0
	for scenario := range strings.SplitSeq(rest, "\n= ") {
		name, lines, _ := strings.Cut(scenario, "\n")
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			f, list := spfScenario(t, lines)
			for _, c := range list {
				cases++
				s := sent{client: c.client, helo: c.helo, from: c.from, msg: "From: x@from.test\r\n\r\nHello\r\n"}
				if got := f.submit(s); got[0] != '2' {
					refused++
					t.Logf("%s: MAIL FROM:<%s> after EHLO %s: %s", c.name, c.from, c.helo, got)
					continue
				}
				e, _ := f.entry()
				if got := e.Verdicts["spf"]; !slices.Contains(c.results, got) {
					t.Errorf("%s: %s, want %v", c.name, verdicts(e, "spf", "spf.domain"), c.results)
				}
			}
		})
	}
	t.Logf("%d cases, %d of them refused before", cases, refused)
	if cases < 170 || refused > 4 {
		t.Errorf("%d cases, %d of them refused before", cases, refused)
	}
}

// spfScenario puts up the zone of a scenario.
func spfScenario(t *testing.T, lines string) (*front, []spfCase) {
	var zone strings.Builder
	var silent []string
	var list []spfCase
	for line := range strings.Lines(lines) {
		line = strings.TrimRight(line, "\n")
		if rest, ok := strings.CutPrefix(line, "> "); ok {
			w := strings.Split(rest, " | ")
			list = append(list, spfCase{w[0], w[1], w[2], w[3], strings.Split(w[4], ",")})
		} else if name, ok := strings.CutPrefix(line, "timeout "); ok {
			silent = append(silent, name)
		} else {
			zone.WriteString(line + "\n")
		}
	}
	f := newFront(t, zone.String(), nil)
	for _, name := range silent {
		f.dns.Fail(name, dnstest.Servfail) // quicker than silence, and the same to SPF
	}
	return f, list
}

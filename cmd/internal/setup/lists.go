package setup

import (
	"context"
	"strings"

	"restante/relay/policy/dnsbl"
)

// The list that most mail servers ask, and the codes by which it means mail (docs.spamhaus.com).
const (
	commonList  = "zen.spamhaus.org"
	commonCodes = "127.0.0.2-7 127.0.0.9 127.0.0.10-11"
)

// blocklist: our own addresses aren't on the list that primaries and smarthosts most likely ask.
func (s *run) blocklist(ctx context.Context) []Row {
	row := Row{Check: "blocklist", Result: OK}
	list := dnsbl.List{Zone: commonList, Weight: 1}
	for text := range strings.FieldsSeq(commonCodes) {
		c, err := dnsbl.ParseCode(text)
		if err != nil {
			return nil // a test shows that it can't be
		}
		list.Codes = append(list.Codes, c)
	}
	set, err := dnsbl.New(dnsbl.Options{Resolver: s.DNS, Lists: []dnsbl.List{list}})
	if err != nil {
		return nil
	}
	own := s.sending(ctx)
	if len(own) == 0 {
		return nil
	}
	set.Test(ctx)
	if faults := set.Faults(); len(faults) > 0 {
		why, _, _ := strings.Cut(faults[0].Text, ";") // behind it is what to write into a configuration, which this isn't about
		row.Result, row.Found = Note, commonList+" can't be asked: "+printable(why)
		row.Mend = "look there by hand: https://check.spamhaus.org/"
		return []Row{row}
	}
	for _, a := range own {
		if r := set.Look(ctx, a); r.Score > 0 {
			row.Result, row.Found = Warn, a.String()+" is on it: "+commonList+"; mail servers that ask it refuse what comes from here"
			row.Mend = "have it taken off: https://check.spamhaus.org/; exempt it at your mail server, see allow-list"
			return []Row{row}
		}
	}
	row.Found = join(own) + " isn't on " + commonList
	return []Row{row}
}

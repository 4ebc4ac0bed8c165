package policy

import (
	"fmt"
	"slices"
	"strings"

	"restante/relay/policy/dnsbl"
	"restante/relay/policy/msgauth"
	"restante/relay/policy/scan"
	"restante/relay/reply"
)

// MarkField is the field that a message is marked with, once, before it is passed on or kept:
//
//	X-Restante-Border: mx2.example.net; mark=dmarc,spf
//
// Its words are the reasons that metrics and log have: spf, dmarc, from (nobody can be said to be the author), dns (it
// doesn't answer), listed. What content filters find has fields of its own.
const MarkField = "X-Restante-Border"

func markField(authservID string, words []string) []byte {
	if len(words) == 0 {
		return nil
	}
	return fmt.Appendf(nil, "%s: %s; mark=%s\r\n", MarkField, authservID, strings.Join(words, ","))
}

// finding is one thing that speaks against a message.
type finding struct {
	reason  string // one word
	action  Action
	text    string      // for the verdicts, the quarantine and the log
	reply   reply.Reply // with Reject, less the session's id
	content bool        // found by a content filter, which writes its own fields
}

// level orders actions, the mildest first.
func (a Action) level() int { return slices.Index([]Action{Ignore, Mark, Quarantine, Reject}, a) }

// atMost is the milder one of two actions.
func (a Action) atMost(b Action) Action {
	if b.level() < a.level() {
		return b
	}
	return a
}

// spared is the action for a message whose other recipients were refused at RCPT: it goes to those that are to be
// reachable.
func (a Action) spared() Action {
	if a == Reject {
		return Mark
	}
	return a
}

// strictest of what follows from all that was found.
func strictest(found []finding) Action {
	most := Ignore
	for _, f := range found {
		if f.action.level() > most.level() {
			most = f.action
		}
	}
	return most
}

// spf is what a domain wants to follow from SPF, of the reverse-path and of HELO. A client that the one domain sends by
// isn't a stranger for what the name in its greeting says.
func spf(d Domain, path, helo msgauth.SPF, addr string) (finding, bool) {
	bad := path
	if path.Result != msgauth.Fail && path.Result != msgauth.Pass && helo.Result == msgauth.Fail {
		bad = helo
	}
	switch bad.Result {
	case msgauth.Fail: // RFC 7208 8.4, RFC 7372 3.2
		return finding{reason: "spf", action: d.SPFFail, text: "SPF fail, " + bad.Domain + " doesn't send by " + addr,
			reply: reply.New(550, reply.Enhanced{5, 7, 23}, "SPF: %s says that %s does not send its mail", bad.Domain, addr)}, true
	case msgauth.TempError: // RFC 7208 8.6
		return finding{reason: "dns", action: d.DNSError, text: "SPF of " + bad.Domain + " can't be asked for: " + bad.Reason,
			reply: reply.New(451, reply.Enhanced{4, 7, 24}, "SPF of %s can't be asked for at the moment, try again later", bad.Domain)}, true
	}
	return finding{}, false
}

// author is what a domain wants to follow from who a message is from.
func author(d Domain, v *msgauth.Verdict) []finding {
	if !v.Judged || v.DMARC.Result == msgauth.Pass { // the author is right, whichever way the mail came
		return nil
	}
	var found []finding
	if f, ok := dmarc(d, v); ok {
		found = append(found, f)
	}
	if f, ok := spf(d, v.SPF, v.Helo, v.Client.Addr); ok {
		if f.reason == "spf" {
			f.action = f.action.spared()
		}
		found = append(found, f)
	}
	return found
}

// dmarc is what a domain wants to follow from DMARC.
func dmarc(d Domain, v *msgauth.Verdict) (finding, bool) {
	m := &v.DMARC
	f := finding{reason: "dmarc", text: "DMARC fail, " + m.From + " asks to " + m.Policy + " such mail"}
	switch m.Result {
	case msgauth.TempError:
		return finding{reason: "dns", action: d.DNSError, text: "DMARC of " + m.From + " can't be judged: " + m.Reason,
			reply: reply.New(451, reply.Enhanced{4, 4, 3}, "DMARC of %s can't be judged at the moment, try again later", m.From)}, true
	case msgauth.PermError:
		return finding{reason: "from", action: d.FromUnclear, text: "nobody can be said to be its author: " + m.Reason,
			reply: reply.New(550, reply.Enhanced{5, 7, 1}, "Its From field names no author that could be asked for")}, true
	case msgauth.Fail:
	default:
		return finding{}, false
	}
	switch m.Policy {
	case "reject":
		f.action = d.DMARCReject
	case "quarantine":
		f.action = d.DMARCQuarantine
	default:
		return finding{}, false
	}
	if v.Indirect {
		f.action, f.text = f.action.atMost(d.DMARCIndirect), f.text+", but it may have come by a list or a forwarder, "+v.By
	}
	code := reply.Enhanced{5, 7, 1}
	if v.SPF.Result == msgauth.Fail && len(v.DKIM) > 0 { // RFC 7372 3.3
		code = reply.Enhanced{5, 7, 26}
	}
	f.reply = reply.New(550, code, "DMARC: %s asks to %s mail that isn't shown to be its own", m.From, m.Policy)
	return f, true
}

// listed is what a domain wants to follow from the lists of clients.
func listed(d Domain, r dnsbl.Result) (finding, bool) {
	if !r.Refuse {
		return finding{}, false
	}
	return finding{reason: "listed", action: d.Listed, text: "the client is listed by " + r.Reason(),
		reply: reply.New(550, reply.Enhanced{5, 7, 1}, "Refused, your address is %s", r.Text())}, true
}

// content is what the filters want to follow from what a message holds.
func content(r scan.Result) (finding, bool) {
	f := finding{reason: "content", text: r.Reason, reply: r.Reply, content: true}
	if r.Virus != "" {
		f.reason = "virus"
	}
	switch r.Action {
	case scan.Mark:
		f.action = Mark
	case scan.Quarantine:
		f.action = Quarantine
	case scan.Defer, scan.Refuse:
		f.action = Reject
	default:
		return finding{}, false
	}
	return f, true
}

package primary

import (
	"strings"

	"restante/relay/reply"
)

// Stage is where in a conversation a reply came.
type Stage string

// The stages that Classify tells apart.
const (
	AtConnect Stage = "connect" // banner, EHLO
	AtSender  Stage = "sender"  // MAIL
	AtRcpt    Stage = "rcpt"
	AtMessage Stage = "message" // DATA and its end
)

// signs are words in the text of a refusal, in lower case. Products say the same in many codes, and many things with 5.7.1:
// their words tell more. The first that fits counts.
func signs() []struct {
	problem Problem
	words   []string
} {
	return []struct {
		problem Problem
		words   []string
	}{
		{NullMX, []string{"nullmx", "null mx", "does not accept mail"}},
		{Greylist, []string{"greylist", "graylist", "grey list", "gray list", "grey-list"}},
		{DMARC, []string{"dmarc", "unauthenticated email", "mail is unauthenticated"}},
		{SPF, []string{"spf", "sender policy framework", "not permitted sender", "not authorized to send", "does not designate"}},
		{Relay, []string{"relay access denied", "relaying denied", "unable to relay", "relay not permitted", "not permitted to relay", "tenantattribution", "tenantinboundattribution"}},
		{Blocklist, []string{"blocked using", "spamhaus", "dnsbl", "blacklist", "blocklist", "block list", "banned sending ip", "rbl", "barracuda", "sender.office.com", "listed"}},
		{ReverseDNS, []string{"cannot find your hostname", "reverse hostname", "reverse dns", "rdns", " ptr", "helo command rejected", "ehlo command rejected", "cannot find your reverse"}},
		{Rate, []string{"too many", "too much", "rate limit", "rate-limit", "ratelimit", "throttl", "unusual rate", "server busy", "concurrent connection"}},
		{Content, []string{"spam", "virus", "content reject", "unsolicited"}},
	}
}

// codes are what RFC 3463, RFC 7372 and RFC 7505 say without words.
func codes() map[reply.Enhanced]Problem {
	return map[reply.Enhanced]Problem{
		{5, 7, 23}: SPF, {5, 7, 24}: SPF, {4, 7, 24}: SPF,
		{5, 7, 20}: DMARC, {5, 7, 21}: DMARC, {5, 7, 22}: DMARC, {5, 7, 26}: DMARC, {4, 7, 26}: DMARC,
		{5, 7, 25}: ReverseDNS, {4, 7, 25}: ReverseDNS, {5, 7, 27}: NullMX,
		{5, 7, 51}: Relay, {5, 7, 54}: Relay, {5, 7, 64}: Relay,
		{5, 3, 4}: Size, {4, 7, 28}: Rate, {5, 7, 28}: Rate, {4, 7, 500}: Rate, {5, 7, 511}: Blocklist,
		{5, 1, 1}: Recipient, {5, 1, 10}: Recipient, {5, 2, 1}: Recipient, {5, 1, 0}: Recipient,
		{5, 4, 1}: Recipient, // what Microsoft 365 says of who isn't in its directory
	}
}

// Classify says what a refusal is about, as far as its words and codes tell. It never returns "".
func Classify(at Stage, r reply.Reply) Problem {
	if p, ok := codes()[r.Enhanced]; ok {
		return p
	}
	text := strings.ToLower(r.Text)
	for _, s := range signs() {
		for _, w := range s.words {
			if strings.Contains(text, w) {
				return s.problem
			}
		}
	}
	switch {
	case r.Code == 552:
		return Size
	case r.Code == 421:
		return Rate
	case at == AtRcpt && r.Permanent() && r.Enhanced[1] < 2: // 550 without a code is "mailbox unavailable" (RFC 5321 4.2.3)
		return Recipient
	case r.Transient() && at != AtConnect && (r.Enhanced[1] == 7 || r.Enhanced[1] == 2 || r.Code == 450 || r.Code == 451):
		return Greylist
	case at == AtConnect && r.Permanent():
		return Blocklist
	case at == AtMessage && r.Permanent():
		return Content
	}
	return Refused
}

package primary

import (
	"strings"
	"testing"

	"restante/relay/reply"
)

// TestClassify: what products are known to say.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		at   Stage
		code int
		e    reply.Enhanced
		text string
		want Problem
	}{
		// Postfix, with policyd-spf, postgrey and its own checks
		{AtRcpt, 550, reply.Enhanced{5, 7, 23}, "<postmaster@e.test>: Recipient address rejected: Message rejected due to: SPF fail - not authorized.", SPF},
		{AtRcpt, 550, reply.Enhanced{5, 7, 1}, "Message rejected due to: SPF fail - not authorized. Please see http://www.openspf.net/Why", SPF},
		{AtRcpt, 554, reply.Enhanced{5, 7, 1}, "Service unavailable; Client host [192.0.2.25] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.25", Blocklist},
		{AtRcpt, 454, reply.Enhanced{4, 7, 1}, "<x@e.test>: Relay access denied", Relay},
		{AtRcpt, 554, reply.Enhanced{5, 7, 1}, "<x@e.test>: Relay access denied", Relay},
		{AtRcpt, 450, reply.Enhanced{4, 2, 0}, "<x@e.test>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/", Greylist},
		{AtRcpt, 450, reply.Enhanced{4, 3, 2}, "Service currently unavailable", Greylist},
		{AtSender, 450, reply.Enhanced{4, 7, 1}, "Error: too much mail from 192.0.2.25", Rate},
		{AtConnect, 421, reply.Enhanced{4, 7, 0}, "mail.e.test Error: too many connections from 192.0.2.25", Rate},
		{AtRcpt, 450, reply.Enhanced{4, 7, 25}, "Client host rejected: cannot find your hostname, [192.0.2.25]", ReverseDNS},
		{AtRcpt, 504, reply.Enhanced{5, 5, 2}, "<mx2>: Helo command rejected: need fully-qualified hostname", ReverseDNS},
		{AtRcpt, 550, reply.Enhanced{5, 1, 1}, "<postmaster@e.test>: Recipient address rejected: User unknown in virtual mailbox table", Recipient},
		{AtRcpt, 550, reply.Enhanced{5, 7, 27}, "<a@example.org>: Sender address rejected: Domain example.org does not accept mail (nullMX)", NullMX},
		{AtMessage, 554, reply.Enhanced{5, 7, 1}, "Spam message rejected", Content},
		{AtMessage, 552, reply.Enhanced{5, 3, 4}, "Message size exceeds fixed limit", Size},
		{AtMessage, 550, reply.Enhanced{5, 7, 1}, "rejected by DMARC policy for example.org", DMARC},
		// Exim
		{AtRcpt, 550, reply.Enhanced{}, "Unknown user", Recipient},
		{AtRcpt, 550, reply.Enhanced{}, "relay not permitted", Relay},
		{AtRcpt, 451, reply.Enhanced{}, "Temporary local problem - please try later", Greylist},
		// Exchange and Microsoft 365
		{AtRcpt, 550, reply.Enhanced{5, 7, 54}, "SMTP; Unable to relay recipient in non-accepted domain", Relay},
		{AtRcpt, 550, reply.Enhanced{5, 7, 64}, "TenantAttribution; Relay Access Denied [ValidationStatus of '' is EmptyCertificate]", Relay},
		{AtRcpt, 550, reply.Enhanced{5, 7, 51}, "TenantInboundAttribution; There is a partner connector configured that matched the message's recipient domain.", Relay},
		{AtRcpt, 550, reply.Enhanced{5, 7, 606}, "Access denied, banned sending IP [192.0.2.25]. To request removal from this list please visit https://sender.office.com/", Blocklist},
		{AtSender, 451, reply.Enhanced{4, 7, 500}, "Server busy. Please try again later from [192.0.2.25]. (S77719)", Rate},
		{AtRcpt, 550, reply.Enhanced{5, 4, 1}, "Recipient address rejected: Access denied. [DB5EUR03FT023.eop-EUR03.prod.protection.outlook.com]", Recipient},
		// Google
		{AtMessage, 550, reply.Enhanced{5, 7, 26}, "This mail has been blocked because the sender is unauthenticated.", DMARC},
		{AtMessage, 421, reply.Enhanced{4, 7, 28}, "Gmail has detected an unusual rate of unsolicited mail originating from your IP Netblock.", Rate},
		{AtMessage, 550, reply.Enhanced{5, 7, 1}, "[192.0.2.25] Our system has detected that this message is likely unsolicited mail.", Content},
		// without words
		{AtConnect, 554, reply.Enhanced{}, "no", Blocklist},
		{AtSender, 550, reply.Enhanced{5, 7, 1}, "no", Refused},
		{AtRcpt, 550, reply.Enhanced{5, 7, 1}, "no", Refused},
		{AtMessage, 550, reply.Enhanced{}, "no", Content},
	} {
		r := reply.New(c.code, c.e, "%s", c.text)
		if got := Classify(c.at, r); got != c.want {
			t.Errorf("%s, %v: %s, want %s", c.at, r, got, c.want)
		}
	}
	for code := 400; code < 600; code++ {
		for _, at := range []Stage{AtConnect, AtSender, AtRcpt, AtMessage} {
			if Classify(at, reply.New(code, reply.Enhanced{}, "%s", strings.Repeat("x", 3))) == "" {
				t.Error(code, at)
			}
		}
	}
}

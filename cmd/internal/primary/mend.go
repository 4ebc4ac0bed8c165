package primary

import (
	"cmp"
	"net/netip"
	"strings"
)

// Problem is what a primary makes trouble with, or what is to be set there before it does.
type Problem string

// The problems. The codes are those of RFC 7372 and RFC 7505 beside each product's own.
const (
	Allow      Problem = "allow"      // nothing went wrong: the lines that let us in, to be set before they are needed
	SPF        Problem = "spf"        // 5.7.23, 5.7.24: our address isn't in the sender's SPF record
	DMARC      Problem = "dmarc"      // 5.7.26: SPF can't align, and there is no DKIM signature that does
	Relay      Problem = "relay"      // 5.7.1 relay access denied: it doesn't take the domain as its own
	Blocklist  Problem = "blocklist"  // 5.7.1 blocked using ...: our address is on a list
	ReverseDNS Problem = "reverse"    // 5.7.25: our address has no name, or another one than we greet with
	Rate       Problem = "rate"       // 421, 450: too many connections, messages or errors
	Greylist   Problem = "greylist"   // 450, 451: come again later
	Content    Problem = "content"    // 5.7.1, 5.6.x to the message itself: a filter took the test for spam
	TLS        Problem = "tls"        // no TLS, or not one that can be verified
	Origin     Problem = "origin"     // it isn't told who the real client was
	Size       Problem = "size"       // it takes less than we do
	CatchAll   Problem = "catchall"   // it takes any recipient
	Recipient  Problem = "recipient"  // it refuses a recipient
	Postmaster Problem = "postmaster" // it refuses postmaster (RFC 5321 4.5.1)
	NullMX     Problem = "nullmx"     // 5.7.27: the sender's domain takes no mail, which says nothing of us
	Lost       Problem = "lost"       // no connection, or one that was cut
	Refused    Problem = "refused"    // refused for a reason that can't be told
)

// Mend says what to set at a primary of that kind against a problem, in one or a few lines that can be copied. Our
// own addresses stand in it where they are given. It is never empty.
func Mend(k Kind, p Problem, ours ...string) string {
	text := special(k, p)
	if text == "" {
		text = general(p)
		if lets := special(k, Allow); lets != "" && byAllowing(p) {
			text += "\n" + lets
		}
	}
	return fillIn(text, ours)
}

// byAllowing reports problems that end when our address is let in.
func byAllowing(p Problem) bool {
	switch p {
	case SPF, DMARC, Blocklist, ReverseDNS, Greylist, Content, Refused, Rate:
		return true
	}
	return false
}

// fillIn writes our addresses into a mend, in each of the forms that the products read.
func fillIn(text string, ours []string) string {
	if len(ours) == 0 {
		ours = []string{"<this machine's address>"}
	}
	var prefixes, quoted []string
	for _, a := range ours {
		quoted = append(quoted, `"`+a+`"`)
		if ip, err := netip.ParseAddr(a); err == nil {
			a = netip.PrefixFrom(ip, ip.BitLen()).String()
		}
		prefixes = append(prefixes, a)
	}
	return strings.NewReplacer(
		"{list}", strings.Join(ours, ", "), "{words}", strings.Join(ours, " "), "{exim}", "<; "+strings.Join(ours, " ; "),
		"{quoted}", strings.Join(quoted, ","), "{prefixes}", strings.Join(prefixes, " "),
	).Replace(text)
}

// general is what holds at every kind.
func general(p Problem) string {
	return cmp.Or(map[Problem]string{
		SPF:        "exempt {list} from the primary's SPF check: it has been made here, when the mail came in, and its result is in Authentication-Results",
		DMARC:      "exempt {list} from the primary's DMARC check: it has been made here, when the mail came in, and its result is in Authentication-Results",
		Relay:      "let the primary take the domain as its own: it refuses to relay, from us and from anybody",
		Blocklist:  "exempt {list} from the primary's blocklists, and ask the list to take it off",
		ReverseDNS: "give {list} a reverse name that leads back to it and is what this machine greets with: restante setup says more; or exempt it from that check",
		Rate:       "exempt {list} from the primary's limits on connections, messages and errors; or give less at a time here: [replay] connections, rate, and [primary] max_connections",
		Greylist:   "exempt {list} from the primary's greylisting: until then everything that was kept waits for it",
		Content:    "the primary's filter took the test message for spam: let it look at the client in our Received field, not at {list}",
		TLS:        "give the primary a certificate and switch STARTTLS on; then pin it here: tls = \"required\" with tls_fingerprints, or tls_ca",
		Origin:     "the primary can't be told who the real client was: exempt {list} from checks of the client, and let its filter read our Received field",
		Size:       "raise the primary's limit, or lower [smtp] max_message_size here to the same",
		CatchAll:   "import the list of recipients: restante recipient import; asking this primary proves nothing about an address",
		Recipient:  "see whether the address still exists there; if not, take it off the list here: restante recipient remove",
		Postmaster: "give the domain a postmaster, as RFC 5321 4.5.1 asks: reports about its mail go there",
		NullMX:     "that says nothing of us: try again with --from and an address of a domain that takes mail and whose SPF record ends in -all",
		Lost:       "see that the primary listens there, and that no firewall or ban (fail2ban) keeps {list} out",
		Refused:    "let {list} in at the primary: no SPF check, blocklist, greylisting or rate limit for it, and no relaying",
		Allow:      "let {list} in at the primary: no SPF check, blocklist, greylisting or rate limit for it, and no relaying",
	}[p], "let {list} in at the primary")
}

// special is what is known of a kind, "" for nothing.
func special(k Kind, p Problem) string {
	switch k {
	case Postfix:
		return postfix(p)
	case Exim:
		return exim(p)
	case Exchange:
		return exchange(p)
	case Microsoft365:
		return microsoft365(p)
	case Google:
		return google(p)
	case Zimbra:
		return zimbra(p)
	}
	return ""
}

func postfix(p Problem) string {
	switch p {
	case Allow:
		return `printf '%s permit\n' {prefixes} >> /etc/postfix/restante.cidr
postconf -e 'smtpd_client_event_limit_exceptions = $mynetworks, {list}'
postconf -e 'postscreen_access_list = permit_mynetworks, cidr:/etc/postfix/restante.cidr'
and in main.cf, not in mynetworks but between reject_unauth_destination and the checks of SPF, blocklists and greylisting:
smtpd_recipient_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination, check_client_access cidr:/etc/postfix/restante.cidr, ...
and first in smtpd_client_restrictions, smtpd_helo_restrictions and smtpd_sender_restrictions, where those check anything`
	case Origin:
		return `postconf -e 'smtpd_authorized_xclient_hosts = {list}' && postfix reload
and here, in its [[domain]]: origin = "xclient"`
	case SPF:
		return `in /etc/postfix-policyd-spf-python/policyd-spf.conf: Whitelist = {list}
or let it check the real client: postconf -e 'smtpd_authorized_xclient_hosts = {list}' && postfix reload
and here, in its [[domain]]: origin = "xclient"`
	case Rate:
		return `postconf -e 'smtpd_client_event_limit_exceptions = $mynetworks, {list}' 'in_flow_delay = 0' && postfix reload`
	case Content:
		return `let its filter look at the client in our Received field. rspamd, in local.d/external_relay.conf, where our address has our name:
rules { RESTANTE { strategy = "hostname_map"; hostname_map = [ "<this machine's name>", ]; } }
SpamAssassin, in local.cf: trusted_networks {words}`
	case Size:
		return "postconf -e message_size_limit=52428800 && postfix reload, or lower [smtp] max_message_size here to the same"
	case TLS:
		return "postconf -e smtpd_tls_security_level=may smtpd_tls_chain_files=/etc/postfix/key.pem,/etc/postfix/cert.pem && postfix reload; then here tls = \"required\" with tls_fingerprints or tls_ca"
	}
	return ""
}

func exim(p Problem) string {
	switch p {
	case Allow:
		return `hostlist restante = {exim}
first in the ACL of acl_smtp_rcpt, before SPF, dnslists and greylisting:
  accept  hosts = +restante
          domains = +local_domains : +relay_to_domains
          verify = recipient
smtp_ratelimit_hosts = ! +restante : *          # where it is set
smtp_accept_max_per_host = 60                   # greater than [primary] max_connections here`
	case Rate:
		return `smtp_accept_max_per_host = 60                   # greater than [primary] max_connections here
smtp_ratelimit_hosts = ! +restante : *          # with: hostlist restante = {exim}
and no "ratelimit" condition of an ACL for +restante`
	case Size:
		return "message_size_limit = 50M, or lower [smtp] max_message_size here to the same"
	case TLS:
		return "tls_advertise_hosts = *, tls_certificate and tls_privatekey; then here tls = \"required\" with tls_fingerprints or tls_ca"
	}
	return ""
}

func exchange(p Problem) string {
	switch p {
	case Allow:
		return `In the Exchange Management Shell:
  New-ReceiveConnector -Name Restante -TransportRole FrontendTransport -Usage Custom -Bindings 0.0.0.0:25 -RemoteIPRanges {list}
  Set-ReceiveConnector "$env:COMPUTERNAME\Restante" -PermissionGroups AnonymousUsers -TarpitInterval 00:00:00 ` + "`" + `
    -MaxInboundConnectionPerSource Unlimited -MaxInboundConnectionPercentagePerSource 100 -MessageRateLimit Unlimited
  Set-TransportConfig -InternalSMTPServers @{Add={quoted}}      # Sender ID and blocklists look at our Received field instead
  Add-IPAllowListEntry -IPAddress {list}                        # once for each address, where the anti-spam agents run`
	case Rate:
		return `Set-ReceiveConnector "$env:COMPUTERNAME\Restante" -TarpitInterval 00:00:00 -MessageRateLimit Unlimited ` + "`" + `
    -MaxInboundConnectionPerSource Unlimited -MaxInboundConnectionPercentagePerSource 100
that is a connector for {list} alone: New-ReceiveConnector -Name Restante -TransportRole FrontendTransport -Usage Custom -Bindings 0.0.0.0:25 -RemoteIPRanges {list}`
	case SPF, DMARC:
		return "Set-TransportConfig -InternalSMTPServers @{Add={quoted}}      # then Sender ID looks at the client in our Received field"
	case Size:
		return "Set-ReceiveConnector and Set-TransportConfig -MaxReceiveSize 50MB, or lower [smtp] max_message_size here to the same"
	}
	return ""
}

func microsoft365(p Problem) string {
	switch p {
	case Allow:
		return `In Exchange Online PowerShell; senders go on coming directly too, so nothing restricts the domain to the connector:
  New-InboundConnector -Name Restante -ConnectorType Partner -SenderDomains * -SenderIPAddresses {quoted} -RestrictDomainsToIPAddresses $false -RequireTls $true
  Set-InboundConnector Restante -EFSkipIPs {quoted}      # "skip listing": SPF, DMARC and reputation look at the client in our Received field
  Set-HostedConnectionFilterPolicy Default -IPAllowList @{Add={quoted}}      # only if mail is still refused: this skips the spam filter`
	case Relay:
		return `a connector that restricts the domain to other addresses (5.7.51) or an unknown domain (5.7.64): Get-InboundConnector | fl Name,SenderIPAddresses,RestrictDomainsToIPAddresses
  Set-InboundConnector <its name> -SenderIPAddresses @{Add={quoted}}`
	case Rate:
		return `an address that Microsoft doesn't know yet gets 451 4.7.500 for some weeks, less so with an inbound connector for it:
  New-InboundConnector -Name Restante -ConnectorType Partner -SenderDomains * -SenderIPAddresses {quoted} -RestrictDomainsToIPAddresses $false -RequireTls $true`
	case Blocklist:
		return `ask for {list} to be taken off at https://sender.office.com; meanwhile:
  Set-HostedConnectionFilterPolicy Default -IPAllowList @{Add={quoted}}`
	case Size:
		return "Set-TransportConfig and Set-Mailbox -MaxReceiveSize 50MB, or lower [smtp] max_message_size here to the same"
	}
	return ""
}

func google(p Problem) string {
	switch p {
	case Allow:
		return `In the Admin console, Apps > Google Workspace > Gmail > Spam, phishing and malware > Inbound gateway:
  gateway IPs: {list}
  on:  "Automatically detect external IP", "Require TLS for connections from the email gateways listed above"
  off: "Reject all mail not from gateway IPs": senders go on coming directly too
  and nowhere in "Email allowlist": that would skip the spam filter`
	case Rate:
		return `list {list} as an inbound gateway, and go slower here while Google gets to know it: [replay] connections = 5, rate = 5`
	case Size:
		return "Gmail takes 50 MB: write [smtp] max_message_size = \"50MB\" or less here"
	}
	return ""
}

func zimbra(p Problem) string {
	switch p {
	case Allow:
		return `As the user zimbra, on each MTA:
  printf '%s permit\n' {prefixes} >> /opt/zimbra/conf/restante.cidr
  sed -i '/^permit_mynetworks/a check_client_access cidr:/opt/zimbra/conf/restante.cidr' /opt/zimbra/conf/zmconfigd/smtpd_recipient_restrictions.cf
  zmprov mcf zimbraMtaPostscreenAccessList "permit_mynetworks, cidr:/opt/zimbra/conf/restante.cidr"
  postconf -e 'smtpd_client_event_limit_exceptions = $mynetworks, {list}'
  echo 'trusted_networks {words}' >> /opt/zimbra/data/spamassassin/localrules/sauser.cf      # SpamAssassin looks at the client in our Received field
  zmmtactl restart && zmamavisdctl restart`
	case Origin:
		return `as the user zimbra, on each MTA: postconf -e 'smtpd_authorized_xclient_hosts = {list}' && postfix reload
and here, in its [[domain]]: origin = "xclient"`
	case Rate:
		return `as the user zimbra, on each MTA: postconf -e 'smtpd_client_event_limit_exceptions = $mynetworks, {list}' && postfix reload`
	case Size:
		return "zmprov mcf zimbraMtaMaxMessageSize 52428800, or lower [smtp] max_message_size here to the same"
	}
	return ""
}

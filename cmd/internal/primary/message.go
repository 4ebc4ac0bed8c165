package primary

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"restante/relay/smtpc"
	"restante/relay/smtpd"
	"restante/spool"
)

// text is the test message, with the trace field that every message of ours has.
func (h *host) text(from string, o *smtpc.Origin) string {
	id, now := spool.NewID(), time.Now()
	client := &smtpd.Client{Client: spool.Client{Helo: o.Helo, Protocol: "ESMTP"}}
	if o.Addr.IsValid() {
		client.Addr = o.Addr.String()
	}
	var b strings.Builder
	b.Write(smtpd.Received(smtpd.Trace{Hostname: h.Hostname, Client: client, ID: id, Rcpts: []string{h.report.To}, Time: now}))
	for _, f := range [][2]string{
		{"From", "Restante's test <" + cmp.Or(from, "restante-test@"+h.Hostname) + ">"},
		{"To", "<" + h.report.To + ">"},
		{"Subject", "TEST, please ignore: restante on " + h.Hostname + " tries its way to " + h.Domain},
		{"Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"Message-ID", "<" + id + "@" + h.Hostname + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=us-ascii"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	fmt.Fprintf(&b, "\r\n"+
		"This is a test. An admin ran `restante primary test %s` on %s,\r\n"+
		"the backup mail server of %s.\r\n"+
		"\r\n"+
		"The message seems to come from a domain that lets nobody send its mail.\r\n"+
		"That it arrived means that mail kept in an outage can be handed over.\r\n"+
		"Nothing needs to be done, and nobody reads a reply.\r\n", h.Domain, h.Hostname, h.Domain)
	return b.String()
}

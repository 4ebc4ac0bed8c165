package primary

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"restante/relay/policy/scan/scantest"
	"restante/relay/smtpd"
	"restante/spool"
)

// TestReceivedIsRead: a real rspamd at the primary, with the settings that are documented, takes the client from our Received field.
func TestReceivedIsRead(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an rspamd")
	}
	const plugin = `modules { path = "/usr/share/rspamd/plugins/external_relay.lua"; }
external_relay { rules { RESTANTE { strategy = "hostname_map"; hostname_map = [ "mx2.example.test", ]; } } }
`
	filter := scantest.Rspamd(t, plugin)
	const forged = "Received: from liar.test (liar.test [203.0.113.66]) by mx2.example.test (Restante) with ESMTP id 01X; Sat, 21 Nov 2026 09:12:04 +0000\r\n"
	for name, c := range map[string]struct {
		client spool.Client
		first  string
		want   string
	}{
		"named":      {spool.Client{Addr: "198.51.100.7", Name: "relay.client.test", Helo: "relay.client.test", Protocol: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"}, "", "198.51.100.7"},
		"nameless":   {spool.Client{Addr: "198.51.100.7", Helo: "relay.client.test", Protocol: "ESMTP"}, "", "198.51.100.7"},
		"odd HELO":   {spool.Client{Addr: "198.51.100.7", Helo: "no name!", Protocol: "SMTP"}, "", "198.51.100.7"},
		"literal":    {spool.Client{Addr: "198.51.100.7", Helo: "[198.51.100.7]", Protocol: "ESMTP"}, "", "198.51.100.7"},
		"IPv6":       {spool.Client{Addr: "2001:db8::7", Name: "relay.client.test", Helo: "relay.client.test", Protocol: "UTF8SMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"}, "", "2001:db8::7"},
		"IPv6 alone": {spool.Client{Addr: "2001:db8::7", Helo: "[IPv6:2001:db8::7]", Protocol: "ESMTP"}, "", "2001:db8::7"},
		"other name": {spool.Client{Addr: "198.51.100.7", Name: "mx2.example.test", Helo: "another.test", Protocol: "ESMTP"}, forged, "198.51.100.7"},
		"our name":   {spool.Client{Addr: "198.51.100.7", Helo: "mx2.example.test", Protocol: "ESMTP"}, forged, "198.51.100.7"},
		"our NAME":   {spool.Client{Addr: "198.51.100.7", Helo: "MX2.example.TEST", Protocol: "ESMTP"}, forged, "198.51.100.7"},
		"forged":     {spool.Client{Addr: "198.51.100.7", Helo: "relay.client.test", Protocol: "ESMTP"}, forged, "198.51.100.7"},
	} {
		t.Run(name, func(t *testing.T) {
			message := string(smtpd.Received(smtpd.Trace{
				Hostname: "mx2.example.test", Client: &smtpd.Client{Client: c.client}, ID: spool.NewID(), Rcpts: []string{"anna@example.com"}, Time: time.Now(),
			})) + c.first + "From: <a@client.test>\r\nSubject: spam-facts\r\n\r\nhello\r\n"
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, filter.URL+"/checkv2", strings.NewReader(message))
			if err != nil {
				t.Fatal(err)
			}
			// What the primary knows: us.
			for k, v := range map[string]string{"IP": "192.0.2.25", "Helo": "mx2.example.test", "Hostname": "mx2.example.test", "From": "<a@client.test>", "Rcpt": "<anna@example.com>"} {
				req.Header.Set(k, v)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v %s %s", err, resp.Status, b)
			}
			facts := filter.Facts()
			if got, _, _ := strings.Cut(facts, "|"); got != c.want {
				t.Errorf("rspamd takes %s for the client, want %s, of\n%s", facts, c.want, message)
			}
		})
	}
}

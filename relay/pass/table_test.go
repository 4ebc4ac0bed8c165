package pass

import (
	"strconv"
	"strings"
	"testing"

	"restante/relay/health"
	"restante/relay/reply"
	"restante/relay/smtpc"
)

// parseReply reads "550 5.1.1 text" for tests; "" is no reply.
func parseReply(t testing.TB, s string) reply.Reply {
	t.Helper()
	if s == "" {
		return reply.Reply{}
	}
	code, rest, _ := strings.Cut(s, " ")
	var r reply.Reply
	var err error
	if r.Code, err = strconv.Atoi(code); err != nil {
		t.Fatalf("reply %q: %v", s, err)
	}
	word, text, _ := strings.Cut(rest, " ")
	if parts := strings.Split(word, "."); len(parts) == 3 {
		for i, p := range parts {
			if r.Enhanced[i], err = strconv.Atoi(p); err != nil {
				t.Fatalf("reply %q: %v", s, err)
			}
		}
		rest = text
	}
	r.Text = rest
	return r
}

// TestJudge is the table of replies, row by row: stage, what the primary said, what we know, and what
// the sender gets and health learns.
func TestJudge(t *testing.T) {
	const known, virgin, own, named = "known", "virgin", "own", "named " // virgin: it never took mail; own: the reply is smtpc's; named: it was told of the client
	rows := []struct {
		stage Stage
		reply string
		with  string
		want  string
	}{
		// No reply.
		{AtConnect, "", "", "keep lost"},
		{AtConnect, "", virgin, "keep lost"},
		{AtMail, "", "", "keep lost"},
		{AtRcpt, "", "", "keep lost"},
		{AtData, "", "", "keep lost"},
		{AtDot, "", "", "keep lost unknown"},
		{AtDot, "", virgin, "keep lost unknown"},
		// 421 and 4.3.x are about the primary, wherever they come.
		{AtConnect, "421 4.7.0 too many connections", "", "keep lost"},
		{AtMail, "421 4.3.2 shutting down", "", "keep lost"},
		{AtRcpt, "421 try later", "", "keep lost"},
		{AtData, "421 4.4.2 timeout", "", "keep lost"},
		{AtDot, "421 4.3.0", "", "keep lost"},
		{AtMail, "452 4.3.1 insufficient system storage", "", "keep lost"},
		{AtRcpt, "452 4.3.1 insufficient system storage", "", "keep lost"},
		{AtRcpt, "451 4.3.5 configuration error", "", "keep lost"},
		{AtRcpt, "450 4.3.2 system not accepting", "", "keep lost"},
		{AtData, "451 4.3.0 queue file write error", "", "keep lost"},
		{AtDot, "451 4.3.0 queue file write error", "", "keep lost"},
		{AtDot, "452 4.3.1 full", "", "keep lost"},
		{AtDot, "451 4.3.0 x", virgin, "keep lost"},
		{AtMail, "452 Insufficient system storage", "", "keep lost"},
		{AtData, "452 Insufficient system storage", "", "keep lost"},
		{AtDot, "452 Insufficient system storage", "", "keep lost"},
		{AtRcpt, "452 Too many recipients", "", "pass"},
		{AtRcpt, "452 4.5.3 Too many recipients", "", "pass"},
		// A client that the primary was told of says nothing of the primary.
		{AtOrigin, "", "", "keep lost"},
		{AtOrigin, "421 4.7.0 too many connections from that client", "", "defer"},
		{AtOrigin, "450 4.3.2 too many", "", "defer"},
		{AtOrigin, "554 5.7.1 client host rejected", "", "defer"},
		{AtOrigin, "554 5.7.1 client host rejected", virgin, "defer"},
		// What speaks of the client that it was told of: of relaying it doesn't.
		{AtRcpt, "554 5.7.1 Client host blocked using zen.spamhaus.org", named, "pass"},
		{AtRcpt, "554 5.7.1 Client host blocked using zen.spamhaus.org", named + known, "pass"},
		{AtRcpt, "550 5.7.23 SPF fail", named + virgin, "pass"},
		{AtMail, "550 5.7.1 sender rejected", named, "pass"},
		{AtDot, "550 5.7.1 spam", named + virgin, "pass"},
		{AtRcpt, "554 5.7.1 Relay access denied", named + known, "defer refusal"},
		{AtRcpt, "554 5.7.1 Relay access denied", named + virgin, "defer ban"},
		{AtRcpt, "550 5.1.1 unknown", named + known, "defer refusal"},
		{AtMail, "550 5.5.1 no", named, "defer refusal"},
		// At the connection.
		{AtConnect, "450 4.7.1 greylisted", "", "keep lost"},
		{AtConnect, "554 no SMTP service here", "", "keep lost"},
		{AtConnect, "554 no SMTP service here", virgin, "defer ban"},
		{AtConnect, "550 5.7.1 blocked", "", "keep lost"},
		{AtConnect, "550 5.7.1 blocked", virgin, "defer ban"},
		// MAIL.
		{AtMail, "250 2.1.0 ok", "", "pass"},
		{AtMail, "450 4.1.8 domain not found", "", "pass"},
		{AtMail, "451 greylisted", "", "pass"},
		{AtMail, "550 5.1.8 no such domain", "", "defer refusal"},
		{AtMail, "550 5.1.8 no such domain", virgin, "defer refusal"},
		{AtMail, "550 no", "", "defer refusal"},
		{AtMail, "554 5.7.1 no", "", "defer refusal"},
		{AtMail, "554 5.7.1 no", virgin, "defer ban"},
		{AtMail, "552 5.3.4 too big", "", "pass"},
		{AtMail, "552 5.3.4 too big", own, "pass"},
		{AtMail, "553 5.6.7 no SMTPUTF8", own, "pass"},
		// RCPT.
		{AtRcpt, "250 2.1.5 ok", "", "pass"},
		{AtRcpt, "251 will forward", "", "pass"},
		{AtRcpt, "450 4.2.1 over quota", "", "pass"},
		{AtRcpt, "450 4.7.1 greylisted", virgin, "pass"},
		{AtRcpt, "550 5.1.1 no such user", "", "pass"},
		{AtRcpt, "550 5.1.1 no such user", virgin, "pass"},
		{AtRcpt, "550 5.1.1 no such user", known, "defer refusal"},
		{AtRcpt, "550 no such user", known, "defer refusal"},
		{AtRcpt, "552 5.2.2 over quota", known, "defer refusal"},
		{AtRcpt, "554 5.7.1 blocked", "", "pass"},
		{AtRcpt, "554 5.7.1 blocked", known, "defer refusal"},
		{AtRcpt, "554 5.7.1 relay access denied", virgin, "defer ban"},
		{AtRcpt, "550 5.7.606 banned", virgin, "defer ban"},
		// DATA and the end of the message.
		{AtData, "354 go on", "", "pass"},
		{AtData, "554 5.5.1 no valid recipients", "", "pass"},
		{AtData, "550 5.7.1 no", virgin, "defer ban"},
		{AtDot, "250 2.0.0 queued", "", "pass took"},
		{AtDot, "250 queued", virgin, "pass took"},
		{AtDot, "450 4.7.1 try later", "", "pass"},
		{AtDot, "451 4.7.1 try later", virgin, "pass"},
		{AtDot, "550 5.7.1 spam", "", "pass"},
		{AtDot, "550 5.7.1 spam", virgin, "defer ban"},
		{AtDot, "554 5.6.0 bad content", virgin, "pass"},
		{AtDot, "552 5.3.4 too big", "", "pass"},
	}
	for _, row := range rows {
		c := Case{Stage: row.stage, Reply: parseReply(t, row.reply), TookMail: !strings.HasSuffix(row.with, virgin), KnownGood: strings.HasSuffix(row.with, known), Named: strings.HasPrefix(row.with, named)}
		if row.with == own {
			c.Reply = c.Reply.With(smtpc.ErrUnsupported)
		}
		v := Judge(c)
		got := strings.TrimSpace(string(v.Action) + " " + string(v.Health))
		if v.Unknown {
			got += " unknown"
		}
		if got != row.want {
			t.Errorf("%s, %q, %s: %s, want %s", row.stage, row.reply, row.with, got, row.want)
		}
	}
}

// TestJudgeAlways checks what must hold for every reply: no 5xx reaches a sender that may be the primary's
// own illness, nothing is kept that the primary refused for good.
func TestJudgeAlways(t *testing.T) {
	for _, stage := range []Stage{AtConnect, AtMail, AtRcpt, AtData, AtDot} {
		for code := 200; code < 600; code++ {
			for subject := range 8 {
				for _, flags := range []int{0, 1, 2, 3} {
					c := Case{Stage: stage, KnownGood: flags&1 != 0, TookMail: flags&2 != 0}
					c.Reply = reply.Reply{Code: code, Enhanced: reply.Enhanced{code / 100, subject, 1}}
					v := Judge(c)
					if v.Unknown {
						t.Fatalf("%+v: a reply was read and yet the outcome is unknown", c)
					}
					if v.Action == Keep && stage == AtDot && !c.Reply.Transient() {
						t.Fatalf("%+v is kept although the primary decided", c)
					}
					if v.Action == Keep && c.Reply.Positive() {
						t.Fatalf("%+v is kept although the primary took it", c)
					}
					if v.Health == health.Ban && c.TookMail {
						t.Fatalf("%+v: a ban by a primary that took mail", c)
					}
					if v.Action == Defer && !c.Reply.Permanent() {
						t.Fatalf("%+v: deferred", c)
					}
					if v.Action == Defer {
						if r := deferred(c, v); !r.Transient() {
							t.Fatalf("%+v: deferred with %v", c, r)
						}
					}
				}
			}
		}
	}
}

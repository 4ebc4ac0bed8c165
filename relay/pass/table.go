package pass

import (
	"errors"

	"restante/relay/health"
	"restante/relay/reply"
	"restante/relay/smtpc"
)

// Stage is where in a transaction the primary answered, or failed to.
type Stage string

// The stages of passing one message on.
const (
	AtConnect Stage = "connect" // connect, banner, EHLO, STARTTLS
	AtOrigin  Stage = "xclient" // the primary was told who the client is, and refused it
	AtMail    Stage = "mail"
	AtRcpt    Stage = "rcpt"
	AtData    Stage = "data" // DATA, or octets of the message of which the last has not gone out
	AtDot     Stage = "dot"  // the whole message has gone out
)

// Case is one row's left side in the table.
type Case struct {
	Stage     Stage
	Reply     reply.Reply // zero: the connection failed before a reply
	KnownGood bool        // AtRcpt: the primary is known to have this recipient, or a list has it
	TookMail  bool        // the primary has taken mail from us before
	Named     bool        // the primary was told who the client is, by XCLIENT
}

// Action is what becomes of the mail.
type Action string

// The actions. Pass answers the sender with the primary's own reply. Keep goes on with the spool: the
// sender sees success if it keeps the mail. Defer answers 451 or 450 in our own words and keeps nothing.
const (
	Pass  Action = "pass"
	Keep  Action = "keep"
	Defer Action = "defer"
)

// Verdict is one row's right side.
type Verdict struct {
	Action  Action
	Health  health.Kind // what health learns, "" for nothing
	Unknown bool        // the primary may have taken the mail: if it can't be kept either, say nothing
}

// Judge is the table of replies: what a primary's reply, or its silence, becomes. It is pure.
//
//	stage    the primary's answer               | sender      | health
//	---------+----------------------------------+-------------+---------
//	any      no reply, connection lost          | keep        | lost
//	dot      no reply, connection lost          | keep, else silence | lost
//	xclient  4xx, 5xx: it is about the client   | defer       |
//	any      421; 4.3.x                         | keep        | lost
//	connect  4xx                                | keep        | lost
//	mail, data, dot  452 without enhanced code  | keep        | lost
//	any      5.7.x, but not about relaying,      | its reply   |
//	         and it was told of the client       |             |
//	any      5.7.x; connect 5xx; it never took mail | defer   | ban
//	connect  5xx, it has taken mail             | keep        | lost
//	mail     5xx                                | defer       | refusal
//	rcpt     5xx, known good                    | defer       | refusal
//	dot      2xx                                | its reply   | took
//	rest                                        | its reply   |
//
// One row has a memory, see Handler.doubt: a recipient known good that the primary keeps refusing for a
// day while it takes other mail is believed to be gone, and the refusal is passed on.
//
// Two replies to MAIL are about the mail alone and passed on: 5.3.4, too big, and what smtpc itself
// answers when the primary doesn't offer what the mail needs.
func Judge(c Case) Verdict {
	r := c.Reply
	switch {
	case r.IsZero():
		return Verdict{Action: Keep, Health: health.Lost, Unknown: c.Stage == AtDot}
	case errors.Is(r.Cause, smtpc.ErrUnsupported):
		return Verdict{Action: Pass}
	case r.Positive() || r.Intermediate():
		if c.Stage == AtDot {
			return Verdict{Action: Pass, Health: health.Took}
		}
		return Verdict{Action: Pass}
	case c.Stage == AtOrigin:
		return Verdict{Action: Defer}
	case health.Failing(r), c.Stage == AtConnect && r.Transient(), fullDisk(c):
		return Verdict{Action: Keep, Health: health.Lost}
	case !r.Permanent():
		return Verdict{Action: Pass}
	case c.Named && health.AboutClient(r):
		return Verdict{Action: Pass}
	case !c.TookMail && (health.Banned(r) || c.Stage == AtConnect):
		return Verdict{Action: Defer, Health: health.Ban}
	case c.Stage == AtConnect:
		return Verdict{Action: Keep, Health: health.Lost}
	case c.Stage == AtMail && r.Enhanced != tooBig:
		return Verdict{Action: Defer, Health: health.Refusal}
	case c.Stage == AtRcpt && c.KnownGood:
		return Verdict{Action: Defer, Health: health.Refusal}
	}
	return Verdict{Action: Pass}
}

// fullDisk reports a 452 without an enhanced code, "insufficient system storage" (RFC 5321 4.2.3). At RCPT
// the same code may mean too many recipients and is passed on.
func fullDisk(c Case) bool {
	return c.Reply.Code == 452 && c.Reply.Enhanced == (reply.Enhanced{}) && c.Stage != AtRcpt
}

// Our own replies. Those to the sender of mail that can't be taken now say so in a word or two; why is in
// the log.
var (
	tooBig = reply.Enhanced{5, 3, 4}

	later        = reply.Enhanced{4, 3, 0}
	noSpace      = reply.Enhanced{4, 3, 1}
	otherWay     = reply.Enhanced{4, 5, 3}
	noRelay      = reply.Enhanced{5, 7, 1}
	noSuchUser   = reply.Enhanced{5, 1, 1}
	maybeUser    = reply.Enhanced{4, 1, 1}
	noUTF8       = reply.Enhanced{5, 6, 7}
	needsTLS     = reply.Enhanced{5, 7, 30}
	refusedLater = reply.Enhanced{4, 7, 1}
)

// deferred is what the sender gets when the table says Defer.
func deferred(c Case, v Verdict) reply.Reply {
	if v.Health == health.Ban {
		return reply.New(451, refusedLater, "The primary server refuses mail from here, try it or come back later")
	}
	if c.Stage == AtOrigin {
		return reply.New(451, refusedLater, "The primary server refuses this client, try it or come back later")
	}
	if c.Stage == AtRcpt {
		return reply.New(451, reply.Enhanced{4, 2, 0}, "The primary server doubts a recipient that it had, try again later")
	}
	return reply.New(451, later, "The primary server takes no such mail at the moment, try again later")
}

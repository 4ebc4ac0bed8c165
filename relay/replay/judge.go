package replay

import (
	"errors"

	"restante/relay/replay/pace"
	"restante/relay/reply"
	"restante/relay/smtpc"
)

// fate is what one attempt means for one pair.
type fate uint8

const (
	fateDelivered fate = iota
	fateDeferred       // 4xx
	fateRefused        // 5xx
	fateUnfit          // can't be sent to this primary: our own verdict
	fateAgain          // only too many recipients: at once, in a next transaction
	fateLost           // the connection was lost with this message under way
	fateUnknown        // ... after the final dot: nobody knows whether it was taken
	fateUnsent         // through no fault of its own: at once
	fateTurned         // 421 on a fresh connection: as well, but the primary isn't ready for us
)

// String is the word for metrics and progress.
func (f fate) String() string {
	return [...]string{"delivered", "deferred", "refused", "unfit", "again", "lost", "unknown", "unsent", "turned away"}[f]
}

// verdict is the fate of one pair with the reply behind it.
type verdict struct {
	fate  fate
	reply reply.Reply // zero where none was read
	dot   bool        // the reply is to the message itself, not to its envelope
}

// judge says what a result means for the pairs of a transaction, which are its recipients in order.
// reused: other results were read on this connection before; the primary may have had enough of it, or
// closed it while it was idle, and the message isn't to blame for that.
func judge(res *smtpc.Result, n int, reused bool) []verdict {
	vs := make([]verdict, n)
	broken := brokenAs(res, reused)
	rest := res.Rest()
	for i := range vs {
		var rcpt reply.Reply
		if i < len(res.Rcpts) {
			rcpt = res.Rcpts[i]
		}
		switch {
		case res.Mail.Refuses():
			vs[i] = byReply(res.Mail, broken)
		case rcpt.Refuses():
			vs[i] = byReply(rcpt, broken)
		case !rcpt.IsZero() && res.Dot.Positive():
			vs[i] = verdict{fate: fateDelivered, reply: res.Dot, dot: true}
		case !rcpt.IsZero() && !res.Dot.IsZero():
			// 421 here is an answer to the message: it was not taken.
			vs[i] = byReply(res.Dot, fateDeferred)
			vs[i].dot = true
		case res.Sent:
			vs[i] = verdict{fate: fateUnknown}
		default:
			vs[i] = verdict{fate: broken}
		}
	}
	for _, i := range rest {
		if i < n {
			vs[i].fate = fateAgain
		}
	}
	return vs
}

// byReply is the fate by a reply that isn't 2xx; closing is the fate for 421, which says nothing of
// the message.
func byReply(r reply.Reply, closing fate) verdict {
	switch {
	case errors.Is(r.Cause, smtpc.ErrUnsupported):
		return verdict{fate: fateUnfit, reply: r}
	case r.Code == 421:
		return verdict{fate: closing, reply: r}
	case r.Permanent():
		return verdict{fate: fateRefused, reply: r}
	default:
		return verdict{fate: fateDeferred, reply: r}
	}
}

// brokenAs is the fate of pairs for which no reply was read.
func brokenAs(res *smtpc.Result, reused bool) fate {
	var e *smtpc.Error
	switch {
	case errors.Is(res.Err, smtpc.ErrUnused), errors.Is(res.Err, smtpc.ErrAborted), errors.Is(res.Err, smtpc.ErrUnsupported):
		// The last: this connection has spoken for somebody else, see smtpc.Conn.XClient. A new one hasn't.
		return fateUnsent
	case errors.Is(res.Err, smtpc.ErrSource):
		return fateDeferred
	case errors.As(res.Err, &e) && e.AboutClient():
		return fateDeferred // also 421: the next message comes from somebody else
	case errors.As(res.Err, &e) && e.Reply.Code == 421, res.Err == nil && res.Mail.Code == 421:
		// The primary takes so many messages a connection, or is being stopped.
		if reused {
			return fateUnsent
		}
		return fateTurned
	case reused && res.Mail.IsZero() && !res.Sent:
		return fateUnsent // it was closed before anything of this message was answered
	default:
		return fateLost
	}
}

// outcome is what a transaction means for the pace.
func outcome(vs []verdict) pace.Outcome {
	o := pace.Unsent
	rank := func(p pace.Outcome) int {
		return [...]int{pace.Unsent: 0, pace.Refused: 1, pace.Deferred: 2, pace.Lost: 3, pace.Accepted: 4}[p]
	}
	for _, v := range vs {
		p := pace.Unsent
		switch v.fate {
		case fateDelivered:
			p = pace.Accepted
		case fateDeferred:
			p = pace.Deferred
		case fateRefused:
			p = pace.Refused
		case fateLost, fateUnknown, fateTurned:
			p = pace.Lost
		}
		if rank(p) > rank(o) {
			o = p
		}
	}
	return o
}

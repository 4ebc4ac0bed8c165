package replay

import (
	"errors"
	"fmt"
	"testing"

	"restante/relay/replay/pace"
	"restante/relay/reply"
	"restante/relay/smtpc"
)

func TestJudge(t *testing.T) {
	ok := reply.New(250, reply.Enhanced{2, 0, 0}, "ok")
	no := reply.New(550, reply.Enhanced{5, 1, 1}, "no such user")
	later := reply.New(450, reply.Enhanced{4, 2, 1}, "later")
	full := reply.New(452, reply.Enhanced{4, 5, 3}, "too many")
	closing := reply.New(421, reply.Enhanced{4, 7, 0}, "enough")
	unfit := reply.New(552, reply.Enhanced{5, 3, 4}, "too large").With(smtpc.ErrUnsupported)
	lost := &smtpc.Error{Stage: smtpc.StageMessage, Err: smtpc.ErrClosed}
	unknown := &smtpc.Error{Stage: smtpc.StageDot, Err: smtpc.ErrTimeout}
	turned := &smtpc.Error{Stage: smtpc.StageMail, Reply: closing}
	client := func(r reply.Reply) *smtpc.Error { return &smtpc.Error{Stage: smtpc.StageXClient, Reply: r} }
	rs := func(r ...reply.Reply) []reply.Reply { return r }
	for _, c := range []struct {
		name   string
		res    smtpc.Result
		reused bool
		want   string
		pace   pace.Outcome
	}{
		{"taken", smtpc.Result{Mail: ok, Rcpts: rs(ok, ok), Dot: ok, Sent: true}, false, "[delivered delivered]", pace.Accepted},
		{"one refused", smtpc.Result{Mail: ok, Rcpts: rs(no, ok), Dot: ok, Sent: true}, false, "[refused delivered]", pace.Accepted},
		{"one later, one refused", smtpc.Result{Mail: ok, Rcpts: rs(no, later)}, false, "[refused deferred]", pace.Deferred},
		{"all refused", smtpc.Result{Mail: ok, Rcpts: rs(no, no)}, false, "[refused refused]", pace.Refused},
		{"too many recipients", smtpc.Result{Mail: ok, Rcpts: rs(ok, full), Dot: ok, Sent: true}, false, "[delivered again]", pace.Accepted},
		{"452 to all", smtpc.Result{Mail: ok, Rcpts: rs(full, full)}, false, "[deferred deferred]", pace.Deferred},
		{"refused at the dot", smtpc.Result{Mail: ok, Rcpts: rs(ok, ok), Dot: no, Sent: true}, false, "[refused refused]", pace.Refused},
		{"later at the dot", smtpc.Result{Mail: ok, Rcpts: rs(ok, no), Dot: later, Sent: true}, false, "[deferred refused]", pace.Deferred},
		{"421 to the dot is an answer", smtpc.Result{Mail: ok, Rcpts: rs(ok, ok), Dot: closing, Sent: true, Err: turned}, false, "[deferred deferred]", pace.Deferred},
		{"MAIL refused", smtpc.Result{Mail: no, Rcpts: rs(reply.Reply{}, reply.Reply{})}, false, "[refused refused]", pace.Refused},
		{"doesn't fit", smtpc.Result{Mail: unfit, Rcpts: rs(reply.Reply{}, reply.Reply{})}, false, "[unfit unfit]", pace.Unsent},
		{"lost in the message", smtpc.Result{Mail: ok, Rcpts: rs(ok, no), Err: lost}, true, "[lost refused]", pace.Lost},
		{"lost before a word, on a fresh connection", smtpc.Result{Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: lost}, false, "[lost lost]", pace.Lost},
		{"lost before a word, on a used one", smtpc.Result{Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: lost}, true, "[unsent unsent]", pace.Unsent},
		{"unknown", smtpc.Result{Mail: ok, Rcpts: rs(ok, no), Sent: true, Err: unknown}, true, "[unknown refused]", pace.Lost},
		{"unknown, and given up by us", smtpc.Result{Mail: ok, Rcpts: rs(ok, ok), Sent: true, Err: fmt.Errorf("x: %w", smtpc.ErrAborted)}, true, "[unknown unknown]", pace.Lost},
		{"given up by us", smtpc.Result{Mail: ok, Rcpts: rs(ok, ok), Err: fmt.Errorf("x: %w", smtpc.ErrAborted)}, false, "[unsent unsent]", pace.Unsent},
		{"not its turn", smtpc.Result{Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: fmt.Errorf("x: %w", smtpc.ErrUnused)}, false, "[unsent unsent]", pace.Unsent},
		{"enough for one connection", smtpc.Result{Mail: closing, Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: turned}, true, "[unsent unsent]", pace.Unsent},
		{"421 to the first", smtpc.Result{Mail: closing, Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: turned}, false, "[turned away turned away]", pace.Lost},
		{"421 to RCPT", smtpc.Result{Mail: ok, Rcpts: rs(ok, closing), Err: turned}, true, "[unsent unsent]", pace.Unsent},
		{"its client refused", smtpc.Result{Mail: no, Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: client(no)}, false, "[refused refused]", pace.Refused},
		{"its client refused for now, and the connection closed", smtpc.Result{Mail: closing, Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: client(closing)}, true, "[deferred deferred]", pace.Deferred},
		{"needs another connection", smtpc.Result{Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: &smtpc.Error{Stage: smtpc.StageXClient, Err: smtpc.ErrUnsupported}}, false, "[unsent unsent]", pace.Unsent},
		{"lost at XCLIENT", smtpc.Result{Rcpts: rs(reply.Reply{}, reply.Reply{}), Err: &smtpc.Error{Stage: smtpc.StageXClient, Err: smtpc.ErrClosed}}, true, "[unsent unsent]", pace.Unsent},
		{"can't be read", smtpc.Result{Mail: ok, Rcpts: rs(ok, ok), Err: errors.Join(smtpc.ErrSource)}, false, "[deferred deferred]", pace.Deferred},
	} {
		t.Run(c.name, func(t *testing.T) {
			vs := judge(&c.res, 2, c.reused)
			got := fmt.Sprint([]fate{vs[0].fate, vs[1].fate})
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if o := outcome(vs); o != c.pace {
				t.Errorf("pace %d, want %d", o, c.pace)
			}
		})
	}
}

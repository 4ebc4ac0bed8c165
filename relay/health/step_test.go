package health

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// seen reads an observation from a word: kind, then +pending, +alone, +probe, +replay.
func seen(t testing.TB, word string) Observation {
	parts := strings.Split(word, "+")
	o := Observation{Kind: Kind(parts[0])}
	for _, p := range parts[1:] {
		switch p {
		case "pending":
			o.Pending = true
		case "alone":
			o.Alone = true
		case "probe":
			o.Probe = true
		case "replay":
			o.Replay = true
		default:
			t.Fatalf("unknown word %q", p)
		}
	}
	return o
}

// TestStep walks sequences of observations a second apart: what was seen, and the state after it.
func TestStep(t *testing.T) {
	tests := []struct {
		name string
		took bool // it took mail before
		from State
		walk string // observation:state, ...
	}{
		{"the first probe decides", false, Suspect, "good+probe:up"},
		{"kept mail goes first", false, Suspect, "good+probe+pending:recovering took+replay:up"},
		{"down after three probes", true, Up, "lost:suspect lost+probe:suspect lost+probe:suspect lost+probe:down lost+probe:down"},
		{"a probe may see it first", true, Up, "lost+probe:suspect lost+probe:suspect lost+probe:down"},
		{"a burst of sessions is one failure", true, Up, "lost:suspect lost:suspect lost:suspect lost:suspect lost:suspect"},
		{"a hiccup", true, Up, "lost:suspect good+probe:up"},
		{"a hiccup starts counting anew", true, Up, "lost:suspect lost+probe:suspect good+probe:up lost:suspect lost+probe:suspect lost+probe:suspect lost+probe:down"},
		{"a hiccup that left mail", true, Up, "lost:suspect good+probe+pending:recovering took+replay:up"},
		{"down and back", true, Down, "good+probe+pending:recovering good+probe+pending:recovering took+replay:up"},
		{"down and back, nothing kept", true, Down, "good+probe:up"},
		{"the rest is removed by hand", true, Down, "good+probe+pending:recovering empty:up"},
		{"the rest is parked", true, Down, "good+probe+pending:recovering good+probe:up"},
		{"an old session's message proves little", true, Recovering, "took:recovering took+replay:up"},
		{"taking mail doesn't replace the probe", true, Down, "took:down took+replay:down"},
		{"taking mail doesn't replace the probe 2", true, Suspect, "took:suspect good+probe:up"},
		{"the canary dies, again and again", true, Up, "lost:suspect good+probe+pending:recovering lost:suspect good+probe+pending:recovering lost:suspect good+probe+pending:recovering lost:down good+probe+pending:recovering lost:down good+probe+pending:recovering took+replay:up"},
		{"known recipients are refused", true, Up, "refusal:up refusal:up refusal:suspect good+probe:up"},
		{"refusals between taken mail are the mail's own", true, Up, "refusal:up refusal:up took:up refusal:up refusal:up took:up refusal:up"},
		{"probes don't excuse refusals", true, Up, "refusal:up good+probe:up refusal:up good+probe:up refusal:suspect"},
		{"half-restored: refuses the kept mail too", true, Recovering, "refusal:recovering refusal:recovering refusal:suspect"},
		{"refusals while down change nothing", true, Down, "refusal:down refusal:down refusal:down ban:down"},
		{"a ban from the first", false, Up, "ban+probe:refuses-us ban+probe:refuses-us good+probe:up"},
		{"a ban that a probe can't see", false, Up, "ban:refuses-us good+probe:refuses-us good+probe:refuses-us lost+probe:suspect"},
		{"a ban that a probe sees too", false, Up, "ban:refuses-us good+probe:refuses-us ban+probe:refuses-us good+probe:up"},
		{"a ban that it forgot", false, Up, "ban:refuses-us took:refuses-us good+probe:up"},
		{"a ban seen by a probe at start", false, Suspect, "ban+probe:refuses-us"},
		{"a ban while kept mail waits", false, Recovering, "ban+probe:refuses-us good+probe+pending:recovering"},
		{"one that took mail doesn't ban, it is ill", true, Up, "ban:up ban:up ban:suspect"},
		{"one that took mail and bans probes is ill", true, Up, "ban+probe:suspect ban+probe:suspect ban+probe:down"},
		{"having taken mail is kept in mind", false, Up, "took:up ban:up"},
		{"a relapse, then dead", true, Recovering, "lost:suspect lost+probe:suspect lost+probe:suspect lost+probe:down"},
		{"a ban, then dead", false, RefusesUs, "lost+probe:suspect lost+probe:suspect lost+probe:down"},
		{"taking mail doesn't end a ban", false, RefusesUs, "took:refuses-us good+probe:up"},
		{"our own line", true, Up, "lost+probe+alone:suspect lost+probe+alone:suspect lost+probe+alone:isolated lost+probe+alone:isolated good+probe+pending:recovering took+replay:up"},
		{"our own line, and then the primary", true, Isolated, "lost+probe:down"},
		{"our own line is back", true, Isolated, "good+probe:up"},
		{"isolated ignores sessions", true, Isolated, "refusal:isolated ban:isolated took:isolated"},
		{"the line was the cause after all", true, Suspect, "lost+probe:suspect lost+probe:suspect lost+probe:down lost+probe+alone:isolated"},
		{"a declaration ended, mail waits", true, Up, "ended+pending:recovering took+replay:up"},
		{"a declaration ended, nothing waits", true, Up, "ended:up"},
		{"a declaration ended, but it is down indeed", true, Down, "ended+pending:down"},
		{"empty means nothing elsewhere", true, Up, "empty:up lost:suspect empty:suspect lost+probe:suspect lost+probe:suspect lost+probe:down empty:down"},
		{"an unknown kind changes nothing", true, Up, "nonsense:up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Record{State: tt.from, Since: t0, TookMail: tt.took}
			if tt.from == Down {
				r.DownSince = t0.Add(-time.Hour)
			}
			now := t0
			for i, w := range strings.Fields(tt.walk) {
				what, want, _ := strings.Cut(w, ":")
				now = now.Add(time.Second)
				before := r
				r = Step(r, seen(t, what), now)
				if r.State != State(want) {
					t.Fatalf("step %d, %s: %s -> %s, want %s", i+1, what, before.State, r.State, want)
				}
				if changed := r.State != before.State; changed != r.Since.Equal(now) {
					t.Fatalf("step %d, %s: since %v at %v, state changed: %v", i+1, what, r.Since, now, changed)
				}
			}
		})
	}
}

func TestStepLateLine(t *testing.T) {
	r := Record{State: Down, DownSince: t0}
	if got := Step(r, Observation{Kind: Lost, Probe: true, Alone: true}, t0.Add(2*time.Minute)); got.State != Down {
		t.Errorf("two minutes after it counted as down it is %s, want down: the primary went first", got.State)
	}
}

func TestBanHold(t *testing.T) {
	r, now := Record{State: Up}, t0
	var holds []time.Duration
	for range 6 {
		r = Step(r, Observation{Kind: Ban}, now)
		begun := now
		for r.State == RefusesUs {
			now = now.Add(10 * time.Second)
			r = Step(r, Observation{Kind: Good, Probe: true}, now)
		}
		holds = append(holds, now.Sub(begun))
	}
	if got := fmt.Sprint(holds); got != "[1m0s 2m0s 4m0s 8m0s 15m0s 15m0s]" {
		t.Errorf("put off for %s", got)
	}
}

func TestDownSince(t *testing.T) {
	r := Record{State: Up, TookMail: true}
	at := func(i int) time.Time { return t0.Add(time.Duration(i) * time.Second) }
	for i := range 3 {
		r = Step(r, Observation{Kind: Lost, Probe: true, Reason: "x", Reply: "421 y"}, at(i))
	}
	if r.DownSince != at(2) || r.Reason != "x" || r.Reply != "421 y" {
		t.Fatalf("down: %+v", r)
	}
	r = Step(r, Observation{Kind: Good, Pending: true, Host: "h"}, at(3))
	r = Step(r, Observation{Kind: Lost}, at(4))
	if r.State != Down || r.DownSince != at(2) {
		t.Fatalf("relapse: %+v, want the same failure", r)
	}
	r = Step(r, Observation{Kind: Good}, at(5))
	if r.State != Up || !r.DownSince.IsZero() || r.Reason != "" || r.Reply != "" || r.Failures+r.Refusals+r.Relapses != 0 || r.Host != "h" {
		t.Fatalf("up: %+v, want all traces of the failure gone", r)
	}
}

// TestStepAlways checks what must hold whatever is seen.
func TestStepAlways(t *testing.T) {
	kinds := []Kind{Good, Lost, Refusal, Ban, Took, Empty, Ended}
	states := []State{Up, Suspect, Down, Recovering, RefusesUs, Isolated}
	rapid.Check(t, func(t *rapid.T) {
		now := t0
		r := Record{State: rapid.SampledFrom(states).Draw(t, "from"), TookMail: rapid.Bool().Draw(t, "took")}
		for i := range rapid.IntRange(1, 40).Draw(t, "n") {
			o := Observation{
				Kind: rapid.SampledFrom(kinds).Draw(t, fmt.Sprint("kind", i)), Pending: rapid.Bool().Draw(t, "pending"),
				Alone: rapid.Bool().Draw(t, "alone"), Probe: rapid.Bool().Draw(t, "probe"), Replay: rapid.Bool().Draw(t, "replay"),
			}
			now = now.Add(time.Second)
			before := r
			r = Step(r, o, now)
			if r.State == Up && before.State != Up {
				switch {
				case o.Kind == Good && !o.Pending:
				case before.State == Recovering && (o.Kind == Empty || o.Kind == Took && o.Replay):
				default:
					t.Fatalf("%s -> up by %+v: mail would pass while kept mail hasn't gone through", before.State, o)
				}
			}
			if r.State == RefusesUs && r.TookMail && before.State != RefusesUs {
				t.Fatalf("refuses-us although it took mail: %+v", o)
			}
			if r.State == Down && before.State != Down && r.DownSince.IsZero() {
				t.Fatalf("down since never")
			}
			if before.TookMail && !r.TookMail {
				t.Fatal("forgot that it took mail")
			}
			// Three good probes with nothing pending end every state.
			x := Step(r, Observation{Kind: Good, Probe: true}, now.Add(maxBanHold))
			if x.State != Up {
				t.Fatalf("%s stays %s after a good probe with nothing pending", r.State, x.State)
			}
		}
	})
}

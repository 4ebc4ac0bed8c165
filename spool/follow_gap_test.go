package spool

import (
	"testing"
	"time"

	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// TestDeletedAhead: when retention has deleted another node's batch that was not read yet, what follows it is read all the
// same: at once when the event comes, in Sync, and in a few hours without either.
func TestDeletedAhead(t *testing.T) {
	for name, heal := range map[string]func(t *testing.T, a, b *Spool, key string){
		"event": func(t *testing.T, a, _ *Spool, key string) {
			if err := a.Record(t.Context(), Event{Type: BatchDeleted, Batch: key}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
		},
		"sync": func(t *testing.T, _, b *Spool, _ string) {
			if err := b.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"list": func(*testing.T, *Spool, *Spool, string) { time.Sleep(3 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			twoNodes(t, func(t *testing.T, store *mem.Store, faults [2]*wrap.Fault, nodes [2]*Spool, folds [2]*sinkFold) {
				send := func() *letter {
					l := newLetter(50)
					if err := l.send(nodes[0]); err != nil {
						t.Fatal(err)
					}
					return l
				}
				knows := func(l *letter) bool {
					folds[1].mu.Lock()
					defer folds[1].mu.Unlock()
					_, ok := folds[1].mail[l.entry.ID]
					return ok
				}
				first := send()
				if err := nodes[0].Record(t.Context(), Event{Type: Learned}); err != nil {
					t.Fatal(err)
				}
				if err := nodes[1].Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
				faults[1].SetDown(wrap.ErrDown)
				id, pos, _ := nodes[0].mail.streams()[0].position()
				send()
				after := send()
				if err := store.Delete(t.Context(), id.Key(pos.Seq)); err != nil {
					t.Fatal(err)
				}
				faults[1].SetDown(nil)
				time.Sleep(2 * time.Minute)
				if !knows(first) || knows(after) {
					t.Fatal("nothing to heal")
				}
				heal(t, nodes[0], nodes[1], id.Key(pos.Seq))
				if !knows(after) {
					t.Error("what follows a deleted batch is not known")
				}
				last := send()
				time.Sleep(2 * time.Minute)
				if !knows(last) {
					t.Error("the stream isn't followed any more")
				}
			})
		})
	}
}

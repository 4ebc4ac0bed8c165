package pass

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"restante/relay/mailaddr"
	"restante/spool"
)

// TestLearnsNoMoreThanPeople: a primary that takes any address teaches a bounded number of them, since nothing learned is ever forgotten; those
// beyond are learned on another day.
func TestLearnsNoMoreThanPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		h, err := New(Options{Domains: []Domain{{Name: domA}, {Name: domB}}, Spool: &fakeSpool{}, Primaries: &fakePrimaries{}, Known: knownMap{},
			Note: func(evs ...spool.Event) { n += len(evs) }})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		mail := func(i int, domain string) {
			a := mailaddr.Address{Local: fmt.Sprintf("u%d", i), Domain: domain}
			h.learn(t.Context(), []recipient{{addr: a, key: a.Key(), Recipient: spool.Recipient{Address: a.String(), Domain: domain}}})
		}
		for i := range 3 * maxFresh {
			mail(i, domA)
		}
		if n != maxFresh {
			t.Errorf("learned %d", n)
		}
		mail(1, domB)
		if n != maxFresh+1 {
			t.Error("another domain's are not learned")
		}
		time.Sleep(25 * time.Hour)
		mail(2*maxFresh, domA)
		if n != maxFresh+2 {
			t.Error("nothing is learned on another day")
		}
	})
}

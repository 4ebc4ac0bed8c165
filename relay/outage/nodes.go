package outage

import (
	"context"
	"time"

	"restante/spool"
)

// dataNode is the key under which an OutageOpened event names the node that wrote it.
const dataNode = "node"

func (k *Keeper) nodeData() map[string]any {
	if k.o.Node == "" {
		return nil
	}
	return map[string]any{dataNode: k.o.Node}
}

// mine reports that an open outage was opened by this node, or by nobody knows whom; else when the node that did
// was last heard of.
func (k *Keeper) mine(ctx context.Context, domain, id string) (mine bool, last time.Time, err error) {
	k.mu.Lock()
	mine = k.ours[domain] == id
	k.mu.Unlock()
	if mine {
		return true, time.Time{}, nil
	}
	ev, ok, err := k.o.Index.OutageOpened(ctx, domain)
	if err != nil {
		return false, time.Time{}, err
	}
	node := ev.Data[dataNode]
	return !ok || ev.Outage != id || node == nil || node == k.o.Node, ev.Time, nil
}

// renew says of the outages that this node opened that it is still there.
func (k *Keeper) renew(ctx context.Context) error {
	if k.o.Node == "" {
		return nil
	}
	for _, d := range k.o.Health.Domains() {
		id, open := k.Outage(d)
		k.mu.Lock()
		due := open && time.Since(k.renewed[d]) >= renewEvery
		k.mu.Unlock()
		if !due {
			continue
		}
		mine, _, err := k.mine(ctx, d, id)
		if err != nil {
			return err
		}
		if !mine {
			continue
		}
		k.mu.Lock()
		k.renewed[d] = time.Now()
		k.mu.Unlock()
		k.o.Ledger.Note(spool.Event{Type: spool.OutageOpened, By: "health", Domain: d, Outage: id, Reason: "still open", Data: k.nodeData()})
	}
	return nil
}

package index

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"restante/spool"
	"restante/spool/table"
)

// Kinds of flags: of each kind and key the latest event stands.
const (
	flagDeclare = "declare" // key: domain or address
	flagPause   = "pause"   // key: domain
	flagOffers  = "offers"  // key: domain
	flagOutage  = "outage"  // key: domain
	flagSecret  = "secret"  // key: name
	flagNotice  = "notice"  // key: domain, "" for all
	flagListed  = "listed"  // key: domain and source
)

// flagEvent applies an event that is not about an entry. Each rule is one that doesn't depend on the
// order: the earliest opening, the latest close, the last writer, a set that only grows.
func (t *txn) flagEvent(ev *spool.Event, id key) error {
	t.changed = true
	switch ev.Type {
	case spool.OutageOpened, spool.OutageClosed:
		if ev.Domain == spool.Smarthost {
			return nil // what goes out by a smarthost waits for no primary
		}
	}
	switch ev.Type {
	case spool.OutageOpened:
		if err := t.flag(flagOutage, ev.Domain, ev, id); err != nil {
			return err
		}
		return t.outageOpened(ev)
	case spool.OutageClosed:
		return t.outageClosed(ev)
	case spool.Declared, spool.DeclareEnded:
		k := ev.Domain
		if ev.Address != "" {
			k = addressKey(ev.Address)
		}
		return t.flag(flagDeclare, k, ev, id)
	case spool.ReplayPaused, spool.ReplayResumed:
		return t.flag(flagPause, ev.Domain, ev, id)
	case spool.Offered:
		return t.flag(flagOffers, ev.Domain, ev, id)
	case spool.SecretKept:
		return t.flag(flagSecret, ev.Address, ev, id)
	case spool.NoticeSet:
		return t.flag(flagNotice, ev.Domain, ev, id)
	case spool.Learned:
		return t.know(addressKey(ev.Address), ev.Domain)
	case spool.RecipientsChanged:
		return t.recipients(ev, id)
	case spool.RecipientsListed:
		return t.flag(flagListed, listedKey(ev), ev, id)
	case spool.BatchDeleted:
		t.gone = append(t.gone, ev)
		return nil
	}
	t.x.log.Debug("an event of an unknown type is passed over", "type", ev.Type, "id", ev.ID)
	return nil
}

// flag keeps the event if it is later than the one that stands.
func (t *txn) flag(kind, k string, ev *spool.Event, id key) error {
	var ns int64
	var old []byte
	s, err := t.x.db.Stmt(t.ctx, "SELECT time, id FROM flag WHERE kind=? AND key=?")
	if err != nil {
		return err
	}
	err = s.QueryRowContext(t.ctx, kind, k).Scan(&ns, &old)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	at := ev.Time.UnixNano()
	if err == nil && (ns > at || ns == at && bytes.Compare(old, id[:]) >= 0) {
		return nil
	}
	raw, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	_, err = t.x.db.Result(t.ctx, "INSERT OR REPLACE INTO flag VALUES(?,?,?,?,?,?)", kind, k, string(ev.Type), at, id[:], raw)
	return err
}

// know notes that the primary takes mail for the address.
func (t *txn) know(address, domain string) error {
	if address == "" {
		return nil
	}
	if domain == "" {
		domain = domainOf(address)
	}
	mark := domain + "\x00" + address
	if _, ok := t.st.known[mark]; ok {
		return nil
	}
	if len(t.st.known) >= knownCache {
		clear(t.st.known)
	}
	t.st.known[mark] = struct{}{}
	_, err := t.x.db.Result(t.ctx, "INSERT OR IGNORE INTO known(domain,address) VALUES(?,?)", domain, address)
	return err
}

// move says what an outage event of this transaction may have changed for pairs that were there before.
type move struct {
	opened   bool  // it takes pairs that are in no outage
	closedAt int64 // pairs received from then on are no longer its own; 0: no close
	all      bool  // it changed between others: every pair of the domain is looked at
}

func (t *txn) move(o *outage) *move {
	m := t.moved[o]
	if m == nil {
		m = &move{}
		t.moved[o] = m
	}
	o.dirty = true
	return m
}

// outageRow returns the outage with that id, making it, not opened, if need be.
func (t *txn) outageRow(id, domain string) (*outage, error) {
	d, err := t.domain(domain)
	if err != nil {
		return nil, err
	}
	if o := t.st.outages[id]; o != nil {
		return o, nil
	}
	res, err := t.x.db.Result(t.ctx, "INSERT INTO outage(id,domain,opened,closed,reason,messages,octets,first,last,gfirst,glast) VALUES(?,?,0,0,'',0,0,0,0,0,0)", id, d)
	if err != nil {
		return nil, err
	}
	o := &outage{id: id, domain: d}
	if o.n, err = res.LastInsertId(); err != nil {
		return nil, err
	}
	t.st.outages[id], t.st.byN[o.n] = o, o
	return o, nil
}

func (t *txn) outageOpened(ev *spool.Event) error {
	o, err := t.outageRow(ev.Outage, ev.Domain)
	if err != nil {
		return err
	}
	at := openedAt(ev).UnixNano()
	if o.opened != 0 && (o.opened < at || o.opened == at && o.reason <= ev.Reason) {
		return nil // two nodes may open the same one: the earlier stands
	}
	if d := t.st.domains[ev.Domain]; o.domain != d {
		o.domain = d // it was made by a close that named no domain
	}
	m := t.move(o)
	m.opened = true
	m.all = m.all || o.opened != 0
	o.opened, o.reason = at, ev.Reason
	t.st.retime(o.domain)
	if list := t.st.lines[o.domain].list; list[len(list)-1] != o {
		m.all = true
	}
	return nil
}

// openedAt is when an outage began: when the event says so, or before, by its Data, where mail had been kept already.
func openedAt(ev *spool.Event) time.Time {
	s, _ := ev.Data[spool.OutageSince].(string)
	since, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || since.After(ev.Time) || ev.Time.Sub(since) > spool.MaxOutageSince {
		return ev.Time
	}
	return since
}

func (t *txn) outageClosed(ev *spool.Event) error {
	o, err := t.outageRow(ev.Outage, ev.Domain)
	if err != nil {
		return err
	}
	at := ev.Time.UnixNano()
	if o.closed >= at {
		return nil
	}
	m := t.move(o)
	m.closedAt = at
	list := t.st.lines[o.domain].list
	m.all = m.all || o.closed != 0 || (o.opened != 0 && list[len(list)-1] != o)
	o.closed = at
	if o.opened != 0 {
		t.st.retime(o.domain)
	}
	return nil
}

// reassign looks again at the pairs that the outage events of this transaction may have moved. All
// that this transaction wrote itself was assigned with those events known.
func (t *txn) reassign() error {
	const fields = "SELECT " + scanned + " FROM pair p "
	for o, m := range t.moved {
		if o.opened == 0 {
			continue
		}
		var err error
		if m.all {
			err = t.rescan(fields+"WHERE domain=? AND entry>=? ORDER BY entry, rcpt LIMIT 5000", o.domain, key{})
		} else {
			if m.opened {
				err = t.rescan(fields+"WHERE outage=0 AND domain=? AND entry>=? ORDER BY entry, rcpt LIMIT 5000", o.domain, key{})
			}
			if err == nil && m.closedAt != 0 {
				err = t.rescan(fields+"WHERE +domain=? AND entry>=? ORDER BY entry, rcpt LIMIT 5000", o.domain, lowest(m.closedAt))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rescan assigns the pairs of a query anew, a few thousand at a time. A page begins with the entry
// that the one before ended with, since that may have been cut.
func (t *txn) rescan(query string, domain int64, from key) error {
	for {
		var rows []*pairRow
		s, err := t.x.db.Stmt(t.ctx, query)
		if err != nil {
			return err
		}
		res, err := s.QueryContext(t.ctx, domain, from[:])
		if err != nil {
			return err
		}
		kept := t.pairs
		t.pairs = map[pairKey]*pairRow{}
		err = table.Drain(res, t.scanPair)
		for _, p := range t.pairs {
			rows = append(rows, p)
			if p.entry.Compare(from) > 0 {
				from = p.entry
			}
		}
		t.pairs = kept
		if err != nil {
			return err
		}
		for _, p := range rows {
			if err := t.reassignPair(p); err != nil {
				return err
			}
		}
		if len(rows) < 5000 {
			return nil
		}
	}
}

func (t *txn) reassignPair(p *pairRow) error {
	var n int64
	if o := t.st.lines[p.domain].assign(receivedAt(p.entry), p.s.state, p.s.ended); o != nil {
		n = o.n
	}
	if n == p.outage {
		return nil
	}
	p.outage = n
	t.account(p)
	_, err := t.x.db.Result(t.ctx, "UPDATE pair SET outage=? WHERE entry=? AND rcpt=?", n, p.entry.Bytes(), int64(p.rcpt))
	return err
}

func when(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

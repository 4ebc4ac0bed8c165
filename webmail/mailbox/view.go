package mailbox

import (
	"container/list"
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync"

	"restante/spool/table"
)

// A view is the places of all messages of one box, in memory, by id, which is by time. Lists, counts and neighbours are found by
// walking it, 1 to 2 ms for 100,000 messages; what is shown of them is then read from the file. It is read from the file
// when a box is first asked for and kept up to date by the ops of each transaction, until others need the room.

// row is one message in a view.
type row struct {
	id      key
	n       int64
	thread  int64
	visible int64 // ns; not shown before
	role    uint8
	bits    uint8 // 1<<markSeen, ...
}

func (r *row) is(mark int) bool { return r.bits&(1<<mark) != 0 }

// folder is what a message is, whatever its flags.
func (r *row) folder() Folder {
	switch r.role {
	case roleInbox:
		return Inbox
	case roleDraft:
		return Drafts
	}
	return Sent
}

// in reports whether a message shows in a folder.
func (r *row) in(f Folder) bool {
	switch f {
	case Trash:
		return r.is(markTrashed)
	case Starred:
		return r.is(markStarred) && !r.is(markTrashed) && r.role != roleDraft
	case All:
		return !r.is(markTrashed)
	}
	return r.folder() == f && !r.is(markTrashed)
}

// unread: drafts and sent messages never are.
func (r *row) unread() bool { return r.role == roleInbox && !r.is(markSeen) }

// Ops, in the order of the transaction.
const (
	opAdd    = iota // row, in the slot of name and role
	opGone          // id; of the box of name alone, or of all
	opMark          // id has a flag in the box of name
	opThread        // from was joined to to
	opStale         // what name holds is to be read anew
	opTell          // nothing but a word to those who look at name
)

type op struct {
	what     int
	name     string
	role     int
	id       key
	row      row
	mark     int
	value    bool
	from, to int64
}

type view struct {
	key  string
	box  Box
	has  map[string]bool // addresses
	el   *list.Element
	size int // as counted by views
	mu   sync.RWMutex
	ok   bool // read from the file
	rows []row
	more map[key]uint8 // flags of messages that aren't here (yet)
}

// views are the views in memory, those used last first.
type views struct {
	mu    sync.Mutex
	all   map[string]*view
	order list.List
	rows  int
	max   int
}

func (v *views) init(rows int) { v.all, v.max = map[string]*view{}, rows }

func (v *views) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.all)
	v.order.Init()
	v.rows = 0
}

// clean is the box with its addresses as they are compared.
func (b Box) clean() Box {
	c := Box{ID: canonical(b.ID), Shared: b.Shared, Addresses: make([]string, 0, len(b.Addresses))}
	for _, a := range b.Addresses {
		if a = canonical(a); a != "" {
			c.Addresses = append(c.Addresses, a)
		}
	}
	slices.Sort(c.Addresses)
	c.Addresses = slices.Compact(c.Addresses)
	return c
}

// boxKey names what a clean box shows.
func boxKey(b Box) string {
	kind := "own"
	if b.Shared {
		kind = "shared"
	}
	return kind + "\x00" + b.ID + "\x00" + strings.Join(b.Addresses, "\x00")
}

// get returns the view of a box, whether it was read already or not.
func (v *views) get(b Box) *view {
	k := boxKey(b)
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.all[k]
	if w == nil {
		w = &view{key: k, box: b, has: map[string]bool{}}
		for _, a := range b.Addresses {
			w.has[a] = true
		}
		w.el = v.order.PushFront(w)
		v.all[k] = w
	}
	v.order.MoveToFront(w.el)
	return w
}

// count counts the rows of a view and lets go of the views that were used least lately.
func (v *views) count(w *view, rows int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all[w.key] != w {
		return
	}
	v.rows += rows - w.size
	w.size = rows
	for v.rows > v.max && v.order.Len() > 1 {
		v.remove(v.order.Back().Value.(*view))
	}
}

func (v *views) remove(w *view) {
	if v.all[w.key] != w {
		return
	}
	delete(v.all, w.key)
	v.order.Remove(w.el)
	v.rows -= w.size
}

// drop lets go of a view, to be read anew.
func (v *views) drop(w *view) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(w)
}

// apply brings all views up to date. A view that is being read meanwhile is waited for: what it has read may be from before.
func (v *views) apply(ops []op) {
	if len(ops) == 0 {
		return
	}
	v.mu.Lock()
	all := make([]*view, 0, len(v.all))
	for _, w := range v.all {
		all = append(all, w)
	}
	v.mu.Unlock()
	for _, w := range all {
		if rows, ok := w.apply(ops); ok {
			v.count(w, rows)
		} else if rows < 0 {
			v.drop(w)
		}
	}
}

// apply returns the number of rows; not ok when they aren't read, and then -1 when they have become stale.
func (w *view) apply(ops []op) (rows int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ok {
		return 0, false
	}
	for i := range ops {
		o := &ops[i]
		switch o.what {
		case opAdd:
			if w.holds(o.name, o.role) {
				r := o.row
				r.role = uint8(shownRole(o.role))
				w.add(r)
			}
		case opGone:
			if o.name == "" || o.name == w.box.ID {
				w.gone(o.id)
			}
		case opMark:
			if o.name == w.box.ID {
				w.mark(o.id, o.mark, o.value)
			}
		case opThread:
			for j := range w.rows {
				if w.rows[j].thread == o.from {
					w.rows[j].thread = o.to
				}
			}
		case opStale:
			if w.has[o.name] || o.name == w.box.ID {
				w.ok = false
				return -1, false
			}
		}
	}
	return len(w.rows), true
}

// holds reports whether a box shows what is in a slot.
func (w *view) holds(name string, role int) bool {
	switch role {
	case roleInbox:
		return w.has[name]
	case roleSent:
		return name == w.box.ID
	case roleAs:
		return w.box.Shared && name == w.box.ID
	}
	return !w.box.Shared && name == w.box.ID
}

func shownRole(role int) int {
	if role == roleAs {
		return roleSent
	}
	return role
}

func (w *view) find(id key) (int, bool) {
	// What is new is nearly always the newest.
	if n := len(w.rows); n == 0 || w.rows[n-1].id.Compare(id) < 0 {
		return n, false
	}
	return slices.BinarySearchFunc(w.rows, id, func(r row, id key) int { return r.id.Compare(id) })
}

func (w *view) add(r row) {
	i, there := w.find(r.id)
	if there {
		w.rows[i].visible = min(w.rows[i].visible, r.visible)
		w.rows[i].thread = r.thread
		return
	}
	r.bits |= w.more[r.id]
	delete(w.more, r.id)
	w.rows = slices.Insert(w.rows, i, r)
}

func (w *view) gone(id key) {
	if i, there := w.find(id); there {
		if b := w.rows[i].bits; b != 0 {
			w.more[id] = b
		}
		w.rows = slices.Delete(w.rows, i, i+1)
	}
}

func (w *view) mark(id key, mark int, value bool) {
	set := func(bits uint8) uint8 {
		if value {
			return bits | 1<<mark
		}
		return bits &^ (1 << mark)
	}
	if i, there := w.find(id); there {
		w.rows[i].bits = set(w.rows[i].bits)
		return
	}
	w.more[id] = set(w.more[id])
}

// with calls f with the rows of a box, oldest first, which it must not keep nor change.
func (s *Store) with(ctx context.Context, b Box, f func(rows []row) error) error {
	b = b.clean()
	for {
		w := s.views.get(b)
		w.mu.RLock()
		if w.ok {
			err := f(w.rows)
			w.mu.RUnlock()
			return err
		}
		w.mu.RUnlock()
		if err := s.fill(ctx, w); err != nil {
			return err
		}
	}
}

// fill reads a view from the file. The lock is held from before the file is read, so no op is missed: those of a
// transaction that it doesn't see come after, and those that it sees change nothing.
func (s *Store) fill(ctx context.Context, w *view) error {
	w.mu.Lock()
	if w.ok {
		w.mu.Unlock()
		return nil
	}
	rows, more, err := s.readView(ctx, w.box)
	if err != nil {
		w.mu.Unlock()
		s.views.drop(w)
		return err
	}
	w.rows, w.more, w.ok = rows, more, true
	w.mu.Unlock()
	s.views.count(w, len(rows))
	return nil
}

// readView reads the rows of a box and the flags of what it doesn't hold.
func (s *Store) readView(ctx context.Context, b Box) ([]row, map[key]uint8, error) {
	type source struct {
		name string
		role int
	}
	var from []source
	for _, a := range b.Addresses {
		from = append(from, source{a, roleInbox})
	}
	from = append(from, source{b.ID, roleSent})
	if b.Shared {
		from = append(from, source{b.ID, roleAs})
	} else {
		from = append(from, source{b.ID, roleDraft})
	}
	tx, err := s.db.Read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	defer tx.Rollback() // it only reads
	var rows []row
	for _, f := range from {
		err := table.Each(ctx, tx, `SELECT s.id, s.n, s.visible, p.thread FROM slot s JOIN place p ON p.n=s.n
			WHERE s.address=(SELECT n FROM address WHERE name=?) AND s.role=? AND s.gone=0`, func(r *sql.Rows) error {
			var id sql.RawBytes
			w := row{role: uint8(shownRole(f.role))}
			err := r.Scan(&id, &w.n, &w.visible, &w.thread)
			copy(w.id[:], id)
			rows = append(rows, w)
			return err
		}, f.name, f.role)
		if err != nil {
			return nil, nil, err
		}
	}
	rows = tidyRows(rows)
	more := map[key]uint8{}
	w := view{rows: rows, more: more}
	err = table.Each(ctx, tx, "SELECT id, what FROM mark WHERE box=(SELECT n FROM address WHERE name=?) AND value<>0 AND what<>?", func(r *sql.Rows) error {
		var raw sql.RawBytes
		var what int
		if err := r.Scan(&raw, &what); err != nil {
			return err
		}
		var id key
		copy(id[:], raw)
		w.mark(id, what, true)
		return nil
	}, b.ID, markDiscarded)
	return w.rows, more, err
}

// tidyRows sorts rows and makes one of those that stand for one message.
func tidyRows(rows []row) []row {
	slices.SortFunc(rows, func(a, b row) int {
		if c := a.id.Compare(b.id); c != 0 {
			return c
		}
		return int(a.role) - int(b.role)
	})
	out := rows[:0]
	for _, r := range rows {
		if n := len(out); n > 0 && out[n-1].id == r.id {
			out[n-1].visible = min(out[n-1].visible, r.visible)
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out)
}

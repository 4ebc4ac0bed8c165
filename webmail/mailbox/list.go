package mailbox

import (
	"context"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	"restante/spool"
)

// parseKey reads an id; ErrNotFound for what isn't one.
func parseKey(id string) (key, error) {
	k, err := ulid.ParseStrict(id)
	if err != nil {
		return k, ErrNotFound
	}
	return k, nil
}

// conversation is one conversation of a box, as a list shows it.
type conversation struct {
	newest   row // of those that the list selects
	oldest   key // that the box sees
	count    int
	unread   bool
	starred  bool
	answered bool
	messages []row // the first few
}

// sendersFrom is how many messages of a conversation are looked at for who wrote them.
const sendersFrom = 12

// walk calls f with the newest message of each conversation that the folder and match select, newest first, until it
// returns false.
func walk(rows []row, f Folder, now int64, match func(*row) bool, visit func(*row) bool) {
	seen := map[int64]bool{}
	for i := len(rows) - 1; i >= 0; i-- {
		r := &rows[i]
		if r.visible > now || !r.in(f) || match != nil && !match(r) || seen[r.thread] {
			continue
		}
		seen[r.thread] = true
		if !visit(r) {
			return
		}
	}
}

// gather finds a page of conversations, and whether there are more.
func gather(rows []row, f Folder, now int64, match func(*row) bool, after key, limit int) (page []*conversation, more bool) {
	walk(rows, f, now, match, func(r *row) bool {
		if after != (key{}) && r.id.Compare(after) >= 0 {
			return true
		}
		if len(page) == limit {
			more = true
			return false
		}
		page = append(page, &conversation{newest: *r})
		return true
	})
	fillIn(rows, f, now, page)
	return page, more
}

// fillIn adds what all messages of the conversations say.
func fillIn(rows []row, f Folder, now int64, page []*conversation) {
	by := make(map[int64]*conversation, len(page))
	for _, c := range page {
		by[c.newest.thread] = c
	}
	for i := range rows {
		r := &rows[i]
		c := by[r.thread]
		if c == nil || r.visible > now {
			continue
		}
		if c.oldest == (key{}) {
			c.oldest = r.id
		}
		if r.is(markTrashed) != (f == Trash) {
			continue
		}
		c.count++
		c.unread = c.unread || r.unread()
		c.starred = c.starred || r.is(markStarred)
		c.answered = c.answered || r.is(markAnswered)
		if len(c.messages) < sendersFrom {
			c.messages = append(c.messages, *r)
		}
	}
}

// List returns a page of conversations, newest first. A search with an empty folder looks everywhere but in Trash.
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = s.o.Limits.Page
	}
	limit = min(limit, s.o.Limits.PageMax)
	var after key
	if q.After != "" {
		var err error
		if after, err = parseKey(string(q.After)); err != nil {
			return Page{}, fmt.Errorf("the list can't go on from there: %w", err)
		}
	}
	match, pending, err := s.matcher(ctx, q)
	if err != nil {
		return Page{}, err
	}
	var convs []*conversation
	var more bool
	err = s.with(ctx, q.Box, func(rows []row) error {
		convs, more = gather(rows, q.Folder, s.now(), match, after, limit)
		return nil
	})
	if err != nil {
		return Page{}, err
	}
	p := Page{Pending: pending}
	if more {
		p.Next = Cursor(convs[len(convs)-1].newest.id.String())
	}
	p.Items, err = s.conversations(ctx, q.Box, convs)
	return p, err
}

func (s *Store) now() int64 { return s.o.Now().UnixNano() }

// conversations makes items of conversations.
func (s *Store) conversations(ctx context.Context, b Box, convs []*conversation) ([]Item, error) {
	var rows []row
	var others []int64
	for _, c := range convs {
		rows = append(rows, c.newest)
		others = append(others, numbers(c.messages)...)
	}
	loaded, err := s.load(ctx, append(others, numbers(rows)...))
	if err != nil {
		return nil, err
	}
	items, err := s.items(ctx, b, rows, loaded)
	if err != nil {
		return nil, err
	}
	at := map[string]*conversation{}
	for _, c := range convs {
		at[c.newest.id.String()] = c
	}
	for i := range items {
		it := &items[i]
		c := at[it.Entry]
		it.Thread, it.Count = c.oldest.String(), c.count
		it.Unread, it.Starred, it.Answered = c.unread, c.starred, c.answered
		for _, m := range c.messages {
			l := loaded[m.n]
			if l == nil || l.id != m.id {
				continue
			}
			it.Attachments = max(it.Attachments, l.attachments)
			for _, p := range parsePeople(l.data.HeadFrom) {
				same := func(o Person) bool { return canonical(o.Addr) == canonical(p.Addr) }
				if len(it.Senders) < sendersMost && !slices.ContainsFunc(it.Senders, same) {
					it.Senders = append(it.Senders, p)
				}
			}
		}
	}
	return items, nil
}

const sendersMost = 4

// conversationMost bounds the messages of a conversation that are shown: the newest ones.
const conversationMost = 500

// Conversation returns the messages of a conversation that the box sees, oldest first, trashed ones and drafts included; of very
// long ones the newest 500. thread is Item.Thread, or any entry of the conversation that the box sees. ErrNotFound.
func (s *Store) Conversation(ctx context.Context, b Box, thread string) ([]Item, error) {
	id, err := parseKey(thread)
	if err != nil {
		return nil, err
	}
	var mine []row
	var oldest key
	err = s.with(ctx, b, func(rows []row) error {
		r, err := find(rows, id, s.now())
		if err != nil {
			return err
		}
		for i := range rows {
			if rows[i].thread == r.thread && rows[i].visible <= s.now() {
				mine = append(mine, rows[i])
			}
		}
		oldest = mine[0].id
		return nil
	})
	if err != nil {
		return nil, err
	}
	count := 0
	for _, r := range mine {
		if !r.is(markTrashed) {
			count++
		}
	}
	mine = mine[max(0, len(mine)-conversationMost):]
	loaded, err := s.load(ctx, numbers(mine))
	if err != nil {
		return nil, err
	}
	items, err := s.items(ctx, b, mine, loaded)
	for i := range items {
		items[i].Thread, items[i].Count = oldest.String(), count
	}
	return items, err
}

// find returns a message of a box.
func find(rows []row, id key, now int64) (row, error) {
	i, ok := slices.BinarySearchFunc(rows, id, func(r row, id key) int { return r.id.Compare(id) })
	if !ok || rows[i].visible > now {
		return row{}, ErrNotFound
	}
	return rows[i], nil
}

// Item returns one message. It is the access check: ErrNotFound unless the box may see it.
func (s *Store) Item(ctx context.Context, b Box, entry string) (Item, error) {
	it, _, err := s.item(ctx, b, entry)
	return it, err
}

func (s *Store) item(ctx context.Context, b Box, entry string) (Item, *loadedItem, error) {
	id, err := parseKey(entry)
	if err != nil {
		return Item{}, nil, err
	}
	var c conversation
	err = s.with(ctx, b, func(rows []row) error {
		r, err := find(rows, id, s.now())
		c.newest = r
		fillIn(rows, All, s.now(), []*conversation{&c})
		return err
	})
	if err != nil {
		return Item{}, nil, err
	}
	loaded, err := s.load(ctx, []int64{c.newest.n})
	if err != nil {
		return Item{}, nil, err
	}
	items, err := s.items(ctx, b, []row{c.newest}, loaded)
	if err != nil {
		return Item{}, nil, err
	}
	if len(items) == 0 {
		return Item{}, nil, ErrNotFound // deleted this moment
	}
	items[0].Thread, items[0].Count = c.oldest.String(), c.count
	return items[0], loaded[c.newest.n], nil
}

// Open returns one message with its octets, after the access check. The caller closes the body. Errors beside ErrNotFound are those
// of spool.Fetch.
func (s *Store) Open(ctx context.Context, b Box, entry string) (Item, *spool.Entry, *spool.Body, error) {
	it, l, err := s.item(ctx, b, entry)
	if err != nil {
		return it, nil, nil, err
	}
	e, body, err := s.o.Fetch(ctx, it.Entry, l.data.Location)
	return it, e, body, err
}

// Neighbours returns Thread of the conversations before and after the one of entry in the list of q, "" where there is none.
func (s *Store) Neighbours(ctx context.Context, q Query, entry string) (newer, older string, err error) {
	id, err := parseKey(entry)
	if err != nil {
		return "", "", err
	}
	match, _, err := s.matcher(ctx, q)
	if err != nil {
		return "", "", err
	}
	err = s.with(ctx, q.Box, func(rows []row) error {
		mine, err := find(rows, id, s.now())
		if err != nil {
			return err
		}
		var before, after *row
		passed := false
		walk(rows, q.Folder, s.now(), match, func(r *row) bool {
			switch {
			case r.thread == mine.thread:
				passed = true
			case passed:
				after = r
				return false
			default:
				before = r
			}
			return true
		})
		if !passed { // it is in no such list any more: its place is where its time is
			before, after = around(rows, q.Folder, s.now(), match, mine)
		}
		newer, older = oldestOf(rows, before, s.now()), oldestOf(rows, after, s.now())
		return nil
	})
	return newer, older, err
}

// around finds the neighbours of a message that the list doesn't hold.
func around(rows []row, f Folder, now int64, match func(*row) bool, mine row) (before, after *row) {
	walk(rows, f, now, match, func(r *row) bool {
		if r.id.Compare(mine.id) < 0 {
			after = r
			return false
		}
		before = r
		return true
	})
	return before, after
}

func oldestOf(rows []row, of *row, now int64) string {
	if of == nil {
		return ""
	}
	for i := range rows {
		if rows[i].thread == of.thread && rows[i].visible <= now {
			return rows[i].id.String()
		}
	}
	return ""
}

// Counts returns what each folder holds.
func (s *Store) Counts(ctx context.Context, b Box) (map[Folder]Count, error) {
	counts := map[Folder]Count{}
	err := s.with(ctx, b, func(rows []row) error {
		now := s.now()
		for _, f := range Folders() {
			var c Count
			for i := range rows {
				r := &rows[i]
				if r.visible > now || !r.in(f) {
					continue
				}
				c.Total++
				if r.unread() {
					c.Unread++
				}
			}
			counts[f] = c
		}
		return nil
	})
	return counts, err
}

// newest returns the newest rows of a box, drafts aside.
func (s *Store) newest(ctx context.Context, b Box, n int) ([]row, error) {
	var out []row
	err := s.with(ctx, b, func(rows []row) error {
		now := s.now()
		for i := len(rows) - 1; i >= 0 && len(out) < n; i-- {
			if rows[i].visible <= now && rows[i].role != roleDraft {
				out = append(out, rows[i])
			}
		}
		return nil
	})
	return out, err
}

func numbers(rows []row) []int64 {
	ns := make([]int64, len(rows))
	for i := range rows {
		ns[i] = rows[i].n
	}
	return ns
}

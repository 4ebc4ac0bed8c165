package mailbox

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"slices"
	"strings"
	"time"
	"unicode"

	"restante/spool"
)

// threads joins entries to conversations. A conversation is what hangs together by nodes: message ids, an entry's own and
// those it answers, its piece of writing and, for answers that name none, their subject with the people in it. It is the
// connected part of that graph, so the order in which entries come doesn't matter.
type threads struct {
	t     *txn
	nodes map[int64]int64 // of this transaction
	alias map[int64]int64 // conversations that were joined to another
}

func (th *threads) init(t *txn) {
	th.t, th.nodes, th.alias = t, map[int64]int64{}, map[int64]int64{}
}

// find is the conversation that a conversation is part of now.
func (th *threads) find(thread int64) int64 {
	for {
		next, ok := th.alias[thread]
		if !ok {
			return thread
		}
		thread = next
	}
}

// join finds the conversation of each entry, joining those that it ties together.
func (th *threads) join(entries []*entry) error {
	db, ctx := th.t.s.db, th.t.ctx
	keys := make([][]int64, len(entries))
	var args []any
	for i, e := range entries {
		if !e.data.shown() {
			continue
		}
		keys[i] = e.nodes()
		for _, k := range keys[i] {
			if _, ok := th.nodes[k]; !ok {
				th.nodes[k] = 0
				args = append(args, k)
			}
		}
	}
	err := db.Lookup(ctx, "key", "SELECT node.key, node.thread FROM k CROSS JOIN node ON node.key=k.key", args, func(r *sql.Rows) error {
		var k, thread int64
		err := r.Scan(&k, &thread)
		th.nodes[k] = thread
		return err
	})
	if err != nil {
		return err
	}
	add := db.Bulk("INSERT INTO node VALUES ", 2)
	for i, e := range entries {
		for _, k := range keys[i] {
			if other := th.nodes[k]; other != 0 {
				if err := th.merge(&e.thread, th.find(other)); err != nil {
					return err
				}
			}
		}
		if e.thread == 0 {
			e.thread = e.n
		}
		for _, k := range keys[i] {
			if th.nodes[k] == 0 {
				th.nodes[k] = e.thread
				if err := add.Add(ctx, k, e.thread); err != nil {
					return err
				}
			}
		}
	}
	if err := add.Flush(ctx); err != nil {
		return err
	}
	for _, e := range entries {
		e.thread = th.find(e.thread)
	}
	return th.relabel()
}

// merge joins two conversations; the larger keeps its number, so that no chain of joins costs more than n log n.
func (th *threads) merge(a *int64, b int64) error {
	if *a == 0 || *a == b {
		*a = b
		return nil
	}
	sizes := [2]int64{}
	for i, thread := range []int64{*a, b} {
		err := th.t.each("SELECT count(*) FROM (SELECT 1 FROM place WHERE thread=? LIMIT 10000)", func(r *sql.Rows) error { return r.Scan(&sizes[i]) }, thread)
		if err != nil {
			return err
		}
	}
	keep, lose := *a, b
	if sizes[1] > sizes[0] || sizes[1] == sizes[0] && b < *a {
		keep, lose = b, *a
	}
	th.alias[lose] = keep
	*a = keep
	return nil
}

// relabel writes down which conversations were joined.
func (th *threads) relabel() error {
	for lose := range th.alias {
		keep := th.find(lose)
		for _, q := range []string{"UPDATE place SET thread=? WHERE thread=?", "UPDATE node SET thread=? WHERE thread=?"} {
			if err := th.t.exec(q, keep, lose); err != nil {
				return err
			}
		}
		th.t.ops = append(th.t.ops, op{what: opThread, from: lose, to: keep})
	}
	clear(th.alias)
	return nil
}

// nodes returns what ties an entry to others.
func (e *entry) nodes() []int64 {
	var keys []int64
	add := func(kind, what string) {
		if k := nodeKey(kind, what); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	if id := e.data.MessageID; id != "" {
		if alone := spool.Refs(id, ""); alone != "" { // without a comment beside it
			id = alone
		}
		add("id", strings.TrimSpace(id))
	}
	refs := strings.Fields(e.refs)
	for _, r := range refs {
		add("id", r)
	}
	if e.data.Writing != "" {
		add("writing", e.data.Writing+" "+e.data.Account)
	}
	subject, answers := baseSubject(e.data.Subject)
	if len(refs) == 0 && subject != "" && (answers || e.data.Account != "") && e.data.Kind != spool.Draft {
		var people []string
		for _, p := range append(parsePeople(e.data.HeadFrom), parsePeople(e.data.HeadTo)...) {
			people = append(people, canonical(p.Addr))
		}
		slices.Sort(people)
		add("subject", subject+"\x00"+strings.Join(slices.Compact(people), " "))
	}
	return keys
}

// nodeKey is the first 8 octets of a hash. That two clash by chance or ill will costs no more than a message in a conversation
// that it doesn't belong to, of a person who has both anyway.
func nodeKey(kind, what string) int64 {
	sum := sha256.Sum256([]byte(kind + "\x00" + what))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// answerMarks are the beginnings of subjects of answers and forwarded mail, in the words of many programs.
var answerMarks = []string{"re", "aw", "antw", "sv", "vs", "rv", "ref", "réf", "rif", "r", "odp", "ynt", "fwd", "fw", "wg", "tr", "vl", "i", "enc", "doorst", "返信", "转发", "回复", "轉寄", "転送"}

// baseSubject takes the marks of answers off a subject, folds case and white space, and reports whether there were any.
func baseSubject(s string) (base string, answers bool) {
	s = strings.ToLower(strings.Join(strings.Fields(s), " "))
	for {
		mark, rest, ok := strings.Cut(strings.Replace(s, "：", ":", 1), ":")
		if i := strings.IndexAny(mark, "[("); i > 0 && strings.IndexFunc(mark[i:], func(r rune) bool { return !unicode.IsDigit(r) && !strings.ContainsRune("[]()", r) }) < 0 {
			mark = mark[:i]
		}
		if !ok || !slices.Contains(answerMarks, strings.TrimSpace(mark)) {
			return s, answers
		}
		s, answers = strings.TrimSpace(rest), true
	}
}

func when(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

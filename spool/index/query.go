package index

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/table"
)

// cursor is "<key in hex>.<recipient>": the pair after which a listing goes on.
func cursor(p pairKey) Cursor {
	return Cursor(hex.EncodeToString(p.entry[:]) + "." + strconv.Itoa(p.rcpt))
}

func (c Cursor) parse() (p pairKey, err error) {
	h, n, ok := strings.Cut(string(c), ".")
	raw, err := hex.DecodeString(h)
	if err != nil || !ok || len(raw) != len(p.entry) {
		return p, fmt.Errorf("%q is no place in a listing", string(c))
	}
	copy(p.entry[:], raw)
	p.rcpt, err = strconv.Atoi(n)
	return p, err
}

const pairFields = `p.entry, e.kind, p.rcpt, p.address, d.name, p.state, coalesce(p.round,0), coalesce(p.attempts,0), coalesce(p.changed,0),
	coalesce(p.reply,''), coalesce(p.reason,''), coalesce(p.host,''), coalesce(p.by,''), coalesce(p.quarantine,''), coalesce(o.id,''),
	e.received, e.size, e.sender, e.subject, s.name, e.seq, e.offset, e.length, e.flags`

const pairTables = ` FROM pair p CROSS JOIN entry e ON e.id=p.entry CROSS JOIN domain d ON d.n=p.domain
	CROSS JOIN stream s ON s.n=e.stream LEFT JOIN outage o ON o.n=p.outage `

func scanPairView(r *sql.Rows) (spool.Pair, pairKey, error) {
	var p spool.Pair
	var k pairKey
	var raw sql.RawBytes
	var state, flags int
	var changed, received, seq int64
	err := r.Scan(&raw, &p.Kind, &p.Rcpt, &p.Address, &p.Domain, &state, &p.Round, &p.Attempts, &changed,
		&p.Reply, &p.Reason, &p.Host, &p.By, &p.Quarantine, &p.Outage,
		&received, &p.Size, &p.From, &p.Subject, &p.Location.Stream, &seq, &p.Location.Offset, &p.Location.Length, &flags)
	if err != nil {
		return p, k, err
	}
	copy(k.entry[:], raw)
	k.rcpt = p.Rcpt
	p.Entry, p.State, p.Changed, p.Received = k.entry.String(), stateNames[state], when(changed), time.Unix(0, received).UTC()
	p.Location.Seq, p.Location.Big = uint64(seq), flags&flagBig != 0
	return p, k, nil
}

// pairs lists pairs by a condition, oldest or newest first.
func (x *Index) pairs(ctx context.Context, where string, args []any, newest bool, after Cursor, limit int) ([]spool.Pair, Cursor, error) {
	order, than := "p.entry, p.rcpt", ">"
	if newest {
		order, than = "p.entry DESC, p.rcpt DESC", "<"
	}
	if after != "" {
		a, err := after.parse()
		if err != nil {
			return nil, "", err
		}
		where += " AND (p.entry, p.rcpt) " + than + " (?,?)"
		args = append(args, a.entry[:], a.rcpt)
	}
	if limit <= 0 {
		limit = 100
	}
	var out []spool.Pair
	var last pairKey
	err := table.Each(ctx, x.db.Read, "SELECT "+pairFields+pairTables+"WHERE "+where+" ORDER BY "+order+" LIMIT ?", func(r *sql.Rows) error {
		p, k, err := scanPairView(r)
		out, last = append(out, p), k
		return err
	}, append(args, limit)...)
	if err != nil {
		return nil, "", err
	}
	if len(out) < limit {
		return out, "", nil
	}
	return out, cursor(last), nil
}

// domainNumber returns the number of a domain, -1 for one that has nothing.
func (x *Index) domainNumber(ctx context.Context, name string) (int64, error) {
	n := int64(-1)
	err := x.db.Read.QueryRowContext(ctx, "SELECT n FROM domain WHERE name=?", strings.ToLower(name)).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return -1, nil
	}
	return n, err
}

// Pending returns pending pairs of a domain, oldest first; "" is all domains, merged. The cursor goes
// on after the last one; it is "" at the end, and may then be begun again, since pairs come back to pending.
func (x *Index) Pending(ctx context.Context, domain string, after Cursor, limit int) ([]spool.Pair, Cursor, error) {
	if domain != "" {
		n, err := x.domainNumber(ctx, domain)
		if err != nil {
			return nil, "", err
		}
		return x.pairs(ctx, "p.state=0 AND p.domain=?", []any{n}, false, after, limit)
	}
	return x.merged(ctx, "p.state=0", nil, false, after, limit)
}

// merged lists over all domains by asking the index of each: a partial index begins with the domain.
func (x *Index) merged(ctx context.Context, where string, args []any, newest bool, after Cursor, limit int) ([]spool.Pair, Cursor, error) {
	if limit <= 0 {
		limit = 100
	}
	var domains []int64
	err := table.Each(ctx, x.db.Read, "SELECT n FROM domain", func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		domains = append(domains, n)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	var all []spool.Pair
	more := false
	for _, n := range domains {
		ps, next, err := x.pairs(ctx, where+" AND p.domain=?", append(slices.Clone(args), n), newest, after, limit)
		if err != nil {
			return nil, "", err
		}
		more = more || next != ""
		all = append(all, ps...)
	}
	slices.SortFunc(all, func(a, b spool.Pair) int {
		c := strings.Compare(a.Entry, b.Entry)
		if c == 0 {
			c = a.Rcpt - b.Rcpt
		}
		if newest {
			c = -c
		}
		return c
	})
	if len(all) <= limit && !more {
		return all, "", nil
	}
	all = all[:min(limit, len(all))]
	last := all[len(all)-1]
	k, err := ulid.ParseStrict(last.Entry)
	return all, cursor(pairKey{k, last.Rcpt}), err
}

// heldNow is the condition that a parked pair was parked by an admin: what parked it last counts, as in the fold.
const heldNow = `p.state BETWEEN 1 AND 4 AND p.state=1 AND (SELECT v.type FROM event v WHERE v.entry=p.entry AND v.rcpt=p.rcpt
	AND v.type IN ('held','parked') ORDER BY v.round DESC, v.time DESC, v.id DESC LIMIT 1)='held'`

// Held returns how many pairs of a domain an admin holds.
func (x *Index) Held(ctx context.Context, domain string) (int64, error) {
	d, err := x.domainNumber(ctx, domain)
	if err != nil {
		return 0, err
	}
	var n int64
	err = x.db.Read.QueryRowContext(ctx, "SELECT count(*) FROM pair p WHERE p.domain=? AND "+heldNow, d).Scan(&n)
	return n, err
}

// quarantinedNow is the condition that a parked pair waits for its release from quarantine.
const quarantinedNow = "p.state BETWEEN 1 AND 4 AND p.state=1 AND p.quarantine IS NOT NULL"

// Quarantined returns how many pairs of a domain, of one outage of it ("" for any), are in quarantine, and when the oldest of them was received.
func (x *Index) Quarantined(ctx context.Context, domain, outage string) (n int64, oldest time.Time, err error) {
	d, err := x.domainNumber(ctx, domain)
	if err != nil {
		return 0, oldest, err
	}
	var first []byte
	err = x.db.Read.QueryRowContext(ctx, "SELECT count(*), min(p.entry) FROM pair p WHERE p.domain=?1 AND (?2='' OR p.outage=(SELECT n FROM outage WHERE id=?2)) AND "+
		quarantinedNow, d, outage).Scan(&n, &first)
	if err == nil && n > 0 {
		var k key
		copy(k[:], first)
		oldest = when(receivedAt(k))
	}
	return n, oldest, err
}

// stateCondition selects the pairs in a state. The index by domain serves those of the first five, all but delivered.
func stateCondition(state spool.PairState) (cond string, byDomain bool, err error) {
	switch n := stateNumber(state); {
	case state == StateHeld:
		return heldNow, true, nil
	case state == StateQuarantined:
		return quarantinedNow, true, nil
	case n < 0:
		return "", false, fmt.Errorf("%q is no state of a pair", state)
	case n == pending:
		return "p.state=0", true, nil
	case n < delivered:
		return fmt.Sprintf("p.state BETWEEN 1 AND 4 AND p.state=%d", n), true, nil
	default:
		return fmt.Sprintf("p.state=%d", n), false, nil
	}
}

// List returns the pairs that the filter selects, and where to go on ("" at the end).
func (x *Index) List(ctx context.Context, f Filter) ([]spool.Pair, Cursor, error) {
	var where []string
	var args []any
	add := func(cond string, a ...any) {
		where = append(where, cond)
		args = append(args, a...)
	}
	byDomain := false
	if f.State != "" {
		cond, open, err := stateCondition(f.State)
		if err != nil {
			return nil, "", err
		}
		add(cond)
		byDomain = open && f.Domain == ""
	}
	if f.Domain != "" {
		n, err := x.domainNumber(ctx, f.Domain)
		if err != nil {
			return nil, "", err
		}
		add("p.domain=?", n)
	}
	if f.Rcpt != "" {
		add("lower(p.address)=lower(?)", f.Rcpt)
	}
	switch f.From {
	case "":
	case "<>":
		add("e.sender='' AND e.flags&2=0")
	default:
		add("lower(e.sender)=lower(?)", f.From)
	}
	if f.Outage != "" {
		n := int64(-1)
		err := x.db.Read.QueryRowContext(ctx, "SELECT n FROM outage WHERE id=?", f.Outage).Scan(&n)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, "", err
		}
		add("p.outage=?", n)
	}
	// received may differ from the time in the id by as long as the message took to come in
	if !f.Since.IsZero() {
		k := lowest(f.Since.Add(-time.Hour).UnixNano())
		add("e.received>=? AND p.entry>=?", f.Since.UnixNano(), k[:])
	}
	if !f.Until.IsZero() {
		k := lowest(f.Until.Add(time.Hour).UnixNano())
		add("e.received<? AND p.entry<?", f.Until.UnixNano(), k[:])
	}
	if f.Written {
		add("e.kind<>'held'")
	}
	if f.Text != "" {
		add(`(instr(lower(e.sender), lower(?))>0 OR instr(lower(p.address), lower(?))>0 OR instr(lower(e.subject), lower(?))>0)`, f.Text, f.Text, f.Text)
	}
	cond := "1"
	if len(where) > 0 {
		cond = strings.Join(where, " AND ")
	}
	if byDomain {
		return x.merged(ctx, cond, args, f.Newest, f.After, f.Limit)
	}
	return x.pairs(ctx, cond, args, f.Newest, f.After, f.Limit)
}

// readEntry reads an entry without its pairs' addresses.
func readEntry(ctx context.Context, q table.Querier, k key) (*spool.Entry, int, error) {
	var e *spool.Entry
	var flags int
	err := table.Each(ctx, q, "SELECT kind, received, size, sender, more, flags FROM entry WHERE id=?", func(r *sql.Rows) error {
		e = &spool.Entry{}
		var received int64
		var more []byte
		if err := r.Scan(&e.Kind, &received, &e.Size, &e.From, &more, &flags); err != nil {
			return err
		}
		m := moreEntry{Entry: e}
		if err := json.Unmarshal(more, &m); err != nil {
			return err
		}
		e.ID, e.Received, e.Rcpts = k.String(), time.Unix(0, received).UTC(), m.Rcpts
		return nil
	}, k[:])
	if err != nil {
		return nil, 0, err
	}
	if e == nil {
		return nil, 0, fmt.Errorf("entry %s: %w", k, ErrNotFound)
	}
	err = table.Each(ctx, q, "SELECT p.rcpt, p.address, d.name FROM pair p JOIN domain d ON d.n=p.domain WHERE p.entry=? ORDER BY p.rcpt", func(r *sql.Rows) error {
		var i int
		var rc spool.Recipient
		if err := r.Scan(&i, &rc.Address, &rc.Domain); err != nil {
			return err
		}
		for len(e.Rcpts) <= i {
			e.Rcpts = append(e.Rcpts, spool.Recipient{})
		}
		e.Rcpts[i].Address, e.Rcpts[i].Domain = rc.Address, rc.Domain
		return nil
	}, k[:])
	return e, flags, err
}

// Entry returns all that is known of an entry. id may be the beginning of one, if only one begins so.
func (x *Index) Entry(ctx context.Context, id string) (*View, error) {
	k, err := x.resolve(ctx, strings.ToUpper(id))
	if err != nil {
		return nil, err
	}
	v := &View{}
	err = table.Each(ctx, x.db.Read, "SELECT entry, id, type, time, rcpt, round, more FROM event WHERE entry=?", func(r *sql.Rows) error {
		ev, _, err := scanEvent(r)
		v.Events = append(v.Events, ev)
		return err
	}, k[:])
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(v.Events, func(a, b spool.Event) int { return a.Time.Compare(b.Time) })
	var flags int
	v.Entry, flags, err = readEntry(ctx, x.db.Read, k)
	if errors.Is(err, ErrNotFound) && len(v.Events) > 0 {
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	v.Erased = flags&flagErased != 0
	where, err := x.Find(ctx, []string{k.String()})
	if err != nil {
		return nil, err
	}
	if len(where) > 0 {
		v.Location = where[0].Location
	}
	v.Pairs, _, err = x.pairs(ctx, "p.entry=?", []any{k[:]}, false, "", 1<<20)
	return v, err
}

// resolve finds the one key that begins with the prefix.
func (x *Index) resolve(ctx context.Context, prefix string) (key, error) {
	if k, err := ulid.ParseStrict(prefix); err == nil {
		return k, nil
	}
	const length = 26
	if prefix == "" || len(prefix) > length {
		return key{}, fmt.Errorf("%q is not the id of an entry: %w", prefix, ErrNotFound)
	}
	low, err := ulid.ParseStrict(prefix + strings.Repeat("0", length-len(prefix)))
	if err != nil {
		return key{}, fmt.Errorf("%q is not the id of an entry: %w", prefix, ErrNotFound)
	}
	high, err := ulid.ParseStrict(prefix + strings.Repeat("Z", length-len(prefix)))
	if err != nil {
		high = highest // the first letter goes to 7 only
	}
	found := map[key]bool{}
	err = table.Each(ctx, x.db.Read, "SELECT id FROM (SELECT id FROM entry WHERE id BETWEEN ?1 AND ?2 LIMIT 2) UNION SELECT entry FROM (SELECT DISTINCT entry FROM event WHERE entry BETWEEN ?1 AND ?2 LIMIT 2) LIMIT 2",
		func(r *sql.Rows) error { return scanKey(r, found) }, low[:], high[:])
	if err != nil {
		return key{}, err
	}
	switch len(found) {
	case 0:
		return key{}, fmt.Errorf("entry %s: %w", prefix, ErrNotFound)
	case 1:
		for k := range found {
			return k, nil
		}
	}
	return key{}, fmt.Errorf("entry %s: %w", prefix, ErrAmbiguous)
}

// Known reports whether the primary is known to take mail for the address: it was delivered to, or
// that was learned in pass-through. Case does not matter. What was delivered is known no longer than
// the entry is kept, once the index was rebuilt: record Learned for what is to last.
func (x *Index) Known(ctx context.Context, address string) (bool, error) {
	var n int
	err := x.db.Read.QueryRowContext(ctx, "SELECT count(*) FROM known WHERE domain=? AND address=?", domainOf(address), addressKey(address)).Scan(&n)
	return n > 0, err
}

// KnownGood returns up to n addresses of a domain that the primary is known to take mail for.
func (x *Index) KnownGood(ctx context.Context, domain string, n int) ([]string, error) {
	var out []string
	err := table.Each(ctx, x.db.Read, "SELECT address FROM known WHERE domain=? ORDER BY address LIMIT ?", func(r *sql.Rows) error {
		var a string
		err := r.Scan(&a)
		out = append(out, a)
		return err
	}, strings.ToLower(domain), n)
	return out, err
}

// TookMail reports whether the primary of a domain has ever taken mail that we know of.
func (x *Index) TookMail(ctx context.Context, domain string) (bool, error) {
	known, err := x.KnownGood(ctx, domain, 1)
	if err != nil || len(known) > 0 {
		return len(known) > 0, err
	}
	n, err := x.domainNumber(ctx, domain)
	if err != nil {
		return false, err
	}
	var c int64
	err = x.db.Read.QueryRowContext(ctx, "SELECT coalesce(sum(pairs),0) FROM count WHERE domain=? AND state=5", n).Scan(&c)
	return c > 0, err
}

// Declarations returns the Declared events that were not ended by a DeclareEnded. Whether their
// Until has passed is for the caller to see.
func (x *Index) Declarations(ctx context.Context) ([]spool.Event, error) {
	var out []spool.Event
	err := table.Each(ctx, x.db.Read, "SELECT event FROM flag WHERE kind=? AND type=? ORDER BY key", func(r *sql.Rows) error {
		ev, err := scanFlag(r)
		out = append(out, ev)
		return err
	}, flagDeclare, string(spool.Declared))
	return out, err
}

func scanFlag(r *sql.Rows) (spool.Event, error) {
	var ev spool.Event
	var raw sql.RawBytes
	if err := r.Scan(&raw); err != nil {
		return ev, err
	}
	return ev, json.Unmarshal(raw, &ev)
}

func (x *Index) flag(ctx context.Context, kind, k string, t spool.EventType) (ev spool.Event, ok bool, err error) {
	err = table.Each(ctx, x.db.Read, "SELECT event FROM flag WHERE kind=? AND key=? AND type=?", func(r *sql.Rows) error {
		ok = true
		ev, err = scanFlag(r)
		return err
	}, kind, k, string(t))
	return ev, ok, err
}

// Paused returns the ReplayPaused event of a domain that is in force, if there is one.
func (x *Index) Paused(ctx context.Context, domain string) (spool.Event, bool, error) {
	return x.flag(ctx, flagPause, domain, spool.ReplayPaused)
}

// Resumed returns the ReplayResumed event of a domain, if the last word on its replay was one.
func (x *Index) Resumed(ctx context.Context, domain string) (spool.Event, bool, error) {
	return x.flag(ctx, flagPause, domain, spool.ReplayResumed)
}

// OutageOpened returns the last OutageOpened event of a domain, if there is one: an outage that is still open is told
// of again and again.
func (x *Index) OutageOpened(ctx context.Context, domain string) (spool.Event, bool, error) {
	return x.flag(ctx, flagOutage, domain, spool.OutageOpened)
}

// Offered returns the last Offered event of a domain, if there is one.
func (x *Index) Offered(ctx context.Context, domain string) (spool.Event, bool, error) {
	return x.flag(ctx, flagOffers, domain, spool.Offered)
}

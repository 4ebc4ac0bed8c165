package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/spool"
	"restante/spool/index"
)

func newQueue(c *command) *cobra.Command {
	return group("queue", "What is kept: list, show, hold, release, retry, remove",
		`  restante queue list --state parked
  restante queue show 01J9Z6Q3
  restante queue retry --state parked --domain example.com`,
		newQueueList(c), newQueueShow(c),
		newQueueAct(c, "hold", "Keep mail back from replay until it is released",
			`  restante queue hold 01J9Z6Q3 --reason "looks like a virus"`),
		newQueueAct(c, "release", "Release what is held or in quarantine, but not what is parked otherwise",
			`  restante queue release 01J9Z6Q3
  restante queue release --state held --domain example.com
  restante queue release --state quarantined --from anna@kunde.example --yes`),
		newQueueAct(c, "retry", "Try parked mail again, but not what is held or in quarantine",
			`  restante queue retry --state parked --domain example.com`),
		newQueueAct(c, "remove", "Remove mail: it will not be delivered",
			`  restante queue remove 01J9Z6Q3 --reason "sent by mistake"
  restante queue remove --from spam@example.net --state pending --yes
  restante queue remove 01J9Z6Q3 --erase --yes`))
}

// parseSpan reads a duration with days.
func parseSpan(s string) (time.Duration, error) {
	d, err := config.ParseDuration(s)
	return d.Std(), err
}

// filterFlags choose pairs.
type filterFlags struct {
	index.Filter
	state, since, until string
}

func (f *filterFlags) register(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&f.Domain, "domain", "", "to this domain")
	p.StringVar(&f.Rcpt, "rcpt", "", "to this address")
	p.StringVar(&f.From, "from", "", `from this address ("<>": the null sender)`)
	p.StringVar(&f.state, "state", "", "pending, parked, held (parked by hand), quarantined (parked until released), delivered, removed, expired or bounced")
	p.StringVar(&f.Outage, "outage", "", "of this outage")
	p.StringVar(&f.since, "since", "", "received since: 2h, 3d, 09:12, 2026-11-21T09:12")
	p.StringVar(&f.until, "until", "", "received before that, written as with --since")
	p.BoolVar(&f.Written, "written", false, "only what was written here: sent mail, copies, bounces")
	p.StringVar(&f.Text, "text", "", "with this in sender, recipient or subject")
}

var states = []spool.PairState{spool.StatePending, spool.StateParked, index.StateHeld, index.StateQuarantined, spool.StateDelivered, spool.StateRemoved, spool.StateExpired, spool.StateBounced}

func (f *filterFlags) finish() error {
	if f.state != "" && f.state != "all" {
		f.State = spool.PairState(f.state)
		if !slices.Contains(states, f.State) {
			return admin.Errorf(admin.KindUsage, "write pending, parked, held, quarantined, delivered, removed, expired, bounced or all", "there is no state %q", f.state)
		}
	}
	var err error
	if f.Since, err = parseWhen(f.since, time.Now()); err != nil {
		return err
	}
	f.Until, err = parseWhen(f.until, time.Now())
	return err
}

// empty reports that nothing was chosen.
func (f *filterFlags) empty() bool {
	return f.Domain == "" && f.Rcpt == "" && f.From == "" && f.state == "" && f.Outage == "" && f.since == "" && f.until == "" && f.Text == "" && !f.Written
}

func newQueueList(c *command) *cobra.Command {
	var f filterFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List pairs of message and recipient, oldest first",
		Long: `List pairs of message and recipient, oldest first; without --state first those that are parked, then those that are pending.
What is held or in quarantine is parked too, with the reason for it: --state held or --state quarantined lists it alone.
In a pipe nothing is cut; --json prints one object a line.`,
		Example: `  restante queue list
  restante queue list --state delivered --since 2h --limit 20
  restante queue list --text invoice --state all --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.finish(); err != nil {
				return err
			}
			if limit < 0 {
				return admin.Errorf(admin.KindUsage, "write for example --limit 20, or 0 for all", "--limit %d is less than none", limit)
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			reading, err := c.stillReading(cmd.Context(), client)
			if err != nil {
				return err
			}
			filters := []index.Filter{f.Filter}
			if f.state == "" {
				pending, parked := f.Filter, f.Filter
				pending.State, parked.State = spool.StatePending, spool.StateParked
				filters = []index.Filter{parked, pending}
			}
			l := &lister{c: c, left: limit, filter: f, reading: reading, table: table{env: c.Env, stack: 4, head: []string{"ENTRY", "STATE", "AGE", "SIZE", "FROM", "TO", "SUBJECT / WHY"}}}
			for _, one := range filters {
				if err := l.list(cmd, client, one); err != nil {
					return err
				}
			}
			return l.end(cmd.Context(), client)
		},
	}
	f.register(cmd)
	cmd.Flags().Lookup("state").Usage += ", or all"
	cmd.Flags().IntVar(&limit, "limit", 1000, "so many at most, 0: all")
	return cmd
}

// lister prints pages of pairs.
type lister struct {
	c       *command
	table   table
	filter  filterFlags
	reading bool // the index has not read all
	left    int  // 0 at the start: no limit
	shown   int
	more    bool
}

func (l *lister) list(cmd *cobra.Command, client *admin.Client, f index.Filter) error {
	limited := l.left > 0
	now := time.Now()
	for f.Limit = 500; ; {
		if limited && l.shown >= l.left {
			l.more = true
			return nil
		}
		if limited {
			f.Limit = min(500, l.left-l.shown)
		}
		pairs, next, err := client.List(cmd.Context(), f)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			l.shown++
			if l.c.common.json {
				if err := printLine(l.c.Out, p); err != nil {
					return err
				}
				continue
			}
			l.row(p, now)
		}
		if next == "" || len(pairs) == 0 {
			return nil
		}
		f.After = next
	}
}

func (l *lister) row(p spool.Pair, now time.Time) {
	style := ""
	if p.State == spool.StateParked {
		style = styleAmber
	}
	from := p.From
	if from == "" {
		from = "<>"
	}
	if p.Address == "" {
		from = "(erased)"
	}
	last := clean(p.Subject)
	if p.State != spool.StatePending || p.Attempts > 0 {
		if w := clean(why(p)); w != "" {
			last = strings.TrimPrefix(last+"  ", "  ") + "(" + w + ")"
		}
	}
	l.table.add(col(p.Entry), styled(style, string(p.State)), cell{text: span(now.Sub(p.Received)), right: true},
		cell{text: octets(p.Size), right: true}, col(clean(from)), col(clean(p.Address)), col(last))
}

func (l *lister) end(ctx context.Context, client *admin.Client) error {
	if l.shown == 0 {
		if err := hosted(ctx, client, l.filter.Domain); err != nil {
			return err
		}
	}
	if l.c.common.json {
		return nil
	}
	l.table.print(l.c.Out)
	switch {
	case l.shown == 0 && l.reading:
		fmt.Fprintln(l.c.Err, "nothing was read so far that fits")
	case l.shown == 0 && l.filter.empty():
		fmt.Fprintln(l.c.Err, "nothing is pending or parked")
	case l.shown == 0:
		fmt.Fprintln(l.c.Err, "nothing fits")
	case l.more:
		fmt.Fprintf(l.c.Err, "the first %d; --limit 0 shows all\n", l.shown)
	}
	return nil
}

func newQueueShow(c *command) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "show <entry>",
		Short: "Show all that is known of one message; --raw prints the message itself",
		Long: `Show envelope, verdicts, recipients and events of one message; the beginning of its id will do.
--raw prints the exact octets that the sender gave us, and leaves an event that says who looked.`,
		Example: `  restante queue show 01J9Z6Q3
  restante queue show 01J9Z6Q3 --raw > message.eml`,
		Args: argCount(1, 1, "the entry"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if raw {
				w := c.Out
				if c.Terminal {
					w = &visible{w: w}
				}
				return client.Raw(cmd.Context(), args[0], w)
			}
			v, err := client.Show(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(v)
			}
			c.printView(v)
			return nil
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the exact message")
	return cmd
}

// visible keeps escape sequences of a message from acting on the terminal; a pipe gets the exact octets.
type visible struct{ w io.Writer }

// Write implements io.Writer.
func (v *visible) Write(p []byte) (int, error) {
	out := slices.Clone(p)
	for i, b := range out {
		if b == 0x7f || b < ' ' && b != '\n' && b != '\t' && b != '\r' {
			out[i] = '?'
		}
	}
	if _, err := v.w.Write(out); err != nil {
		return 0, fmt.Errorf("writing: %w", err)
	}
	return len(p), nil
}

// verdicts says what was judged of a message's sender at receipt.
func verdicts(v map[string]string) string {
	var parts []string
	for _, m := range []struct{ method, domain string }{{"spf", "spf.domain"}, {"dkim", "dkim.domain"}, {"dmarc", "dmarc.from"}} {
		result := v[m.method]
		if result == "" {
			continue
		}
		if d := v[m.domain]; d != "" {
			result += " (" + d + ")"
		}
		parts = append(parts, m.method+" "+result)
	}
	if p := v["dmarc.policy"]; p != "" && p != "none" && v["dmarc"] == "fail" {
		parts = append(parts, "its domain asks to "+p+" such mail")
	}
	if helo := v["spf.helo"]; helo == "fail" || helo == "softfail" {
		parts = append(parts, "spf of its greeting "+helo)
	}
	if lists := v["dnsbl"]; lists != "" {
		parts = append(parts, "listed by "+lists)
	}
	return strings.Join(parts, ", ")
}

// atBorder says what was done about what spoke against a message (package policy): "marked: SPF fail, ...".
func atBorder(v map[string]string) string {
	action, why, ok := strings.Cut(v["policy"], ": ")
	if !ok {
		return v["policy"]
	}
	return map[string]string{"mark": "marked", "quarantine": "quarantined"}[action] + ": " + why
}

// filters says what content filters found in a message.
func filters(v map[string]string) string {
	var parts []string
	for _, f := range []struct{ name, detail, more string }{{"rspamd", "rspamd.score", "rspamd.tests"}, {"clamd", "clamd.virus", ""}} {
		if v[f.name] == "" {
			continue
		}
		part := f.name + " " + v[f.name]
		if d := v[f.detail]; d != "" {
			part += ", " + d
		}
		if m := v[f.more]; m != "" {
			part += " (" + m + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

func (e *Env) printView(v *index.View) {
	now := time.Now()
	if m := v.Entry; m != nil {
		t := table{env: e}
		row := func(name, text string) {
			if text != "" {
				t.add(styled(styleDim, name), col(clean(text)))
			}
		}
		from := m.From
		if from == "" {
			from = "<> (null sender)"
		}
		client := strings.TrimSpace(fmt.Sprintf("%s [%s] helo %s %s %s", m.Client.Name, m.Client.Addr, m.Client.Helo, m.Client.Protocol, m.Client.TLS))
		if v.Erased { // what was erased is not known to be empty
			from, client = "", ""
		}
		row("entry", m.ID)
		row("received", m.Received.Local().Format("2 Jan 2006 15:04:05")+", "+ago(m.Received, now))
		row("envelope from", from)
		row("from", m.Summary.From)
		row("to", m.Summary.To)
		row("subject", m.Summary.Subject)
		row("date", m.Summary.Date)
		row("message id", m.Summary.MessageID)
		row("size", sizes(m))
		row("client", client)
		row("sender is", verdicts(m.Verdicts))
		row("at the border", atBorder(m.Verdicts))
		row("filters say", filters(m.Verdicts))
		if m.Reason != m.Quarantine {
			row("kept because", admin.Brief(m.Reason))
		}
		row("must stay", within(m.Params))
		row("in quarantine", quarantine(v))
		row("sha256", m.SHA256)
		row("in", fmt.Sprintf("%s batch %d", v.Location.Stream, v.Location.Seq))
		t.print(e.Out)
	}
	if v.Erased {
		fmt.Fprintln(e.Out, "its content and addresses were erased")
	}
	fmt.Fprintln(e.Out, "\nrecipients")
	t := table{env: e, indent: "  "}
	for _, p := range v.Pairs {
		style := ""
		if p.State == spool.StateParked {
			style = styleAmber
		}
		address := clean(p.Address)
		if v.Erased && address == "" {
			address = "(erased)"
		}
		t.add(col(address), styled(style, string(p.State)), col(clean(why(p))))
	}
	t.print(e.Out)
	if len(v.Events) == 0 {
		return
	}
	fmt.Fprintln(e.Out, "\nevents")
	t = table{env: e, indent: "  "}
	for _, ev := range v.Events {
		t.add(col(ev.Time.Local().Format("2 Jan 15:04:05")), col(eventWord(ev)), col(clean(ev.By)), col(clean(eventText(ev))))
	}
	t.print(e.Out)
}

// sizes is the size of a message as its sender gave it, and of the trace fields that we put before it.
func sizes(m *spool.Entry) string {
	size := octets(m.Size - int64(m.TraceSize))
	if m.TraceSize > 0 {
		size += ", and " + octets(int64(m.TraceSize)) + " of trace fields before it"
	}
	return size
}

// within is where its sender wants a message to stay.
func within(p spool.Params) string {
	if !p.RequireTLS {
		return ""
	}
	return "within verified TLS (REQUIRETLS)"
}

// eventText is what the primary, or whoever did it, said.
func eventText(ev spool.Event) string {
	text := ev.Reply
	if ev.Reason != "" {
		text = strings.TrimSpace(ev.Reason + " " + text)
	}
	if ev.Host != "" {
		text += " (" + ev.Host + ")"
	}
	if tls, ok := ev.Data["tls"].(string); ok {
		text += ", " + tls
	}
	return text
}

// eventWord is what an event is called. An erasure has two: it is recorded before it begins, so that it is finished
// whatever happens, and again when the content is gone.
func eventWord(ev spool.Event) string {
	if ev.Type == spool.Erased && ev.Data["done"] != true {
		return "erasing"
	}
	return string(ev.Type)
}

func newQueueAct(c *command, do, short, example string) *cobra.Command {
	var f filterFlags
	var a admin.Action
	var yes bool
	cmd := &cobra.Command{
		Use:     do + " [<entry>...]",
		Short:   short,
		Long:    short + ".\n\nName entries (the beginning of an id will do; --rcpt limits it to one recipient), or choose pairs by flags.",
		Example: example,
		Args:    argCount(0, -1, "the entry"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.finish(); err != nil {
				return err
			}
			a.Do, a.IDs = do, args
			if len(args) == 0 {
				if f.empty() {
					return admin.Errorf(admin.KindUsage, "see `"+cmd.CommandPath()+" --help`", "name entries, or choose some by --domain, --rcpt, --from, --state, ...")
				}
				a.Filter = f.Filter
			} else {
				a.Rcpt = f.Rcpt
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			return c.act(cmd, client, a, yes)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&a.Reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&a.DryRun, "dry-run", false, "say how many, change nothing")
	if do == "remove" {
		cmd.Flags().BoolVar(&a.Erase, "erase", false, "also take content and addresses out of the store, for good")
	}
	if do == "remove" || do == "release" {
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	} else {
		yes = true
	}
	return cmd
}

func (c *command) act(cmd *cobra.Command, client *admin.Client, a admin.Action, yes bool) error {
	if a.Do == "release" && !yes && !a.DryRun {
		if err := c.askRelease(cmd, client, a); err != nil {
			return err
		}
	}
	if a.Do == "remove" && !yes && !a.DryRun {
		try := a
		try.DryRun = true
		r, err := client.Act(cmd.Context(), try)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("this removes %s of %s", plural(r.Pairs, "pair"), plural(r.Entries, "message"))
		if a.Erase {
			what = fmt.Sprintf("this removes %s, and erases content and addresses of %s for good", plural(r.Pairs, "pair"), plural(r.Entries, "message"))
		}
		if r.Entries == 0 { // there is nothing to ask about
			return c.acted(a, r)
		}
		if err := c.confirm(false, "%s", what); err != nil {
			return err
		}
	}
	r, err := client.Act(cmd.Context(), a)
	if err != nil {
		return err
	}
	return c.acted(a, r)
}

// askRelease asks before anything is let out of quarantine: it goes to the primary and into mailboxes as it is.
func (c *command) askRelease(cmd *cobra.Command, client *admin.Client, a admin.Action) error {
	a.DryRun = true
	r, err := client.Act(cmd.Context(), a)
	if err != nil || len(r.Quarantine) == 0 {
		return err
	}
	return c.confirm(false, "this lets mail out of quarantine (%s), %s of %s in all", clean(strings.Join(r.Quarantine, "; ")), plural(r.Pairs, "pair"), plural(r.Entries, "message"))
}

// quarantine says why a message was put into quarantine, and whether it still is.
func quarantine(v *index.View) string {
	if v.Entry.Quarantine == "" {
		return ""
	}
	if slices.ContainsFunc(v.Pairs, func(p spool.Pair) bool { return p.Quarantine != "" && p.State == spool.StateParked }) {
		return v.Entry.Quarantine + " -> restante queue release " + v.Entry.ID
	}
	return "no more: " + v.Entry.Quarantine
}

// acted says what was done.
func (c *command) acted(a admin.Action, r *admin.ActResult) error {
	if c.common.json {
		return c.printJSON(r)
	}
	did := map[string]string{"hold": "held", "release": "released", "retry": "to be tried again", "remove": "removed"}[a.Do]
	if a.DryRun {
		did = "would be " + did
	}
	fmt.Fprintf(c.Out, "%s of %s %s\n", plural(r.Pairs, "pair"), plural(r.Entries, "message"), did)
	if a.Erase && r.Entries > 0 {
		erased := "erased"
		if a.DryRun {
			erased = "would be erased"
		}
		fmt.Fprintf(c.Out, "content and addresses of %s %s\n", plural(r.Entries, "message"), erased)
	}
	if a.DryRun {
		for _, why := range r.Quarantine {
			fmt.Fprintln(c.Out, "  out of quarantine: "+clean(why))
		}
	}
	for _, s := range r.Skipped {
		fmt.Fprintln(c.Out, "  skipped "+clean(s))
	}
	return nil
}

package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/relay/policy/rcpt"
	"restante/relay/policy/rcpt/source"
)

func newRecipient(c *command) *cobra.Command {
	return group("recipient", "Which addresses the domains have: lists, and what becomes of an address",
		`  restante recipient import recipients.csv --dry-run
  restante recipient test anna@example.com
  restante recipient list --state absent
  restante recipient sync`,
		newRecipientImport(c), newRecipientSync(c), newRecipientList(c), newRecipientTest(c),
		newRecipientEdit(c, "add", "Add single addresses to those that exist", "exists now", "was known already"),
		newRecipientEdit(c, "remove", "Take single addresses out of what was added and imported", "is removed", "was not there"),
		newRecipientForget(c))
}

func newRecipientForget(c *command) *cobra.Command {
	var o rcpt.ReplaceOptions
	cmd := &cobra.Command{
		Use:   "forget <domain>",
		Short: "Let the imported list of a domain go as a whole",
		Long: `Let the imported list of a domain go as a whole: when its recipients come from a file or LDAP by now, people who have left
would stay known by it. Single addresses that were added stay, and so does what the primary has taken mail for. Without
any other list all mail for the domain is kept again.`,
		Example: "  restante recipient forget example.com --dry-run",
		Args:    argCount(1, 1, "the domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			o.Force = true
			change, err := client.RecipientImport(cmd.Context(), admin.RecipientImport{Domain: args[0], Options: o})
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(change)
			}
			c.printChange(change.Domain, change, o.DryRun)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&o.DryRun, "dry-run", "n", false, "only say what would change")
	return cmd
}

func newRecipientImport(c *command) *cobra.Command {
	var domain, format string
	var o rcpt.ReplaceOptions
	cmd := &cobra.Command{
		Use:   "import <file>",
		Short: "Import the full list of a domain's recipients, as mail servers export it",
		Long: `Import the full list of a domain's recipients from a file ("-" is standard input). It takes the place of the list that
was imported before; lists of the configuration and addresses that were added stay beside it. A file with addresses of
several domains is taken apart; a domain that isn't in it keeps its list.

The format shows by itself, or is named: plain (one a line), postfix (lookup tables), aliases (/etc/aliases), passwd, csv
(Exchange, Microsoft 365, Google Workspace, or a column called address), ldif (ldapsearch, ldifde, zmprov).
UTF-16 and Windows-1252 are read too.

A list that loses more than half of its addresses is refused without --force: most often the export broke.`,
		Example: `  restante recipient import recipients.csv --dry-run
  doveadm user '*' | restante recipient import -
  postmap -s hash:/etc/postfix/relay_recipients | restante recipient import - --domain example.com`,
		Args: argCount(1, 1, "the file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			lists, err := client.Recipients(cmd.Context(), domain)
			if err != nil {
				return err
			}
			res, err := c.readList(args[0], format, importDomain(domain, lists))
			if err != nil {
				return err
			}
			return c.importLists(cmd.Context(), client, res, lists, domain, o)
		},
	}
	recipientDomain(cmd, &domain, "only this domain; names without a domain are of it (default: those in the file, or the only one there is)")
	cmd.Flags().StringVar(&format, "format", source.Auto, strings.Join(source.Formats(), ", "))
	cmd.Flags().BoolVarP(&o.DryRun, "dry-run", "n", false, "only say what would change")
	cmd.Flags().BoolVar(&o.Force, "force", false, "even when the list loses more than half of its addresses")
	return cmd
}

func recipientDomain(cmd *cobra.Command, domain *string, usage string) {
	cmd.Flags().StringVar(domain, "domain", "", usage)
}

// importDomain is the domain that a file is about: the one named, or the only one that has lists; "" when its addresses say.
func importDomain(named string, lists []admin.RecipientLists) string {
	if named != "" {
		return lists[0].Domain // as the node writes it
	}
	own := slices.DeleteFunc(slices.Clone(lists), func(l admin.RecipientLists) bool { return l.AliasOf != "" })
	if len(own) == 1 {
		return own[0].Domain
	}
	return ""
}

func (c *command) readList(name, format, domain string) (source.Result, error) {
	in := c.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return source.Result{}, admin.Errorf(admin.KindUsage, "name a file that you may read", "%w", err)
		}
		defer f.Close()
		in = f
	}
	res, err := source.Parse(in, format, domain)
	if err != nil {
		return res, admin.Errorf(admin.KindUsage, "nothing was changed; see `restante recipient import --help`", "%s: %w", name, err)
	}
	return res, nil
}

// imported is what an import prints as JSON.
type imported struct {
	Format    string           `json:"format"`
	Changes   []*rcpt.Change   `json:"changes"`
	Elsewhere map[string]int   `json:"elsewhere,omitempty"` // addresses of other domains, which were left out
	Skipped   []source.Problem `json:"skipped,omitempty"`
	More      int              `json:"more,omitempty"` // lines that were skipped beside those
	DryRun    bool             `json:"dry_run,omitempty"`
}

// importLists gives each domain its part of a file.
func (c *command) importLists(ctx context.Context, client *admin.Client, res source.Result, lists []admin.RecipientLists, named string, o rcpt.ReplaceOptions) error {
	out := imported{Format: res.Format, Elsewhere: res.Elsewhere, Skipped: res.Skipped, More: res.More, DryRun: o.DryRun, Changes: []*rcpt.Change{}}
	parts := map[string][]rcpt.Address{}
	for _, a := range res.Addresses {
		d := a.Address[strings.LastIndexByte(a.Address, '@')+1:]
		parts[d] = append(parts[d], a)
	}
	var failed error
	for _, d := range domainsOf(parts) {
		hosted := slices.ContainsFunc(lists, func(l admin.RecipientLists) bool { return l.Domain == d })
		if !hosted && named == "" {
			if out.Elsewhere == nil {
				out.Elsewhere = map[string]int{}
			}
			out.Elsewhere[d] = len(parts[d])
			continue
		}
		change, err := client.RecipientImport(ctx, admin.RecipientImport{Domain: d, Addresses: parts[d], Options: o})
		if err != nil {
			failed = err
			break
		}
		out.Changes = append(out.Changes, change)
	}
	if failed == nil && len(out.Changes) == 0 {
		return admin.Errorf(admin.KindUsage, "is it the right file?", "nobody in the file is of a domain that is hosted here, they are of %s", elsewhere(out.Elsewhere))
	}
	if c.common.json {
		if err := c.printJSON(out); err != nil {
			return err
		}
	} else {
		c.printImported(&out)
	}
	switch {
	case failed != nil:
		return failed
	case len(out.Skipped) > 0, slices.ContainsFunc(out.Changes, func(change *rcpt.Change) bool { return change.Shrinks }):
		return errAttention
	}
	return nil
}

func domainsOf(parts map[string][]rcpt.Address) []string {
	list := make([]string, 0, len(parts))
	for d := range parts {
		list = append(list, d)
	}
	slices.Sort(list)
	return list
}

// elsewhere lists domains with their counts, the greatest first.
func elsewhere(m map[string]int) string {
	list := make([]string, 0, len(m))
	for d := range m {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	for i, d := range list {
		list[i] = fmt.Sprintf("%s (%s)", d, thousands(int64(m[d])))
	}
	return someOf(list, 5)
}

func (c *command) printImported(out *imported) {
	for _, change := range out.Changes {
		c.printChange(change.Domain, change, out.DryRun)
	}
	if len(out.Elsewhere) > 0 {
		fmt.Fprintf(c.Out, "left out, of other domains: %s\n", elsewhere(out.Elsewhere))
	}
	c.printSkipped(out.Skipped, out.More, out.Format)
	if out.DryRun {
		fmt.Fprintln(c.Out, "nothing was changed: --dry-run")
	}
}

// changesShown is how many addresses of a change are printed.
const changesShown = 10

// printChange says what a new list changes.
func (c *command) printChange(head string, change *rcpt.Change, dry bool) {
	would := ""
	if dry {
		would = "would be "
	}
	fmt.Fprintf(c.Out, "%s  %s, %s %sadded, %s %sremoved\n", c.paint(styleBold, head), plural(int64(change.After), "recipient"),
		thousands(int64(len(change.Added))), would, thousands(int64(len(change.Removed))), would)
	show := func(sign, style string, list []string) {
		for i, a := range list {
			if i == changesShown {
				fmt.Fprintf(c.Out, "  %s and %s more; see --json\n", sign, thousands(int64(len(list)-i)))
				break
			}
			fmt.Fprintln(c.Out, "  "+c.paint(style, sign+" "+clean(a)))
		}
	}
	show("-", styleRed, change.Removed)
	if !change.First || dry { // the first list is all new
		show("+", styleGreen, change.Added)
	}
	if change.Shrinks {
		fmt.Fprintln(c.Out, "  "+c.paint(styleAmber, fmt.Sprintf("more than half of the %d before would go: without --force it is refused", change.Before)))
	}
}

func (c *command) printSkipped(list []source.Problem, more int, format string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(c.Out, c.paint(styleAmber, fmt.Sprintf("%s could not be read (as %s):", plural(int64(len(list)+more), "line"), format)))
	t := table{env: c.Env, indent: "  "}
	for i, p := range list {
		if i == changesShown {
			break
		}
		t.add(col(fmt.Sprintf("line %d", p.Line)), col(clean(p.Text)), col(p.Why))
	}
	t.print(c.Out)
	if n := len(list) + more - changesShown; n > 0 {
		fmt.Fprintf(c.Out, "  and %s more; see --json\n", thousands(int64(n)))
	}
}

func newRecipientSync(c *command) *cobra.Command {
	var r admin.RecipientSync
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Read the lists that the configuration names, at once",
		Long: `Read the lists that the configuration names (recipients_file, [domain.ldap]) at once. It happens by itself, too: files
when they change, LDAP every interval. Exit code 4 when a list can't be read; the one before stays in force.`,
		Example: `  restante recipient sync --dry-run
  restante recipient sync --domain example.com --force`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			list, err := client.RecipientSync(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.common.json {
				err = c.printJSON(list)
			} else {
				for i := range list {
					c.printSynced(&list[i], r.Options.DryRun)
				}
			}
			if err == nil && slices.ContainsFunc(list, func(o source.Outcome) bool { return o.Error != "" }) {
				return errAttention
			}
			return err
		},
	}
	recipientDomain(cmd, &r.Domain, "only this domain")
	cmd.Flags().BoolVarP(&r.Options.DryRun, "dry-run", "n", false, "only say what would change")
	cmd.Flags().BoolVar(&r.Options.Force, "force", false, "even when a list loses more than half of its addresses")
	return cmd
}

func (c *command) printSynced(o *source.Outcome, dry bool) {
	head := o.Domain + " from " + o.Source
	if o.Error != "" && !(dry && o.Change != nil && o.Change.Shrinks) {
		fmt.Fprintf(c.Out, "%s  %s\n", c.paint(styleBold, head), c.paint(styleRed, clean(o.Error)))
	} else if o.Change != nil {
		c.printChange(head, o.Change, dry)
	}
	c.printSkipped(o.Skipped, o.More, o.Source)
}

func newRecipientList(c *command) *cobra.Command {
	r := admin.RecipientFilter{}
	var state string
	cmd := &cobra.Command{
		Use:   "list [<text>]",
		Short: "List the recipients that are known, and where from",
		Long: `List the recipients that are known, and where from: configuration, import, file, ldap, added, primary (it has taken mail for
them). With a text only those that have it in their address. --state absent lists those that the primary refused not long ago.`,
		Example: `  restante recipient list
  restante recipient list anna --domain example.com
  restante recipient list --source primary
  restante recipient list --state absent`,
		Args: argCount(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.Filter.Text = args[0]
			}
			if r.Filter.State = rcpt.State(state); r.Filter.State != rcpt.Exists && r.Filter.State != rcpt.Absent {
				return admin.Errorf(admin.KindUsage, "write exists or absent", "there is no state %q", state)
			}
			if s := r.Filter.Source; s != "" && !slices.Contains(rcptSources, s) {
				return admin.Errorf(admin.KindUsage, "write one of "+strings.Join(rcptSources, ", "), "there is no source %q", s)
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := c.stillReading(cmd.Context(), client); err != nil {
				return err
			}
			lists, err := client.Recipients(cmd.Context(), r.Domain)
			if err != nil {
				return err
			}
			list := []rcpt.Recipient{}
			for _, l := range lists {
				one, err := client.RecipientList(cmd.Context(), admin.RecipientFilter{Domain: l.Domain, Filter: r.Filter})
				if err != nil {
					return err
				}
				list = append(list, one...)
			}
			if c.common.json {
				return c.printJSON(list)
			}
			c.printRecipients(list, lists)
			return nil
		},
	}
	recipientDomain(cmd, &r.Domain, "only this domain")
	cmd.Flags().StringVar(&r.Filter.Source, "source", "", "only those from there: configuration, import, file, ldap, added or primary")
	cmd.Flags().StringVar(&state, "state", string(rcpt.Exists), "exists or absent")
	return cmd
}

// rcptSources are where recipients are known from.
var rcptSources = []string{rcpt.SourceConfig, rcpt.SourceImport, rcpt.SourceFile, rcpt.SourceLDAP, rcpt.SourceAdded, rcpt.SourcePrimary}

func (c *command) printRecipients(list []rcpt.Recipient, lists []admin.RecipientLists) {
	now := time.Now()
	t := table{env: c.Env, head: []string{"ADDRESS", "KIND", "FROM"}}
	for _, r := range list {
		from := col(strings.Join(r.Sources, ", "))
		if r.State == rcpt.Absent {
			from = styled(styleAmber, "refused by the primary "+ago(r.At, now))
		}
		t.add(col(clean(r.Address)), col(r.Kind), from)
	}
	t.print(c.Out)
	for _, l := range lists {
		fmt.Fprintln(c.Out, c.Env.fold(c.paint(styleDim, l.Domain+": "+listsWord(&l.Freshness, now))))
	}
}

// listsWord says how fresh and complete the lists of a domain are: "412 known (2 h old)".
func listsWord(f *rcpt.Freshness, now time.Time) string {
	ever := slices.ContainsFunc(f.Sources, func(s rcpt.SourceState) bool { return !s.At.IsZero() })
	var word string
	switch {
	case f.AliasOf != "":
		word = "those of " + f.AliasOf
	case f.CatchAll:
		word = "any"
	case f.Reading:
		word = fmt.Sprintf("%s known, still reading, keeping all", thousands(int64(f.Known)))
	case !f.Complete && !ever:
		word = "never imported, keeping all"
	case !f.Complete:
		word = fmt.Sprintf("%s known, not complete, keeping all", thousands(int64(f.Known)))
	case f.At.IsZero():
		word = thousands(int64(f.Known)) + " known"
	default:
		word = fmt.Sprintf("%s known (%s old)", thousands(int64(f.Known)), span(now.Sub(f.At)))
	}
	failing := ""
	for _, s := range f.Sources {
		if s.Err != "" {
			failing += ", " + s.Name + " FAILS"
		}
	}
	if f.Stale && failing == "" {
		failing = ", TOO OLD"
	}
	return word + failing
}

// recipientsPart is the same for a line of `restante status`.
func recipientsPart(f *rcpt.Freshness, now time.Time) string {
	if word := listsWord(f, now); strings.HasPrefix(word, "never") || f.AliasOf != "" {
		return "recipients: " + word
	}
	return "recipients " + listsWord(f, now)
}

func newRecipientTest(c *command) *cobra.Command {
	return &cobra.Command{
		Use:   "test <address>...",
		Short: "Say what would happen to mail for an address and why, now and while the primary is down",
		Example: `  restante recipient test anna@example.com anna+shop@example.com
  restante recipient test nobody@example.com --json`,
		Args: argCount(1, -1, "the address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := c.stillReading(cmd.Context(), client); err != nil {
				return err
			}
			list := []*admin.RecipientTest{}
			for _, a := range args {
				t, err := client.RecipientTest(cmd.Context(), a)
				if err != nil {
					return err
				}
				list = append(list, t)
			}
			if c.common.json {
				return c.printJSON(list)
			}
			for _, t := range list {
				c.printTest(c.Out, t)
			}
			return nil
		},
	}
}

func (c *command) printTest(w io.Writer, t *admin.RecipientTest) {
	state := map[rcpt.State][2]string{rcpt.Exists: {"exists", styleGreen}, rcpt.Absent: {"unknown", styleAmber}, rcpt.Unsure: {"unsure", styleAmber}}[t.Known.State]
	fmt.Fprintf(w, "%s  %s\n", c.paint(styleBold, clean(t.Address)), c.paint(state[1], state[0]))
	rows := table{env: c.Env, indent: "  ", whole: true}
	line := func(when string, o admin.RecipientOutcome) {
		do := map[string]cell{
			"pass": styled(styleGreen, "asks the primary"), string(rcpt.Take): styled(styleGreen, "kept"),
			string(rcpt.Defer): styled(styleAmber, fmt.Sprintf("put off with %d", o.Code)), string(rcpt.Refuse): styled(styleRed, fmt.Sprintf("refused with %d", o.Code)),
		}[o.Do]
		rows.add(col(when), do, col(clean(o.Why)))
	}
	line("now", t.Now)
	line("in an outage", t.Outage)
	rows.print(w)
}

func newRecipientEdit(c *command, do, short, done, same string) *cobra.Command {
	long := short + `. They are kept beside the lists, on all nodes, until they are removed.`
	if do == "remove" {
		long = short + `. What is in the configuration, a file or LDAP is taken out there: it would come back.
What the primary has taken mail for stays known.`
	}
	return &cobra.Command{
		Use:     do + " <address>...",
		Short:   short,
		Long:    long,
		Example: "  restante recipient " + do + " anna@example.com",
		Args:    argCount(1, -1, "the address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			r, err := client.RecipientEdit(cmd.Context(), admin.RecipientEdit{Do: do, Addresses: args})
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(r)
			}
			for _, a := range r.Changed {
				fmt.Fprintf(c.Out, "%s %s\n", clean(a), done)
			}
			for _, a := range r.Same {
				fmt.Fprintf(c.Out, "%s %s\n", clean(a), same)
			}
			return nil
		},
	}
}

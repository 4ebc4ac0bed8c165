package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/webmail/accounts"
)

// importMax bounds a file to import: it goes to the node in one request.
const importMax = 5 << 20

func newUserImport(c *command) *cobra.Command {
	var r admin.UserImport
	cmd := &cobra.Command{
		Use:   "import <file>",
		Short: "Import people from CSV, a Dovecot passwd-file or htpasswd",
		Long: `Import people from a file ("-" is standard input). People that are new are added, others get what the file says;
nobody is taken away, and importing the same file again changes nothing. Password hashes are taken over
(ARGON2ID, BLF-CRYPT, SHA512-CRYPT, SSHA, apr1) and replaced by better ones at the first sign-in.

CSV: the first line names the columns, in any order; address is the only one that must be there.
  ` + strings.Join(accounts.Columns(), ", ") + `
Several addresses in a cell stand apart by spaces. kind is person (default), group or shared:
a group's members read its mail in their own mailboxes, a shared mailbox is one of its own for its members.

  address,name,aliases,kind,members
  anna@example.com,Anna Schmidt,a.schmidt@example.com,,
  sales@example.com,,,group,anna@example.com ben@example.com
  info@example.com,,,shared,anna@example.com sales@example.com`,
		Example: `  restante user import people.csv --dry-run
  restante user import /etc/dovecot/users --format dovecot --domain example.com`,
		Args: argCount(1, 1, "the file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if r.File, err = c.readFile(args[0]); err != nil {
				return err
			}
			if r.Format == "" {
				r.Format = guessFormat(args[0], r.File)
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			res, err := client.UserImport(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(res)
			}
			return c.printImport(res, r)
		},
	}
	cmd.Flags().StringVar(&r.Format, "format", "", "csv, dovecot or htpasswd (default: by the look of the file)")
	cmd.Flags().StringVar(&r.Domain, "domain", "", "domain of users that stand without one")
	cmd.Flags().BoolVarP(&r.Options.DryRun, "dry-run", "n", false, "only say what would be done")
	cmd.Flags().BoolVar(&r.Options.Exact, "exact", false, "take away aliases, shared mailboxes and groups of these people that the file doesn't name")
	cmd.Flags().BoolVar(&r.Options.Passwords, "passwords", false, "replace passwords that were set here, too")
	return cmd
}

func (c *command) readFile(name string) ([]byte, error) {
	in := c.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, admin.Errorf(admin.KindUsage, "name a file that you may read", "%w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, importMax+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(b) > importMax {
		return nil, admin.Errorf(admin.KindUsage, "split it, with the first line in each part", "%s has more than %s", name, octets(importMax))
	}
	return b, nil
}

// guessFormat looks at the first line that says something.
func guessFormat(name string, file []byte) string {
	if strings.EqualFold(filepath.Ext(name), ".csv") {
		return accounts.FormatCSV
	}
	for line := range strings.Lines(string(file[:min(len(file), 64<<10)])) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case strings.Count(line, ":") >= 2:
			return accounts.FormatDovecot
		case strings.Contains(line, ":$") || strings.Contains(line, ":{"):
			return accounts.FormatHtpasswd
		}
		break
	}
	return accounts.FormatCSV
}

// notesShown is how many notes of an import are printed.
const notesShown = 30

func (c *command) printImport(res *accounts.ImportResult, r admin.UserImport) error {
	would := ""
	if res.DryRun {
		would = "would be "
	}
	skipped := 0
	for _, n := range res.Notes {
		if n.Skipped {
			skipped++
		}
	}
	fmt.Fprintf(c.Out, "%s %sadded, %s %schanged, %s as before", thousands(int64(len(res.Added))), would, thousands(int64(len(res.Changed))), would, thousands(int64(res.Same)))
	if res.Groups > 0 {
		fmt.Fprintf(c.Out, "; %s", plural(int64(res.Groups), "group"))
	}
	if skipped > 0 {
		fmt.Fprintf(c.Out, "; %s", c.paint(styleAmber, fmt.Sprintf("%s not taken over", plural(int64(skipped), "line"))))
	}
	fmt.Fprintln(c.Out)
	t := table{env: c.Env, indent: "  ", whole: true}
	for i, n := range res.Notes {
		if i == notesShown {
			break
		}
		where := ""
		if n.Line > 0 {
			where = fmt.Sprintf("line %d", n.Line)
		}
		t.add(col(where), col(clean(n.Text)))
	}
	t.print(c.Out)
	if more := len(res.Notes) - notesShown; more > 0 {
		fmt.Fprintf(c.Out, "  and %d more; see --json\n", more)
	}
	if n := len(res.Absent); n > 0 {
		fmt.Fprintf(c.Out, "%s here that the file doesn't have; nothing was done to %s: %s\n", people(n), themOrIt(n), someOf(res.Absent, 5))
	}
	switch {
	case res.DryRun:
		fmt.Fprintln(c.Out, "nothing was changed: --dry-run")
	case len(res.Added) > 0:
		fmt.Fprintln(c.Out, "next: restante user code --missing --html codes.html, and see restante user readiness")
	}
	if skipped > 0 && !res.DryRun {
		return errAttention
	}
	return nil
}

func themOrIt(n int) string {
	if n == 1 {
		return "that one"
	}
	return "them"
}

// someOf is the first n of a list.
func someOf(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}

func newUserExport(c *command) *cobra.Command {
	var r admin.UserExport
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print people as CSV, in the form that import reads",
		Example: `  restante user export > people.csv
  restante user export --hashes > people-with-hashes.csv`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if c.common.json {
				list, err := client.Users(cmd.Context())
				if err != nil {
					return err
				}
				return c.printJSON(list)
			}
			return client.UserExport(cmd.Context(), r, c.Out)
		},
	}
	cmd.Flags().BoolVar(&r.Hashes, "hashes", false, "with password hashes: keep that file as you keep passwords")
	return cmd
}

func newUserInvite(c *command) *cobra.Command {
	var r admin.UserSelect
	cmd := &cobra.Command{
		Use:   "invite [<address>...]",
		Short: "Mail people a link that enrols their laptop or phone, while their mail server is up",
		Long: `Mail people a link, through their own mail server, by which they try the webmail on a good day and enrol
their laptop or phone: from then on that device signs in without a password, for 90 days, renewed at each
practice. --missing invites those who have no device yet.`,
		Example: `  restante user invite anna@example.com
  restante user invite --missing`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := peopleSelected(cmd, &r, args); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			list, err := client.UserInvite(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(list)
			}
			if len(list) == 0 {
				return c.nobody(r, "everybody has a device")
			}
			failed := 0
			t := table{env: c.Env, indent: "  ", whole: true}
			for _, one := range list {
				if one.Error != "" {
					failed++
					t.add(col(one.Address), styled(styleRed, clean(one.Error)))
				}
			}
			fmt.Fprintf(c.Out, "%s invited\n", people(len(list)-failed))
			if failed > 0 {
				fmt.Fprintf(c.Out, "%d not:\n", failed)
				t.print(c.Out)
				return errAttention
			}
			return nil
		},
	}
	peopleFlags(cmd, &r, "everybody who has no device")
	cmd.Flags().StringVar(&r.For, "for", "7d", "how long the link is good: 12h, 3d")
	return cmd
}

func newUserReadiness(c *command) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "readiness",
		Short: "Say who could sign in right now, by what, who has practised, and who couldn't",
		Long: `Say who could sign in right now, by what, who has practised, and who couldn't: people without a password,
codes or a device, and addresses that get mail which nobody could read. Exit code 4 when there are any.`,
		Example: `  restante user readiness
  restante user readiness --all`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := c.stillReading(cmd.Context(), client); err != nil {
				return err
			}
			r, err := client.UserReadiness(cmd.Context())
			if err != nil {
				return err
			}
			if c.common.json {
				if err := c.printJSON(r); err != nil {
					return err
				}
			} else {
				c.printReadiness(r, all)
			}
			if r.Could < r.Accounts || len(r.Unclaimed) > 0 {
				return errAttention
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "list everybody, not only who couldn't")
	return cmd
}

// unclaimedShown is how many addresses without an account are printed.
const unclaimedShown = 20

func (c *command) printReadiness(r *admin.UserReadiness, all bool) {
	if r.Accounts == 0 {
		fmt.Fprintln(c.Out, "nobody yet; `restante user import` takes a whole file")
	} else {
		style := styleGreen
		if r.Could < r.Accounts {
			style = styleAmber
		}
		fmt.Fprintln(c.Out, c.paint(style, fmt.Sprintf("%s of %s could sign in in an outage", thousands(int64(r.Could)), thousands(int64(r.Accounts))))+
			fmt.Sprintf("   %s right now   %s practised", thousands(int64(r.Now)), haveHas(r.Practised))+notCounted(r.Disabled))
		if len(r.Outages) > 0 {
			fmt.Fprintf(c.Out, "codes count now: an outage is open for %s\n", strings.Join(r.Outages, ", "))
		}
	}
	var without []accounts.Ready
	for _, p := range r.People {
		if len(p.Ways) == 0 {
			without = append(without, p)
		}
	}
	if len(without) > 0 {
		fmt.Fprintln(c.Out, "couldn't:")
		t := table{env: c.Env, indent: "  "}
		for _, p := range without {
			t.add(col(p.Account.Address), col(clean(p.Account.Name)), styled(styleAmber, p.Why))
		}
		t.print(c.Out)
		fmt.Fprintln(c.Out, "  codes for them: restante user code --missing --html codes.html")
	}
	if all {
		c.printReady(r.People)
	}
	if n := len(r.Unclaimed); n > 0 {
		fmt.Fprintln(c.Out, "mail that nobody could read, since no account has the address:")
		t := table{env: c.Env, indent: "  "}
		for i, u := range r.Unclaimed {
			if i == unclaimedShown {
				break
			}
			t.add(col(clean(u.Address)), num(u.Count))
		}
		t.print(c.Out)
		if n > unclaimedShown {
			fmt.Fprintf(c.Out, "  and %d more; see --json\n", n-unclaimedShown)
		}
		fmt.Fprintln(c.Out, "  it is kept and handed over as all mail is; `restante user add` or `set --alias` shows it to somebody")
	}
}

func (c *command) printReady(people []accounts.Ready) {
	now := time.Now()
	t := table{env: c.Env, head: []string{"ADDRESS", "RIGHT NOW BY", "IN AN OUTAGE ALSO BY", "PRACTISED"}}
	for _, p := range people {
		if len(p.Ways) == 0 {
			continue
		}
		at, also := strings.Join(p.Now, ", "), ""
		if len(p.Ways) > len(p.Now) && p.Codes != nil {
			also = fmt.Sprintf("codes (%d left)", p.Codes.Left)
		}
		if at == "" {
			at = "-"
		}
		practised := "never"
		if !p.Practised.IsZero() {
			practised = ago(p.Practised, now)
		}
		t.add(col(p.Account.Address), col(at), col(also), col(practised))
	}
	t.print(c.Out)
}

// notCounted names the accounts that are left out.
func notCounted(disabled int) string {
	if disabled == 0 {
		return ""
	}
	return fmt.Sprintf("   (%s disabled, not counted)", thousands(int64(disabled)))
}

func haveHas(n int) string {
	if n == 1 {
		return "1 has"
	}
	return thousands(int64(n)) + " have"
}

package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/webmail/accounts"
)

func newUser(c *command) *cobra.Command {
	return group("user", "People who may read and write mail in an outage, and how they sign in",
		`  restante user import people.csv --dry-run
  restante user code --missing --html codes.html
  restante user readiness
  restante user link anna@example.com`,
		newUserAdd(c), newUserList(c), newUserShow(c), newUserSet(c), newUserPasswd(c), newUserCode(c), newUserLink(c), newUserInvite(c),
		newUserImport(c), newUserExport(c), newUserReadiness(c),
		newUserState(c, "disable", "Keep people from signing in; their mail is kept as before", "can't sign in any more"),
		newUserState(c, "enable", "Let people sign in again", "may sign in again"),
		newUserState(c, "delete", "Delete accounts; their mail is kept, and undelete brings them back", "is deleted; `restante user undelete` brings it back"),
		newUserState(c, "undelete", "Bring deleted accounts back, as they were", "is back, with all that it had"), newUserSignOut(c))
}

// editFlags are the flags of `user add` and `user set`.
type editFlags struct {
	name, language, zone string
	edit                 accounts.Edit
}

func (f *editFlags) register(cmd *cobra.Command, change bool) {
	s := cmd.Flags()
	s.StringVar(&f.name, "name", "", "name of the person")
	s.StringSliceVar(&f.edit.Aliases, "alias", nil, "another address of the person (may be repeated)")
	s.StringSliceVar(&f.edit.Shared, "shared", nil, "a shared mailbox that the person reads and answers, for example info@example.com")
	s.StringSliceVar(&f.edit.Groups, "group", nil, "a group or list whose mail the person reads")
	s.StringVar(&f.language, "language", "", "language of the pages: en, fr, de, ja (default: as the browser wishes)")
	s.StringVar(&f.zone, "zone", "", "time zone, for example Europe/Berlin (default: as the browser says)")
	if change {
		s.StringSliceVar(&f.edit.NoAliases, "no-alias", nil, "take an address away")
		s.StringSliceVar(&f.edit.NoShared, "no-shared", nil, "take a shared mailbox away")
		s.StringSliceVar(&f.edit.NoGroups, "no-group", nil, "take out of a group")
	}
}

func (f *editFlags) get(cmd *cobra.Command) accounts.Edit {
	e := f.edit
	for name, to := range map[string]struct{ from, to any }{"name": {&f.name, &e.Name}, "language": {&f.language, &e.Language}, "zone": {&f.zone, &e.Zone}} {
		if cmd.Flags().Changed(name) {
			*to.to.(**string) = to.from.(*string)
		}
	}
	return e
}

func newUserAdd(c *command) *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:   "add <address>",
		Short: "Add a person",
		Long: `Add a person, by the main address. Nobody can sign in to it before it has a password, codes on paper,
or a link; mail that has come for the address is there at once.`,
		Example: `  restante user add anna@example.com --name "Anna Schmidt" --alias a.schmidt@example.com --shared info@example.com`,
		Args:    argCount(1, 1, "the address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			u, err := client.UserAdd(cmd.Context(), admin.UserEdit{Address: args[0], Edit: f.get(cmd)})
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(u)
			}
			fmt.Fprintf(c.Out, "%s is added, and has no way to sign in yet. Give it one:\n", u.Address)
			t := table{env: c.Env, indent: "  "}
			t.add(col("restante user passwd "+u.Address), styled(styleDim, "a password"))
			t.add(col("restante user code "+u.Address), styled(styleDim, "ten codes on paper, for outages"))
			t.add(col("restante user link "+u.Address), styled(styleDim, "a link that works once"))
			t.print(c.Out)
			return nil
		},
	}
	f.register(cmd, false)
	return cmd
}

func newUserSet(c *command) *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:   "set <address>",
		Short: "Change a person's name, addresses, language or time zone",
		Example: `  restante user set anna@example.com --alias anna.meier@example.com --shared info@example.com
  restante user set anna@example.com --no-shared info@example.com`,
		Args: argCount(1, 1, "the address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			u, err := client.UserEdit(cmd.Context(), admin.UserEdit{Address: args[0], Edit: f.get(cmd)})
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(u)
			}
			c.printUser(u)
			return nil
		},
	}
	f.register(cmd, true)
	return cmd
}

func newUserList(c *command) *cobra.Command {
	var deleted bool
	var of string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List people and how they can sign in",
		Example: `  restante user list
  restante user list --of info@example.com`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := c.stillReading(cmd.Context(), client); err != nil {
				return err
			}
			list, err := client.Users(cmd.Context())
			if err != nil {
				return err
			}
			of := strings.ToLower(of)
			list = slices.DeleteFunc(list, func(u admin.User) bool {
				return u.Deleted && !deleted || of != "" && !slices.Contains(slices.Concat(u.Senders(), u.Groups), of)
			})
			if c.common.json {
				return c.printJSON(list)
			}
			if len(list) == 0 {
				fmt.Fprintln(c.Out, "nobody yet; `restante user add` adds a person, `restante user import` a whole file")
				return nil
			}
			t := table{env: c.Env, head: []string{"ADDRESS", "NAME", "ALSO", "SHARED", "SIGNS IN BY"}}
			for _, u := range list {
				by := styled("", signsIn(u))
				if len(u.Ready.Ways) == 0 {
					by.style = styleAmber
				}
				t.add(col(u.Address), col(clean(u.Name)), col(few(u.Aliases)), col(few(u.Shared)), by)
			}
			t.print(c.Out)
			return nil
		},
	}
	cmd.Flags().BoolVar(&deleted, "deleted", false, "deleted ones too")
	cmd.Flags().StringVar(&of, "of", "", "only those who read this address: a shared mailbox, a group, an alias")
	return cmd
}

// people is how many: "1 person", "412 people".
func people(n int) string {
	if n == 1 {
		return "1 person"
	}
	return thousands(int64(n)) + " people"
}

// few is a list in a column: the first, and how many more.
func few(list []string) string {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return list[0]
	}
	return fmt.Sprintf("%s +%d", list[0], len(list)-1)
}

// signsIn is by what a person signs in, or why not.
func signsIn(u admin.User) string {
	switch {
	case u.Deleted || u.Disabled:
		return u.Ready.Why
	case len(u.Ready.Ways) == 0:
		return "NOTHING: " + u.Ready.Why
	}
	var list []string
	for _, w := range u.Ready.Ways {
		if w == accounts.WayCodes && u.Ready.Codes != nil {
			w = fmt.Sprintf("codes (%d left)", u.Ready.Codes.Left)
		}
		list = append(list, w)
	}
	text := strings.Join(list, ", ")
	if u.Ready.Second {
		text += ", with a second step"
	}
	return text
}

func newUserShow(c *command) *cobra.Command {
	return &cobra.Command{
		Use:     "show <address>",
		Short:   "Show one person",
		Example: `  restante user show anna@example.com`,
		Args:    argCount(1, 1, "the address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			u, err := client.User(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(u)
			}
			c.printUser(u)
			return nil
		},
	}
}

func (e *Env) printUser(u *admin.User) {
	now := time.Now()
	head := e.paint(styleBold, u.Address)
	if u.Name != "" {
		head += "  " + clean(u.Name)
	}
	switch {
	case u.Deleted:
		head += "  " + e.paint(styleAmber, "deleted")
	case u.Disabled:
		head += "  " + e.paint(styleAmber, "disabled")
	}
	fmt.Fprintln(e.Out, head)
	t := table{env: e, indent: "  ", whole: true}
	line := func(what, text string) {
		if text != "" {
			t.add(col(what), col(text))
		}
	}
	line("also", strings.Join(u.Aliases, ", "))
	line("shared", strings.Join(u.Shared, ", "))
	line("groups", strings.Join(u.Groups, ", "))
	line("language", u.Language)
	line("time zone", u.Zone)
	line("signs in by", signsIn(*u))
	if c := u.Ready.Codes; c != nil {
		line("codes", fmt.Sprintf("%d of %d left, sheet made %s", c.Left, c.Count, clock(c.Made, now)))
	}
	for _, l := range u.Links {
		line("link", fmt.Sprintf("for %s, good until %s, made by %s", l.Purpose, clock(l.Until, now), l.By))
	}
	for _, d := range u.Devices {
		line("device", fmt.Sprintf("%s (%s), last used %s, good until %s", clean(d.Name), d.Kind, ago(d.Used, now), clock(d.Until, now)))
	}
	for _, s := range u.Sessions {
		agent := ""
		if s.Agent != "" {
			agent = clean(s.Agent) + " at "
		}
		line("signed in", fmt.Sprintf("by %s since %s, %s%s, last seen %s", s.Method, clock(s.Started, now), agent, s.Addr, ago(s.Seen, now)))
	}
	practised := "never"
	if !u.Practised.IsZero() {
		practised = ago(u.Practised, now)
	}
	line("practised", practised)
	line("added", clock(u.Created, now))
	t.print(e.Out)
}

// newUserState is disable, enable, delete or undelete.
func newUserState(c *command, do, short, done string) *cobra.Command {
	return &cobra.Command{
		Use:     do + " <address>...",
		Short:   short,
		Example: "  restante user " + do + " anna@example.com",
		Args:    argCount(1, -1, "the address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			list, err := client.UserState(cmd.Context(), admin.UserState{Do: do, Addresses: args})
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(list)
			}
			for _, u := range list {
				fmt.Fprintf(c.Out, "%s %s\n", u.Address, done)
			}
			return nil
		},
	}
}

func newUserSignOut(c *command) *cobra.Command {
	r := admin.UserState{Do: "sign-out"}
	cmd := &cobra.Command{
		Use:   "sign-out <address>...",
		Short: "Sign people out everywhere, for a laptop or phone that was lost",
		Long: `Sign people out everywhere, on every node, at once. For a laptop or phone that was lost add --devices: devices
that sign in by themselves are forgotten, too. A password stays; restante user passwd changes it.`,
		Example: `  restante user sign-out anna@example.com --devices`,
		Args:    argCount(1, -1, "the address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			r.Addresses = args
			list, err := client.UserState(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(list)
			}
			done := "is signed out everywhere"
			if r.Devices {
				done += ", and has no device any more"
			}
			if r.Second {
				done += ", and needs no second step any more"
			}
			for _, u := range list {
				fmt.Fprintf(c.Out, "%s %s\n", u.Address, done)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&r.Devices, "devices", false, "forget their devices and passkeys, too")
	cmd.Flags().BoolVar(&r.Second, "second-step", false, "forget their second step, too: the phone that showed its codes is gone")
	return cmd
}

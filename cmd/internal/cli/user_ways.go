package cli

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"restante/cmd/internal/admin"
	"restante/webmail/accounts"
	"restante/webmail/sheet"
	"restante/webmail/words"
)

func newUserPasswd(c *command) *cobra.Command {
	var r admin.UserPassword
	cmd := &cobra.Command{
		Use:   "passwd <address>",
		Short: "Give a person a password, or take it away",
		Long: `Give a person a password. It is asked for twice, or read from the first line of standard input where that is no
terminal; --generate makes one and prints it.`,
		Example: `  restante user passwd anna@example.com
  restante user passwd anna@example.com --generate`,
		Args: argCount(1, 1, "the address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			r.Address = args[0]
			if !r.Generate && !r.Forget {
				u, err := client.User(cmd.Context(), r.Address) // before anybody types two passwords for nobody
				if err != nil {
					return err
				}
				if r.Password, err = c.askPassword(u.Address); err != nil {
					return err
				}
			}
			done, err := client.UserPassword(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(done)
			}
			switch {
			case r.Forget:
				fmt.Fprintf(c.Out, "%s has no password any more\n", done.Address)
			case r.Generate:
				fmt.Fprintf(c.Out, "%s has a new password: %s\n", done.Address, done.Password)
			default:
				fmt.Fprintf(c.Out, "%s has a new password\n", done.Address)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&r.Generate, "generate", false, "make a password and print it")
	cmd.Flags().BoolVar(&r.Forget, "forget", false, "take the password away")
	cmd.MarkFlagsMutuallyExclusive("generate", "forget")
	return cmd
}

// askPassword reads a new password, twice and unseen on a terminal.
func (e *Env) askPassword(address string) (string, error) {
	f, ok := e.In.(*os.File)
	if !e.InTerminal || !ok {
		line, err := bufio.NewReader(io.LimitReader(e.In, accounts.PasswordMax+2)).ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", admin.Errorf(admin.KindUsage, "type it into a terminal, pipe it in, or use --generate", "there is no password on standard input: %w", cmp.Or(err, io.EOF))
		}
		return line, nil
	}
	var typed [2]string
	for i, prompt := range []string{"New password for " + address + ": ", "Once more: "} {
		fmt.Fprint(e.Err, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(e.Err)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", admin.Errorf(admin.KindFailed, "nothing was changed; try again", "the two are not the same")
	}
	return typed[0], nil
}

// peopleFlags are --all and --missing beside addresses.
func peopleFlags(cmd *cobra.Command, r *admin.UserSelect, missing string) {
	cmd.Flags().BoolVar(&r.All, "all", false, "for everybody who is not disabled")
	cmd.Flags().BoolVar(&r.Missing, "missing", false, missing)
	cmd.MarkFlagsMutuallyExclusive("all", "missing")
}

// peopleSelected checks that it was said for whom.
func peopleSelected(cmd *cobra.Command, r *admin.UserSelect, args []string) error {
	r.Addresses = args
	if (len(args) > 0) == (r.All || r.Missing) {
		return admin.Errorf(admin.KindUsage, "see `"+cmd.CommandPath()+" --help`", "say for whom: addresses, or --missing, or --all")
	}
	return nil
}

// codesShown is for how many people codes are printed on the terminal.
const codesShown = 5

func newUserCode(c *command) *cobra.Command {
	var r admin.UserSelect
	var out codeOutput
	var yes bool
	cmd := &cobra.Command{
		Use:   "code [<address>...]",
		Short: "Make codes on paper: ten for each person, each good once, in outages only",
		Long: `Make codes on paper: ten for each person. Each is good once, and only while an outage of the person's
domain is open, or a drill (restante outage declare). Whoever signs in by one stays in until the
outage ends, for 7 days at most.

--html writes cards to print, eight to a page: open the file in a browser and print it at 100 %.
The codes of a sheet can't be shown again, and a new sheet makes the old one void.`,
		Example: `  restante user code --missing --html codes.html
  restante user code anna@example.com
  restante user code --all --csv codes.csv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := peopleSelected(cmd, &r, args); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			dry := r
			dry.DryRun = true
			who, err := client.UserCodes(cmd.Context(), dry)
			if err != nil {
				return err
			}
			if len(who.Sheets) == 0 {
				return c.nobody(r, "everybody has codes left")
			}
			if r.All && who.Replaced > 0 {
				if err := c.confirm(yes, "%s that people may have on paper would be void", plural(int64(who.Replaced), "sheet")); err != nil {
					return err
				}
			}
			if r.Void {
				if who, err = client.UserCodes(cmd.Context(), r); err != nil {
					return err
				}
				if c.common.json {
					return c.printJSON(who)
				}
				fmt.Fprintf(c.Out, "%s void\n", plural(int64(who.Replaced), "sheet"))
				return nil
			}
			return out.make(cmd, c, client, r, len(who.Sheets))
		},
	}
	peopleFlags(cmd, &r, "for everybody who has no codes, or few left")
	cmd.Flags().StringVar(&out.html, "html", "", "write cards to print into this file (- for standard output)")
	cmd.Flags().StringVar(&out.csv, "csv", "", "write a line for each person into this file (- for standard output)")
	cmd.Flags().BoolVar(&out.letter, "letter", false, "cards for paper of US Letter size, not A4")
	cmd.Flags().StringVar(&out.language, "language", "en", "language of the cards of people who have chosen none: "+strings.Join(words.Languages(), ", "))
	cmd.Flags().BoolVar(&r.Void, "void", false, "make no new codes; make those that they have void")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}

// nobody says that a selection is empty.
func (c *command) nobody(r admin.UserSelect, why string) error {
	if c.common.json {
		return c.printJSON([]string{})
	}
	if r.All {
		why = "there is nobody yet; `restante user add` adds a person"
	}
	fmt.Fprintln(c.Out, why)
	return nil
}

// codeOutput is where sheets go.
type codeOutput struct {
	html, csv, language string
	letter              bool
}

// make opens the files before there are codes, so that none are made in vain.
func (o *codeOutput) make(cmd *cobra.Command, c *command, client *admin.Client, r admin.UserSelect, n int) error {
	if o.html == "" && o.csv == "" && !c.common.json && n > codesShown {
		return admin.Errorf(admin.KindUsage, "add --html codes.html for cards to print, or --csv codes.csv", "codes for %s don't fit on a screen", people(n))
	}
	if !slices.Contains(words.Languages(), o.language) {
		return admin.Errorf(admin.KindUsage, "write one of "+strings.Join(words.Languages(), ", "), "there are no cards in %q", o.language)
	}
	html, err := c.secretFile(o.html)
	if err != nil {
		return err
	}
	table, err := c.secretFile(o.csv)
	if err != nil {
		return err
	}
	made, err := client.UserCodes(cmd.Context(), r)
	if err != nil {
		return err
	}
	if c.common.json {
		if err := c.printJSON(made); err != nil {
			return err
		}
	}
	options := sheet.Options{URL: made.URL, Contact: made.Contact, Language: o.language, Letter: o.letter}
	if html != nil {
		if err := keep(html, sheet.HTML(html, made.Sheets, options)); err != nil {
			return err
		}
	}
	if table != nil {
		if err := keep(table, sheet.CSV(table, made.Sheets, options)); err != nil {
			return err
		}
	}
	if !c.common.json {
		c.printCodes(made, *o)
	}
	return nil
}

func (c *command) printCodes(made *admin.UserSheets, o codeOutput) {
	to := c.Out
	if o.html == "-" || o.csv == "-" {
		to = c.Err
	}
	if o.html == "" && o.csv == "" {
		for i, s := range made.Sheets {
			if i > 0 {
				fmt.Fprintln(to)
			}
			fmt.Fprintln(to, c.paint(styleBold, s.Account.Address)+"  "+clean(s.Account.Name))
			for j := range 5 {
				fmt.Fprintf(to, "  %2d  %s    %2d  %s\n", j+1, s.Codes[j], j+6, s.Codes[j+5])
			}
		}
		fmt.Fprintln(to)
	} else {
		fmt.Fprintf(to, "codes made for %s\n", people(len(made.Sheets)))
	}
	if made.Replaced > 0 {
		fmt.Fprintf(to, "%s made before %s void now\n", plural(int64(made.Replaced), "sheet"), isAre(made.Replaced))
	}
	fmt.Fprintf(to, "each code is good once, at %s, while an outage or a drill is open\n", made.URL)
	if o.html != "" && o.html != "-" {
		fmt.Fprintf(to, "open %s in a browser, print it at 100 %%, then delete it\n", o.html)
	}
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// keep closes what was written, unless it is standard output.
func keep(w io.Writer, err error) error {
	if f, ok := w.(*os.File); ok && f != os.Stdout {
		err = cmp.Or(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// secretFile opens a file that only its owner may read; nil for no name, the command's output for "-".
func (c *command) secretFile(name string) (io.Writer, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
		return c.Out, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, admin.Errorf(admin.KindFailed, "name a file that you may write", "%w", err)
	}
	if err := f.Chmod(0o600); err != nil {
		return nil, admin.Errorf(admin.KindFailed, "name a file of your own", "%w", err)
	}
	return f, nil
}

func newUserLink(c *command) *cobra.Command {
	var r admin.UserSelect
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "link [<address>...]",
		Short: "Make a link that signs a person in once",
		Long: `Make a link that signs a person in once, to be told over another way than mail: an SMS, a chat, the telephone.
To open it is not enough to use it up: the page asks for a press on a button.`,
		Example: `  restante user link anna@example.com
  restante user link --all --for 3d --csv | sms-gateway`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := peopleSelected(cmd, &r, args); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			links, err := client.UserLinks(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.common.json {
				return c.printJSON(links)
			}
			if len(links) == 0 {
				return c.nobody(r, "everybody has a way to sign in")
			}
			return c.printLinks(links, asCSV, r.Void)
		},
	}
	peopleFlags(cmd, &r, "for everybody who has no other way to sign in at this moment")
	cmd.Flags().StringVar(&r.For, "for", "1d", "how long it is good: 2h, 3d")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print address,name,link,until")
	cmd.Flags().BoolVar(&r.Void, "void", false, "make no new links; make those that they have void")
	return cmd
}

func (c *command) printLinks(links []admin.UserLink, asCSV, void bool) error {
	if void {
		fmt.Fprintf(c.Out, "the links of %s are void\n", people(len(links)))
		return nil
	}
	if asCSV {
		w := csv.NewWriter(c.Out)
		if err := w.Write([]string{"address", "name", "link", "until"}); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
		for _, l := range links {
			if err := w.Write([]string{l.Address, accounts.Tame(l.Name), l.URL, l.Until.UTC().Format(time.RFC3339)}); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
		}
		w.Flush()
		return w.Error()
	}
	t := table{env: c.Env, whole: true}
	for _, l := range links {
		t.add(col(l.Address), col(l.URL))
	}
	t.print(c.Out)
	fmt.Fprintf(c.Out, "good once each, until %s; whoever has a link can sign in as that person\n", clock(links[0].Until, time.Now()))
	return nil
}

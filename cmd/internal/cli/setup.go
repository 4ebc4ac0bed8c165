package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/cmd/internal/setup"
	"restante/dns"
)

func newSetup(c *command) *cobra.Command {
	var hostname string
	var primary, resolvers []string
	cmd := &cobra.Command{
		Use:   "setup [domain...]",
		Short: "Check what the world has to know, and print what to publish",
		Long: `Check what the world has to know before this machine can stand behind a domain: names and addresses, MX, reverse
name, SPF, DKIM, DMARC, MTA-STS, TLSA and CAA in DNS; ports in and out; the certificate; the primary; clock and disk.
Each row that isn't ok says what to do, and what is to be published stands at the end, as lines of a zone file.

It changes nothing. It works before there is a node, and even a configuration: then the domain, and --hostname and
--primary, say what is meant. A running node adds what only it knows. Without a domain all that are
configured are looked at. Exit code 4 when a row says warn or FAIL.`,
		Example: `  restante setup example.com --hostname mx2.example.net --primary mail.example.com
  restante setup
  restante setup example.com --json`,
		Args: argCount(0, -1, "the domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, servers, err := c.setupNode(cmd.Context(), args, hostname, primary)
			if err != nil {
				return err
			}
			if len(resolvers) > 0 {
				servers.Servers = resolvers
			}
			resolver, err := dns.New(servers)
			if err != nil {
				return admin.Errorf(admin.KindUsage, `write addresses: --resolver 9.9.9.9, or [dns] servers`, "no resolver: %w", err)
			}
			if c.Terminal {
				fmt.Fprint(c.Err, "asking DNS, ports and servers ...")
			}
			report := setup.Run(cmd.Context(), setup.System(resolver), node)
			if c.Terminal {
				fmt.Fprint(c.Err, "\r\x1b[K")
			}
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if c.common.json {
				err = c.printJSON(report)
			} else {
				c.printSetup(c.Out, report)
			}
			if worst := report.Worst(); err == nil && (worst == setup.Warn || worst == setup.Fail) {
				return errAttention
			}
			return err
		},
	}
	cmd.Flags().StringVar(&hostname, "hostname", "", "the name that this machine has, or will have, in DNS")
	cmd.Flags().StringSliceVar(&resolvers, "resolver", nil, "resolver to ask instead, address or address:port: one outside sees what strangers see")
	cmd.Flags().StringSliceVar(&primary, "primary", nil, `the domain's mail server, host or host:port (default: as configured, else "mx")`)
	return cmd
}

// setupNode finds out what is to be checked, from the configuration, the running node and the command line.
func (c *command) setupNode(ctx context.Context, domains []string, hostname string, primary []string) (setup.Node, dns.Options, error) {
	for i, d := range domains {
		name, err := config.ParseDomain(d)
		if err != nil {
			return setup.Node{}, dns.Options{}, admin.Errorf(admin.KindUsage, "usage: restante setup example.com", "%w", err)
		}
		domains[i] = name
	}
	cfg, err := c.setupConfig()
	if err != nil {
		return setup.Node{}, dns.Options{}, err
	}
	var status *admin.Status
	client, err := c.client()
	if err == nil {
		status, err = client.Status(ctx)
	}
	if err != nil && (admin.AsError(err).Kind != admin.KindUnreachable || c.common.socket != "") {
		return setup.Node{}, dns.Options{}, err
	}
	var node setup.Node
	switch {
	case cfg != nil:
		node = setup.FromConfig(cfg)
	case status != nil: // it was started by flags
		cfg = config.Defaults()
		node.MinFree = int64(cfg.Store.MinFree)
	case len(domains) == 0:
		return node, dns.Options{}, admin.Errorf(admin.KindUsage, "name the domain: restante setup example.com --hostname mx2.example.net --primary mail.example.com",
			"there is neither a configuration nor a running node")
	default: // nothing is there yet
		if len(primary) == 0 {
			primary = []string{"mx"}
		}
		if cfg, err = config.Load("", config.Flags{Hostname: hostname, Domains: domains, Primary: primary}); err != nil {
			return node, dns.Options{}, err
		}
		node = setup.FromConfig(cfg)
	}
	if status != nil {
		node.Hear(status)
	}
	if hostname != "" {
		node.Hostname = strings.TrimSuffix(strings.ToLower(hostname), ".")
	}
	if node.Domains, err = setupDomains(node.Domains, domains, primary); err != nil {
		return node, dns.Options{}, err
	}
	c.setupKeys(ctx, client, status, node.Domains)
	return node, dns.Options{Servers: cfg.DNS.Servers, Timeout: cfg.DNS.Timeout.Std(), TrustAD: cfg.DNS.Trusts(), Fresh: true}, nil
}

// setupConfig reads the configuration; nil when there is none, or none that we may read and nobody named it.
func (c *command) setupConfig() (*config.Config, error) {
	path, explicit := c.configPath()
	f, err := os.Open(path)
	if err == nil {
		err = f.Close()
	}
	if !explicit && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrPermission)) {
		return nil, nil
	}
	return config.Load(path, config.Flags{})
}

// setupDomains are the domains asked for, all without any. One that isn't configured is taken as the command line has it.
func setupDomains(have []setup.Domain, want, primary []string) ([]setup.Domain, error) {
	if len(want) == 0 {
		return have, nil
	}
	var list []setup.Domain
	for _, name := range want {
		i := slices.IndexFunc(have, func(d setup.Domain) bool { return d.Name == name })
		if i >= 0 && len(primary) == 0 {
			list = append(list, have[i])
			continue
		}
		if len(primary) == 0 {
			return nil, admin.Errorf(admin.KindNotFound, "write a [[domain]] for it, or add --primary to look at it before", "%s isn't configured", name)
		}
		d := setup.Domain{Name: name}
		if i >= 0 {
			d = have[i]
			d.Primaries = nil
		}
		for _, text := range primary {
			p, err := config.ParsePrimary(text)
			if err != nil {
				return nil, admin.Errorf(admin.KindUsage, `write "mail.example.com", "192.0.2.1:25", "[2001:db8::1]:25" or "mx"`, "%w", err)
			}
			d.Primaries = append(d.Primaries, setup.Primary{Host: p.Host, Port: p.Port, MX: p.MX})
		}
		list = append(list, d)
	}
	return list, nil
}

// setupKeys asks the node for the DKIM keys. One that keeps them to itself leaves them unknown.
func (c *command) setupKeys(ctx context.Context, client *admin.Client, status *admin.Status, domains []setup.Domain) {
	if status == nil {
		return
	}
	for i := range domains {
		if keys, err := client.DKIMKeys(ctx, domains[i].Name); err == nil {
			domains[i].HearKeys(keys)
		}
	}
}

// printSetup prints the rows by what they are about, what to do under each, and the records at the end.
func (e *Env) printSetup(w io.Writer, r *setup.Report) {
	width := 0
	for _, row := range r.Rows {
		width = max(width, runewidth.StringWidth(row.Check))
	}
	about := "\x00"
	said := map[string]string{} // long mends by what they were said of: domains share mail servers
	for _, row := range r.Rows {
		if row.Domain != about {
			if about != "\x00" {
				fmt.Fprintln(w)
			}
			about = row.Domain
			title := about
			if title == "" {
				title = "this machine, " + r.Hostname
			}
			fmt.Fprintln(w, e.paint(styleBold, title))
		}
		word := string(row.Result)
		head := "  " + e.paint(setupStyle(row.Result), word) + strings.Repeat(" ", 6-len(word)) + runewidth.FillRight(row.Check, width) + "  "
		e.hang(w, head, clean(row.Found), 8+width+2)
		if at, twice := said[row.Mend]; twice {
			fmt.Fprintln(w, strings.Repeat(" ", 8)+e.paint(styleDim, "-> ")+"as above, at "+at)
		} else if strings.Contains(row.Mend, "\n") {
			said[row.Mend] = about
			e.printMend(row.Mend)
		} else if row.Mend != "" {
			e.hang(w, strings.Repeat(" ", 8)+e.paint(styleDim, "-> "), clean(row.Mend), 11)
		}
	}
	if list := r.Publish(); len(list) > 0 {
		fmt.Fprintln(w, "\n"+e.paint(styleBold, "to publish, at your DNS provider"))
		for _, rec := range list {
			fmt.Fprintln(w, "  "+clean(rec.String()))
		}
	}
	var sums []string
	for _, what := range []setup.Result{setup.Fail, setup.Warn, setup.Note, setup.OK} {
		if n := r.Count(what); n > 0 {
			sums = append(sums, e.paint(setupStyle(what), fmt.Sprintf("%d %s", n, what)))
		}
	}
	fmt.Fprintln(w, "\n"+strings.Join(sums, ", "))
}

func setupStyle(r setup.Result) string {
	switch r {
	case setup.OK:
		return styleGreen
	case setup.Warn:
		return styleAmber
	case setup.Fail:
		return styleRed
	}
	return styleDim
}

// hang prints a text behind a head; on a terminal its further lines stand indented under it.
func (e *Env) hang(w io.Writer, head, text string, indent int) {
	if !e.Terminal || e.Width <= indent+20 {
		fmt.Fprintln(w, head+text)
		return
	}
	used := onScreen(head)
	fmt.Fprint(w, head)
	for i, word := range strings.Split(text, " ") {
		n := runewidth.StringWidth(word)
		switch {
		case i == 0:
		case used+1+n > e.Width:
			fmt.Fprint(w, "\n"+strings.Repeat(" ", indent))
			used = indent
		default:
			fmt.Fprint(w, " ")
			used++
		}
		fmt.Fprint(w, word)
		used += n
	}
	fmt.Fprintln(w)
}

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/relay/submit"
)

func newDKIM(c *command) *cobra.Command {
	return group("dkim", "Make and show the keys that sent mail is signed with", `  restante dkim keygen example.com
  restante dkim show`, newDKIMKeygen(c), newDKIMShow(c), newDKIMRemove(c))
}

func newDKIMKeygen(c *command) *cobra.Command {
	var k admin.DKIMKey
	cmd := &cobra.Command{
		Use:   "keygen <domain>",
		Short: "Make keys for a domain: RSA and Ed25519",
		Long: `Make keys for a domain, RSA of 2048 bits and Ed25519, and show the DNS records to publish. The keys are kept in the
store, encrypted, for all nodes. A domain's first keys sign at once; later ones do so when their records are seen in DNS, so
that keys are replaced without a gap: make new ones, publish them, and remove the old ones a week later.`,
		Example: `  restante dkim keygen example.com
  restante dkim keygen example.com --selector backup2`,
		Args: argCount(1, 1, "the domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			k.Domain = args[0]
			keys, err := client.DKIMGenerate(cmd.Context(), k)
			if err != nil {
				return err
			}
			return c.printKeys(keys)
		},
	}
	cmd.Flags().StringVar(&k.Selector, "selector", "", "name of the RSA key; the other gets -ed behind it (default: one by the date)")
	return cmd
}

func newDKIMShow(c *command) *cobra.Command {
	return &cobra.Command{
		Use:     "show [<domain>]",
		Short:   "Show the keys, their DNS records and whether those are published",
		Long:    "Show the keys, their DNS records and whether those are published. Exit code 4 when a key that signs is not.",
		Example: `  restante dkim show example.com`,
		Args:    argCount(0, 1, "the domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			domain := ""
			if len(args) > 0 {
				domain = args[0]
			}
			keys, err := client.DKIMKeys(cmd.Context(), domain)
			if err != nil {
				return err
			}
			if err := c.printKeys(keys); err != nil {
				return err
			}
			for _, k := range keys {
				if k.Signs && (k.Published == submit.PublishedNo || k.Published == submit.PublishedOther) {
					return errAttention
				}
			}
			return nil
		},
	}
}

func newDKIMRemove(c *command) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "remove <domain> <selector>",
		Short:   "Forget a key",
		Example: `  restante dkim remove example.com restante20260101`,
		Args:    argCount(2, 2, "domain and selector"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := c.confirm(yes, "Forget the key %s of %s", args[1], args[0]); err != nil {
				return err
			}
			keys, err := client.DKIMRemove(cmd.Context(), admin.DKIMKey{Domain: args[0], Selector: args[1]})
			if err != nil {
				return err
			}
			return c.printKeys(keys)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}

func (c *command) printKeys(keys []submit.Key) error {
	if c.common.json {
		return c.printJSON(keys)
	}
	if len(keys) == 0 {
		fmt.Fprintln(c.Out, "no keys: mail that is sent is not signed. Make some: restante dkim keygen <domain>")
		return nil
	}
	for i, k := range keys {
		if i > 0 {
			fmt.Fprintln(c.Out)
		}
		signs := "doesn't sign now"
		if k.Signs {
			signs = "signs"
		}
		fmt.Fprintf(c.Out, "%s  %s  %s  %s\n", k.Domain, k.Selector, k.Algorithm, signs)
		published, style := "its record is in DNS", styleGreen
		switch k.Published {
		case submit.PublishedNo:
			published, style = "not in DNS yet: publish it", styleAmber
		case submit.PublishedOther:
			published, style = "another key is in DNS under that name", styleRed
		case submit.PublishedUnknown, "":
			published, style = "DNS doesn't say whether it is published", styleAmber
		}
		fmt.Fprintln(c.Out, "  "+c.paint(style, published))
		fmt.Fprintf(c.Out, "  %s. TXT (%s)\n", k.Name, quotedRecord(k.Record))
	}
	return nil
}

// quotedRecord is a TXT record for a zone file: strings of 255 octets at most (RFC 1035 3.3).
func quotedRecord(record string) string {
	out := ""
	for len(record) > 0 {
		n := min(len(record), 250)
		if out != "" {
			out += " "
		}
		out += `"` + record[:n] + `"`
		record = record[n:]
	}
	return out
}

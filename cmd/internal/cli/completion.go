package cli

import (
	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
)

func newCompletion(c *command) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for a shell",
		Example: `  restante completion bash > /etc/bash_completion.d/restante
  source <(restante completion zsh)`,
		Args:      argCount(1, 1, "the shell"),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(c.Out, true)
			case "zsh":
				return root.GenZshCompletion(c.Out)
			case "fish":
				return root.GenFishCompletion(c.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(c.Out)
			}
			return admin.Errorf(admin.KindUsage, "name bash, zsh, fish or powershell", "no completion for %q", args[0])
		},
	}
}

// Command restante is a backup MX and e-mail continuity relay.
package main

import (
	"os"

	"restante/cmd/internal/cli"
)

func main() { os.Exit(cli.Main()) }

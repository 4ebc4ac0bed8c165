package config

import (
	_ "embed"
	"fmt"
	"io"

	"github.com/BurntSushi/toml"
)

//go:embed sample.toml
var sample string

// Sample is the commented configuration that `restante config init` writes. It names every key; keys
// that have a default stand there with it, behind a "#".
func Sample() string { return sample }

// Write writes the configuration as TOML, defaults filled in, secrets hidden.
func (c *Config) Write(w io.Writer) error {
	enc := toml.NewEncoder(w)
	enc.Indent = ""
	if err := enc.Encode(c); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

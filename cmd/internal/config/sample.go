package config

import (
	_ "embed"
	"fmt"
	"io"
	"strings"

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

// Map is the configuration as Write shows it, by its keys.
func (c *Config) Map() (map[string]any, error) {
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		return nil, err
	}
	m := map[string]any{}
	if _, err := toml.Decode(b.String(), &m); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return m, nil
}

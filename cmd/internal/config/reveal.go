package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/BurntSushi/toml"
)

// Reveal is the configuration as TOML, defaults filled in, secrets as they are. It is encrypted before it goes anywhere.
func (c *Config) Reveal() (string, error) {
	m, err := c.Map()
	if err != nil {
		return "", err
	}
	reveal(reflect.ValueOf(c).Elem(), m)
	var b strings.Builder
	enc := toml.NewEncoder(&b)
	enc.Indent = ""
	if err := enc.Encode(m); err != nil {
		return "", fmt.Errorf("config: %w", err)
	}
	return b.String(), nil
}

// reveal puts the secrets of a struct into its map.
func reveal(v reflect.Value, m map[string]any) {
	for name, f := range fields(v.Type()) {
		switch x := v.FieldByIndex(f.Index); one := x.Interface().(type) {
		case interface{ Reveal() string }:
			m[name] = one.Reveal()
		case []DNSBL:
			list, _ := m[name].([]map[string]any)
			for i := range list {
				list[i]["zone"] = one[i].Zone.Reveal()
			}
		case []Domain:
			list, _ := m[name].([]map[string]any)
			for i := range list {
				reveal(reflect.ValueOf(&one[i]).Elem(), list[i])
			}
		default:
			if sub, ok := m[name].(map[string]any); ok && x.Kind() == reflect.Struct {
				reveal(x, sub)
			}
		}
	}
}

package app

import (
	"reflect"
	"testing"

	"restante/cmd/internal/config"
	"restante/relay/policy"
)

// TestBorderDefaults: what the configuration says that a domain wants by default is what package policy says.
func TestBorderDefaults(t *testing.T) {
	c := config.Defaults()
	c.Domains = []config.Domain{{Name: "example.com", Border: c.Border}}
	if got, want := borderDomains(c)[0], policy.DefaultDomain("example.com"); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

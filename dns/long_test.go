package dns

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestLongNames: an SPF record or a signature can name as a domain what is as long as itself.
func TestLongNames(t *testing.T) {
	var name strings.Builder
	for r := '\u4e00'; r < '\u9f00'; r++ {
		name.WriteRune(r)
	}
	r, err := New(Options{Servers: []string{"192.0.2.53"}})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := r.lookup(t.Context(), strings.Repeat(name.String(), 4), dns.TypeTXT, false); !IsNotFound(err) {
		t.Error(err)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("took %v", took)
	}
}

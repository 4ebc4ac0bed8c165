package app

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"restante/cmd/internal/config"
	"restante/dns"
	"restante/dns/dnstest"
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

// TestSilentResolvers: status names who doesn't answer, since when, and what follows.
func TestSilentResolvers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := dnstest.New(t, "")
		var silent sync.Map // servers
		silent.Store("10.0.0.2:53", true)
		r, err := dns.New(dns.Options{Servers: []string{"10.0.0.2", "10.0.0.3"}, Exchange: func(ctx context.Context, q *mdns.Msg, server string) (*mdns.Msg, error) {
			if _, ok := silent.Load(server); ok {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return zone.Exchange(ctx, q, server)
		}})
		if err != nil {
			t.Fatal(err)
		}
		ask := func() string {
			for _, name := range []string{"a.test", "b.test", "c.test"} {
				_, _ = r.LookupHost(t.Context(), name) // there is none
			}
			time.Sleep(3 * time.Second)
			return strings.Join((&App{resolver: r}).dnsTroubles(), "\n")
		}
		since := time.Now().Local().Format("2 Jan 15:04")
		if got := ask(); got != "dns: no answer since "+since+" from 10.0.0.2, others are asked; look at that resolver, or name others in [dns] servers" {
			t.Error(got)
		}
		silent.Store("10.0.0.3:53", true)
		time.Sleep(2 * time.Hour)
		got := ask()
		if strings.Count(got, "nobody waits for that") != 2 || !strings.Contains(got, "since "+since) || strings.Contains(got, "others are") {
			t.Error(got)
		}
		silent.Clear()
		if got := ask(); got != "" {
			t.Error(got)
		}
		time.Sleep(time.Minute) // timers end
	})
}

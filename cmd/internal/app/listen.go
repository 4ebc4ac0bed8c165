package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"restante/cmd/internal/admin"
)

// listen opens a TCP listener; its error says what to do.
func listen(ctx context.Context, addr, flag string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network(addr), addr)
	if err == nil {
		return l, nil
	}
	_, port, _ := net.SplitHostPort(addr)
	cause, mend := err, "name another address with "+flag
	switch {
	case errors.Is(err, os.ErrPermission):
		cause = errors.New("permission denied")
		mend = "Ports below 1024 need a capability: setcap cap_net_bind_service=+ep $(which restante)\n" +
			"or listen elsewhere and redirect: " + flag + " 0.0.0.0:2525"
	case errors.Is(err, syscall.EADDRINUSE):
		cause = errors.New("another program listens there")
		often, elsewhere := " (often postfix or exim)", "0.0.0.0:2525"
		if flag != "--smtp-listen" {
			often, elsewhere = "", "127.0.0.1:8081"
		}
		mend = fmt.Sprintf("See which: ss -ltnp 'sport = :%s', and stop it%s\nor listen elsewhere: %s %s", port, often, flag, elsewhere)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		cause = errors.New("this machine does not have that address")
		mend = "See which it has: ip address\nor listen on all of them: " + flag + " 0.0.0.0:" + port
	}
	e := admin.Errorf(admin.KindFailed, mend, "can't listen on %s: %w", addr, cause)
	e.Err = err
	return nil, e
}

// network keeps 0.0.0.0 and [::] apart, so that both can be listened on.
func network(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "tcp"
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "tcp"
	case a.Is4():
		return "tcp4"
	default:
		return "tcp6"
	}
}

// noIPv6 reports that the machine has no IPv6 at all, which is no reason not to serve IPv4.
func noIPv6(addr string, err error) bool {
	return network(addr) == "tcp6" && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL))
}

package setup

import (
	"net"
	"net/netip"
	"time"

	"restante/spool/room"
)

// System is the world as this machine sees it.
func System(resolver Resolver) World {
	return World{DNS: resolver, Dial: new(net.Dialer).DialContext, Addrs: interfaceAddrs(), Now: time.Now, Synced: synced, Space: room.Free}
}

func interfaceAddrs() []netip.Addr {
	ifs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // then none is known, as behind NAT
	}
	var list []netip.Addr
	for _, i := range ifs {
		if p, err := netip.ParsePrefix(i.String()); err == nil {
			list = append(list, p.Addr().Unmap().WithZone(""))
		}
	}
	return list
}

package webhost

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwardedMax bounds the hops of X-Forwarded-For that are looked at.
const forwardedMax = 20

// behind makes r.RemoteAddr the address of the person's own machine. With TLS of our own that is the peer, and what
// it says about itself is thrown away. Without, the peer has to be a named proxy, and the last address
// of X-Forwarded-For that no named proxy has is who called.
func (h *Host) behind(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer := addrOf(r.RemoteAddr)
		if h.o.TLS == nil {
			if !contains(h.o.Proxies, peer) {
				http.Error(w, "This port is for the proxy in front of it alone: [webmail] proxies names who may connect.", http.StatusForbidden)
				return
			}
			peer = caller(peer, r.Header.Values("X-Forwarded-For"), h.o.Proxies)
		}
		port := "0"
		if _, p, err := net.SplitHostPort(r.RemoteAddr); err == nil && h.o.TLS != nil {
			port = p
		}
		r.RemoteAddr = net.JoinHostPort(peer.String(), port)
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "X-Real-Ip" {
				r.Header.Del(name)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// caller goes back from the peer through the named proxies. Whatever stands before the first address that isn't one
// may be made up by it.
func caller(peer netip.Addr, fields []string, proxies []netip.Prefix) netip.Addr {
	hops := strings.Split(strings.Join(fields, ","), ",")
	at := peer
	for i, hop := range slices.Backward(hops) {
		if len(hops)-i > forwardedMax || !contains(proxies, at) {
			break
		}
		a, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(hop), "[]"))
		if err != nil {
			if a = addrOf(strings.TrimSpace(hop)); !a.IsValid() { // some write the port too
				break
			}
		}
		at = a.Unmap().WithZone("")
	}
	return at
}

// toHTTPS sends a request for plain http on to the same page by https.
func (h *Host) toHTTPS(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "Use https.", http.StatusBadRequest)
		return
	}
	host, plain := r.Host, ""
	if name, p, err := net.SplitHostPort(host); err == nil {
		host, plain = name, p
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !slices.Contains(h.o.Names, host) {
		host = h.o.Names[0]
	}
	if p := h.port(); p != "443" && plain != "" && plain != "80" { // who came to port 80 is to go to 443, whatever is behind them here
		host = net.JoinHostPort(host, p)
	}
	http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusPermanentRedirect)
}

// port is that of the first listener.
func (h *Host) port() string {
	if len(h.o.Listeners) > 0 {
		if _, p, err := net.SplitHostPort(h.o.Listeners[0].Addr().String()); err == nil {
			return p
		}
	}
	return "443"
}

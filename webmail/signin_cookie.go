package webmail

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/spool"
	"restante/webmail/factor"
)

// Cookies of the sign-in. All are for this host alone, out of reach of scripts, and not sent along by other sites' forms.
const (
	sessionCookie = "session" // the token of the session
	browserCookie = "browser" // accounts that have signed in here, encrypted; it opens nothing
	devicesCookie = "devices" // keys of accounts that this browser is ready for
	secondCookie  = "second"  // the first of two steps, encrypted, while the second is asked for
)

// Bounds of the cookies.
const (
	browserTerm  = 400 * 24 * time.Hour // the longest that browsers keep one
	maxBrowser   = 4                    // accounts that one browser remembers
	maxDevices   = 4                    // accounts that one browser is ready for
	keySeparator = "~"
)

// failures is when a failed sign-in of an account was last noted.
type failures struct {
	sync.Mutex
	at map[string]time.Time
}

// setCookie sets a cookie for the term; no term takes it away.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, term time.Duration) {
	age := int(term / time.Second)
	if age <= 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{Name: s.cookie(name), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: s.o.Secure, SameSite: http.SameSiteLaxMode})
}

// browser is what the browser cookie holds: an id for each account that has signed in here.
type browser struct {
	Accounts []browserAccount `json:"a"`
}

type browserAccount struct {
	Account string `json:"a"`
	ID      string `json:"i"`
}

func (s *Server) browser(r *http.Request) browser {
	var b browser
	c, err := r.Cookie(s.cookie(browserCookie))
	if err != nil || s.decrypt("browser", c.Value, &b) != nil {
		return browser{}
	}
	return b
}

// browserID is the id of this browser for the account, "" when the account has never signed in here.
func (s *Server) browserID(r *http.Request, account string) string {
	for _, a := range s.browser(r).Accounts {
		if a.Account == account {
			return a.ID
		}
	}
	return ""
}

// remember has the browser know that the account has signed in here.
func (s *Server) remember(w http.ResponseWriter, r *http.Request, account string) {
	b := s.browser(r)
	mine := browserAccount{Account: account, ID: spool.NewID()}
	b.Accounts = slices.DeleteFunc(b.Accounts, func(a browserAccount) bool {
		if a.Account == account {
			mine = a
		}
		return a.Account == account
	})
	b.Accounts = append([]browserAccount{mine}, b.Accounts...)
	b.Accounts = b.Accounts[:min(len(b.Accounts), maxBrowser)]
	text, err := s.encrypt("browser", b)
	if err != nil {
		s.o.Log.Error("webmail: the browser can't be remembered", "err", err)
		return
	}
	s.setCookie(w, browserCookie, text, browserTerm)
}

// deviceKey is a device whose key this browser keeps.
type deviceKey struct {
	factor.Device
	token string
}

// deviceKeys are the keys in the browser that are good now.
func (s *Server) deviceKeys(r *http.Request) []deviceKey {
	c, err := r.Cookie(s.cookie(devicesCookie))
	if err != nil {
		return nil
	}
	var out []deviceKey
	for i, token := range strings.Split(c.Value, keySeparator) {
		if i == maxDevices {
			break
		}
		if d, ok := s.o.SignIn.Factors.FindKey(token); ok {
			out = append(out, deviceKey{d, token})
		}
	}
	return out
}

// setDeviceKeys has the browser keep these keys, the first of them if they are too many.
func (s *Server) setDeviceKeys(w http.ResponseWriter, keys []deviceKey) {
	var tokens []string
	for i, k := range keys {
		if i < maxDevices && !slices.ContainsFunc(keys[:i], func(o deviceKey) bool { return o.Account == k.Account }) {
			tokens = append(tokens, k.token)
		}
	}
	s.setCookie(w, devicesCookie, strings.Join(tokens, keySeparator), factor.Term)
}

// renewKey renews the term of the key that this browser has of the account; false when it has none.
func (s *Server) renewKey(w http.ResponseWriter, r *http.Request, account string) (factor.Device, bool) {
	keys := s.deviceKeys(r)
	i := slices.IndexFunc(keys, func(k deviceKey) bool { return k.Account == account })
	if i < 0 {
		return factor.Device{}, false
	}
	if err := s.o.SignIn.Factors.Used(keys[i].Device); err != nil {
		s.o.Log.Warn("webmail: a device's term wasn't renewed; the next sign-in tries again", "account", account, "err", err)
	}
	s.setDeviceKeys(w, keys) // the cookie's term, too
	return keys[i].Device, true
}

// doorDevices are the accounts that this browser is ready for, as the first page offers them.
func (s *Server) doorDevices(r *http.Request) []doorDevice {
	var out []doorDevice
	for _, k := range s.deviceKeys(r) {
		a, ok := s.o.Accounts.Account(k.Account)
		if ok && a.Active() && !slices.ContainsFunc(out, func(d doorDevice) bool { return d.Address == a.Address }) {
			out = append(out, doorDevice{a.Address, a.Label()})
		}
	}
	return out
}

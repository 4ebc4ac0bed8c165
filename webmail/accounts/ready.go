package accounts

import (
	"slices"
	"time"
)

// Ways in, as Readiness names them.
const (
	WayPassword = "password"
	WayLearned  = "learned password"
	WayPasskey  = "passkey"
	WayDevice   = "device"
	WayLink     = "link"
	WayCodes    = "codes"
)

// Ready says by what a person could sign in.
type Ready struct {
	Account   Account   `json:"account"`
	Ways      []string  `json:"ways"`            // in an outage
	Now       []string  `json:"now"`             // at this moment: without codes while no outage is open
	Second    bool      `json:"second"`          // a password alone is not enough: a second step is set up
	Codes     *Codes    `json:"codes,omitempty"` // the sheet
	Until     time.Time `json:"until,omitzero"`  // when the last of the ways that end by themselves ends, if there is no other
	Practised time.Time `json:"practised,omitzero"`
	Why       string    `json:"why,omitempty"` // there is no way
}

// Readiness is Ready of all accounts that are not disabled, with its sums. Those who couldn't sign in come first.
type Readiness struct {
	Accounts  int     `json:"accounts"`
	Could     int     `json:"could"`     // in an outage
	Now       int     `json:"now"`       // at this moment
	Practised int     `json:"practised"` // ever
	Disabled  int     `json:"disabled"`  // accounts that are not counted and not listed: nobody is meant to sign in to them
	People    []Ready `json:"people"`
}

// Readiness says who could sign in.
func (d *Directory) Readiness() Readiness {
	r := Readiness{People: []Ready{}}
	for _, a := range d.All() {
		if a.Disabled {
			r.Disabled++
			continue
		}
		one := d.Ready(a)
		r.Accounts++
		if len(one.Ways) > 0 {
			r.Could++
		}
		if len(one.Now) > 0 {
			r.Now++
		}
		if !one.Practised.IsZero() {
			r.Practised++
		}
		r.People = append(r.People, one)
	}
	slices.SortStableFunc(r.People, func(x, y Ready) int { return min(len(x.Ways), 1) - min(len(y.Ways), 1) })
	return r
}

// Ready says by what an account could sign in.
func (d *Directory) Ready(a Account) Ready {
	r := Ready{Account: a, Ways: []string{}, Now: []string{}, Practised: a.Practised}
	if a.Disabled {
		r.Why = "disabled"
		return r
	}
	_, r.Second = d.Register(a.Address, FieldTOTP, "")
	lasting := a.Password
	if a.Password {
		r.Ways = append(r.Ways, WayPassword)
	}
	for _, w := range []struct {
		field Field
		way   string
	}{{FieldLearned, WayLearned}, {FieldPasskey, WayPasskey}, {FieldDevice, WayDevice}} {
		list := slices.DeleteFunc(d.Registers(a.Address, w.field), func(r Register) bool {
			_, gone := d.Register(a.Address, FieldGone, r.Key)
			return gone
		})
		if len(list) == 0 {
			continue
		}
		r.Ways = append(r.Ways, w.way)
		for _, one := range list {
			lasting = lasting || one.Until.IsZero()
			r.ends(one.Until)
		}
	}
	for _, l := range d.Links(a.Address) {
		if l.Purpose != LinkSignIn {
			continue // it lies in the mailbox that can't be reached
		}
		if !slices.Contains(r.Ways, WayLink) {
			r.Ways = append(r.Ways, WayLink)
		}
		r.ends(l.Until)
	}
	r.Now = slices.Clone(r.Ways)
	if c, ok := d.Codes(a.Address); ok {
		r.Codes = &c
		if c.Left > 0 {
			lasting = true
			r.Ways = append(r.Ways, WayCodes)
			if d.o.Outage != nil {
				if _, open := d.o.Outage(a.Domain()); open {
					r.Now = append(r.Now, WayCodes)
				}
			}
		}
	}
	if lasting {
		r.Until = time.Time{}
	}
	switch {
	case len(r.Ways) > 0:
	case r.Codes != nil:
		r.Why = "all codes are used"
	default:
		r.Why = "no password, no codes, no device"
	}
	return r
}

func (r *Ready) ends(t time.Time) {
	if t.After(r.Until) {
		r.Until = t
	}
}

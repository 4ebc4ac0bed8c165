package app

import (
	"slices"

	"restante/cmd/internal/admin"
	"restante/spool"
	"restante/spool/index"
	"restante/webmail/accounts"
)

// hides says that subjects and bodies are hidden from admins ([admin] read_content = "off").
func (a *App) hides() bool { return a.cfg.Load().Admin.ReadContent == "off" }

// mayRead refuses content to admins where it is hidden from them.
func (a *App) mayRead() error {
	if !a.hides() {
		return nil
	}
	return admin.Errorf(admin.KindFailed, `whose mail it is reads it in the webmail; read_content = "on" in [admin] and a reload show it to admins, and are in the log`,
		"subjects and bodies are hidden from admins here")
}

// maySearch refuses to look for a text where subjects are hidden: what is found would tell of them.
func (a *App) maySearch(f index.Filter) error {
	if f.Text == "" || !a.hides() {
		return nil
	}
	return admin.Errorf(admin.KindUsage, "look for --from or --rcpt", "subjects are hidden from admins here, and can't be searched")
}

// veil takes out of a pair what admins may not see.
func (a *App) veil(p *spool.Pair) {
	if a.hides() {
		p.Subject = ""
	}
}

// veilEntry does the same for an entry; what it returns may be another one.
func (a *App) veilEntry(e *spool.Entry) *spool.Entry {
	if !a.hides() || e == nil {
		return e
	}
	clone := *e
	clone.Summary = spool.Summary{Date: e.Summary.Date, MessageID: e.Summary.MessageID}
	return &clone
}

// readBy is what the ledger says of an admin's reading of a message: that it was opened, and, for the activity pages of the
// people whose mail it is, by whom.
func (a *App) readBy(e *spool.Entry, by, what, reason string) []spool.Event {
	evs := []spool.Event{{Type: spool.Opened, Entry: e.ID, By: by, Reason: reason}}
	d := a.web.accounts
	if d == nil {
		return evs
	}
	var whose []string
	note := func(p accounts.Account) {
		if !slices.Contains(whose, p.Address) {
			whose = append(whose, p.Address)
		}
	}
	for _, r := range e.Rcpts {
		if p, ok := d.ByAddress(r.Address); ok {
			note(p)
		}
		for _, p := range d.SharedBy(r.Address) {
			note(p)
		}
	}
	if p, ok := d.Account(e.Mailbox); ok {
		note(p)
	}
	for _, address := range whose {
		evs = append(evs, spool.Event{Type: spool.Activity, Address: address, Entry: e.ID, By: by, Data: map[string]any{"what": what}})
	}
	return evs
}

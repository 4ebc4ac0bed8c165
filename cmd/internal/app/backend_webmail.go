package app

import (
	"context"
	"fmt"
	"time"

	"restante/cmd/internal/admin"
)

// signedInWithin is how recently somebody must have used the webmail to count as signed in.
const signedInWithin = 15 * time.Minute

// webmailState is how the webmail does, nil when it is off.
func (a *App) webmailState(ctx context.Context) *admin.WebmailState {
	if !a.cfg.Load().Webmail.On() {
		return nil
	}
	s := &admin.WebmailState{State: "open", URL: a.addrs.Webmail}
	for _, why := range []string{a.keyTrouble(), a.webTrouble()} {
		if why != "" {
			s.State, s.Why = "closed", why
			break
		}
	}
	if a.web.host != nil {
		s.Connections = a.web.host.Connections()
	}
	if a.web.accounts == nil {
		return s
	}
	ready := a.web.accounts.Readiness()
	s.People, s.Could, s.SignedIn = ready.Accounts, ready.Could, a.web.sessions.SignedIn(signedInWithin)
	if n, err := a.web.mail.Progress(ctx); err == nil {
		s.Unsearched = n
	}
	return s
}

// webBehind says that people don't see in the webmail all that is kept, "" while they do.
func (a *App) webBehind() string {
	if a.web.mail == nil {
		return ""
	}
	switch b := a.web.mail.Behind(); {
	case b.Since.IsZero():
		return ""
	case b.Err != nil:
		return fmt.Sprintf("the webmail has shown nothing new since %s: %s. Mend that and it goes on by itself", b.Since.UTC().Format(time.RFC3339), admin.Brief(b.Err.Error()))
	default:
		return fmt.Sprintf("the webmail has been catching up since %s, %d batches are left: some messages show later", b.Since.UTC().Format(time.RFC3339), b.Batches)
	}
}

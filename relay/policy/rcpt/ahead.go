package rcpt

import "time"

// Pace bounds call-ahead. Zero fields take the defaults.
type Pace struct {
	Every   time.Duration // between two sessions to one domain's primary, jittered; default 5 min
	Refused int           // refused recipients after which a session ends; default 3: servers count them, and ban
	Asked   int           // recipients asked for in a session; default 20
}

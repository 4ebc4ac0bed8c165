package admin

// WebmailState is how the webmail does.
type WebmailState struct {
	State       string `json:"state"` // open, or closed: it is on, but nobody can use it
	URL         string `json:"url"`   // that people are told
	Why         string `json:"why,omitempty"`
	SignedIn    int    `json:"signed_in"`            // people who used it within the last quarter of an hour
	Could       int    `json:"could"`                // people who could sign in if an outage began now
	People      int    `json:"people"`               // people who have an account
	Unsearched  int    `json:"unsearched,omitempty"` // messages whose text can't be searched yet
	Connections int    `json:"connections"`
}

package mailbox

import "time"

// Search is a parsed search.
type Search struct{}

// ParseSearch reads what a person typed: words (the beginnings of words), "phrases", from: to: subject: has:attachment
// before: after: (2006-01-02, in zone) is:unread is:starred and a - before what must not be there. Errors say what to write instead.
func ParseSearch(q string, zone *time.Location) (*Search, error) { return &Search{}, nil }

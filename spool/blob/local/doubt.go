package local

import "context"

// A key is in doubt from just before its link until its folder is synced. Nobody may read it as
// kept in between: a Put that was given up because the disk hangs would otherwise be settled by a Get from the page
// cache, and lost with the power.
type doubt struct {
	done chan struct{} // closed when it is settled
	why  error         // after done: why it can't be trusted; the doubt then stays for as long as the store is open
}

// raise notes that a key is about to change; false when there is a doubt about it already, and so an object.
func (s *Store) raise(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubts[key] != nil {
		return false
	}
	s.doubts[key] = &doubt{done: make(chan struct{})}
	return true
}

// settle ends the doubt about a key: by trust, or for good when why is given.
func (s *Store) settle(key string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doubts[key]
	d.why = why
	close(d.done)
	if why == nil {
		delete(s.doubts, key)
	}
}

// trusted waits until there is no doubt about a key, and returns why there will always be one.
func (s *Store) trusted(ctx context.Context, key string) error {
	s.mu.Lock()
	d := s.doubts[key]
	s.mu.Unlock()
	if d == nil {
		return nil
	}
	select {
	case <-d.done:
		return d.why
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mistrust returns why a key will never be trusted, nil if it may.
func (s *Store) mistrust(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doubts[key]
	if d == nil {
		return nil
	}
	select {
	case <-d.done:
		return d.why
	default:
		return nil
	}
}

// doubtful reports whether any key is in doubt.
func (s *Store) doubtful() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.doubts) > 0
}

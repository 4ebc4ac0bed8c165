package accounts

import "errors"

// What signing in and managing accounts may end with. Errors of Options.Record, and of the store behind it, are others.
var (
	// ErrWrong: no such account, it is disabled, it has none of these, or what was given is wrong. Nobody who signs in is told which.
	ErrWrong = errors.New("this is not right")
	// ErrUsed: the code or link is right but was used before.
	ErrUsed = errors.New("it was used before")
	// ErrNoOutage: the code is right, but codes on paper count only while an outage or a drill is open. It was not used up.
	ErrNoOutage = errors.New("codes on paper count only during an outage or a drill")
	// ErrExpired: the link's time has passed.
	ErrExpired = errors.New("the link's time has passed")
	// ErrBusy: too many passwords are being checked; to be tried again.
	ErrBusy = errors.New("too many people are signing in at this moment, try again")
	// ErrNotFound: there is no such account.
	ErrNotFound = errors.New("there is no such account")
	// ErrExists: there is such an account already.
	ErrExists = errors.New("there is such an account already")
	// ErrTaken: the address belongs to somebody else.
	ErrTaken = errors.New("the address belongs to somebody else")
	// ErrInvalid: what was given can't be used; the text says why.
	ErrInvalid = errors.New("can't be used")
)

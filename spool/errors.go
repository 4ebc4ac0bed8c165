package spool

import "errors"

// Errors that the spool returns, wrapped.
var (
	// ErrVoid: the entry or event is certainly not kept and never will be (451 to the sender).
	ErrVoid = errors.New("not kept")
	// ErrUnsettled: whether it was kept is unknown; the connection is closed without a reply.
	ErrUnsettled = errors.New("outcome unknown")
	// ErrStoreDown: the store does not answer, or has not yet been proved.
	ErrStoreDown = errors.New("store is down")
	// ErrNoSpace: too little room is left in the store or in data_dir (452 4.3.1).
	ErrNoSpace = errors.New("no space left")
	// ErrForeign: the store belongs to another cluster than data_dir does, or is of a newer format.
	ErrForeign = errors.New("foreign store")
	// ErrInUse: another process holds data_dir.
	ErrInUse = errors.New("data_dir is in use")
	// ErrClosed: the spool was closed; always together with ErrVoid when a call kept nothing.
	ErrClosed = errors.New("spool is closed")
	// ErrDamaged: what the store holds is not what was put there.
	ErrDamaged = errors.New("damaged")
)

// Package spool keeps accepted mail, and the ledger of what happened to it, in an object store.
package spool

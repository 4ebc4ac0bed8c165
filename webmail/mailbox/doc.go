// Package mailbox holds what each mailbox of the webmail holds: a fold of the spool's streams into a local SQLite
// database, and the queries that the webmail's pages ask.
package mailbox

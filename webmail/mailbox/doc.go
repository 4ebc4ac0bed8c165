// Package mailbox holds what each mailbox of the webmail holds: a fold of the spool's streams into a local SQLite database,
// and the queries that the webmail's pages ask. It is a cache: the store is the truth, webmail.db can be deleted at any
// time and comes back the same. Only its owner can read the file, which has the text of all mail in it.
//
// # What a box shows
//
// A Box says which addresses it shows; whoever makes it decides what a person may see, and every query is limited to it. Item is
// the access check: what a box doesn't show is ErrNotFound, as if it weren't there.
//
//   - Inbox: held and local entries with a pair whose address, in lower case, with or without its +tag, is one of the box's.
//     A pair that was removed doesn't show, nor one in quarantine that was not released yet, and nothing shows before its NotBefore.
//   - Sent: copies whose Mailbox is the box; in a shared box those that were written from its address.
//   - Drafts: of an account's own box alone, the newest version of each piece of writing that was neither sent nor discarded.
//     What was sent and taken back altogether shows as a draft again.
//   - Trash and Starred are flags. Deleting here takes nothing from what goes to the primary.
//
// What the primary was given stays until retention deletes its batch.
//
// # What is kept in the store
//
// A version of a draft is an entry of kind draft: Mailbox is the account, Writing the piece of writing, From the box it is written from,
// the octets are a message without attachments, which X-Restante-Attachment fields name by id. An attachment is a draft entry
// with the Reason "attachment": its trace fields are its MIME header, its octets the file; Summary.Subject is the file's
// name, Verdicts["type"] its media type.
//
// Flagged events: Entry, Address is the box's ID, By the account, Data has "seen", "starred", "trashed", "answered", and of drafts
// "discarded" (that version and those before it), each true or false. Of each flag of each entry in each box the last writer by time, then id,
// stands; our own are later than any that was seen, other nodes' clocks followed up to 5 min ahead. They are lazy: they are
// applied here at once and noted for the ledger; what a killed process hadn't written is noted again a minute after the next start.
//
// Activity events: Address is the account, Entry the message if there was one, Data["what"] a short word, and more.
//
// # Conversations
//
// Entries hang together by nodes: their Message-ID, the ids that they answer (spool.Summary.Refs), their piece of writing; an answer that
// names no id by its subject with the people in From and To, together with what was written here. A conversation is a connected
// part of that graph, whatever the order of coming. It reaches across mailboxes, but a box sees and counts only
// its own messages of it, and Item.Thread is the oldest of those. What deleted entries held together stays together until a new fold.
//
// # Full text
//
// The text of messages and the names of attachments are a second fold, by Run: newest first, a few messages in a
// transaction, resumed where it stopped, a quarter of one CPU while there is a backlog, nothing while the first fold is behind. Until it has read
// a message, searches look at its header alone and say how many such there are (Page.Pending). Words are found by their beginnings from three letters
// on, without regard to case, accents or width; scripts without spaces by each two neighbouring characters.
// The index holds no text that could be read from it in one piece, but words and their places.
//
// # Cost
//
// The places of a box's messages are kept in memory as its view, 48 octets each, 400,000 over all boxes; lists and counts are a walk over
// it. Measured by BenchmarkWebmail with 100,000 messages and their text in the spool, half of them in one box: an inbox page of 50 conversations with
// all counts 0.4 ms in a box of 500 messages and 1.9 ms in one of 50,000; the first page, which reads the view, 1.4 ms and 50 ms; searches 0.1 to 11 ms
// and 0.4 to 33 ms. The fold does about 60,000 messages a second.
package mailbox

// Package index folds the entries and events of a spool into a local SQLite database that can be asked:
// what is pending, where a pair stands, what an outage adds up to. It is a cache. The store is the truth;
// the file can be deleted at any time and comes back the same.
//
// # Rules of the fold
//
// Streams are read in any interleaving, so every rule is one whose result does not depend on order:
//
//   - A pair's state is a function of the set of its events (see fold): delivered wins over everything but a
//     later round that was opened with "again"; else the highest round, then the highest precedence, then
//     the latest event. A pair with one event takes it; with more, all of its events are read again.
//   - A pair of a quarantined entry counts as parked since it was received while it would be pending, until an event has released it.
//   - An event about an entry that isn't there waits in the table of events; the entry finds it there.
//   - A pair belongs to the first outage of its domain that was open when it was received, or that found it
//     not ended when it opened (see timeline.assign). When an outage event comes late, the pairs that it
//     may move are looked at again. So an outage adopts what waits, and a kept pair joins the open one.
//   - Of flags (declarations, pauses, offers) the last writer by time stands. What is known good only grows.
//   - Of an address and a source of recipients the last writer by time stands, and so of a full list and its source.
//   - A deleted batch takes its entries with it and leaves their sums, which its event carries.
//   - Mail that goes out by a smarthost is in no outage. Of the webmail's events only secrets, notices and given-up drafts are kept;
//     flags, activities and accounts are for package webmail/mailbox.
//   - A draft may be deleted a term after its writing was sent or given up, or a newer version was kept; entries of a writing
//     go oldest first, so that a new fold of what is left never takes an old version for the newest, or one that was sent for unsent.
//
// # Whether it adds up
//
// Tally counts the pairs of an outage, adds what BatchDeleted events say was deleted, and sets that against what the batches named
// when they were read. Beside the positions stands what the follower told of each stream: where its chain is broken,
// which numbers it passed over. A batch that is missing and was not deleted, or could not be read, counts as at least
// one pair, or as many as the ledger tells of; when those were is taken from its neighbours, so it counts in each outage that it may belong
// to. What was lost at the end of a stream shows by events whose entry is in no batch, beyond those of deleted ones.
//
// Events about entries are kept as long as the ledger keeps them: for ever in format 1.
//
// # Cost
//
// Rows and the positions of streams are committed in one transaction; a batch that was applied before is
// passed over. There is one writer; readers have connections of their own and see committed rows only.
// Rows are small, ids are 16 octets, three partial indexes hold what is pending, what ended badly and what is
// in no outage; counters are kept as the fold goes. TestMillion measures it: about 14 µs of one CPU and 680 octets of file
// a pair, 22 µs a delivery, 64 MB RSS, with 1,000,000 pairs 0.2 ms for Summary, 4 ms for a page of 500,
// 0.9 s for Tally (2.2 s the first time after a rebuild, when all events are looked through).
package index

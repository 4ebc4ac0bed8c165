// Package spool keeps accepted mail, and the ledger of what happened to it, in an object store.
// This comment is the format: whoever changes what it says changes what others have on their disks.
//
// # Layout
//
//	restante.json                        {"format":1,"cluster":...}: whose store it is; created once, if absent
//	key.json                             {"key":...}: the id of the cluster key, which is kept elsewhere (package secret); created once, if absent
//	mail/<stream>/<p>/<seq>.tar.zst      one batch of entries, a void or a seal (package batch)
//	ledger/<stream>/<p>/<seq>.jsonl.zst  one batch of events, a void or a seal (package batch)
//	big/<stream>/<id>.eml.zst            a message over Limits.InlineMax: one zstd frame of its octets, trace fields first
//	lease/<name>.json                    who may do what one node may do at a time; overwritten by If-Match, never deleted
//	once/<p>/<name>.json                 what may be used once and was (Claim); created once, if absent, never deleted; p is the
//	                                     first two hex digits of the name's SHA-256
//	probe/<node>.json                    written while the store comes back from a failure; means nothing
//	prove/                               written and deleted when the store is proved; means nothing
//
// A stream has one writer and is named <node>-<ulid of its start>[-<lane>]. seq counts its objects from 0 without gaps,
// in 16 hex digits; p is the first 13 of them. The octets of a batch are never changed, save by retention, which
// erases messages from it (If-Match) or deletes it after an event that names it.
//
// Everything can be read without this program:
//
//	cat mail/*/*/*.tar.zst | zstd -dc | tar xif -     all messages as <id>.eml, all envelopes as <id>.json
//	cat ledger/*/*/*.jsonl.zst | zstd -dc             all events, a line each
//
// # What is kept
//
// An entry is kept when a batch that holds it is at its key. There is no other commit record; what no batch
// names (an object under big/, a file of a local store's .tmp) counts for nothing. An event is recorded when a batch of the ledger
// holds it; events carry ids and count once however often they are read.
//
// A writer has one batch under way and forms the next when that is settled. Its object is put with If-None-Match. When the
// call's outcome is unknown (no answer, a time-out, a 5xx), nobody is told anything yet, since the write may still
// land, even after a read has found nothing. The same octets are put again at the same key until an answer is certain:
//
//   - written: kept.
//   - something is there: it is read. Our octets: kept. Our void: not kept. A seal or other octets: somebody ended
//     our stream; the batch goes to a new one, leases are asked for again, and an alert is raised. Octets that can't
//     be read or parsed: neither 250 nor 451 may be said, so the connection is closed without a reply.
//   - refused for lack of space: a void, which is small, is put in the same way to free the senders of the wait.
//
// After Limits.SettleTimeout the sessions are closed without a reply, and since their senders will come again, a void
// is put from then on; whatever turns out to be at the key decides, and the stream goes on behind it. When no call
// of a batch can have written anything, its senders are refused (451) after Limits.RefusedFor.
//
// # What a crash leaves
//
// Each stream of the dead process ends without a seal, perhaps with a batch that nobody was told of: its
// messages were kept though not answered, which RFC 5321 6.1 allows and the sender's next try makes a duplicate. The
// next process on the same data_dir, or whoever takes over one of the dead process's leases, puts a seal at the stream's next seq with
// If-None-Match; if a late write was first, it is read, and the next seq is tried. Behind a seal nothing
// can land. Two processes can't have one data_dir: it is held by flock.
//
// data_dir holds
//
//	lock          the flock, with the process id
//	node.json     name of this node, cluster of its store, whether the store was proved
//	journal/      outcomes of deliveries on their way to the ledger (see type journal)
//	tmp/          nameless while in use; emptied at each start
//
// Deliveries stand in the journal before the next command goes out on their connection, so a killed process forgets none;
// at the next start they are folded before replay begins. A lost data_dir or a power failure can
// repeat the deliveries of the last moments, and nothing else: it holds no mail.
//
// # Chain
//
// Each object of a stream names the chain hash of the one before; package batch says how it is computed. It shows damage
// and gaps, and tampering when a hash is kept elsewhere.
//
// # How to rebuild
//
// Read every stream of the ledger, then every stream of mail, each from seq 0 until a seal or the first missing
// key. Objects that retention deleted are named by batch-deleted events. Events about an
// entry that was not read yet wait for it. Nothing else is needed: index, caches and machines may be gone. The order between streams does
// not matter; see EventType for what wins. Where a batch of the ledger is damaged, deliveries may be unknown: replay of all
// domains is paused by events that name it (Event.Batch) before anybody acts on what was read.
//
// # Who follows
//
// Follow keeps local databases up to date with all streams. One of them, the index, is the first: it alone decides from where the
// store is read, when that is caught up and what Sync waits for, since replay acts by it. Others follow the first instead of the
// store, each in its own goroutine: what the first has applied is handed to them in memory, in order; what is not the next that one
// of them wants (it is new or was thrown away, it was slow, its disk was full) is dropped, and that one reads it from the
// store, in small goes and up to where the first is. So who lags keeps nobody waiting, there is one way to catch up whatever the cause, no gap can
// arise since each takes nothing but what comes next, and since the first alone polls and lists, others that are abreast cost no requests.
//
// # Leases
//
// lease/<name>.json names generation, holder and the holder's ledger streams. The holder renews it with If-Match and counts on
// it for 0.9 terms after it began to write, by its own monotonic clock. Another node takes it after seeing the
// same ETag for 1.1 terms, at once when it says released, and at once from a former process that held the very flock on data_dir
// in this boot of the machine (a data_dir may have been cloned), or whose store can be open in one process only. Unless it was
// released, the taker seals the holder's ledger and folds it to the seal before it acts.
package spool

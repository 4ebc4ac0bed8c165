package mailbox

// schemaVersion changes with the tables or the rules of the fold; a file of another version is thrown away and folded again.
const schemaVersion = "2"

// Columns: n numbers entries as they were folded; id is an entry's ULID as 16 octets; times are ns.
//
//	item     what is shown of an entry; text is 0 until its full text was read, 1 then, 2 when there is none
//	place    which conversation it is in
//	slot     which mailbox holds it, by role; gone when its pair was removed or is in quarantine, or the draft superseded, sent or discarded
//	node     the message ids (and other marks) by which conversations hang together, hashed
//	written  entries by the piece of writing
//	event    what decides the state of pairs, also of entries that aren't there yet
//	mark     flags: of each the last writer by time, then id
//	noted    our own lazy events that haven't been seen in the ledger yet
//	ft       full text, without its content; rowid is n
const schema = `
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE stream(n INTEGER PRIMARY KEY, ledger INTEGER NOT NULL, name TEXT NOT NULL, seq INTEGER NOT NULL,
	hash TEXT NOT NULL, sealed INTEGER NOT NULL, UNIQUE(ledger, name));
CREATE TABLE address(n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE item(n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
	text INTEGER NOT NULL, attachments INTEGER NOT NULL, snippet TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX item_batch ON item(stream, seq);
CREATE INDEX item_text ON item(n) WHERE text=0;
CREATE INDEX item_attached ON item(n) WHERE attachments>0;
CREATE TABLE place(n INTEGER PRIMARY KEY, thread INTEGER NOT NULL);
CREATE INDEX place_thread ON place(thread);
CREATE TABLE slot(address INTEGER, role INTEGER, n INTEGER, rcpt INTEGER, id BLOB NOT NULL, visible INTEGER NOT NULL,
	gone INTEGER NOT NULL, PRIMARY KEY(address, role, n, rcpt)) WITHOUT ROWID;
CREATE TABLE node(key INTEGER PRIMARY KEY, thread INTEGER NOT NULL);
CREATE INDEX node_thread ON node(thread);
CREATE TABLE written(writing BLOB, account INTEGER, n INTEGER, id BLOB NOT NULL, kind TEXT NOT NULL,
	PRIMARY KEY(writing, account, n)) WITHOUT ROWID;
CREATE TABLE event(entry BLOB, rcpt INTEGER, id BLOB, type TEXT NOT NULL, time INTEGER NOT NULL, round INTEGER NOT NULL,
	again INTEGER NOT NULL, reply TEXT, reason TEXT, PRIMARY KEY(entry, rcpt, id)) WITHOUT ROWID;
CREATE TABLE pair(n INTEGER, rcpt INTEGER, state TEXT NOT NULL, changed INTEGER NOT NULL, reply TEXT NOT NULL, reason TEXT NOT NULL,
	PRIMARY KEY(n, rcpt)) WITHOUT ROWID;
CREATE TABLE erased(id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE deleted(stream INTEGER, seq INTEGER, PRIMARY KEY(stream, seq)) WITHOUT ROWID;
CREATE TABLE mark(box INTEGER, id BLOB, what INTEGER, value INTEGER NOT NULL, time INTEGER NOT NULL, event BLOB NOT NULL,
	by TEXT NOT NULL, PRIMARY KEY(box, id, what)) WITHOUT ROWID;
CREATE TABLE account(id BLOB PRIMARY KEY, event BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE activity(account TEXT, time INTEGER, id BLOB, event BLOB NOT NULL, PRIMARY KEY(account, time, id)) WITHOUT ROWID;
CREATE TABLE noted(id BLOB PRIMARY KEY, event BLOB NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE ft USING fts5(sender, rcpt, subject, body, names, box, content='', contentless_delete=1, tokenize='ascii');
`

// Roles of a slot.
const (
	roleInbox = iota // received: the address is a recipient
	roleSent         // the sender's copy: the address is the account that wrote it
	roleAs           // the same for a shared box: the address is the one it was written from
	roleDraft        // the newest version: the address is the account that writes it
)

// What a mark is about.
const (
	markSeen = iota
	markStarred
	markTrashed
	markAnswered
	markDiscarded // of a draft: this version and those before it
	marks
)

var markNames = [marks]string{"seen", "starred", "trashed", "answered", "discarded"}

// States of an item's full text.
const (
	textWaits = iota
	textRead
	textNone
)

// Package accounts knows who may sign in, by what, and which mail is whose. It keeps nothing of its own: it is a fold of the
// ledger's events of type "account" (spool.AccountChanged), in memory, and the same whatever order they are read in.
// This comment is the format of those events.
//
// # Events
//
// An account is named by its main address in lower case, the event's Address. Each event is one change of one field:
//
//	{"type":"account","address":"anna@example.com","by":"admin root","data":{"field":"name","value":"Anna Schmidt"}}
//	{"type":"account","address":"anna@example.com","by":"admin root","data":{"field":"alias","key":"a.schmidt@example.com","value":true}}
//	{"type":"account","address":"anna@example.com","by":"anna@example.com","data":{"field":"password","secret":"..."}}
//	{"type":"account","address":"anna@example.com","by":"admin root","data":{"field":"alias","key":"a.schmidt@example.com"}}
//
// (address, field, key) is a register: the event with the latest time wins, of two with the same time the one with the
// higher id. An event with neither value nor secret empties the register. "until", where it is set, is when the content stops to count.
// A secret is encrypted by spool/secret for the purpose "account/<address>/<field>/<key>", so that it can't be moved to
// another account by somebody who can write to the store but has no cluster key.
//
// Registers may be filled before the account exists (a group may be imported before its members): there is an account when its
// field "account" says so.
//
// # Fields
//
// Times are those of the events. Without a key:
//
//	account    value "active" or "deleted"; a deleted account keeps everything and can be brought back
//	disabled   value true: nobody signs in to it
//	name       value: the person's name
//	language   value: "en", "fr", ..., "" as the browser wishes
//	zone       value: IANA name of a time zone
//	signature  value: text under what the person writes
//	password   secret: a hash, see Hash; value {"set":"admin"|"self"|"import","from":hex, of an import: which hash it came from}
//	codes      secret {"salt":base64,"codes":[base64 of HMAC-SHA-256(salt, code), ...]}, value {"sheet":id,"count":10}: the sheet in force; an
//	           older one is void
//	practised  value {"how":...}: the last time that the person signed in on a good day
//
// With a key (the key is what stands first):
//
//	alias      address of the person: value true
//	shared     address of a shared mailbox that the person reads: value true
//	group      address of a group or list whose mail the person reads: value true
//	code-used  "<sheet>/<number from 1>": value true
//	link       id of a one-time link: value {"hash":hex of SHA-256 of the token,"purpose":...}, until
//	link-used  id of a link: value true
//
// The fields of devices, passkeys, second factors and learned passwords are described by the packages that write them (webmail/factor,
// webmail/learn); sessions have events of their own (webmail/session), which are passed over here.
//
// # What works once
//
// A code and a link work once in the whole cluster. Whoever uses one first claims it by Options.Claim, a put-if-absent key in
// the store (spool.Claim), and records the -used event after that. Two nodes that are asked at the same moment
// therefore never both say yes, however late they read each other's events. When the store can't be reached nothing is claimed and nobody signs in by
// these ways, as no event of theirs could be kept either; when the answer to the claim was lost, it is settled at its key.
//
// # Passwords
//
// Passwords are kept as argon2id (see hashCost). Hashes of other schemes come from imports; the first good sign-in
// replaces them. At most hashesAtOnce are computed at a time, so that a flood of sign-ins takes bounded memory; who waits longer than
// hashWait is told ErrBusy.
package accounts

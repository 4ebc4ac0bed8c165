package spool

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// StreamID names a stream: the batches of one writer, under mail/ or ledger/.
// The zero StreamID stands for the journal (see Step).
type StreamID struct {
	Ledger bool   `json:"ledger,omitempty"`
	Name   string `json:"name"` // <node>-<ulid of the start>[-<lane>]
}

// IsZero reports the zero StreamID.
func (id StreamID) IsZero() bool { return id.Name == "" }

// String is the stream's folder in the store, without a slash at its end: "mail/a1-01J...".
func (id StreamID) String() string {
	if id.Ledger {
		return "ledger/" + id.Name
	}
	return "mail/" + id.Name
}

// Key is where the stream's batch seq is stored.
func (id StreamID) Key(seq uint64) string {
	ext := ".tar.zst"
	if id.Ledger {
		ext = ".jsonl.zst"
	}
	hex := fmt.Sprintf("%016x", seq)
	return id.String() + "/" + hex[:13] + "/" + hex + ext
}

// BigKey is where the stream keeps the message of an entry when it is over the inline bound.
func (id StreamID) BigKey(entry string) string { return "big/" + id.Name + "/" + entry + ".eml.zst" }

// Node is the part of the stream's name that names the node, "" if the name has no such part.
func (id StreamID) Node() string {
	node, _, ok := strings.Cut(id.Name, "-")
	if !ok {
		return ""
	}
	return node
}

// ParseKey is the reverse of Key. It reports false for what is not the key of a batch.
func ParseKey(key string) (id StreamID, seq uint64, ok bool) {
	root, rest, _ := strings.Cut(key, "/")
	name, rest, _ := strings.Cut(rest, "/")
	_, file, _ := strings.Cut(rest, "/")
	hex, _, _ := strings.Cut(file, ".")
	seq, err := strconv.ParseUint(hex, 16, 64)
	id = StreamID{Ledger: root == "ledger", Name: name}
	if err != nil || name == "" || (root != "mail" && root != "ledger") || id.Key(seq) != key {
		return StreamID{}, 0, false
	}
	return id, seq, true
}

// Position says how far a stream was read.
type Position struct {
	Seq    uint64 // next to be read
	Hash   string // chain hash of the batch before Seq; Genesis for Seq 0
	Sealed bool   // the batch before Seq is a seal: nothing follows
}

// Located is an entry and where its octets are.
type Located struct {
	Entry    *Entry
	Location Location
}

// Step is one settled batch of a stream (voids and seals have neither entries nor events), or, with
// the zero Stream, events that stand in the journal and are not yet known to be in the ledger: those
// have no Position and come again, under the same ids, with a batch of the ledger.
type Step struct {
	Stream   StreamID
	Position Position // after the batch
	Entries  []Located
	Events   []Event
	Cluster  string
	Break    string // why the chain is broken here, "" when the batch is sound and follows the one before
	Damaged  bool   // Entries or Events are what could be read of it, perhaps not all
}

// Fold is what follows all streams; package index is one.
type Fold interface {
	// Positions returns how far each stream was applied.
	Positions(ctx context.Context) (map[StreamID]Position, error)
	// Apply applies the steps and their positions in one transaction.
	Apply(ctx context.Context, steps []Step) error
}

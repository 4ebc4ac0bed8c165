package spool

import (
	"log/slog"
	"time"

	"restante/spool/blob"
)

// Options are what Open needs.
type Options struct {
	Store   blob.Store // required; may be down
	DataDir string     // required: lock, node id, journal, temporary files
	Node    string     // name of this node in the names of its streams, [a-z0-9.]{1,32}; "" for the one in DataDir, which is made up at the first start
	Log     *slog.Logger
	Metrics *Metrics // may be nil
	Limits  Limits
	// Exclusive: the Store can be open in one process at a time, so that whoever held a lease on DataDir before is dead.
	Exclusive bool
}

// Limits bound the spool. A zero field stands for its default.
type Limits struct {
	InlineMax     int64         // a larger message becomes an object of its own; default 1 MiB
	BatchBytes    int64         // a batch takes no more once it is that large; default 4 MiB
	BatchCount    int           // entries or events in a batch; default 1000
	LanesMax      int           // mail streams written at once, beyond one only while batches reach BatchBytes; default 4
	GatherWait    time.Duration // how long a batch waits for sessions inside DATA, on slow stores up to a quarter of a PUT; alone it never waits; default 3 ms
	SettleGather  time.Duration // how long outcomes of deliveries, safe in the journal, wait for more before they go to the ledger: on S3 a PUT costs $0.005 per 1,000; default 50 ms
	LazyWait      time.Duration // how long lazy events wait for a batch to go with; default 60 s
	PutTimeout    time.Duration // one attempt to write a batch; default 20 s
	RefusedFor    time.Duration // how long a batch is tried again when the store certainly wrote nothing; default 5 s
	SettleTimeout time.Duration // how long a session waits for an unknown outcome, RFC 5321 4.5.3.2.6 gives its client 10 min; default 2 min
	MinFree       int64         // octets that must stay free in the store and in DataDir; default 1 GiB, negative: none
	LeaseTerm     time.Duration // how long another node watches a lease before it takes it; default 30 s
	BodyMemory    int64         // a message up to that size is read and fetched in memory; default 1 MiB
}

func (l Limits) withDefaults() Limits {
	def(&l.InlineMax, 1<<20)
	def(&l.BatchBytes, 4<<20)
	def(&l.BatchCount, 1000)
	def(&l.LanesMax, 4)
	def(&l.GatherWait, 3*time.Millisecond)
	def(&l.SettleGather, 50*time.Millisecond)
	def(&l.LazyWait, time.Minute)
	def(&l.PutTimeout, 20*time.Second)
	def(&l.RefusedFor, 5*time.Second)
	def(&l.SettleTimeout, 2*time.Minute)
	def(&l.MinFree, 1<<30)
	def(&l.LeaseTerm, 30*time.Second)
	def(&l.BodyMemory, 1<<20)
	return l
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

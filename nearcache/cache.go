package nearcache

import (
	"fmt"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// Options of a Cache.
type Options struct {
	// MemoryBytes is the budget for everything: keys, values, headers, index, counters, the policy's structures; at least
	// MemoryBytesMin. What is in use stays within it, but for a tenth.
	MemoryBytes int64
	// ItemsMax bounds the number of entries too; 0: memory alone does.
	ItemsMax int
	// ItemsExpected is how many entries there will be, about; generations are laid out for it. With more of them
	// invalidations take more bystanders with them, nothing else. 0: MemoryBytes / 256, or ItemsMax if that is less.
	ItemsExpected int
	// Partitions is how many the grid has: partitions are numbered from 0.
	Partitions int
	// Nodes is how many nodes there may be at a time: the caller numbers them from 0. 0: 1024.
	Nodes int
	// Policy is what decides which entries stay; "" is PolicyDefault.
	Policy Policy
}

const (
	// MemoryBytesMin is the smallest budget that New accepts.
	MemoryBytesMin = 1 << 20

	nodesDefault      = 1024
	itemBytesExpected = 256
)

// Cache is a near cache; doc.go tells how it is used. Its methods may be called by any number of goroutines, but for Close,
// which is called last.
type Cache struct {
	generations generations
	routes      *routes
	store       Store
	stats       *counters
	fixedBytes  int64 // of generations, routes and stats

	stepIn func() // called where a look-up or a store is half done, for tests; under the build tag invariants
}

// New makes an empty cache. No partition has a node and no node a link: AssignPartition and OpenLink come next.
func New(o Options) (*Cache, error) {
	if o.Nodes == 0 {
		o.Nodes = nodesDefault
	}
	if o.ItemsExpected == 0 {
		o.ItemsExpected = int(o.MemoryBytes / itemBytesExpected)
		if o.ItemsMax > 0 {
			o.ItemsExpected = min(o.ItemsExpected, o.ItemsMax)
		}
	}
	switch {
	case o.MemoryBytes < MemoryBytesMin:
		return nil, fmt.Errorf("nearcache: %d bytes of memory are too few, %d are needed", o.MemoryBytes, MemoryBytesMin)
	case o.Partitions < 1 || o.Partitions > PartitionsMax:
		return nil, fmt.Errorf("nearcache: %d partitions; there are 1 to %d", o.Partitions, PartitionsMax)
	case o.Nodes < 1 || o.Nodes > NodesMax:
		return nil, fmt.Errorf("nearcache: %d nodes; there are 1 to %d", o.Nodes, NodesMax)
	case o.ItemsMax < 0 || o.ItemsExpected < 1:
		return nil, fmt.Errorf("nearcache: at most %d items, %d expected", o.ItemsMax, o.ItemsExpected)
	}
	c := &Cache{routes: newRoutes(o.Partitions, o.Nodes), stats: &counters{}}
	c.generations = newGenerations(o.ItemsExpected, c.routes.bumpAll)
	fixed := int64(unsafe.Sizeof(*c)) + c.generations.bytes() + c.routes.bytes() + int64(unsafe.Sizeof(*c.stats))
	if fixed > o.MemoryBytes/2 {
		return nil, fmt.Errorf("nearcache: counters for %d items expected, %d partitions and %d nodes take %d bytes, "+
			"more than half of the %d there are", o.ItemsExpected, o.Partitions, o.Nodes, fixed, o.MemoryBytes)
	}
	c.fixedBytes = fixed
	var err error
	c.store, err = newStore(o.Policy, budget{o.MemoryBytes - fixed, o.ItemsMax, o.ItemsExpected}, c.usable)
	return c, err
}

// Close ends what the policy runs in the background. The cache must not be used any more.
func (c *Cache) Close() { c.store.close() }

// Settle waits until the policy has taken in what was stored, where it does that in the background: PolicyRistretto does.
// It is for tests and measurements.
func (c *Cache) Settle() { c.store.settle() }

// Get answers the value held for a key, if it may be used now. The bytes are shared with the cache and with others who look
// the key up: they never change, and nobody may change them. They stay good as long as the caller keeps them.
// A hit allocates nothing.
//
// The order of the loads matters: the lease first, then the partition's word and the generation. The connection's reader
// applies what arrives in its order, an invalidation I before a lease R that was granted behind it. Were the lease
// loaded last:
//
//	1 I and R wait for 10 s in a broken network; the old lease has lapsed long ago
//	2 the look-up loads the generation: current
//	3 the reader applies I (g++), then R: the lease reaches beyond now
//	4 the look-up loads the lease: a hit, of what was overwritten 10 s ago
//
// With the lease first, who sees R in it sees I in the generation. endLocked has the same for the end of a connection.
func (c *Cache) Get(k Key, now Time) (value []byte, ok bool) {
	e := c.store.find(k)
	if e == nil {
		c.stats.add(missAbsent)
		return nil, false
	}
	node := &c.routes.nodes[nodeOf(e.word)]
	lease := Time(node.lease.Load())
	why := c.judge(&k, e, now)
	if invariants && c.stepIn != nil {
		c.stepIn()
	}
	if why == hit && now >= lease {
		why = missLease
	}
	c.stats.add(why)
	if why > missLease {
		return nil, false
	}
	if node.used.Load() == 0 { // so that look-ups that follow each other write nothing
		node.used.Store(1)
	}
	if why == missLease {
		return nil, false
	}
	return e.value(), true
}

// judge answers hit where an entry may be used if the lease allows it, else why not.
func (c *Cache) judge(k *Key, e *entry, now Time) event {
	switch {
	case c.routes.words[e.partition].Load() != e.word:
		return missPartition
	case c.generations.of(k.stripeHash).Load() != e.generation:
		return missGeneration
	case now >= e.expiry:
		return missExpired
	}
	return hit
}

// usable reports whether an entry might still be used, leases aside: a policy parts with others first.
func (c *Cache) usable(e *entry, now Time) bool {
	k := Key{stripeHash: xxhash.Sum64(e.name())}
	return c.judge(&k, e, now) == hit
}

// Snapshot is what was current for a key of a partition at one moment. A read takes it before its request is sent.
type Snapshot struct {
	stripeHash uint64
	word       word
	generation uint32
	partition  uint16
}

// Snapshot takes the snapshot of a key, which is in that partition of the grid.
//
// An entry that took word and generation when the reply is there would be wrong:
//
//	1 the read is executed at its node, which notes the reader; the reply is on its way
//	2 somebody writes the key; the invalidation I goes out, on the same connection, behind the reply
//	3 another goroutine delivers the reply later than the connection's reader applies I: g++
//	4 Store with the generation of now: a value that was invalidated before it was stored, and will not be again
func (c *Cache) Snapshot(k Key, partition int) Snapshot {
	return Snapshot{
		stripeHash: k.stripeHash,
		word:       c.routes.words[partition].Load(),
		generation: c.generations.of(k.stripeHash).Load(),
		partition:  uint16(partition),
	}
}

// Current reports whether nothing of the snapshot's key has become stale since it was taken: a request that was sent with it
// may still answer another caller too.
func (c *Cache) Current(s Snapshot) bool {
	return c.routes.words[s.partition].Load() == s.word && c.routes.served(s.word) &&
		c.generations.of(s.stripeHash).Load() == s.generation
}

// Joinable reports whether a read may wait at now for the reply to another one of the same key, which began, and then took the snapshot s,
// at some time; staleness is the age that what is read may have.
//
// The snapshot must be current:
//
//	1 A sends GET k, which is executed; the reply is on its way
//	2 B of the same program sends SET k and has its acknowledgement
//	3 B reads k: were it to wait for A's reply, it would not read what it has written
//
// and the other one must not have begun too long ago:
//
//	1 A sends GET k, which is executed; the reply waits at the node behind another one, which is pending
//	2 somebody else writes k, and has the acknowledgement; the push waits behind that reply as well
//	3 B reads k, much later: A's reply, when it comes, is as old as A's request
func (c *Cache) Joinable(s Snapshot, began, now, staleness Time) bool {
	return c.Current(s) && now-began < staleness
}

// Store keeps a copy of value for k until expiry (Never: as long as it is current), as the answer to a request that was sent
// after s was taken for k. It reports whether it did: it does not where s is no longer current, where expiry is not after
// now, where no node serves the partition, or where the entry is too large (see ItemBytesMax).
//
// Store comes before the answer is handed to anybody. An answer of a connection whose partition has another since is one that was read
// past the cache: what is held of its key may be older.
//
//	1 A asks the node that served the partition; nothing comes for long, and the partition gets another node
//	2 B asks that one, and stores the answer
//	3 somebody writes k; the push to us is late
//	4 the first node answers A, with what was written; its caller sees that
//	5 a look-up finds B's answer: reads have gone back
func (c *Cache) Store(k Key, s Snapshot, value []byte, expiry, now Time) bool {
	if s.stripeHash != k.stripeHash {
		panic("nearcache: Store with the snapshot of another key")
	}
	if !c.Current(s) { // to spare the room: the entry keeps the snapshot, and no look-up would use it
		if c.routes.words[s.partition].Load() != s.word {
			c.InvalidateKey(k)
		}
		c.stats.add(refusedStale)
		return false
	}
	if invariants && c.stepIn != nil {
		c.stepIn()
	}
	switch {
	case expiry <= now:
		c.stats.add(refusedExpired)
	case entrySize(k, len(value)) > c.store.itemBytesMax():
		c.stats.add(refusedTooLarge)
	case !c.store.put(k, newEntry(k, s, value, expiry), now):
		c.stats.add(refusedPolicy)
	default:
		c.stats.add(stored)
		return true
	}
	return false
}

// ItemBytesMax is how large an entry may be at most: name, view, value and a head of 64 bytes.
func (c *Cache) ItemBytesMax() int { return c.store.itemBytesMax() }

// Stats answers what happened since New, and what is held now.
func (c *Cache) Stats() Stats {
	s := c.stats.sum()
	s.Items, s.Bytes, s.Evictions = c.store.usage()
	s.Bytes += c.fixedBytes
	return s
}

// Package nearcache is a near cache: values that a program has read from a grid, kept beside the code that uses them, and
// the rules by which one of them may be used without asking again. It knows no socket, no protocol and no clock: what the
// grid says arrives as calls, time arrives as a value. Package client joins it to connections.
//
// # The idea
//
// Whether an entry may be used is decided when it is looked up, never by having removed it. An entry keeps what was
// current before its request was sent, and is used only while that still is:
//
//	a hit is valid when   the key's bytes match
//	                and   the entry's partition epoch PE is current
//	                and   the generation g of its key's stripe is current
//	                and   now < min(the entry's expiry, the lease of the node that serves its partition)
//
// So an invalidation is one atomic addition to a counter, whatever the policy that keeps entries is busy with: it never
// waits, and nothing can be forgotten. Entries that are stale lie about until they are replaced or evicted.
//
//	Invalidate(name)        g++ for the stripe of the key: a push of the server's, or a write of our own
//	InvalidatePartition(p)  PE++: the partition has moved
//	InvalidateNode(n)       PE++ for all that the node serves: it has flushed
//	OpenLink, Link.Close    the same, and no lease: a connection has begun or ended
//	Link.SetLease(until)    everything that the node has said until now has been heard; it vouches for what is held up to then
//
// # Main types
//
//	Cache     everything below; its methods may be called by any goroutines
//	Key       what an entry is found by: database, name, and what was asked of the key; hashed once
//	Snapshot  what was current for a key when it was taken: PE and g
//	Link      one connection's hold on the cache: its lease, and whether entries were used that rest on it
//	Time      monotonic nanoseconds, counted from where the caller likes
//	Store     what keeps entries within a budget; it may forget any of them at any time (store.go)
//
// # A look-up, and a read that fills
//
//	k := nearcache.NewKey(db, "page:1")
//	if value, ok := cache.Get(k, now); ok { return value }   // allocates nothing; value is shared: never change it
//	s := cache.Snapshot(k, partition)                        // before the request is sent
//	... send it on the link's connection, wait for the reply ...
//	cache.Store(k, s, value, expiry, now)                    // copies value; refused where s is no longer current
//
// A request that waits for another's reply (one flight a key) may do so only where Joinable says so.
// The entry has the snapshot's PE and g, not those at the time of Store. What comes between is seen at the next Get.
// An answer is stored before it is handed on, even one that is late: see Store.
//
// # What the caller does, for the rule to hold
//
//  1. Node numbers and partitions: AssignPartition says which node serves a partition, from the grid's table. Assigning it
//     to another node is PE++.
//  2. OpenLink before the first near-cached read goes out on a new connection. Near-cached reads of a partition go out on
//     the connection of the link that its node has, and on no other. Link.Close at any error of the connection.
//  3. What a connection delivers is applied in the order in which it arrives: Invalidate and its like before SetLease and
//     before a reply that came behind them is handed to anybody. Replies may be stored any time later, by any goroutine.
//  4. A lease's end is the time at which the request for it was sent, plus the lesser of the wanted and the granted time:
//     Link.Grant.
//  5. Invalidate a key when a write to it is sent, and again before its outcome is handed on; likewise when it was read past
//     the near cache. InvalidateAll where the keys are not known.
//  6. now is read before the call; no later one is used for what was looked up.
//
// Keys are invalidated by name, in all databases and with all that was asked of them, as a server's pushes name no database.
// The stripe of a key is the low bits of the unkeyed xxhash64 of its name. So a server that keeps bitmaps over stripes names
// one by number: InvalidateStripe.
//
// # Concurrency
//
// Get takes no lock. It reads the lease, then the partition's word (epoch and node in one), then the generation, in this
// order; cache.go shows the interleavings that would be wrong in any other. Invalidate takes no lock. What changes routes
// (links, leases, partitions) takes one short mutex, under which nothing waits. Store takes the lock of one shard.
//
// # Policies
//
// Options.Policy chooses what is kept when there is no more room; docs/near-cache.md has the hit rates that `make
// bench-hits` measures. Memory is counted in bytes: keys, values, headers, rounding of the allocator, index, counters and
// the policy's own structures.
//
// # Files, in reading order
//
//	cache.go       Options, Cache, Get, Snapshot, Store
//	key.go         Key
//	generation.go  generations of stripes
//	link.go        partitions' words, nodes' leases, Link
//	entry.go       an entry as one block of bytes
//	stats.go       statistics
//	store.go       the interface Store, the policies by name, the budget and its shards
//	windowlfu.go   the default Store: which entries stay
//	index.go       look-ups without a lock
//	queue.go       entries by age
//	sketch.go      how often keys were asked for that are not held
//	ristretto.go   ristretto v2 as a Store
//
//	invariants_on.go, invariants_off.go   the build tag invariants
package nearcache

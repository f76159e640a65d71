// Package partition is the data: keys and values of a node, divided into partitions, changed by transactions that leave
// numbered batches behind. It knows no socket, no protocol and no other node; time arrives as an argument.
//
// # Main types
//
//	Store      all partitions of a node, and what they share
//	Partition  the unit of locking: a dict for each database, the batch being built
//	Tx         a transaction: the only way to read and to change data
//	Batch      the sealed effects of one transaction on one partition; Partition.Apply plays them on a copy
//	Value      what a look-up found; Hash, List, Set and Zset are views of it by type
//	Tracker    who is told when keys that it has read change
//	Space      the memory outside the Go heap that all data is in
//
// # A change
//
//	tx := partition.NewTx(store)
//	tx.Begin(nowMs, store.PartitionOf(key))  // locks
//	tx.SetString(key, value, ...)            // emit: the effect's bytes; apply: the record
//	tx.End()                                 // seal: number, sink, compaction; unlocks
//
// Each primitive appends its effect to the partition's batch and then calls the function that Apply calls on a copy, so
// nobody has to think of replication. Effects say what came out (the members removed, the time of expiry), never how.
//
// Down below, a key's hash chooses a segment of its database's dict and a slot in it; the slot says where in the arena
// the record is; the record holds key and value. Small collections are one packed value. Large values are objects of
// their own: strings in a mapping, lists in nodes, the others in a dict like that of a database.
//
// What a transaction reads are views of that memory, good until it ends or changes the same key.
//
// # Files, in reading order
//
//	store.go       Store, its options, limits and statistics
//	slot.go        key -> slot -> partition
//	tx.go          Begin, End, look-ups, emit
//	prefetch.go    keys seen coming in a pipeline; prefetch_*.go, prefetch_*.s a processor's instruction for it
//	partition.go   Partition: put, remove, large values; seal
//	effect.go      the effects, and Apply
//	batch.go       a batch as bytes
//	keyspace.go    deletion, flush and swap of databases, random keys
//	string.go      strings; the simplest type, so the one to read first
//	value.go       Value, and values as one string of bytes: Dump and Restore
//
//	dict.go        the index: directory, segments, slots
//	record.go      the bytes of a record
//	arena.go       chunks of records, and their compaction
//	slab.go        memory of index segments
//	space.go       mappings, pages, regions; ahead.go pages made resident beforehand; memory_unix.go, remap_*.go the system calls
//
//	packed.go      small collections; packed_hash.go (sets too), packed_intset.go, packed_list.go, packed_zset.go
//	collection.go  packed values in records; what large collections share
//	hash.go        hashes
//	list.go        lists
//	set.go         sets; set_edit.go a set under change, set_change.go SADD, SREM, SPOP
//	zset.go        sorted sets; zset_change.go their changes
//	order.go       the ordered index of a large sorted set; order_page.go a leaf's memory
//
//	expire.go      lazy and active expiry
//	access.go      when and how often a record was used; evict.go eviction by that
//	watch.go       WATCH
//	track.go       who holds copies of keys, and is told when they change; stripe.go where there are too many
//	load.go        who loads a key that is not there, and what voids that
//	walk.go        SCAN's cursors, digests, compaction to the end
//	transfer.go    a copy is filled: chunks of a walk, and the batches behind it
//	seen.go        which batch a reply has to wait for
//
//	invariants.go  checks under the build tag invariants, which invariants_on.go and invariants_off.go tell
//
// docs/ARCHITECTURE.md has the layouts, every effect with its encoding, and the reasons.
package partition

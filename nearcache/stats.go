package nearcache

import (
	"sync/atomic"
	"unsafe"
)

// Stats is what a cache has done since New, and what it holds.
type Stats struct {
	Hits int64
	// Misses, by the first reason found, in this order.
	MissesAbsent     int64 // nothing held
	MissesPartition  int64 // of an older epoch of its partition: moved, flushed, or the connection had ended
	MissesGeneration int64 // invalidated, or a key of the same stripe was
	MissesExpired    int64
	MissesLease      int64 // all else was well: no lease, or it has lapsed

	Stores          int64 // entries stored
	RefusedStale    int64 // not stored: their snapshot was no longer current, or no node served the partition
	RefusedExpired  int64 // not stored: expired on arrival
	RefusedTooLarge int64 // not stored: larger than ItemBytesMax
	RefusedPolicy   int64 // not stored: the policy had no room for it at once (ristretto)
	Evictions       int64 // entries that had to go for lack of room
	Invalidations   int64 // calls that named a key or a stripe

	Items int64 // held, stale ones included
	Bytes int64 // in use, of Options.MemoryBytes: entries, index, policy, counters
}

// Misses is the sum of all reasons.
func (s Stats) Misses() int64 {
	return s.MissesAbsent + s.MissesPartition + s.MissesGeneration + s.MissesExpired + s.MissesLease
}

// event is something that counters count.
type event int

const (
	hit       event = iota
	missLease       // the reasons of misses: Get relies on those behind this one being misses for good
	missExpired
	missGeneration
	missPartition
	missAbsent
	stored
	refusedStale
	refusedExpired
	refusedTooLarge
	refusedPolicy
	invalidated
	eventCount
)

// counters count events, on several cache lines each: goroutines that count at the same time mostly do it on different
// ones, or two cores would spend more time on handing the line to and fro than on look-ups.
type counters struct {
	stripes [countersStripes]struct {
		counts [eventCount]atomic.Int64
		_      [128 - eventCount*8%128]byte
	}
}

const (
	countersStripes = 32 // a power of two
	stackBits       = 11 // goroutines' stacks are 2 KiB or larger
)

// add counts one event, on a stripe chosen by where the goroutine's stack is: the same as last time, most likely.
func (c *counters) add(e event) {
	var here byte
	at := uintptr(unsafe.Pointer(&here)) >> stackBits
	c.stripes[(at^at>>5)%countersStripes].counts[e].Add(1)
}

func (c *counters) sum() Stats {
	var sums [eventCount]int64
	for i := range c.stripes {
		for e := range sums {
			sums[e] += c.stripes[i].counts[e].Load()
		}
	}
	return Stats{
		Hits:             sums[hit],
		MissesAbsent:     sums[missAbsent],
		MissesPartition:  sums[missPartition],
		MissesGeneration: sums[missGeneration],
		MissesExpired:    sums[missExpired],
		MissesLease:      sums[missLease],
		Stores:           sums[stored],
		RefusedStale:     sums[refusedStale],
		RefusedExpired:   sums[refusedExpired],
		RefusedTooLarge:  sums[refusedTooLarge],
		RefusedPolicy:    sums[refusedPolicy],
		Invalidations:    sums[invalidated],
	}
}

package partition

import (
	"cmp"
	"math/bits"
	"slices"
)

// Seen says what a reply rests on: it may leave once the partition's batches up to Seq are committed (R12).
type Seen struct {
	Partition int
	Seq       uint64
}

// bucketCount is how many groups of keys, by hash, a partition tells apart: a key that is written all the time holds up the
// readers of one other key in so many.
const bucketCount = 64

// allBuckets stands for every key, those included that are not there.
const allBuckets = 1<<bucketCount - 1

// buckets holds, for the keys of each, the sequence number of the last batch that may have changed one. Who applies batches
// keeps them up as well: a copy that becomes the primary shows what it had buffered, or had been filled with, and all of that need not be
// committed yet (R15).
type buckets [bucketCount]uint64

// bucketBit is a key's bucket, as a set of one. It takes the low bits of the hash: keys come by the high ones in walks.
func bucketBit(h uint64) uint64 { return 1 << (h % bucketCount) }

// seal ends a transaction that has looked at a set of buckets; where it has changed something, all of them count as changed
// by its batch, which is seq. It returns the newest batch that it has seen, its own included.
func (b *buckets) seal(looked, seq uint64, changed bool) (seen uint64) {
	for ; looked != 0; looked &= looked - 1 {
		last := &b[bits.TrailingZeros64(looked)]
		if changed {
			*last = seq
		}
		seen = max(seen, *last)
	}
	return seen
}

// restOn has every key count as changed by a batch, unless a later one has.
func (b *buckets) restOn(seq uint64) {
	for i := range b {
		b[i] = max(b[i], seq)
	}
}

// Seen is what the transaction's reply rests on: for each partition where it has looked up or changed keys, the newest batch
// that may have changed one of them, its own included; for one that was read through, the newest batch of all. Partitions
// without a batch to wait for are left out. It is complete after End and good until the next Begin; without Options.Track
// it is empty.
func (tx *Tx) Seen() []Seen { return tx.seen }

// see notes the newest batch that was seen of a partition; 0 = none.
func (tx *Tx) see(p *Partition, seq uint64) {
	if seq == 0 {
		return
	}
	i, found := slices.BinarySearchFunc(tx.seen, p.ID, func(s Seen, id int) int { return cmp.Compare(s.Partition, id) })
	if found {
		tx.seen[i].Seq = max(tx.seen[i].Seq, seq)
		return
	}
	tx.seen = slices.Insert(tx.seen, i, Seen{p.ID, seq})
}

package partition

import (
	"fmt"
	"slices"
)

// What the build tag invariants checks. Every call stands behind `if invariants`, so that without the tag it costs
// nothing. A check that fails is a bug of ours: it panics.

// freedByte fills pages that are freed: who reads them later reads what no record looks like.
const freedByte = 0xdb

// checkHeld: a partition changes under its lock only.
func (p *Partition) checkHeld() {
	if p.mu.TryLock() {
		p.mu.Unlock()
		panic(fmt.Sprintf("partition %d changes without its lock", p.ID))
	}
}

// checkChange: only an active partition makes effects (R17), and of keys whose bucket is noted, as replies wait by that
// (R12). h is the key's hash.
func (p *Partition) checkChange(h uint64) {
	p.checkHeld()
	if p.passive {
		panic(fmt.Sprintf("partition %d changes without being active", p.ID))
	}
	if p.looked&bucketBit(h) == 0 {
		panic(fmt.Sprintf("partition %d changes a key that was not noted", p.ID))
	}
}

// checkLocated: the partition that the transaction holds is the key's, and the hash is, wherever they came from. A row
// whose key positions are wrong ends here.
func (tx *Tx) checkLocated(p *Partition, h uint64, key []byte) {
	if want := tx.store.PartitionOf(key); p.ID != want {
		panic(fmt.Sprintf("key %q is of partition %d, and partition %d was locked for it", string(key), want, p.ID))
	}
	if h != tx.store.seed.hash(key) {
		panic(fmt.Sprintf("key %q: the hash remembered is another key's", string(key)))
	}
	p.checkHeld()
}

// checkOrder: locks are taken in ascending order, each once, so that transactions cannot wait for each other.
func checkOrder(partitions []int) {
	for i := 1; i < len(partitions); i++ {
		if partitions[i-1] >= partitions[i] {
			panic(fmt.Sprintf("partitions are locked in the order %v", slices.Clone(partitions)))
		}
	}
}

// checkAlone: a transaction that holds some partitions takes no further one.
func (tx *Tx) checkAlone(p *Partition) {
	if len(tx.parts) > 0 {
		panic(fmt.Sprintf("partition %d is locked by a transaction that holds %d others", p.ID, len(tx.parts)))
	}
}

package nearcache

import (
	"fmt"
	"math/bits"
)

// Policy names what decides which entries stay when there is no more room.
type Policy string

const (
	// PolicyWindowLFU keeps the newest entries in a small window, and beyond it those asked for most often. It has the
	// best hit rates of those here, and look-ups write next to nothing (windowlfu.go).
	PolicyWindowLFU Policy = "window-lfu"
	// PolicyRistretto is ristretto v2 behind a window of the same size (ristretto.go).
	PolicyRistretto Policy = "ristretto"

	PolicyDefault = PolicyWindowLFU
)

// Policies are all that Options.Policy may be, the default first.
var Policies = []Policy{PolicyWindowLFU, PolicyRistretto}

// Store keeps entries within a budget. It may forget any of them at any time, and may show an older entry of a key after it
// took a newer one: whether an entry may be used is not for it to say. All methods may be called by any goroutines.
type Store interface {
	// find answers the entry held for the key, or nil. It takes no lock and allocates nothing.
	find(k Key) *entry
	// put takes an entry of the key, in place of the one before if there is one, and makes room for it. It reports
	// whether it took it.
	put(k Key, e *entry, now Time) bool
	// itemBytesMax is the largest entrySize that put may be called with.
	itemBytesMax() int
	// usage answers the number of entries, the bytes of everything, and how many entries had to go for lack of room.
	usage() (items, bytes, evictions int64)
	// settle waits until what was put has been taken in.
	settle()
	close()
}

// budget is what a Store may use.
type budget struct {
	bytes         int64
	itemsMax      int // 0: as many as there is memory for
	itemsExpected int
}

// windowShare is how much of a store is window: a tenth, whatever is cached. The published fixed share of W-TinyLFU is 1 %;
// that is too little where what was read now is read again soon (OLTP), and a tenth costs little elsewhere.
const windowShare = 10

// itemShare is how much of a shard one entry may take: so much that something else has room beside it.
const itemShare = 8

func newStore(p Policy, b budget, usable func(*entry, Time) bool) (Store, error) {
	switch p {
	case "", PolicyWindowLFU:
		return newWindowLFU(b, usable), nil
	case PolicyRistretto:
		return newRistrettoStore(b)
	}
	return nil, fmt.Errorf("nearcache: no policy %q; there are %v", p, Policies)
}

const (
	// A shard is worth its own lock, and its share of the budget near enough to the others', from this size.
	shardBytesMin = 4 << 20
	shardItemsMin = 8192
	shardsMax     = 256
)

// shards is into how many shards the budget is divided: a power of two.
func (b budget) shards() int {
	items := b.itemsExpected
	if b.itemsMax > 0 {
		items = min(items, b.itemsMax)
	}
	n := min(b.bytes/shardBytesMin, int64(items/shardItemsMin), shardsMax)
	if n < 2 {
		return 1
	}
	return 1 << (bits.Len64(uint64(n)) - 1)
}

// of is the part of the budget that shard i of n has.
func (b budget) of(i, n int) budget {
	part := budget{b.bytes / int64(n), b.itemsMax / n, b.itemsExpected / n}
	if i < b.itemsMax%n {
		part.itemsMax++
	}
	return part
}

func (b budget) itemBytesMax() int { return int(min(b.bytes/itemShare, entrySizeMax)) }

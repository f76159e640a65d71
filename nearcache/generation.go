package nearcache

import (
	"math/bits"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// generations has a counter for each stripe of keys. An entry keeps its stripe's count; while the count is the same, none
// of the stripe's keys has been invalidated.
type generations struct {
	counters []atomic.Uint32 // a power of two of them
	// comesRound is called before a counter can show a value that it had 2^31 invalidations ago or longer. After it
	// no entry of before is valid.
	comesRound func()
}

const (
	// generationsPerEntry is how many counters there are for each entry expected, at least. An invalidation takes with it
	// the entries that share its key's stripe: each with a chance of 1 / (4 * entries expected).
	generationsPerEntry = 4
	generationBytes     = 4

	halfWay = 1 << 31
)

func newGenerations(entries int, comesRound func()) generations {
	count := 1 << bits.Len(uint(max(entries*generationsPerEntry, 1)-1))
	return generations{make([]atomic.Uint32, count), comesRound}
}

func (g *generations) bytes() int64 { return int64(len(g.counters)) * generationBytes }

// of is the counter of a key, by the hash of its name.
func (g *generations) of(stripeHash uint64) *atomic.Uint32 {
	return &g.counters[stripeHash&uint64(len(g.counters)-1)]
}

// advance invalidates all entries of a counter's stripe.
//
// A counter has 32 bits, for half the memory of one that never comes round. An entry could be taken for current when its
// stripe has been invalidated exactly 2^32 times since; on the way there the counter passes 0 and 2^31, and each time all
// partitions' epochs go up, so the entry is stale by that.
func (g *generations) advance(counter *atomic.Uint32) {
	if n := counter.Add(1); n&(halfWay-1) == 0 {
		g.comesRound()
	}
}

// Invalidate makes everything held of a key stale, in all databases: a server's push names it, or it is being written.
// It never waits.
func (c *Cache) Invalidate(name string) {
	c.generations.advance(c.generations.of(xxhash.Sum64String(name)))
	c.stats.add(invalidated)
}

// InvalidateBytes is Invalidate for a name in bytes.
func (c *Cache) InvalidateBytes(name []byte) {
	c.generations.advance(c.generations.of(xxhash.Sum64(name)))
	c.stats.add(invalidated)
}

// InvalidateKey is Invalidate for a Key that is there already.
func (c *Cache) InvalidateKey(k Key) {
	c.generations.advance(c.generations.of(k.stripeHash))
	c.stats.add(invalidated)
}

// InvalidateStripe makes everything held of a stripe of keys stale: those whose name's unkeyed xxhash64, modulo stripes,
// is stripe. Where stripes is not a power of two that is everything, as counters cannot be told apart then.
func (c *Cache) InvalidateStripe(stripe, stripes int) {
	c.stats.add(invalidated)
	if stripes < 1 || stripes&(stripes-1) != 0 || stripe < 0 || stripe >= stripes {
		c.InvalidateAll()
		return
	}
	counters := c.generations.counters
	if stripes >= len(counters) {
		c.generations.advance(&counters[stripe&(len(counters)-1)])
		return
	}
	for i := stripe; i < len(counters); i += stripes {
		c.generations.advance(&counters[i])
	}
}
